"""CSV files: values are read as bytes, lines are rows, and a line that the fast parser refuses is judged on its own."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from diet_tf.errors import DataError
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import pieces, quarantine
from tfx_components.log_gen.columns import Column
from tfx_components.log_gen.file_kinds import damaged, decompressing, open_lines
from tfx_components.log_gen.pieces import Block, Parsed, Piece, Rejected, read_lines


def csv_header(path: str, delimiter: str) -> tuple[tuple[str, ...], int]:
  """The column names of a CSV file and the number of bytes that its header takes.

  Raises:
    DataError: if there is no header, or a name twice.
  """
  with decompressing(path), open_lines(path) as stream:
    line = stream.readline()
  text = line.removeprefix(codecs.BOM_UTF8)
  try:
    names = next(csv.reader([text.decode().rstrip("\r\n")], delimiter=delimiter, strict=True), [])
  except (UnicodeDecodeError, csv.Error) as error:
    raise DataError(path, rule="the first line of a CSV file is its header, in UTF-8.", received=str(error),
                    remedy="write the header, or declare the right format.") from error
  repeated = sorted({name for name in names if names.count(name) > 1})
  if not names or repeated:
    raise DataError(path, rule="the first line of a CSV file names its columns, each once.",
                    received=f"repeated: {repeated}." if repeated else "an empty first line.",
                    remedy="write a header line with distinct names.")
  return tuple(names), len(line)


def read_csv(piece: Piece, only: frozenset[str] | None) -> Iterator[Block]:
  """The blocks of a piece; `only` names the columns to read, None reads all."""
  if piece.newlines_in_values:
    yield from _read_csv_stream(piece, only)
    return

  def parse(data: bytes, num_lines: int) -> Parsed:
    table, rejected = _parse_csv(data, num_lines, piece, 0)
    refused = {index for index, _, _ in rejected}
    rows = np.array([i for i in range(num_lines) if i not in refused], np.int64) if refused else np.arange(num_lines)
    return _csv_columns(table, only), rows, rejected

  yield from read_lines(piece, parse)


def _csv_columns(table: pa.Table, only: frozenset[str] | None) -> dict[str, Column]:
  return {name: columns_lib.from_arrow(table[name], untyped=True) for name in table.column_names
          if only is None or name in only}


def _parse_csv(data: bytes, num_lines: int, piece: Piece, first: int) -> tuple[pa.Table, Rejected]:
  """The table of CSV lines, one row a line, and the lines that are no row; `first` is the number of the first line."""
  rejected: Rejected = []

  def reject(row: pa_csv.InvalidRow) -> str:
    why = f"{quarantine.UNPARSABLE}: {row.actual_columns} values for {row.expected_columns} columns"
    rejected.append((first + row.number - 1, why, row.text))
    return "skip"

  try:
    table = pa_csv.read_csv(
        pa.BufferReader(data),
        pa_csv.ReadOptions(use_threads=False, column_names=list(piece.names), block_size=len(data) + 1),
        pa_csv.ParseOptions(delimiter=piece.delimiter, invalid_row_handler=reject, ignore_empty_lines=False),
        pa_csv.ConvertOptions(check_utf8=False, column_types=_csv_schema(piece.names)))
    # Arrow takes a lone carriage return for the end of a row; here lines are rows.
    lone_returns = data.count(b"\r") - data.count(b"\r\n")
    if table.num_rows + len(rejected) == num_lines and not lone_returns and not _open_quote(table):
      return table, rejected
  except (pa.ArrowInvalid, UnicodeDecodeError):
    # Arrow hands refused lines to the callback as text and fails where they are not UTF-8.
    pass
  if num_lines == 1:
    text = data.decode("utf-8", "replace").rstrip("\r\n")
    return _csv_schema(piece.names).empty_table(), [(first, quarantine.UNPARSABLE, text)]
  # A quote that is never closed swallows the lines after it: halve until the guilty line stands alone.
  lines = data.split(b"\n")[:-1]
  half = num_lines // 2
  parts = [_parse_csv(b"\n".join(part) + b"\n", len(part), piece, first + offset)
           for offset, part in ((0, lines[:half]), (half, lines[half:]))]
  return pa.concat_tables([table for table, _ in parts]), parts[0][1] + parts[1][1]


def _csv_schema(names: Sequence[str]) -> pa.Schema:
  """CSV values are read as bytes: guessed types would depend on the values around them."""
  return pa.schema([(name, pa.binary()) for name in names])


def _open_quote(table: pa.Table) -> bool:
  """Whether the last value holds a line feed, as only a quote that is never closed can make it."""
  return table.num_rows > 0 and b"\n" in table.column(table.num_columns - 1)[-1].as_py()


def _read_csv_stream(piece: Piece, only: frozenset[str] | None) -> Iterator[Block]:
  """A whole CSV file whose quoted values may hold line breaks; records are counted instead of lines."""
  done, rejected = 0, []

  def reject(row: pa_csv.InvalidRow) -> str:
    why = f"{quarantine.UNPARSABLE}: {row.actual_columns} values for {row.expected_columns} columns"
    rejected.append((why, row.text))
    return "skip"

  try:
    with decompressing(piece.path), open_lines(piece.path) as stream:
      stream.readline()
      reader = pa_csv.open_csv(
          stream, pa_csv.ReadOptions(use_threads=False, column_names=list(piece.names), block_size=pieces.BLOCK_BYTES),
          pa_csv.ParseOptions(delimiter=piece.delimiter, newlines_in_values=True, invalid_row_handler=reject),
          pa_csv.ConvertOptions(check_utf8=False, column_types=_csv_schema(piece.names)))
      for batch in reader:
        # The place of a refused record among the others is not known here: it counts as before its block.
        refused = tuple((done + index, why, text) for index, (why, text) in enumerate(rejected))
        rejected.clear()
        start = done + len(refused)
        done = start + batch.num_rows
        yield Block(_csv_columns(pa.Table.from_batches([batch]), only), np.arange(start, done), refused, done)
  except (pa.ArrowInvalid, UnicodeDecodeError) as error:
    if "Empty CSV file" not in str(error):
      raise damaged(piece.path, "CSV", error) from error
  if rejected:
    refused = tuple((done + index, why, text) for index, (why, text) in enumerate(rejected))
    yield Block({}, np.zeros(0, np.int64), refused, done + len(refused))
