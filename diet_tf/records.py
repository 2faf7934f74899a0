"""TFRecord formats of examples and slots.

Both are plain `tf.train.Example` records in GZIP TFRecord files, so that `tf.io.parse_example` reads them without any
code of ours. The writers put together the protocol buffer's bytes themselves, from pieces that are encoded once per
distinct value: the result is what `Example.SerializeToString(deterministic=True)` gives, many times faster.

An example has, per field, `<field>` (one int64 id), and `label` (float), `example_id` and `time` (int64). A slot has,
per field, `<field>/ids` (int64 list) and `<field>/weights` (float list) of equal length, and `label`, `sample_weight`,
`influence` (float), `slot_id`, `born_span`, `updated_span` (int64).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

from diet_tf import files
from diet_tf.errors import ConfigError, DataError, FormatError, NumericsError
from diet_tf.features import FeatureSpec
from diet_tf.manifest import ShardInfo
from diet_tf.record_frames import require_whole
from diet_tf.slots import Slots

Holdback = Literal["only", "without"]

# Each TFRecord carries a length (8 bytes) and two checksums (4 bytes each).
RECORD_FRAMING_BYTES = 16

_EXAMPLE_KEYS = ("label", "example_id", "time")
# Spans are written once and read a few times: speed. Memories are kept and shipped: size.
_EXAMPLE_COMPRESSION_LEVEL = 1
_SLOT_COMPRESSION_LEVEL = 9
_SLOT_FLOATS = {"label": "labels", "sample_weight": "sample_weights", "influence": "influences"}
_SLOT_INTEGERS = {"slot_id": "slot_ids", "born_span": "born_spans", "updated_span": "updated_spans"}
_WEIGHT_SUM_TOLERANCE = 1e-3
_ROWS_PER_ENCODING = 8192
# Shifts and factors of SplitMix64's finaliser.
_SPLIT_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_HOLDBACK_BITS = 20
_MAX_NAMED = 5
# Size and time of the shards of examples that this process has found whole.
_WHOLE_SHARDS: dict[str, tuple[int, float]] = {}
_REMEDY = "restore the file from a copy, or make it again from the spans."


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
    `(ids [B, num_fields] int32, labels [B] float32, example_ids [B] int64)`.

  Raises:
    tf.errors.InvalidArgumentError: a feature is missing, or an id lies outside its field's id space.
  """
  features = {name: tf.io.FixedLenFeature([], tf.int64) for name in (*spec.names, "example_id")}
  features["label"] = tf.io.FixedLenFeature([], tf.float32)
  parsed = tf.io.parse_example(serialized, features)
  ids = tf.cast(tf.stack([parsed[name] for name in spec.names], axis=1), tf.int32)  # [B, F]
  in_range = tf.reduce_all((ids >= 0) & (ids < tf.constant(spec.num_ids, tf.int32)))
  tf.debugging.Assert(in_range, ["an example has an id outside its field's id space; was it encoded with the same "
                                 "feature spec? ids per field:", tf.constant(spec.num_ids)])
  return ids, parsed["label"], parsed["example_id"]


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
    A prefetched dataset of `(ids [B, num_fields] int32, labels [B] float32, example_ids [B] int64)`.
  """
  if holdback not in (None, "only", "without"):
    raise ConfigError("holdback", rule="it is None, 'only' or 'without'.", received=repr(holdback),
                      remedy="pass one of them.")
  paths = sorted(shard_paths, key=lambda path: path.rpartition("/")[2])
  dataset = _record_dataset(paths).batch(batch_size, drop_remainder=drop_remainder and holdback is None)

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
  with files.reading(path, _REMEDY):
    version = (files.num_bytes(path), files.modified_seconds(path))
  if _WHOLE_SHARDS.get(path) != version:
    require_whole(path)
    _WHOLE_SHARDS[path] = version


@contextlib.contextmanager
def readable(subject: str) -> Iterator[None]:
  """Turns what TensorFlow says of a damaged shard within the block into a `FormatError` that names `subject`."""
  try:
    yield
  except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError,
          tf.errors.OutOfRangeError, UnicodeDecodeError) as error:
    # TensorFlow quotes the broken record in its message, and fails at that where it is no text.
    received = "a record that is no tf.train.Example." if isinstance(error, UnicodeDecodeError) else _first_line(error)
    raise FormatError(subject, rule="a shard is a whole TFRecord file, made with the feature spec in use.",
                      received=received, remedy=_REMEDY) from error


def split_mix(values: np.ndarray) -> np.ndarray:
  """`[n]` uint64, mixed by SplitMix64's finaliser (Steele et al., OOPSLA 2014): every bit depends on all bits."""
  for shift, factor in _SPLIT_MIX:
    values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
  return values ^ (values >> np.uint64(31))


