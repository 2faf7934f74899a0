"""Long streams: which spans are judged, the memory after a span against the log up to it, and the table."""

import dataclasses

import numpy as np
import pytest

from benchmarks.scale.measuring import MIB, Cost
from benchmarks.scale.simulated import LOG, simulated_config
from benchmarks.scale.stream import COMPONENTS, SpanFigures
from benchmarks.streams.__main__ import parse, places_to_judge
from benchmarks.streams.judged import JudgedSpan, MemberOnSpan
from benchmarks.streams.log import StreamedLog
from benchmarks.streams.tables import SpanRow, table_of
from diet_tf.errors import DataError
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.recipe import Recipe
from diet_tf.metrics import Estimate
from diet_tf.store.store import Store
from tests.diet_tf.small_log import SPEC, draw
from tests.diet_tf.small_slots import small_slots


def figures_of(span, cpu_seconds):
  each = cpu_seconds / len(set(COMPONENTS.values()))
  return SpanFigures(span, 100, 32 * span, 70, MIB, MIB, {
      name: Cost(2 * each, each, 100 * MIB) for name in COMPONENTS.values()})


@pytest.mark.parametrize("given, num_spans, expected", [
    (None, 60, [3, 10, 30, 60]), (None, 180, [3, 10, 30, 100, 180]), (None, 3, [3]), (None, 1, [1]),
    ([9, 2, 2, 12], 10, [2, 9]), ([], 10, [])])
def test_the_spans_that_are_judged(given, num_spans, expected):
  assert places_to_judge(given, num_spans) == expected


class TestLog:

  def of(self, tmp_path, *more):
    return StreamedLog.of(parse(["--dataset", "simulated", "--work", str(tmp_path), "--spans", "3", *more]))

  def test_a_simulated_log_has_one_span_more_than_are_distilled(self, tmp_path):
    log = self.of(tmp_path, "--seeds", "2")
    assert log.spans == (0, 1, 2) and log.next_span == 3
    assert [uri.split("/")[-2] for uri in log.store_uris] == ["stream-0", "stream-1"]

  def test_other_settings_have_another_folder_and_more_spans_the_same(self, tmp_path):
    folder = self.of(tmp_path).folder
    assert self.of(tmp_path, "--set", "budget.fraction=0.03").folder != folder
    assert self.of(tmp_path, "--spans", "5").folder == folder

  def test_a_log_too_short_is_refused(self, tmp_path):
    for span in (0, 1):
      (tmp_path / f"span-{span}.csv").write_text("")
    arguments = ["--dataset", "flights", "--data-dir", str(tmp_path), "--set", "log.pattern=span-{SPAN}.csv"]
    with pytest.raises(DataError, match="2 spans, of which 2 are to be distilled"):
      StreamedLog.of(parse([*arguments, "--spans", "2"]))
    assert StreamedLog.of(parse([*arguments, "--work", str(tmp_path)])).spans == (0,)


@pytest.fixture
def judged(tmp_path):
  """The memory of a store after the first of three spans, for two streams that are the same."""
  columns = [draw(300, seed=span) for span in range(3)]
  ids, labels, example_ids = (np.concatenate(column) for column in zip(*columns, strict=True))
  np.savez(tmp_path / "log.npz", ids=ids, labels=labels, example_ids=example_ids, spans=np.repeat([0, 1, 2], 300),
           sizes=np.array([[0, 1, 1], [1, 1, 1], [2, 1, 1]]))
  slots = small_slots(columns[0][0][:64], labels=columns[0][1][:64], spec=SPEC)
  save_memory(str(tmp_path / "memory"), Memory.create(slots, SPEC, Recipe(batch_size=16), span=0, num_examples_seen=300,
                                                      budget={"fraction": 0.2}))
  store = Store(str(tmp_path / "store"))
  store.commit(0, {"memory": str(tmp_path / "memory")}, parent=None, settings={}, run_id="run")
  config = dataclasses.replace(simulated_config(LOG, str(tmp_path)), features=SPEC)
  return JudgedSpan.of(config, str(tmp_path / "judged"), str(tmp_path), [store.uri] * 2, 0, ("lr", "fm"))


def test_a_memory_is_judged_on_the_next_span_against_the_log_so_far(judged, monkeypatch):
  for name, value in (("LOG_EPOCHS", (1,)), ("LEARNING_RATES", (1e-2,)), ("MAX_EXTENSIONS", 0)):
    monkeypatch.setattr(f"benchmarks.fidelity.trainings.{name}", value)
  log = judged.log()
  assert log.train_spans == (0,) and log.test_spans == (1,) and set(log.rows.spans) == {0, 1}
  assert [memory.manifest.span for memory in judged.memories()] == [0, 0]
  assert [member.used_as_proxy for member in judged.members] == [False, True]
  for member in ("lr", "fm"):
    assert not MemberOnSpan(member).done(judged)
    MemberOnSpan(member).run(judged)
    assert MemberOnSpan(member).done(judged)
  figures = judged.figures()
  assert 0 <= figures["num_resolved"] <= 1 and figures["pass_seconds"] > 0
  # As many rows of the log as slots, and a fifth of its rows: no match for it, but better than chance.
  assert 0 < figures["recovery"].mean < 1.2


def test_the_table_has_what_was_judged_and_the_cost_so_far():
  streams = [[figures_of(1, 7), figures_of(2, 14)], [figures_of(1, 14), figures_of(2, 14)]]
  figures = {"recovery": Estimate(0.91, 0.01), "least": 0.85, "least_member": "lr", "agreement": Estimate(0.9, 0.02),
             "agreement_of_mean": 1.0, "regret": 0.0012, "num_resolved": 12, "pass_seconds": 4.9}
  rows = [SpanRow(1, [stream[:1] for stream in streams]), SpanRow(2, streams, figures)]
  lines = table_of(rows).splitlines()
  # (7 + 14) / 2 s for 100 rows; then (21 + 28) / 2 s for 200, and 49 s of wall time in passes of 4.9 s.
  assert lines[2] == "| 1 | 100 | 32 | 105.00 | 0.3 | - | 100 | - | - | - | - | - | - |"
  assert lines[3] == ("| 2 | 200 | 64 | 122.50 | 0.8 | 10.0 | 100 | 0.910 ± 0.010 | 0.850 (lr) | 0.900 ± 0.020 | "
                      "1.000 | 0.0012 | 12 |")
  value = rows[1].to_dict()
  assert value["passes"] == pytest.approx(10) and value["figures"]["agreement"] == {"mean": 0.9, "standard_error": 0.02}
  assert rows[0].to_dict()["figures"] is None
