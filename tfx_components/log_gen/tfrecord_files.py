"""TFRecord files of tf.train.Example: a feature of one value is that value, an empty one is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from diet_tf.io import files
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import quarantine
from tfx_components.log_gen.columns import Column
from tfx_components.log_gen.file_kinds import damaged, is_compressed
from tfx_components.log_gen.pieces import BLOCK_ROWS, Block, Parsed, Piece, columns_of_rows


def read_tfrecord(piece: Piece, only: frozenset[str] | None) -> Iterator[Block]:
  """The blocks of a piece; `only` names the columns to read, None reads all."""
  compression = "GZIP" if is_compressed(piece.path) else ""
  done = 0
  with files.open_to_read(piece.path):
    pass  # TensorFlow calls a file that is gone, or that may not be read, a damaged one.
  try:
    dataset = tf.data.TFRecordDataset(files.prepared(piece.path), compression).batch(BLOCK_ROWS // 4)
    for serialized in dataset.as_numpy_iterator():
      columns, rows, rejected = _parse_examples(list(serialized), only)
      yield Block(columns, done + rows, tuple((done + index, why, text) for index, why, text in rejected),
                  done + len(serialized))
      done += len(serialized)
  except tf.errors.OpError as error:
    raise damaged(piece.path, "TFRecord", error) from error


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
  return columns_of_rows(rows, only), np.array(kept, np.int64), rejected


def _feature_value(feature: tf.train.Feature) -> object:
  kind = feature.WhichOneof("kind")
  if kind is None:
    return None
  values = list(getattr(feature, kind).value)
  return _single([np.float32(value) for value in values] if kind == "float_list" else values)
