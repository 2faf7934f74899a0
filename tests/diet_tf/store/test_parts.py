"""The parts of a commit: what they are measured as, and what is copied."""

from __future__ import annotations

import hashlib
import pathlib

import pytest

from diet_tf.errors import StoreError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.store.commit import FileInfo
from diet_tf.store.parts import copy_parts, feature_spec_digest, measure_parts


def info(content: bytes) -> FileInfo:
  return FileInfo(hashlib.sha256(content).hexdigest(), len(content))


@pytest.fixture
def places(tmp_path: pathlib.Path) -> dict[str, str]:
  """A part that is a folder with two files, and one that is a file."""
  (tmp_path / "notes" / "deep").mkdir(parents=True)
  (tmp_path / "notes" / "a.txt").write_bytes(b"first")
  (tmp_path / "notes" / "deep" / "b.txt").write_bytes(b"second")
  (tmp_path / "one.json").write_bytes(b"{}")
  return {"notes": str(tmp_path / "notes") + "/", "vocabularies.json": str(tmp_path / "one.json")}


def test_files_are_measured_by_the_path_that_they_get(places: dict[str, str], tmp_path: pathlib.Path):
  sources = measure_parts(places)
  assert {path: source.info for path, source in sources.items()} == {
      "notes/a.txt": info(b"first"), "notes/deep/b.txt": info(b"second"), "vocabularies.json": info(b"{}")}
  assert sources["notes/deep/b.txt"].path == str(tmp_path / "notes" / "deep" / "b.txt")


@pytest.mark.parametrize("name", ["../notes", "a/b", "", ".hidden", "a b"])
def test_a_name_that_is_no_file_name_is_refused(places: dict[str, str], name: str):
  with pytest.raises(StoreError, match="plain file name"):
    measure_parts({name: places["notes"]})


def test_files_are_copied_once(places: dict[str, str], tmp_path: pathlib.Path):
  sources, target = measure_parts(places), tmp_path / "target"
  copy_parts(sources, str(target))
  assert (target / "notes" / "deep" / "b.txt").read_bytes() == b"second"
  first = (target / "vocabularies.json").stat()
  (target / "notes" / "a.txt").write_bytes(b"damaged")
  copy_parts(sources, str(target))
  assert (target / "notes" / "a.txt").read_bytes() == b"first"
  second = (target / "vocabularies.json").stat()
  assert (second.st_ino, second.st_mtime_ns) == (first.st_ino, first.st_mtime_ns), "what fits is not written again"


def test_a_file_that_changed_since_is_refused(places: dict[str, str], tmp_path: pathlib.Path):
  sources = measure_parts(places)
  (tmp_path / "one.json").write_bytes(b"{ }")
  with pytest.raises(StoreError, match="must not change while it is committed"):
    copy_parts(sources, str(tmp_path / "target"))


def test_the_settings_name_the_feature_spec_where_there_is_no_memory(places: dict[str, str]):
  sources, spec = measure_parts(places), FeatureSpec((Field("user", "user", hash_ids=9),), Label("click"))
  assert feature_spec_digest(sources, {}) is None
  assert feature_spec_digest(sources, {"feature_spec_digest": "ab"}) == "ab"
  assert feature_spec_digest(sources, {"feature_spec": spec.to_dict(), "feature_spec_digest": "ab"}) == spec.digest()
