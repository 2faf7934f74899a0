"""Figures of the fidelity benchmark: by hand on four test examples, and what must not change them."""

import json

import numpy as np
import pytest

from benchmarks.fidelity.figures import member_figures, seed_recoveries, summary_figures
from benchmarks.fidelity.sources import FROM_SCRATCH, LOG, MEMORY, ONE_RECIPE, OURS, START, STATIC, UNREFINED
from benchmarks.fidelity.trained import PanelMember, Trained
from diet_tf.errors import DataError
from diet_tf.fidelity.bill import Cost

LABELS = np.array([1.0, 1.0, 0.0, 0.0], np.float32)
# Logits of the four examples by the AUC that they have.
LOGITS = {1.0: [3, 2, 1, 0], 0.75: [3, 1, 2, 0], 0.5: [3, 0, 2, 1], 0.25: [2, 0, 3, 1]}


def trained(*aucs, rate=None, examples=20, seconds=0.5):
  """Trainings with these AUCs, one per seed."""
  return Trained(np.array([LOGITS[auc] for auc in aucs], np.float32), rate, 1, examples, 100.0 * examples, seconds)


def on_log(*aucs):
  return trained(*aucs, rate=0.01, examples=1000, seconds=2.0)


def panel():
  """Two architectures on two seeds, the first used as a proxy, with all of our sources and two kinds of baselines."""
  members = [PanelMember("a", True, False), PanelMember("b", False, False)]
  scores = {
      (LOG, "a"): on_log(1.0, 0.75), (LOG, "b"): on_log(0.75, 0.75),
      (MEMORY, "a"): trained(0.75, 0.75), (MEMORY, "b"): trained(0.75, 0.75),
      (ONE_RECIPE, "a"): trained(0.75, 0.5), (ONE_RECIPE, "b"): trained(0.75, 0.75),
      (START, "a"): trained(0.5, 0.5), (START, "b"): trained(0.75, 0.5),
      (UNREFINED, "a"): trained(0.5, 0.5), (UNREFINED, "b"): trained(0.5, 0.5),
      (STATIC, "a"): trained(0.5, 0.5), (STATIC, "b"): trained(0.5, 0.5),
      (FROM_SCRATCH, "a"): trained(1.0, 1.0), (FROM_SCRATCH, "b"): trained(0.75, 0.75),
      ("random/hard", "a"): trained(0.5, 0.5), ("random/hard", "b"): trained(0.75, 0.75),
      ("random/soft", "a"): trained(0.5, 0.5), ("random/soft", "b"): trained(0.5, 0.5),
      ("random/hard/equal_cost", "a"): trained(0.25, 0.25), ("random/hard/equal_cost", "b"): trained(0.25, 0.25),
      ("recent/soft/equal_cost", "a"): trained(0.5, 0.25), ("recent/soft/equal_cost", "b"): trained(0.25, 0.25)}
  baselines = list(dict.fromkeys(source for source, _ in scores if source not in OURS))
  return scores, members, baselines


def summary(scores, members, baselines, labels=LABELS):
  return summary_figures(scores, members, labels, baselines, stage_wall_ratio=12.5, distillation=Cost(30.0, 392_000.0))


def only(names):
  """A panel of members with these names on the log and the memory alone, as `(scores, members)`."""
  scores = {(source, name): trained(*aucs) for name, sources in names.items() for source, aucs in sources.items()}
  return scores, [PanelMember(name, True, False) for name in names]


def test_recoveries_of_seeds_by_hand():
  # The means are 7/8 and 3/4, the recovery (1/4) / (3/8) = 2/3; the seeds deviate by (1/4 - 2/3 lift) / (3/8).
  found = seed_recoveries(np.array([0.75, 0.75]), np.array([1.0, 0.75]))
  np.testing.assert_allclose(found, [4 / 9, 8 / 9], rtol=1e-12)
  assert np.isnan(seed_recoveries(np.array([0.75, 0.75]), np.array([0.5, 0.5]))).all()


def test_the_standard_error_of_a_recovery_is_that_of_resampled_ratios():
  # The delta method against brute force: ratios of the means of many draws of seeds.
  random = np.random.default_rng(0)
  shared = random.normal(scale=0.01, size=(20_000, 5))
  log = 0.75 + shared + random.normal(scale=0.005, size=shared.shape)
  memory = 0.73 + 0.5 * shared + random.normal(scale=0.01, size=shared.shape)
  ratios = (memory.mean(axis=1) - 0.5) / (log.mean(axis=1) - 0.5)
  variances = [seed_recoveries(*pair).var(ddof=1) / 5 for pair in zip(memory[:2000], log[:2000])]
  np.testing.assert_allclose(np.sqrt(np.mean(variances)), ratios.std(), rtol=0.05)


