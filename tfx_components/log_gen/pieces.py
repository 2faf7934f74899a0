"""Pieces of input files, the blocks of columns that they are read as, and what the readers of text formats share."""

from __future__ import annotations

import codecs
import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from diet_tf.errors import DataError
from diet_tf.log.settings import MISSING_VALUES, UTF_8
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import file_kinds, nested, value_lists
from tfx_components.log_gen.columns import Column
from tfx_components.log_gen.text_encodings import keeps_lines, lines_in_utf_8, open_bytes

BLOCK_BYTES = 8 << 20
BLOCK_ROWS = 65_536
_WHOLE_FILE = 1 << 62

_BLANK_LINE = re.compile(rb"(?:\A|\n)\r?\n")


@dataclasses.dataclass(frozen=True)
class Piece:
  """A part of an input file, the unit of parallel reading.

  Attributes:
    index: its number in the order of the input.
    path: the file.
    format: format of the file, one of `FORMATS`.
    start: first byte (text formats); a line belongs to the piece that its first byte lies in.
    stop: first byte after the piece.
    row_groups: numbers of the row groups that the piece takes of a Parquet file; empty for other formats.
    rows: numbers of the first record that the piece takes, and of the one after its last, among those of the row groups
      or, of TFRecords, of the file; None takes all, and so do lines.
    names: the names of a CSV file's columns.
    delimiter: character between the values of a line of a CSV file; other formats ignore it.
    newlines_in_values: whether quoted values of a CSV file may hold line breaks; other formats ignore it.
    before: records of the file that are known to come before the piece (a header line, earlier row groups).
    encoding: encoding of the file's texts, or of bytes in formats whose texts are UTF-8.
    missing: texts that stand for a missing value.
    listed: per column the texts that stand for themselves all the same, as a closed vocabulary lists them.
    renames: per name of a column in the file the one by which it is read; others keep theirs.
    lists: names of the columns that are read as lists of values.
  """

  index: int
  path: str
  format: str
  start: int = 0
  stop: int = _WHOLE_FILE
  row_groups: tuple[int, ...] = ()
  rows: tuple[int, int] | None = None
  names: tuple[str, ...] = ()
  delimiter: str = ","
  newlines_in_values: bool = False
  before: int = 0
  encoding: str = UTF_8
  missing: frozenset[str] = frozenset(MISSING_VALUES)
  listed: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
  renames: Mapping[str, str] = dataclasses.field(default_factory=dict)
  lists: frozenset[str] = frozenset()

  @property
  def is_whole(self) -> bool:
    """Whether a file of lines cannot be read from its middle: it is decoded or decompressed from its beginning."""
    return file_kinds.is_compressed(self.path) or not keeps_lines(self.encoding)

  def missing_in(self, column: str) -> frozenset[str]:
    """The texts that stand for a missing value of a column of the file."""
    name = self.renames.get(column, column)
    return self.missing - self.listed[name] if name in self.listed else self.missing

  def is_list(self, column: str) -> bool:
    """Whether a column of the file is read as lists of values."""
    return self.renames.get(column, column) in self.lists


def with_lists(pieces: Iterable[Piece], lists: frozenset[str]) -> list[Piece]:
  """The pieces, of which some columns are read as lists of values.

  Raises:
    DataError: a file is CSV, which has none.
  """
  for piece in pieces:
    if lists and piece.format == "csv":
      raise DataError(piece.path, rule="CSV has texts and no lists: a field of several values says what stands between "
                      "them.", received=f"column {min(lists)!r} of a field without a separator.",
                      remedy='set separator of the field, like "|".')
  return [dataclasses.replace(piece, lists=lists) for piece in pieces]


@dataclasses.dataclass(frozen=True)
class Wanted:
  """Which columns are read.

  Attributes:
    only: names of the columns that are read; None reads all that a file has.
    inside: names that, like those of `only`, may be of values within objects, such as `user.id`.
    flat: whether objects are read as the values within them; where `only` is None.
  """

  only: frozenset[str] | None = None
  inside: frozenset[str] = frozenset()
  flat: bool = False

  def reads(self, name: str) -> bool:
    """Whether a column of a file is read."""
    return self.only is None or name in self.only

  @functools.cached_property
  def within(self) -> frozenset[str]:
    """The names that are read and may be of values within objects."""
    return frozenset(name for name in (self.only or frozenset()) | self.inside if any(nested.splits(name)))

  @functools.cached_property
  def keys(self) -> frozenset[str] | None:
    """The names in a row of what is read, or of what holds it; None for all."""
    return None if self.only is None else nested.keys_of(self.only)


