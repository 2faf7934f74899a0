"""LogGen on a real S3 server: logs and side tables there give the bytes that local ones give."""

from __future__ import annotations

import gzip
import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from diet_tf.errors import DataError
from diet_tf.io import files
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.settings import Join, LogSettings
from tfx_components.log_gen import available_spans, generate

SPEC = FeatureSpec((Field("user", "user", hash_ids=500), Field("item", "item", vocabulary_ids=200),
                    Field("city", "city", vocabulary_ids=20)), Label("click"), "t")
# So that a CSV file, of about 1.3 MiB, is read in several pieces, each from its middle.
NUM_ROWS, PIECE_BYTES = 60_000, 400_000


def rows() -> list[dict[str, Any]]:
  return [{"user": number * 7 % 1009, "item": f"item-{number * 13 % 301}", "click": int(number % 5 == 0),
           "t": 1_000_000 + number} for number in range(NUM_ROWS)]


def csv_bytes(table: list[dict[str, Any]]) -> bytes:
  lines = [",".join(table[0]), *(",".join(str(value) for value in row.values()) for row in table)]
  return ("\n".join(lines) + "\n").encode()


def write_tfrecord(path: pathlib.Path) -> None:
  with tf.io.TFRecordWriter(str(path)) as writer:
    for row in rows():
      feature = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
                 if isinstance(value, str) else tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
                 for name, value in row.items()}
      writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


@pytest.fixture(scope="module")
def local_log(tmp_path_factory) -> pathlib.Path:
  """One span in each format, and a side table."""
  folder = tmp_path_factory.mktemp("log")
  (folder / "log-3.csv").write_bytes(csv_bytes(rows()))
  (folder / "log-3.csv.gz").write_bytes(gzip.compress(csv_bytes(rows())))
  pq.write_table(pa.Table.from_pylist(rows()), folder / "log-3.parquet", row_group_size=20_000)
  write_tfrecord(folder / "log-3.tfrecord")
  (folder / "users.csv").write_bytes(csv_bytes([{"user": user, "city": f"city-{user % 11}"} for user in range(1009)]))
  return folder


def copy_all(source: str, target: str) -> list[str]:
  names = files.files_below(source)
  for name in names:
    files.copy(files.join(source, name), files.join(target, name))
  return files.files_below(target)


def encode(folder: str, suffix: str, output: str) -> dict[str, tuple[str, int]]:
  """Digests of what LogGen writes on Beam from the log in `folder`."""
  settings = LogSettings(f"{folder}/log-{{SPAN}}{suffix}", piece_bytes=PIECE_BYTES,
                         joins=(Join(f"{folder}/users.csv", on="user"),))
  assert available_spans(settings) == [3]
  summary = generate.generate_examples(settings, SPEC, 3, output)
  assert summary.num_examples == NUM_ROWS
  names = [f"Split-train/{name}" for name in summary.shards] + [generate.VOCABULARIES_NAME]
  return {name: files.digest(files.join(output, name)) for name in names}


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".tfrecord"])
def test_a_span_on_s3_gives_the_examples_of_a_local_one(elsewhere, uri, local_log, tmp_path, suffix):
  assert elsewhere(copy_all, str(local_log), f"{uri}/log") == sorted(path.name for path in local_log.iterdir())
  there = elsewhere(encode, f"{uri}/log", suffix, f"{uri}/examples")
  assert there == encode(str(local_log), suffix, str(tmp_path / "examples"))
  assert len(there) >= 2


def spans_of(pattern: str) -> list[int]:
  return available_spans(LogSettings(pattern))


def encode_span(pattern: str, output: str) -> None:
  generate.generate_examples(LogSettings(pattern), SPEC, 3, output)


def test_a_log_that_is_not_there(elsewhere, uri):
  assert elsewhere(spans_of, f"{uri}/log-{{SPAN}}.csv") == []
  with pytest.raises(DataError, match="no file of this span"):
    elsewhere(encode_span, f"{uri}/log-{{SPAN}}.csv", f"{uri}/examples")