def test_members_by_hand():
  scores, members, baselines = panel()
  first, second = member_figures(scores, members, LABELS, baselines)
  assert (first["name"], first["used_as_proxy"], first["variant"]) == ("a", True, False)
  assert first["learning_rate"] == 0.01
  assert (first["log_auc"], first["memory_auc"], first["start_auc"]) == (0.875, 0.75, 0.5)
  # Two seeds that differ by 1/4 have the standard error 1/8; the recoveries 4/9 and 8/9 have 2/9.
  assert (first["log_auc_se"], first["memory_auc_se"]) == (0.125, 0.0)
  np.testing.assert_allclose([first["recovery"], first["se"]], [2 / 3, 2 / 9], rtol=1e-12)
  assert (second["recovery"], second["se"]) == (1.0, 0.0)
  assert first["baselines"] == {"random/hard": 0.5, "random/soft": 0.5, "random/hard/equal_cost": 0.25,
                                "recent/soft/equal_cost": 0.375}
  assert first["baseline_se"]["recent/soft/equal_cost"] == 0.125
  # Every logit of `LOGITS` is one of 0, 1, 2, 3; on 0.75 the clicks have 3 and 1, the others 2 and 0.
  softplus = np.log1p(np.exp([3.0, 1.0, 2.0, 0.0]))
  np.testing.assert_allclose(first["memory_logloss"], (softplus.sum() - 3 - 1) / 4, rtol=1e-6)
  np.testing.assert_allclose(first["memory_calibration"], (1 / (1 + np.exp([-3.0, -1.0, -2.0, 0.0]))).sum() / 2,
                             rtol=1e-6)
  assert first["memory_calibration_se"] == 0.0
  np.testing.assert_allclose(first["baseline_calibration"]["random/hard"], first["log_calibration"], rtol=1e-6)
  np.testing.assert_allclose(first["difference_to_log"]["mean"], -0.125)
  np.testing.assert_allclose(first["gain_over"]["random/hard"]["mean"], 0.25)
  assert first["gain_over"]["random/hard"]["resolved"] is False
  assert second["difference_to_log"] == {"mean": 0.0, "standard_error": 0.0, "resolved": False}


def test_the_panel_by_hand():
  found = summary(*panel())
  # Recoveries by seed: a 4/9 and 8/9, b 1 and 1.
  np.testing.assert_allclose([found["mean_recovery"], found["mean_recovery_se"]], [5 / 6, 1 / 9], rtol=1e-12)
  np.testing.assert_allclose(found["min_recovery"], 2 / 3, rtol=1e-12)
  assert found["min_recovery_member"] == "a"
  np.testing.assert_allclose([found["unseen_architecture_gap"], found["unseen_architecture_gap_se"]],
                             [-1 / 3, 2 / 9], rtol=1e-12)
  # Panel means by seed: memory 3/4, 3/4; start 5/8, 1/2; static 1/2, 1/2; from scratch 7/8, 7/8.
  assert (found["last_stage_gain"], found["last_stage_gain_se"]) == (0.1875, 0.0625)
  assert (found["refinement_gain"], found["refinement_gain_se"]) == (0.25, 0.0)
  assert (found["static_gain"], found["static_gain_se"]) == (0.25, 0.0)
  assert (found["continual_gap"], found["continual_gap_se"]) == (0.125, 0.0)
  assert found["panel_mean_auc"][START] == {"mean": 0.5625, "standard_error": 0.0625}


def test_the_best_baseline_is_chosen_by_the_panels_mean_within_its_kind():
  found = summary(*panel())
  # recent/soft has 3/8 and 1/4 on the seeds, random/hard 1/4 on both.
  assert found["best_equal_cost_baseline"] == "recent/soft/equal_cost"
  assert (found["gain_over_best_equal_cost_baseline"], found["gain_over_best_equal_cost_baseline_se"]) == (
      0.75 - 0.3125, 0.0625)
  assert found["best_same_records_baseline"] == "random/hard"
  assert found["gain_over_best_same_records_baseline"] == 0.125


