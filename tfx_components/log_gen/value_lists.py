"""Columns whose rows have several values: lists of a file and texts that are parted, and what a field makes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diet_tf.log import canonical, encoding
from diet_tf.log.features import Field
from diet_tf.log.settings import UTF_8
from diet_tf.log.value_sets import Entries, distinct
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import reasons, value_rules
from tfx_components.log_gen.columns import Column, Lists

# Rows that break a rule `[n]` bool, the column of it, and the words for it.
BrokenRows = tuple[np.ndarray, str, str]


def from_arrow(array: pa.Array, missing: frozenset[str] = frozenset(), encoding_name: str = UTF_8) -> Column:
  """The column of an Arrow array of lists; of single values, each is a list of one.

  Args:
    array: the Arrow array, of any type.
    missing: texts that stand for a missing value within a list.
    encoding_name: encoding of values that are bytes.
  """
  if isinstance(array, pa.ChunkedArray):
    array = array.combine_chunks()
    array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
  kind = array.type
  if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0), np.int64)
    return _of_lists(columns_lib.from_arrow(array.flatten(), missing=missing, encoding=encoding_name), lengths)
  if pa.types.is_struct(kind) or pa.types.is_map(kind):
    return from_objects(array.to_pylist(), missing, encoding_name)
  present = np.asarray(array.is_valid())
  values = array.filter(pa.array(present))
  return _of_lists(columns_lib.from_arrow(values, missing=missing, encoding=encoding_name), present.astype(np.int64))


def from_objects(values: Sequence[Any], missing: frozenset[str] = frozenset(), encoding_name: str = UTF_8) -> Column:
  """The column of Python values, of which lists are lists of values and others lists of one.

  Args:
    values: the values, one per row.
    missing: texts that stand for a missing value within a list.
    encoding_name: encoding of values that are bytes.
  """
  lists = [list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value] for value in values]
  elements = columns_lib.from_objects([value for one in lists for value in one], missing, encoding_name)
  return _of_lists(elements, np.array([len(one) for one in lists], np.int64))


def _of_lists(elements: Column, lengths: np.ndarray) -> Column:
  """The column of lists of these lengths; its texts are those of the values, as JSON lists them."""
  starts = np.concatenate([[0], np.cumsum(lengths)])
  texts = np.full(len(lengths), canonical.MISSING_TEXT, object)
  flaws = np.zeros(len(lengths), np.int8)
  owners = np.repeat(np.arange(len(lengths)), lengths)
  full = np.zeros(len(lengths), bool)
  full[owners[~elements.missing[elements.codes]]] = True
  if full.any():
    words = pa.array(elements.texts, pa.string()).take(pa.array(elements.codes))
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(starts, pa.int32()), words), '","')
    texts[full] = [f'["{text}"]' for text in joined.filter(pa.array(full)).to_pylist()]
  np.maximum.at(flaws, owners, elements.flaws[elements.codes])
  return Column(np.arange(len(lengths)), texts, flaws, lists=Lists(starts, elements))


def parted(column: Column, separator: str, missing: frozenset[str]) -> Lists:
  """The values of texts: what stands between separators, without blanks around it.

  A number is read as in CSV, whatever the format: 1.0 is 1.

  Args:
    column: a column of texts.
    separator: text between values.
    missing: texts that stand for a missing value.
  """
  # In the form of the texts that it parts.
  separator = canonical.canonical_text(separator)
  parts = [[part.strip() for part in text.split(separator)] if text else [] for text in column.texts]
  texts = [canonical.MISSING_TEXT if part in missing else canonical.untyped_text(part) for one in parts for part in one]
  starts = np.concatenate([[0], np.cumsum([len(one) for one in parts])]).astype(np.int64)
  return Lists(starts, columns_lib.from_texts(texts))


def lists_of(column: Column, separator: str | None, missing: frozenset[str]) -> Lists:
  """The lists of a column, one for each of its distinct values."""
  if separator is not None:
    return parted(column, separator, missing)
  if column.lists is not None:
    return column.lists
  # Of a column without lists, such as one that a folder's name gives, each value is a list of one.
  starts = np.concatenate([[0], np.cumsum(~column.missing)])
  return Lists(starts, columns_lib.from_texts(column.texts[~column.missing].tolist()))


@dataclasses.dataclass(frozen=True)
class FieldSets:
  """What rows have in a multi-valued field.

  Attributes:
    values: `[num_rows]` lists of distinct ids, or of texts where the vocabulary grows; empty where it is missing.
    weights: `[num_rows]` lists of as many float64 numbers; None where the field's values have none.
    broken: the rows that break the field.
  """

  values: pa.Array
  weights: pa.Array | None
  broken: tuple[BrokenRows, ...]


def field_sets(field: Field, values: Column, weights: Column | None, thousands: str | None,
               missing: tuple[frozenset[str], frozenset[str]], names: tuple[str, str | None]) -> FieldSets:
  """The sets of values of rows.

  Args:
    field: the field.
    values: the column of the values.
    weights: the column of their weights; None where the field has none.
    thousands: separator of thousands in numbers; None for none.
    missing: texts that stand for a missing value, in either column.
    names: names of both columns.
  """
  lists = lists_of(values, field.separator, missing[0])
  place, of_weights = (reasons.column_of_field(str(name), field.name) for name in names)
  if weights is None:
    # Once for each distinct value of the column, and then spread.
    keys, wrong = _keys(field, lists.elements, thousands)
    owners = lists.owners
    broken = [(_any(owners, mask[lists.elements.codes], lists.count)[values.codes], place, words)
              for mask, words in wrong if mask.any()]
    kept = ~keys.missing[lists.elements.codes]
    codes = lists.elements.codes[kept]
    entries = distinct(owners[kept], keys.codes[codes])
    return FieldSets(_as_lists(entries.rows, keys.values[entries.keys], lists.count, keys.kind).take(
        pa.array(values.codes)), None, tuple(broken))
  return _weighted(field, lists.of_rows(values.codes), weights, thousands, missing[1], place, of_weights)


def _weighted(field: Field, lists: Lists, weights: Column, thousands: str | None, missing: frozenset[str],
              place: str, of_weights: str) -> FieldSets:
  own = lists_of(weights, field.separator, missing).of_rows(weights.codes)
  keys, wrong = _keys(field, lists.elements, thousands)
  broken = [(_any(lists.owners, mask[lists.elements.codes], lists.count), place, words)
            for mask, words in wrong if mask.any()]
  unequal = lists.lengths != own.lengths
  broken.append((unequal, of_weights, reasons.NOT_AS_MANY_WEIGHTS))
  # What is broken anyway has no weights from here on, so that values and weights stand side by side.
  lists, own = lists.without(unequal), own.without(unequal)
  numbers, wrong = value_rules.read_numbers(own.elements, thousands)
  numbers, there = numbers[own.elements.codes], ~keys.missing[lists.elements.codes]
  # Also of a text such as -nan, which is read as a number that is none.
  useless = there & ~(np.isfinite(numbers) & (numbers >= 0))
  for mask, words in [*wrong, (own.elements.missing, reasons.NOT_AS_MANY_WEIGHTS)]:
    broken.append((_any(own.owners, mask[own.elements.codes] & there, own.count), of_weights, words))
  # The first reason that a row has is told.
  broken.append((_any(own.owners, useless, own.count), of_weights, reasons.NOT_A_WEIGHT))
  kept = there & ~useless
  entries = distinct(lists.owners[kept], keys.codes[lists.elements.codes[kept]], numbers[kept])
  return FieldSets(_as_lists(entries.rows, keys.values[entries.keys], lists.count, keys.kind),
                   _as_lists(entries.rows, entries.weights, lists.count, pa.float64()),
                   tuple(entry for entry in broken if entry[0].any()))


@dataclasses.dataclass(frozen=True)
class _Keys:
  """What the values of a column are told apart by.

  Attributes:
    codes: `[u]` int64, per distinct text of the column the number of its key.
    missing: `[u]` bool, per distinct text whether it stands for no value: a number that is NaN is none either.
    values: `[num_keys]` ids ascending, or texts where the vocabulary grows.
    kind: Arrow's type of them.
  """

  codes: np.ndarray
  missing: np.ndarray
  values: np.ndarray
  kind: pa.DataType


def _keys(field: Field, elements: Column, thousands: str | None) -> tuple[_Keys, list[tuple[np.ndarray, str]]]:
  """The keys of a column's distinct texts, and those that break the field with the words for it."""
  if encoding.grows(field):
    values, codes = np.unique(elements.texts.astype(str), return_inverse=True)
    return _Keys(codes, elements.missing, values.astype(object), pa.string()), []
  wrong: list[tuple[np.ndarray, str]] = []
  missing = elements.missing
  if field.boundaries:
    numbers, wrong = value_rules.read_numbers(elements, thousands)
    ids, missing = encoding.bucket_ids(numbers, field.boundaries), np.isnan(numbers)
  else:
    ids, _ = encoding.encode_texts(field, elements.texts)
  values, codes = np.unique(ids, return_inverse=True)
  return _Keys(codes, missing, values, pa.int32()), wrong


