"""The boundary memory: examples clustered where the teacher sees them alike, each cluster squashed into one slot.

The space is the teacher's own: embeddings scaled by how strongly each coordinate moves its logit (the root mean square
of its input Jacobian), reduced to a few principal components, beside the logit itself. Clusters are found by Lloyd's
k-means on a bounded sample, in which an example counts by `|influence|^exponent`, so that more clusters open where more
influence lies. Every example of the span is then assigned to its nearest centre, one batch at a time.

Where users are counted (`UserRule`), a cluster of too few of them joins the one with the nearest centre, again until
none is left, and an id that too few users of its cluster had gets no weight. Users are counted on the very rows that id
shares are counted on, so that what is kept in memory stays bounded, and the count does not depend on the order of rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from diet_tf.errors import ConfigError, DataError
from diet_tf.features import MISSING_ID
from diet_tf.influence import factors
from diet_tf.models import RankingModel
from diet_tf.progress import Progress, silent
from diet_tf.records import split_mix
from diet_tf.slots import Slots

CLUSTERS = ("teacher", "random")


@dataclasses.dataclass(frozen=True)
class SquashSettings:
  """How a span becomes slots.

  Attributes:
    ids_per_slot: the most ids a slot keeps per field (K), where the field does not say otherwise.
    num_components: principal components of the importance-weighted embeddings.
    num_iterations: of k-means.
    sample_rows_per_slot: size of the sample that k-means is fitted on, per cluster.
    max_sample_rows: cap of that sample, which bounds the stage's memory.
    kept_rows_per_slot: rows of a cluster that its id shares are counted on, chosen by example id.
    influence_exponent: 0 ignores influence; 1 weighs an example by its absolute influence.
    max_influence_weight: bound of that weight against its mean, both ways.
    clusters: one of `CLUSTERS`: "teacher" as described above; "random" ignores what the teacher sees, for comparison.
  """

  ids_per_slot: int = 4
  num_components: int = 24
  num_iterations: int = 12
  sample_rows_per_slot: int = 128
  max_sample_rows: int = 1 << 18
  kept_rows_per_slot: int = 256
  influence_exponent: float = 0.0
  max_influence_weight: float = 4.0
  clusters: str = "teacher"

  def __post_init__(self) -> None:
    for name in ("ids_per_slot", "num_components", "num_iterations", "sample_rows_per_slot", "max_sample_rows",
                 "kept_rows_per_slot"):
      if getattr(self, name) < 1:
        raise ConfigError(f"squash.{name}", rule="is at least 1.", received=str(getattr(self, name)),
                          remedy="raise it.")
    if not 0 <= self.influence_exponent <= 2:
      raise ConfigError("squash.influence_exponent", rule="lies in [0, 2].", received=str(self.influence_exponent),
                        remedy="use 0 to ignore influence, or 0.5.")
    if self.clusters not in CLUSTERS:
      raise ConfigError("squash.clusters", rule=f"is one of {', '.join(CLUSTERS)}.", received=repr(self.clusters),
                        remedy="use teacher.")
    if self.max_influence_weight < 1:
      raise ConfigError("squash.max_influence_weight", rule="is at least 1.",
                        received=str(self.max_influence_weight), remedy="use 4.")


@dataclasses.dataclass(frozen=True)
class ScoredExamples:
  """Examples with what the influence scorer said of them.

  Attributes:
    ids: `[num_examples, num_fields]` int32.
    example_ids: `[num_examples]` int64.
    teacher_logits: `[num_examples]` float32.
    influences: `[num_examples]` float32.
  """

  ids: np.ndarray
  example_ids: np.ndarray
  teacher_logits: np.ndarray
  influences: np.ndarray

  def __len__(self) -> int:
    return len(self.ids)

  def take(self, rows: np.ndarray) -> ScoredExamples:
    """The examples at `rows` (`[n]` int or bool), in that order."""
    return ScoredExamples(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

  @classmethod
  def concatenate(cls, parts: list[ScoredExamples]) -> ScoredExamples:
    """All examples of `parts`, in order."""
    return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in dataclasses.fields(cls)))


@dataclasses.dataclass(frozen=True)
class UserRule:
  """How many distinct users have to stand behind each id weight and each slot.

  Attributes:
    column: number of the field whose ids are users; a row that misses it is of no user.
    min_users: distinct ids of that field, at least 2.
  """

  column: int
  min_users: int


# A pass over a span's examples; called once per pass, so that nothing needs to be kept.
Passes = Callable[[], Iterable[ScoredExamples]]
# Gives the cluster of each example, `[num_examples]` integers.
ClusterOf = Callable[[ScoredExamples], np.ndarray]


def mix(example_ids: np.ndarray, seed: int) -> np.ndarray:
  """`[n]` uint64, a pseudo-random order of example ids that depends on nothing else but the seed."""
  # Steps of the golden ratio, as SplitMix64 takes between its draws.
  return split_mix(example_ids.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 & (2**64 - 1)))


def sample(passes: Passes, num_rows: int, seed: int) -> ScoredExamples:
  """At most `num_rows` examples of a pass, those first in a pseudo-random order, in the pass's own order."""
  kept: ScoredExamples | None = None
  for batch in passes():
    kept = batch if kept is None else ScoredExamples.concatenate([kept, batch])
    # Pruning at twice the size keeps the memory bounded and the work per batch constant on average.
    if len(kept) > 2 * num_rows:
      kept = _first(kept, num_rows, seed)
  if kept is None:
    raise DataError("span", rule="holds at least one example that is not held back.", received="none.",
                    remedy="check the span's log, or lower influence.holdback_fraction.")
  return _first(kept, num_rows, seed)


