"""A declared change of the feature spec: what was learned with the old spec, as the new one would hold it.

A spec may grow, by fields at its end and by larger id spaces, in which every id is still known:

- A hashed id is `1 + fingerprint mod (n - 1)`. In a space of `n'` ids with `n' - 1 = m (n - 1)`, a value of the old id
  `j >= 1` has one of the `m` ids `j + k (n - 1)`, `k = 0 ... m - 1`, and no other value has them. Which one it is
  cannot be known from `j`, so what was known of `j` now holds for all of them.
- The ids of a vocabulary stay when it may hold more values.
- A new field is missing, id 0, in all that was seen before it.

Nothing else is known again: it would take another pass over the spans before.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from diet_tf.config.changes import MAX_SHOWN_CHARACTERS, configured
from diet_tf.errors import ConfigError
from diet_tf.log.features import MISSING_ID, FeatureSpec, Field
from diet_tf.log.row_layout import PADDING_ID, RowLayout, missing_rows
from diet_tf.memory.memory import Memory
from diet_tf.memory.slot_records import packed_left
from diet_tf.memory.slots import Slots
from diet_tf.printable import printable

# A slot whose ids are split gets at most so many in a field, since all slots' arrays are as wide as the widest.
MAX_IDS_PER_FIELD = 64


@dataclasses.dataclass(frozen=True)
class Migration:
  """From one feature spec to another; made by `plan_migration`, which checks that it can be done.

  Attributes:
    old: the spec that everything was made with.
    new: the spec that it is to have.
  """

  old: FeatureSpec
  new: FeatureSpec

  @property
  def is_empty(self) -> bool:
    """Whether nothing changes."""
    return self.old.digest() == self.new.digest()

  @property
  def growth(self) -> tuple[int, ...]:
    """Per old field, how many ids of the new space an id other than 0 becomes; 1 where ids stay."""
    sizes = [(before.hash_ids, after.hash_ids) for before, after in zip(self.old.fields, self.new.fields)]
    return tuple((after - 1) // (before - 1) if before and after else 1 for before, after in sizes)

  @property
  def added(self) -> tuple[str, ...]:
    """The names of the new fields."""
    return self.new.names[len(self.old.names):]

  @property
  def regrown(self) -> tuple[str, ...]:
    """The names of the fields whose ids do not stay."""
    return tuple(name for name, growth in zip(self.old.names, self.growth) if growth > 1)

  def ids(self, ids: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """New encoded rows `[n, new places]` int32 of rows `[n, old places]` of old ids, by the copy `k` `[n]` of each."""
    old, new, added = RowLayout.of(self.old), RowLayout.of(self.new), missing_rows(self.new, len(ids))
    columns, weights = [], {}
    for field in range(len(new.widths)):
      if field >= len(old.widths):
        columns.append(added[:, new.ids_at(field)])
      else:
        columns.append(self._grown_ids(ids[:, old.ids_at(field)], field, copies))
      if new.is_weighted[field]:
        weights[field] = old.weights(ids, field) if field < len(old.widths) else new.weights(added, field)
    # All ids of a set move by as much, so that they still ascend.
    return new.packed(columns, weights)

  def _grown_ids(self, ids: np.ndarray, field: int, copies: np.ndarray) -> np.ndarray:
    stays = (ids == MISSING_ID) | (ids == PADDING_ID)
    return ids + np.where(stays, 0, copies[:, None] % self.growth[field] * (self.old.num_ids[field] - 1))


def plan_migration(old: FeatureSpec, new: FeatureSpec) -> Migration:
  """The migration from one feature spec to another.

  Raises:
    ConfigError: a field is removed, renamed, moved or read another way, an id space shrinks, a hash space does not grow
      by a whole factor, or label or time column change.
  """
  columns: dict[str, tuple[Any, Any]] = {"label": (old.label, new.label), "time": (old.time_column, new.time_column)}
  if (old.salt is None) != (new.salt is None):
    raise _refused("privacy.salt_environment_variable", "a store hashes with one secret, or without, from its first "
                   "span on", old.salt and old.salt.environment_variable, new.salt and new.salt.environment_variable,
                   "restore privacy.salt_environment_variable, or begin a new store.")
  for name, (committed, now) in columns.items():
    if committed != now:
      raise _refused(f"features.{name}", f"{name} stays as it was committed", committed, now,
                     f"restore features.{name}, or begin a new store.")
  if new.names[:len(old.names)] != old.names:
    position = next((index for index, (before, after) in enumerate(zip(old.names, new.names)) if before != after),
                    len(new.names))
    lost = old.names[position]
    raise _refused(f"field {lost!r}", f"it stays field {position + 1}; new fields come after all others", old.names,
                   new.names, f"restore {lost!r} there and put new fields at the end, or begin a new store.")
  for before, after in zip(old.fields, new.fields):
    _require_grown(before, after)
  # Ids of the new spec are hashed with the secret of the old one, which it does not know.
  return Migration(old, new.bound_to(old.salt.check if old.salt is not None else None))


def _require_grown(before: Field, after: Field) -> None:
  subject = f"field {before.name!r}"
  kinds = [tuple(name for name in ("hash_ids", "vocabulary_ids", "vocabulary") if getattr(field, name))
           for field in (before, after)]
  as_read = [(field.column, field.boundaries, field.max_values, field.separator, field.weights)
             for field in (before, after)]
  if as_read[0] != as_read[1] or kinds[0] != kinds[1]:
    raise _refused(subject, "column, boundaries, what says which values a row has, and the way to an id stay as they "
                   "were committed", configured(before),
                   configured(after), f"restore {subject}, and add what is new as a field at the end.")
  if after.vocabulary[:len(before.vocabulary)] != before.vocabulary:
    raise _refused(subject, "a closed vocabulary grows at its end", list(before.vocabulary), list(after.vocabulary),
                   "restore the order of its values, and append new ones.")
  if after.num_ids < before.num_ids or (before.hash_ids and (after.num_ids - 1) % (before.num_ids - 1)):
    raise _refused(subject, "an id space does not shrink, and a hash space of n ids grows to 1 + m (n - 1)",
                   before.num_ids, after.num_ids, f"use {_fitting_sizes(before, after.num_ids)}.")


def _fitting_sizes(before: Field, wanted: int) -> str:
  """The sizes nearest to `wanted` that the field's id space can have."""
  if before.hash_ids is None:
    return f"{before.num_ids} or more"
  factor = max((wanted - 1) // (before.num_ids - 1), 1)
  return " or ".join(str(1 + m * (before.num_ids - 1)) for m in (factor, factor + 1))


def _refused(subject: str, rule: str, before: Any, after: Any, remedy: str) -> ConfigError:
  texts = [printable(json.dumps(value, default=dataclasses.asdict), MAX_SHOWN_CHARACTERS) for value in (before, after)]
  return ConfigError(subject, rule=f"{rule}.", received=f"{texts[0]} committed, {texts[1]} now.", remedy=remedy)


def migrate_slots(slots: Slots, migration: Migration) -> Slots:
  """The slots with the ids of the new spec; all but ids and their weights stays.

  An id of a grown hash space becomes all its `m` ids, with equal shares of its weight, so that each old id keeps its
  weight. Where a slot would then have more than `MAX_IDS_PER_FIELD` ids in a field, each old id becomes as many as fit,
  in each slot others, and at least one. New fields are missing, with weight 1.
  """
  columns = [_grown(slots, index, growth, migration.old.num_ids[index] - 1)
             for index, growth in enumerate(migration.growth)]
  missing = (np.full((len(slots), 1), MISSING_ID, np.int32), np.ones((len(slots), 1), np.float32))
  columns += [missing] * len(migration.added)
  width = max(ids.shape[1] for ids, _ in columns)
  ids, weights = (np.stack([np.pad(pair[part], ((0, 0), (0, width - pair[part].shape[1]))) for pair in columns], axis=1)
                  for part in (0, 1))
  return packed_left(slots.replace(ids=ids, weights=weights))


def _grown(slots: Slots, index: int, growth: int, step: int) -> tuple[np.ndarray, np.ndarray]:
  """`[num_slots, width]` ids and weights of one field."""
  ids, weights = slots.ids[:, index], slots.weights[:, index]
  if growth == 1:
    return ids, weights
  slot, place = np.nonzero(weights > 0)  # In the order of the slots.
  old = ids[slot, place]
  counts = np.bincount(slot, minlength=len(slots))
  copies = np.where(old == MISSING_ID, 1, np.clip(MAX_IDS_PER_FIELD // counts, 1, growth)[slot])
  entry = np.repeat(np.arange(len(slot)), copies)
  # The first copy differs from slot to slot, so that the memory has all of them.
  turn = slots.slot_ids[slot[entry]] + _numbered(copies)
  new = old[entry] + np.where(old[entry] == MISSING_ID, 0, turn % growth * step)
  totals = np.bincount(slot[entry], minlength=len(slots))
  column = _numbered(totals)
  shape = (len(slots), max(int(totals.max(initial=0)), 1))
  all_ids, all_weights = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
  all_ids[slot[entry], column] = new
  all_weights[slot[entry], column] = (weights[slot, place] / copies)[entry]
  return all_ids, all_weights


def _numbered(counts: np.ndarray) -> np.ndarray:
  """`0 ... count - 1` for each count, one after the other."""
  return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def migrate_memory(memory: Memory, migration: Migration) -> Memory:
  """The memory with the slots of the new spec, not saved yet.

  It has no scored sample: which of the ids that a hash space has grown a row has is not known. The next stage begins a
  new one with its own span. Its lineage ends with the memory that it was made from, of the same span: a migrated copy
  is no commit, and what grows from it names the committed one, see `Manifest.grown_lineage`.
  """
  slots = migrate_slots(memory.slots, migration)
  widths = dict(zip(migration.new.names, slots.max_ids_per_field, strict=True))
  manifest = dataclasses.replace(
      memory.manifest, feature_spec=migration.new.to_dict(), feature_spec_digest=migration.new.digest(), shards=(),
      scored_sample=None, format_version=1,
      max_ids={name: max(width, memory.manifest.max_ids.get(name, 1)) for name, width in widths.items()},
      lineage=(*memory.manifest.lineage, {"span": memory.manifest.span, "digest": memory.digest}))
  return Memory(slots, migration.new, memory.recipe, manifest)
