import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

import diet_tf
import tfx_components
from diet_tf.config.validation import ValidationSettings
from diet_tf.distillation.teacher import Teacher
from diet_tf.errors import ConfigError, FormatError, StoreError
from diet_tf.io.documents import canonical_digest
from diet_tf.log.features import Field
from diet_tf.migration.memory import plan_migration
from diet_tf.store.garbage import collect_garbage
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from tests.diet_tf import small_sets
from tests.tfx_components.conftest import SPEC, make_examples
from tfx_components import inputs
from tfx_components.memory_committer.executor import commit_settings
from tfx_components.memory_loader import migrate
from tfx_components.span_validator import validate
from tfx_components.stage_files import Stage


def test_the_first_span_has_no_parent(workshop):
  parent = workshop.load(1)
  assert parent.get_int_custom_property("is_empty") == 1
  assert not parent.has_custom_property("span")
  assert [path.name for path in pathlib.Path(parent.uri).iterdir()] == ["EMPTY"]
  assert inputs.Parent.of(parent).is_empty and inputs.Parent.of(parent).part("teacher") is None
  assert not pathlib.Path(workshop.store).exists()


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize(("span", "expected"), [("1", None), ("2", 1), ("3", 2), ("99", 2), ("auto", 2)])
def test_the_newest_commit_below_the_span_is_taken(shared_workshop, span, expected):
  parent = shared_workshop.load(span)
  commit = inputs.Parent.of(parent).commit
  assert (commit.span if commit else None) == expected
  assert parent.get_int_custom_property("is_empty") == (expected is None)
  if expected:
    assert parent.get_int_custom_property("span") == expected
    assert parent.get_string_custom_property("digest") == commit.data


@pytest.mark.usefixtures("first")
def test_all_parts_are_copied(shared_workshop):
  parent = shared_workshop.load(2)
  commit = Store(shared_workshop.store).read(1)
  names = {path.relative_to(parent.uri).as_posix() for path in pathlib.Path(parent.uri).rglob("*") if path.is_file()}
  assert names == {*commit.files, "commit.json"}
  assert {"vocabularies.json", "schema/schema.pbtxt", "statistics/FeatureStats.pb", "teacher/teacher.npz",
          "memory/manifest.json"} <= names
  assert len(diet_tf.load_memory(f"{parent.uri}/memory")) == 24


def copy_with_a_damaged_teacher(shared_workshop, workshop):
  shutil.copytree(shared_workshop.store, workshop.store)
  store = Store(workshop.store)
  damaged = pathlib.Path(store.path(store.read(1), "teacher")) / "teacher.npz"
  damaged.write_bytes(damaged.read_bytes()[:-1])


@pytest.mark.usefixtures("first")
def test_a_damaged_file_of_the_commit_is_named(shared_workshop, workshop):
  copy_with_a_damaged_teacher(shared_workshop, workshop)
  with pytest.raises(FormatError, match="teacher/teacher.npz"):
    workshop.load(2)


@pytest.mark.usefixtures("first")
def test_a_link_out_of_the_commit_is_not_copied(shared_workshop, workshop, tmp_path):
  shutil.copytree(shared_workshop.store, workshop.store)
  store = Store(workshop.store)
  linked = pathlib.Path(store.path(store.read(1), "teacher")) / "teacher.npz"
  linked.rename(tmp_path / "elsewhere")
  linked.symlink_to(tmp_path / "elsewhere")
  with pytest.raises(FormatError, match="teacher/teacher.npz.*link that leads out"):
    workshop.load(2)


@pytest.mark.usefixtures("second")
def test_after_a_garbage_collection_the_next_span_grows_as_before(shared_workshop, workshop):
  shutil.copytree(shared_workshop.store, workshop.store)
  store = Store(workshop.store)
  collect_garbage(store, 1)
  check_store(store).require_sound()
  for span in ("3", "auto"):
    parent = inputs.Parent.of(workshop.load(span))
    assert parent.commit == store.read(2) == Store(shared_workshop.store).read(2)
  with pytest.raises(StoreError, match="span 1, was removed"):
    workshop.load(2)


def test_a_span_is_a_number_or_auto(workshop):
  with pytest.raises(ConfigError, match="'soon'"):
    workshop.load("soon")


def test_an_artifact_of_something_else_is_no_parent(workshop):
  parent = workshop.load(1)
  (pathlib.Path(parent.uri) / "EMPTY").rename(pathlib.Path(parent.uri) / "other")
  with pytest.raises(FormatError, match="MemoryLoader"):
    inputs.Parent.of(parent)


# `user` grows from 39 hashed ids to 78, and a field comes in at the end.
GROWN = dataclasses.replace(SPEC, fields=(dataclasses.replace(SPEC.fields[0], hash_ids=79), *SPEC.fields[1:],
                                          Field("device", "device", hash_ids=5)))


def grown_examples(span):
  """As `make_examples`, with ids of the grown spec: odd users have their second id."""
  ids, *others = make_examples(span)
  devices = np.random.default_rng(span + 100).integers(1, 5, len(ids))
  users = ids[:, 0] + np.where(ids[:, 0] % 2 == 1, 39, 0)
  return np.column_stack([users, ids[:, 1:], devices]).astype(np.int32), *others