def _first(examples: ScoredExamples, num_rows: int, seed: int) -> ScoredExamples:
  if len(examples) <= num_rows:
    return examples
  rows = np.argpartition(mix(examples.example_ids, seed), num_rows)[:num_rows]
  return examples.take(np.sort(rows))


class TeacherSpace:
  """The space in which examples are clustered.

  Args:
    member: the teacher's reference member.
    examples: that the scales and principal components are fitted on.
    num_components: principal components to keep.
  """

  BATCH_ROWS = 8192

  def __init__(self, member: RankingModel, examples: ScoredExamples, num_components: int) -> None:
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

  def __call__(self, examples: ScoredExamples) -> np.ndarray:
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
    seed: of the initial choice, which draws points by weight without replacement.
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


class _Clusters:
  """What is kept of each cluster during the assigning pass."""

  def __init__(self, num_clusters: int, num_fields: int) -> None:
    self.mass = np.zeros(num_clusters)
    self.label_sum = np.zeros(num_clusters)
    self.influence_sum = np.zeros(num_clusters)
    self.ids = np.zeros((0, num_fields), np.int32)
    self.clusters = np.zeros(0, np.int32)
    self.order = np.zeros(0, np.uint64)


def squash(passes: Passes, cluster_of: ClusterOf, num_clusters: int, max_ids: tuple[int, ...],
           settings: SquashSettings, *, span: int, first_slot_id: int, seed: int, progress: Progress = silent,
           users: UserRule | None = None, centres: np.ndarray | None = None) -> Slots:
  """One slot per non-empty cluster: its heaviest ids with their shares, mean soft label, mass as sample weight.

  Args:
    passes: the span's examples that are not held back.
    cluster_of: gives their clusters.
    num_clusters: how many there are.
    max_ids: per field, the most ids to keep.
    settings: bounds of what is kept.
    span: that the slots are born in.
    first_slot_id: the slots are numbered from it.
    seed: of the choice of rows.
    progress: called after each batch.
    users: what has to stand behind the slots; None asks for nothing.
    centres: `[num_clusters, d]`, which clusters of too few users join by; None takes the clusters' numbers for them.

  Raises:
    ConfigError: more users are asked for than rows of a cluster are kept.
    DataError: the span has fewer users, or the rows that are kept of one slot have.
  """
  if users is not None and users.min_users > settings.kept_rows_per_slot:
    raise ConfigError("privacy.min_users_per_id", rule="it is at most squash.kept_rows_per_slot, the rows of a "
                      "cluster that users are counted on.", received=f"{users.min_users} for "
                      f"{settings.kept_rows_per_slot} rows.", remedy="raise squash.kept_rows_per_slot.")
  kept = _Clusters(num_clusters, len(max_ids))
  done = 0
  for batch in passes():
    clusters = cluster_of(batch)
    kept.mass += np.bincount(clusters, minlength=num_clusters)
    kept.label_sum += np.bincount(clusters, 1 / (1 + np.exp(-batch.teacher_logits.astype(np.float64))), num_clusters)
    kept.influence_sum += np.bincount(clusters, batch.influences.astype(np.float64), num_clusters)
    kept.ids = np.concatenate([kept.ids, batch.ids])
    kept.clusters = np.concatenate([kept.clusters, clusters])
    kept.order = np.concatenate([kept.order, mix(batch.example_ids, seed)])
    _prune(kept, settings.kept_rows_per_slot, limit=2 * num_clusters * settings.kept_rows_per_slot)
    done += len(batch)
    progress("squash (examples)", done, None)
  _prune(kept, settings.kept_rows_per_slot, limit=0)
  if users is not None:
    _join_small(kept, np.arange(num_clusters)[:, None] if centres is None else centres, users,
                settings.kept_rows_per_slot)
  return _to_slots(kept, max_ids, span, first_slot_id, users)


