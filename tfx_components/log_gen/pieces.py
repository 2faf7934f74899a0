"""Pieces of input files, the blocks of columns that they are read as, and what the readers of text formats share."""

from __future__ import annotations

import codecs
import dataclasses
import re
from collections.abc import Callable, Iterator

import numpy as np

from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import file_kinds
from tfx_components.log_gen.columns import Column

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
    names: the header of a CSV file.
    delimiter: character between the values of a line of a CSV file; other formats ignore it.
    newlines_in_values: whether quoted values of a CSV file may hold line breaks; other formats ignore it.
    before: records of the file that are known to come before the piece (a header line, earlier row groups).
  """

  index: int
  path: str
  format: str
  start: int = 0
  stop: int = _WHOLE_FILE
  row_groups: tuple[int, ...] = ()
  names: tuple[str, ...] = ()
  delimiter: str = ","
  newlines_in_values: bool = False
  before: int = 0


@dataclasses.dataclass(frozen=True)
class Block:
  """Some consecutive records of a piece.

  Attributes:
    columns: columns of the records, by name.
    records: `[n]` int64, per row its number within the piece, from 0.
    rejected: records that could not be parsed: number, reason, raw text.
    num_records: how many records of the piece were read so far; blank lines count.
  """

  columns: dict[str, Column]
  records: np.ndarray
  rejected: tuple[tuple[int, str, str], ...]
  num_records: int

  def __len__(self) -> int:
    return len(self.records)


def _line_blocks(piece: Piece) -> Iterator[bytes]:
  """Whole lines in blocks of about `BLOCK_BYTES`, each ending with a line feed."""
  with file_kinds.decompressing(piece.path), file_kinds.open_lines(piece.path) as stream:
    position = piece.start
    if piece.start:
      # The line that reaches over the start belongs to the piece before.
      if file_kinds.is_compressed(piece.path):
        stream.read(piece.start - 1)
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
      yield data if data.endswith(b"\n") else data + b"\n"


Rejected = list[tuple[int, str, str]]
# Columns of the sound records, their numbers within the block, and the records that are none with reason and text.
Parsed = tuple[dict[str, Column], np.ndarray, Rejected]
LineParser = Callable[[bytes, int], Parsed]


def read_lines(piece: Piece, parse: LineParser) -> Iterator[Block]:
  """Blocks of lines; `parse(data, num_lines)` gives columns, line numbers within the block, and rejected lines."""
  done = 0
  for data in _line_blocks(piece):
    num_lines = data.count(b"\n")
    kept = np.arange(num_lines)
    if _BLANK_LINE.search(data):
      lines = data.split(b"\n")[:-1]
      kept = np.flatnonzero([bool(line.strip(b"\r")) for line in lines])
      data = b"".join(lines[index] + b"\n" for index in kept)
    if len(kept):
      columns, rows, rejected = parse(data, len(kept))
      yield Block(columns, done + kept[rows], tuple((done + int(kept[i]), why, text) for i, why, text in rejected),
                  done + num_lines)
    else:
      yield Block({}, np.zeros(0, np.int64), (), done + num_lines)
    done += num_lines


def columns_of_rows(rows: list[dict[str, object]], only: frozenset[str] | None) -> dict[str, Column]:
  """The columns of rows that have no single type per column, or all columns of `only` that they have."""
  names = sorted({name for row in rows for name in row if only is None or name in only})
  return {name: columns_lib.from_objects([row.get(name) for row in rows]) for name in names}
