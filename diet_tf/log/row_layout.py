"""Which place of an encoded row holds what: ids of fields with one value, sets of ids, and the weights of these.

An encoded row is one vector of int32, so that whatever samples, orders, cuts or keeps rows need not know of which kinds
their fields are. First come the ids, field by field: one of a field with one value a row, `max_values` of a
multi-valued one. Its ids are distinct and ascend, and what is left of its places holds `PADDING_ID`; a row without any
value has the id 0. Behind all ids stand, for each field whose values have weights of their own, as many places with the
bits of float32 numbers, which are not negative and sum to 1. Where values have none, each of n weighs 1/n.

Where every field has one value a row, the layout is plain: the places of a row are its fields.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping

import numpy as np

from diet_tf.errors import DataError
from diet_tf.log.features import MISSING_ID, FeatureSpec

# Stands in a place of a multi-valued field that has no id.
PADDING_ID = -1
# How far the weights of a row may be from a sum of 1.
_SUM_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class RowLayout:
  """The places of an encoded row.

  Attributes:
    widths: per field, how many ids a row has room for; 1 where it has one value.
    is_weighted: per field, whether its values have weights of their own.
  """

  widths: tuple[int, ...]
  is_weighted: tuple[bool, ...]

  @classmethod
  def of(cls, spec: FeatureSpec) -> RowLayout:
    """The layout of the rows of a feature spec."""
    return cls(tuple(field.max_values or 1 for field in spec.fields),
               tuple(field.weights is not None for field in spec.fields))

  @functools.cached_property
  def is_plain(self) -> bool:
    """Whether a row is one id for each field."""
    return self.num_places == len(self.widths)

  @functools.cached_property
  def num_ids(self) -> int:
    """Number of places that hold ids; they come first."""
    return sum(self.widths)

  @functools.cached_property
  def num_places(self) -> int:
    """Number of places of a row: axis 1 of rows."""
    return self.num_ids + sum(width for width, weighted in zip(self.widths, self.is_weighted) if weighted)

  @functools.cached_property
  def fields(self) -> np.ndarray:
    """`[num_ids]` int64, the field of each place that holds an id, ascending."""
    return np.repeat(np.arange(len(self.widths)), self.widths)

  def ids_at(self, field: int) -> slice:
    """The places of a field's ids."""
    start = sum(self.widths[:field])
    return slice(start, start + self.widths[field])

  def weights_at(self, field: int) -> slice:
    """The places of the weights of a field whose values have some."""
    start = self.num_ids + sum(width for width, weighted in zip(self.widths[:field], self.is_weighted) if weighted)
    return slice(start, start + self.widths[field])

  def places_of(self, fields: Iterable[int]) -> np.ndarray:
    """`[n]` int64, the places of a row of some fields alone, given in ascending order."""
    fields = list(fields)
    places = [self.ids_at(field) for field in fields] + [self.weights_at(field) for field in fields
                                                         if self.is_weighted[field]]
    return np.concatenate([np.arange(place.start, place.stop) for place in places])

  def weights(self, rows: np.ndarray, field: int) -> np.ndarray:
    """`[num_rows, width]` float32, the weight of each id of a field; 0 in a place without one.

    Args:
      rows: `[num_rows, num_places]` int32.
      field: number of the field.
    """
    if self.is_weighted[field]:
      return np.ascontiguousarray(rows[:, self.weights_at(field)]).view(np.float32)
    present = rows[:, self.ids_at(field)] != PADDING_ID
    return (present / np.maximum(present.sum(axis=1, keepdims=True), 1)).astype(np.float32)

  def values(self, rows: np.ndarray, field: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All values that rows have in a field, row by row.

    Args:
      rows: `[num_rows, num_places]` int32.
      field: number of the field.

    Returns:
      `[n]` int64 numbers of rows, `[n]` int32 ids, and `[n]` float64 weights, which sum to about 1 over a row.
    """
    ids = rows[:, self.ids_at(field)]
    row, place = np.nonzero(ids != PADDING_ID)
    if self.is_weighted[field]:
      return row, ids[row, place], self.weights(rows, field)[row, place].astype(np.float64)
    return row, ids[row, place], 1 / np.bincount(row, minlength=len(rows))[row]

  def of_single_ids(self, ids: np.ndarray) -> np.ndarray:
    """`[num_rows, num_places]` int32 rows with one value in each field, of `[num_rows, num_fields]` ids."""
    if self.is_plain:
      return ids.astype(np.int32)
    return self.packed([column[:, None] for column in ids.T],
                       {field: np.ones((len(ids), 1)) for field in np.flatnonzero(self.is_weighted).tolist()})

  def packed(self, ids: Iterable[np.ndarray], weights: Mapping[int, np.ndarray]) -> np.ndarray:
    """Rows of the ids of each field.

    Args:
      ids: per field `[num_rows, n]` integers, n at most its width; `PADDING_ID` where there is none.
      weights: per number of a field whose values have weights, `[num_rows, n]` of them.

    Returns:
      `[num_rows, num_places]` int32.
    """
    parts = [_padded(np.asarray(column, np.int32), width, PADDING_ID)
             for column, width in zip(ids, self.widths, strict=True)]
    parts += [_padded(np.asarray(weights[field], np.float32), self.widths[field], 0).view(np.int32)
              for field in np.flatnonzero(self.is_weighted).tolist()]
    return np.concatenate(parts, axis=1)

  def check(self, rows: np.ndarray, spec: FeatureSpec, subject: str) -> None:
    """Checks rows against their feature spec.

    Args:
      rows: `[num_rows, num_places]` integers, of any width.
      spec: the feature spec.
      subject: what the rows are, for messages.

    Raises:
      DataError: the rows have another number of places, an id lies outside its field, or a multi-valued field has no
        id, has an id twice, ids that do not ascend, or weights that do not sum to 1.
    """
    if rows.ndim != 2 or rows.shape[1] != self.num_places:
      columns = ("a column" if self.is_plain else f"{self.num_places} columns in all,")
      raise DataError(subject, rule=f"its ids have {columns} for each of the {len(self.widths)} fields.",
                      received=f"{rows.shape[1]} columns." if rows.ndim == 2 else f"shape {rows.shape}.",
                      remedy="give them in the order of the feature spec." if self.is_plain else
                      "make them with diet_tf.log.row_layout.RowLayout.packed.")
    for field, (name, size) in enumerate(zip(spec.names, spec.num_ids, strict=True)):
      ids = rows[:, self.ids_at(field)]
      present = ids != PADDING_ID
      if not present[:, 0].all() or ((ids < 0) | (ids >= size))[present].any():
        several = ", one at least in each row" if spec.fields[field].is_multi_valued else ""
        raise DataError(f"{subject}, field {name!r}", rule=f"its ids lie in [0, {size}){several}.",
                        received=f"ids from {ids.min()} to {ids.max()}.",
                        remedy="encode the rows with this feature spec, see diet_tf.log.encoding.encode.")
      if not ((ids[:, 1:] > ids[:, :-1]) | ~present[:, 1:]).all() or (present[:, 1:] & ~present[:, :-1]).any():
        raise DataError(f"{subject}, field {name!r}", rule="the ids of a row are distinct and ascend, before padding.",
                        received="rows in which they do not.", remedy="sort them, each id once, see "
                        "diet_tf.log.value_sets.")
      if self.is_weighted[field]:
        self._check_weights(rows.astype(np.int32), field, present, f"{subject}, field {name!r}")

  def _check_weights(self, rows: np.ndarray, field: int, present: np.ndarray, subject: str) -> None:
    weights = self.weights(rows, field)
    if not ((weights >= 0).all() and (weights[~present] == 0).all()
            and (np.abs(weights.sum(axis=1) - 1) <= _SUM_TOLERANCE).all()):
      raise DataError(subject, rule="the weights of a row's values are not negative, sum to 1, and are 0 in padding.",
                      received="rows in which they are not so.", remedy="divide them by their sum.")


def _padded(values: np.ndarray, width: int, filling: int) -> np.ndarray:
  return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=filling)


def missing_rows(spec: FeatureSpec, num_rows: int) -> np.ndarray:
  """`[num_rows, num_places]` int32 rows in which every field is missing."""
  return RowLayout.of(spec).of_single_ids(np.full((num_rows, len(spec.fields)), MISSING_ID))


def rows_of_fields(columns: Mapping[str, np.ndarray], spec: FeatureSpec) -> np.ndarray:
  """`[num_rows, num_places]` rows of what each field has, by its name.

  Args:
    columns: per field `[num_rows]` ids, or of a multi-valued one `[num_rows, n]`, with `field/weights` of the same
      shape where its values have weights.
    spec: the feature spec.

  Raises:
    DataError: a multi-valued field has more values than its `max_values`.
  """
  layout = RowLayout.of(spec)
  if layout.is_plain and not spec.multi_valued:
    return np.stack([columns[name] for name in spec.names], axis=1)
  ids = [np.asarray(columns[field.name]).reshape(len(columns[field.name]), -1) for field in spec.fields]
  for field, own, width in zip(spec.fields, ids, layout.widths, strict=True):
    if own.shape[1] > width:
      raise DataError(f"field {field.name!r}", rule=f"a row has at most {width} values.", received=f"{own.shape[1]}.",
                      remedy="raise max_values, or give fewer.")
  return layout.packed(ids, {number: columns[f"{field.name}/weights"] for number, field in enumerate(spec.fields)
                             if field.weights is not None})
