"""Readers of CSV, Parquet, JSON Lines and TFRecord-of-Example files: pieces of files as blocks of columns.

A block's content never depends on how a file is split: lines are rows, and a row that the fast parser refuses is
judged on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow.parquet as pq

from tfx_components.log_gen.csv_files import csv_header, read_csv
from tfx_components.log_gen.file_kinds import SUFFIXES, format_of, is_compressed, readable
from tfx_components.log_gen.json_line_files import read_jsonl
from tfx_components.log_gen.parquet_files import open_parquet, read_parquet
from tfx_components.log_gen.pieces import Block, Piece
from tfx_components.log_gen.tfrecord_files import read_tfrecord

__all__ = ["SUFFIXES", "Block", "Piece", "csv_header", "file_columns", "format_of", "is_compressed", "open_parquet",
           "read_blocks"]

_READERS: dict[str, Callable[[Piece, frozenset[str] | None], Iterator[Block]]] = {
    "csv": read_csv, "parquet": read_parquet, "jsonl": read_jsonl, "tfrecord": read_tfrecord}


def file_columns(path: str, kind: str, delimiter: str) -> tuple[str, ...] | None:
  """The columns that a file declares; None for formats that declare none."""
  if kind == "csv":
    return csv_header(path, delimiter)[0]
  if kind == "parquet":
    with open_parquet(path) as stream:
      return tuple(pq.ParquetFile(stream).schema_arrow.names)
  return None


def read_blocks(piece: Piece, only: Sequence[str] | None = None) -> Iterator[Block]:
  """The piece as blocks of bounded size.

  Args:
    piece: what to read.
    only: the columns to read; None reads all. A column that is not there is left out.

  Raises:
    DataError: if the file is damaged as a whole, is gone, or may not be read.
  """
  with readable(piece.path):
    yield from _READERS[piece.format](piece, None if only is None else frozenset(only))
