"""Columns of a block of rows: an Arrow array as codes into its distinct canonical texts.

All later work (hashing, parsing, vocabularies) is done once per distinct value of a block and spread by the codes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diet_tf.log import encoding

# What can be wrong with a value before any schema is looked at.
SOUND, UNDECODABLE, NESTED = 0, 1, 2

# CSV has no types: a whole number written as a float (as pandas does where a null appears) is that whole number.
_WHOLE_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.0+")
_CSV_NAN = ("nan", "NaN")


@dataclasses.dataclass(frozen=True)
class Column:
  """A column of a block.

  Attributes:
    codes: `[n]` int64, per row the position of its value in `texts`.
    texts: `[u]` object array of canonical texts, empty where missing; they need not be distinct.
    flaws: `[u]` int8, `SOUND`, `UNDECODABLE` or `NESTED`.
  """

  codes: np.ndarray
  texts: np.ndarray
  flaws: np.ndarray

  def __len__(self) -> int:
    return len(self.codes)

  @functools.cached_property
  def missing(self) -> np.ndarray:
    """`[u]` bool, true where the value is missing."""
    return self.texts == encoding.MISSING_TEXT

  @functools.cached_property
  def hashes(self) -> np.ndarray:
    """`[u]` uint64 fingerprints of the texts."""
    return encoding.fingerprints(self.texts)

  def take(self, rows: np.ndarray) -> Column:
    """The column at `rows` (bool or int)."""
    return Column(self.codes[rows], self.texts, self.flaws)

  def row_texts(self, rows: np.ndarray | None = None) -> np.ndarray:
    """Per row its canonical text, as an object array."""
    return self.texts[self.codes if rows is None else self.codes[rows]]


def all_missing(num_rows: int) -> Column:
  """A column that a block does not have."""
  return from_texts([encoding.MISSING_TEXT] * num_rows)


def from_texts(texts: Sequence[str], flaws: Sequence[int] | None = None) -> Column:
  """A column of canonical texts, one per row, with their flaws."""
  array = np.empty(len(texts), object)
  array[:] = texts
  marks = np.zeros(len(texts), np.int8) if flaws is None else np.asarray(flaws, np.int8)
  return Column(np.arange(len(texts)), array, marks)


def from_objects(values: Sequence[Any]) -> Column:
  """A column of Python values, one per row: the slow way, for blocks that have no single type per column."""
  texts, flaws = zip(*map(_text_and_flaw, values)) if len(values) else ((), ())
  return from_texts(texts, flaws)


def _text_and_flaw(value: Any) -> tuple[str, int]:
  if isinstance(value, (list, dict, tuple)):
    return json.dumps(value, sort_keys=True, default=str), NESTED
  try:
    text = encoding.canonical_text(value)
    text.encode()
    return text, SOUND
  except UnicodeError:
    return repr(value), UNDECODABLE


def from_arrow(array: pa.Array, *, untyped: bool = False) -> Column:
  """The column of an Arrow array.

  Args:
    array: the Arrow array, of any type; lists and structs are kept as JSON and marked `NESTED`.
    untyped: whether the values are texts of a CSV file, where a number is not told from a text.
  """
  if isinstance(array, pa.ChunkedArray):
    array = array.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
  if pa.types.is_nested(array.type):
    return from_objects(array.to_pylist())
  if pa.types.is_null(array.type):
    return all_missing(len(array))
  array = _plain(array)
  if not pa.types.is_dictionary(array.type):
    array = array.dictionary_encode()
  texts, flaws = _distinct_texts(_plain(array.dictionary))
  if untyped:
    texts[:] = [_untyped_text(text) for text in texts]
  # One more entry, "missing", for the nulls.
  codes = pc.fill_null(pc.cast(array.indices, pa.int64()), len(texts)).to_numpy(zero_copy_only=False)
  return Column(codes, np.append(texts, encoding.MISSING_TEXT), np.append(flaws, np.int8(SOUND)))


def _plain(array: pa.Array) -> pa.Array:
  """Times as whole microseconds, decimals without trailing zeros, dates as ISO text; other types as they are."""
  kind = array.type
  if pa.types.is_timestamp(kind):
    return pc.cast(pc.cast(array, pa.timestamp("us", kind.tz), safe=False), pa.int64())
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


def _decimal_text(value: Any) -> str:
  text = format(value, "f")
  text = text.rstrip("0").rstrip(".") if "." in text else text
  return "0" if text == "-0" else text


def _distinct_texts(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
  flaws = np.zeros(len(values), np.int8)
  kind = values.type
  if pa.types.is_string(kind) or pa.types.is_large_string(kind):
    # Arrow does not check the text that a file claims to be UTF-8; the cast below does.
    values = pc.cast(values, pa.large_binary())
  elif not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)):
    return encoding.canonical_texts(values.to_numpy(zero_copy_only=False)), flaws
  try:
    decoded = pc.cast(pc.cast(values, pa.large_binary()), pa.large_string())
  except pa.ArrowInvalid:
    pairs = [_text_and_flaw(value) for value in values.to_pylist()]
    texts = np.empty(len(pairs), object)
    texts[:] = [text for text, _ in pairs]
    return texts, np.array([flaw for _, flaw in pairs], np.int8)
  return encoding.canonical_texts(decoded.to_numpy(zero_copy_only=False)), flaws


def _untyped_text(text: str) -> str:
  if text[-1:] == "0" and _WHOLE_FLOAT.fullmatch(text):
    whole = text[:text.index(".")]
    return "0" if whole == "-0" else whole
  return encoding.MISSING_TEXT if text in _CSV_NAN else text
