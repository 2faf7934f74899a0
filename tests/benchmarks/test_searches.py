"""Searches that give up candidates, by hand on four members and a few test examples."""

import numpy as np

from benchmarks.fidelity.searches import of_members, searches
from benchmarks.fidelity.sources import LOG
from benchmarks.fidelity.trained import Choosing, PanelMember, Trained

LABELS = np.array([1.0, 1.0, 0.0, 0.0], np.float32)
LOGITS = {1.0: [3, 2, 1, 0], 0.75: [3, 1, 2, 0], 0.5: [3, 0, 2, 1], 0.25: [2, 0, 3, 1], 0.0: [0, 1, 2, 3]}
MEMBERS = [PanelMember(name, False, False) for name in "abcd"]
TENTH, FIFTH, HALF = (f"sample/uniform/1_{share}" for share in (10, 5, 2))


def trained(examples, *aucs):
  return Trained(np.array([LOGITS[auc] for auc in aucs], np.float32), 0.01, 1, examples, 10.0 * examples,
                 examples / 100, Choosing(3 * examples, 30.0 * examples, examples / 20), 0.5)


def scores_of(**aucs):
  """Trainings of the members a to d on the three sub-samples of a log of 100 rows, with two seeds."""
  return {(source, name): trained(examples, *of_source)
          for name, of_sources in aucs.items()
          for (source, examples), of_source in zip(((TENTH, 10), (FIFTH, 20), (HALF, 50)), of_sources, strict=True)}


def test_the_better_half_goes_on_and_the_others_rank_below_it():
  # With the first seed, a and b go on, and a wins though it was behind b; c would have been the best of all on the
  # half. With the second seed c and d go on.
  scores = scores_of(a=[(0.75, 0.25), (1.0, 1.0), (0.5, 0.5)], b=[(1.0, 0.0), (0.75, 1.0), (0.5, 0.5)],
                     c=[(0.5, 0.75), (1.0, 0.5), (1.0, 1.0)], d=[(0.25, 1.0), (1.0, 0.75), (1.0, 1.0)])
  found = searches(scores, MEMBERS, LABELS)
  assert {source for source, _ in found} == {"halving/1_10"}
  a, b, c, d = (found["halving/1_10", name] for name in "abcd")
  assert [list(one.rungs) for one in (a, b, c, d)] == [[1, 0], [1, 0], [0, 1], [0, 1]]
  np.testing.assert_array_equal([one.standings(LABELS) for one in (a, b, c, d)],
                                [[2, 0.25], [1.75, 0], [0.5, 1.5], [0.25, 1.75]])
  # Each member comes to the second rung with one of the seeds: 10 rows, and 20 more.
  assert a.examples == 10 + 20 // 2 and a.flops == 200 and a.seconds == 0.2
  assert a.choosing == Choosing(60, 600.0, 1.0) and a.learning_rate is None


def clicks(order, seed=0):
  """Labels of 400 examples, and logits that are the higher for clicks the greater `order` is beside their noise."""
  labels = np.tile([1.0, 0.0], 200).astype(np.float32)
  noise = np.random.default_rng(seed).normal(size=400)
  return labels, (noise + order * labels).astype(np.float32)


def test_a_pass_is_stopped_where_it_is_clearly_worse_and_goes_on_elsewhere():
  labels, good = clicks(3.0)
  near, bad = clicks(3.0, seed=1)[1], clicks(0.0)[1]
  rungs = [f"sample/oldest/1_{share}" for share in (5, 2)] + [LOG]
  logits = {"a": [good, good, good], "b": [near, near, near], "c": [bad, good, good], "d": [near, bad, good]}
  scores = {(source, name): Trained(one[None], 0.01, 1, examples, 10.0 * examples, 1.0, Choosing(2 * examples))
            for name, of_rungs in logits.items()
            for source, examples, one in zip(rungs, (20, 50, 100), of_rungs, strict=True)}
  found = searches(scores, MEMBERS, labels)
  outcome = {name: found["early_stopping/1_5", name] for name in "abcd"}
  assert {name: int(one.rungs[0]) for name, one in outcome.items()} == {"a": 2, "b": 2, "c": 0, "d": 1}
  # A pass that goes on is paid once.
  assert {name: one.examples for name, one in outcome.items()} == {"a": 100, "b": 100, "c": 20, "d": 50}
  assert outcome["d"].choosing.examples == 100
  np.testing.assert_array_equal(outcome["c"].logits[0], bad)


def test_a_search_ends_with_the_last_member_and_needs_all_trainings():
  scores = scores_of(a=[(1.0, 1.0)] * 3)
  alone = searches(scores, MEMBERS[:1], LABELS)["halving/1_10", "a"]
  assert list(alone.rungs) == [0, 0] and alone.examples == 10
  assert searches(scores, MEMBERS[:2], LABELS) == {}


def test_sources_that_some_member_lacks_are_left_out():
  scores = {**scores_of(a=[(1.0, 1.0)] * 3, b=[(0.5, 0.5)] * 3), (LOG, "a"): trained(100, 1.0, 1.0)}
  assert {source for source, _ in of_members(scores, MEMBERS[:2])} == {TENTH, FIFTH, HALF}
  assert set(of_members(scores, MEMBERS[:1])) == {(source, "a") for source in (TENTH, FIFTH, HALF, LOG)}
