"""Records: bytes that are those of protocol buffers, and what is known of a written file."""

from __future__ import annotations

import gzip
import hashlib
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.errors import DataError, FormatError
from diet_tf.io.records import (
    RECORD_FRAMING_BYTES,
    float_entries,
    float_list_entries,
    integer_entries,
    integer_list_entries,
    readable,
    record_dataset,
    serialised_examples,
    shard_bytes,
    write_records,
)

# Of each length in bytes that a varint may have, and negative ones, which take ten.
INTEGERS = np.array([0, 1, 127, 128, 2**14, 2**31, 2**63 - 1, -1, -2**63])
FLOATS = np.array([0.0, -0.0, 0.5, -1.5, 1e-40, 3.4e38, np.inf, 0.5, 7.0], np.float32)


def by_protocol_buffers(features: dict[str, list]) -> bytes:
  example = tf.train.Example()
  for name, values in features.items():
    if isinstance(values[0], float):
      example.features.feature[name].float_list.value.extend(values)
    else:
      example.features.feature[name].int64_list.value.extend(values)
  return example.SerializeToString(deterministic=True)


def test_a_literal_record():
  # Example.features (field 1) of 14 bytes; its map's entry (1) of 12: the key "a" (1), and the value (2) of 7 bytes:
  # an int64_list (3) of 5, whose values (1) are packed in 3 bytes: 5, and 300 as 0xac 0x02.
  (entry,) = integer_list_entries("a", np.array([[5, 300]]), np.array([2]))
  assert entry == b"\x0a\x0c" + b"\x0a\x01a" + b"\x12\x07" + b"\x1a\x05" + b"\x0a\x03\x05\xac\x02"
  assert list(serialised_examples({"a": [entry]})) == [b"\x0a\x0e" + entry]


def test_single_values_are_written_as_protocol_buffers_write_them():
  # The columns stand in another order than their names sort.
  records = serialised_examples({"z": integer_entries("z", INTEGERS), "a": float_entries("a", FLOATS)})
  assert list(records) == [by_protocol_buffers({"z": [integer], "a": [number]})
                           for integer, number in zip(INTEGERS.tolist(), FLOATS.tolist(), strict=True)]


def test_lists_are_cut_at_their_counts():
  integers, numbers = np.array([[7, -1, 300], [2**40, 9, 9]]), np.array([[0.5, 0.25, 9], [1, 9, 9]])
  counts = np.array([3, 1])
  records = serialised_examples({"i": integer_list_entries("i", integers, counts),
                                 "f": float_list_entries("f", numbers, counts)})
  assert list(records) == [by_protocol_buffers({"i": [7, -1, 300], "f": [0.5, 0.25, 9.0]}),
                           by_protocol_buffers({"i": [2**40], "f": [1.0]})]


def test_long_names_and_values_have_lengths_of_several_bytes():
  name, values = "ü" * 100, np.arange(500)[None]
  (entry,) = integer_list_entries(name, values, np.array([500]))
  (record,) = serialised_examples({name: [entry]})
  assert record == by_protocol_buffers({name: values[0].tolist()})


def test_a_file_is_described_and_read_back(tmp_path: pathlib.Path):
  path, records = tmp_path / "part.gz", [b"", b"one", b"x" * 1000]
  info = write_records(str(path), records, 6)
  content = path.read_bytes()
  assert (info.name, info.num_records, info.num_bytes) == ("part.gz", 3, len(content))
  assert info.sha256 == hashlib.sha256(content).hexdigest()
  assert info.num_raw_bytes == 1003 + 3 * RECORD_FRAMING_BYTES == len(gzip.decompress(content))
  assert list(record_dataset([str(path)]).as_numpy_iterator()) == records
  assert shard_bytes([str(path), str(path)]) == (2 * info.num_bytes, 2 * info.num_raw_bytes)


def test_a_failing_writer_leaves_nothing(tmp_path: pathlib.Path):
  def records():
    yield b"one"
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    write_records(str(tmp_path / "part.gz"), records(), 6)
  assert list(tmp_path.iterdir()) == []


def test_names_that_differ_in_their_compression_are_refused():
  with pytest.raises(DataError, match=r"either all names end with \.gz"):
    record_dataset(["a.gz", "b"])


def test_damage_is_told_with_the_name_of_the_file(tmp_path: pathlib.Path):
  path = tmp_path / "part"
  path.write_bytes(b"no record" * 5)
  with pytest.raises(FormatError, match="the third shard"), readable("the third shard"):
    list(record_dataset([str(path)]))
  with pytest.raises(ZeroDivisionError), readable("the third shard"):
    _ = 1 / 0
