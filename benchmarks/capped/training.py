"""Trainings on slots of one log: each architecture is traced once, for memories of all spans, rules and seeds."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.slots import Slots
from diet_tf.training.blocks import in_blocks
from diet_tf.training.inner_settings import InnerSettings
from diet_tf.training.traced import initial_weights, traced_training

BATCH_SIZE = 32
INNER = InnerSettings(BATCH_SIZE, epochs=4)
# Rates of embeddings, linear tables and dense layers; they fall to a tenth along a training.
RATES = (0.01, 0.03, 0.01)


class SlotTraining:
  """One architecture on the whole id spaces of a log.

  Args:
    member: name of the architecture.
    spec: feature spec of the log.
    slots: slots as wide as any that it will be trained on.
  """

  def __init__(self, member: str, spec: FeatureSpec, slots: Slots) -> None:
    self._member, self._spec = member, spec
    self._training = traced_training(member, spec, INNER, slots, seed=0, draws_anew=False)
    self._initial: dict[int, list[tf.Tensor]] = {}

  def _initial_of(self, seed: int) -> list[tf.Tensor]:
    if seed not in self._initial:
      self._initial = {seed: initial_weights(self._member, self._spec, seed, self._training.form)}
    return self._initial[seed]

  def logits(self, slots: Slots, seed: int, ids: np.ndarray) -> np.ndarray:
    """`[num_rows]` logits after a training on the slots from the initial weights of a seed."""
    self._training.train(self._initial_of(seed), _inputs(slots))
    return in_blocks(self._training.logits, ids)

  def hypergradient(self, slots: Slots, seed: int, rows: EncodedRows, importances: np.ndarray) -> list[np.ndarray]:
    """Flat gradients by id weights, labels and sample weights of the loss on the rows after a training.

    Args:
      slots: slots that are trained on.
      seed: seed of the initial weights.
      rows: rows with probabilities as labels.
      importances: `[num_rows]`, weights of the rows in the loss.
    """
    _, gradients = self._training.gradient(
        self._initial_of(seed), tf.constant(0), _inputs(slots), tf.constant(rows.ids),
        tf.constant(rows.labels, tf.float32), tf.constant(importances, tf.float32))
    return [gradient.numpy()[:len(slots)].ravel().astype(np.float64) for gradient in gradients[:3]]

  def removal_costs(self, slots: Slots, seed: int, rows: EncodedRows) -> np.ndarray:
    """`[num_slots]` of `-w dL/dw`, the rise of the loss on the rows to first order when a slot's weight w becomes 0."""
    return -slots.sample_weights * self.hypergradient(slots, seed, rows, np.ones(len(rows)))[2]


def _inputs(slots: Slots) -> dict[str, tf.Tensor]:
  """The inputs of a training; what lacks to whole batches is filled with slots without weight."""
  missing = -len(slots) % BATCH_SIZE
  whole = slots.take(np.concatenate([np.arange(len(slots)), np.zeros(missing, int)]))
  weights = np.array(whole.sample_weights)
  weights[len(slots):] = 0
  steps = INNER.num_steps(len(whole))
  values = {"ids": whole.ids, "weights": whole.weights, "labels": whole.labels, "sample_weights": weights,
            "learning_rates": np.asarray(RATES, np.float32),
            "step_multipliers": np.linspace(1, 0.1, steps, dtype=np.float32)}
  return {name: tf.constant(value) for name, value in values.items()}
