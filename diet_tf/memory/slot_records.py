"""The TFRecord format of slots: checked, written and read.

A slot is a plain `tf.train.Example` with, per field, `<field>/ids` (int64 list) and `<field>/weights` (float list) of
equal length, and `label`, `sample_weight`, `influence` (float), `slot_id`, `born_span`, `updated_span` (int64).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from diet_tf.errors import DataError, FormatError, NumericsError
from diet_tf.io import files
from diet_tf.io.record_frames import ShardInfo, count_records
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
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.slots import Slots

_SLOT_COMPRESSION_LEVEL = 9
_SLOT_FLOATS = {"label": "labels", "sample_weight": "sample_weights", "influence": "influences"}
_SLOT_INTEGERS = {"slot_id": "slot_ids", "born_span": "born_spans", "updated_span": "updated_spans"}
_WEIGHT_SUM_TOLERANCE = 1e-3
_MAX_NAMED = 5
_SLOTS_PER_PARSING = 4096

# What a file may unpack to, and what its slots may take in memory, in multiples of its own bytes. Memories of real logs
# unpack to 2 to 5 times their bytes and take 1 to 7 times; what is free lets small and regular ones be anything.
RAW_BYTES_PER_STORED = 64
_FREE_RAW_BYTES = 16 << 20
ARRAY_BYTES_PER_STORED = 256
FREE_ARRAY_BYTES = 256 << 20
_ARRAY_BYTES_PER_ID = 8
# An id of 64 bits as a varint and a float32; keys, lengths and tags around a feature; the six scalars of a slot.
_ID_AND_WEIGHT_BYTES = 14
_FEATURE_BYTES = 64
_SCALARS_BYTES = 4096


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


def write_slots(directory: str, slots: Slots, spec: FeatureSpec, *, num_shards: int = 1,
                max_ids: int | None = None) -> list[ShardInfo]:
  """Writes slots, in their order, to GZIP TFRecord files in `directory`; equal slots always give equal bytes.

  Args:
    directory: path or URI of the folder, which is made if it is not there.
    slots: slots that are written.
    spec: feature spec that they were made with.
    num_shards: number of files, each of about as many slots.
    max_ids: the most ids of a slot and field that readers are told of; None takes the width of the slots' arrays.

  Returns:
    One entry per file, in the order of the slots.

  Raises:
    NumericsError, DataError: the slots are not sound, see `check_slots`.
    FormatError: readers would take more memory for a file than they allow, see `read_slots`.
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
      shards.append(write_records(path, _encoded_slots(slots.take(rows), spec), _SLOT_COMPRESSION_LEVEL))
      _require_readable(path, shards[-1], slots, max_ids or slots.max_ids)
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
    FormatError: a file is missing or damaged, a feature is missing, a slot has more ids than `max_ids`, or the slots
      are not sound (see `check_slots`); a file unpacks to more than `RAW_BYTES_PER_STORED` times its bytes, or its
      slots take more than `ARRAY_BYTES_PER_STORED` times of them, beyond what is free for small files.
  """
  widths = max_ids.values() if isinstance(max_ids, Mapping) else np.ravel(max_ids)
  width = max((int(value) for value in widths), default=1)
  parts = [_parse_slots(files.join(directory, name), spec, width) for name in shard_names]
  slots = Slots.concatenate(parts) if parts else _no_slots(spec, width)
  try:
    check_slots(slots, spec)
  except (NumericsError, DataError) as error:
    raise FormatError(f"{directory}: {error.subject}", rule=error.rule, received=error.received,
                      remedy=REMEDY) from error
  return slots


def _parse_slots(path: str, spec: FeatureSpec, width: int) -> Slots:
  """The slots of one file, which is checked frame by frame before TensorFlow makes room for any record of it."""
  num_slots = _require_bounded(path, spec, width)
  batches = record_dataset([path]).batch(_SLOTS_PER_PARSING).map(
      lambda records: tf.io.parse_example(records, slot_features(spec)))
  parts = []
  with readable(path):
    for batch in batches:
      parts.append(_parsed_slots(path, batch, spec, width))
  return Slots.concatenate(parts) if num_slots else _no_slots(spec, width)


def _require_bounded(path: str, spec: FeatureSpec, width: int) -> int:
  """The number of slots in a file, which unpacks to no more than its bytes allow and holds no record that is too long.

  Raises:
    FormatError: the file is damaged or unpacks to more, or its slots would take more memory than is allowed.
  """
  try:
    stored = files.num_bytes(path)
  except OSError as error:
    raise FormatError(path, rule="the shard can be read.", received=f"{error}.", remedy=REMEDY) from error
  # Each name stands there twice, before "/ids" and before "/weights".
  least = 2 * sum(len(name.encode()) for name in spec.names) + sum(map(len, (*_SLOT_FLOATS, *_SLOT_INTEGERS)))
  longest = least + len(spec.names) * (width * _ID_AND_WEIGHT_BYTES + 2 * _FEATURE_BYTES) + _SCALARS_BYTES
  num_slots, _ = count_records(path, _most_raw_bytes(stored), (least, longest))
  _require_room(path, stored, num_slots, len(spec.names), width)
  return num_slots


def _most_raw_bytes(stored: int) -> int:
  return stored * RAW_BYTES_PER_STORED + _FREE_RAW_BYTES


def _require_room(path: str, stored: int, num_slots: int, num_fields: int, width: int) -> None:
  array_bytes = num_slots * num_fields * width * _ARRAY_BYTES_PER_ID
  most = stored * ARRAY_BYTES_PER_STORED + FREE_ARRAY_BYTES
  if array_bytes > most:
    raise FormatError(path, rule=f"{num_slots:,} slots of {num_fields:,} fields with up to {width:,} ids take at most "
                      f"{most:,} bytes of memory, {ARRAY_BYTES_PER_STORED} times the file's {stored:,} and "
                      f"{FREE_ARRAY_BYTES:,} more.", received=f"{array_bytes:,} bytes.",
                      remedy="make the memory with a smaller ids_per_slot: its slots have far fewer ids.")


def _require_readable(path: str, shard: ShardInfo, slots: Slots, width: int) -> None:
  """Refuses to leave a file that `read_slots` would not read."""
  most = _most_raw_bytes(shard.num_bytes)
  if shard.num_raw_bytes > most:
    raise FormatError(path, rule=f"a shard unpacks to at most {most:,} bytes, {RAW_BYTES_PER_STORED} times its own and "
                      f"{_FREE_RAW_BYTES:,} more.",
                      received=f"{shard.num_raw_bytes:,} bytes, of slots that are all alike.",
                      remedy="write fewer slots to a file.")
  _require_room(path, shard.num_bytes, shard.num_records, slots.num_fields, width)


def _parsed_slots(path: str, parsed: Mapping[str, tf.Tensor], spec: FeatureSpec, width: int) -> Slots:
  num_slots = len(parsed["label"])
  ids = np.zeros([num_slots, len(spec.names), width], np.int32)
  weights = np.zeros([num_slots, len(spec.names), width], np.float32)
  for f, name in enumerate(spec.names):
    sparse_ids, sparse_weights = parsed[f"{name}/ids"], parsed[f"{name}/weights"]
    rows, columns = sparse_ids.indices.numpy().T
    if (not np.array_equal(sparse_ids.indices, sparse_weights.indices) or (columns >= width).any()
        or len(np.unique(rows)) != num_slots):
      raise FormatError(path, rule=f"field {name!r} has in each slot 1 to {width} ids and as many weights.",
                        received=f"up to {sparse_ids.shape[1]} ids and {sparse_weights.shape[1]} weights, in "
                        f"{len(np.unique(rows))} of {num_slots} slots.", remedy=REMEDY)
    least, most = (int(bound(sparse_ids.values)) for bound in (np.min, np.max))
    if least < 0 or most >= spec.num_ids[f]:
      raise FormatError(path, rule=f"ids of field {name!r} lie in [0, {spec.num_ids[f]}).",
                        received=f"ids from {least} to {most}.", remedy=REMEDY)
    ids[rows, f, columns] = sparse_ids.values.numpy()
    weights[rows, f, columns] = sparse_weights.values.numpy()
  scalars = {array: parsed[key].numpy() for key, array in {**_SLOT_FLOATS, **_SLOT_INTEGERS}.items()}
  return Slots(ids=ids, weights=weights, **scalars)


def _no_slots(spec: FeatureSpec, width: int) -> Slots:
  empty = np.zeros([0, len(spec.names), width])
  return Slots(ids=empty, weights=empty, **{name: np.zeros([0]) for name in Slots.DTYPES if name not in
                                            ("ids", "weights")})


def _encoded_slots(slots: Slots, spec: FeatureSpec) -> Iterable[bytes]:
  for start in range(0, len(slots), ROWS_PER_ENCODING):
    block = slots.take(np.arange(start, min(start + ROWS_PER_ENCODING, len(slots))))
    counts = (block.weights > 0).sum(axis=2)  # [B, F]
    columns: dict[str, Sequence[bytes]] = {}
    for f, name in enumerate(spec.names):
      columns[f"{name}/ids"] = integer_list_entries(f"{name}/ids", block.ids[:, f], counts[:, f])
      columns[f"{name}/weights"] = float_list_entries(f"{name}/weights", block.weights[:, f], counts[:, f])
    columns.update({key: float_entries(key, getattr(block, array)) for key, array in _SLOT_FLOATS.items()})
    columns.update({key: integer_entries(key, getattr(block, array)) for key, array in _SLOT_INTEGERS.items()})
    yield from serialised_examples(columns)


def _bad_slots(subject: str, rule: str, slots: Slots, broken: np.ndarray, example: float) -> DataError:
  return DataError(subject, rule=rule, received=f"{int(broken.sum())} of {len(slots)} slots break it, for example with "
                   f"{example:g}: slots {_named(slots.slot_ids[broken])}.",
                   remedy="make the slots with the feature spec in use.")


def _named(slot_ids: np.ndarray) -> str:
  names = ", ".join(str(slot_id) for slot_id in slot_ids[:_MAX_NAMED].tolist())
  return names + (", ..." if len(slot_ids) > _MAX_NAMED else "")
