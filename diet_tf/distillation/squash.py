"""The boundary memory: examples clustered where the teacher sees them alike, each cluster squashed into one slot.

The space is the teacher's own: embeddings scaled by how strongly each coordinate moves its logit (the root mean square
of its input Jacobian), reduced to a few principal components, beside the logit itself. Clusters are found by Lloyd's
k-means on a bounded sample, in which an example counts by `|influence|^exponent`, so that more clusters open where more
influence lies (`diet_tf.distillation.centres`). Every example of the span is then assigned to its nearest centre, one
batch at a time.

With n rows of F values and k clusters, assigning takes time of the order of `n sqrt(k)` (`n k` up to 1,024 clusters),
and counting ids that of sorting n rows, F times. Kept are at most `2 k kept_rows_per_slot` rows of F values, and a
batch.

Where users are counted (`UserRule`), a cluster of too few of them joins the one with the nearest centre, again until
none is left, and an id that too few users of its cluster had gets no weight. Users are counted on the very rows that id
shares are counted on, so that what is kept in memory stays bounded, and the count does not depend on the order of rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from diet_tf.errors import ConfigError, DataError
from diet_tf.log.encoded_rows import EncodedRows, RowStream
from diet_tf.log.features import MAX_IDS_PER_SLOT, MISSING_ID
from diet_tf.log.hashing import mix
from diet_tf.log.row_layout import RowLayout
from diet_tf.memory.slots import Slots
from diet_tf.progress import Progress, silent

CLUSTERS = ("teacher", "random")
# However many slots a stage adds, k-means is fitted on so many rows for each of them, or on all rows that there are.
MIN_SAMPLE_ROWS_PER_SLOT = 16


@dataclasses.dataclass(frozen=True)
class SquashSettings:
  """How a span becomes slots.

  Attributes:
    ids_per_slot: the most ids a slot keeps per field (K), where the field does not say otherwise.
    num_components: principal components of the importance-weighted embeddings.
    num_iterations: Lloyd iterations of k-means.
    sample_rows_per_slot: size of the sample that k-means is fitted on, per cluster.
    max_sample_rows: cap of that sample, which bounds the stage's memory; where that would be less than 16 rows for each
      cluster, it is 16 rows for each (`MIN_SAMPLE_ROWS_PER_SLOT`).
    kept_rows_per_slot: rows of a cluster that its id shares are counted on, chosen by example id.
    influence_exponent: 0 ignores influence; 1 weighs an example by its absolute influence.
    max_influence_weight: bound of that weight against its mean, both ways.
    clusters: rule by which rows are clustered, one of `CLUSTERS`: "teacher" goes by what the teacher sees in them;
      "random" ignores it, for comparison.
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
    if self.ids_per_slot > MAX_IDS_PER_SLOT:
      raise ConfigError("squash.ids_per_slot", rule=f"is at most {MAX_IDS_PER_SLOT:,}.",
                        received=str(self.ids_per_slot),
                        remedy="lower it; a field may have an ids_per_slot of its own.")
    if not 0 <= self.influence_exponent <= 2:
      raise ConfigError("squash.influence_exponent", rule="lies in [0, 2].", received=str(self.influence_exponent),
                        remedy="use 0 to ignore influence, or 0.5.")
    if self.clusters not in CLUSTERS:
      raise ConfigError("squash.clusters", rule=f"is one of {', '.join(CLUSTERS)}.", received=repr(self.clusters),
                        remedy="use teacher.")
    if self.max_influence_weight < 1:
      raise ConfigError("squash.max_influence_weight", rule="is at least 1.",
                        received=str(self.max_influence_weight), remedy="use 4.")

  def num_sample_rows(self, num_clusters: int) -> int:
    """The most rows that k-means is fitted on."""
    return min(self.sample_rows_per_slot * num_clusters,
               max(self.max_sample_rows, MIN_SAMPLE_ROWS_PER_SLOT * num_clusters))


@dataclasses.dataclass(frozen=True)
class UserRule:
  """How many distinct users have to stand behind each id weight and each slot.

  Attributes:
    column: number of the field whose ids are users; a row that misses it is of no user.
    min_users: distinct ids of that field, at least 2.
  """

  column: int
  min_users: int


# Gives the cluster of each example, `[num_examples]` integers.
ClusterOf = Callable[[EncodedRows], np.ndarray]


