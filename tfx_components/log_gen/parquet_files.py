"""Parquet files: row groups as blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diet_tf.io import files
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen.file_kinds import damaged
from tfx_components.log_gen.pieces import BLOCK_ROWS, Block, Piece


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
    raise damaged(path, "Parquet", error) from error
  stream.seek(0)
  return stream


def read_parquet(piece: Piece, only: frozenset[str] | None) -> Iterator[Block]:
  """The blocks of a piece; `only` names the columns to read, None reads all."""
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
      raise damaged(piece.path, "Parquet", error) from error