def is_held_back(example_ids: np.ndarray | tf.Tensor, fraction: float) -> np.ndarray | tf.Tensor:
  """Whether each example belongs to the held-back part: a fixed function of its id alone.

  The id is mixed by the finaliser of SplitMix64 (Steele et al., OOPSLA 2014), since the low bits of example ids need
  not be uniform; the example is held back if the top 20 bits, as a fraction, are below `fraction`.

  Args:
    example_ids: `[...]` int64, NumPy or TensorFlow.
    fraction: in `[0, 1]`.

  Returns:
    `[...]` bool of the same kind.
  """
  bound = int(np.ceil(fraction * (1 << _HOLDBACK_BITS)))
  if not tf.is_tensor(example_ids):
    mixed = split_mix(np.asarray(example_ids, np.int64).reshape(-1).view(np.uint64))
    return ((mixed >> np.uint64(64 - _HOLDBACK_BITS)) < np.uint64(bound)).reshape(np.shape(example_ids))
  state = tf.bitcast(example_ids, tf.uint64)
  for shift, factor in _SPLIT_MIX:
    state = _xor_shifted(state, shift) * tf.constant(factor, tf.uint64)
  state = _xor_shifted(state, 31)
  top = tf.bitwise.right_shift(state, tf.constant(64 - _HOLDBACK_BITS, tf.uint64))
  return tf.cast(top, tf.int64) < bound


def write_example_shard(path: str, ids: np.ndarray, labels: np.ndarray, example_ids: np.ndarray, times: np.ndarray,
                        spec: FeatureSpec) -> ShardInfo:
  """Writes examples to one GZIP TFRecord file, atomically; the same arrays always give the same bytes.

  Args:
    path: the file; its folder exists.
    ids: `[N, num_fields]` int32.
    labels: `[N]` float32.
    example_ids: `[N]` int64.
    times: `[N]` int64.
    spec: names the fields.

  Raises:
    StoreError: the disk is full or the place is not writable.
  """
  clash = sorted(set(spec.names) & set(_EXAMPLE_KEYS))
  if clash:
    raise ConfigError(f"field {clash[0]!r}", rule=f"the names {list(_EXAMPLE_KEYS)} are an example's own keys.",
                      received=str(clash), remedy="rename the field.")

  def encoded_blocks() -> Iterable[bytes]:
    for start in range(0, len(ids), _ROWS_PER_ENCODING):
      rows = slice(start, start + _ROWS_PER_ENCODING)
      columns = {name: _integer_entries(name, ids[rows, f]) for f, name in enumerate(spec.names)}
      columns["label"] = _float_entries("label", labels[rows])
      columns["example_id"] = _integer_entries("example_id", example_ids[rows])
      columns["time"] = _integer_entries("time", times[rows])
      yield from _examples(columns)

  return _write_records(path, encoded_blocks(), _EXAMPLE_COMPRESSION_LEVEL)


