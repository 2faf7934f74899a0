"""Small valid slots: a test gives the ids, and what else it is about."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory.slot_records import check_slots
from diet_tf.memory.slots import Slots


def small_slots(ids: npt.ArrayLike, weights: npt.ArrayLike | None = None, *, labels: npt.ArrayLike = 0.5,
                sample_weights: npt.ArrayLike = 1.0, slot_ids: npt.ArrayLike | None = None,
                born_spans: npt.ArrayLike = 0, updated_spans: npt.ArrayLike | None = None,
                influences: npt.ArrayLike = 0.0, spec: FeatureSpec | None = None) -> Slots:
  """Slots that pass `check_slots`; one value for all slots stands for an array of it.

  What is not valid is made of these by `Slots.replace`.

  Args:
    ids: `[num_slots, num_fields]` for one id per field, or `[num_slots, num_fields, max_ids]`.
    weights: weight of each id, in the shape of `ids`; None gives all ids of a field the same.
    labels: soft labels, `[num_slots]` or one for all.
    sample_weights: sample weights, `[num_slots]` or one for all.
    slot_ids: ids of the slots, `[num_slots]`; None counts from 0.
    born_spans: spans that added the slots, `[num_slots]` or one for all.
    updated_spans: spans that changed the slots last, `[num_slots]` or one for all; None for `born_spans`.
    influences: influences of the slots, `[num_slots]` or one for all.
    spec: feature spec that the ids must be of; None takes any ids of at least 0.
  """
  ids = np.asarray(ids)
  ids = ids if ids.ndim == 3 else ids[..., None]
  num_slots, num_fields, max_ids = ids.shape
  weights = np.full(ids.shape, 1 / max_ids) if weights is None else np.asarray(weights).reshape(ids.shape)
  values = {"labels": labels, "sample_weights": sample_weights, "born_spans": born_spans,
            "updated_spans": born_spans if updated_spans is None else updated_spans, "influences": influences,
            "slot_ids": np.arange(num_slots) if slot_ids is None else slot_ids}
  slots = Slots(ids=ids, weights=weights, **{name: np.broadcast_to(value, num_slots) for name, value in values.items()})
  check_slots(slots, spec or _hashed(num_fields, ids))
  return slots


def _hashed(num_fields: int, ids: np.ndarray) -> FeatureSpec:
  """A feature spec whose fields have room for all of the ids."""
  num_ids = int(ids.max(initial=1)) + 1
  return FeatureSpec(tuple(Field(f"field_{number}", "column", hash_ids=num_ids) for number in range(num_fields)),
                     Label("click"))