class _Clusters:
  """What is kept of each cluster during the assigning pass."""

  def __init__(self, num_clusters: int, num_places: int) -> None:
    self.mass = np.zeros(num_clusters)
    self.label_sum = np.zeros(num_clusters)
    self.influence_sum = np.zeros(num_clusters)
    self.ids = np.zeros((0, num_places), np.int32)
    self.clusters = np.zeros(0, np.int32)
    self.order = np.zeros(0, np.uint64)
    self._added: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    self._num_added = 0

  def add(self, batch: EncodedRows, clusters: np.ndarray, seed: int, rows_per_cluster: int) -> None:
    """Counts a batch of rows, and keeps of each cluster those that come first in the pseudo-random order."""
    num_clusters = len(self.mass)
    self.mass += np.bincount(clusters, minlength=num_clusters)
    logits = batch.teacher_logits.astype(np.float64)
    self.label_sum += np.bincount(clusters, 1 / (1 + np.exp(-logits)), num_clusters)
    if batch.knows("influences"):
      self.influence_sum += np.bincount(clusters, batch.influences.astype(np.float64), num_clusters)
    self._added.append((batch.ids, clusters.astype(np.int32), mix(batch.example_ids, seed)))
    self._num_added += len(batch)
    # Pruned when it has doubled, the work for a row is constant on average.
    if len(self.ids) + self._num_added > 2 * num_clusters * rows_per_cluster:
      self.prune(rows_per_cluster)

  def prune(self, rows_per_cluster: int) -> None:
    """Keeps of each cluster the rows that come first in the pseudo-random order, sorted by cluster."""
    parts = [(self.ids, self.clusters, self.order), *self._added]
    self._added, self._num_added = [], 0
    ids, clusters, places = (np.concatenate([part[number] for part in parts]) for number in range(3))
    order = np.lexsort((places, clusters))
    order = order[_ranks(clusters[order]) < rows_per_cluster]
    self.ids, self.clusters, self.order = ids[order], clusters[order], places[order]


def squash(stream: RowStream, cluster_of: ClusterOf, num_clusters: int, max_ids: tuple[int, ...],
           settings: SquashSettings, *, span: int, first_slot_id: int, seed: int, progress: Progress = silent,
           users: UserRule | None = None, centres: np.ndarray | None = None, layout: RowLayout | None = None) -> Slots:
  """One slot per non-empty cluster: its heaviest ids with their shares, mean soft label, mass as sample weight.

  A row counts 1 in each field: where it has several values there, each counts by its weight, and so by 1/n where n have
  none of their own. A slot that keeps all of its cluster's ids is then the mean of what a model reads in its rows.

  Args:
    stream: the span's rows that are not held back, with example ids and the teacher's logits. Where they have
      influences, a slot's is their mean; otherwise it is 0, until the slot is addressed for the first time.
    cluster_of: function that gives the cluster of each row of a batch, in [0, num_clusters).
    num_clusters: number of clusters, empty ones included.
    max_ids: per field, the most ids to keep.
    settings: bounds of what is kept.
    span: number of the span that the slots are born in.
    first_slot_id: the slots are numbered from it.
    seed: seed of the pseudo-random order by which the rows that are kept of a cluster are chosen.
    progress: callback that is told, after each batch, how many rows were read.
    users: rule on the users that have to stand behind a slot; None asks for nothing.
    centres: `[num_clusters, d]`, which clusters of too few users join by; None takes the clusters' numbers for them.
    layout: layout of the rows; None, the default, is one id for each field.

  Raises:
    ConfigError: more users are asked for than rows of a cluster are kept.
    DataError: the span has fewer users, or the rows that are kept of one slot have.
  """
  if users is not None and users.min_users > settings.kept_rows_per_slot:
    raise ConfigError("privacy.min_users_per_id", rule="it is at most squash.kept_rows_per_slot, the rows of a "
                      "cluster that users are counted on.", received=f"{users.min_users} for "
                      f"{settings.kept_rows_per_slot} rows.", remedy="raise squash.kept_rows_per_slot.")
  layout = layout or RowLayout((1,) * len(max_ids), (False,) * len(max_ids))
  users = None if users is None else dataclasses.replace(users, column=layout.ids_at(users.column).start)
  kept = _Clusters(num_clusters, layout.num_places)
  done = 0
  for batch in stream():
    kept.add(batch, cluster_of(batch), seed, settings.kept_rows_per_slot)
    done += len(batch)
    progress("squash (examples)", done, None)
  kept.prune(settings.kept_rows_per_slot)
  if users is not None:
    _join_small(kept, np.arange(num_clusters)[:, None] if centres is None else centres, users,
                settings.kept_rows_per_slot)
  return _to_slots(kept, max_ids, span, first_slot_id, users, layout)


