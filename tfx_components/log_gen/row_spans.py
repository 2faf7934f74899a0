"""Spans of a log by the number of its rows: where the rows of a span lie in the files.

Rows are counted in the order of the files' names and, within a file, of its lines or records, blank lines left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import tensorflow as tf

from diet_tf.io import files
from tfx_components.log_gen import pieces, sources
from tfx_components.log_gen.file_kinds import damaged, is_compressed
from tfx_components.log_gen.pieces import Piece, skip
from tfx_components.log_gen.text_encodings import open_bytes


@dataclasses.dataclass(frozen=True)
class _Place:
  """A place in a file of lines.

  Attributes:
    offset: bytes before it, as `Piece.start` counts them.
    num_lines: lines between the first row of the file and it, blank ones among them.
  """

  offset: int
  num_lines: int


def count_rows(piece: Piece) -> int:
  """The number of rows of a whole file.

  Args:
    piece: the file, as it is read from its first row to its end.
  """
  if piece.format == "parquet":
    with sources.open_parquet(piece.path) as file:
      return file.metadata.num_rows
  if piece.format == "tfrecord":
    return _num_records(piece.path)
  return sum(map(_num_rows, _blocks(piece)))


def rows_between(piece: Piece, low: int, high: int, piece_bytes: int) -> list[Piece]:
  """The pieces with the rows of a file from number `low` to before `high`; its first row has the number 0.

  Args:
    piece: the file, as it is read from its first row to its end; of a Parquet file all of its row groups.
    low: number of the first row, within the file.
    high: number after that of the last row.
    piece_bytes: size in bytes, about, of the pieces of a file that can be cut.
  """
  if piece.format == "parquet":
    return _row_groups_between(piece, low, high)
  if piece.format == "tfrecord":
    return [dataclasses.replace(piece, rows=(low, high))]
  first, last = _places(piece, low, high)
  common = dataclasses.replace(piece, start=first.offset, stop=last.offset, before=piece.before + first.num_lines)
  if piece.is_whole:
    return [common]
  starts = list(range(first.offset, last.offset, piece_bytes))
  return [dataclasses.replace(common, start=start, stop=stop)
          for start, stop in zip(starts, [*starts[1:], last.offset])]


def _row_groups_between(piece: Piece, low: int, high: int) -> list[Piece]:
  """One piece for each row group that has rows of those."""
  with sources.open_parquet(piece.path) as file:
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
  found, before = [], 0
  for group, size in enumerate(sizes):
    first, last = max(low, before), min(high, before + size)
    if first < last:
      found.append(dataclasses.replace(piece, row_groups=(group,), before=before,
                                       rows=(first - before, last - before)))
    before += size
  return found


def _num_records(path: str) -> int:
  with files.open_to_read(path):
    pass  # TensorFlow calls a file that is gone, or that may not be read, a damaged one.
  try:
    records = tf.data.TFRecordDataset(files.prepared(path), "GZIP" if is_compressed(path) else "")
    return int(records.reduce(tf.constant(0, tf.int64), lambda number, _: number + 1))
  except tf.errors.OpError as error:
    raise damaged(path, "TFRecord", error) from error


def _places(piece: Piece, low: int, high: int) -> tuple[_Place, _Place]:
  """Where the rows of two numbers of a file begin; its end where there are fewer."""
  found, wanted = [], [low, high]
  place, num_rows = _Place(piece.start, 0), 0
  for data in _blocks(piece):
    rows_here = _num_rows(data)
    while wanted and wanted[0] < num_rows + rows_here:
      lines = _lines(data)
      number = [number for number, line in enumerate(lines) if not _is_blank(line)][wanted.pop(0) - num_rows]
      found.append(_Place(place.offset + sum(map(len, lines[:number])), place.num_lines + number))
    if not wanted:
      break
    place, num_rows = _Place(place.offset + len(data), place.num_lines + data.count(b"\n")), num_rows + rows_here
  first, last = [*found, *[place] * len(wanted)]
  return first, last


def _blocks(piece: Piece) -> Iterator[bytes]:
  """Whole lines of a file from its first row on, about `pieces.BLOCK_BYTES` at a time."""
  with open_bytes(piece.path, piece.encoding) as stream:
    skip(stream, piece.start)
    while data := stream.read(pieces.BLOCK_BYTES):
      yield data if data.endswith(b"\n") else data + stream.readline()


def _num_rows(data: bytes) -> int:
  """The number of lines that are not blank."""
  if data.startswith((b"\n", b"\r\n")) or b"\n\n" in data or b"\n\r\n" in data:
    return sum(not _is_blank(line) for line in _lines(data))
  return data.count(b"\n") + (not data.endswith(b"\n"))


def _lines(data: bytes) -> list[bytes]:
  """The lines with their line feeds; a carriage return alone ends none."""
  parts = data.split(b"\n")
  return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _is_blank(line: bytes) -> bool:
  return len(line) <= 2 and not line.strip(b"\r\n")
