"""What the verification of a store finds, each by one damage that is signed anew where a digest would tell it."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from diet_tf.errors import FormatError, StoreError
from diet_tf.io import files
from diet_tf.io.documents import canonical_digest
from diet_tf.store.commit import Commit, FileInfo, data_digest
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from tests.diet_tf.small_store import SmallStore


@pytest.fixture
def small(tmp_path: pathlib.Path) -> SmallStore:
  (tmp_path / "memories").mkdir()
  return SmallStore(str(tmp_path / "store"), tmp_path / "memories", range(1, 4))


def rewrite_commit(store: Store, span: int, change: Callable[[dict[str, Any]], None]) -> None:
  """Changes a commit and signs it anew, its data folder renamed with it."""
  path = pathlib.Path(store.uri, "commits", f"{span}.json")
  value = json.loads(path.read_text())
  old = value["data"]
  change(value)
  value["data"] = data_digest({name: FileInfo(**info) for name, info in value["files"].items()})
  if value["data"] != old:
    pathlib.Path(store.uri, "data", old).rename(pathlib.Path(store.uri, "data", value["data"]))
  value["settings_digest"] = canonical_digest(value["settings"])
  value["digest"] = canonical_digest({key: value[key] for key in value if key != "digest"})
  path.write_text(json.dumps(value))


def rewrite_manifest(store: Store, span: int, change: Callable[[dict[str, Any]], None]) -> None:
  """Changes the manifest of a commit's memory, and signs both anew."""
  path = pathlib.Path(store.path(store.read(span), "memory/manifest.json"))
  value = json.loads(path.read_text())
  change(value)
  value["feature_spec_digest"] = canonical_digest(value["feature_spec"])
  value["digest"] = canonical_digest({key: value[key] for key in value if key != "digest"})
  path.write_text(json.dumps(value))
  sha256, num_bytes = files.digest(str(path))
  rewrite_commit(store, span, lambda commit: commit["files"].update(
      {"memory/manifest.json": {"sha256": sha256, "num_bytes": num_bytes}}))


def test_sound_store_is_counted(small: SmallStore):
  found = check_store(small.store)
  assert found.problems == () and [commit.span for commit in found.commits] == [1, 2, 3]
  paths = [path for path in pathlib.Path(small.store.uri, "data").rglob("*") if path.is_file()]
  assert (found.num_files, found.num_bytes) == (len(paths), sum(path.stat().st_size for path in paths))
  assert found.num_files == 6
  found.require_sound()


def test_store_without_commits_is_refused(tmp_path: pathlib.Path):
  with pytest.raises(StoreError, match="no such folder"):
    check_store(Store(str(tmp_path / "none"))).require_sound()
  with pytest.raises(StoreError, match="a folder without one"):
    check_store(Store(str(tmp_path))).require_sound()


def test_span_that_is_run_again_leaves_a_sound_store(small: SmallStore):
  small.commit(2, num_slots=3, replace=True)
  # Span 3 still grew from what stood there before.
  assert [commit.span for commit in check_store(small.store).require_sound()] == [1, 2, 2, 3]


def double_records(manifest: dict[str, Any]) -> None:
  manifest["num_slots"] *= 2
  manifest["shards"][0]["num_records"] *= 2


@pytest.mark.parametrize(("change", "message"), [
    (double_records, r"has 2 records and \d+ bytes uncompressed, not the manifest's 4 and"),
    (lambda manifest: manifest["shards"][0].update(num_raw_bytes=1), "more than 1 bytes uncompressed"),
    (lambda manifest: manifest["shards"][0].update(num_raw_bytes=10_000), "not the manifest's 2 and 10000"),
    (lambda manifest: manifest["shards"][0].update(sha256="0" * 64), "digest of slots-.* is not the commit's"),
    (lambda manifest: manifest["feature_spec"]["fields"][0].update(hash_ids=11), "not that of its memory"),
    (lambda manifest: manifest.update(span=7), "its memory is of span 7"),
    (lambda manifest: manifest.update(lineage=[]), r"grew from no memory, but its parent's memory is span 2"),
    (lambda manifest: manifest["lineage"][1].update(digest="0" * 64), r"grew from span 2 \(000000000000\)"),
    (lambda manifest: manifest["lineage"].pop(0), "grew from no memory, but that of its parent, span 2, from span 1"),
])
def test_manifest_that_does_not_fit(small: SmallStore, change: Callable[[dict[str, Any]], None], message: str):
  rewrite_manifest(small.store, 3, change)
  with pytest.raises(FormatError, match=f"1 problems:\n  span 3: .*{message}"):
    check_store(small.store).require_sound()


def unparented(commit: dict[str, Any]) -> None:
  commit.update(parent=None, parent_data=None)


@pytest.mark.parametrize(("change", "message"), [
    (lambda commit: commit.update(parent_data="0" * 64), "its parent, span 2, is not there"),
    (unparented, r"grew from span 1 \(.*\), span 2 \(.*\), but the commit has no parent"),
    (lambda commit: commit.update(feature_spec_digest="0" * 64), "000000000000 is not that of its memory"),
    (lambda commit: commit["settings"]["feature_spec"].update(time_column="t"), "not that of its settings"),
])
def test_commit_that_does_not_fit(small: SmallStore, change: Callable[[dict[str, Any]], None], message: str):
  rewrite_commit(small.store, 3, change)
  with pytest.raises(FormatError, match=message):
    check_store(small.store).require_sound()


def test_feature_spec_of_the_parent(small: SmallStore):
  def other(commit: dict[str, Any]) -> None:
    commit.update(feature_spec_digest="0" * 64)

  rewrite_commit(small.store, 2, other)
  assert any("span 3: the feature spec" in problem and "its parent, span 2" in problem
             for problem in check_store(small.store).problems)
  rewrite_commit(small.store, 3, lambda commit: commit["settings"].update(migrated_from="0" * 64))
  assert not any("span 3" in problem for problem in check_store(small.store).problems)


def test_everything_that_is_broken_is_named(small: SmallStore):
  pathlib.Path(small.store.uri, "commits", "1.json").write_text("{")
  shard = next(pathlib.Path(small.store.path(small.store.read(2), "memory")).glob("slots-*"))
  shard.write_bytes(shard.read_bytes()[:-1])
  pathlib.Path(small.store.path(small.store.read(3), "memory/manifest.json")).unlink()
  problems = check_store(small.store).problems
  for words in (["1.json", "JSON"], ["span 2", "has not the digest"], ["span 2", "its parent, span 1, is not there"],
                ["span 3", "manifest.json is missing"]):
    assert any(all(word in problem for word in words) for problem in problems), words


def test_link_that_leads_out_is_named(small: SmallStore, tmp_path: pathlib.Path):
  shard = next(pathlib.Path(small.store.path(small.store.read(3), "memory")).glob("slots-*"))
  shard.rename(tmp_path / "elsewhere")
  shard.symlink_to(tmp_path / "elsewhere")
  assert any("a link that leads out" in problem for problem in check_store(small.store).problems)


def test_commits_of_the_first_format_are_read(small: SmallStore):
  path = pathlib.Path(small.store.uri, "commits", "3.json")
  value = json.loads(path.read_text())
  del value["digest"]
  path.write_text(json.dumps({**value, "format_version": 1}))
  commit = small.store.read(3)
  assert commit.format_version == 1 and "digest" not in commit.to_dict()
  assert Commit.from_dict(commit.to_dict()) == commit
  assert check_store(small.store).require_sound()[-1] == commit
