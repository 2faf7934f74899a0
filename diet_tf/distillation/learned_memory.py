"""What refinement learns of a memory: slots and recipe as tensors without bounds, and as the inner loop takes them.

Id weights are a softmax over a slot's places, labels a sigmoid, sample weights and rates exponentials, so that whatever
step Adam takes, weights stay positive and sum to 1, and labels stay in (0, 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from diet_tf.memory.slots import Slots
from diet_tf.models.parameter_groups import PARAMETER_GROUPS
from diet_tf.training.bilevel import TrainingInputs

# Bounds of a learned id weight's logarithm before normalisation, and of a soft label's logit.
MIN_LOG_SHARE = -8.0
MAX_LABEL_LOGIT = 8.0
# Logarithm of the share of a place without an id: its exponential is 0, and so is a sum's gradient by it.
NO_SHARE = -1e9
# What of a slot can be learned, in the order of `LearnedMemory.slot_variables`.
LEARNABLE = ("id_weights", "labels", "sample_weights")


class LearnedMemory:
  """The tensors that the outer loop moves, and what the inner loop trains on as a function of them.

  Args:
    slots: slots that the tensors start at, with compact ids.
    rates: initial learning rate per group.
    multipliers: `[num_steps]` initial step multipliers.
    movable: `[num_slots]` bool; the other slots keep labels, id weights and sample weights.
  """

  def __init__(self, slots: Slots, rates: Mapping[str, float], multipliers: np.ndarray, movable: np.ndarray) -> None:
    labels = np.clip(slots.labels.astype(np.float64), 1e-6, 1 - 1e-6)
    self._ids = tf.constant(slots.ids)
    self._movable = None if movable.all() else tf.constant(movable)
    self._fixed = [tf.constant(value) for value in (slots.weights, slots.labels, slots.sample_weights)]
    self.mixture_logits = tf.Variable(np.where(
        slots.weights > 0, np.log(np.maximum(slots.weights, math.exp(MIN_LOG_SHARE))), NO_SHARE).astype(np.float32),
                                      name="id weights")
    self.label_logits = tf.Variable(np.clip(np.log(labels / (1 - labels)), -MAX_LABEL_LOGIT, MAX_LABEL_LOGIT).astype(
        np.float32), name="soft labels")
    self.log_sample_weights = tf.Variable(np.log(slots.sample_weights), name="sample weights")
    log_rates = np.log([rates[group] for group in PARAMETER_GROUPS]).astype(np.float32)
    self.log_rates = tf.Variable(log_rates, name="learning rates")
    self.log_multipliers = tf.Variable(np.log(multipliers).astype(np.float32), name="step multipliers")

  @property
  def slot_variables(self) -> list[tf.Variable]:
    """Id weights, soft labels and sample weights, in the order of `TrainingInputs.differentiable()`."""
    return [self.mixture_logits, self.label_logits, self.log_sample_weights]

  @property
  def recipe_variables(self) -> list[tf.Variable]:
    """Learning rates and step multipliers, in the order of `TrainingInputs.differentiable()`."""
    return [self.log_rates, self.log_multipliers]

  @property
  def variables(self) -> list[tf.Variable]:
    """All that the outer loop moves."""
    return self.slot_variables + self.recipe_variables

  def inputs(self) -> TrainingInputs:
    """What a proxy is trained on."""
    moved = [tf.nn.softmax(self.mixture_logits, axis=2), tf.sigmoid(self.label_logits),
             tf.exp(self.log_sample_weights)]
    weights, labels, sample_weights = moved if self._movable is None else (
        tf.where(tf.reshape(self._movable, [-1] + [1] * (len(value.shape) - 1)), value, fixed)
        for value, fixed in zip(moved, self._fixed))
    return TrainingInputs(self._ids, weights, labels, sample_weights / tf.reduce_mean(sample_weights),
                          tf.exp(self.log_rates), tf.exp(self.log_multipliers))
