"""TFRecord files of `tf.train.Example` records: what the formats of examples and of slots are written and read by.

The records are plain ones in GZIP files, so that `tf.io.parse_example` reads them without any code of ours. The writers
put together the protocol buffer's bytes themselves, from pieces that are encoded once per distinct value: the result is
what `Example.SerializeToString(deterministic=True)` gives, many times faster.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from diet_tf.errors import DataError, FormatError
from diet_tf.io import files
from diet_tf.io.record_frames import ShardInfo

# Each TFRecord carries a length (8 bytes) and two checksums (4 bytes each).
RECORD_FRAMING_BYTES = 16

ROWS_PER_ENCODING = 8192
REMEDY = "restore the file from a copy, or make it again from the spans."


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
                      received=received, remedy=REMEDY) from error


def _first_line(error: tf.errors.OpError) -> str:
  return next(iter(error.message.splitlines()), type(error).__name__)


def shard_bytes(paths: Iterable[str]) -> tuple[int, int]:
  """The bytes of shards as stored, and of the uncompressed TFRecords in them."""
  stored = raw = 0
  for path in paths:
    stored += files.num_bytes(path)
    lengths = record_dataset([path]).batch(4096).map(
        lambda batch: tf.reduce_sum(tf.cast(tf.strings.length(batch), tf.int64) + RECORD_FRAMING_BYTES))
    raw += int(lengths.reduce(tf.constant(0, tf.int64), lambda total, part: total + part))
  return stored, raw


def record_dataset(paths: Sequence[str]) -> tf.data.Dataset:
  """The serialised records of TFRecord files, one after the other: GZIP where the names end with `.gz`.

  Raises:
    DataError: some of the names end with `.gz` and others do not.
  """
  compressed = {path.endswith(".gz") for path in paths}
  if len(compressed) > 1:
    raise DataError("shards", rule="either all names end with .gz or none does.", received=str(list(paths)),
                    remedy="write them alike.")
  return tf.data.TFRecordDataset([files.prepared(path) for path in paths],
                                 compression_type="GZIP" if True in compressed else "")


def write_records(path: str, records: Iterable[bytes], compression_level: int) -> ShardInfo:
  """Writes serialised records to one GZIP TFRecord file, atomically; returns what is known of the file.

  Raises:
    StoreError: the disk is full or the place is not writable; nothing is left there.
  """
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


def serialised_examples(columns: Mapping[str, Sequence[bytes]]) -> Iterable[bytes]:
  """Joins encoded map entries, one sequence per feature, to serialised `tf.train.Example`s.

  Sorted by name, as a deterministic serialisation orders a map.
  """
  for entries in zip(*(columns[name] for name in sorted(columns)), strict=True):
    features = b"".join(entries)
    yield _prefix(1, len(features)) + features


def integer_entries(name: str, values: np.ndarray) -> Sequence[bytes]:
  """The encoded map entry of the feature `name` for each of `[N]` integers, for `serialised_examples`."""
  distinct, inverse = np.unique(np.asarray(values, np.int64), return_inverse=True)
  encoded = np.empty(len(distinct), object)
  encoded[:] = integer_list_entries(name, distinct[:, None], np.ones(len(distinct), np.int64))
  return encoded[inverse].tolist()


def float_entries(name: str, values: np.ndarray) -> Sequence[bytes]:
  """The same for `[N]` floats, which are written as float32."""
  distinct, inverse = np.unique(np.asarray(values, "<f4").view(np.uint32), return_inverse=True)
  encoded = np.empty(len(distinct), object)
  encoded[:] = [_entry(name, 2, value.tobytes()) for value in distinct.view("<f4")]
  return encoded[inverse].tolist()


def integer_list_entries(name: str, values: np.ndarray, counts: np.ndarray) -> Sequence[bytes]:
  """The same for `[N, K]` integers, of which row n has its first `counts[n]`."""
  data, ends = _packed_varints(values, counts)
  bounds = [0, *ends.tolist()]
  return [_entry(name, 3, data[start:end]) for start, end in zip(bounds, bounds[1:], strict=False)]


def float_list_entries(name: str, values: np.ndarray, counts: np.ndarray) -> Sequence[bytes]:
  """The same for `[N, K]` floats, of which row n has its first `counts[n]`."""
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
