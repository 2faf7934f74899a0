"""The TFRecord format of slots, and what is checked before they are written."""

from __future__ import annotations

import dataclasses
import gzip
import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diet_tf.errors import DataError, DietError, FormatError, NumericsError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory import slot_records
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


def raw_records(path: str) -> list[bytes]:
  return [record.numpy() for record in tf.data.TFRecordDataset(path, compression_type="GZIP")]


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


def slot(**changes: list[int] | list[float]) -> bytes:
  """A sound slot of `SPEC`, as `tf.train.Example`, with some of its features changed."""
  features: dict[str, list[int] | list[float]] = {
      "user/ids": [3, 7], "user/weights": [0.25, 0.75], "hour/ids": [2], "hour/weights": [1.0], "item/ids": [1],
      "item/weights": [1.0], "label": [0.5], "sample_weight": [1.0], "influence": [0.0], "slot_id": [5],
      "born_span": [0], "updated_span": [0]}
  features.update({name.replace("_of_", "/"): values for name, values in changes.items()})
  example = tf.train.Example()
  for name, values in features.items():
    kind = "int64_list" if isinstance(values[0], int) else "float_list"
    getattr(example.features.feature[name], kind).value.extend(values)
  return example.SerializeToString(deterministic=True)


def read_records(folder: pathlib.Path, *records: bytes, max_ids: int = 4) -> Slots:
  with tf.io.TFRecordWriter(str(folder / "x.gz"), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
    for record in records:
      writer.write(record)
  return read_slots(str(folder), ["x.gz"], SPEC, max_ids)


class TestSlotsOfOtherWriters:

  def test_sound_slot_is_read(self, tmp_path: pathlib.Path) -> None:
    read = read_records(tmp_path, slot())
    assert read.ids[0, 0].tolist() == [3, 7, 0, 0] and read.labels.tolist() == [0.5]

  @pytest.mark.parametrize(("changes", "message"), [
      ({"label": [1.5]}, r"slots.labels: labels lie in \[0, 1\]"), ({"label": [-0.25]}, r"labels lie in \[0, 1\]"),
      ({"label": [math.nan]}, "slots.labels.*NaN"), ({"sample_weight": [-1.0]}, "sample weights are positive"),
      ({"sample_weight": [math.inf]}, "slots.sample_weights.*infinity"), ({"influence": [math.nan]}, "influences"),
      ({"user_of_weights": [-0.5, 1.5]}, "not negative"), ({"user_of_weights": [math.nan, 1.0]}, "slots.weights.*NaN"),
      ({"user_of_weights": [math.inf, 1.0]}, "infinity"), ({"user_of_weights": [0.0, 0.0]}, "sum to 1"),
      ({"user_of_ids": [3, 2**33 + 5]}, r"ids of field 'user' lie in \[0, 1000\).*8589934597"),
      ({"user_of_ids": [-1, 3]}, "ids from -1"), ({"user_of_ids": [3]}, "as many weights")])
  def test_unsound_slot_is_refused_as_it_is_read(self, tmp_path: pathlib.Path, changes: dict[str, list[float]],
                                                 message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
      read_records(tmp_path, slot(slot_id=[4]), slot(**changes))
    assert str(tmp_path) in caught.value.subject

  def test_repeated_slot_id_is_refused(self, tmp_path: pathlib.Path) -> None:
    with pytest.raises(FormatError, match="slot ids are unique"):
      read_records(tmp_path, slot(), slot())


class TestBoundsOfReading:

  def test_record_is_refused_by_its_header(self, tmp_path: pathlib.Path) -> None:
    # Eight GiB by its own words, of which the file holds a thousandth: TensorFlow would make room for all of it.
    with gzip.open(tmp_path / "x.gz", "wb") as stream:
      stream.write((8 << 30).to_bytes(8, "little") + bytes(4) + bytes(8 << 20))
    with pytest.raises(FormatError, match="a record of 8,589,934,592 bytes, where each has from"):
      read_slots(str(tmp_path), ["x.gz"], SPEC, 4)

  def test_file_unpacks_to_no_more_than_a_multiple_of_its_bytes(self, tmp_path: pathlib.Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_records, "_FREE_RAW_BYTES", 0)
    records = [slot(slot_id=[n]) for n in range(3000)]
    with pytest.raises(FormatError, match="bytes uncompressed"):
      read_records(tmp_path, *[slot()] * 3000)
    monkeypatch.setattr(slot_records, "RAW_BYTES_PER_STORED", 200)
    assert len(read_records(tmp_path, *records)) == 3000

  def test_slots_take_no_more_memory_than_a_multiple_of_their_bytes(self, tmp_path: pathlib.Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_records, "FREE_ARRAY_BYTES", 0)
    assert len(read_records(tmp_path, slot(), max_ids=4)) == 1
    # One slot of 3 fields with 4,096 ids each takes 3 * 4096 * 8 = 98,304 bytes.
    with pytest.raises(FormatError, match="1 slots of 3 fields with up to 4,096 ids.*98,304 bytes.*ids_per_slot"):
      read_records(tmp_path, slot(), max_ids=4096)

  def test_what_would_not_be_read_is_not_left(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_records, "FREE_ARRAY_BYTES", 0)
    assert write_slots(str(tmp_path / "sound"), make_slots(5), SPEC)
    with pytest.raises(FormatError, match="up to 4,096 ids.*smaller ids_per_slot"):
      write_slots(str(tmp_path / "wide"), make_slots(5), SPEC, max_ids=4096)
    assert list((tmp_path / "wide").iterdir()) == []

  def test_many_batches_are_read_in_order(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_records, "_SLOTS_PER_PARSING", 2)
    assert read_records(tmp_path, *(slot(slot_id=[n]) for n in (9, 3, 5, 1, 7))).slot_ids.tolist() == [9, 3, 5, 1, 7]


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
