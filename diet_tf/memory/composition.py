"""What a memory is made of: which ids it holds, what they stand for, and its heaviest slots. NumPy only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from diet_tf.log.features import MISSING_ID, NUM_RESERVED_VOCABULARY_IDS, OUT_OF_VOCABULARY_ID, FeatureSpec, Field
from diet_tf.log.row_layout import RowLayout
from diet_tf.memory.slots import Slots


def coverage(slots: Slots, batches: Iterable[np.ndarray], layout: RowLayout | None = None) -> list[float] | None:
  """Per field, the share of examples whose id some slot holds with a positive weight; None where there is no example.

  Of an example with several values in a field counts the share that its held ones have of their weight.

  Args:
    slots: slots of the memory.
    batches: `[batch_size, num_places]` encoded rows of examples.
    layout: layout of the rows; None, the default, is one id for each field.
  """
  layout = layout or RowLayout((1,) * slots.num_fields, (False,) * slots.num_fields)
  held = []
  for field in range(slots.num_fields):
    ids = slots.ids[:, field][slots.weights[:, field] > 0]
    known = np.zeros(int(ids.max(initial=0)) + 2, bool)  # The last entry stands for all ids beyond.
    known[ids] = True
    held.append(known)
  found, total = np.zeros(slots.num_fields), 0
  for batch in batches:
    total += len(batch)
    for field, known in enumerate(held):
      if layout.widths[field] == 1:
        ids = batch[:, layout.ids_at(field).start]
        found[field] += np.count_nonzero(known[np.minimum(ids, len(known) - 1)])
        continue
      _, ids, weights = layout.values(batch, field)
      found[field] += weights[known[np.minimum(ids, len(known) - 1)]].sum()
  return (found / total).tolist() if total else None


class IdDecoder:
  """Turns the ids of a field into readable text.

  Args:
    field: says how a value became an id.
    vocabulary: the values of a grown vocabulary, in the order of their ids; a closed one is part of the field.
  """

  def __init__(self, field: Field, vocabulary: Sequence[str] = ()) -> None:
    self._field = field
    self._vocabulary = field.vocabulary or tuple(vocabulary)

  def text(self, number: int) -> str:
    """What an id stands for; a hashed id is named as such, since several values may share it."""
    if number == MISSING_ID:
      return "missing"
    if self._field.hash_ids is not None:
      return f"hash {number}"
    if self._field.boundaries:
      return self._bucket(number)
    if number == OUT_OF_VOCABULARY_ID:
      return "not listed"
    place = number - NUM_RESERVED_VOCABULARY_IDS
    return self._vocabulary[place] if place < len(self._vocabulary) else f"id {number}"

  def _bucket(self, number: int) -> str:
    boundaries = self._field.boundaries
    if number == 1:
      return f"< {boundaries[0]:g}"
    if number > len(boundaries):
      return f"≥ {boundaries[-1]:g}"
    return f"{boundaries[number - 2]:g} to {boundaries[number - 1]:g}"


@dataclasses.dataclass(frozen=True)
class HeavySlot:
  """A slot with its ids as text.

  Attributes:
    slot_id: id of the slot.
    sample_weight: weight of the slot in training; the mean over a memory is 1.
    label: soft label of the slot, in [0, 1].
    born_span: number of the span that added the slot.
    updated_span: number of the last span that changed the slot.
    influence: influence of the slot when it was last addressed.
    values: per field name, the slot's ids as `(text, weight)`, the heaviest first.
  """

  slot_id: int
  sample_weight: float
  label: float
  born_span: int
  updated_span: int
  influence: float
  values: Mapping[str, tuple[tuple[str, float], ...]]


def heaviest_slots(slots: Slots, spec: FeatureSpec, vocabularies: Mapping[str, Sequence[str]],
                   most: int) -> list[HeavySlot]:
  """The slots of the greatest sample weights, heaviest first, ties in the order of the memory.

  Args:
    slots: slots of the memory.
    spec: feature spec of the memory.
    vocabularies: the grown vocabularies by field, in the order of their ids.
    most: how many slots to return at most.
  """
  decoders = [IdDecoder(field, vocabularies.get(field.name, ())) for field in spec.fields]
  return [HeavySlot(
      int(slots.slot_ids[row]), float(slots.sample_weights[row]), float(slots.labels[row]), int(slots.born_spans[row]),
      int(slots.updated_spans[row]), float(slots.influences[row]),
      {field.name: _values(slots.ids[row, place], slots.weights[row, place], decoders[place])
       for place, field in enumerate(spec.fields)})
      for row in np.argsort(-slots.sample_weights, kind="stable")[:most]]


def _values(ids: np.ndarray, weights: np.ndarray, decoder: IdDecoder) -> tuple[tuple[str, float], ...]:
  order = [place for place in np.argsort(-weights, kind="stable") if weights[place] > 0]
  return tuple((decoder.text(int(ids[place])), float(weights[place])) for place in order)