def check_slots(slots: Slots, spec: FeatureSpec) -> None:
  """Checks slots against a feature spec.

  Raises:
    NumericsError: an array holds NaN or infinity.
    DataError: an id lies outside its field, weights are negative or do not sum to 1, a label lies outside [0, 1], a
      sample weight is not positive, or slot ids repeat.
  """
  check_finite(slots)
  if slots.num_fields != len(spec.fields):
    raise DataError("slots", rule=f"they have the {len(spec.fields)} fields of the feature spec.",
                    received=f"{slots.num_fields}.", remedy="make them with the same feature spec.")
  num_ids = np.asarray(spec.num_ids)[:, None]
  outside = ((slots.ids < 0) | (slots.ids >= num_ids)).any(axis=2)  # [N, F]
  if outside.any():
    field = int(np.flatnonzero(outside.any(axis=0))[0])
    raise _bad_slots(f"slots.ids of field {spec.names[field]!r}", f"ids lie in [0, {spec.num_ids[field]}).",
                     slots, outside[:, field], slots.ids[:, field].max())
  sums = slots.weights.sum(axis=2, dtype=np.float64)  # [N, F]
  wrong = ((slots.weights < 0).any(axis=2) | (np.abs(sums - 1) > _WEIGHT_SUM_TOLERANCE)).any(axis=1)
  if wrong.any():
    raise _bad_slots("slots.weights", "a field's weights are not negative and sum to 1.", slots, wrong,
                     sums[wrong].min())
  if len(np.unique(slots.slot_ids)) != len(slots):
    raise DataError("slots.slot_ids", rule="slot ids are unique.", received="a repeated id.",
                    remedy="give each new slot an id of its own.")
  outside_unit = (slots.labels < 0) | (slots.labels > 1)
  if outside_unit.any():
    raise _bad_slots("slots.labels", "labels lie in [0, 1].", slots, outside_unit, slots.labels[outside_unit][0])
  not_positive = slots.sample_weights <= 0
  if not_positive.any():
    raise _bad_slots("slots.sample_weights", "sample weights are positive.", slots, not_positive,
                     slots.sample_weights[not_positive][0])


def check_finite(slots: Slots) -> None:
  """Raises NumericsError, naming the array and the slot ids, if a learned array holds NaN or infinity."""
  for name in ("weights", "labels", "sample_weights", "influences"):
    array = getattr(slots, name)
    broken = ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    if broken.any():
      raise NumericsError(f"slots.{name}", rule="every learned value is finite.",
                          received=f"NaN or infinity in {int(broken.sum())} of {len(slots)} slots: "
                          f"{_named(slots.slot_ids[broken])}.",
                          remedy="lower the learning rates of the refinement, or look at the named slots' examples.")


def packed_left(slots: Slots) -> Slots:
  """The slots with each field's ids of positive weight first, in their order, and the padding behind them zeroed."""
  positive = slots.weights > 0
  if not ((positive[..., 1:] & ~positive[..., :-1]).any() or (slots.ids[~positive] != 0).any()):
    return slots
  order = np.argsort(~positive, axis=2, kind="stable")
  positive = np.take_along_axis(positive, order, axis=2)
  return slots.replace(ids=np.where(positive, np.take_along_axis(slots.ids, order, axis=2), 0),
                       weights=np.where(positive, np.take_along_axis(slots.weights, order, axis=2), 0))


def write_slots(directory: str, slots: Slots, spec: FeatureSpec, *, num_shards: int = 1) -> list[ShardInfo]:
  """Writes slots, in their order, to GZIP TFRecord files in `directory`; equal slots always give equal bytes.

  Returns:
    One entry per file, in the order of the slots.

  Raises:
    NumericsError, DataError: the slots are not sound, see `check_slots`.
    StoreError: the disk is full or the place is not writable; no file of these is left.
  """
  check_slots(slots, spec)
  slots = packed_left(slots)
  files.make_folders(directory)
  parts = np.array_split(np.arange(len(slots)), max(1, min(num_shards, len(slots))))
  shards: list[ShardInfo] = []
  try:
    for number, rows in enumerate(parts):
      path = files.join(directory, f"slots-{number:05d}-of-{len(parts):05d}.tfrecord.gz")
      shards.append(_write_records(path, _encoded_slots(slots.take(rows), spec), _SLOT_COMPRESSION_LEVEL))
  except BaseException:
    for shard in shards:
      files.remove_if_there(files.join(directory, shard.name))
    raise
  return shards