def test_costs_by_hand():
  found = summary(*panel())
  assert (found["cost_ratio"], found["flops_ratio"], found["wall_ratio"]) == (50.0, 50.0, 4.0)
  assert found["training_costs"] == {LOG: {"examples": 2000, "flops": 200_000.0, "seconds": 4.0},
                                     MEMORY: {"examples": 40, "flops": 4000.0, "seconds": 1.0}}
  # Thirty seconds of distillation, and a training of 1/2 second in place of 2; of operations 2,000 in place of 100,000.
  assert (found["break_even_trainings"], found["stage_wall_ratio"]) == (20.0, 12.5)
  assert found["break_even_trainings_flops"] == 4.0
  # The log's two members train in one pass each, which is 2 s and 100,000 operations.
  assert found["pass"] == {"seconds": 2.0, "flops": 100_000.0}
  assert (found["distillation_passes_wall"], found["distillation_passes_flops"]) == (15.0, 3.92)
  assert [row["trainings"] for row in found["bill"]] == [10, 30, 100, 300, 1000]
  assert found["bill"][0]["seconds"] == {"memory": 35.0, "log": 20.0, "rival": 20.0}
  # Nothing was chosen here, and there is no rival: what is left is the log.
  assert found["bill_with_choice"]["bill"] == found["bill"] and found["rival"] == LOG


def test_every_source_has_its_order_and_every_baseline_is_named():
  scores, members, baselines = panel()
  scores |= {("sample/uniform/1_5", name): trained(0.75, 0.5, examples=200) for name in ("a", "b")}
  found = summary(scores, members, baselines)
  assert [one["source"] for one in found["sources"]] == [*OURS, *baselines, "sample/uniform/1_5"]
  for one in found["sources"]:
    assert set(one) >= {"agreement", "agreement_low", "kendall_tau_b", "regret", "regret_at_3", "training_passes"}
  assert set(found["baselines"]) == {*baselines, "sample/uniform/1_5"}
  # On random rows b is first, whose AUC on the log is an eighth below that of a.
  assert found["baselines"]["random/hard"]["regret"] == 0.125 and found["baselines"]["random/hard"]["regret_at_3"] == 0
  assert found["agreement_interval"] == [found["agreement_low"], found["agreement_high"]]


# Scores that tie within a class have the same components for all examples of it, so that no noise is left.
PERFECT, CHANCE, BETWEEN = [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]


@pytest.mark.parametrize(("memory", "share", "tau", "regret"), [
    # All in the log's order; then the pair that is resolved (perfect, chance) turned round; then a tie.
    ((1.0, 0.75, 0.5), 1.0, 1.0, 0.0), ((0.5, 0.75, 1.0), 0.0, -1.0, 0.5), ((0.75, 0.5, 0.75), 0.0, 0.0, 0.0)])
def test_rankings_by_hand(memory, share, tau, regret):
  scores, members = only({name: {MEMORY: [auc]} for name, auc in zip("abc", memory, strict=True)})
  for name, logits in zip("abc", (PERFECT, BETWEEN, CHANCE), strict=True):
    scores[LOG, name] = Trained(np.array([logits], np.float32), 0.01, 1, 1, 1.0, 1.0)
  found = summary(scores, members, [])
  assert (found["num_resolved"], found["num_pairs"], found["agreement"]) == (1, 3, share)
  np.testing.assert_allclose([found["kendall_tau_b"], found["regret"]], [tau, regret], atol=1e-12)
  assert found["agreement_low"] is None and found["agreement_high"] is None  # From one seed it is not known.


def test_the_agreement_has_its_interval():
  """The pair that is resolved (perfect, chance) has no noise, and is in the log's order whenever it is drawn."""
  scores, members = only({name: {MEMORY: [0.5, 0.5]} for name in "abc"})
  for name, logits in zip("abc", (PERFECT, BETWEEN, CHANCE), strict=True):
    for source in (LOG, MEMORY):
      scores[source, name] = Trained(np.array([logits] * 2, np.float32), 0.01, 1, 1, 1.0, 1.0)
  found = summary(scores, members, [])
  assert (found["agreement_low"], found["agreement_high"]) == (1.0, 1.0)


def test_variants_count_in_the_panel_and_not_among_the_architectures():
  scores, members, baselines = panel()
  for source in {source for source, _ in scores}:
    scores[source, "wide a"] = scores[source, "b"]
  members += [PanelMember("wide a", True, True)]
  found, without = summary(scores, members, baselines), summary(*panel())
  np.testing.assert_allclose(found["mean_recovery"], (2 / 3 + 1 + 1) / 3, rtol=1e-12)
  assert found["num_pairs"] == 3
  for name, value in found["architectures_only"].items():
    assert value == without[name], name
  assert found["architectures_only"]["num_pairs"] == 1
  # Of the architectures, a was a proxy and b never was; the variant counts on neither side.
  np.testing.assert_allclose(found["unseen_architecture_gap"], 2 / 3 - 1, rtol=1e-12)


