"""The result of a benchmark whose pieces of work are literal: every part has its figures, in both units."""

import json
import types

import numpy as np
import pytest

from benchmarks.fidelity import results
from benchmarks.fidelity.bars import bars
from benchmarks.fidelity.encoded_log import EncodedLog
from benchmarks.fidelity.plots import cost
from benchmarks.fidelity.sources import LOG, MEMORY, START, UNREFINED
from benchmarks.fidelity.tables import all_tables
from benchmarks.fidelity.trained import Choosing, PanelMember, Trained
from benchmarks.fidelity.variants import Variant
from diet_tf.log.encoded_rows import EncodedRows
from tests.diet_tf.small_log import SPEC, draw

MEMBERS = (PanelMember("lr", False, False), PanelMember("fm", True, False), PanelMember("dnn(dropout=0.3)", True, True),
           PanelMember("dnn(hidden_units=256-)", True, True, large=True))
# How well a member ranks after training on the log, and FLOPs a row.
STRENGTHS, FLOPS_PER_ROW = (0.4, 1.6, 2.4, 3.0), (20.0, 100.0, 120.0, 500.0)
# Of the strength that the log gives; examples of a training.
SOURCES = {LOG: (1.0, 400), MEMORY: (0.9, 16), START: (0.7, 16), UNREFINED: (0.6, 16), "random/hard": (0.2, 16),
           "random/hard/equal_cost": (0.2, 16), "sample/uniform/1_5": (0.8, 40), "sample/uniform/1_10": (0.4, 20)}
STAGES = [{"span": span, "num_slots": 8 * (span + 1), "actions": {"add": 8}, "chosen": "refined", "outer_steps": 2,
           "seconds": {"refinement": 3.0, **({"start-up": 1.0} if span == 0 else {})}, "flops": {"refinement": 5e4},
           "slots_by_age": {"0": 8}} for span in (0, 1)]


def encoded_log():
  ids, labels, example_ids = draw(600)
  return EncodedLog(EncodedRows(ids, labels, example_ids, np.repeat([0, 1, 2], 200)), SPEC, (0, 1), (2,),
                    dict.fromkeys((0, 1, 2), 100), dict.fromkeys((0, 1, 2), 900))


def trained(labels, source, member, seed=0):
  """Two trainings whose logits hold as much of the labels as source and member give."""
  strength, examples = SOURCES[source]
  noise = np.random.default_rng([seed, list(SOURCES).index(source), member]).normal(size=(2, len(labels)))
  flops = FLOPS_PER_ROW[member] * examples
  choosing = Choosing() if source == MEMORY else Choosing(examples, 3 * flops, 0.3)
  return Trained((strength * STRENGTHS[member] * labels + noise).astype(np.float32), 0.01, 1, examples, flops,
                 flops / 1e5, choosing)


