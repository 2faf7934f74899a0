"""Clusters of examples that the teacher sees alike, or that are drawn at random."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from diet_tf.distillation.influence import factors
from diet_tf.distillation.squash import ClusterOf, SquashSettings
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.hashing import mix
from diet_tf.models import RankingModel


class TeacherSpace:
  """The space in which examples are clustered.

  Args:
    member: the teacher's reference member.
    examples: examples that the scales and principal components are fitted on.
    num_components: principal components to keep.
  """

  BATCH_ROWS = 8192

  def __init__(self, member: RankingModel, examples: EncodedRows, num_components: int) -> None:
    self._member = member
    self._embed = tf.function(self._embedded, reduce_retracing=True, autograph=False)
    count, total, square, jacobian = 0, 0.0, 0.0, 0.0
    for start in range(0, len(examples), self.BATCH_ROWS):
      ids = examples.ids[start:start + self.BATCH_ROWS]
      embedded, slopes = (value.numpy().astype(np.float64) for value in self._embed(tf.constant(ids)))
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
    embeddings, _ = self._member.embed({"ids": ids})
    size = [tf.shape(ids)[0], embeddings.shape[1] * embeddings.shape[2]]
    return tf.reshape(embeddings, size), tf.reshape(one.embedding_jacobians, size)

  def __call__(self, examples: EncodedRows) -> np.ndarray:
    """`[num_examples, num_components + 1]` float32 coordinates."""
    parts = []
    for start in range(0, len(examples), self.BATCH_ROWS):
      rows = slice(start, start + self.BATCH_ROWS)
      embedded = self._embed(tf.constant(examples.ids[rows]))[0].numpy()
      projected = ((embedded - self._mean) * self._scale) @ self._components
      logits = examples.teacher_logits[rows, None] * self._logit_scale
      parts.append(np.concatenate([projected, logits], axis=1).astype(np.float32))
    return np.concatenate(parts)


@tf.function(reduce_retracing=True, autograph=False)
def nearest(points: tf.Tensor, centres: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """`[n]` int32 nearest centres of `[n, d]` points, and `[n]` squared distances to them."""
  distances = (tf.reduce_sum(tf.square(centres), 1)[None, :] - 2 * tf.matmul(points, centres, transpose_b=True)
               + tf.reduce_sum(tf.square(points), 1)[:, None])
  return tf.argmin(distances, 1, output_type=tf.int32), tf.reduce_min(distances, 1)


def assign(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Nearest centres and squared distances, in blocks that bound the memory."""
  block = max(1, (1 << 24) // len(centres))
  parts = [nearest(tf.constant(points[start:start + block]), tf.constant(centres))
           for start in range(0, len(points), block)]
  return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def fit_centres(points: np.ndarray, weights: np.ndarray, num_clusters: int, *, num_iterations: int,
                seed: int) -> np.ndarray:
  """`[num_clusters, d]` centres by weighted Lloyd iterations; an empty cluster moves to the worst-served point.

  Args:
    points: `[n, d]` float32, at least `num_clusters` of them.
    weights: `[n]` positive.
    num_clusters: how many centres.
    num_iterations: Lloyd iterations.
    seed: seed of the initial choice of centres, which draws points by weight without replacement.
  """
  uniform = np.random.default_rng(seed).random(len(points))
  # The Gumbel trick: the largest log(weight) + Gumbel noise are a draw by weight without replacement.
  priority = np.log(weights) - np.log(-np.log(np.clip(uniform, 1e-12, 1 - 1e-12)))
  centres = points[np.sort(np.argsort(-priority, kind="stable")[:num_clusters])]
  for _ in range(num_iterations):
    clusters, distances = assign(points, centres)
    mass = np.bincount(clusters, weights, num_clusters)
    sums = np.stack([np.bincount(clusters, weights * column, num_clusters) for column in points.T], axis=1)
    centres = np.where(mass[:, None] > 0, sums / np.maximum(mass, 1e-30)[:, None], 0).astype(np.float32)
    empty = np.flatnonzero(mass == 0)
    centres[empty] = points[np.argsort(-distances * weights, kind="stable")[:len(empty)]]
  return centres


def nearest_centre(space: TeacherSpace, centres: np.ndarray) -> ClusterOf:
  """Clusters by the nearest of `[num_clusters, d]` centres."""
  return lambda examples: assign(space(examples), centres)[0]


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
