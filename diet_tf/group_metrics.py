"""Metrics of rankings within groups of rows, such as the rows of a user or of a request; numpy only.

Each is a mean over groups of a figure that depends on the order of the group's scores alone. It is NaN for a group of
which nothing is to be said, since all rows are of one class or none is positive: such groups are left out of the mean,
and callers count them. Of equal scores, all orders are as likely, and a figure is its mean over them (McSherry and
Najork, ECIR 2008), so that nothing hangs on the order of rows.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from diet_tf.errors import DataError
from diet_tf.metrics import checked, is_positive
from diet_tf.weighted_metrics import checked_weights

# The code of a row that belongs to no group.
NO_GROUP = -1


@dataclasses.dataclass(frozen=True)
class Groups:
  """Which group each row belongs to.

  Attributes:
    codes: `[num_rows]` int64, the number of each row's group, from 0 to `count - 1`; `NO_GROUP` of a row of none.
    count: number of groups, each of which has at least one row.
  """

  codes: np.ndarray
  count: int

  @classmethod
  def of(cls, keys: np.ndarray, belongs: np.ndarray | None = None) -> Groups:
    """The groups of rows with one key, in ascending order of their keys.

    Args:
      keys: `[num_rows]`, what the rows of a group have in common.
      belongs: `[num_rows]` bool, whether a row belongs to a group at all; None for all rows.
    """
    keys = np.asarray(keys).ravel()
    belongs = np.ones(len(keys), bool) if belongs is None else np.asarray(belongs, bool)
    distinct, codes = np.unique(keys[belongs], return_inverse=True)
    whole = np.full(len(keys), NO_GROUP, np.int64)
    whole[belongs] = codes
    return cls(whole, len(distinct))

  @property
  def sizes(self) -> np.ndarray:
    """`[count]` int64, the number of rows of each group."""
    return np.bincount(self.codes[self.codes >= 0], minlength=self.count)

  def sums(self, values: np.ndarray) -> np.ndarray:
    """`[count]` float64, the sum over each group's rows of `values` (`[num_rows]`)."""
    grouped = self.codes >= 0
    return np.bincount(self.codes[grouped], np.asarray(values, np.float64)[grouped], self.count)


@dataclasses.dataclass(frozen=True)
class _Ties:
  """Runs of rows of one group with one score, best first within each group.

  All arrays have one entry per run: its group, its rows, the weights of the positives and of the negatives among them,
  which are their numbers where rows have no weights, and the rows of the group before it.
  """

  group: np.ndarray
  size: np.ndarray
  positives: np.ndarray
  negatives: np.ndarray
  before: np.ndarray


def _ties(labels: np.ndarray, scores: np.ndarray, groups: Groups, weights: np.ndarray | None = None) -> _Ties:
  labels, scores = checked(labels, scores)
  if len(groups.codes) != len(labels):
    raise DataError("groups", rule="there is one entry per example.", received=f"{len(groups.codes)} for {len(labels)} "
                    "examples.", remedy="pass the groups of the same rows.")
  grouped = np.flatnonzero(groups.codes >= 0)
  positive = is_positive(labels)[grouped]
  order = np.lexsort((-scores[grouped], groups.codes[grouped]))
  codes, scores = groups.codes[grouped][order], scores[grouped][order]
  begins = np.concatenate([[True], (codes[1:] != codes[:-1]) | (scores[1:] != scores[:-1])])[:len(codes)]
  starts, run = np.flatnonzero(begins), np.cumsum(begins) - 1
  counts = np.ones(len(codes)) if weights is None else checked_weights(weights, len(labels))[grouped][order]
  positives, negatives = (np.bincount(run, np.where(of_class, counts, 0.0), len(starts))
                          for of_class in (positive[order], ~positive[order]))
  first_of_group = np.concatenate([[0], np.cumsum(groups.sizes)])[codes[starts]]
  return _Ties(codes[starts], np.diff(starts, append=len(codes)), positives, negatives, starts - first_of_group)


def group_aucs(labels: np.ndarray, scores: np.ndarray, groups: Groups,
               weights: np.ndarray | None = None) -> np.ndarray:
  """The AUC within each group, as `[groups.count]` float64; NaN for a group of one class, or with weight in one alone.

  Args:
    labels: `[num_examples]`, 0 or 1.
    scores: `[num_examples]`, logits or probabilities.
    groups: groups of the same examples.
    weights: `[num_examples]`, how many rows each stands for (`diet_tf.weighted_metrics`); None counts each once.

  Raises:
    DataError: a label is neither 0 nor 1, or a weight is negative or not finite.
    NumericsError: a score is not finite.
  """
  ties = _ties(labels, scores, groups, weights)
  positives, negatives = (np.bincount(ties.group, of_class, groups.count)
                          for of_class in (ties.positives, ties.negatives))
  # Of each run, the negatives of the group that are below it; of those in the run, half.
  up_to = np.cumsum(ties.negatives) - (np.cumsum(negatives) - negatives)[ties.group]
  below = negatives[ties.group] - up_to + ties.negatives / 2
  ordered = np.bincount(ties.group, ties.positives * below, groups.count)
  pairs = positives * negatives
  return ordered / np.where(pairs > 0, pairs, math.nan)


