"""Metrics that are means over rows, to first order, each beside what every row adds to it; numpy only.

The components of a metric are one number per row: their mean is the metric, and their variance over rows, divided by
the number of rows, is the metric's variance by the delta method. Of two models, the same holds of the differences row
by row, which is what tells them apart.
"""

from __future__ import annotations

import numpy as np

from diet_tf.errors import DataError
from diet_tf.metrics import checked, midranks
from diet_tf.weighted_metrics import checked_weights, weighted_components

# Bins of the expected calibration error, with about as many rows each.
NUM_BINS = 15


def click_probabilities(logits: np.ndarray) -> np.ndarray:
  """The probabilities of logits, of their shape, in float64; NaN of NaN."""
  with np.errstate(invalid="ignore"):
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))


def log_loss_components(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
  """The log loss of each row in nats, `[num_examples]`; their mean is `diet_tf.metrics.log_loss`.

  Args:
    labels: `[num_examples]`, in [0, 1].
    logits: `[num_examples]`.
    weights: `[num_examples]`, how many rows each stands for (`diet_tf.weighted_metrics`); None counts each once.

  Raises:
    NumericsError: a logit is not finite.
  """
  labels, logits = checked(labels, logits)
  return _weighted(np.logaddexp(0.0, logits) - labels * logits, weights)


def _weighted(components: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
  return components if weights is None else weighted_components(components, weights)


def calibration_error_components(labels: np.ndarray, logits: np.ndarray,
                                 weights: np.ndarray | None = None) -> np.ndarray:
  """The components of `calibration_error`, `[num_examples]`.

  `|ln r| + s (p_i / mean(p) - y_i / mean(y))`, with the ratio `r` of predicted to observed clicks and the sign `s` of
  its logarithm; with weights, of `w p` and `w y`.

  Args:
    labels: `[num_examples]`, in [0, 1].
    logits: `[num_examples]`.
    weights: `[num_examples]`, how many rows each stands for (`diet_tf.weighted_metrics`); None counts each once.

  Raises:
    DataError: there is no click.
    NumericsError: a logit is not finite.
  """
  labels, logits = checked(labels, logits)
  weights = np.ones(len(labels)) if weights is None else checked_weights(weights, len(labels))
  clicks = np.sum(weights * labels)
  if clicks <= 0.0:
    raise DataError("labels", rule="calibration needs at least one click.", received="none.",
                    remedy="use a span with clicks.")
  with np.errstate(divide="ignore"):  # A row of weight 0 predicts nothing.
    logarithms = np.log(weights) - np.logaddexp(0.0, -logits)
  predicted = np.logaddexp.reduce(logarithms)
  log_ratio = predicted - np.log(clicks)
  return np.abs(log_ratio) + np.sign(log_ratio) * len(labels) * (
      np.exp(logarithms - predicted) - weights * labels / clicks)


def calibration_error(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> float:
  """How far predicted clicks are from those there were: `|ln(predicted / observed)|`, 0 where they are as many.

  See `calibration_error_components`, and `diet_tf.metrics.calibration` for the ratio itself.
  """
  return float(calibration_error_components(labels, logits, weights).mean())


def ece_components(labels: np.ndarray, logits: np.ndarray, num_bins: int = NUM_BINS,
                   weights: np.ndarray | None = None) -> np.ndarray:
  """The components of `expected_calibration_error`, `[num_examples]`.

  `s_b (p_i - y_i)`, with the sign `s_b` of what the row's bin predicts less what it observes. Bins and signs count as
  given, so that the noise of a bin that is close to being calibrated is overstated.

  Args:
    labels: `[num_examples]`, in [0, 1].
    logits: `[num_examples]`.
    num_bins: number of bins.
    weights: `[num_examples]`, how many rows each stands for (`diet_tf.weighted_metrics`); None counts each once.

  Raises:
    NumericsError: a logit is not finite.
  """
  labels, logits = checked(labels, logits)
  # Equal predictions share a rank, and so a bin: the order of the rows makes no difference.
  below = (midranks(logits) - 0.5) / len(logits) if weights is None else _weight_below(logits, weights)
  bins = np.minimum(below * num_bins, num_bins - 1).astype(np.int64)
  gaps = click_probabilities(logits) - labels
  sums = np.bincount(bins, gaps if weights is None else gaps * checked_weights(weights, len(gaps)), num_bins)
  return _weighted(np.sign(sums)[bins] * gaps, weights)


def _weight_below(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """The share of all weight that is below each value, in [0, 1]; of that at the same value, half is below."""
  _, places = np.unique(values, return_inverse=True)
  at = np.bincount(places, checked_weights(weights, len(values)))
  return ((np.cumsum(at) - at / 2) / at.sum())[places]


def expected_calibration_error(labels: np.ndarray, logits: np.ndarray, num_bins: int = NUM_BINS,
                               weights: np.ndarray | None = None) -> float:
  """The distance of predicted from observed click rates in bins of equally many rows, in the mean over rows.

  `ECE = sum_b n_b / n |mean_b(p) - mean_b(y)|` (Naeini, Cooper and Hauskrecht, AAAI 2015), with the rows in bins by the
  rank of their prediction: where few rows are clicks, bins of equal width would have nearly all rows in the first. It
  is 0 for a calibrated model only with infinitely many rows, as noise never lowers it.

  Args:
    labels: `[num_examples]`, in [0, 1].
    logits: `[num_examples]`.
    num_bins: number of bins, with weights of equal weight.
    weights: `[num_examples]`, how many rows each stands for (`diet_tf.weighted_metrics`); None counts each once.

  Raises:
    NumericsError: a logit is not finite.
  """
  return float(ece_components(labels, logits, num_bins, weights).mean())


def rmse_components(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
  """The components of `rmse`, `[num_examples]`: `R + (e_i^2 - R^2) / (2 R)`, with the errors `e` and the RMSE `R`.

  Args:
    labels: `[num_examples]`.
    predictions: `[num_examples]`, in the labels' units.
    weights: `[num_examples]`, how many rows each stands for (`diet_tf.weighted_metrics`); None counts each once.

  Raises:
    NumericsError: a prediction is not finite.
  """
  labels, predictions = checked(labels, predictions)
  squares = _weighted((predictions - labels)**2, weights)
  mean = squares.mean()
  return np.sqrt(mean) + (squares - mean) / (2 * np.sqrt(mean)) if mean > 0.0 else squares


def rmse(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
  """The root of the mean square error, in the labels' units.

  Args:
    labels: `[num_examples]`.
    predictions: `[num_examples]`, in the labels' units.
    weights: `[num_examples]`, how many rows each stands for (`diet_tf.weighted_metrics`); None counts each once.

  Raises:
    NumericsError: a prediction is not finite.
  """
  return float(rmse_components(labels, predictions, weights).mean())
