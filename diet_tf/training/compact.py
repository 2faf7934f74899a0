"""Compact id spaces: a proxy's tables hold only the ids that occur in the slots, plus one row for all others."""

from __future__ import annotations

import dataclasses

import numpy as np

from diet_tf.log.features import MISSING_ID, FeatureSpec
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
    """Compact ids, of the same shape: axis 1 of `[n, num_fields]` or `[n, num_fields, max_ids]` ids is the field."""
    renamed = np.full(ids.shape, OTHER_ID, np.int32)
    for field, known in enumerate(self.occurring):
      if len(known):
        column = ids[:, field]
        position = np.minimum(np.searchsorted(known, column), len(known) - 1)
        renamed[:, field] = np.where(known[position] == column, position + 1, OTHER_ID)
    return renamed

  def slots(self, slots: Slots) -> Slots:
    """The slots with compact ids; padding becomes the id for all others, still without weight."""
    return slots.replace(ids=np.where(slots.weights > 0, self.rename(slots.ids), MISSING_ID))
