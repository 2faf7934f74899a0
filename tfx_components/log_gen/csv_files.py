"""CSV files: values are read as bytes, lines are rows, and a line that the fast parser refuses is judged on its own."""

from __future__ import annotations

import codecs
import csv
import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from diet_tf.errors import DataError
from diet_tf.log.settings import UTF_8
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import pieces, reasons
from tfx_components.log_gen.columns import Column
from tfx_components.log_gen.file_kinds import damaged
from tfx_components.log_gen.pieces import Block, Parsed, Piece, Rejected, Wanted, read_lines
from tfx_components.log_gen.text_encodings import lines_in_utf_8, open_bytes, open_text


def csv_header(path: str, delimiter: str, encoding: str = UTF_8) -> tuple[tuple[str, ...], int]:
  """The values of the first line of a CSV file and the number of bytes that it takes.

  The bytes are those of UTF-8 where the encoding does not keep lines.

  Raises:
    DataError: if there is no header.
  """
  with open_bytes(path, encoding) as stream:
    line = stream.readline()
  # A name that is no UTF-8 may be that of a column that nothing reads.
  text = lines_in_utf_8(line, encoding).removeprefix(codecs.BOM_UTF8).decode("utf-8", "backslashreplace").rstrip("\r\n")
  try:
    names = next(csv.reader([text], delimiter=delimiter, strict=True), [])
  except csv.Error as error:
    raise DataError(path, rule="the first line of a CSV file is its header.", received=str(error),
                    remedy="write the header, or declare the right format.") from error
  if not names:
    raise DataError(path, rule="the first line of a CSV file names its columns.", received="an empty first line.",
                    remedy="write a header line, or name the columns in log.columns.")
  return tuple(names), len(line)


def read_csv(piece: Piece, wanted: Wanted) -> Iterator[Block]:
  """The blocks of a piece, of the columns that are wanted."""
  layout = _Layout.of(piece, wanted.only)
  if piece.newlines_in_values:
    yield from _read_csv_stream(piece, layout)
    return

  def parse(data: bytes, num_lines: int) -> Parsed:
    table, rejected = _parse_csv(data, num_lines, layout, 0)
    refused = {index for index, _, _ in rejected}
    rows = np.array([i for i in range(num_lines) if i not in refused], np.int64) if refused else np.arange(num_lines)
    return Parsed(layout.columns(table), rows, rejected, frozenset(piece.names))

  yield from read_lines(piece, parse)


@dataclasses.dataclass(frozen=True)
class _Layout:
  """Where the columns that are read stand in a line.

  Attributes:
    piece: the piece that is read.
    places: the place of each column that is read, by its name.
  """

  piece: Piece
  places: Mapping[str, int]

  @classmethod
  def of(cls, piece: Piece, only: frozenset[str] | None) -> _Layout:
    read = set(piece.names) if only is None else only
    pieces.refuse_repeated(piece.names, read, piece.path)
    return cls(piece, {name: place for place, name in enumerate(piece.names) if name in read})

  @property
  def convert_options(self) -> pa_csv.ConvertOptions:
    """Values are read as bytes: guessed types would depend on the values around them. The last one is always read."""
    read = sorted({*self.places.values(), len(self.piece.names) - 1})
    return pa_csv.ConvertOptions(check_utf8=False, include_columns=list(map(str, read)),
                                 column_types={str(place): pa.binary() for place in read})

  @property
  def numbers(self) -> list[str]:
    """The columns by their places: names may be repeated among those that are not read."""
    return list(map(str, range(len(self.piece.names))))

  def columns(self, table: pa.Table) -> dict[str, Column]:
    """The columns that are read."""
    return {name: columns_lib.from_arrow(table[str(place)], untyped=True, missing=self.piece.missing_in(name))
            for name, place in self.places.items()}


def _parse_csv(data: bytes, num_lines: int, layout: _Layout, first: int) -> tuple[pa.Table, Rejected]:
  """The table of CSV lines, one row a line, and the lines that are no row; `first` is the number of the first line."""
  rejected: Rejected = []

  def reject(row: pa_csv.InvalidRow) -> str:
    why = reasons.number_of_values(row.actual_columns, row.expected_columns)
    rejected.append((first + row.number - 1, why, row.text))
    return "skip"

  options = layout.convert_options
  try:
    table = pa_csv.read_csv(
        pa.BufferReader(data),
        pa_csv.ReadOptions(use_threads=False, column_names=layout.numbers, block_size=len(data) + 1),
        pa_csv.ParseOptions(delimiter=layout.piece.delimiter, invalid_row_handler=reject, ignore_empty_lines=False),
        options)
    # Arrow takes a lone carriage return for the end of a row; here lines are rows.
    lone_returns = data.count(b"\r") - data.count(b"\r\n")
    if table.num_rows + len(rejected) == num_lines and not lone_returns and not _open_quote(table):
      return table, rejected
  except (pa.ArrowInvalid, UnicodeDecodeError):
    # Arrow hands refused lines to the callback as text and fails where they are not UTF-8.
    pass
  if num_lines == 1:
    text = data.decode("utf-8", "replace").rstrip("\r\n")
    empty = pa.schema([(name, pa.binary()) for name in options.include_columns]).empty_table()
    return empty, [(first, reasons.UNPARSABLE, text)]
  # A quote that is never closed swallows the lines after it: halve until the guilty line stands alone.
  lines = data.split(b"\n")[:-1]
  half = num_lines // 2
  parts = [_parse_csv(b"\n".join(part) + b"\n", len(part), layout, first + offset)
           for offset, part in ((0, lines[:half]), (half, lines[half:]))]
  return pa.concat_tables([table for table, _ in parts]), parts[0][1] + parts[1][1]


def _open_quote(table: pa.Table) -> bool:
  """Whether the last value holds a line feed, as only a quote that is never closed can make it."""
  return table.num_rows > 0 and b"\n" in table.column(table.num_columns - 1)[-1].as_py()


def _read_csv_stream(piece: Piece, layout: _Layout) -> Iterator[Block]:
  """A whole CSV file whose quoted values may hold line breaks; records are counted instead of lines."""
  names = frozenset(piece.names)
  done, rejected = 0, []

  def reject(row: pa_csv.InvalidRow) -> str:
    rejected.append((reasons.number_of_values(row.actual_columns, row.expected_columns), row.text))
    return "skip"

  try:
    with open_text(piece.path, piece.encoding) as stream:
      if piece.start:
        stream.readline()
      reader = pa_csv.open_csv(
          stream, pa_csv.ReadOptions(use_threads=False, column_names=layout.numbers, block_size=pieces.BLOCK_BYTES),
          pa_csv.ParseOptions(delimiter=piece.delimiter, newlines_in_values=True, invalid_row_handler=reject),
          layout.convert_options)
      for batch in reader:
        # The place of a refused record among the others is not known here: it counts as before its block.
        refused = tuple((done + index, why, text) for index, (why, text) in enumerate(rejected))
        rejected.clear()
        start = done + len(refused)
        done = start + batch.num_rows
        yield Block(layout.columns(pa.Table.from_batches([batch])), np.arange(start, done), refused, done, names)
  except (pa.ArrowInvalid, UnicodeDecodeError) as error:
    if "Empty CSV file" not in str(error):
      raise damaged(piece.path, "CSV", error) from error
  if rejected:
    refused = tuple((done + index, why, text) for index, (why, text) in enumerate(rejected))
    yield Block({}, np.zeros(0, np.int64), refused, done + len(refused), names)
