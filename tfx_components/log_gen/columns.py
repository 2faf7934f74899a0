"""Columns of a block of rows: an Arrow array as codes into its distinct canonical texts.

All later work (hashing, parsing, vocabularies) is done once per distinct value of a block and spread by the codes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diet_tf.log import canonical
from diet_tf.log import encoding as encoding_lib
from diet_tf.log.settings import TIME_UNITS, UTF_8
from diet_tf.log.times import TimeKind
from tfx_components.log_gen.text_encodings import is_utf_8

# What can be wrong with a value before any schema is looked at: bytes that are no text, a list, an object, a whole
# number that a float has rounded (a number of the file, or a text of a CSV file).
SOUND, UNDECODABLE, LIST, OBJECT, ROUNDED, ROUNDED_TEXT = range(6)
NESTED = (LIST, OBJECT)
# Flaws of ids that a number does not mind.
NUMBERS = (ROUNDED, ROUNDED_TEXT)

# From here on a float leaves whole numbers out, so that neighbouring ids may have become one.
_FIRST_ROUNDED = {np.dtype(np.float32): 2.0**24, np.dtype(np.float64): canonical.FIRST_ROUNDED}


@dataclasses.dataclass(frozen=True)
class Lists:
  """Lists of values.

  Attributes:
    starts: `[count + 1]` int64, where each list begins among the values, and where the last one ends.
    elements: the values of all lists, one after the other; its codes are per value.
  """

  starts: np.ndarray
  elements: Column

  @property
  def count(self) -> int:
    """Number of lists."""
    return len(self.starts) - 1

  @property
  def lengths(self) -> np.ndarray:
    """`[count]` int64, how many values each list has."""
    return np.diff(self.starts)

  @functools.cached_property
  def owners(self) -> np.ndarray:
    """`[n]` int64, the number of the list of each value, ascending."""
    return np.repeat(np.arange(self.count), self.lengths)

  def of_rows(self, codes: np.ndarray) -> Lists:
    """The lists at `codes`, `[n]` int64, in that order."""
    lengths = self.lengths[codes]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(starts[-1]) + np.repeat(self.starts[codes] - starts[:-1], lengths)
    return Lists(starts, self.elements.take(places))

  def followed_by(self, other: Lists) -> Lists:
    """These lists, and then others."""
    texts = np.concatenate([self.elements.texts, other.elements.texts])
    flaws = np.concatenate([self.elements.flaws, other.elements.flaws])
    codes = np.concatenate([self.elements.codes, other.elements.codes + len(self.elements.texts)])
    return Lists(np.concatenate([self.starts, other.starts[1:] + self.starts[-1]]), Column(codes, texts, flaws))

  def without(self, broken: np.ndarray) -> Lists:
    """The lists, of which those that are `broken`, `[count]` bool, are empty."""
    lengths = np.where(broken, 0, self.lengths)
    return Lists(np.concatenate([[0], np.cumsum(lengths)]), self.elements.take(~broken[self.owners]))


@dataclasses.dataclass(frozen=True)
class Column:
  """A column of a block.

  Attributes:
    codes: `[n]` int64, per row the position of its value in `texts`.
    texts: `[u]` object array of canonical texts, empty where missing; they need not be distinct.
    flaws: `[u]` int8, `SOUND` or what is wrong with the value.
    stamps: how timestamps are written where the file types the values so, whose texts are microseconds then; None of
      other values.
    lists: `[u]` lists of values, where the column is one of lists, whose texts are these as JSON; None of others.
  """

  codes: np.ndarray
  texts: np.ndarray
  flaws: np.ndarray
  stamps: TimeKind | None = None
  lists: Lists | None = None

  def __len__(self) -> int:
    return len(self.codes)

  @functools.cached_property
  def missing(self) -> np.ndarray:
    """`[u]` bool, true where the value is missing."""
    return self.texts == canonical.MISSING_TEXT

  @functools.cached_property
  def hashes(self) -> np.ndarray:
    """`[u]` uint64 fingerprints of the texts."""
    return encoding_lib.fingerprints(self.texts)

  def has(self, *flaws: int) -> np.ndarray:
    """`[u]` bool, true where the value has one of these flaws."""
    return np.isin(self.flaws, flaws)

  def take(self, rows: np.ndarray) -> Column:
    """The column at `rows` (bool or int)."""
    return dataclasses.replace(self, codes=self.codes[rows])

  def filled(self, text: str) -> Column:
    """The column with a text in the place of each missing value; of lists, with a list of it."""
    if self.lists is not None and text:
      return first_of(self, Column(np.zeros(len(self), np.int64), *_one_text(f'["{text}"]'),
                                   lists=Lists(np.array([0, 1]), from_texts([text]))))
    texts = np.where(self.missing, text, self.texts) if text else self.texts
    return dataclasses.replace(self, texts=texts)

  def row_texts(self, rows: np.ndarray | None = None) -> np.ndarray:
    """Per row its canonical text, as an object array."""
    return self.texts[self.codes if rows is None else self.codes[rows]]


def _one_text(text: str) -> tuple[np.ndarray, np.ndarray]:
  """Texts and flaws of one sound value."""
  column = from_texts([text])
  return column.texts, column.flaws


def first_of(one: Column, other: Column) -> Column:
  """Per row the value of the one column or, where that is missing, of the other."""
  codes = np.where(one.missing[one.codes], other.codes + len(one.texts), one.codes)
  lists = None if one.lists is None or other.lists is None else one.lists.followed_by(other.lists)
  return Column(codes, np.concatenate([one.texts, other.texts]), np.concatenate([one.flaws, other.flaws]), one.stamps,
                lists)


def all_missing(num_rows: int) -> Column:
  """A column that a block does not have."""
  return from_texts([canonical.MISSING_TEXT] * num_rows)


def from_texts(texts: Sequence[str], flaws: Sequence[int] | None = None) -> Column:
  """A column of canonical texts, one per row, with their flaws."""
  array = np.empty(len(texts), object)
  array[:] = texts
  marks = np.zeros(len(texts), np.int8) if flaws is None else np.asarray(flaws, np.int8)
  return Column(np.arange(len(texts)), array, marks)


def from_objects(values: Sequence[Any], missing: frozenset[str] = frozenset(), encoding: str = UTF_8) -> Column:
  """A column of Python values, one per row: the slow way, for blocks that have no single type per column.

  Args:
    values: the values.
    missing: texts that stand for a missing value.
    encoding: encoding of values that are bytes.
  """
  texts, flaws = zip(*(_text_and_flaw(value, encoding) for value in values)) if len(values) else ((), ())
  if missing:
    # The text of a number is not what the log has: "1" may stand for a missing value, and 1 not.
    texts = tuple(_or_missing(text, missing) if isinstance(value, (str, bytes)) else text
                  for text, value in zip(texts, values))
  return from_texts(texts, flaws)


def _text_and_flaw(value: Any, encoding: str = UTF_8) -> tuple[str, int]:
  if isinstance(value, (list, tuple)):
    return json.dumps(value, sort_keys=True, default=str), LIST
  if isinstance(value, dict):
    return json.dumps(value, sort_keys=True, default=str), OBJECT
  try:
    text = canonical.canonical_text(value.decode(encoding) if isinstance(value, bytes) else value)
    text.encode()
  except UnicodeError:
    return repr(value), UNDECODABLE
  return text, ROUNDED if isinstance(value, (float, np.floating)) and _rounded(np.asarray(value)) else SOUND


def _rounded(values: np.ndarray) -> np.ndarray:
  """Per float, whether it stands for other whole numbers too."""
  return np.isfinite(values) & (np.abs(values) >= _FIRST_ROUNDED[values.dtype])


def _or_missing(text: str, missing: frozenset[str]) -> str:
  return canonical.MISSING_TEXT if text in missing else text


def from_arrow(array: pa.Array, *, untyped: bool = False, missing: frozenset[str] = frozenset(),
               encoding: str = UTF_8) -> Column:
  """The column of an Arrow array.

  Args:
    array: the Arrow array, of any type; lists and structs are kept as JSON and marked.
    untyped: whether the values are texts of a CSV file, where a number is not told from a text.
    missing: texts that stand for a missing value.
    encoding: encoding of values that are bytes.
  """
  if isinstance(array, pa.ChunkedArray):
    array = array.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
  if is_nested(array.type):
    return from_objects(array.to_pylist())
  if pa.types.is_null(array.type):
    return all_missing(len(array))
  stamps = _stamps(array.type.value_type if pa.types.is_dictionary(array.type) else array.type)
  array = _plain(array)
  if not pa.types.is_dictionary(array.type):
    array = array.dictionary_encode()
  values = _plain(array.dictionary)
  texts, flaws = _distinct_texts(values, encoding)
  if missing and _is_text(values.type):
    texts[:] = [_or_missing(text, missing) for text in texts]
  if untyped:
    _untyped(texts, flaws)
  # One more entry, "missing", for the nulls.
  codes = pc.fill_null(pc.cast(array.indices, pa.int64()), len(texts)).to_numpy(zero_copy_only=False)
  return Column(codes, np.append(texts, canonical.MISSING_TEXT), np.append(flaws, np.int8(SOUND)), stamps)


def is_nested(kind: pa.DataType) -> bool:
  """Whether values of the type hold several values."""
  return pa.types.is_nested(kind) or pa.types.is_fixed_size_list(kind)


def _is_text(kind: pa.DataType) -> bool:
  return (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)
          or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _stamps(kind: pa.DataType) -> TimeKind | None:
  if not pa.types.is_timestamp(kind):
    return None
  return TimeKind.WITHOUT_ZONE if kind.tz is None else TimeKind.WITH_ZONE


def _plain(array: pa.Array) -> pa.Array:
  """Times as whole microseconds, decimals without trailing zeros, dates as ISO text; other types as they are."""
  kind = array.type
  if pa.types.is_timestamp(kind):
    return _microseconds(pc.cast(array, pa.int64()), kind.unit)
  if pa.types.is_date(kind):
    return pc.cast(pc.cast(array, pa.date32()), pa.string())
  if pa.types.is_time(kind) or pa.types.is_duration(kind):
    return pc.cast(array, pa.int64() if kind.bit_width == 64 else pa.int32())
  if pa.types.is_decimal(kind):
    texts = [None if value is None else _decimal_text(value) for value in array.to_pylist()]
    return pa.array(texts, pa.string())
  if pa.types.is_float16(kind):
    return pa.array(array.to_numpy(zero_copy_only=False).astype(np.float32), from_pandas=True)
  return array


def _microseconds(numbers: pa.Array, unit: str) -> pa.Array:
  """Numbers of a unit as whole microseconds, rounded down; what these cannot hold is the last that they can."""
  per_second, microseconds = TIME_UNITS[unit], TIME_UNITS["us"]
  if per_second > microseconds:
    values = numbers.fill_null(0).to_numpy(zero_copy_only=False) // (per_second // microseconds)
  else:
    most = np.iinfo(np.int64).max // (microseconds // per_second)
    values = np.clip(numbers.fill_null(0).to_numpy(zero_copy_only=False), -most, most) * (microseconds // per_second)
  return pa.array(values, pa.int64(), mask=numbers.is_null().to_numpy(zero_copy_only=False))


def _decimal_text(value: Any) -> str:
  text = format(value, "f")
  text = text.rstrip("0").rstrip(".") if "." in text else text
  return "0" if text == "-0" else text


def _distinct_texts(values: pa.Array, encoding: str) -> tuple[np.ndarray, np.ndarray]:
  kind = values.type
  if not _is_text(kind):
    array = values.to_numpy(zero_copy_only=False)
    flaws = np.zeros(len(array), np.int8)
    if array.dtype in _FIRST_ROUNDED:
      flaws[_rounded(array)] = ROUNDED
    return encoding_lib.canonical_texts(array), flaws
  if pa.types.is_string(kind) or pa.types.is_large_string(kind):
    # Arrow does not check the text that a file claims to be UTF-8; the cast below does.
    values, encoding = pc.cast(values, pa.large_binary()), UTF_8
  if is_utf_8(encoding):
    try:
      decoded = pc.cast(pc.cast(values, pa.large_binary()), pa.large_string())
      return encoding_lib.canonical_texts(decoded.to_numpy(zero_copy_only=False)), np.zeros(len(values), np.int8)
    except pa.ArrowInvalid:
      pass
  pairs = [_text_and_flaw(value, encoding) for value in values.to_pylist()]
  texts = np.empty(len(pairs), object)
  texts[:] = [text for text, _ in pairs]
  return texts, np.array([flaw for _, flaw in pairs], np.int8)


def _untyped(texts: np.ndarray, flaws: np.ndarray) -> None:
  """Gives texts of a CSV file that write a whole number as a float the form of a whole number, in place."""
  for index, text in enumerate(texts):
    value = canonical.whole_number(text)
    if value is None:
      continue
    if abs(value) >= canonical.FIRST_ROUNDED:
      flaws[index] = ROUNDED_TEXT
    else:
      texts[index] = str(int(value))
