"""Readers of CSV, Parquet, JSON Lines and TFRecord-of-Example files: pieces of files as blocks of columns.

A block's content never depends on how a file is split: lines are rows, and a row that the fast parser refuses is
judged on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

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


def file_columns(piece: Piece) -> tuple[str, ...] | None:
  """The columns that the file of a piece declares; None for formats that declare none."""
  if piece.format != "parquet":
    return piece.names or None
  with open_parquet(piece.path) as file:
    return tuple(file.schema_arrow.names)


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
