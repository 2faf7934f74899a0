"""Metrics that are means over rows, to first order, each beside what every row adds to it; numpy only.

The components of a metric are one number per row: their mean is the metric, and their variance over rows, divided by
the number of rows, is the metric's variance by the delta method. Of two models, the same holds of the differences row
by row, which is what tells them apart.
"""

from __future__ import annotations

import numpy as np

from diet_tf.errors import DataError
from diet_tf.metrics import checked, midranks

# Bins of the expected calibration error, with about as many rows each.
NUM_BINS = 15


def click_probabilities(logits: np.ndarray) -> np.ndarray:
  """The probabilities of logits, of their shape, in float64; NaN of NaN."""
  with np.errstate(invalid="ignore"):
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))


def log_loss_components(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
  """The log loss of each row in nats, `[num_examples]`; their mean is `diet_tf.metrics.log_loss`.

  Args:
    labels: `[num_examples]`, in [0, 1].
    logits: `[num_examples]`.
  """
  labels, logits = checked(labels, logits)
  return np.logaddexp(0.0, logits) - labels * logits


def calibration_error_components(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
  """The components of `calibration_error`, `[num_examples]`.

  `|ln r| + s (p_i / mean(p) - y_i / mean(y))`, with the ratio `r` of predicted to observed clicks and the sign `s` of
  its logarithm.

  Args:
    labels: `[num_examples]`, in [0, 1].
    logits: `[num_examples]`.

  Raises:
    DataError: there is no click.
    NumericsError: a logit is not finite.
  """
  labels, logits = checked(labels, logits)
  clicks = labels.sum()
  if clicks <= 0.0:
    raise DataError("labels", rule="calibration needs at least one click.", received="none.",
                    remedy="use a span with clicks.")
  logarithms = -np.logaddexp(0.0, -logits)
  predicted = np.logaddexp.reduce(logarithms)
  log_ratio = predicted - np.log(clicks)
  return np.abs(log_ratio) + np.sign(log_ratio) * len(labels) * (np.exp(logarithms - predicted) - labels / clicks)


def calibration_error(labels: np.ndarray, logits: np.ndarray) -> float:
  """How far predicted clicks are from those there were: `|ln(predicted / observed)|`, 0 where they are as many.

  See `calibration_error_components`, and `diet_tf.metrics.calibration` for the ratio itself.
  """
  return float(calibration_error_components(labels, logits).mean())


def ece_components(labels: np.ndarray, logits: np.ndarray, num_bins: int = NUM_BINS) -> np.ndarray:
  """The components of `expected_calibration_error`, `[num_examples]`.

  `s_b (p_i - y_i)`, with the sign `s_b` of what the row's bin predicts less what it observes. Bins and signs count as
  given, so that the noise of a bin that is close to being calibrated is overstated.

  Args:
    labels: `[num_examples]`, in [0, 1].
    logits: `[num_examples]`.
    num_bins: number of bins.

  Raises:
    NumericsError: a logit is not finite.
  """
  labels, logits = checked(labels, logits)
  # Equal predictions share a rank, and so a bin: the order of the rows makes no difference.
  bins = np.minimum((midranks(logits) - 0.5) * num_bins / len(logits), num_bins - 1).astype(np.int64)
  gaps = click_probabilities(logits) - labels
  return np.sign(np.bincount(bins, gaps, num_bins))[bins] * gaps


def expected_calibration_error(labels: np.ndarray, logits: np.ndarray, num_bins: int = NUM_BINS) -> float:
  """The distance of predicted from observed click rates in bins of equally many rows, in the mean over rows.

  `ECE = sum_b n_b / n |mean_b(p) - mean_b(y)|` (Naeini, Cooper and Hauskrecht, AAAI 2015), with the rows in bins by the
  rank of their prediction: where few rows are clicks, bins of equal width would have nearly all rows in the first. It
  is 0 for a calibrated model only with infinitely many rows, as noise never lowers it.

  Args:
    labels: `[num_examples]`, in [0, 1].
    logits: `[num_examples]`.
    num_bins: number of bins.

  Raises:
    NumericsError: a logit is not finite.
  """
  return float(ece_components(labels, logits, num_bins).mean())


def rmse_components(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
  """The components of `rmse`, `[num_examples]`: `R + (e_i^2 - R^2) / (2 R)`, with the errors `e` and the RMSE `R`.

  Args:
    labels: `[num_examples]`.
    predictions: `[num_examples]`, in the labels' units.

  Raises:
    NumericsError: a prediction is not finite.
  """
  labels, predictions = checked(labels, predictions)
  squares = (predictions - labels)**2
  mean = squares.mean()
  return np.sqrt(mean) + (squares - mean) / (2 * np.sqrt(mean)) if mean > 0.0 else squares


def rmse(labels: np.ndarray, predictions: np.ndarray) -> float:
  """The root of the mean square error, in the labels' units.

  Args:
    labels: `[num_examples]`.
    predictions: `[num_examples]`.

  Raises:
    NumericsError: a prediction is not finite.
  """
  return float(rmse_components(labels, predictions).mean())
