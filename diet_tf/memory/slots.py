"""Slots: the records of a distilled memory, as arrays."""

from __future__ import annotations

import dataclasses

import numpy as np

from diet_tf.errors import DataError


@dataclasses.dataclass(frozen=True)
class Slots:
  """An ordered set of slots; the order is the order of training.

  Attributes:
    ids: `[num_slots, num_fields, max_ids]` int32, ids local to their field; padding has id 0 and weight 0.
    weights: `[num_slots, num_fields, max_ids]` float32, non-negative, summing to 1 over the last axis.
    labels: `[num_slots]` float32 in `[0, 1]`, soft.
    sample_weights: `[num_slots]` float32, positive, mean 1 over a memory.
    slot_ids: `[num_slots]` int64, unique; a slot keeps its id for life.
    born_spans: `[num_slots]` int64, the span that added the slot.
    updated_spans: `[num_slots]` int64, the last span whose stage refined or added the slot.
    influences: `[num_slots]` float32, the slot's influence when it was last addressed, 0 before that (see
      `diet_tf.distillation.influence`).
  """

  ids: np.ndarray
  weights: np.ndarray
  labels: np.ndarray
  sample_weights: np.ndarray
  slot_ids: np.ndarray
  born_spans: np.ndarray
  updated_spans: np.ndarray
  influences: np.ndarray

  DTYPES = {"ids": np.int32, "weights": np.float32, "labels": np.float32, "sample_weights": np.float32,
            "slot_ids": np.int64, "born_spans": np.int64, "updated_spans": np.int64, "influences": np.float32}

  def __post_init__(self) -> None:
    for name, dtype in self.DTYPES.items():
      object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype))
    if self.ids.ndim != 3 or self.weights.shape != self.ids.shape:
      raise DataError("slots", rule="ids and weights are [num_slots, num_fields, max_ids].",
                      received=f"ids {self.ids.shape}, weights {self.weights.shape}.", remedy="pass equal shapes.")
    for name in self.DTYPES:
      if len(getattr(self, name)) != len(self.ids):
        raise DataError(f"slots.{name}", rule="every array has one entry per slot.",
                        received=f"{len(getattr(self, name))} for {len(self.ids)} slots.",
                        remedy="pass arrays of one length.")

  def __len__(self) -> int:
    return len(self.ids)

  @property
  def num_fields(self) -> int:
    """Number of fields: axis 1 of `ids`."""
    return self.ids.shape[1]

  @property
  def max_ids(self) -> int:
    """The most ids of a slot and field: axis 2 of `ids`."""
    return self.ids.shape[2]

  @property
  def max_ids_per_field(self) -> tuple[int, ...]:
    """Per field, one more than the last place that has weight in any slot, and at least 1."""
    used = (self.weights > 0).any(axis=0)  # [F, K]
    return tuple(np.where(used, np.arange(1, self.max_ids + 1), 1).max(axis=1).tolist())

  def take(self, rows: np.ndarray) -> Slots:
    """The slots at `rows` (`[n]` int or bool), in that order."""
    return Slots(**{name: getattr(self, name)[rows] for name in self.DTYPES})

  def replace(self, **arrays: np.ndarray) -> Slots:
    """The slots with some of their arrays replaced."""
    return dataclasses.replace(self, **arrays)

  @classmethod
  def concatenate(cls, parts: list[Slots]) -> Slots:
    """All slots of `parts` in order; narrower ones are padded to the widest `max_ids`."""
    max_ids = max(part.max_ids for part in parts)
    arrays = {}
    for name in cls.DTYPES:
      values = [getattr(part, name) for part in parts]
      if name in ("ids", "weights") and any(value.shape[2] < max_ids for value in values):
        values = [np.pad(value, ((0, 0), (0, 0), (0, max_ids - value.shape[2]))) for value in values]
      arrays[name] = np.concatenate(values) if len(values) > 1 else values[0]
    return cls(**arrays)
