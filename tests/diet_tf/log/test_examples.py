"""The TFRecord format of examples, and which of them are held back."""

from __future__ import annotations

import dataclasses
import gzip
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError, DataError, FormatError, StoreError
from diet_tf.log.examples import example_dataset, example_shards, is_held_back, read_examples, write_example_shard
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory.slot_records import read_slots
from tests.diet_tf import small_sets

SPEC = FeatureSpec(fields=(Field("user", "user_id", hash_ids=1000), Field("hour", "hour", boundaries=(6.0, 12.0)),
                           Field("item", "item_id", hash_ids=300, ids_per_slot=2)), label=Label("click"))


def make_examples(num_rows: int, seed: int = 0) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(seed)
  return {"ids": rng.integers(0, SPEC.num_ids, [num_rows, 3]).astype(np.int32),
          "labels": rng.integers(0, 2, num_rows).astype(np.float32),
          "example_ids": rng.integers(-2**63, 2**63 - 1, num_rows), "times": np.arange(num_rows) + 1_600_000_000_000}


def raw_records(path: str) -> list[bytes]:
  return [record.numpy() for record in tf.data.TFRecordDataset(path, compression_type="GZIP")]


class TestExamples:

  def test_bytes_are_those_of_a_deterministic_serialisation(self, tmp_path: pathlib.Path) -> None:
    path, examples = str(tmp_path / "part-00000.tfrecord.gz"), make_examples(7)
    write_example_shard(path, **examples, spec=SPEC)
    for row, record in enumerate(raw_records(path)):
      example = tf.train.Example()
      for f, name in enumerate(SPEC.names):
        example.features.feature[name].int64_list.value.append(examples["ids"][row, f])
      example.features.feature["label"].float_list.value.append(examples["labels"][row])
      example.features.feature["example_id"].int64_list.value.append(examples["example_ids"][row])
      example.features.feature["time"].int64_list.value.append(examples["times"][row])
      assert record == example.SerializeToString(deterministic=True)

  def test_round_trip_in_shard_name_and_row_order(self, tmp_path: pathlib.Path) -> None:
    first, second = make_examples(5, seed=1), make_examples(4, seed=2)
    write_example_shard(str(tmp_path / "part-00001-of-00002.gz"), **second, spec=SPEC)
    write_example_shard(str(tmp_path / "part-00000-of-00002.gz"), **first, spec=SPEC)
    (tmp_path / "_SUCCESS").write_bytes(b"")
    shards = example_shards(str(tmp_path))
    batches = list(example_dataset(shards[::-1], SPEC, 4))
    assert [len(batch[1]) for batch in batches] == [4, 4, 1]
    for position, name in enumerate(["ids", "labels", "example_ids"]):
      np.testing.assert_array_equal(np.concatenate([batch[position] for batch in batches]),
                                    np.concatenate([first[name], second[name]]))
    assert batches[0][0].dtype == tf.int32 and batches[0][1].dtype == tf.float32 and batches[0][2].dtype == tf.int64
    assert len(list(example_dataset(shards, SPEC, 4, drop_remainder=True))) == 2

  def test_shard_info_counts_what_is_in_the_file(self, tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "part.tfrecord.gz")
    info = write_example_shard(path, **make_examples(9), spec=SPEC)
    content = pathlib.Path(path).read_bytes()
    assert (info.name, info.num_bytes, info.num_records) == ("part.tfrecord.gz", len(content), 9)
    assert info.num_raw_bytes == len(gzip.decompress(content))

  def test_same_arrays_give_same_bytes_at_another_time(self, tmp_path: pathlib.Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.gz", "b.gz")]
    infos = [write_example_shard(path, **make_examples(50), spec=SPEC) for path in paths]
    assert infos[0].sha256 == infos[1].sha256
    assert pathlib.Path(paths[0]).read_bytes()[4:8] == b"\0\0\0\0", "the GZIP header carries no time"

  def test_cut_between_two_records_is_found(self, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "part.tfrecord.gz"
    write_example_shard(str(path), **make_examples(3000), spec=SPEC)
    assert sum(len(labels) for _, labels, _ in read_examples([str(path)], SPEC, 64)) == 3000
    content = path.read_bytes()
    # Of so little of the file TensorFlow makes an empty data set.
    path.write_bytes(content[:30])
    assert list(example_dataset([str(path)], SPEC, 64)) == []
    with pytest.raises(FormatError, match="cut off"):
      list(read_examples([str(path)], SPEC, 64))

  @pytest.mark.parametrize("record", [b"\x80", b"", b"not an example"])
  def test_record_that_is_no_example_is_refused(self, tmp_path: pathlib.Path, record: bytes) -> None:
    path = str(tmp_path / "part.tfrecord.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
      writer.write(record)
    with pytest.raises(FormatError, match="part.tfrecord.gz"):
      list(read_examples([path], SPEC, 4))
    with pytest.raises(FormatError, match="part.tfrecord.gz"):
      read_slots(str(tmp_path), ["part.tfrecord.gz"], SPEC, 4)

  def test_no_examples_give_an_empty_dataset(self, tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "part.tfrecord.gz")
    write_example_shard(path, **make_examples(0), spec=SPEC)
    assert list(example_dataset([path], SPEC, 4)) == []

  def test_folder_without_shards_is_refused(self, tmp_path: pathlib.Path) -> None:
    with pytest.raises(DataError, match="holds TFRecord files"):
      example_shards(str(tmp_path))

  def test_field_with_the_name_of_an_example_key_is_refused(self, tmp_path: pathlib.Path) -> None:
    spec = FeatureSpec(fields=(Field("label", "x", hash_ids=4),), label=Label("click"))
    with pytest.raises(ConfigError, match="rename the field"):
      write_example_shard(str(tmp_path / "a.gz"), np.ones([1, 1]), np.ones(1), np.ones(1), np.ones(1), spec)

  def test_missing_feature_is_named(self, tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "part.tfrecord.gz")
    write_example_shard(path, **make_examples(3), spec=SPEC)
    wider = dataclasses.replace(SPEC, fields=(*SPEC.fields, Field("device", "device", hash_ids=8)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="device"):
      list(example_dataset([path], wider, 4))

  def test_id_outside_its_field_is_refused(self, tmp_path: pathlib.Path) -> None:
    path, examples = str(tmp_path / "part.tfrecord.gz"), make_examples(3)
    examples["ids"][1, 1] = 4
    write_example_shard(path, **examples, spec=SPEC)
    with pytest.raises(tf.errors.InvalidArgumentError, match="id space"):
      list(example_dataset([path], SPEC, 4))

  def test_full_disk_names_the_file_and_leaves_nothing(self, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "part.tfrecord.gz"
    # The writer's temporary file becomes the device on which every write fails with "no space left".
    (tmp_path / "part.tfrecord.gz.partial").symlink_to("/dev/full")
    with pytest.raises(StoreError, match="room.*free space"):
      write_example_shard(str(path), **make_examples(100), spec=SPEC)
    assert list(tmp_path.iterdir()) == []


class TestHoldback:

  def test_is_one_function_in_numpy_and_tensorflow(self) -> None:
    example_ids = np.concatenate([np.arange(-500, 500), np.random.default_rng(0).integers(-2**63, 2**63 - 1, 1000)])
    held = is_held_back(example_ids, 0.3)
    np.testing.assert_array_equal(is_held_back(tf.constant(example_ids), 0.3), held)
    assert held.dtype == bool

  def test_value_of_the_mixing_function(self) -> None:
    # SplitMix64 started at state 0 returns 0xe220a8397b1dcdaf: the finaliser's value at the golden-ratio increment.
    increment = np.array([0x9E3779B97F4A7C15], np.uint64).view(np.int64)
    top = 0xE220A8397B1DCDAF >> 44
    assert not is_held_back(increment, top / 2**20)[0]
    assert is_held_back(increment, (top + 1) / 2**20)[0]

  def test_share_is_the_fraction_even_for_consecutive_ids(self) -> None:
    share = is_held_back(np.arange(100_000), 0.1).mean()
    assert share == pytest.approx(0.1, abs=4 * np.sqrt(0.1 * 0.9 / 100_000))
    assert not is_held_back(np.arange(100), 0.0).any()
    assert is_held_back(np.arange(100), 1.0).all()

  def test_only_and_without_split_the_span_in_order(self, tmp_path: pathlib.Path) -> None:
    path, examples = str(tmp_path / "part.tfrecord.gz"), make_examples(200)
    write_example_shard(path, **examples, spec=SPEC)
    held = is_held_back(examples["example_ids"], 0.25)
    for holdback, keep in (("only", held), ("without", ~held)):
      batches = list(example_dataset([path], SPEC, 32, holdback=holdback, holdback_fraction=0.25))
      np.testing.assert_array_equal(np.concatenate([batch[0] for batch in batches]), examples["ids"][keep])
      assert [len(batch[1]) for batch in batches[:-1]] == [32] * (len(batches) - 1)

  def test_unknown_holdback_is_refused(self) -> None:
    with pytest.raises(ConfigError, match="holdback"):
      example_dataset([], SPEC, 4, holdback="both")


class TestSetsOfValues:

  def test_features_hold_what_a_row_has_and_no_padding(self, tmp_path: pathlib.Path) -> None:
    rows = np.concatenate([small_sets.row(5, [2, 4], {1: 0.25, 3: 0.75}, 2), small_sets.row(0, [0], {0: 1.0}, 3)])
    path = str(tmp_path / "part-00000.gz")
    write_example_shard(path, rows, np.array([1, 0]), np.array([7, 8]), np.array([1, 2]), small_sets.SPEC)
    found = [{key: list(getattr(feature, feature.WhichOneof("kind")).value) for key, feature in
              tf.train.Example.FromString(record).features.feature.items()} for record in raw_records(path)]
    assert found == [
        {"user": [5], "genres": [2, 4], "tags": [1, 3], "tags/weights": [0.25, 0.75], "hour": [2], "label": [1.0],
         "example_id": [7], "time": [1]},
        {"user": [0], "genres": [0], "tags": [0], "tags/weights": [1.0], "hour": [3], "label": [0.0],
         "example_id": [8], "time": [2]}]

  def test_rows_are_read_as_they_were_written_in_whatever_batches(self, tmp_path: pathlib.Path) -> None:
    rows, labels, example_ids = small_sets.draw(50)
    path = str(tmp_path / "part-00000.gz")
    write_example_shard(path, rows, labels, example_ids, np.arange(50), small_sets.SPEC)
    for batch_size in (1, 7, 50):
      found = [np.concatenate(parts) for parts in zip(*read_examples([path], small_sets.SPEC, batch_size))]
      for ours, theirs in zip(found, (rows, labels, example_ids), strict=True):
        np.testing.assert_array_equal(ours, theirs)

  @pytest.mark.parametrize("change, message", [
      ({"genres": [1, 2, 3, 4]}, "has more values than its max_values"),
      ({"genres": []}, "outside its field"), ({"genres": [1, 9]}, "outside its field"),
      ({"tags/weights": [0.5]}, "as many weights as values"),
      ({"tags/weights": [0.25, 0.5, 0.25]}, "as many weights as values"),
  ])
  def test_what_does_not_fit_the_spec_is_refused(self, tmp_path: pathlib.Path, change: dict[str, list[float]],
                                                 message: str) -> None:
    values = {"user": [5], "genres": [2, 4], "tags": [1, 3], "tags/weights": [0.25, 0.75], "hour": [2], "label": [1.0],
              "example_id": [7], **change}
    example = tf.train.Example()
    for key, entries in values.items():
      kind = "float_list" if key in ("tags/weights", "label") else "int64_list"
      getattr(example.features.feature[key], kind).value.extend(entries)
    path = str(tmp_path / "part-00000.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
      writer.write(example.SerializeToString())
    with pytest.raises(FormatError, match=message):
      list(read_examples([path], small_sets.SPEC, 4))
