"""Influence: how much a step on an example (or slot) lowers the loss on a reference set.

With checkpoints `c` of the teacher, learning rate `eta_c` and the mean gradient `G_c` of the loss on the reference set,

    influence(z) = sum_c eta_c <grad l(z; w_c), G_c>

(Pruthi et al., "Estimating Training Data Influence by Tracing Gradient Descent", 2020, eq. 3, with the reference set in
place of one test example). We deviate by keeping only the gradients of the embedding tables and of the last dense
layer, which have a closed form given one batched backward pass to the embeddings: with residual `r = p - y`, the
inputs `h` of the last layer, the Jacobian `J_f = d logit / d e_f` and id weights `a`,

    d l / d kernel = r h,    d l / d bias = r,    d l / d E[id] = r a J_f,    d l / d linear[id] = r a J_linear.

An example has one id of weight 1 in a field, or those of its set of values where the field is multi-valued.

Sign: positive where training on the example lowers the reference loss. Scale: learning rate times squared gradient, so
that scores compare within one stage, and never across stages.

The influence of every slot is computed, since addressing reads it. That of every example is where a rule reads it, and
otherwise that of about `NUM_DIAGNOSED_EXAMPLES` of them, for the report. Time for each checkpoint grows with the rows
that are held back, up to `MAX_REFERENCE_EXAMPLES`, with slots and with scored examples; loading it, with ids. Nothing
is traced: a batch is a few dozen operations on thousands of rows, which cost less than to trace them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from diet_tf.errors import ConfigError, NumericsError
from diet_tf.log.hashing import mix
from diet_tf.memory.slots import Slots
from diet_tf.models import RankingModel
from diet_tf.models.ranking_model import TableReads

# About so many examples of a span have their influence computed for the report alone.
NUM_DIAGNOSED_EXAMPLES = 4096
# The reference gradient is that of at most so many held-back examples, drawn by their ids.
MAX_REFERENCE_EXAMPLES = 1 << 16


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


def _jacobians(one: Factors, reads: TableReads) -> tf.Tensor:
  """`d logit / d e_f` of the field that each entry of axis 1 of the reads is of."""
  return one.embedding_jacobians if reads.fields is None else tf.gather(one.embedding_jacobians, reads.fields, axis=1)


@dataclasses.dataclass(frozen=True)
class ReferenceGradient:
  """The mean gradient of the loss on the reference set at one checkpoint; of tables, in the rows that it reads.

  Attributes:
    kernel: `[num_free]`.
    bias: `[]`.
    rows: `[num_rows]` int64, increasing: the table rows that the reference set reads; the gradient of others is 0.
    embedding: `[num_rows, embedding_dim]`.
    linear: `[num_rows]`.
  """

  kernel: tf.Tensor
  bias: tf.Tensor
  rows: tf.Tensor
  embedding: tf.Tensor
  linear: tf.Tensor

  @classmethod
  def summed(cls, parts: Sequence[ReferenceGradient], total: float) -> ReferenceGradient:
    """The sum of some sums of gradients, divided by the total weight of their examples."""
    rows, places = np.unique(np.concatenate([part.rows for part in parts]), return_inverse=True)

    def mean(name: str) -> tf.Tensor:
      values = [getattr(part, name) for part in parts]
      value = (tf.math.unsorted_segment_sum(tf.concat(values, 0), places, len(rows)) if name in ("embedding", "linear")
               else tf.add_n(values))
      return value / tf.constant(total, value.dtype)

    return cls(mean("kernel"), mean("bias"), tf.constant(rows), mean("embedding"), mean("linear"))

  def of_rows(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The gradients of table rows `[...]`: `[..., embedding_dim]` of the embeddings, `[...]` of the linear weights."""
    flat = tf.reshape(rows, [-1])
    places = tf.minimum(tf.searchsorted(self.rows, flat), len(self.rows) - 1)
    is_read = tf.gather(self.rows, places) == flat
    embedding = tf.where(is_read[:, None], tf.gather(self.embedding, places), tf.zeros([], self.embedding.dtype))
    linear = tf.where(is_read, tf.gather(self.linear, places), tf.zeros([], self.linear.dtype))
    return tf.reshape(embedding, [*rows.shape, self.embedding.shape[1]]), tf.reshape(linear, rows.shape)