def _prune(kept: _Clusters, rows_per_cluster: int, limit: int) -> None:
  """Keeps of each cluster the rows that come first in the pseudo-random order."""
  if len(kept.clusters) <= limit:
    return
  order = np.lexsort((kept.order, kept.clusters))
  clusters = kept.clusters[order]
  rank = np.arange(len(clusters)) - np.searchsorted(clusters, clusters)
  order = order[rank < rows_per_cluster]
  kept.ids, kept.clusters, kept.order = kept.ids[order], kept.clusters[order], kept.order[order]


def _num_users(groups: np.ndarray, user_ids: np.ndarray, num_groups: int) -> np.ndarray:
  """`[num_groups]`, how many distinct users the rows of each group have."""
  known = user_ids != MISSING_ID
  pairs = np.unique(np.stack([groups[known], user_ids[known]], axis=1), axis=0)
  return np.bincount(pairs[:, 0], minlength=num_groups)


def _join_small(kept: _Clusters, centres: np.ndarray, users: UserRule, rows_per_cluster: int) -> None:
  """Joins each cluster of too few users with the one of the nearest centre, until there is none.

  The rows that are kept of a joined cluster are those that would have been kept, had it been one from the beginning.

  Raises:
    DataError: one cluster is left, and has too few users.
  """
  while True:
    counts = _num_users(kept.clusters, kept.ids[:, users.column], len(kept.mass))
    small = np.flatnonzero((kept.mass > 0) & (counts < users.min_users))
    if not len(small):
      return
    if np.count_nonzero(kept.mass) == 1:
      raise DataError("privacy.min_users_per_id", rule="a span has at least so many distinct users, without rows that "
                      f"are held back, among the {rows_per_cluster} rows of one slot that are kept.",
                      received=f"{int(counts.max())} for {users.min_users}.",
                      remedy="lower it, raise squash.kept_rows_per_slot, or make spans longer.")
    targets = _join_targets(small, kept.mass > 0, centres)
    for name in ("mass", "label_sum", "influence_sum"):
      setattr(kept, name, np.bincount(targets, getattr(kept, name), len(targets)))
    kept.clusters = targets[kept.clusters].astype(np.int32)
    _prune(kept, rows_per_cluster, limit=0)