def gauc(labels: np.ndarray, scores: np.ndarray, groups: Groups, weights: np.ndarray | None = None) -> float:
  """The mean of the AUCs within groups, each weighed by its number of rows (impressions), or by their weights.

  `GAUC = sum_g n_g AUC_g / sum_g n_g` over groups with rows of both classes (Zhu et al., KDD 2017).

  Args:
    labels: `[num_examples]`, 0 or 1.
    scores: `[num_examples]`, logits or probabilities.
    groups: groups of the same examples, the users for instance.
    weights: `[num_examples]`, how many rows each stands for (`diet_tf.weighted_metrics`); None counts each once.

  Raises:
    DataError: no group has rows of both classes.
    NumericsError: a score is not finite.
  """
  aucs = group_aucs(labels, scores, groups, weights)
  return _mean(aucs, groups.sizes if weights is None else groups.sums(weights), "a group with rows of both classes")


def group_ndcgs(labels: np.ndarray, scores: np.ndarray, groups: Groups, at: int) -> np.ndarray:
  """The NDCG@k within each group, as `[groups.count]` float64; NaN for a group without a positive.

  `DCG = sum_r y_r / log2(1 + r)` over the ranks 1 to k, over that of the best order (Jarvelin and Kekalainen, 2002).

  Args:
    labels: `[num_examples]`, 0 or 1.
    scores: `[num_examples]`, logits or probabilities.
    groups: groups of the same examples.
    at: number of ranks that count, k, at least 1.

  Raises:
    DataError: a label is neither 0 nor 1.
    NumericsError: a score is not finite.
  """
  ties = _ties(labels, scores, groups)
  deepest = int(min(at, groups.sizes.max(initial=0)))
  discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(deepest) + 2.0))])
  # Each order of a run is as likely: a positive has the mean discount of the run's ranks.
  ends = np.minimum(ties.before + ties.size, deepest)
  mean_discounts = (discounts[ends] - discounts[np.minimum(ties.before, deepest)]) / ties.size
  gains = np.bincount(ties.group, ties.positives * mean_discounts, groups.count)
  positives = np.bincount(ties.group, ties.positives, groups.count).astype(np.int64)
  best = discounts[np.minimum(positives, deepest)]
  return gains / np.where(positives > 0, best, math.nan)


def ndcg(labels: np.ndarray, scores: np.ndarray, groups: Groups, at: int) -> float:
  """The mean over groups with a positive of the NDCG@k within them, see `group_ndcgs`.

  Raises:
    DataError: no group has a positive.
    NumericsError: a score is not finite.
  """
  return _mean(group_ndcgs(labels, scores, groups, at), None, "a group with a positive")


def group_recalls(labels: np.ndarray, scores: np.ndarray, groups: Groups, at: int) -> np.ndarray:
  """The share of each group's positives that are among its k best, as `[groups.count]`; NaN without a positive.

  Args:
    labels: `[num_examples]`, 0 or 1.
    scores: `[num_examples]`, logits or probabilities.
    groups: groups of the same examples.
    at: number of ranks that count, k, at least 1.

  Raises:
    DataError: a label is neither 0 nor 1.
    NumericsError: a score is not finite.
  """
  ties = _ties(labels, scores, groups)
  within = np.clip(at - ties.before, 0, ties.size) / ties.size
  found = np.bincount(ties.group, ties.positives * within, groups.count)
  positives = np.bincount(ties.group, ties.positives, groups.count)
  return found / np.where(positives > 0, positives, math.nan)


def recall(labels: np.ndarray, scores: np.ndarray, groups: Groups, at: int) -> float:
  """The mean over groups with a positive of the recall@k within them, see `group_recalls`.

  Raises:
    DataError: no group has a positive.
    NumericsError: a score is not finite.
  """
  return _mean(group_recalls(labels, scores, groups, at), None, "a group with a positive")


def _mean(values: np.ndarray, weights: np.ndarray | None, needed: str) -> float:
  known = ~np.isnan(values)
  if not known.any():
    raise DataError("groups", rule=f"a metric within groups needs {needed}.",
                    received=f"{len(values):,} group{'' if len(values) == 1 else 's'}, none of them such.",
                    remedy="use more rows, or another field as the group.")
  return float(np.average(values[known], weights=None if weights is None else weights[known]))
