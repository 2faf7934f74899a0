"""How trainings are scored, one per seed; numpy only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from diet_tf import metrics

# What settings can be chosen by, see `selection_score`.
SELECTION_MEASURES = ("auc", "log_loss")

# Maps labels and logits `[num_examples]` to a figure.
Metric = Callable[[np.ndarray, np.ndarray], float]


def selection_score(measure: str, labels: np.ndarray, logits: np.ndarray) -> float:
  """How good predictions are, more being better: the AUC, or the log loss with its sign changed.

  Args:
    measure: name of the measure, "auc" or "log_loss" (`SELECTION_MEASURES`).
    labels: `[num_examples]`, 0 or 1.
    logits: `[num_examples]` of the same examples.

  Raises:
    DataError: the AUC is asked for and the labels are of one class.
    NumericsError: a logit is not finite.
  """
  return metrics.auc(labels, logits) if measure == "auc" else -metrics.log_loss(labels, logits)


def noise_bound(labels: np.ndarray) -> float:
  """About what the AUC of a model is uncertain by for want of examples: 1/2 over the root of the rarer class's number.

  The variance of an AUC is at most A (1 - A) over the smaller number of the two classes (Cortes and Mohri, NeurIPS
  2004), which is at most 1/4 of that. Log losses of click models, in nats, are less uncertain.

  Args:
    labels: `[num_examples]`, 0 or 1.
  """
  num_positive = int(np.sum(labels))
  return 0.5 / max(1, min(num_positive, len(labels) - num_positive)) ** 0.5


def of_seeds(metric: Metric, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
  """A metric of each training, `[num_seeds]` float64.

  Args:
    metric: function of labels and logits, such as `diet_tf.metrics.auc`.
    labels: `[num_examples]` labels of the examples.
    logits: `[num_seeds, num_examples]` logits after each training.
  """
  return np.array([metric(labels, one) for one in logits], np.float64)


def components_of_seeds(labels: np.ndarray, logits: np.ndarray, dtype: Any = np.float64) -> np.ndarray:
  """The components of each training's AUC, `[num_seeds, num_examples]`; see `diet_tf.metrics.auc_components`.

  Args:
    labels: `[num_examples]`, 0 or 1.
    logits: `[num_seeds, num_examples]` logits after each training.
    dtype: type of the result. `np.float32` takes half the memory where examples are many, and rounds far below the
      noise.
  """
  return np.stack([metrics.auc_components(labels, one).astype(dtype) for one in logits])
