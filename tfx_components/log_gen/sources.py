"""Readers of CSV, Parquet, JSON Lines and TFRecord-of-Example files: pieces of files as blocks of columns.

A block's content never depends on how a file is split: lines are rows, and a row that the fast parser refuses is
judged on its own.
"""

from __future__ import annotations

import codecs
import csv
import dataclasses
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import tensorflow as tf

from diet_tf.errors import DataError
from diet_tf.io import files
from diet_tf.log.settings import FORMATS
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import quarantine
from tfx_components.log_gen.columns import Column

SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl",
            ".json": "jsonl", ".tfrecord": "tfrecord", ".tfrecords": "tfrecord"}
BLOCK_BYTES = 8 << 20
BLOCK_ROWS = 65_536
_WHOLE_FILE = 1 << 62

_BLANK_LINE = re.compile(rb"(?:\A|\n)\r?\n")
# Above this a float64 does not hold every integer: the fast JSON parser may have rounded.
_EXACT_FLOAT = 2.0**53


@dataclasses.dataclass(frozen=True)
class Piece:
  """A part of an input file, the unit of parallel reading.

  Attributes:
    index: its number in the order of the input.
    path: the file.
    format: one of `FORMATS`.
    start: first byte (text formats); a line belongs to the piece that its first byte lies in.
    stop: first byte after the piece.
    row_groups: of a Parquet file.
    names: the header of a CSV file.
    delimiter: of a CSV file.
    newlines_in_values: of a CSV file.
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
    columns: by name.
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


def format_of(path: str, declared: str | None) -> str:
  """The declared format, or the one of the path's suffix.

  Raises:
    DataError: if neither says.
  """
  if declared:
    return declared
  name = path.lower().rpartition("/")[2].removesuffix(".gz")
  for suffix, known in SUFFIXES.items():
    if name.endswith(suffix):
      return known
  raise DataError(path, rule=f"the format is declared, or the suffix is one of {', '.join(SUFFIXES)} (.gz may follow).",
                  received=f"the name {path.rpartition('/')[2]!r} and no format.",
                  remedy=f"set log.format (or the join's format) to one of {', '.join(FORMATS)}.")


def is_compressed(path: str) -> bool:
  """Whether the file is read through gzip."""
  return path.lower().endswith(".gz")


def csv_header(path: str, delimiter: str) -> tuple[tuple[str, ...], int]:
  """The column names of a CSV file and the number of bytes that its header takes.

  Raises:
    DataError: if there is no header, or a name twice.
  """
  try:
    with open_lines(path) as stream:
      line = stream.readline()
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise _damaged(path, "gzip", error) from error
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


def file_columns(path: str, kind: str, delimiter: str) -> tuple[str, ...] | None:
  """The columns that a file declares; None for formats that declare none."""
  if kind == "csv":
    return csv_header(path, delimiter)[0]
  if kind == "parquet":
    with open_parquet(path) as stream:
      return tuple(pq.ParquetFile(stream).schema_arrow.names)
  return None


def open_lines(path: str) -> BinaryIO:
  """A binary stream over the lines of a file, decompressed."""
  stream = files.open_to_read(path)
  return cast(BinaryIO, _GzipFile(stream)) if is_compressed(path) else stream


class _GzipFile(gzip.GzipFile):
  """A gzip stream that closes the file below it, which `gzip` leaves open."""

  def __init__(self, below: BinaryIO) -> None:
    super().__init__(fileobj=below)
    self._below = below

  def close(self) -> None:
    super().close()
    self._below.close()


def open_parquet(path: str) -> BinaryIO:
  """A stream over a file whose footer has been checked.

  Raises:
    DataError: if it is no Parquet file.
  """
  stream = files.open_to_read(path)
  try:
    pq.ParquetFile(stream)
  except (pa.ArrowInvalid, OSError) as error:
    stream.close()
    raise _damaged(path, "Parquet", error) from error
  stream.seek(0)
  return stream


def read_blocks(piece: Piece, only: Sequence[str] | None = None) -> Iterator[Block]:
  """The piece as blocks of bounded size.

  Args:
    piece: what to read.
    only: the columns to read; None reads all. A column that is not there is left out.

  Raises:
    DataError: if the file is damaged as a whole.
  """
  yield from _READERS[piece.format](piece, None if only is None else frozenset(only))


def _damaged(path: str, kind: str, error: Exception) -> DataError:
  return DataError(path, rule=f"it is a complete {kind} file.", received=str(error).splitlines()[0][:300],
                   remedy="write the file again, or declare the right format.")


def _read_parquet(piece: Piece, only: frozenset[str] | None) -> Iterator[Block]:
  done = 0
  with open_parquet(piece.path) as stream:
    file = pq.ParquetFile(stream)
    names = [name for name in file.schema_arrow.names if only is None or name in only]
    try:
      for batch in file.iter_batches(BLOCK_ROWS, row_groups=list(piece.row_groups), columns=names, use_threads=False):
        columns = {name: columns_lib.from_arrow(array) for name, array in zip(batch.schema.names, batch.columns)}
        records = np.arange(done, done + batch.num_rows)
        done += batch.num_rows
        yield Block(columns, records, (), done)
    except (pa.ArrowInvalid, OSError) as error:
      raise _damaged(piece.path, "Parquet", error) from error


def _line_blocks(piece: Piece) -> Iterator[bytes]:
  """Whole lines in blocks of about `BLOCK_BYTES`, each ending with a line feed."""
  try:
    with open_lines(piece.path) as stream:
      position = piece.start
      if piece.start:
        # The line that reaches over the start belongs to the piece before.
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
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise _damaged(piece.path, "gzip", error) from error


Rejected = list[tuple[int, str, str]]
# Columns of the sound records, their numbers within the block, and the records that are none with reason and text.
Parsed = tuple[dict[str, Column], np.ndarray, Rejected]
LineParser = Callable[[bytes, int], Parsed]


def _read_lines(piece: Piece, parse: LineParser) -> Iterator[Block]:
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


def _read_csv(piece: Piece, only: frozenset[str] | None) -> Iterator[Block]:
  if piece.newlines_in_values:
    yield from _read_csv_stream(piece, only)
    return

  def parse(data: bytes, num_lines: int) -> Parsed:
    table, rejected = _parse_csv(data, num_lines, piece, 0)
    refused = {index for index, _, _ in rejected}
    rows = np.array([i for i in range(num_lines) if i not in refused], np.int64) if refused else np.arange(num_lines)
    return _csv_columns(table, only), rows, rejected

  yield from _read_lines(piece, parse)


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
    with open_lines(piece.path) as stream:
      stream.readline()
      reader = pa_csv.open_csv(
          stream, pa_csv.ReadOptions(use_threads=False, column_names=list(piece.names), block_size=BLOCK_BYTES),
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
      raise _damaged(piece.path, "CSV", error) from error
  if rejected:
    refused = tuple((done + index, why, text) for index, (why, text) in enumerate(rejected))
    yield Block({}, np.zeros(0, np.int64), refused, done + len(refused))


def _read_jsonl(piece: Piece, only: frozenset[str] | None) -> Iterator[Block]:
  def parse(data: bytes, num_lines: int) -> Parsed:
    parsed = _parse_json_fast(data, num_lines, only)
    return (parsed, np.arange(num_lines), []) if parsed is not None else _parse_json_lines(data, only)

  yield from _read_lines(piece, parse)


def _parse_json_fast(data: bytes, num_lines: int, only: frozenset[str] | None) -> dict[str, Column] | None:
  """The columns of JSON lines by Arrow's parser, or None where its types would change a value."""
  read_options = pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1)
  try:
    table = pa_json.read_json(pa.BufferReader(data), read_options)
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if times:
      # Texts that look like times stay texts.
      schema = pa.schema([(name, pa.string()) for name in times])
      table = pa_json.read_json(pa.BufferReader(data), read_options, pa_json.ParseOptions(explicit_schema=schema))
  except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
    return None
  if table.num_rows != num_lines or not all(_kept_exactly(column) for column in table.columns):
    return None
  return {name: columns_lib.from_arrow(table[name]) for name in table.column_names if only is None or name in only}