def changed(settings, section, **values):
  return dataclasses.replace(settings, **{section: dataclasses.replace(getattr(settings, section), **values)})


@pytest.fixture
def own(workshop, shared_workshop, first):
  """A workshop with a copy of the store in which span 1 alone is committed."""
  del first
  shutil.copytree(shared_workshop.store, workshop.store)
  (pathlib.Path(workshop.store) / "commits" / "2.json").unlink(missing_ok=True)
  return workshop


def refused(workshop, *words, **kwargs):
  """The changed config is refused with these words, and neither store nor artifact is touched."""
  before = workshop.contents(workshop.store)
  with pytest.raises(ConfigError) as caught:
    workshop.load(2, **kwargs)
  assert all(word in str(caught.value) for word in words), str(caught.value)
  assert workshop.contents(workshop.store) == before
  assert not list(pathlib.Path(workshop.folder).glob("*-StoreCommit/*"))


def test_a_changed_config_is_refused_with_both_values(own):
  own.spec = GROWN
  own.settings = changed(changed(own.settings, "gate", num_seeds=3), "budget", fraction=0.1)
  refused(own, "span 1 in", "features.fields.user.hash: 40 committed, 79 now",
          'features.fields.device.column: not set committed, "device" now', "gate.num_seeds: 2 committed, 3 now",
          "budget.fraction: 0.05 committed, 0.1 now", "--accept-changes")


def test_a_run_s_budget_is_part_of_the_config(own):
  refused(own, "budget.fraction: 0.05 committed, 0.2 now", budget_fraction=0.2)
  own.load(2, budget_fraction=0.05)


def test_a_change_that_cannot_be_declared_says_why(own):
  own.spec = dataclasses.replace(SPEC, fields=(dataclasses.replace(SPEC.fields[0], hash_ids=50), *SPEC.fields[1:]))
  refused(own, "features.fields.user.hash: 40 committed, 50 now", "it cannot be declared", "use 40 or 79")
  refused(own, "field 'user'", "40 committed, 50 now", "use 40 or 79", accept_changes=1)


def test_other_members_of_the_teacher_are_refused_always(own):
  own.settings = changed(own.settings, "teacher", members=("lr",))
  for accept in (0, 1):
    refused(own, "teacher.members", '["lr"] now', "begin a new store", accept_changes=accept)


def test_a_member_that_cannot_take_a_field_is_refused(own):
  own.spec = GROWN
  own.settings = changed(own.settings, "teacher", members=("dcn_v2(embedding_dim=2,hidden_units=4-)",))
  # As if it had been committed with them.
  commit = Store(own.store).read(1)
  settings = {**commit.settings, "teacher": {**commit.settings["teacher"], "members": own.settings.teacher.members}}
  commit = dataclasses.replace(commit, settings=settings, settings_digest=canonical_digest(settings))
  (pathlib.Path(own.store) / "commits" / "1.json").write_text(json.dumps(commit.to_dict()))
  with pytest.raises(ConfigError, match="teacher member 'dcn_v2.*dnn, wide_deep"):
    own.load(2, accept_changes=1)
  assert not list(pathlib.Path(own.folder).glob("*-StoreCommit/commit.json"))


def test_settings_that_are_declared_change_the_teacher_s_header_alone(own):
  plain = own.contents(own.load(2).uri)
  own.settings = changed(changed(own.settings, "teacher", learning_rate=0.1, batch_size=32), "distill", outer_steps=9)
  copy = own.load(2, accept_changes=1)
  changed_copy = own.contents(copy.uri)
  assert {name for name in plain if plain[name] != changed_copy[name]} == {"teacher/teacher.json"}
  assert Teacher.load(f"{copy.uri}/teacher", SPEC, own.settings.teacher).settings.learning_rate == 0.1


def test_a_declared_spec_gives_a_copy_of_that_spec(own):
  before = diet_tf.load_memory(own.store)
  own.spec = GROWN
  copy = own.load(2, accept_changes=1)
  parent = inputs.Parent.of(copy)
  assert parent.commit == Store(own.store).read(1)
  memory = parent.memory(GROWN)
  np.testing.assert_array_equal(memory.slots.labels, before.slots.labels)
  np.testing.assert_array_equal(memory.slots.slot_ids, before.slots.slot_ids)
  assert memory.manifest.grown_lineage() == ({"span": 1, "digest": before.digest},)
  Teacher.load(parent.part("teacher"), GROWN, own.settings.teacher)
  schema = {feature.name: feature for feature in validate.read_schema(parent.part("schema")).feature}
  assert set(schema) == {"user", "item", "hour", "device", "label"}
  assert schema["device"].int_domain.is_categorical and schema["device"].presence == schema["item"].presence
  statistics = validate.read_statistics(parent.part("statistics"))
  assert [validate.name_of(feature) for feature in statistics.datasets[0].features] == ["hour", "item"]


