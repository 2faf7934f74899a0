import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from diet_tf.log.examples import example_dataset, example_shards
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.settings import LogSettings
from tfx_components.log_gen import generate, ranges, sources

# user, item, price, click, t; nothing is missing in the first six, the last lacks item and price.
ROWS = [
    {"user": 1, "item": "a", "price": 0.5, "click": 1, "t": 30},
    {"user": 2, "item": "b", "price": 2.0, "click": 0, "t": 10},
    {"user": 1, "item": "b", "price": 7.25, "click": 0, "t": 20},
    {"user": 3, "item": "\u00e9", "price": 1.0, "click": 1, "t": 50},
    {"user": 2, "item": "b", "price": 3.0, "click": 1, "t": 40},
    {"user": 4, "item": "a b", "price": -1.5, "click": 0, "t": 60},
    {"user": 5, "item": None, "price": None, "click": 0, "t": 70},
]

SPEC = FeatureSpec(
    (Field("user", "user", hash_ids=50), Field("item", "item", vocabulary_ids=6),
     Field("price", "price", boundaries=(0.0, 1.0, 5.0))), Label("click"), "t")


def write_csv(path, rows):
  names = list(rows[0])
  lines = [",".join(names)] + [",".join("" if row[n] is None else str(row[n]) for n in names) for row in rows]
  path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_parquet(path, rows, row_group_size=None):
  pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=row_group_size)


def write_jsonl(path, rows):
  path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_tfrecord(path, rows):
  with tf.io.TFRecordWriter(str(path), "GZIP" if path.name.endswith(".gz") else "") as writer:
    for row in rows:
      example = tf.train.Example()
      for name, value in row.items():
        feature = example.features.feature[name]
        if isinstance(value, int):
          feature.int64_list.value.append(value)
        elif isinstance(value, float):
          feature.float_list.value.append(value)
        elif isinstance(value, str):
          feature.bytes_list.value.append(value.encode())
      writer.write(example.SerializeToString())


WRITERS = {"csv": write_csv, "parquet": write_parquet, "jsonl": write_jsonl, "tfrecord": write_tfrecord}


class Log:
  """A small log in a folder, and what LogGen makes of it."""

  def __init__(self, folder):
    self.folder = folder
    self.num_outputs = 0

  def write(self, name, rows, **kwargs):
    path = self.folder / name
    WRITERS[sources.format_of(str(path), None)](path, rows, **kwargs)
    return str(path)

  def settings(self, pattern="log-{SPAN}*.csv", **kwargs):
    return LogSettings(os.path.join(self.folder, pattern), **kwargs)

  def generate(self, settings=None, spec=SPEC, span=1, **kwargs):
    self.num_outputs += 1
    self.output = self.folder / f"output-{self.num_outputs}"
    return generate.generate_examples(settings or self.settings(), spec, span, str(self.output), **kwargs)

  def contents(self):
    """What the last call wrote, shard by shard and with the vocabularies."""
    paths = sorted((self.output / "Split-train").iterdir()) + [self.output / "vocabularies.json"]
    return {path.name: path.read_bytes() for path in paths}

  def examples(self, spec=SPEC):
    """The last call's examples in order: ids, labels, example ids, times."""
    paths = example_shards(str(self.output / "Split-train"))
    ids, labels, example_ids = [], [], []
    for batch in example_dataset(paths, spec, 64).as_numpy_iterator():
      for target, part in zip((ids, labels, example_ids), batch, strict=True):
        target += part.tolist()
    times = [tf.train.Example.FromString(record).features.feature["time"].int64_list.value[0]
             for path in paths for record in tf.data.TFRecordDataset(path, "GZIP").as_numpy_iterator()]
    return ids, labels, example_ids, times

  def vocabularies(self):
    return json.loads((self.output / "vocabularies.json").read_text())["vocabularies"]

  def quarantined(self):
    return [json.loads(line) for line in (self.output / "quarantine.jsonl").read_text().splitlines()]


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch):
  """Small logs have several ranges too."""
  monkeypatch.setattr(ranges, "LEAST_ROWS_PER_RANGE", 1)


@pytest.fixture
def log(tmp_path):
  return Log(tmp_path)


@pytest.fixture
def rows():
  return [dict(row) for row in ROWS]


@pytest.fixture
def spec():
  return SPEC
