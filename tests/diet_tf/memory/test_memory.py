"""Memory, recipe and manifest: saved, loaded, and trained on."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError, DataError, FormatError, NumericsError, StoreError
from diet_tf.io import files
from diet_tf.io.documents import canonical_digest
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.salt import Salt
from diet_tf.memory import manifest
from diet_tf.memory.manifest import read_manifest
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slot_records import packed_left
from diet_tf.memory.slots import Slots
from diet_tf.store.memories import load_memory
from tests.diet_tf.small_slots import small_slots

SPEC = FeatureSpec(fields=(Field("user", "user_id", hash_ids=50), Field("hour", "hour", boundaries=(6.0, 12.0))),
                   label=Label("click"))


def make_slots(num_slots: int = 10) -> Slots:
  """Slot s has user ids 3s+1 and 3s+2 with weights 1/4 and 3/4, and hour s mod 4."""
  ids, weights = np.zeros([num_slots, 2, 3]), np.zeros([num_slots, 2, 3])
  number = np.arange(num_slots)
  ids[:, 0, 0], ids[:, 0, 1], ids[:, 1, 0] = (3 * number + 1) % 50, (3 * number + 2) % 50, number % 4
  weights[:, 0, 0], weights[:, 0, 1], weights[:, 1, 0] = 0.25, 0.75, 1
  return small_slots(ids, weights, labels=(number % 5) / 4, sample_weights=0.5 + number % 2, born_spans=1,
                     updated_spans=2, influences=number * 0.5, spec=SPEC)


def make_memory(num_slots: int = 10, **changes: Any) -> Memory:
  arguments = {"span": 3, "num_examples_seen": 1000, "budget": {"fraction": 0.01},
               "lineage": [{"span": 2, "digest": "ab" * 32}], "settings_digest": "cd" * 32}
  recipe = Recipe(batch_size=4, epochs=2)
  return Memory.create(make_slots(num_slots), SPEC, recipe, **{**arguments, **changes})


@pytest.fixture(params=["made", "read back"])
def kept(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Callable[[Memory], Memory]:
  """Gives a memory as it was made, or as it is read after it was saved: what holds of one holds of the other."""
  if request.param == "made":
    return lambda memory: memory

  def read_back(memory: Memory) -> Memory:
    save_memory(str(tmp_path / "memory"), memory, num_shards=2)
    return load_memory(str(tmp_path / "memory"), spec=memory.spec)

  return read_back


class LinearModel(tf.keras.Model):
  """Logits [B] from one weight per user id and no other input, for modes weighted and sampled."""

  from_logits = True

  def __init__(self) -> None:
    super().__init__()
    self.table = self.add_weight(name="linear", shape=[50], initializer="zeros")

  def call(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
    rows = tf.gather(self.table, features["user"])
    return rows if "user/weights" not in features else tf.reduce_sum(rows * features["user/weights"], axis=1)


class TestTraining:

  def test_compile_asks_how_to_read_the_output(self, kept: Callable[[Memory], Memory]) -> None:
    pytest.importorskip("diet_tf.models.optimizers")
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, activation="sigmoid")])
    original = kept(make_memory())
    with pytest.raises(ConfigError, match="from_logits"):
      original.compile(model)
    assert not original.compile(model, from_logits=False).loss.from_logits

  def test_fit_weighs_slots_by_their_sample_weights(self, kept: Callable[[Memory], Memory]) -> None:
    # One step of gradient descent with rate 1 from logits 0: user u moves by the mean over the batch of
    # sample_weight * (label - 1/2) * id weight; Keras's own loss would use one weight for the whole batch.
    original, model = dataclasses.replace(kept(make_memory(4)), recipe=Recipe(batch_size=4, epochs=1)), LinearModel()
    original.compile(model, optimizer=tf.keras.optimizers.SGD(1.0))
    original.fit(model, verbose=0)
    expected = np.zeros(50)
    slots = original.slots
    for s in range(4):
      for k in range(2):
        expected[slots.ids[s, 0, k]] += slots.sample_weights[s] * (slots.labels[s] - 0.5) * slots.weights[s, 0, k] / 4
    np.testing.assert_allclose(model.table, expected, atol=1e-6)

  def test_fit_leaves_models_of_their_own_kind_alone(self) -> None:
    original = make_memory(8)

    class MeanAndVariance(LinearModel):
      """Two outputs a slot, for a loss of its own."""

      def call(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.stack([super().call(features), tf.ones(tf.shape(features["user"])[0])], axis=1)

    model = MeanAndVariance()
    original.compile(model, loss=lambda labels, outputs: (outputs[:, 0] - labels)**2 / outputs[:, 1], metrics=[])
    assert len(original.fit(model, verbose=0).history["loss"]) == original.recipe.epochs

    class OwnStep(LinearModel):
      """Trains as it likes, which fails."""

      def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        raise ValueError("its own fault")

    with pytest.raises(ValueError, match="its own fault"):
      original.fit(OwnStep(), verbose=0)

  @pytest.mark.parametrize(("mode", "remedy"), [("weighted", "BagModel"), ("sampled", "leave the mode out")])
  def test_fit_says_which_mode_a_model_takes(self, mode: str, remedy: str) -> None:
    original = make_memory(8)

    class OfOtherMode(LinearModel):
      """Takes single ids, or bags, and fails on the others."""

      def call(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        rank = 1 if mode == "weighted" else 2
        return tf.ensure_shape(super().call({"user": tf.ensure_shape(features["user"], [None] * rank), **{
            name: value for name, value in features.items() if name != "user"}}), [None])

    with pytest.raises(ConfigError, match=f"features of mode '{mode}'.*{remedy}"):
      original.fit(OfOtherMode(), mode, verbose=0)

  def test_fit_raises_what_is_wrong_with_a_model_itself(self) -> None:
    original = make_memory(8)

    class Wrong(LinearModel):
      """Takes a field that there is not."""

      def call(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        return super().call({"user": features["item"]})

    for mode in ("weighted", "sampled"):
      with pytest.raises(RuntimeError, match="KeyError: 'item'"):
        original.fit(Wrong(), mode, verbose=0)

  @pytest.mark.parametrize("mode", ["weighted", "sampled"])
  def test_fit_takes_the_recipe_s_steps_in_both_modes(self, kept: Callable[[Memory], Memory], mode: str) -> None:
    pytest.importorskip("diet_tf.models.optimizers")
    original, model = kept(make_memory(10)), LinearModel()
    history = original.fit(model, mode, verbose=0)
    assert int(model.optimizer.iterations) == 2 * 3
    assert set(history.history) >= {"loss", "auc"} and len(history.history["loss"]) == 2


class TestSaveAndLoad:

  def test_round_trip(self, tmp_path: pathlib.Path) -> None:
    original = make_memory()
    saved = save_memory(str(tmp_path), original, num_shards=3)
    loaded = load_memory(str(tmp_path))
    for name in Slots.DTYPES:
      np.testing.assert_array_equal(getattr(loaded.slots, name), getattr(original.slots, name))
    assert loaded.spec == SPEC and loaded.recipe == original.recipe and len(loaded.manifest.shards) == 3
    assert loaded.manifest.to_dict() == saved.manifest.to_dict()
    assert loaded.digest == saved.digest
    assert loaded.manifest.max_ids == {"user": 3, "hour": 3}
    assert loaded.manifest.lineage == ({"span": 2, "digest": "ab" * 32},)

  def test_same_memory_gives_same_bytes(self, tmp_path: pathlib.Path) -> None:
    for name in "ab":
      save_memory(str(tmp_path / name), make_memory(), num_shards=2)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["manifest.json", "slots-00000-of-00002.tfrecord.gz", "slots-00001-of-00002.tfrecord.gz"]
    for name in names:
      assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

  def test_tensorflow_and_the_manifest_alone_read_it(self, tmp_path: pathlib.Path) -> None:
    original = make_memory()
    save_memory(str(tmp_path), original, num_shards=2)
    # From here on nothing of ours: this is the README's promise.
    content = json.loads((tmp_path / "manifest.json").read_text())
    features = {"label": tf.io.FixedLenFeature([], tf.float32), "sample_weight": tf.io.FixedLenFeature([], tf.float32)}
    for field in content["feature_spec"]["fields"]:
      width = content["max_ids"][field["name"]]
      features[field["name"] + "/ids"] = tf.io.RaggedFeature(tf.int64)
      features[field["name"] + "/weights"] = tf.io.RaggedFeature(tf.float32)
    paths = [str(tmp_path / shard["name"]) for shard in content["shards"]]
    dataset = tf.data.TFRecordDataset(paths, compression_type="GZIP").batch(content["num_slots"])
    parsed = tf.io.parse_example(next(iter(dataset)), features)
    slots = original.slots
    for f, field in enumerate(content["feature_spec"]["fields"]):
      width = content["max_ids"][field["name"]]
      np.testing.assert_array_equal(parsed[field["name"] + "/ids"].to_tensor(shape=[None, width]), slots.ids[:, f])
      np.testing.assert_array_equal(parsed[field["name"] + "/weights"].to_tensor(shape=[None, width]),
                                    slots.weights[:, f])
    np.testing.assert_array_equal(parsed["label"], slots.labels)
    np.testing.assert_array_equal(parsed["sample_weight"], slots.sample_weights)

  def test_manifest_reads_without_tensorflow(self, tmp_path: pathlib.Path) -> None:
    save_memory(str(tmp_path), make_memory())
    code = ("import sys; from diet_tf.memory.manifest import read_manifest; "
            "from diet_tf.store.store import memory_folder; "
            f"print(read_manifest(memory_folder({str(tmp_path)!r})).num_slots); "
            "assert not {'tensorflow', 'numpy'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "10\n"

  def test_a_memory_without_privacy_is_written_as_before_it(self, tmp_path: pathlib.Path) -> None:
    save_memory(str(tmp_path), make_memory())
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["format_version"] == 1 and "users_per_id" not in content and "salt" not in content["feature_spec"]
    claim = load_memory(str(tmp_path)).manifest.claim()
    assert (claim.user_field, claim.min_users, claim.salted_fields) == (None, 1, ())

  def test_what_holds_of_users_and_ids_is_read_as_it_was_written(self, tmp_path: pathlib.Path) -> None:
    users = [{"born_span": 1, "user_field": "user", "min_users": 5}]
    salted = SPEC.with_salt(Salt("SALT", "0123456789abcdef"))
    memory = Memory.create(make_slots(), salted, Recipe(batch_size=4), span=3, num_examples_seen=100, budget={},
                           users_per_id=users)
    saved = save_memory(str(tmp_path), memory)
    loaded = load_memory(str(tmp_path), spec=SPEC.with_salt(Salt("OTHER_NAME")))
    assert loaded.digest == saved.digest and loaded.manifest.format_version == 2
    assert loaded.spec.salt == Salt("SALT", "0123456789abcdef")
    assert (loaded.manifest.claim().min_users, loaded.manifest.claim().salted_fields) == (5, ("user",))
    with pytest.raises(FormatError, match="check value fedcba9876543210.*0123456789abcdef.*another secret"):
      load_memory(str(tmp_path), spec=SPEC.with_salt(Salt("SALT", "fedcba9876543210")))
    with pytest.raises(FormatError, match="differs in salt"):
      load_memory(str(tmp_path), spec=SPEC)
    other = dataclasses.replace(SPEC, fields=(dataclasses.replace(SPEC.fields[0], hash_ids=99), *SPEC.fields[1:]))
    with pytest.raises(FormatError, match=r"differs in field 'user'\."):
      load_memory(str(tmp_path), spec=other.with_salt(Salt("OTHER_NAME")))

  @pytest.mark.parametrize("entry", [{}, {"born_span": 1, "user_field": "nobody", "min_users": 5},
                                     {"born_span": -1, "user_field": "user", "min_users": 5},
                                     {"born_span": 1, "user_field": "user", "min_users": 0}])
  def test_what_cannot_hold_of_users_is_refused(self, tmp_path: pathlib.Path, entry: dict[str, Any]) -> None:
    save_memory(str(tmp_path), make_memory(users_per_id=[entry]))
    with pytest.raises(FormatError, match="users_per_id names spans, fields and numbers of users"):
      read_manifest(str(tmp_path))

  def test_saving_again_is_a_no_op_and_another_memory_is_refused(self, tmp_path: pathlib.Path) -> None:
    saved = save_memory(str(tmp_path), make_memory())
    assert save_memory(str(tmp_path), saved).digest == saved.digest
    with pytest.raises(StoreError, match="never overwritten"):
      save_memory(str(tmp_path), make_memory(span=4))
    assert load_memory(str(tmp_path)).manifest.span == 3

  def test_works_on_a_file_system_of_tensorflow(self) -> None:
    uri = "ram://memories/one"
    saved = save_memory(uri, make_memory())
    assert load_memory(uri).digest == saved.digest
    assert files.files_below(uri) == ["manifest.json", "slots-00000-of-00001.tfrecord.gz"]

  def test_unsaved_memory_has_no_digest(self) -> None:
    with pytest.raises(StoreError, match="save_memory"):
      _ = make_memory().digest

  def test_empty_memory_round_trips(self, tmp_path: pathlib.Path) -> None:
    save_memory(str(tmp_path), make_memory(0))
    assert len(load_memory(str(tmp_path))) == 0

  def test_nan_is_refused_by_name_and_nothing_is_written(self, tmp_path: pathlib.Path) -> None:
    labels = make_slots().labels.copy()
    labels[[2, 7]] = np.nan
    broken = dataclasses.replace(make_memory(), slots=make_slots().replace(labels=labels))
    with pytest.raises(NumericsError, match=r"slots\.labels.*2 of 10 slots: 2, 7\."):
      save_memory(str(tmp_path), broken)
    assert list(tmp_path.iterdir()) == []

  def test_slots_outside_the_spec_are_refused(self, tmp_path: pathlib.Path) -> None:
    ids = make_slots().ids.copy()
    ids[0, 0, 0] = 50
    with pytest.raises(DataError, match="field 'user'"):
      save_memory(str(tmp_path), dataclasses.replace(make_memory(), slots=make_slots().replace(ids=ids)))

  @pytest.mark.parametrize("failure", [OSError(28, "No space left on device"),
                                       tf.errors.ResourceExhaustedError(None, None, "No space left on device")])
  @pytest.mark.parametrize("place", ["second_shard", "manifest"])
  def test_full_disk_says_so_and_leaves_nothing(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                                failure: Exception, place: str) -> None:
    digest = files.digest

    def fail(path: str, *rest: object) -> tuple[str, int]:
      if place == "manifest" or "00001-of" in path:
        raise failure
      return digest(path)

    monkeypatch.setattr(files, "digest" if place == "second_shard" else "write_atomically", fail)
    with pytest.raises(StoreError, match="room.*free space"):
      save_memory(str(tmp_path), make_memory(), num_shards=2)
    assert list(tmp_path.iterdir()) == []


class TestStrictReading:

  @pytest.fixture
  def folder(self, tmp_path: pathlib.Path) -> pathlib.Path:
    save_memory(str(tmp_path), make_memory(), num_shards=2)
    return tmp_path

  @pytest.mark.parametrize(("change", "message"), [
      (lambda m: m.update(format_name="other.memory"), "format_name is 'diet_tf.memory'.*other.memory"),
      (lambda m: m.update(format_version=6), "up to format version 5.*format version 6.*upgrade"),
      (lambda m: m.update(format_version=2), "missing: .'users_per_id'"),
      (lambda m: m.update(users_per_id=[]), "unknown: .'users_per_id'"),
      (lambda m: m.update(format_version="1"), "format_version is an integer"),
      (lambda m: m.pop("recipe"), "missing: .'recipe'"),
      (lambda m: m.update(extra=1), "unknown: .'extra'"),
      (lambda m: m.update(digest="0" * 64), "digest is the digest of the rest"),
      (lambda m: m.update(num_examples_seen=7), "digest is the digest of the rest"),
      (lambda m: m["recipe"].update(batch_size=0), "batch_size"),
      (lambda m: m["feature_spec"]["fields"][0].update(hash_ids=51), "digest of feature_spec"),
      (lambda m: m["feature_spec"]["fields"][0].update(size=51), "size"),
      (lambda m: m.update(shards=3), "shards: it is a list.*the number 3"),
      (lambda m: m["shards"][0].update(colour="red"), "colour"),
  ])
  def test_edited_manifest_is_refused(self, folder: pathlib.Path, change: Callable[[dict[str, Any]], None],
                                      message: str) -> None:
    self.edit(folder, change, sign=False)
    with pytest.raises(FormatError, match=message) as caught:
      load_memory(str(folder))
    assert caught.value.remedy and "manifest.json" in caught.value.subject

  @pytest.mark.parametrize(("change", "message"), [
      (lambda m: m["shards"][0].update(name="../other/slots.gz"), "own folder"),
      (lambda m: m["shards"][0].update(name="/etc/passwd"), "own folder"),
      (lambda m: m["shards"][0].update(name=".."), "own folder"),
      (lambda m: m["shards"][0].update(name="gs://bucket/slots"), "own folder"),
      (lambda m: m["shards"][0].update(name=7), "own folder"),
      (lambda m: m["shards"][0].update(name=m["shards"][1]["name"]), "distinct"),
      (lambda m: m["shards"][0].update(sha256="xyz"), "SHA-256"),
      (lambda m: m["shards"][0].update(num_records=-1), "at least 0"),
      (lambda m: m.update(num_slots=11), "sum of the shards"),
      (lambda m: m.update(span=-1), "at least 0"),
      (lambda m: m.update(max_ids={"user": 3}), "one entry per field"),
      (lambda m: m["max_ids"].update(user=10**6), r"max_ids of a field lies in \[1, 4,096\].*1000000"),
      (lambda m: m["max_ids"].update(user=0), "max_ids of a field"),
      (lambda m: m["recipe"].update(epochs=10**12), "epochs is an integer from 1 to 10,000"),
      (lambda m: m["recipe"].update(batch_size=2**31), "batch_size is an integer from 1 to 2,147,483,647"),
      (lambda m: m["recipe"].update(epsilon=float("inf")), "epsilon: it is a number.*null"),
      (lambda m: m["recipe"].update(step_multipliers=[1.0] * 1_000_001), "at most 1,000,000 entries"),
      (lambda m: m.update(lineage=[{"span": n, "digest": "0" * 64} for n in range(300_000)]),
       "lineage has at most 100,000 entries.*300,000"),
      (lambda m: m["feature_spec"].update(fields=m["feature_spec"]["fields"] * 5001), "fields has at most 10,000"),
      (lambda m: m.update(num_examples_seen=int("9" * 400)), "a number of 400 digits"),
      (lambda m: m["budget"].update(fraction=int("9" * 400)), "a number of 400 digits"),
      (lambda m: m.update(num_examples_seen=2**63), "in 63 bits"),
      (lambda m: m["feature_spec"]["fields"][0].update(hash_ids=2**33), "from 2 to 2,147,483,647 ids"),
  ])
  def test_manifest_that_contradicts_itself_is_refused(
      self, folder: pathlib.Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    self.edit(folder, change, sign=True)
    with pytest.raises(FormatError, match=message):
      load_memory(str(folder))

  @pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
  def test_manifest_that_is_no_json_object_is_refused(self, folder: pathlib.Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(FormatError, match="JSON"):
      load_memory(str(folder))

  @pytest.mark.parametrize("name", ["manifest.json", "slots-00001-of-00002.tfrecord.gz"])
  @pytest.mark.parametrize("verify", [True, False])
  @pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
  def test_what_never_ends_is_not_read(self, folder: pathlib.Path, name: str, verify: bool,
                                       put: Callable[[pathlib.Path], None]) -> None:
    (folder / name).unlink()
    put(folder / name)
    with pytest.raises(FormatError, match=name):
      load_memory(str(folder), verify=verify)

  def test_flipped_byte_in_a_shard_is_found(self, folder: pathlib.Path) -> None:
    path = folder / "slots-00001-of-00002.tfrecord.gz"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match="slots-00001-of-00002.*digest"):
      load_memory(str(folder))

  def test_missing_shard_is_named(self, folder: pathlib.Path) -> None:
    (folder / "slots-00001-of-00002.tfrecord.gz").unlink()
    with pytest.raises(FormatError, match="slots-00001-of-00002.*no such file"):
      load_memory(str(folder))

  def test_swapped_records_are_found_without_digests_too(self, folder: pathlib.Path) -> None:
    first, second = (folder / f"slots-0000{n}-of-00002.tfrecord.gz" for n in (0, 1))
    first.write_bytes(second.read_bytes() + second.read_bytes())
    with pytest.raises(FormatError, match="slot ids are unique"):
      load_memory(str(folder), verify=False)
    first.write_bytes(gzip.compress(b""))
    with pytest.raises(FormatError, match="10 slots.*Received: 5"):
      load_memory(str(folder), verify=False)

  @pytest.mark.parametrize("name", ["../memory/slots-00000-of-00001.tfrecord.gz", "/etc/passwd", "file:///etc/passwd",
                                    "s3://bucket/slots.gz", "..", ".", "", "a/b.gz", "a\\b.gz", "a\0b.gz", ".hidden",
                                    "x" * 3 + "\n"])
  def test_shard_outside_the_folder_is_refused(self, folder: pathlib.Path, name: str) -> None:
    self.edit(folder, lambda content: content["shards"][0].update(name=name), sign=True)
    for read in (load_memory, lambda uri: load_memory(uri, verify=False), manifest.read_manifest):
      with pytest.raises(FormatError, match="plain file name"):
        read(str(folder))

  @pytest.mark.parametrize("verify", [True, False])
  def test_shard_that_is_a_link_out_of_the_folder_is_refused(
      self, folder: pathlib.Path, tmp_path_factory: pytest.TempPathFactory, verify: bool) -> None:
    shard = next(folder.glob("slots-*"))
    elsewhere = tmp_path_factory.mktemp("elsewhere") / shard.name
    shard.rename(elsewhere)
    shard.symlink_to(elsewhere)
    with pytest.raises(FormatError, match="link that leads out"):
      load_memory(str(folder), verify=verify)

  def test_folder_behind_a_link_is_read(self, folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert len(load_memory(str(tmp_path / "link"))) == len(load_memory(str(folder)))

  def test_memory_of_another_spec_is_refused_with_the_difference(self, folder: pathlib.Path) -> None:
    spec = dataclasses.replace(SPEC, fields=(dataclasses.replace(SPEC.fields[0], hash_ids=60), SPEC.fields[1]))
    with pytest.raises(FormatError, match="differs in field 'user'"):
      load_memory(str(folder), spec=spec)
    assert load_memory(str(folder), spec=SPEC).spec == SPEC

  def test_missing_memory_is_named(self, tmp_path: pathlib.Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
      load_memory(str(tmp_path / "nowhere"))

  @staticmethod
  def edit(folder: pathlib.Path, change: Callable[[dict[str, Any]], None], *, sign: bool) -> None:
    """Changes the manifest; `sign` makes its digest fit again, as a hostile or faulty writer would."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    if sign:
      content["digest"] = canonical_digest({key: content[key] for key in content if key != "digest"})
    path.write_text(json.dumps(content))