@pytest.fixture
def benchmark(monkeypatch):
  log = encoded_log()
  ablations = (Variant("whole log, as it is"), Variant("K = 1", reference="whole log, as it is"))
  first = log.rows.of_spans([0])
  held_back = first.take(np.asarray(results.is_held_back(first.example_ids, 0.1)))

  def all_scores(benchmark, groups):
    found = {}
    for number, member in enumerate(benchmark.members):
      for source in SOURCES:
        found[source, member.name] = trained(log.test.labels, source, number)
      for variant in ablations:
        found[variant.name, member.name] = trained(log.test.labels, UNREFINED, number, len(variant.name))
      for span in log.train_spans:
        for place, rows in (("next", log.rows.of_spans([span + 1])), ("first", held_back)):
          for source in (LOG, MEMORY):
            found[f"{span}/{place}/{source}", member.name] = trained(rows.labels, source, number, span)
    sources = {"log": [LOG], "memories": [MEMORY, START], "random": ["random/hard", "random/hard/equal_cost"],
               "course": [source for source, _ in found if "/next/" in source or "/first/" in source]}
    wanted = {source for group in groups for source in sources.get(group, [group])}
    return {key: one for key, one in found.items() if key[0] in wanted}

  manifest = types.SimpleNamespace(num_bytes=10, num_raw_bytes=90)
  piece = types.SimpleNamespace(record=lambda benchmark: STAGES,
                                memory=lambda benchmark: types.SimpleNamespace(manifest=manifest))
  monkeypatch.setattr(results, "all_scores", all_scores)
  monkeypatch.setattr(results, "Distillation", lambda variant, seed: piece)
  distill = types.SimpleNamespace(proxies=("fm",), by_effort=types.SimpleNamespace(outer_steps=2), outer_batch_size=10,
                                  inner=types.SimpleNamespace(epochs=1))
  from benchmarks.fidelity.benchmark import Benchmark

  class Literal(Benchmark):
    def log(self):
      return log

    def ablations(self):
      return ablations

    def num_slots(self, log):
      return 16

    @property
    def settings(self):
      return types.SimpleNamespace(influence=types.SimpleNamespace(holdback_fraction=0.1))

  return Literal(config=types.SimpleNamespace(distill=distill), folder="", members=MEMBERS, seeds=(0, 1),
                 ablation_members=("lr", "fm"), ablation_seeds=(0, 1), ablation_steps=2, selections=("random",),
                 samples=("sample/uniform/1_5", "sample/uniform/1_10"), with_bounds=False)


def test_every_part_has_its_figures_in_both_units(benchmark):
  result = results.assemble(benchmark, (), {"dataset": "simulated"})
  json.dumps(result, allow_nan=False)
  summary = result["summary"]
  # A pass is the mean of lr and fm: 60 FLOPs a row, of 400 rows. Each distillation takes 7 s and 1e5 FLOPs.
  assert summary["pass"] == {"seconds": pytest.approx(0.24), "flops": 24_000.0}
  assert summary["distillation_passes_wall"] == pytest.approx(7 / 0.24)
  assert summary["distillation_passes_flops"] == pytest.approx(1e5 / 24_000)
  # The panel without its large member: 80 FLOPs a row on average, of 16 rows.
  assert summary["memory_training_passes_flops"] == pytest.approx(80 * 16 / 24_000)
  assert summary["break_even_trainings_flops"] == pytest.approx(1e5 / (80 * 384))
  assert set(summary["baselines"]) == {"random/hard", "random/hard/equal_cost", "sample/uniform/1_5",
                                       "sample/uniform/1_10"}
  assert all({"agreement", "regret"} <= set(one) for one in summary["baselines"].values())
  # Of fm's cost classes the large member is five times one, and lr a fifth.
  assert [(one["cost_class"], one["members"]) for one in summary["bill_by_cost_class"]] == [
      (1, ["lr", "fm", "dnn(dropout=0.3)"]), (5, ["dnn(hidden_units=256-)"]), (25, [])]
  assert result["stream"][1]["stage_flops_ratio"] == pytest.approx(5e4 / 24_000)
  assert result["stream"][0]["seconds"]["start-up"] == 1.0 and result["stream"][0]["agreement"] is not None
  assert result["ablations"][0]["regret"] is not None
  assert summary["distillation_examples"] == 2 * (8 + 10) + 2 * (16 + 10)
  assert len(all_tables(result, bars(summary))) == 10 and len(cost(result).axes) == 2


def test_a_folder_of_before_knows_no_operations(benchmark, monkeypatch):
  without = [{key: value for key, value in stage.items() if key not in ("flops", "outer_steps")} for stage in STAGES]
  monkeypatch.setattr("tests.benchmarks.test_results.STAGES", without)
  result = results.assemble(benchmark, (), {"dataset": "simulated"})
  summary = result["summary"]
  assert summary["distillation_passes_flops"] is None and summary["break_even_against_rival"] is None
  assert summary["break_even_trainings"] > 0 and result["stream"][0]["stage_flops_ratio"] is None
  assert len(all_tables(result, bars(summary))) == 10 and len(cost(result).axes) == 2
