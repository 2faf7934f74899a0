"""Metrics within groups, by hand and against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diet_tf import errors, group_metrics, metrics
from diet_tf.group_metrics import NO_GROUP, Groups

# Ann has two clicks of four rows, Bob one of two with one score for both, Cleo one row, a click, and Dan two without.
KEYS = np.array(["ann", "bob", "ann", "cleo", "ann", "bob", "ann", "dan", "dan"])
LABELS = np.array([1, 0, 0, 1, 1, 1, 0, 0, 0], np.float32)
SCORES = np.array([0.9, 0.5, 0.8, 0.7, 0.3, 0.5, 0.1, 0.2, 0.4])
GROUPS = Groups.of(KEYS)
SECOND = 1 / math.log2(3)  # The discount of rank 2.

# Few values of each, so that there are ties, groups of one class and rows without a group.
_ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3), st.integers(-1, 4)), min_size=1, max_size=40)


def _arrays(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, Groups]:
  labels, scores, keys = (np.array(column) for column in zip(*rows, strict=True))
  return labels.astype(float), scores.astype(float), Groups.of(keys, keys >= 0)


def _by_group(rows: list[tuple[int, int, int]]) -> list[list[tuple[int, int]]]:
  return [[(label, score) for label, score, key in rows if key == group]
          for group in sorted({key for _, _, key in rows if key >= 0})]


def _mean_over_ties(group: list[tuple[int, int]], worth) -> float:
  """The sum over positives of what their rank is worth, each having the mean over the ranks of its ties."""
  total = 0.0
  for label, score in group:
    if label:
      better = sum(other > score for _, other in group)
      ties = sum(other == score for _, other in group)
      total += sum(worth(rank) for rank in range(better + 1, better + ties + 1)) / ties
  return total


def test_groups_are_numbered_in_the_order_of_their_keys():
  assert GROUPS.codes.tolist() == [0, 1, 0, 2, 0, 1, 0, 3, 3] and GROUPS.count == 4
  assert GROUPS.sizes.tolist() == [4, 2, 1, 2] and GROUPS.sums(LABELS).tolist() == [2, 1, 1, 0]
  some = Groups.of(np.array([7, 3, 7]), np.array([True, False, True]))
  assert some.codes.tolist() == [0, NO_GROUP, 0] and some.count == 1
  assert some.sizes.tolist() == [2] and some.sums(np.array([1.0, 5.0, 2.0])).tolist() == [3]


def test_gauc_by_hand():
  # Of Ann's four pairs three are right; Bob's one is a tie. Cleo and Dan have no pair.
  np.testing.assert_array_equal(group_metrics.group_aucs(LABELS, SCORES, GROUPS), [0.75, 0.5, math.nan, math.nan])
  assert group_metrics.gauc(LABELS, SCORES, GROUPS) == pytest.approx((4 * 0.75 + 2 * 0.5) / 6)


def test_ndcg_by_hand():
  # Ann's order is click, none, click, none; Bob's click is first or second.
  np.testing.assert_allclose(group_metrics.group_ndcgs(LABELS, SCORES, GROUPS, 2),
                             [1 / (1 + SECOND), (1 + SECOND) / 2, 1, math.nan])
  np.testing.assert_allclose(group_metrics.group_ndcgs(LABELS, SCORES, GROUPS, 1), [1, 0.5, 1, math.nan])
  np.testing.assert_allclose(group_metrics.group_ndcgs(LABELS, SCORES, GROUPS, 100)[0], 1.5 / (1 + SECOND))
  assert group_metrics.ndcg(LABELS, SCORES, GROUPS, 1) == pytest.approx(2.5 / 3)


def test_recall_by_hand():
  np.testing.assert_allclose(group_metrics.group_recalls(LABELS, SCORES, GROUPS, 1), [0.5, 0.5, 1, math.nan])
  np.testing.assert_allclose(group_metrics.group_recalls(LABELS, SCORES, GROUPS, 3), [1, 1, 1, math.nan])
  assert group_metrics.recall(LABELS, SCORES, GROUPS, 1) == pytest.approx(2 / 3)


@settings(max_examples=60, deadline=None)
@given(_ROWS, st.integers(1, 6))
def test_figures_of_groups_are_those_of_plain_loops(rows, at):
  labels, scores, groups = _arrays(rows)
  aucs, ndcgs, recalls = [], [], []
  for group in _by_group(rows):
    positives = [score for label, score in group if label]
    negatives = [score for label, score in group if not label]
    pairs = [(a > b) + (a == b) / 2 for a in positives for b in negatives]
    aucs.append(sum(pairs) / len(pairs) if pairs else math.nan)
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(at, len(positives)) + 1))
    gain = _mean_over_ties(group, lambda rank: 1 / math.log2(rank + 1) if rank <= at else 0.0)
    ndcgs.append(gain / best if positives else math.nan)
    found = _mean_over_ties(group, lambda rank: float(rank <= at))
    recalls.append(found / len(positives) if positives else math.nan)
  np.testing.assert_allclose(group_metrics.group_aucs(labels, scores, groups), aucs, atol=1e-12)
  np.testing.assert_allclose(group_metrics.group_ndcgs(labels, scores, groups, at), ndcgs, atol=1e-12)
  np.testing.assert_allclose(group_metrics.group_recalls(labels, scores, groups, at), recalls, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(_ROWS, st.integers(1, 6), st.randoms(use_true_random=False))
def test_neither_the_order_of_rows_nor_a_growing_transform_matters(rows, at, random):
  labels, scores, groups = _arrays(rows)
  order = np.array(random.sample(range(len(rows)), len(rows)))
  moved = Groups(groups.codes[order], groups.count)
  for figure in (group_metrics.group_aucs, lambda *given: group_metrics.group_ndcgs(*given, at),
                 lambda *given: group_metrics.group_recalls(*given, at)):
    expected = figure(labels, scores, groups)
    np.testing.assert_array_equal(figure(labels[order], scores[order], moved), expected)
    np.testing.assert_array_equal(figure(labels, np.exp(2 * scores) - 5, groups), expected)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=1, max_size=60))
def test_gauc_of_one_group_is_the_auc(rows):
  labels, scores = (np.array(column, float) for column in zip(*[*rows, (True, 0), (False, 0)], strict=True))
  one = Groups.of(np.zeros(len(labels)))
  assert group_metrics.gauc(labels, scores, one) == pytest.approx(metrics.auc(labels, scores), abs=1e-12)


def test_what_has_no_figure_in_any_group_is_refused():
  dan = Groups.of(KEYS, KEYS == "dan")
  for metric in (group_metrics.gauc, lambda *rows: group_metrics.ndcg(*rows, 3),
                 lambda *rows: group_metrics.recall(*rows, 3)):
    with pytest.raises(errors.DataError, match="1 group, none of them such"):
      metric(LABELS, SCORES, dan)
  nobody = Groups.of(KEYS, np.zeros(9, bool))
  with pytest.raises(errors.DataError, match="0 groups"):
    group_metrics.gauc(LABELS, SCORES, nobody)


def test_what_is_no_ranking_is_refused():
  with pytest.raises(errors.DataError, match="0 or 1"):
    group_metrics.gauc(LABELS / 2, SCORES, GROUPS)
  with pytest.raises(errors.NumericsError, match="finite"):
    group_metrics.ndcg(LABELS, SCORES * np.nan, GROUPS, 3)
  with pytest.raises(errors.DataError, match="9 for 8 examples"):
    group_metrics.gauc(LABELS[1:], SCORES[1:], GROUPS)
