"""Encoded examples of the log: TFRecord files of them, read and written, and as arrays.

An example is a plain `tf.train.Example` with, per field, `<field>` (one int64 id; of a multi-valued field one or more,
with `<field>/weights` where its values have weights), and `label` (float), `example_id` and `time` (int64).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from diet_tf.errors import ConfigError, DataError
from diet_tf.io import files
from diet_tf.io.record_frames import ShardInfo, require_whole
from diet_tf.io.records import (
  REMEDY,
  ROWS_PER_ENCODING,
  float_entries,
  float_list_entries,
  integer_entries,
  integer_list_entries,
  readable,
  record_dataset,
  serialised_examples,
  write_records,
)
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import FeatureSpec
from diet_tf.log.hashing import split_mix, split_mix_tensor
from diet_tf.log.row_layout import PADDING_ID, RowLayout

Holdback = Literal["only", "without"]
# What a row lacks of weights, while it is read: a weight may be 0.
_NO_WEIGHT = -1.0
_EXAMPLE_KEYS = ("label", "example_id", "time")
# Spans are written once and read a few times: speed. Memories are kept and shipped: size.
_EXAMPLE_COMPRESSION_LEVEL = 1
_HOLDBACK_BITS = 20
# Size and time of the shards of examples that this process has found whole.
_WHOLE_SHARDS: dict[str, tuple[int, float]] = {}
SURVEY_BATCH = 8192


def example_shards(directory: str) -> list[str]:
  """The paths of the TFRecord files in a folder of examples, sorted by name.

  Raises:
    DataError: there is none.
  """
  names = [name for name in files.names_in(directory)
           if not name.startswith((".", "_")) and not name.endswith(files.PARTIAL_SUFFIX)
           and (name.endswith(".gz") or "tfrecord" in name)]
  if not names:
    raise DataError(directory, rule="a span's folder holds TFRecord files.", received="none.",
                    remedy="check the path, and that the span was encoded.")
  return [files.join(directory, name) for name in names]


def parse_examples(serialized: tf.Tensor, spec: FeatureSpec) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """The arrays of a batch of serialised examples.

  Args:
    serialized: `[B]` string.
    spec: the feature spec that they were encoded with.

  Returns:
    `(rows [B, num_places] int32, labels [B] float32, example_ids [B] int64)`, rows as `diet_tf.log.row_layout` has
    them.

  Raises:
    tf.errors.InvalidArgumentError: a feature is missing, or an id lies outside its field's id space.
  """
  features = {**field_features(spec), "example_id": tf.io.FixedLenFeature([], tf.int64),
              "label": tf.io.FixedLenFeature([], tf.float32)}
  parsed = tf.io.parse_example(serialized, features)
  ids = rows_of_features(parsed, spec)
  layout = RowLayout.of(spec)
  num_ids = tf.constant(np.asarray(spec.num_ids, np.int32)[layout.fields])
  # Padding alone may be below 0, and the first place of a field has none.
  first = np.concatenate([[True], layout.fields[1:] != layout.fields[:-1]])
  least = tf.constant(np.where(first, 0, PADDING_ID).astype(np.int32))
  own = ids[:, :layout.num_ids]
  in_range = tf.reduce_all((own >= least) & (own < num_ids))
  tf.debugging.Assert(in_range, ["an example has an id outside its field's id space; was it encoded with the same "
                                 "feature spec? ids per field:", tf.constant(spec.num_ids)])
  return ids, parsed["label"], parsed["example_id"]


def field_features(spec: FeatureSpec) -> dict[str, Any]:
  """How TensorFlow parses the features of the fields; what a row lacks of the longest of its batch is padding."""
  features: dict[str, Any] = {}
  for field in spec.fields:
    if not field.is_multi_valued:
      features[field.name] = tf.io.FixedLenFeature([], tf.int64)
      continue
    features[field.name] = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True, default_value=PADDING_ID)
    if field.weights is not None:
      features[weights_key(field.name)] = tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True,
                                                                        default_value=_NO_WEIGHT)
  return features


def rows_of_features(parsed: Mapping[str, tf.Tensor], spec: FeatureSpec) -> tf.Tensor:
  """`[B, num_places]` int32 encoded rows of features that were parsed as `field_features` says.

  Raises:
    tf.errors.InvalidArgumentError: a row has more values than its field takes, or more or fewer weights than values.
  """
  layout = RowLayout.of(spec)
  if layout.is_plain and not spec.multi_valued:
    return tf.cast(tf.stack([parsed[name] for name in spec.names], axis=1), tf.int32)
  ids, weights = [], []
  for field, width in zip(spec.fields, layout.widths):
    values = parsed[field.name]
    if not field.is_multi_valued:
      ids.append(tf.cast(values, tf.int32)[:, tf.newaxis])
      continue
    missing = _places_left(field.name, values, width)
    ids.append(tf.pad(tf.cast(values, tf.int32), missing, constant_values=PADDING_ID))
    if field.weights is not None:
      own = parsed[weights_key(field.name)]
      told = f"field {field.name!r}: as many weights as values"
      # The longest rows first: only then do the places of both stand side by side.
      with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(own), tf.shape(values), told)]):
        own = tf.identity(own)
      tf.debugging.assert_equal(own != _NO_WEIGHT, values != PADDING_ID, told)
      weights.append(tf.bitcast(tf.pad(tf.where(own == _NO_WEIGHT, 0.0, own), missing), tf.int32))
  return tf.concat([*(tf.ensure_shape(part, [None, width]) for part, width in zip(ids, layout.widths)), *weights],
                   axis=1)


def _places_left(name: str, values: tf.Tensor, width: int) -> tf.Tensor:
  """The padding that makes `[B, n]` values `[B, width]`, as `tf.pad` takes it."""
  tf.debugging.assert_less_equal(tf.shape(values)[1], width, f"field {name!r} has more values than its max_values")
  return [[0, 0], [0, width - tf.shape(values)[1]]]


def weights_key(name: str) -> str:
  """The feature of the weights of a field's values."""
  return f"{name}/weights"


