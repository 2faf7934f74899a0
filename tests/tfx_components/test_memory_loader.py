import pathlib
import shutil

import pytest

import diet_tf
from diet_tf.errors import ConfigError, FormatError, StoreError
from diet_tf.store import Store
from tfx_components import inputs


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


@pytest.mark.usefixtures("first")
def test_a_damaged_file_of_the_commit_is_named(shared_workshop, workshop):
  shutil.copytree(shared_workshop.store, workshop.store)
  store = Store(workshop.store)
  damaged = pathlib.Path(store.path(store.read(1), "teacher")) / "teacher.npz"
  damaged.write_bytes(damaged.read_bytes()[:-1])
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
  store.collect_garbage(1)
  store.verify()
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
