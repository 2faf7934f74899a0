"""TFRecord files of tf.train.Example: a feature of one value is that value, an empty one is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from diet_tf.io import files
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import reasons
from tfx_components.log_gen.columns import Column
from tfx_components.log_gen.file_kinds import damaged, is_compressed
from tfx_components.log_gen.pieces import BLOCK_ROWS, Block, Parsed, Piece, Wanted, column_of_arrow, columns_of_rows
from tfx_components.log_gen.varints import read_varint


def read_tfrecord(piece: Piece, wanted: Wanted) -> Iterator[Block]:
  """The blocks of a piece, of the features that are wanted."""
  compression = "GZIP" if is_compressed(piece.path) else ""
  done, stop = piece.rows or (0, 0)
  with files.open_to_read(piece.path):
    pass  # TensorFlow calls a file that is gone, or that may not be read, a damaged one.
  try:
    records = tf.data.TFRecordDataset(files.prepared(piece.path), compression)
    records = records.skip(done).take(stop - done) if piece.rows is not None else records
    for serialized in records.batch(BLOCK_ROWS // 4).as_numpy_iterator():
      parsed = _parse_examples(list(serialized), wanted, piece)
      yield Block(parsed.columns, done + parsed.rows,
                  tuple((done + index, why, text) for index, why, text in parsed.rejected), done + len(serialized),
                  parsed.names)
      done += len(serialized)
  except tf.errors.OpError as error:
    raise damaged(piece.path, "TFRecord", error) from error


def _parse_examples(serialized: list[bytes], wanted: Wanted, piece: Piece) -> Parsed:
  from tfx_bsl.coders import example_coder
  try:
    batch = example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(serialized)
  except (RuntimeError, ValueError):
    return _parse_singly(serialized, wanted, piece)
  arrays = {name: array for name, array in zip(batch.schema.names, batch.columns) if wanted.reads(name)}
  if _any_repeated(serialized, arrays):
    return _parse_singly(serialized, wanted, piece)
  return Parsed({name: _from_lists(name, array, piece) for name, array in arrays.items()},
                np.arange(len(serialized)), [], frozenset(batch.schema.names))


def _any_repeated(serialized: list[bytes], arrays: Mapping[str, pa.Array]) -> bool:
  """Whether some Example gives a feature twice, of which the decoder keeps the last."""
  data = b"".join(serialized)
  # A feature that is given once in each Example that has it costs one search.
  suspects = [name for name, array in arrays.items() if data.count(_key_bytes(name)) > len(array) - array.null_count]
  return bool(suspects) and any(_repeated(record, suspects) for record in serialized)


def _key_bytes(name: str) -> bytes:
  """How an entry of the map begins: with its field 1, the key, and the length of that."""
  key = name.encode()
  return b"\n" + bytes([len(key)]) + key if len(key) < 128 else key


def _repeated(record: bytes, names: Collection[str] | None) -> list[str]:
  """The features that a sound record gives several times, sorted; of some names or, where None, of all."""
  # On the wire a map is a list of entries of key and value, in which a key may come again.
  keys = Counter(key for features in _parts(record, 1) for entry in _parts(features, 1) for key in _parts(entry, 1))
  repeated = (key.decode("utf-8", "replace") for key, number in keys.items() if number > 1)
  return sorted(name for name in repeated if names is None or name in names)


def _parts(message: bytes, field: int) -> Iterator[bytes]:
  """The values of a field of a sound message of protobuf, of those that have a length."""
  place = 0
  while place < len(message):
    tag, place = read_varint(message, place)
    kind = tag & 7
    if kind == 2:
      size, place = read_varint(message, place)
      if tag >> 3 == field:
        yield message[place:place + size]
      place += size
    elif kind == 0:
      _, place = read_varint(message, place)
    else:
      place += {1: 8, 5: 4}[kind]


def _from_lists(name: str, array: pa.Array, piece: Piece) -> Column:
  """A feature of Examples: where it is not read as a list, one of one value is that value, an empty one is missing."""
  if piece.is_list(name):
    return column_of_arrow(name, array, piece)
  missing, encoding = piece.missing_in(name), piece.encoding
  if pa.types.is_null(array.type):
    return columns_lib.all_missing(len(array))
  lengths = np.asarray(array.value_lengths().fill_null(0))
  if lengths.max(initial=0) > 1:
    kind = np.float32 if pa.types.is_floating(array.type.value_type) else None
    values = [_single([kind(value) for value in values] if kind and values else values or ())
              for values in array.to_pylist()]
    return columns_lib.from_objects(values, missing, encoding)
  positions = np.cumsum(lengths) - 1
  taken = pa.array(positions, pa.int64(), mask=lengths == 0)
  return columns_lib.from_arrow(array.flatten().take(taken), missing=missing, encoding=encoding)


def _single(values: Sequence[object]) -> object:
  return None if not values else values[0] if len(values) == 1 else list(values)


def _parse_singly(serialized: list[bytes], wanted: Wanted, piece: Piece) -> Parsed:
  rows, kept, rejected = [], [], []
  for index, record in enumerate(serialized):
    try:
      example = tf.train.Example.FromString(record)
    except Exception:  # Protobuf raises a DecodeError of whichever implementation is loaded.
      rejected.append((index, reasons.UNPARSABLE_EXAMPLE, record.hex()[:200]))
      continue
    if repeated := _repeated(record, wanted.only):
      rejected.append((index, f"feature {repeated[0]!r} {reasons.REPEATED}", record.hex()[:200]))
      continue
    rows.append({name: _feature_values(feature) if piece.is_list(name) else _feature_value(feature)
                 for name, feature in example.features.feature.items()})
    kept.append(index)
  return Parsed(columns_of_rows(rows, wanted, piece), np.array(kept, np.int64), rejected,
                frozenset(name for row in rows for name in row))


def _feature_value(feature: tf.train.Feature) -> object:
  return _single(_feature_values(feature))


def _feature_values(feature: tf.train.Feature) -> list[object]:
  kind = feature.WhichOneof("kind")
  values = [] if kind is None else list(getattr(feature, kind).value)
  return [np.float32(value) for value in values] if kind == "float_list" else values