def _join_targets(small: np.ndarray, is_full: np.ndarray, centres: np.ndarray) -> np.ndarray:
  """`[num_clusters]`, the cluster that each becomes part of: its own number, unless it is small.

  Args:
    small: numbers of those that join another, in turn.
    is_full: `[num_clusters]` bool, true where a cluster has rows; at least two have.
    centres: `[num_centres, d]`; a cluster beyond them has no rows.
  """
  targets = np.arange(len(is_full))
  is_open = is_full[:len(centres)].copy()
  was_joined = np.zeros(len(is_full), bool)
  # Squared distances less what they all have in common: with as many clusters as slots, this loop is what takes time.
  squares = np.square(centres).sum(axis=1)
  for cluster in small:
    # One that others have joined may have grown enough: the next round tells.
    if was_joined[cluster]:
      continue
    is_open[cluster] = False
    targets[cluster] = np.argmin(np.where(is_open, squares - 2 * (centres @ centres[cluster]), np.inf))
    was_joined[targets[cluster]] = True
  return targets


def _to_slots(kept: _Clusters, max_ids: tuple[int, ...], span: int, first_slot_id: int,
              users: UserRule | None) -> Slots:
  full = np.flatnonzero(kept.mass > 0)
  position = np.full(len(kept.mass), -1)
  position[full] = np.arange(len(full))
  ids = np.zeros((len(full), len(max_ids), max(max_ids)), np.int32)
  weights = np.zeros(ids.shape, np.float32)
  for field, most in enumerate(max_ids):
    rows, values = position[kept.clusters], kept.ids[:, field]
    if users is not None:
      rows, values = _with_enough_users(rows, values, kept.ids[:, users.column], users.min_users)
    _heaviest(rows, values, most, ids[:, field], weights[:, field])
  if users is not None:
    # Where no id of a field is left, nothing is known of it: padding is the missing id, which now gets all weight.
    weights[..., 0] = np.where(weights.sum(axis=2) > 0, weights[..., 0], 1)
  mass = kept.mass[full]
  return Slots(ids=ids, weights=weights, labels=kept.label_sum[full] / mass, sample_weights=mass / mass.mean(),
               slot_ids=first_slot_id + np.arange(len(full)), born_spans=np.full(len(full), span),
               updated_spans=np.full(len(full), span), influences=kept.influence_sum[full] / mass)


def _with_enough_users(slots: np.ndarray, values: np.ndarray, user_ids: np.ndarray,
                       min_users: int) -> tuple[np.ndarray, np.ndarray]:
  """Slots and values `[n]` of the rows whose value at least `min_users` users of their slot had."""
  _, pair_of_row = np.unique(np.stack([slots, values], axis=1), axis=0, return_inverse=True)
  pair_of_row = pair_of_row.ravel()
  enough = _num_users(pair_of_row, user_ids, pair_of_row.max() + 1)[pair_of_row] >= min_users
  return slots[enough], values[enough]


def _heaviest(slots: np.ndarray, values: np.ndarray, most: int, ids: np.ndarray, weights: np.ndarray) -> None:
  """Fills `ids` and `weights` `[num_slots, max_ids]` with each slot's `most` most frequent values and their shares."""
  pairs, counts = np.unique(np.stack([slots, values], axis=1), axis=0, return_counts=True)
  # Ties are broken by a fixed scramble of the id: by the id itself, small ids would win everywhere.
  order = np.lexsort((mix(pairs[:, 1], 0), -counts, pairs[:, 0]))
  pairs, counts = pairs[order], counts[order]
  rank = np.arange(len(pairs)) - np.searchsorted(pairs[:, 0], pairs[:, 0])
  chosen = rank < most
  rows, columns = pairs[chosen, 0], rank[chosen]
  ids[rows, columns] = pairs[chosen, 1]
  weights[rows, columns] = counts[chosen]
  weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)


def influence_weights(influences: np.ndarray, settings: SquashSettings) -> np.ndarray:
  """`[num_examples]` weights with mean about 1, growing with `|influence|` and bounded both ways."""
  size = np.abs(influences.astype(np.float64))
  mean = size.mean()
  if settings.influence_exponent == 0 or mean == 0:
    return np.ones(len(influences))
  most = settings.max_influence_weight
  return np.clip((size / mean)**settings.influence_exponent, 1 / most, most)
