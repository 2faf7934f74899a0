"""Compact id spaces: a proxy's tables hold only the ids that occur in the slots, plus one row for all others."""

from __future__ import annotations

import dataclasses

import numpy as np

from diet_tf.log.features import MISSING_ID, FeatureSpec
from diet_tf.log.row_layout import PADDING_ID, RowLayout
from diet_tf.memory.slots import Slots

# In every field the compact id 0 stands for all ids that do not occur in the slots.
OTHER_ID = 0


@dataclasses.dataclass(frozen=True)
class CompactIds:
  """A one-to-one renaming of the ids that occur in a set of slots.

  Attributes:
    spec: the feature spec with the compact id spaces, from which any model sizes its tables.
    occurring: per field, the sorted ids that occur; compact id `i + 1` stands for `occurring[field][i]`.
  """

  spec: FeatureSpec
  occurring: tuple[np.ndarray, ...]

  @classmethod
  def of(cls, spec: FeatureSpec, *parts: Slots) -> CompactIds:
    """The compact id spaces of the ids that have weight in any of `parts`."""
    occurring = tuple(
        np.unique(np.concatenate([part.ids[:, field][part.weights[:, field] > 0] for part in parts]))
        for field in range(len(spec.fields)))
    fields = tuple(
        dataclasses.replace(field, hash_ids=max(len(ids) + 1, 2), vocabulary_ids=None, vocabulary=(), boundaries=(),
                            salt=None)
        for field, ids in zip(spec.fields, occurring))
    return cls(dataclasses.replace(spec, fields=fields), occurring)

  def rename(self, ids: np.ndarray) -> np.ndarray:
    """Compact ids, of the same shape.

    Args:
      ids: encoded rows `[n, num_places]`, or ids `[n, num_fields, max_ids]` of slots.
    """
    layout = RowLayout.of(self.spec)
    if ids.ndim == 3 or layout.is_plain:
      renamed = np.full(ids.shape, OTHER_ID, np.int32)
      for field in range(len(self.occurring)):
        renamed[:, field] = self._renamed(ids[:, field], field)
      return renamed
    renamed = ids.astype(np.int32)
    for field in range(len(self.occurring)):
      place = layout.ids_at(field)
      # Several values without a compact id of their own each keep their weight, on the id for all others.
      renamed[:, place] = np.where(ids[:, place] == PADDING_ID, PADDING_ID, self._renamed(ids[:, place], field))
    return renamed

  def _renamed(self, ids: np.ndarray, field: int) -> np.ndarray:
    known = self.occurring[field]
    if not len(known):
      return np.full(ids.shape, OTHER_ID, np.int32)
    position = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[position] == ids, position + 1, OTHER_ID)

  def slots(self, slots: Slots) -> Slots:
    """The slots with compact ids; padding becomes the id for all others, still without weight."""
    return slots.replace(ids=np.where(slots.weights > 0, self.rename(slots.ids), MISSING_ID))
