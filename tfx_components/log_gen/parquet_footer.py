"""The footer of a Parquet file with the types that Arrow does not know left out, so that its other columns can be read.

Arrow refuses a whole footer for one type of a newer release. Without the Arrow schema that a writer may have left in
it, types are those of Parquet itself; without a logical type, a column is what it is stored as. The footer is a struct
of Thrift's compact protocol (https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from tfx_components.log_gen.varints import read_varint

_MAGIC = b"PAR1"
_MAX_FOOTER_BYTES = 256 << 20
_ARROW_SCHEMA = b"ARROW:schema"
# Fields of FileMetaData and of SchemaElement.
_SCHEMA, _LOGICAL_TYPE = 2, 10
# The newest logical type that Arrow 10 knows is UUID.
_LAST_KNOWN_TYPE = 14
# Types of Thrift's compact protocol.
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12


def read_without_types(stream: BinaryIO) -> pq.FileMetaData | None:
  """The metadata of a file without the types that are not known; None where it has none that can be read."""
  footer = _footer(stream)
  if footer is None:
    return None
  try:
    cut = b"".join(_kept(footer.replace(_ARROW_SCHEMA, b"ARROW-schema")))
    whole = _MAGIC + cut + len(cut).to_bytes(4, "little") + _MAGIC
    return pq.read_metadata(pa.BufferReader(whole))
  except (IndexError, ValueError, RecursionError, pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
    return None


def _footer(stream: BinaryIO) -> bytes | None:
  size = stream.seek(0, 2)
  stream.seek(max(0, size - 8))
  tail = stream.read(8)
  length = int.from_bytes(tail[:4], "little")
  if tail[4:] != _MAGIC or not 0 < length <= min(size - 8, _MAX_FOOTER_BYTES):
    return None
  stream.seek(size - 8 - length)
  return stream.read(length)


def _kept(footer: bytes) -> Iterator[bytes]:
  """The footer in parts, without the logical types of the schema that are not known."""
  start = 0
  for number, kind, place, _ in _fields(footer, 0):
    if number == _SCHEMA and kind == _LIST:
      size, _, place = _list_header(footer, place)
      for _ in range(size):
        begin = end = place
        for field, _, value, end in _fields(footer, place):
          if field == _LOGICAL_TYPE and _union_member(footer, value) > _LAST_KNOWN_TYPE:
            # It is the last field of its struct: those after it do not count on its number.
            yield footer[start:begin]
            start = end
          begin = end
        place = end + 1
  yield footer[start:]


def _union_member(data: bytes, place: int) -> int:
  return next((number for number, _, _, _ in _fields(data, place)), 0)


def _fields(data: bytes, place: int) -> Iterator[tuple[int, int, int, int]]:
  """Per field of a struct its number, type, the place of its value and the place after that."""
  number = 0
  while data[place] != _STOP:
    delta, kind = data[place] >> 4, data[place] & 15
    place += 1
    if delta:
      number += delta
    else:
      encoded, place = read_varint(data, place)
      number = (encoded >> 1) ^ -(encoded & 1)
    end = place if kind in (_TRUE, _FALSE) else _after(data, place, kind)
    yield number, kind, place, end
    place = end


def _after(data: bytes, place: int, kind: int) -> int:
  """The place after a value; a Boolean in a list takes a byte."""
  if kind in (_TRUE, _FALSE, _BYTE):
    return place + 1
  if kind == _DOUBLE:
    return place + 8
  if kind == _BINARY:
    size, place = read_varint(data, place)
    return place + size
  if kind in (_LIST, _SET):
    size, of, place = _list_header(data, place)
    for _ in range(size):
      place = _after(data, place, of)
    return place
  if kind == _STRUCT:
    ends = [place, *(end for _, _, _, end in _fields(data, place))]
    return ends[-1] + 1
  if kind == _MAP:
    raise ValueError("a footer has no maps")
  return read_varint(data, place)[1]


def _list_header(data: bytes, place: int) -> tuple[int, int, int]:
  """The number of elements of a list, their type, and the place of the first."""
  size, kind = data[place] >> 4, data[place] & 15
  place += 1
  if size == 15:
    size, place = read_varint(data, place)
  return size, kind, place
