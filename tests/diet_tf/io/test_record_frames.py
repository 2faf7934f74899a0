from __future__ import annotations

import gzip
import pathlib

import pytest
import tensorflow as tf

from diet_tf.errors import FormatError
from diet_tf.io.record_frames import count_records, require_whole


@pytest.fixture
def shard(tmp_path: pathlib.Path) -> pathlib.Path:
  path = tmp_path / "records.gz"
  with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
    for number in range(100):
      writer.write(bytes(number))
  return path


def test_records_and_bytes_are_counted(shard: pathlib.Path):
  num_raw_bytes = len(gzip.decompress(shard.read_bytes()))
  assert num_raw_bytes == sum(range(100)) + 16 * 100
  assert count_records(str(shard), num_raw_bytes) == (100, num_raw_bytes)
  with pytest.raises(FormatError, match="more than"):
    count_records(str(shard), num_raw_bytes - 1)


def test_no_records(tmp_path: pathlib.Path):
  path = tmp_path / "records.gz"
  tf.io.TFRecordWriter(str(path), "GZIP").close()
  assert count_records(str(path), 0) == (0, 0)
  require_whole(str(path))


def test_every_truncation_is_seen(shard: pathlib.Path):
  content = shard.read_bytes()
  require_whole(str(shard))
  for size in range(len(content)):
    shard.write_bytes(content[:size])
    with pytest.raises(FormatError):
      require_whole(str(shard))


@pytest.mark.parametrize("change", [
    lambda raw: raw[:-1], lambda raw: raw[:30], lambda raw: b"\xff" * 8 + raw[8:], lambda raw: raw + b"\0" * 11])
def test_stream_that_is_no_records(shard: pathlib.Path, change: object):
  shard.write_bytes(gzip.compress(change(gzip.decompress(shard.read_bytes()))))
  require_whole(str(shard))
  with pytest.raises(FormatError):
    count_records(str(shard), 1 << 62)


def test_small_file_that_swells_is_given_up(tmp_path: pathlib.Path):
  path = tmp_path / "bomb.gz"
  path.write_bytes(gzip.compress((100_000_000).to_bytes(8, "little") + bytes(100_000_008)))
  with pytest.raises(FormatError, match="more than 1,000,000 bytes"):
    count_records(str(path), 1_000_000)


def test_members_and_plain_files(shard: pathlib.Path, tmp_path: pathlib.Path):
  content = shard.read_bytes()
  shard.write_bytes(content + content)
  require_whole(str(shard))
  shard.write_bytes(content + b"rest")
  with pytest.raises(FormatError):
    require_whole(str(shard))
  # Without compression, TensorFlow itself sees every cut.
  plain = tmp_path / "records"
  plain.write_bytes(b"")
  require_whole(str(plain))


def test_large_stream_in_several_chunks(tmp_path: pathlib.Path):
  path = tmp_path / "large.gz"
  path.write_bytes(gzip.compress(bytes(5_000_000) + b"end"))
  require_whole(str(path))