def slot_features(spec: FeatureSpec) -> dict[str, tf.io.VarLenFeature | tf.io.FixedLenFeature]:
  """The feature description with which `tf.io.parse_example` reads slots."""
  features: dict[str, tf.io.VarLenFeature | tf.io.FixedLenFeature] = {}
  for name in spec.names:
    features[f"{name}/ids"] = tf.io.VarLenFeature(tf.int64)
    features[f"{name}/weights"] = tf.io.VarLenFeature(tf.float32)
  features.update({key: tf.io.FixedLenFeature([], tf.float32) for key in _SLOT_FLOATS})
  features.update({key: tf.io.FixedLenFeature([], tf.int64) for key in _SLOT_INTEGERS})
  return features


def read_slots(directory: str, shard_names: Sequence[str], spec: FeatureSpec,
               max_ids: int | Sequence[int] | Mapping[str, int]) -> Slots:
  """The slots that `write_slots` wrote, padded to the widest of `max_ids`.

  Args:
    directory: the folder of the files.
    shard_names: the files, in the order of the slots.
    spec: the feature spec that they were made with.
    max_ids: the most ids per slot, for all fields or for each.

  Raises:
    FormatError: a file is missing or damaged, a feature is missing, a slot has more ids than `max_ids`, or an id lies
      outside its field's id space.
  """
  widths = max_ids.values() if isinstance(max_ids, Mapping) else np.ravel(max_ids)
  width = max((int(value) for value in widths), default=1)
  parts = [_parse_slots(files.join(directory, name), spec, width) for name in shard_names]
  return Slots.concatenate(parts) if parts else _no_slots(spec, width)


def _parse_slots(path: str, spec: FeatureSpec, width: int) -> Slots:
  require_whole(path)
  with readable(path):
    records = [record.numpy() for record in _record_dataset([path])]
    if not records:
      return _no_slots(spec, width)
    parsed = tf.io.parse_example(tf.constant(records, tf.string), slot_features(spec))
  ids = np.zeros([len(records), len(spec.names), width], np.int32)
  weights = np.zeros([len(records), len(spec.names), width], np.float32)
  for f, name in enumerate(spec.names):
    sparse_ids, sparse_weights = parsed[f"{name}/ids"], parsed[f"{name}/weights"]
    rows, columns = sparse_ids.indices.numpy().T
    if (not np.array_equal(sparse_ids.indices, sparse_weights.indices) or (columns >= width).any()
        or len(np.unique(rows)) != len(records)):
      raise FormatError(path, rule=f"field {name!r} has in each slot 1 to {width} ids and as many weights.",
                        received=f"up to {sparse_ids.shape[1]} ids and {sparse_weights.shape[1]} weights, in "
                        f"{len(np.unique(rows))} of {len(records)} slots.", remedy=_REMEDY)
    least, most = (int(bound(sparse_ids.values)) for bound in (np.min, np.max))
    if least < 0 or most >= spec.num_ids[f]:
      raise FormatError(path, rule=f"ids of field {name!r} lie in [0, {spec.num_ids[f]}).",
                        received=f"ids from {least} to {most}.", remedy=_REMEDY)
    ids[rows, f, columns] = sparse_ids.values.numpy()
    weights[rows, f, columns] = sparse_weights.values.numpy()
  scalars = {array: parsed[key].numpy() for key, array in {**_SLOT_FLOATS, **_SLOT_INTEGERS}.items()}
  return Slots(ids=ids, weights=weights, **scalars)


def _first_line(error: tf.errors.OpError) -> str:
  return next(iter(error.message.splitlines()), type(error).__name__)


def _no_slots(spec: FeatureSpec, width: int) -> Slots:
  empty = np.zeros([0, len(spec.names), width])
  return Slots(ids=empty, weights=empty, **{name: np.zeros([0]) for name in Slots.DTYPES if name not in
                                            ("ids", "weights")})