def _any(owners: np.ndarray, broken: np.ndarray, count: int) -> np.ndarray:
  """`[count]` bool, whether something of each list is broken."""
  return np.bincount(owners[broken], minlength=count) > 0


def _as_lists(rows: np.ndarray, values: np.ndarray | None, count: int, kind: pa.DataType) -> pa.Array:
  ends = np.cumsum(np.bincount(rows, minlength=count))
  return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], ends]), pa.int32()), pa.array(values, kind))


def list_entries(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
  """The number of the row of each value in a column of lists, `[n]` int64, and the values; null is an empty list."""
  array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
  array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
  lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0))
  return np.repeat(np.arange(len(array)), lengths), array.flatten()


def spilled_entries(values: pa.ChunkedArray, weights: pa.ChunkedArray | None, ids: np.ndarray | None) -> Entries:
  """The entries of spilled lists of a field.

  Args:
    values: the lists of ids, or of texts.
    weights: the lists of their weights; None where there are none.
    ids: `[n]` ids of all texts; None where the lists are of ids.
  """
  rows, found = list_entries(values)
  own = None if weights is None else list_entries(weights)[1].to_numpy(zero_copy_only=False)
  if ids is None:
    # As `field_sets` left them: distinct and ascending already.
    return Entries(rows, found.to_numpy(zero_copy_only=False).astype(np.int64), own)
  # Several texts may have one id, such as those that a vocabulary does not list.
  return distinct(rows, ids, own)


def reasons_of(broken: Sequence[BrokenRows]) -> Iterator[tuple[np.ndarray, str]]:
  """The rows that break a field, each with the whole reason."""
  for rows, place, words in broken:
    yield rows, f"{place} {words}"