class InfluenceScorer:
  """Scores examples and slots at one checkpoint of the teacher.

  Args:
    model: the reference member with a checkpoint's weights.
    learning_rate: learning rate that the model was trained with at that checkpoint.
  """

  def __init__(self, model: RankingModel, learning_rate: float) -> None:
    self.model = model
    self.learning_rate = learning_rate
    self._reference: ReferenceGradient | None = None

  def fit_reference(self, batches: Iterable[tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]]) -> None:
    """Measures the mean gradient on `(features, targets, sample_weights)` batches.

    Raises:
      NumericsError: if there is no example, or the gradient is not finite.
    """
    self._reference = None
    total, parts = 0.0, []
    for features, targets, sample_weights in batches:
      parts.append(self._summed_gradient(features, targets, sample_weights))
      total += float(tf.reduce_sum(sample_weights))
    if total <= 0:
      raise NumericsError("reference set of the influence scores", rule="holds at least one example.",
                          received="none.", remedy="raise influence.holdback_fraction.")
    reference = ReferenceGradient.summed(parts, total)
    for field in dataclasses.fields(ReferenceGradient):
      if not np.isfinite(getattr(reference, field.name)).all():
        raise NumericsError(f"reference gradient of the influence scores, part {field.name!r}", rule="is finite.",
                            received="NaN or infinity.", remedy="lower teacher.learning_rate.")
    self._reference = reference

  def reference_arrays(self) -> list[np.ndarray]:
    """The mean gradient's arrays, in the order of `ReferenceGradient`."""
    return [getattr(self._reference, field.name).numpy() for field in dataclasses.fields(ReferenceGradient)]

  def set_reference(self, values: Sequence[np.ndarray]) -> None:
    """Takes over a mean gradient that was measured elsewhere."""
    self._reference = ReferenceGradient(*map(tf.constant, values))

  def _summed_gradient(self, features: dict[str, tf.Tensor], targets: tf.Tensor,
                       sample_weights: tf.Tensor) -> ReferenceGradient:
    one = factors(self.model, features, targets)
    residuals = one.residuals * sample_weights
    reads = self.model.table_reads(features)
    shares = reads.weights
    rows, places = np.unique(reads.rows.numpy().ravel(), return_inverse=True)
    # [batch_size, num_fields, max_ids, embedding_dim]
    updates = residuals[:, None, None, None] * shares[..., None] * _jacobians(one, reads)[:, :, None, :]
    linear = (residuals * one.linear_jacobians)[:, None, None] * shares
    return ReferenceGradient(
        tf.linalg.matvec(one.hidden, residuals, transpose_a=True), tf.reduce_sum(residuals), tf.constant(rows),
        tf.math.unsorted_segment_sum(tf.reshape(updates, [-1, updates.shape[3]]), places, len(rows)),
        tf.math.unsorted_segment_sum(tf.reshape(linear, [-1]), places, len(rows)))

  def _score(self, reference: ReferenceGradient, features: dict[str, tf.Tensor],
             targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    one = factors(self.model, features, targets)
    reads = self.model.table_reads(features)
    shares, jacobians = reads.weights, _jacobians(one, reads)
    of_embedding, of_linear = reference.of_rows(reads.rows)
    pulled = tf.einsum("bfkd,bfk,bfd->b", of_embedding, shares, jacobians)
    linear = one.linear_jacobians * tf.reduce_sum(of_linear * shares, axis=[1, 2])
    product = tf.linalg.matvec(one.hidden, reference.kernel) + reference.bias + pulled + linear
    squares = (1 + tf.reduce_sum(tf.square(one.hidden), 1)
               + tf.einsum("bfk,bfd->b", tf.square(shares), tf.square(jacobians))
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
    influences, norms = (value.numpy() for value in self._score(self._reference, features, targets))
    if not np.isfinite(influences).all():
      raise NumericsError("influence", rule="every score is finite.",
                          received=f"rows {np.flatnonzero(~np.isfinite(influences))[:5].tolist()} of a batch are not.",
                          remedy="lower teacher.learning_rate.")
    return influences, norms


def share_of_examples(num_examples: int, every_example: bool) -> float:
  """The share of a span's examples whose influence is computed, in (0, 1].

  Args:
    num_examples: number of examples of the span.
    every_example: whether a rule reads the influence of every example.
  """
  return 1.0 if every_example else min(1.0, NUM_DIAGNOSED_EXAMPLES / num_examples)


def is_drawn(example_ids: np.ndarray, share: float, seed: int) -> np.ndarray:
  """`[n]` bool: about `share` of `[n]` int64 example ids, whatever the order that they come in."""
  return np.full(len(example_ids), True) if share >= 1 else mix(example_ids, seed) < np.uint64(share * 2.0**64)


def slot_features(slots: Slots) -> dict[str, tf.Tensor]:
  """The packed model input of all slots."""
  return {"ids": tf.constant(slots.ids), "weights": tf.constant(slots.weights)}