def shard_bytes(paths: Iterable[str]) -> tuple[int, int]:
  """The bytes of shards as stored, and of the uncompressed TFRecords in them."""
  stored = raw = 0
  for path in paths:
    stored += files.size_bytes(path)
    lengths = _record_dataset([path]).batch(4096).map(
        lambda batch: tf.reduce_sum(tf.cast(tf.strings.length(batch), tf.int64) + RECORD_FRAMING_BYTES))
    raw += int(lengths.reduce(tf.constant(0, tf.int64), lambda total, part: total + part))
  return stored, raw


def _record_dataset(paths: Sequence[str]) -> tf.data.Dataset:
  compressed = {path.endswith(".gz") for path in paths}
  if len(compressed) > 1:
    raise DataError("shards", rule="either all names end with .gz or none does.", received=str(list(paths)),
                    remedy="write them alike.")
  return tf.data.TFRecordDataset([files.prepared(path) for path in paths],
                                 compression_type="GZIP" if True in compressed else "")


def _write_records(path: str, records: Iterable[bytes], compression_level: int) -> ShardInfo:
  # The header of a GZIP stream that TensorFlow writes has no time in it: equal records give equal bytes.
  options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=compression_level)
  partial = path + files.PARTIAL_SUFFIX
  num_records, num_raw_bytes = 0, 0
  try:
    with files.writing(path):
      with tf.io.TFRecordWriter(files.prepared(partial), options) as writer:
        for record in records:
          writer.write(record)
          num_records += 1
          num_raw_bytes += len(record) + RECORD_FRAMING_BYTES
      sha256, num_bytes = files.digest(partial)
      files.rename(partial, path)
  except BaseException:
    files.remove_if_there(partial)
    raise
  return ShardInfo(path.rpartition("/")[2], sha256, num_bytes, num_raw_bytes, num_records)


def _encoded_slots(slots: Slots, spec: FeatureSpec) -> Iterable[bytes]:
  for start in range(0, len(slots), _ROWS_PER_ENCODING):
    block = slots.take(np.arange(start, min(start + _ROWS_PER_ENCODING, len(slots))))
    counts = (block.weights > 0).sum(axis=2)  # [B, F]
    columns: dict[str, Sequence[bytes]] = {}
    for f, name in enumerate(spec.names):
      columns[f"{name}/ids"] = _integer_list_entries(f"{name}/ids", block.ids[:, f], counts[:, f])
      columns[f"{name}/weights"] = _float_list_entries(f"{name}/weights", block.weights[:, f], counts[:, f])
    columns.update({key: _float_entries(key, getattr(block, array)) for key, array in _SLOT_FLOATS.items()})
    columns.update({key: _integer_entries(key, getattr(block, array)) for key, array in _SLOT_INTEGERS.items()})
    yield from _examples(columns)


def _examples(columns: Mapping[str, Sequence[bytes]]) -> Iterable[bytes]:
  """Joins encoded map entries, one sequence per feature, to serialised `tf.train.Example`s.

  Sorted by name, as a deterministic serialisation orders a map.
  """
  for entries in zip(*(columns[name] for name in sorted(columns)), strict=True):
    features = b"".join(entries)
    yield _prefix(1, len(features)) + features


def _integer_entries(name: str, values: np.ndarray) -> Sequence[bytes]:
  distinct, inverse = np.unique(np.asarray(values, np.int64), return_inverse=True)
  encoded = np.empty(len(distinct), object)
  encoded[:] = _integer_list_entries(name, distinct[:, None], np.ones(len(distinct), np.int64))
  return encoded[inverse].tolist()


def _float_entries(name: str, values: np.ndarray) -> Sequence[bytes]:
  distinct, inverse = np.unique(np.asarray(values, "<f4").view(np.uint32), return_inverse=True)
  encoded = np.empty(len(distinct), object)
  encoded[:] = [_entry(name, 2, value.tobytes()) for value in distinct.view("<f4")]
  return encoded[inverse].tolist()