class TestDataset:

  def test_weighted_keeps_order_and_values(self, kept: Callable[[Memory], Memory]) -> None:
    original = kept(make_memory(10))
    batches = list(original.dataset())
    assert [len(batch[1]) for batch in batches] == [4, 4, 2] and len(original.dataset()) == 3
    features = {name: np.concatenate([batch[0][name] for batch in batches]) for name in batches[0][0]}
    assert set(features) == {"user", "user/weights", "hour", "hour/weights"}
    np.testing.assert_array_equal(features["user"], original.slots.ids[:, 0])
    np.testing.assert_array_equal(features["hour/weights"], original.slots.weights[:, 1])
    assert features["user"].dtype == np.int64 and features["user/weights"].dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([batch[1] for batch in batches]), original.slots.labels)
    np.testing.assert_array_equal(np.concatenate([batch[2] for batch in batches]), original.slots.sample_weights)

  def test_packed_forms(self, kept: Callable[[Memory], Memory]) -> None:
    original = kept(make_memory(10))
    features = next(iter(original.dataset(batch_size=3, packed=True)))[0]
    np.testing.assert_array_equal(features["ids"], original.slots.ids[:3])
    np.testing.assert_array_equal(features["weights"], original.slots.weights[:3])
    features = next(iter(original.dataset(batch_size=3, mode="sampled", packed=True)))[0]
    assert features["ids"].shape == (3, 2) and list(features) == ["ids"]

  def test_field_widths_follow_the_spec(self, kept: Callable[[Memory], Memory]) -> None:
    spec = dataclasses.replace(SPEC, fields=(SPEC.fields[0], dataclasses.replace(SPEC.fields[1], ids_per_slot=1)))
    original = kept(Memory.create(make_slots(), spec, Recipe(), span=1, num_examples_seen=10, budget={}))
    features = next(iter(original.dataset(batch_size=3)))[0]
    assert features["user"].shape == (3, 3) and features["hour"].shape == (3, 1)

  def test_repeated_epochs_are_one_pass(self, kept: Callable[[Memory], Memory]) -> None:
    dataset = kept(make_memory(10)).dataset(repeat_epochs=3)
    assert len(dataset) == 9 and [len(batch[1]) for batch in dataset] == [4, 4, 2] * 3

  def test_sampled_draws_are_a_function_of_seed_and_epoch(self, kept: Callable[[Memory], Memory]) -> None:
    original = kept(make_memory(40))

    def draws(dataset: tf.data.Dataset) -> np.ndarray:
      return np.concatenate([batch[0]["user"] for batch in dataset])

    three_epochs = draws(original.dataset(mode="sampled", seed=5, repeat_epochs=3)).reshape(3, 40)
    np.testing.assert_array_equal(
        draws(original.dataset(7, mode="sampled", seed=5, repeat_epochs=3)).reshape(3, 40), three_epochs)
    passes = original.dataset(mode="sampled", seed=5)
    for epoch in range(3):
      np.testing.assert_array_equal(draws(passes), three_epochs[epoch])
    assert (three_epochs[0] != three_epochs[1]).any()
    assert (draws(original.dataset(mode="sampled", seed=6)) != three_epochs[0]).any()

  def test_sampled_frequencies_are_the_weights(self, kept: Callable[[Memory], Memory]) -> None:
    # 400 epochs of 20 slots draw id 3s+2 with probability 3/4: 8000 draws, standard error 0.0048.
    original = kept(make_memory(20))
    dataset = original.dataset(20, mode="sampled", seed=1, repeat_epochs=400)
    user = np.stack([batch[0]["user"] for batch in dataset])
    second = user == original.slots.ids[:, 0, 1]
    assert (second | (user == original.slots.ids[:, 0, 0])).all()
    assert second.mean() == pytest.approx(0.75, abs=4 * 0.0048)
    np.testing.assert_allclose(second.mean(axis=0), 0.75, atol=5 * np.sqrt(0.75 * 0.25 / 400))

  @pytest.mark.parametrize("mode", ["weighted", "sampled"])
  def test_works_under_a_distribution_strategy(self, kept: Callable[[Memory], Memory], mode: str) -> None:
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    dataset = strategy.experimental_distribute_dataset(kept(make_memory(10)).dataset(mode=mode))
    assert sum(len(batch[1]) for batch in dataset) == 10

  def test_unknown_mode_is_refused(self, kept: Callable[[Memory], Memory]) -> None:
    with pytest.raises(ConfigError, match="'weighted' or 'sampled'"):
      kept(make_memory()).dataset(mode="bagged")

  def test_ids_that_occur(self, kept: Callable[[Memory], Memory]) -> None:
    users, hours = kept(make_memory(2)).ids_per_field()
    np.testing.assert_array_equal(users, [1, 2, 4, 5])
    np.testing.assert_array_equal(hours, [0, 1])


def test_slots_are_packed_when_the_memory_is_made(kept: Callable[[Memory], Memory]) -> None:
  slots = make_slots(1).replace(ids=np.array([[[8, 4, 5], [3, 0, 0]]]),
                                weights=np.array([[[0, 0.5, 0.5], [1, 0, 0]]]))
  packed = kept(Memory.create(slots, SPEC, Recipe(), span=1, num_examples_seen=10, budget={})).slots
  np.testing.assert_array_equal(packed.ids[0, 0], [4, 5, 0])
  assert packed_left(packed) is packed