def row_entries(rows: np.ndarray, spec: FeatureSpec) -> dict[str, Sequence[bytes]]:
  """The encoded map entries of the fields of `[N, num_places]` rows, for `serialised_examples`."""
  layout = RowLayout.of(spec)
  columns: dict[str, Sequence[bytes]] = {}
  for number, field in enumerate(spec.fields):
    ids = rows[:, layout.ids_at(number)]
    if not field.is_multi_valued:
      columns[field.name] = integer_entries(field.name, ids[:, 0])
      continue
    counts = (ids != PADDING_ID).sum(axis=1)
    columns[field.name] = integer_list_entries(field.name, np.maximum(ids, 0), counts)
    if field.weights is not None:
      key = weights_key(field.name)
      columns[key] = float_list_entries(key, layout.weights(rows, number), counts)
  return columns


def example_dataset(shard_paths: Sequence[str], spec: FeatureSpec, batch_size: int, *, drop_remainder: bool = False,
                    holdback: Holdback | None = None, holdback_fraction: float = 0.1) -> tf.data.Dataset:
  """The examples of a span in order: shards by name, rows as they lie in the file.

  Args:
    shard_paths: TFRecord files, GZIP where the name ends with `.gz`.
    spec: the feature spec that they were encoded with.
    batch_size: examples per element.
    drop_remainder: whether a last smaller batch is left out.
    holdback: "only" keeps the held-back examples, "without" the others, None all.
    holdback_fraction: share of examples that is held back, see `is_held_back`.

  Returns:
    A prefetched dataset of `(rows [B, num_places] int32, labels [B] float32, example_ids [B] int64)`.
  """
  if holdback not in (None, "only", "without"):
    raise ConfigError("holdback", rule="it is None, 'only' or 'without'.", received=repr(holdback),
                      remedy="pass one of them.")
  paths = sorted(shard_paths, key=lambda path: path.rpartition("/")[2])
  dataset = record_dataset(paths).batch(batch_size, drop_remainder=drop_remainder and holdback is None)

  def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    arrays = parse_examples(serialized, spec)
    if holdback is None:
      return arrays
    keep = is_held_back(arrays[2], holdback_fraction) == (holdback == "only")
    ids, labels, example_ids = (tf.boolean_mask(array, keep) for array in arrays)
    return ids, labels, example_ids

  dataset = dataset.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
  if holdback is not None:
    dataset = dataset.rebatch(batch_size, drop_remainder=drop_remainder)
  return dataset.prefetch(tf.data.AUTOTUNE)


