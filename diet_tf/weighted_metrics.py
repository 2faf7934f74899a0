"""Metrics of rows that count differently, and what weights do to components; numpy only.

A row's weight is how many rows it stands for: the inverse of the share of rows like it that a log kept, where negatives
were sampled down, or of its propensity. A metric is then what it would be, on average, over the rows that they stand
for. Of components the weighted mean is the metric `M`; `M + w_i / mean(w) (c_i - M)` has the metric as its plain mean,
and by the delta method the variance over rows that the ratio of two weighted sums has, so that paired differences and
intervals take them like any others.
"""

from __future__ import annotations

import numpy as np

from diet_tf.errors import DataError
from diet_tf.metrics import check_classes, checked


def checked_weights(weights: np.ndarray, num_rows: int) -> np.ndarray:
  """The weights of rows, `[num_rows]` float64.

  Raises:
    DataError: they are not as many, one is negative or not finite, or all are 0.
  """
  weights = np.asarray(weights, np.float64).ravel()
  if len(weights) != num_rows:
    raise DataError("weights", rule="there is one for each row.", received=f"{len(weights)} for {num_rows} rows.",
                    remedy="pass the weights of the same rows.")
  if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
    raise DataError("weights", rule="they are finite and not negative, and not all 0.",
                    received=f"weights from {weights.min()} to {weights.max()}.",
                    remedy="mend the column that they come from.")
  return weights


def weighted_components(components: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Components `[num_rows]` whose plain mean is the weighted mean of those given, and which have its noise.

  Args:
    components: `[num_rows]`.
    weights: `[num_rows]`, how many rows each stands for.
  """
  weights = checked_weights(weights, len(components))
  shares = weights / weights.mean()
  mean = np.mean(shares * components)
  return mean + shares * (components - mean)


def weighted_auc_components(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """The components of `weighted_auc`, `[num_examples]`, whose mean over either class is the metric.

  Args:
    labels: `[num_examples]`, 0 or 1.
    scores: `[num_examples]`, logits or probabilities.
    weights: `[num_examples]`, how many rows each stands for.

  Raises:
    DataError: the labels are of one class, or the weights of a class are all 0, or one is negative or not finite.
    NumericsError: a score is not finite.
  """
  labels, scores = checked(labels, scores)
  weights = checked_weights(weights, len(labels))
  check_classes(labels)
  check_classes(labels[weights > 0], "labels of weight", "give rows of both classes a weight above 0.")
  positive = labels == 1.0
  _, places = np.unique(scores, return_inverse=True)
  found = np.empty(len(labels))
  for own, sign in ((positive, 1.0), (~positive, -1.0)):
    # By distinct score, the weight of the other class; of that at the same score, half is below.
    others = np.bincount(places, np.where(own, 0.0, weights))
    below = np.cumsum(others) - others / 2
    share = below[places[own]] / others.sum()
    found[own] = weighted_components(share if sign > 0 else 1.0 - share, weights[own])
  return found


def weighted_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
  """The share of (clicked, unclicked) pairs that the scores order rightly, a pair counting as its weights' product.

  `sum_{i, j} w_i w_j ([s_i > s_j] + [s_i = s_j] / 2) / sum_{i, j} w_i w_j` over clicked i and unclicked j. Where all
  rows of a class were sampled alike, this is the AUC without weights.

  Args:
    labels: `[num_examples]`, 0 or 1.
    scores: `[num_examples]`, logits or probabilities.
    weights: `[num_examples]`, how many rows each stands for.

  Raises:
    DataError: the labels are of one class, or the weights of a class are all 0, or one is negative or not finite.
    NumericsError: a score is not finite.
  """
  components = weighted_auc_components(labels, scores, weights)
  return float(components[np.asarray(labels).ravel() == 1].mean())
