"""TFRecord formats of examples and slots."""

from __future__ import annotations

import dataclasses
import gzip
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diet_tf.errors import ConfigError, DataError, DietError, FormatError, NumericsError, StoreError
from diet_tf.log.examples import example_dataset, example_shards, is_held_back, read_examples, write_example_shard
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory.slot_records import check_slots, packed_left, read_slots, write_slots
from diet_tf.memory.slots import Slots
from tests.diet_tf.small_slots import small_slots

SPEC = FeatureSpec(fields=(Field("user", "user_id", hash_ids=1000), Field("hour", "hour", boundaries=(6.0, 12.0)),
                           Field("item", "item_id", hash_ids=300, ids_per_slot=2)), label=Label("click"))


def make_slots(num_slots: int = 5, max_ids: int = 4, seed: int = 0, spec: FeatureSpec = SPEC) -> Slots:
  rng = np.random.default_rng(seed)
  counts = rng.integers(1, 1 + np.asarray(spec.ids_per_slot(max_ids)), [num_slots, len(spec.fields)])
  weights = rng.uniform(0.1, 1, [num_slots, len(spec.fields), max_ids]) * (np.arange(max_ids) < counts[..., None])
  ids = rng.integers(0, np.asarray(spec.num_ids)[:, None], weights.shape) * (weights > 0)
  return small_slots(ids, weights / weights.sum(axis=2, keepdims=True), labels=rng.uniform(size=num_slots),
                     sample_weights=rng.uniform(0.5, 1.5, num_slots), slot_ids=rng.permutation(num_slots) + 10,
                     born_spans=3, updated_spans=4, influences=rng.normal(size=num_slots), spec=spec)


def assert_equal_slots(actual: Slots, expected: Slots) -> None:
  for name in Slots.DTYPES:
    np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), err_msg=name)


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


class TestSlots:

  def test_parse_example_alone_reads_them(self, tmp_path: pathlib.Path) -> None:
    slots = make_slots(6)
    shards = write_slots(str(tmp_path), slots, SPEC, num_shards=1)
    parsed = tf.io.parse_example(raw_records(str(tmp_path / shards[0].name)), {
        "item/ids": tf.io.VarLenFeature(tf.int64), "item/weights": tf.io.VarLenFeature(tf.float32),
        "label": tf.io.FixedLenFeature([], tf.float32), "slot_id": tf.io.FixedLenFeature([], tf.int64)})
    np.testing.assert_array_equal(tf.sparse.to_dense(parsed["item/ids"]), slots.ids[:, 2, :2])
    np.testing.assert_array_equal(tf.sparse.to_dense(parsed["item/weights"]), slots.weights[:, 2, :2])
    np.testing.assert_array_equal(parsed["label"], slots.labels)
    np.testing.assert_array_equal(parsed["slot_id"], slots.slot_ids)

  def test_bytes_are_those_of_a_deterministic_serialisation(self, tmp_path: pathlib.Path) -> None:
    shards = write_slots(str(tmp_path), make_slots(6), SPEC)
    for record in raw_records(str(tmp_path / shards[0].name)):
      assert tf.train.Example.FromString(record).SerializeToString(deterministic=True) == record

  @pytest.mark.parametrize("num_shards", [1, 2, 5, 9])
  def test_round_trip_over_shards(self, tmp_path: pathlib.Path, num_shards: int) -> None:
    slots = make_slots(5)
    shards = write_slots(str(tmp_path), slots, SPEC, num_shards=num_shards)
    assert len(shards) == min(num_shards, 5) and sum(shard.num_records for shard in shards) == 5
    assert_equal_slots(read_slots(str(tmp_path), [shard.name for shard in shards], SPEC, 4), slots)

  def test_ids_are_packed_left_and_padding_is_zeroed(self, tmp_path: pathlib.Path) -> None:
    spec = FeatureSpec(fields=(Field("user", "user", hash_ids=10),), label=Label("click"))
    slots = dataclasses.replace(make_slots(1, 3, spec=spec), ids=np.array([[[7, 0, 5]]]),
                                weights=np.array([[[0.0, 0.25, 0.75]]]))
    shards = write_slots(str(tmp_path), slots, spec)
    read = read_slots(str(tmp_path), [shards[0].name], spec, {"user": 3})
    np.testing.assert_array_equal(read.ids, [[[0, 5, 0]]])
    np.testing.assert_array_equal(read.weights, np.float32([[[0.25, 0.75, 0]]]))

  def test_no_slots_round_trip(self, tmp_path: pathlib.Path) -> None:
    shards = write_slots(str(tmp_path), make_slots(5).take(np.zeros(0, int)), SPEC)
    read = read_slots(str(tmp_path), [shard.name for shard in shards], SPEC, 4)
    assert read.ids.shape == (0, 3, 4)
    assert read_slots(str(tmp_path), [], SPEC, 4).ids.shape == (0, 3, 4)

  @settings(max_examples=40, deadline=None)
  @given(st.data())
  def test_codec_keeps_every_value(self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    num_slots, max_ids = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    shape = (num_slots, 3, max_ids)
    shares = data.draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0, 0, 0.125, 1, 3])))
    shares[..., 0] += shares.sum(axis=2) == 0
    ids = np.stack([data.draw(hnp.arrays(np.int32, (num_slots, max_ids), elements=st.integers(0, size - 1)))
                    for size in SPEC.num_ids], axis=1)
    integers = hnp.arrays(np.int64, num_slots, elements=st.integers(-2**63, 2**63 - 1))
    slots = packed_left(small_slots(
        ids, shares / shares.sum(axis=2, keepdims=True), spec=SPEC,
        labels=data.draw(hnp.arrays(np.float32, num_slots, elements=st.floats(0, 1, width=32))),
        sample_weights=data.draw(hnp.arrays(np.float32, num_slots, elements=st.floats(2.0**-100, 100, width=32))),
        slot_ids=data.draw(hnp.arrays(np.int64, num_slots, elements=st.integers(-2**63, 2**63 - 1), unique=True)),
        born_spans=data.draw(integers), updated_spans=data.draw(integers),
        influences=data.draw(hnp.arrays(np.float32, num_slots, elements=st.floats(-2.0**100, 2.0**100, width=32)))))
    folder = str(tmp_path_factory.mktemp("codec"))
    shards = write_slots(folder, slots, SPEC, num_shards=data.draw(st.integers(1, 3)))
    read = read_slots(folder, [shard.name for shard in shards], SPEC, max_ids)
    assert_equal_slots(read, slots)
    np.testing.assert_array_equal(np.signbit(read.influences), np.signbit(slots.influences))

  def test_damaged_shard_is_named(self, tmp_path: pathlib.Path) -> None:
    shards = write_slots(str(tmp_path), make_slots(5), SPEC)
    path = tmp_path / shards[0].name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FormatError, match="slots-00000"):
      read_slots(str(tmp_path), [shards[0].name], SPEC, 4)

  def test_slot_with_more_ids_than_declared_is_refused(self, tmp_path: pathlib.Path) -> None:
    shards = write_slots(str(tmp_path), make_slots(5), SPEC)
    with pytest.raises(FormatError, match="1 to 1 ids"):
      read_slots(str(tmp_path), [shards[0].name], SPEC, 1)

  def test_id_outside_its_field_is_refused(self, tmp_path: pathlib.Path) -> None:
    shards = write_slots(str(tmp_path), make_slots(50), SPEC)
    smaller = dataclasses.replace(SPEC, fields=(Field("user", "user_id", hash_ids=20), *SPEC.fields[1:]))
    with pytest.raises(FormatError, match=r"ids of field 'user' lie in \[0, 20\)"):
      read_slots(str(tmp_path), [shards[0].name], smaller, 4)

  def test_shard_of_another_spec_is_refused(self, tmp_path: pathlib.Path) -> None:
    shards = write_slots(str(tmp_path), make_slots(5), SPEC)
    spec = FeatureSpec(fields=(Field("other", "other", hash_ids=10),), label=Label("click"))
    with pytest.raises(FormatError, match="'other'.*in 0 of 5 slots"):
      read_slots(str(tmp_path), [shards[0].name], spec, 4)


