"""Readers of CSV, Parquet, JSON Lines and TFRecord-of-Example files: pieces of files as blocks of columns.

A block's content never depends on how a file is split: lines are rows, and a row that the fast parser refuses is
judged on its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping

from diet_tf.log.span_patterns import partition_values
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen.csv_files import csv_header, read_csv
from tfx_components.log_gen.file_kinds import SUFFIXES, format_of, is_compressed, readable
from tfx_components.log_gen.json_line_files import read_jsonl
from tfx_components.log_gen.parquet_files import column_names, open_parquet, read_parquet
from tfx_components.log_gen.pieces import Block, Piece, Wanted
from tfx_components.log_gen.renamed import names_after, renamed_block, wanted_before
from tfx_components.log_gen.tfrecord_files import read_tfrecord

__all__ = ["SUFFIXES", "Block", "Piece", "csv_header", "file_columns", "format_of", "is_compressed", "open_parquet",
           "read_blocks"]

_READERS: dict[str, Callable[[Piece, Wanted], Iterator[Block]]] = {
    "csv": read_csv, "parquet": read_parquet, "jsonl": read_jsonl, "tfrecord": read_tfrecord}
_WITHOUT_DECLARED_COLUMNS = ("jsonl", "tfrecord")


def file_columns(piece: Piece) -> tuple[str, ...] | None:
  """The columns that the file of a piece declares, and values within objects; None for formats that declare none."""
  names = column_names(piece.path) if piece.format == "parquet" else piece.names
  return names_after(names, piece.renames) or None


def read_blocks(piece: Piece, only: Iterable[str] | None = None, *,
                also: Iterable[str] = (), flat: bool = False) -> Iterator[Block]:
  """The piece as blocks of bounded size.

  Args:
    piece: what to read.
    only: the columns to read; None reads all. A column that is not there is left out.
    also: the columns that, like those of `only`, are taken from the names of folders, such as `dt=2024-01-30`, or from
      within objects, as `user.id`, where the file does not have them.
    flat: whether objects are read as the values within them, where all columns are read.

  Raises:
    DataError: if the file is damaged as a whole, is gone, or may not be read.
  """
  wanted = Wanted(None if only is None else frozenset(only), frozenset(also), flat)
  values = {name: value for name, value in partition_values(piece.path).items()
            if name in (wanted.only or ()) or name in wanted.inside}
  with readable(piece.path):
    for block in _READERS[piece.format](piece, wanted_before(wanted, piece.renames)):
      block = renamed_block(block, piece.renames) if piece.renames else block
      yield _with_partition(block, values, piece.format) if values else block


def _with_partition(block: Block, values: Mapping[str, str], kind: str) -> Block:
  columns = dict(block.columns)
  for name, value in values.items():
    if name not in columns:
      columns[name] = columns_lib.all_missing(len(block)).filled(value)
    elif kind in _WITHOUT_DECLARED_COLUMNS:
      # Whether a block has a column hangs on its rows: each of them is judged by itself.
      columns[name] = columns[name].filled(value)
  return dataclasses.replace(block, columns=columns, names=block.names | values.keys())