def _kept_exactly(column: pa.ChunkedArray) -> bool:
  if pa.types.is_nested(column.type):
    # Arrow unifies the structs of a block, so that one row's text would depend on its neighbours.
    return False
  if not pa.types.is_floating(column.type):
    return True
  values = column.to_numpy()
  return not bool(np.any(np.abs(values[np.isfinite(values)]) >= _EXACT_FLOAT))


def _parse_json_lines(data: bytes, only: frozenset[str] | None) -> Parsed:
  """The slow way, line by line: for blocks with broken lines, nested values or columns of several types."""
  rows, kept, rejected = [], [], []
  for index, line in enumerate(data.split(b"\n")[:-1]):
    try:
      value = json.loads(line.decode(), object_pairs_hook=_unique_keys)
      if not isinstance(value, dict):
        raise ValueError(f"not an object but {type(value).__name__}")
      rows.append(value)
      kept.append(index)
    except UnicodeDecodeError:
      rejected.append((index, quarantine.UNDECODABLE, line.decode("utf-8", "replace")))
    except (ValueError, RecursionError):
      rejected.append((index, f"{quarantine.UNPARSABLE} as a JSON object", line.decode()))
  return _columns_of_rows(rows, only), np.array(kept, np.int64), rejected


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
  value = dict(pairs)
  if len(value) != len(pairs):
    raise ValueError("a key is given twice")
  return value


