"""JSON Lines files: by Arrow's parser where its types keep every value, otherwise line by line."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.json as pa_json

from tfx_components.log_gen import nested, reasons
from tfx_components.log_gen.pieces import Block, Parsed, Piece, Wanted, column_of_arrow, columns_of_rows, read_lines

# Above this a float64 does not hold every integer: the fast JSON parser may have rounded.
_EXACT_FLOAT = 2.0**53
_MAX_DIGITS = 4000
# What says where a value of an object ends: a text, or a mark outside of texts.
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]')
_KEY = re.compile(r'\s*("(?:[^"\\]|\\.)*")\s*:')


def read_jsonl(piece: Piece, wanted: Wanted) -> Iterator[Block]:
  """The blocks of a piece, of the columns that are wanted."""
  def parse(data: bytes, num_lines: int) -> Parsed:
    return _parse_fast(data, num_lines, wanted, piece) or _parse_lines(data, wanted, piece)

  yield from read_lines(piece, parse)


def _parse_fast(data: bytes, num_lines: int, wanted: Wanted, piece: Piece) -> Parsed | None:
  """The columns of JSON lines by Arrow's parser, or None where its types would change a value."""
  read_options = pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1)
  try:
    table = pa_json.read_json(pa.BufferReader(data), read_options)
    times = [pa.field(field.name, kind) for field in table.schema if (kind := _with_texts(field.type)) != field.type]
    if times:
      # Texts that look like times stay texts.
      table = pa_json.read_json(pa.BufferReader(data), read_options,
                                pa_json.ParseOptions(explicit_schema=pa.schema(times)))
  except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
    return None
  names = nested.leaf_names(table.schema) if wanted.flat else [name for name in table.column_names
                                                               if wanted.reads(name)]
  if any(nested.num_places(table.schema, name) > 1 for name in {*wanted.within, *(names if wanted.flat else ())}):
    # Which of them a row has, its own keys say.
    return None
  places = {name: nested.place_of(table.schema, name) for name in {**dict.fromkeys(names),
                                                                   **dict.fromkeys(sorted(wanted.within))}}
  arrays = {name: nested.taken(table.column(place[0]), place[1:]) for name, place in places.items() if place}
  if table.num_rows != num_lines or not all(_kept_exactly(array, piece.is_list(name))
                                            for name, array in arrays.items()):
    return None
  return Parsed({name: column_of_arrow(name, array, piece) for name, array in arrays.items()}, np.arange(num_lines), [],
                frozenset(arrays if wanted.flat else [*table.column_names, *arrays]))


def _with_texts(kind: pa.DataType) -> pa.DataType:
  """A type in which texts stand in the place of times, also within objects and lists."""
  if pa.types.is_timestamp(kind):
    return pa.string()
  if pa.types.is_struct(kind):
    return pa.struct([pa.field(kind[place].name, _with_texts(kind[place].type)) for place in range(kind.num_fields)])
  if pa.types.is_list(kind):
    return pa.list_(_with_texts(kind.value_type))
  return kind


def _kept_exactly(column: pa.ChunkedArray, as_list: bool) -> bool:
  if as_list and pa.types.is_list(column.type):
    return _kept_exactly(pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type), False)
  if pa.types.is_nested(column.type):
    # Arrow unifies the structs of a block, so that one row's text would depend on its neighbours.
    return False
  if not pa.types.is_floating(column.type):
    return True
  values = column.drop_null().to_numpy()
  return not bool(np.any(np.abs(values[np.isfinite(values)]) >= _EXACT_FLOAT))


def _parse_lines(data: bytes, wanted: Wanted, piece: Piece) -> Parsed:
  """The slow way, line by line: for blocks with broken lines, nested values or columns of several types."""
  rows, kept, rejected = [], [], []
  for index, line in enumerate(data.split(b"\n")[:-1]):
    # What is no UTF-8 is looked at where it is read.
    text = line.decode("utf-8", "surrogateescape")
    value = _object_of(text, wanted.keys)
    if value is None:
      rejected.append((index, reasons.UNPARSABLE_JSON, _shown(text)))
    elif repeated := _repeated(value, wanted):
      rejected.append((index, f"key {repeated[0]!r} {reasons.REPEATED}", _shown(text)))
    else:
      rows.append(_row(value, wanted))
      kept.append(index)
  return Parsed(columns_of_rows(rows, wanted, piece), np.array(kept, np.int64), rejected,
                frozenset(name for row in rows for name in row))


def _row(value: _Object, wanted: Wanted) -> dict[str, object]:
  """An object as the columns of a row."""
  row = nested.flattened(value) if wanted.flat else dict(value)
  for name in wanted.within:
    if name not in row and (found := nested.value_of(value, name)) is not nested.ABSENT:
      row[name] = found
  return row


def _repeated(value: _Object, wanted: Wanted) -> list[str]:
  """The keys of what is read that an object gives several times, sorted."""
  found = {name for name in value.repeated if wanted.keys is None or name in wanted.keys}
  return sorted(found | {name for name in wanted.within if _is_repeated(value, name)})


def _is_repeated(value: _Object, name: str) -> bool:
  """Whether a key on the way to a value within objects is given several times."""
  if name in value:
    return name in value.repeated
  return any(head in value.repeated or isinstance(inner := value.get(head), _Object) and _is_repeated(inner, rest)
             for head, rest in nested.splits(name))


def _shown(text: str) -> str:
  return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class _Object(dict[str, object]):
  """A JSON object.

  Args:
    pairs: keys and values as they stand; of a repeated key the last value holds.
  """

  def __init__(self, pairs: list[tuple[str, object]]) -> None:
    super().__init__(pairs)
    self.repeated = [key for key, number in Counter(key for key, _ in pairs).items() if number > 1] \
        if len(self) < len(pairs) else []


def _object_of(text: str, only: frozenset[str] | None) -> _Object | None:
  """The object in a line; None where there is none."""
  try:
    value = json.loads(text, object_pairs_hook=_Object, parse_int=_whole_number)
  except (ValueError, RecursionError):
    return None if only is None else _object_of_values(text, only)
  return value if isinstance(value, _Object) else None


def _whole_number(digits: str) -> int | str:
  # Python does not turn any number of digits into an integer; as a text it is the same value.
  return int(digits) if len(digits) <= _MAX_DIGITS else digits


def _object_of_values(text: str, only: frozenset[str]) -> _Object | None:
  """The object in a line of which some value cannot be read, by those that are; None where one of these cannot either.

  Texts and brackets say where a value ends, whatever it holds.
  """
  inside = text.strip()
  if not (inside.startswith("{") and inside.endswith("}")):
    return None
  members, depth, start = [], 0, 1
  for token in _JSON_TOKEN.finditer(inside, 1, len(inside) - 1):
    mark = token.group()
    depth += (mark in ("[", "{")) - (mark in ("]", "}"))
    if depth < 0:
      return None
    if mark == "," and depth == 0:
      members.append(inside[start:token.start()])
      start = token.end()
  members.append(inside[start:-1])
  if depth:
    return None
  try:
    return _Object([_pair(member, only) for member in members])
  except (ValueError, RecursionError):
    return None


def _pair(member: str, only: frozenset[str]) -> tuple[str, object]:
  """Key and value of an object's member; the value is None where it is not read.

  Raises:
    ValueError: it is no member, or its value is read and is none.
  """
  key = _KEY.match(member)
  if key is None:
    raise ValueError(member)
  name = json.loads(key[1], strict=False)
  if name not in only:
    return name, None
  return name, json.loads(member[key.end():], object_pairs_hook=_Object, parse_int=_whole_number)