def _integer_list_entries(name: str, values: np.ndarray, counts: np.ndarray) -> Sequence[bytes]:
  data, ends = _packed_varints(values, counts)
  bounds = [0, *ends.tolist()]
  return [_entry(name, 3, data[start:end]) for start, end in zip(bounds, bounds[1:], strict=False)]


def _float_list_entries(name: str, values: np.ndarray, counts: np.ndarray) -> Sequence[bytes]:
  data = np.ascontiguousarray(values, "<f4").tobytes()
  stride = values.shape[1] * 4
  return [_entry(name, 2, data[row * stride:row * stride + count * 4]) for row, count in enumerate(counts.tolist())]


def _entry(name: str, kind: int, packed_values: bytes) -> bytes:
  """One entry of `Features.feature`: key 1 is the name, key 2 the `Feature` with its list of that kind.

  Kinds are the field numbers in `Feature`: 2 float_list, 3 int64_list; the values are field 1 of the list, packed.
  """
  return _header(name, kind, len(packed_values)) + packed_values


# All that stands before the values depends on their length alone, and few lengths occur.
@functools.lru_cache(maxsize=1 << 16)
def _header(name: str, kind: int, num_bytes: int) -> bytes:
  key = _prefix(1, len(name.encode())) + name.encode()
  header = _prefix(1, num_bytes) if num_bytes else b""
  for number in (kind, 2):
    header = _prefix(number, len(header) + num_bytes) + header
  header = key + header
  return _prefix(1, len(header) + num_bytes) + header


def _prefix(number: int, num_bytes: int) -> bytes:
  # Wire type 2: a length-delimited field.
  return bytes([number << 3 | 2]) + _varint(num_bytes)


@functools.lru_cache(maxsize=1 << 16)
def _varint(value: int) -> bytes:
  value &= (1 << 64) - 1
  encoded = bytearray()
  while value > 0x7F:
    encoded.append(value & 0x7F | 0x80)
    value >>= 7
  encoded.append(value)
  return bytes(encoded)


def _packed_varints(values: np.ndarray, counts: np.ndarray) -> tuple[bytes, np.ndarray]:
  """The varints of the first `counts[r]` integers of each row `[R, K]`, and `[R]` where each row's bytes end."""
  left = np.asarray(values, np.int64).view(np.uint64)
  kept = np.arange(values.shape[1]) < counts[:, None]  # [R, K]
  num_bytes = max(1, -(-int(left.max(initial=0)).bit_length() // 7))
  encoded = np.zeros([*values.shape, num_bytes], np.uint8)  # [R, K, num_bytes]
  present = np.zeros(encoded.shape, bool)
  present[..., 0] = kept
  for position in range(num_bytes):
    encoded[..., position] = left & np.uint64(0x7F)
    left = left >> np.uint64(7)
    more = left != 0
    encoded[..., position] |= more.astype(np.uint8) << 7
    if position + 1 < num_bytes:
      present[..., position + 1] = kept & more
  return encoded[present].tobytes(), np.cumsum(present.sum(axis=(1, 2)))


def _xor_shifted(state: tf.Tensor, shift: int) -> tf.Tensor:
  return tf.bitwise.bitwise_xor(state, tf.bitwise.right_shift(state, tf.constant(shift, tf.uint64)))


def _bad_slots(subject: str, rule: str, slots: Slots, broken: np.ndarray, example: float) -> DataError:
  return DataError(subject, rule=rule, received=f"{int(broken.sum())} of {len(slots)} slots break it, for example with "
                   f"{example:g}: slots {_named(slots.slot_ids[broken])}.",
                   remedy="make the slots with the feature spec in use.")


def _named(slot_ids: np.ndarray) -> str:
  names = ", ".join(str(slot_id) for slot_id in slot_ids[:_MAX_NAMED].tolist())
  return names + (", ..." if len(slot_ids) > _MAX_NAMED else "")