def _columns_of_rows(rows: list[dict[str, object]], only: frozenset[str] | None) -> dict[str, Column]:
  names = sorted({name for row in rows for name in row if only is None or name in only})
  return {name: columns_lib.from_objects([row.get(name) for row in rows]) for name in names}


def _read_tfrecord(piece: Piece, only: frozenset[str] | None) -> Iterator[Block]:
  compression = "GZIP" if is_compressed(piece.path) else ""
  done = 0
  try:
    dataset = tf.data.TFRecordDataset(files.prepared(piece.path), compression).batch(BLOCK_ROWS // 4)
    for serialized in dataset.as_numpy_iterator():
      columns, rows, rejected = _parse_examples(list(serialized), only)
      yield Block(columns, done + rows, tuple((done + index, why, text) for index, why, text in rejected),
                  done + len(serialized))
      done += len(serialized)
  except tf.errors.OpError as error:
    raise _damaged(piece.path, "TFRecord", error) from error


def _parse_examples(serialized: list[bytes], only: frozenset[str] | None) -> Parsed:
  from tfx_bsl.coders import example_coder
  try:
    batch = example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(serialized)
    columns = {name: _from_lists(array) for name, array in zip(batch.schema.names, batch.columns)
               if only is None or name in only}
    return columns, np.arange(len(serialized)), []
  except (RuntimeError, ValueError):
    return _parse_examples_singly(serialized, only)


def _from_lists(array: pa.Array) -> Column:
  """A feature of Examples: a list of one value is that value, an empty one is missing."""
  if pa.types.is_null(array.type):
    return columns_lib.all_missing(len(array))
  lengths = np.asarray(array.value_lengths().fill_null(0))
  if lengths.max(initial=0) > 1:
    return columns_lib.from_objects([_single(value or ()) for value in array.to_pylist()])
  positions = np.cumsum(lengths) - 1
  taken = pa.array(positions, pa.int64(), mask=lengths == 0)
  return columns_lib.from_arrow(array.flatten().take(taken))


def _single(values: Sequence[object]) -> object:
  return None if not values else values[0] if len(values) == 1 else list(values)


def _parse_examples_singly(serialized: list[bytes], only: frozenset[str] | None) -> Parsed:
  rows, kept, rejected = [], [], []
  for index, record in enumerate(serialized):
    try:
      example = tf.train.Example.FromString(record)
    except Exception:  # Protobuf raises a DecodeError of whichever implementation is loaded.
      rejected.append((index, f"{quarantine.UNPARSABLE} as a tf.train.Example", record.hex()[:200]))
      continue
    rows.append({name: _feature_value(feature) for name, feature in example.features.feature.items()})
    kept.append(index)
  return _columns_of_rows(rows, only), np.array(kept, np.int64), rejected


def _feature_value(feature: tf.train.Feature) -> object:
  kind = feature.WhichOneof("kind")
  if kind is None:
    return None
  values = list(getattr(feature, kind).value)
  return _single([np.float32(value) for value in values] if kind == "float_list" else values)


_READERS: dict[str, Callable[[Piece, frozenset[str] | None], Iterator[Block]]] = {
    "csv": _read_csv, "parquet": _read_parquet, "jsonl": _read_jsonl, "tfrecord": _read_tfrecord}