def test_what_cannot_be_computed_is_null():
  scores, members = only({"a": {LOG: [0.5], MEMORY: [0.75]}, "b": {LOG: [0.75], MEMORY: [0.5]}})
  found = summary(scores, members, [])
  # No better than chance on the log: no recovery, and no mean over the panel that leaves it out.
  assert (found["mean_recovery"], found["min_recovery"], found["min_recovery_member"]) == (None, None, "a")
  for name in ("refinement_gain", "static_gain", "continual_gap", "unseen_architecture_gap",
               "gain_over_best_equal_cost_baseline", "best_equal_cost_baseline"):
    assert found[name] is None, name
  first = member_figures(scores, members, LABELS, [])[0]
  assert (first["recovery"], first["se"], first["start_auc"], first["log_auc_se"]) == (None, None, None, None)
  json.dumps([found, first], allow_nan=False)  # Raises where a NaN is left.


def random_panel(num_test=300, seed=3):
  random = np.random.default_rng(seed)
  labels = (random.random(num_test) < 0.3).astype(np.float32)
  members = [PanelMember(name, name == "a", name == "c") for name in "abc"]
  scores = {(source, member.name): Trained(
      (labels + random.normal(scale=1.0 + number / 4, size=(3, num_test))).astype(np.float32), 0.1, 1, 10, 10.0, 1.0)
            for number, member in enumerate(members) for source in (*OURS, "random/hard", "random/hard/equal_cost")}
  return scores, members, labels, ["random/hard", "random/hard/equal_cost"]


def all_figures(scores, members, labels, baselines):
  return {"members": member_figures(scores, members, labels, baselines),
          "summary": summary(scores, members, baselines, labels)}


def leaves(value):
  if isinstance(value, dict):
    return [leaf for one in value.values() for leaf in leaves(one)]
  return [leaf for one in value for leaf in leaves(one)] if isinstance(value, list) else [value]


def test_figures_do_not_depend_on_the_order_of_examples():
  scores, members, labels, baselines = random_panel()
  order = np.random.default_rng(7).permutation(len(labels))
  shuffled = {key: Trained(one.logits[:, order], one.learning_rate, one.epochs, one.examples, one.flops, one.seconds)
              for key, one in scores.items()}
  before = leaves(all_figures(scores, members, labels, baselines))
  after = leaves(all_figures(shuffled, members, labels[order], baselines))
  assert len(before) == len(after) > 100
  for one, other in zip(before, after, strict=True):
    assert other == (pytest.approx(one, rel=1e-9, abs=1e-12) if isinstance(one, float) else one)


def test_same_predictions_give_the_same_bytes():
  first, second = (json.dumps(all_figures(*random_panel()), allow_nan=False) for _ in range(2))
  assert first == second != json.dumps(all_figures(*random_panel(seed=4)), allow_nan=False)


def test_members_and_panel_agree():
  scores, members, labels, baselines = random_panel()
  figures = all_figures(scores, members, labels, baselines)
  by_member = [one["recovery"] for one in figures["members"]]
  np.testing.assert_allclose(figures["summary"]["mean_recovery"], np.mean(by_member), rtol=1e-12)
  np.testing.assert_allclose(figures["summary"]["min_recovery"], min(by_member), rtol=1e-12)
  gains = [one["gain_over"]["random/hard/equal_cost"]["mean"] for one in figures["members"]]
  np.testing.assert_allclose(figures["summary"]["gain_over_best_equal_cost_baseline"], np.mean(gains), atol=1e-12)


@pytest.mark.parametrize("source", [MEMORY, START, "random/hard"])
def test_a_source_covers_the_whole_panel(source):
  scores, members, baselines = panel()
  del scores[source, "b"]
  for figures in (summary, lambda *arguments: member_figures(*arguments[:2], LABELS, arguments[2])):
    with pytest.raises(DataError, match=f"trainings on {source}.*none of b"):
      figures(scores, members, baselines)


def test_trainings_must_pair():
  scores, members, baselines = panel()
  scores[MEMORY, "b"] = trained(0.75)
  with pytest.raises(DataError, match=r"logits of b on memory.*\[1, 4\] against \[2, 4\]"):
    summary(scores, members, baselines)
  with pytest.raises(DataError, match=r"logits of a on log.*\[2, 4\] against \[2, 3\]"):
    member_figures(panel()[0], members, LABELS[:3], [])
  with pytest.raises(DataError, match="at least one member"):
    summary({}, [], [])