@dataclasses.dataclass(frozen=True)
class Block:
  """Some consecutive records of a piece.

  Attributes:
    columns: columns of the records that are read, by name.
    records: `[n]` int64, per row its number within the piece, from 0.
    rejected: records that could not be parsed: number, reason, raw text.
    num_records: how many records of the piece were read so far; blank lines count.
    names: names of the columns that the records have, also of those that are not read.
  """

  columns: dict[str, Column]
  records: np.ndarray
  rejected: tuple[tuple[int, str, str], ...]
  num_records: int
  names: frozenset[str]

  def __len__(self) -> int:
    return len(self.records)

  def between(self, low: int, high: int) -> Block:
    """The records whose numbers within the piece are from `low` to before `high`."""
    kept = (self.records >= low) & (self.records < high)
    columns = {name: column.take(kept) for name, column in self.columns.items()}
    rejected = tuple(record for record in self.rejected if low <= record[0] < high)
    return dataclasses.replace(self, columns=columns, records=self.records[kept], rejected=rejected)


def refuse_repeated(names: Iterable[str], read: Collection[str], path: str) -> None:
  """Raises `DataError` where a file gives one name to several columns, and it is a name that is read."""
  repeated = sorted(name for name, number in Counter(names).items() if number > 1 and name in read)
  if repeated:
    raise DataError(path, rule="a name that is read is that of one column.", received=f"repeated: {repeated}.",
                    remedy="rename one of the columns, or drop it.")


def skip(stream: BinaryIO, num_bytes: int) -> None:
  """Reads bytes away, of a stream that cannot be set to a place."""
  while num_bytes > 0 and (data := stream.read(min(BLOCK_BYTES, num_bytes))):
    num_bytes -= len(data)


def _line_blocks(piece: Piece) -> Iterator[bytes]:
  """Whole lines in UTF-8 in blocks of about `BLOCK_BYTES`, each ending with a line feed."""
  with open_bytes(piece.path, piece.encoding) as stream:
    position = piece.start
    if piece.start:
      # The line that reaches over the start belongs to the piece before.
      if piece.is_whole:
        skip(stream, piece.start - 1)
      else:
        stream.seek(piece.start - 1)
      position += len(stream.readline()) - 1
    while position < piece.stop:
      data = stream.read(min(BLOCK_BYTES, piece.stop - position))
      if not data:
        return
      rest = b"" if data.endswith(b"\n") else stream.readline()
      at_start = position == 0
      position += len(data) + len(rest)
      data = data.removeprefix(codecs.BOM_UTF8) if at_start else data
      data = data + rest if rest else data
      yield lines_in_utf_8(data if data.endswith(b"\n") else data + b"\n", piece.encoding)


Rejected = list[tuple[int, str, str]]


@dataclasses.dataclass(frozen=True)
class Parsed:
  """Some records of a block.

  Attributes:
    columns: columns of the sound records that are read.
    rows: `[n]` int64, the numbers of the sound records within the block.
    rejected: the records that are none, with reason and text.
    names: names of all columns that the records have.
  """

  columns: dict[str, Column]
  rows: np.ndarray
  rejected: Rejected
  names: frozenset[str]


LineParser = Callable[[bytes, int], Parsed]


def read_lines(piece: Piece, parse: LineParser) -> Iterator[Block]:
  """Blocks of lines; `parse(data, num_lines)` gives what is in some of them."""
  done = 0
  for data in _line_blocks(piece):
    num_lines = data.count(b"\n")
    kept = np.arange(num_lines)
    if _BLANK_LINE.search(data):
      lines = data.split(b"\n")[:-1]
      kept = np.flatnonzero([bool(line.strip(b"\r")) for line in lines])
      data = b"".join(lines[index] + b"\n" for index in kept)
    if len(kept):
      parsed = parse(data, len(kept))
      rejected = tuple((done + int(kept[index]), why, text) for index, why, text in parsed.rejected)
      yield Block(parsed.columns, done + kept[parsed.rows], rejected, done + num_lines, parsed.names)
    else:
      yield Block({}, np.zeros(0, np.int64), (), done + num_lines, frozenset())
    done += num_lines


def columns_of_rows(rows: Sequence[Mapping[str, object]], wanted: Wanted, piece: Piece) -> dict[str, Column]:
  """The columns of rows that have no single type per column, as far as they are read."""
  names = sorted({name for row in rows for name in row if wanted.reads(name)})
  return {name: column_of_objects(name, [row.get(name) for row in rows], piece) for name in names}


def column_of_objects(name: str, values: Sequence[object], piece: Piece) -> Column:
  """The column of Python values, as the piece reads it."""
  make = value_lists.from_objects if piece.is_list(name) else columns_lib.from_objects
  return make(values, piece.missing_in(name), piece.encoding)


def column_of_arrow(name: str, array: pa.Array, piece: Piece) -> Column:
  """The column of an Arrow array of a typed format, as the piece reads it."""
  if piece.is_list(name):
    return value_lists.from_arrow(array, piece.missing_in(name), piece.encoding)
  return columns_lib.from_arrow(array, missing=piece.missing_in(name), encoding=piece.encoding)