def read_examples(shard_paths: Sequence[str], spec: FeatureSpec, batch_size: int, *,
                  holdback: Holdback | None = None, holdback_fraction: float = 0.1
                  ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """The batches of `example_dataset` as NumPy arrays.

  Raises:
    FormatError: a shard is missing, damaged or cut off, a feature is missing, or an id lies outside its field's id
      space.
  """
  for path in shard_paths:
    _require_whole_once(path)
  with readable(", ".join(shard_paths)):
    dataset = example_dataset(shard_paths, spec, batch_size, holdback=holdback, holdback_fraction=holdback_fraction)
    yield from dataset.as_numpy_iterator()


def _require_whole_once(path: str) -> None:
  """Like `require_whole`, but a shard that was found whole is not read through again by each later pass over it."""
  with files.reading(path, REMEDY):
    version = (files.num_bytes(path), files.modified_seconds(path))
  if _WHOLE_SHARDS.get(path) != version:
    require_whole(path)
    _WHOLE_SHARDS[path] = version


def is_held_back(example_ids: np.ndarray | tf.Tensor, fraction: float) -> np.ndarray | tf.Tensor:
  """Whether each example belongs to the held-back part: a fixed function of its id alone.

  The id is mixed by the finaliser of SplitMix64 (Steele et al., OOPSLA 2014), since the low bits of example ids need
  not be uniform; the example is held back if the top 20 bits, as a fraction, are below `fraction`.

  Args:
    example_ids: `[...]` int64, NumPy or TensorFlow.
    fraction: share of ids that is held back, on average, in [0, 1].

  Returns:
    `[...]` bool of the same kind.
  """
  bound = int(np.ceil(fraction * (1 << _HOLDBACK_BITS)))
  if not tf.is_tensor(example_ids):
    mixed = split_mix(np.asarray(example_ids, np.int64).reshape(-1).view(np.uint64))
    return ((mixed >> np.uint64(64 - _HOLDBACK_BITS)) < np.uint64(bound)).reshape(np.shape(example_ids))
  mixed = split_mix_tensor(tf.bitcast(example_ids, tf.uint64))
  top = tf.bitwise.right_shift(mixed, tf.constant(64 - _HOLDBACK_BITS, tf.uint64))
  return tf.cast(top, tf.int64) < bound


def write_example_shard(path: str, ids: np.ndarray, labels: np.ndarray, example_ids: np.ndarray, times: np.ndarray,
                        spec: FeatureSpec) -> ShardInfo:
  """Writes examples to one GZIP TFRecord file, atomically; the same arrays always give the same bytes.

  Args:
    path: the file; its folder exists.
    ids: `[N, num_places]` int32, encoded rows (`diet_tf.log.row_layout`).
    labels: `[N]` float32.
    example_ids: `[N]` int64.
    times: `[N]` int64.
    spec: feature spec, which names the fields.

  Raises:
    StoreError: the disk is full or the place is not writable.
  """
  clash = sorted(set(spec.names) & set(_EXAMPLE_KEYS))
  if clash:
    raise ConfigError(f"field {clash[0]!r}", rule=f"the names {list(_EXAMPLE_KEYS)} are an example's own keys.",
                      received=str(clash), remedy="rename the field.")

  def encoded_blocks() -> Iterable[bytes]:
    for start in range(0, len(ids), ROWS_PER_ENCODING):
      rows = slice(start, start + ROWS_PER_ENCODING)
      columns = row_entries(ids[rows], spec)
      columns["label"] = float_entries("label", labels[rows])
      columns["example_id"] = integer_entries("example_id", example_ids[rows])
      columns["time"] = integer_entries("time", times[rows])
      yield from serialised_examples(columns)

  return write_records(path, encoded_blocks(), _EXAMPLE_COMPRESSION_LEVEL)


def rows_dataset(rows: EncodedRows, batch_size: int) -> tf.data.Dataset:
  """Rows in memory, which have labels and example ids, as the batches that `example_dataset` gives."""
  columns = (rows.ids, rows.labels, rows.example_ids)
  return tf.data.Dataset.from_tensor_slices(columns).batch(batch_size)


def log_dataset(log_shards: Mapping[int, Sequence[str]], spec: FeatureSpec, batch_size: int,
                **holdback: Any) -> tf.data.Dataset:
  """The examples of all spans in order, as batches of `(ids, labels, example_ids)`; see `example_dataset`."""
  parts = [example_dataset(log_shards[span], spec, batch_size, **holdback) for span in sorted(log_shards)]
  whole = parts[0]
  for part in parts[1:]:
    whole = whole.concatenate(part)
  return whole


def example_arrays(shards: Sequence[str], spec: FeatureSpec) -> EncodedRows:
  """All examples of some files as arrays, in the order of the files: those that models are judged on, for instance.

  Args:
    shards: paths of the TFRecord files.
    spec: feature spec that they were encoded with.

  Raises:
    DataError: there are none.
    FormatError: a shard is damaged, or of another feature spec.
  """
  batches = [(ids, labels) for ids, labels, _ in read_examples(shards, spec, SURVEY_BATCH)]
  if not batches:
    raise DataError("test span", rule="it holds at least one example.", received="none.",
                    remedy="name a span with examples as the test.")
  return EncodedRows(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))
