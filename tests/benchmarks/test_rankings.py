"""Orders of a panel by hand: scores that tie within a class have no noise, so that every difference is resolved."""

import numpy as np
import pytest

from benchmarks.fidelity.rankings import FIGURES, Rankings
from benchmarks.fidelity.sources import LOG
from benchmarks.fidelity.trained import Trained

LABELS = np.array([1.0, 1.0, 0.0, 0.0], np.float32)
# Logits by their AUC; all examples of a class have the same components.
LOGITS = {1.0: [1, 1, 0, 0], 0.5: [0, 0, 0, 0], 0.0: [0, 0, 1, 1]}
NAMES = ("a", "b", "c")


def trained(*aucs, rungs=None):
  return Trained(np.array([LOGITS[auc] for auc in aucs], np.float32), 0.01, 1, 10, 10.0, 1.0,
                 rungs=None if rungs is None else np.array(rungs))


def rankings(**sources):
  """The log orders a, b, c, with AUCs of 1, 1/2 and 0."""
  scores = {(LOG, name): trained(auc, auc) for name, auc in zip(NAMES, (1.0, 0.5, 0.0), strict=True)}
  scores |= {(source, name): one for source, members in sources.items()
             for name, one in zip(NAMES, members, strict=True)}
  return Rankings(scores, NAMES, LABELS)


def test_the_log_orders_as_the_log_does():
  found = rankings().figures(LOG)
  assert (found["agreement"], found["kendall_tau_b"], found["regret"], found["regret_at_3"]) == (1, 1, 0, 0)
  assert (found["num_resolved"], found["num_pairs"]) == (3, 3)
  assert (found["agreement_low"], found["agreement_high"]) == (1, 1) and set(FIGURES) <= set(found)


def test_an_order_by_the_means_and_by_each_seed():
  # By the means 1/2, 3/4, 0: b, a, c. The first seed has the log's order, the second c last and b before a.
  found = rankings(source=(trained(1.0, 0.0), trained(0.5, 1.0), trained(0.0, 0.0))).figures("source")
  assert found["agreement"] == pytest.approx(2 / 3)
  # Of the second seed a and c tie, which is no order of theirs: only b and c are left.
  assert found["agreement_of_seeds"] == pytest.approx((1 + 1 / 3) / 2)
  # The best by the means is b, whose AUC on the log is a half below; all three hold the best.
  assert (found["regret"], found["regret_at_3"], found["regret_of_seeds"]) == (0.5, 0, 0.25)


def test_whom_a_search_gave_up_ranks_below_in_the_interval_too():
  # All have one AUC, and c came farthest.
  found = rankings(search=tuple(trained(0.5, 0.5, rungs=[rung] * 2) for rung in (1, 0, 2))).figures("search")
  assert found["agreement"] == pytest.approx(1 / 3) and found["regret"] == 1
  assert found["agreement_low"] <= 1 / 3 <= found["agreement_high"]


def test_pairs_of_some_members():
  one = rankings(source=(trained(1.0, 1.0), trained(0.0, 0.0), trained(0.5, 0.5)))
  assert one.pairs_with([2]) == [(0, 2), (1, 2)]
  # b and c are turned round.
  assert one.figures("source", one.pairs_with([2]))["agreement"] == 0.5
  assert one.agreement("source", one.pairs_with([0])).share == 1.0
  assert one.has("source") and not one.has("other")


def test_a_single_seed_has_no_interval():
  scores = {(LOG, name): trained(auc) for name, auc in zip(NAMES, (1.0, 0.5, 0.0), strict=True)}
  found = Rankings(scores, NAMES, LABELS).figures(LOG)
  assert found["agreement"] == 1 and np.isnan(found["agreement_low"]) and np.isnan(found["agreement_high"])