class TestCheckSlots:

  def test_sound_slots_pass(self) -> None:
    check_slots(make_slots(20), SPEC)

  @pytest.mark.parametrize(("name", "change", "kind", "message"), [
      ("ids", lambda array: array.__setitem__((1, 1, 0), 4), DataError, r"field 'hour'.*\[0, 4\)"),
      ("ids", lambda array: array.__setitem__((1, 0, 0), -1), DataError, "field 'user'"),
      ("weights", lambda array: array.__imul__(0.9), DataError, "sum to 1"),
      ("weights", lambda array: array.__setitem__((0, 0), [2, -1, 0, 0]), DataError, "not negative"),
      ("labels", lambda array: array.__setitem__(2, 1.5), DataError, r"\[0, 1\].*slots 12"),
      ("sample_weights", lambda array: array.__setitem__(2, 0), DataError, "positive"),
      ("slot_ids", lambda array: array.__setitem__(2, array[0]), DataError, "unique"),
      ("weights", lambda array: array.__setitem__((2, 0, 0), np.nan), NumericsError, r"slots\.weights.*: 12\."),
      ("labels", lambda array: array.__setitem__(2, np.nan), NumericsError, r"slots\.labels.*: 12\."),
      ("sample_weights", lambda array: array.__setitem__(2, np.inf), NumericsError, r"slots\.sample_weights.*: 12\."),
      ("influences", lambda array: array.fill(np.nan), NumericsError, r"5 of 5 slots: 10, 11, 12, 13, 14\."),
  ])
  def test_unsound_slots_are_refused_before_anything_is_written(
      self, tmp_path: pathlib.Path, name: str, change: object, kind: type[DietError], message: str) -> None:
    slots = dataclasses.replace(make_slots(5), slot_ids=np.arange(10, 15))
    array = getattr(slots, name).copy()
    change(array)
    with pytest.raises(kind, match=message):
      write_slots(str(tmp_path), slots.replace(**{name: array}), SPEC)
    assert list(tmp_path.iterdir()) == []

  def test_other_number_of_fields_is_refused(self) -> None:
    spec = FeatureSpec(fields=SPEC.fields[:2], label=SPEC.label)
    with pytest.raises(DataError, match="2 fields"):
      check_slots(make_slots(5), spec)