def _ranks(groups: np.ndarray) -> np.ndarray:
  """`[n]`, the place of each row within its group, from 0; `[n]` sorted `groups`."""
  return np.arange(len(groups)) - np.searchsorted(groups, groups)


def _pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """`[n]` int64, one number for each pair of whole numbers below 2^31: it sorts as the pairs do, and faster."""
  return first.astype(np.int64) << 32 | second.astype(np.int64)


def _num_users(groups: np.ndarray, user_ids: np.ndarray, num_groups: int) -> np.ndarray:
  """`[num_groups]`, how many distinct users the rows of each group have."""
  known = user_ids != MISSING_ID
  return np.bincount(np.unique(_pairs(groups[known], user_ids[known])) >> 32, minlength=num_groups)


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
    kept.prune(rows_per_cluster)


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
              users: UserRule | None, layout: RowLayout) -> Slots:
  full = np.flatnonzero(kept.mass > 0)
  position = np.full(len(kept.mass), -1)
  position[full] = np.arange(len(full))
  ids = np.zeros((len(full), len(max_ids), max(max_ids)), np.int32)
  weights = np.zeros(ids.shape, np.float32)
  for field, most in enumerate(max_ids):
    rows, values, shares = position[kept.clusters], kept.ids[:, layout.ids_at(field).start], None
    user_ids = None if users is None else kept.ids[:, users.column]
    if layout.widths[field] > 1:
      # A value in a set is its user's, as a single one is.
      row, values, shares = layout.values(kept.ids, field)
      rows, user_ids = rows[row], None if user_ids is None else user_ids[row]
    if users is not None and user_ids is not None:
      enough = _has_enough_users(rows, values, user_ids, users.min_users)
      rows, values, shares = rows[enough], values[enough], None if shares is None else shares[enough]
    _heaviest(rows, values, most, ids[:, field], weights[:, field], shares)
  if users is not None:
    # Where no id of a field is left, nothing is known of it: padding is the missing id, which now gets all weight.
    weights[..., 0] = np.where(weights.sum(axis=2) > 0, weights[..., 0], 1)
  mass = kept.mass[full]
  return Slots(ids=ids, weights=weights, labels=kept.label_sum[full] / mass, sample_weights=mass / mass.mean(),
               slot_ids=first_slot_id + np.arange(len(full)), born_spans=np.full(len(full), span),
               updated_spans=np.full(len(full), span), influences=kept.influence_sum[full] / mass)


def _has_enough_users(slots: np.ndarray, values: np.ndarray, user_ids: np.ndarray, min_users: int) -> np.ndarray:
  """`[n]` bool, whether at least `min_users` users of its slot had a value."""
  _, pair_of_row = np.unique(_pairs(slots, values), return_inverse=True)
  return _num_users(pair_of_row, user_ids, pair_of_row.max() + 1)[pair_of_row] >= min_users


def _heaviest(slots: np.ndarray, values: np.ndarray, most: int, ids: np.ndarray, weights: np.ndarray,
              shares: np.ndarray | None = None) -> None:
  """Fills `ids` and `weights` `[num_slots, max_ids]` with each slot's `most` heaviest values and their shares.

  A value counts 1 each time that it is there, or its entry of `shares` `[n]`, whose sums are then divided out.
  """
  if shares is None:
    pairs, counts = np.unique(_pairs(slots, values), return_counts=True)
  else:
    pairs, place = np.unique(_pairs(slots, values), return_inverse=True)
    counts = np.bincount(place, shares, len(pairs))
    # A weight may be 0 in the log's own words, and an id of weight 0 is none.
    pairs, counts = pairs[counts > 0], counts[counts > 0]
  slots, values = pairs >> 32, (pairs & 0xFFFFFFFF).astype(np.int32)
  # Ties are broken by a fixed scramble of the id: by the id itself, small ids would win everywhere.
  order = np.lexsort((mix(values, 0), -counts, slots))
  slots, values, counts = slots[order], values[order], counts[order]
  rank = _ranks(slots)
  chosen = rank < most
  rows, columns = slots[chosen], rank[chosen]
  ids[rows, columns] = values[chosen]
  weights[rows, columns] = counts[chosen]
  totals = weights.sum(axis=1, keepdims=True)
  weights /= np.maximum(totals, 1) if shares is None else np.where(totals > 0, totals, 1)