def test_drift_of_new_and_regrown_fields_is_not_compared(own):
  own.spec = GROWN
  settings = ValidationSettings(default_drift_threshold=1e-6, fatal=("COMPARATOR_CONTROL_DATA_MISSING",
                                                                    "SCHEMA_NEW_COLUMN"))
  arrays = grown_examples(2)
  statistics = own.statistics(2, own.statistics_of(*arrays[:2], names=GROWN.names))
  made = own.validate(2, statistics, own.load(2, accept_changes=1), settings)
  anomalies = anomalies_pb2.Anomalies.FromString(
      (pathlib.Path(made["anomalies"].uri) / "Split-train" / "SchemaDiff.pb").read_bytes())
  assert set(anomalies.anomaly_info) == {"hour", "item"}
  # From the next span on it is.
  schema = {feature.name: feature for feature in validate.read_schema(made["schema"].uri).feature}
  assert all(schema[name].HasField("drift_comparator") for name in GROWN.names)


def test_a_stage_on_a_migrated_memory_is_committed_and_the_next_needs_no_flag(own):
  own.spec = GROWN
  first = Store(own.store).read(1)
  before = diet_tf.load_memory(Store(own.store).path(first, "memory"))
  made = own.run_stage(2, arrays=grown_examples(2), accept_changes=1)
  store = Store(own.store)
  commit = store.read(2)
  assert [one.span for one in check_store(store).require_sound()] == [1, 2]
  assert commit.settings["migrated_from"] == SPEC.digest() == first.feature_spec_digest
  assert (commit.feature_spec_digest, commit.parent_data) == (GROWN.digest(), first.data)
  assert diet_tf.load_memory(own.store).manifest.lineage == ({"span": 1, "digest": before.digest},)
  assert diet_tf.load_memory(f"{made.start.uri}/memory").manifest.lineage == ({"span": 1, "digest": before.digest},)
  assert inputs.Parent.of(own.load(3)).commit == commit
  # And back: the old config is another one now.
  own.spec = SPEC
  with pytest.raises(ConfigError, match="features.fields.user.hash: 79 committed, 40 now"):
    own.load(3)


def test_a_parent_that_was_not_migrated_is_no_parent_of_another_spec(own):
  parent = inputs.Parent.of(own.load(2))
  assert "migrated_from" not in commit_settings(Stage(SPEC, own.settings, 3, 2), parent)
  with pytest.raises(FormatError, match="field 'device', field 'user'"):
    commit_settings(Stage(GROWN, own.settings, 3, 2), parent)


@pytest.mark.usefixtures("first")
def test_a_committed_span_ends_at_the_first_step(shared_workshop, workshop):
  shutil.copytree(shared_workshop.store, workshop.store)
  with pytest.raises(StoreError, match="span 1 .*is not run again.*with the settings in use.*replace=1"):
    workshop.load(1, replace=0)
  # Another seed than that of the commit.
  workshop_of_another_seed = {"store_uri": workshop.store, "span": "1", "features": json.dumps(SPEC.to_dict()),
                              "settings": workshop.settings.to_json(), "seed": 4, "replace": 0}
  with pytest.raises(StoreError, match="with other settings: seed: 3 committed, 4 now"):
    workshop.run("MemoryLoader", {}, {"parent": tfx_components.StoreCommit}, **workshop_of_another_seed)
  workshop.load(1, replace=1)
  workshop.load(9, replace=0)
  # A pipeline that was compiled before says nothing of replacing.
  workshop.load(1)


@pytest.mark.usefixtures("first")
def test_a_damaged_commit_may_be_run_again_to_mend_it(shared_workshop, workshop):
  copy_with_a_damaged_teacher(shared_workshop, workshop)
  assert workshop.load(1, replace=0).get_int_custom_property("is_empty") == 1


def test_members_and_the_store_are_looked_at_first(workshop):
  settings = dataclasses.replace(workshop.settings, gate=dataclasses.replace(workshop.settings.gate, members=("dmn",)))
  with pytest.raises(ConfigError, match="gate.members: panel member 'dmn'"):
    workshop.run("MemoryLoader", {}, {"parent": tfx_components.StoreCommit}, store_uri=workshop.store, span="1",
                 features=json.dumps(SPEC.to_dict()), settings=settings.to_json(), seed=3)
  pathlib.Path(workshop.store).write_text("a file")
  with pytest.raises(StoreError, match="it is a folder"):
    workshop.load(1)


def test_the_weights_of_a_new_field_are_in_the_schema_with_any_number_of_values():
  old = dataclasses.replace(small_sets.SPEC, fields=small_sets.SPEC.fields[:1])
  schema = schema_pb2.Schema()
  schema.feature.add(name="user", type=schema_pb2.INT).presence.min_fraction = 1.0
  found = {feature.name: feature for feature in migrate.migrated_schema(
      schema, plan_migration(old, small_sets.SPEC)).feature}
  assert set(found) == {"user", "genres", "tags", "tags/weights", "hour"}
  weights = found["tags/weights"]
  assert weights.type == schema_pb2.FLOAT and weights.presence.min_fraction == 1.0
  assert weights.value_count.min == 1 and not weights.HasField("shape")
