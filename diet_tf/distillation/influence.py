"""Influence: how much a step on an example (or slot) lowers the loss on a reference set.

With checkpoints `c` of the teacher, learning rate `eta_c` and the mean gradient `G_c` of the loss on the reference set,

    influence(z) = sum_c eta_c <grad l(z; w_c), G_c>

(Pruthi et al., "Estimating Training Data Influence by Tracing Gradient Descent", 2020, eq. 3, with the reference set in
place of one test example). We deviate by keeping only the gradients of the embedding tables and of the last dense
layer, which have a closed form given one batched backward pass to the embeddings: with residual `r = p - y`, the
inputs `h` of the last layer, the Jacobian `J_f = d logit / d e_f` and id weights `a`,

    d l / d kernel = r h,    d l / d bias = r,    d l / d E[id] = r a J_f,    d l / d linear[id] = r a J_linear.

Sign: positive where training on the example lowers the reference loss. Scale: learning rate times squared gradient, so
that scores compare within one stage, and never across stages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from diet_tf.errors import ConfigError, NumericsError
from diet_tf.memory.slots import Slots
from diet_tf.models import RankingModel


@dataclasses.dataclass(frozen=True)
class InfluenceSettings:
  """How influence is measured.

  Attributes:
    batch_size: examples scored at once; scores do not depend on it.
    holdback_fraction: share of a span, chosen by example id, that is the reference set and is never distilled.
  """

  batch_size: int = 4096
  holdback_fraction: float = 0.1

  def __post_init__(self) -> None:
    if self.batch_size < 1:
      raise ConfigError("influence.batch_size", rule="is at least 1.", received=str(self.batch_size),
                        remedy="use 4096.")
    if not 0 < self.holdback_fraction < 1:
      raise ConfigError("influence.holdback_fraction", rule="lies strictly between 0 and 1.",
                        received=str(self.holdback_fraction), remedy="use 0.1.")


@dataclasses.dataclass(frozen=True)
class Factors:
  """What the closed-form gradient of each example is made of.

  Attributes:
    residuals: `[batch_size]`, `p - y`.
    hidden: `[batch_size, num_free]`, the inputs of the last dense layer that have a trained weight.
    embedding_jacobians: `[batch_size, num_fields, embedding_dim]`, `d logit / d e_f`.
    linear_jacobians: `[batch_size]`, `d logit / d linear term`; 0 for a model without one.
  """

  residuals: tf.Tensor
  hidden: tf.Tensor
  embedding_jacobians: tf.Tensor
  linear_jacobians: tf.Tensor


def factors(model: RankingModel, features: dict[str, tf.Tensor], targets: tf.Tensor) -> Factors:
  """The gradient factors of each example, by one batched backward pass from the logits to the embeddings."""
  embeddings, linear = model.embed(features)
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch([embeddings, linear])
    hidden = model.hidden(embeddings, linear, training=False)
    logits = tf.reshape(model.head(hidden), tf.shape(targets))
    # Examples do not interact, so the gradient of the sum holds each example's own Jacobian.
    total = tf.reduce_sum(logits)
  jacobians = tape.gradient(total, [embeddings, linear], unconnected_gradients=tf.UnconnectedGradients.ZERO)
  # A column of fixed weight (a linear or pair term) has no gradient by the head: only through the tables behind it.
  return Factors(tf.sigmoid(logits) - targets, hidden[:, :model.head.num_free], jacobians[0], jacobians[1])


@dataclasses.dataclass
class ReferenceGradient:
  """The mean gradient of the loss on the reference set at one checkpoint, summed up batch by batch.

  Attributes:
    kernel: `[num_free]`.
    bias: `[]`.
    embedding: `[num_table_rows, embedding_dim]`.
    linear: `[num_table_rows]`.
  """

  kernel: tf.Variable
  bias: tf.Variable
  embedding: tf.Variable
  linear: tf.Variable


class InfluenceScorer:
  """Scores examples and slots at one checkpoint of the teacher.

  Args:
    model: the reference member with a checkpoint's weights.
    learning_rate: learning rate that the model was trained with at that checkpoint.
  """

  def __init__(self, model: RankingModel, learning_rate: float) -> None:
    self.model = model
    self.learning_rate = learning_rate
    # Typed without None: what uses it runs after it was measured, which `score` checks.
    self._reference: Any = None

  def _use(self, reference: ReferenceGradient) -> None:
    # A traced function keeps the variables that it was traced with: new ones need new functions.
    self._reference = reference
    self._add = tf.function(self._add_to_reference, reduce_retracing=True, autograph=False)
    self._score_batch = tf.function(self._score, reduce_retracing=True, autograph=False)

  def fit_reference(self, batches: Iterable[tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]]) -> None:
    """Measures the mean gradient on `(features, targets, sample_weights)` batches.

    Raises:
      NumericsError: if there is no example, or the gradient is not finite.
    """
    self._reference = None
    total = 0.0
    for features, targets, sample_weights in batches:
      if self._reference is None:
        self._use(self._zero_reference(features, targets))
      self._add(features, targets, sample_weights)
      total += float(tf.reduce_sum(sample_weights))
    if self._reference is None or total <= 0:
      raise NumericsError("reference set of the influence scores", rule="holds at least one example.",
                          received="none.", remedy="raise influence.holdback_fraction.")
    for field in dataclasses.fields(ReferenceGradient):
      variable = getattr(self._reference, field.name)
      variable.assign(variable / tf.constant(total, variable.dtype))
      if not np.isfinite(variable.numpy()).all():
        raise NumericsError(f"reference gradient of the influence scores, part {field.name!r}", rule="is finite.",
                            received="NaN or infinity.", remedy="lower teacher.learning_rate.")

  def reference_arrays(self) -> list[np.ndarray]:
    """The mean gradient's arrays, in the order of `ReferenceGradient`."""
    return [getattr(self._reference, field.name).numpy() for field in dataclasses.fields(ReferenceGradient)]

  def set_reference(self, values: Sequence[np.ndarray]) -> None:
    """Takes over a mean gradient that was measured elsewhere."""
    self._use(ReferenceGradient(*(tf.Variable(value) for value in values)))

  def _zero_reference(self, features: dict[str, tf.Tensor], targets: tf.Tensor) -> ReferenceGradient:
    one = factors(self.model, features, targets)
    rows = sum(self.model.embedding.spec.num_ids)
    dtype = one.hidden.dtype
    return ReferenceGradient(*(tf.Variable(tf.zeros(shape, dtype)) for shape in
                               ([one.hidden.shape[1]], [], [rows, one.embedding_jacobians.shape[2]], [rows])))

  def _add_to_reference(self, features: dict[str, tf.Tensor], targets: tf.Tensor, sample_weights: tf.Tensor) -> None:
    reference = self._reference
    one = factors(self.model, features, targets)
    residuals = one.residuals * sample_weights
    rows, shares = self.model.rows_and_weights(features)
    reference.kernel.assign_add(tf.linalg.matvec(one.hidden, residuals, transpose_a=True))
    reference.bias.assign_add(tf.reduce_sum(residuals))
    # [batch_size, num_fields, max_ids, embedding_dim]
    updates = residuals[:, None, None, None] * shares[..., None] * one.embedding_jacobians[:, :, None, :]
    flat = tf.reshape(rows, [-1])
    reference.embedding.scatter_add(tf.IndexedSlices(tf.reshape(updates, [-1, updates.shape[3]]), flat))
    linear = (residuals * one.linear_jacobians)[:, None, None] * shares
    reference.linear.scatter_add(tf.IndexedSlices(tf.reshape(linear, [-1]), flat))

  def _score(self, features: dict[str, tf.Tensor], targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    reference = self._reference
    one = factors(self.model, features, targets)
    rows, shares = self.model.rows_and_weights(features)
    pulled = tf.einsum("bfkd,bfk,bfd->b", tf.gather(reference.embedding, rows), shares, one.embedding_jacobians)
    linear = one.linear_jacobians * tf.reduce_sum(tf.gather(reference.linear, rows) * shares, axis=[1, 2])
    product = tf.linalg.matvec(one.hidden, reference.kernel) + reference.bias + pulled + linear
    squares = (1 + tf.reduce_sum(tf.square(one.hidden), 1)
               + tf.einsum("bfk,bfd->b", tf.square(shares), tf.square(one.embedding_jacobians))
               + tf.square(one.linear_jacobians) * tf.reduce_sum(tf.square(shares), axis=[1, 2]))
    return self.learning_rate * one.residuals * product, tf.abs(one.residuals) * tf.sqrt(squares)

  def score(self, features: dict[str, tf.Tensor], targets: tf.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """`[batch_size]` influences and `[batch_size]` gradient norms at this checkpoint.

    Raises:
      NumericsError: if no reference gradient was measured before, or a score is not finite.
    """
    if self._reference is None:
      raise NumericsError("influence", rule="the reference gradient is measured before examples are scored.",
                          received="score() before fit_reference().", remedy="call fit_reference first.")
    influences, norms = (value.numpy() for value in self._score_batch(features, targets))
    if not np.isfinite(influences).all():
      raise NumericsError("influence", rule="every score is finite.",
                          received=f"rows {np.flatnonzero(~np.isfinite(influences))[:5].tolist()} of a batch are not.",
                          remedy="lower teacher.learning_rate.")
    return influences, norms


def score_at_checkpoints(scorers: list[InfluenceScorer], features: dict[str, tf.Tensor],
                         targets: tf.Tensor) -> tuple[np.ndarray, np.ndarray]:
  """`[batch_size]` influences summed over checkpoints, and gradient norms averaged over them."""
  scores = [scorer.score(features, targets) for scorer in scorers]
  return (np.sum([influence for influence, _ in scores], axis=0, dtype=np.float32),
          np.mean([norm for _, norm in scores], axis=0, dtype=np.float32))


def slot_features(slots: Slots) -> dict[str, tf.Tensor]:
  """The packed model input of all slots."""
  return {"ids": tf.constant(slots.ids), "weights": tf.constant(slots.weights)}
