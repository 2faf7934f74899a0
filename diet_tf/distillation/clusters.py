"""Clusters of examples that the teacher sees alike, or that are drawn at random."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from diet_tf.distillation.centres import Centres
from diet_tf.distillation.influence import factors
from diet_tf.distillation.squash import ClusterOf, SquashSettings
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.hashing import mix
from diet_tf.models import RankingModel


class TeacherSpace:
  """The space in which examples are clustered.

  The scales take a forward and a backward pass for each example that they are fitted on, coordinates a look-up and a
  product with `[D, num_components]`. Nothing is traced: batches are large and operations few.

  Args:
    member: the teacher's reference member.
    examples: examples that the scales and principal components are fitted on.
    num_components: principal components to keep.
  """

  BATCH_ROWS = 8192

  def __init__(self, member: RankingModel, examples: EncodedRows, num_components: int) -> None:
    self._member = member
    count, total, square, jacobian = 0, 0.0, 0.0, 0.0
    for start in range(0, len(examples), self.BATCH_ROWS):
      ids = examples.ids[start:start + self.BATCH_ROWS]
      embedded, slopes = (value.numpy().astype(np.float64) for value in self._embedded(tf.constant(ids)))
      count += len(ids)
      total = total + embedded.sum(0)
      square = square + embedded.T @ embedded
      jacobian = jacobian + np.square(slopes).sum(0)
    self._mean = total / count
    self._scale = np.sqrt(jacobian / count)
    covariance = (square / count - np.outer(self._mean, self._mean)) * np.outer(self._scale, self._scale)
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(-values, kind="stable")[:num_components]
    # A component's sign is arbitrary to the solver; making its largest entry positive keeps runs alike.
    signs = np.where(vectors.max(0, initial=0) >= -vectors.min(0, initial=0), 1, -1)[order]
    # A member without embeddings has no components: its examples are clustered by the logit.
    spread = np.sqrt(max(values[order].sum() / max(len(order), 1), 1e-12))
    self._components = vectors[:, order] * signs / spread
    self._logit_scale = 1 / max(float(np.std(examples.teacher_logits)), 1e-6)

  def _embedded(self, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    one = factors(self._member, {"ids": ids}, tf.zeros([tf.shape(ids)[0]]))
    embeddings = self._embeddings(ids)
    return embeddings, tf.reshape(one.embedding_jacobians, tf.shape(embeddings))

  def _embeddings(self, ids: tf.Tensor) -> tf.Tensor:
    embeddings, _ = self._member.embed({"ids": ids})
    return tf.reshape(embeddings, [tf.shape(ids)[0], embeddings.shape[1] * embeddings.shape[2]])

  def __call__(self, examples: EncodedRows) -> np.ndarray:
    """`[num_examples, num_components + 1]` float32 coordinates."""
    parts = []
    for start in range(0, len(examples), self.BATCH_ROWS):
      rows = slice(start, start + self.BATCH_ROWS)
      embedded = self._embeddings(tf.constant(examples.ids[rows])).numpy()
      projected = ((embedded - self._mean) * self._scale) @ self._components
      logits = examples.teacher_logits[rows, None] * self._logit_scale
      parts.append(np.concatenate([projected, logits], axis=1).astype(np.float32))
    return np.concatenate(parts)


def nearest_centre(space: Callable[[EncodedRows], np.ndarray], centres: Centres) -> ClusterOf:
  """Clusters by the nearest centre in a space, which gives `[num_examples, d]` points."""
  return lambda examples: centres.nearest(space(examples))[0]


def random_clusters(num_clusters: int, seed: int) -> ClusterOf:
  """Clusters of about equal size that depend on nothing but the example ids and the seed."""
  return lambda examples: (mix(examples.example_ids, seed) % np.uint64(num_clusters)).astype(np.int64)


def influence_weights(influences: np.ndarray, settings: SquashSettings) -> np.ndarray:
  """`[num_examples]` weights with mean about 1, growing with `|influence|` and bounded both ways."""
  size = np.abs(influences.astype(np.float64))
  mean = size.mean()
  if settings.influence_exponent == 0 or mean == 0:
    return np.ones(len(influences))
  most = settings.max_influence_weight
  return np.clip((size / mean)**settings.influence_exponent, 1 / most, most)
