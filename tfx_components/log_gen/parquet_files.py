"""Parquet files: row groups as blocks, of the columns that are read alone."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diet_tf.errors import DataError
from diet_tf.io import files
from tfx_components.log_gen import nested, parquet_footer
from tfx_components.log_gen.file_kinds import damaged
from tfx_components.log_gen.pieces import BLOCK_ROWS, Block, Piece, Wanted, column_of_arrow, refuse_repeated

# What Arrow raises about a file: its own errors are of several classes, and some of these of Python's too.
_ERRORS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, OSError)
# In the messages of Arrow about what it does not read; a damaged file has others.
_UNSUPPORTED = ("not yet implemented", "not implemented", "only supports", "unsupported", "not supported",
                "not recognized", "unrecognized", "unknown encoding", "not built", "no support")
_UUID, _BYTES_OF_NO_TYPE = "UUID", "bytes of no type"


@contextlib.contextmanager
def open_parquet(path: str) -> Iterator[pq.ParquetFile]:
  """The file, whose footer has been checked; its data may still be damaged, or of a type that cannot be read.

  Raises:
    DataError: if it is no Parquet file.
  """
  with _opened(path) as (file, _):
    yield file


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[pq.ParquetFile, bool]]:
  """The file, and whether all of its types are known."""
  with files.open_to_read(path) as stream:
    try:
      file, whole = pq.ParquetFile(stream), True
    except _ERRORS as error:
      # One type that is not known, even of a column that nothing reads, makes Arrow refuse all of the footer.
      metadata = parquet_footer.read_without_types(stream) if _is_unsupported(error) else None
      if metadata is None:
        raise damaged(path, "Parquet", error) from error
      stream.seek(0)
      file, whole = pq.ParquetFile(stream, metadata=metadata), False
    yield file, whole


def _is_unsupported(error: Exception) -> bool:
  return any(words in str(error).lower() for words in _UNSUPPORTED)


def column_names(path: str) -> tuple[str, ...]:
  """The names of a file's columns, and those of the values within its objects."""
  with open_parquet(path) as file:
    names = file.schema_arrow.names
    return (*names, *(leaf for leaf in nested.leaf_names(file.schema_arrow) if leaf not in names))


def read_parquet(piece: Piece, wanted: Wanted) -> Iterator[Block]:
  """The blocks of a piece, of the columns that are wanted."""
  done = 0
  with _opened(piece.path) as (file, whole):
    schema = file.schema_arrow
    all_names = nested.leaf_names(schema) if wanted.flat else schema.names
    refuse_repeated(schema.names, schema.names if wanted.keys is None else wanted.keys, piece.path)
    kinds = _logical_types(file)
    unknown = {name: "a type that Arrow does not know" for name, kind in kinds.items()
               if kind == _BYTES_OF_NO_TYPE and not whole}
    within = [name for name in sorted(wanted.within) if name not in all_names and nested.place_of(schema, name)]
    if wanted.only is None:
      # Where all columns are read, nobody has asked for those that cannot be.
      unknown.update(_unsupported_columns(file, piece, [name for name in all_names if name not in unknown]))
      names = [name for name in dict.fromkeys([*all_names, *within]) if name not in unknown]
    else:
      names = [*filter(wanted.reads, all_names), *within]
      _refuse(unknown, names, piece.path)
    try:
      for batch in file.iter_batches(BLOCK_ROWS, row_groups=list(piece.row_groups), columns=names, use_threads=False):
        columns = {name: column_of_arrow(name, _uuid_texts(array) if kinds.get(name) == _UUID else array, piece)
                   for name, array in _arrays(batch, names).items()}
        records = np.arange(done, done + batch.num_rows)
        done += batch.num_rows
        block = Block(columns, records, (), done, frozenset([*all_names, *names]))
        yield block if piece.rows is None else block.between(*piece.rows)
    except _ERRORS as error:
      _refuse(_unsupported_columns(file, piece, names), names, piece.path)
      raise damaged(piece.path, "Parquet", error) from error


def _arrays(batch: pa.RecordBatch, names: Sequence[str]) -> dict[str, pa.Array]:
  """The columns of a batch, and the values within its objects, by name."""
  places = {name: nested.place_of(batch.schema, name) for name in names}
  return {name: nested.taken(batch.column(place[0]), place[1:]) for name, place in places.items() if place}


def _logical_types(file: pq.ParquetFile) -> dict[str, str]:
  """Per column that holds single values its logical type, or that it is bytes of a fixed length without one."""
  kinds = {}
  for place in range(len(file.schema)):
    column = file.schema.column(place)
    kind = column.logical_type.type
    bare = kind == "NONE" and column.physical_type == "FIXED_LEN_BYTE_ARRAY"
    kinds[column.path] = _BYTES_OF_NO_TYPE if bare else kind
  return kinds


def _uuid_texts(array: pa.Array) -> pa.Array:
  return pa.array([None if value is None else str(uuid.UUID(bytes=value)) for value in array.to_pylist()], pa.string())


def _unsupported_columns(file: pq.ParquetFile, piece: Piece, names: Sequence[str]) -> dict[str, str]:
  """The columns that are stored in a way that Arrow does not read, each with what Arrow says of it."""
  found = {}
  for name in names:
    try:
      next(file.iter_batches(BLOCK_ROWS, row_groups=list(piece.row_groups), columns=[name], use_threads=False), None)
    except _ERRORS as error:
      if _is_unsupported(error):
        found[name] = str(error).splitlines()[0][:300]
  return found


def _refuse(unsupported: Mapping[str, str], names: Sequence[str], path: str) -> None:
  """Raises `DataError` where one of the columns cannot be read."""
  for name in names:
    if name in unsupported:
      raise DataError(f"column {name!r} of {path}",
                      rule=f"a column that is read is of a type and encoding that Arrow {pa.__version__} reads.",
                      received=f"{unsupported[name].rstrip('.')}; the file is sound.",
                      remedy="write the column as whole numbers, texts, float32 or float64, in a plain or dictionary "
                      "encoding, or leave it out of the config.")
