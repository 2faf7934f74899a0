"""The store: its commit protocol, killed, crowded and starved of disk."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.errors import FormatError, StoreError
from diet_tf.io import files
from diet_tf.io.documents import canonical_digest
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.recipe import Recipe
from diet_tf.store.commit import FileInfo, data_digest
from diet_tf.store.garbage import collect_garbage, repair
from diet_tf.store.memories import load_memory
from diet_tf.store.store import STEPS, Store, memory_folder
from diet_tf.store.verification import check_store
from tests.diet_tf.small_slots import small_slots
from tests.diet_tf.small_store import SmallStore
from tests.diet_tf.small_store import make_memory as small_memory

# Imports neither TensorFlow nor NumPy, so that a process costs a fraction of a second.
WRITER = """
import os, signal, sys
from diet_tf.io import files
from diet_tf.store.store import Store
root, step, content, span, replace = sys.argv[1:]
flush, flushes = files._flush_to_disk, []

def die_in_write(output, path):
  flushes.append(path)
  if step == f"write_{len(flushes)}":
    output.flush()
    os.kill(os.getpid(), signal.SIGKILL)
  flush(output, path)

files._flush_to_disk = die_in_write

def on_step(name):
  if name == step:
    os.kill(os.getpid(), signal.SIGKILL)
  if name == "data_staged" and step == "meet":
    print("staged", flush=True)
    sys.stdin.readline()

newest = Store(root).newest(below=int(span))
commit = Store(root, on_step=on_step).commit(
    int(span), {"notes": content}, parent=newest, settings={"budget": 1}, run_id=content, replace=bool(int(replace)))
assert "tensorflow" not in sys.modules
print(commit.run_id)
"""


def write_content(folder: pathlib.Path, name: str) -> str:
  path = folder / name
  (path / "deep").mkdir(parents=True)
  (path / "text.txt").write_text(f"content of {name}")
  (path / "deep" / "numbers.bin").write_bytes(bytes(range(256)) * 50)
  return str(path)


def start_writer(root: str, step: str, content: str, span: int, replace: bool = False) -> subprocess.Popen[str]:
  return subprocess.Popen([sys.executable, "-c", WRITER, root, step, content, str(span), str(int(replace))],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(writer: subprocess.Popen[str]) -> tuple[int, str, str]:
  output, errors = writer.communicate(timeout=60)
  return writer.returncode, output, errors


def everything(root: str) -> dict[str, bytes]:
  return {path: files.read_bytes(files.join(root, path)) for path in files.files_below(root)}


def commit(store: Store, span: int, content: str, **arguments: Any) -> Any:
  parent = store.newest(below=span)
  return store.commit(span, {"notes": content}, **{"parent": parent, "settings": {"budget": 1}, "run_id": "run",
                                                   **arguments})


@pytest.fixture(params=["local", "ram"])
def root(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
  """A store's root on a local disk, and on a file system of TensorFlow's without locks and renames of folders."""
  return str(tmp_path / "store") if request.param == "local" else f"ram://{tmp_path.name}/store"


class TestCommit:

  def test_content_and_facts_are_kept(self, root: str, tmp_path: pathlib.Path) -> None:
    content = write_content(tmp_path, "a")
    single = tmp_path / "vocabularies.json"
    single.write_text("{}")
    store = Store(root)
    made = store.commit(7, {"notes": content, "vocabularies.json": str(single)}, parent=None,
                        settings={"budget": 0.01}, run_id="run-1")
    read = Store(root).read(7)
    assert read == made
    assert (read.span, read.parent, read.run_id, read.settings) == (7, None, "run-1", {"budget": 0.01})
    assert set(read.files) == {"notes/text.txt", "notes/deep/numbers.bin", "vocabularies.json"}
    assert files.read_bytes(store.path(read, "notes/text.txt")) == b"content of a"
    assert files.read_bytes(store.path(read, "vocabularies.json")) == b"{}"
    assert files.names_in(store.path(read)) == ["notes", "vocabularies.json"]
    assert check_store(store).require_sound() == [read]

  def test_newest_is_the_greatest_span_below(self, root: str, tmp_path: pathlib.Path) -> None:
    store = Store(root)
    assert store.newest() is None and store.newest(below=3) is None
    for span in (2, 10, 9):
      commit(store, span, write_content(tmp_path, str(span)), parent=None)
    assert [store.newest(below).span if store.newest(below) else None for below in (None, 11, 10, 9, 2)] == [
        10, 10, 9, 2, None]
    assert store.spans() == [2, 9, 10] and [found.span for found in store.commits()] == [2, 9, 10]

  def test_parent_is_recorded(self, root: str, tmp_path: pathlib.Path) -> None:
    store = Store(root)
    first = commit(store, 1, write_content(tmp_path, "a"))
    second = commit(store, 2, write_content(tmp_path, "b"), parent=1)
    assert (second.parent, second.parent_data) == (1, first.data)

  def test_same_content_again_changes_nothing(self, root: str, tmp_path: pathlib.Path) -> None:
    store, content = Store(root), write_content(tmp_path, "a")
    first = commit(store, 1, content)
    before = everything(root)
    assert commit(store, 1, content, run_id="other run") == first
    assert everything(root) == before

  def test_other_content_is_refused_with_both_digests_and_settings(self, root: str, tmp_path: pathlib.Path) -> None:
    store = Store(root)
    first = commit(store, 1, write_content(tmp_path, "a"))
    before = everything(root)
    with pytest.raises(StoreError, match=f"{first.data[:12]}.*budget = 2 where 1 was committed.*replace"):
      commit(store, 1, write_content(tmp_path, "b"), settings={"budget": 2})
    assert everything(root) == before

  def test_replaced_commits_are_kept(self, root: str, tmp_path: pathlib.Path) -> None:
    store = Store(root)
    made = [commit(store, 1, write_content(tmp_path, name), replace=True) for name in "abc"]
    assert store.read(1) == made[2]
    assert files.names_in(files.join(root, "commits")) == ["1.json", "1.replaced-1.json", "1.replaced-2.json"]
    repair(store)
    assert {found.data for found in check_store(store).require_sound()} == {found.data for found in made}
    assert files.read_bytes(store.path(made[0], "notes/text.txt")) == b"content of a"

  def test_one_content_of_two_spans_is_stored_once(self, root: str, tmp_path: pathlib.Path) -> None:
    store, content = Store(root), write_content(tmp_path, "a")
    assert commit(store, 1, content).data == commit(store, 2, content).data
    assert len(files.names_in(files.join(root, "data"))) == 1
    assert len(check_store(store).require_sound()) == 2

  def test_unknown_span_and_part_name_what_there_is(self, root: str, tmp_path: pathlib.Path) -> None:
    store = Store(root)
    first = commit(store, 1, write_content(tmp_path, "a"))
    with pytest.raises(StoreError, match=r"spans \[1\]"):
      store.read(2)
    with pytest.raises(StoreError, match="parts .'notes'"):
      store.path(first, "memory")

  @pytest.mark.parametrize(("arguments", "message"), [
      ({"parent": 5}, "earlier span"), ({"parent": 3}, "must be committed"), ({"span": -1}, "at least 0"),
      ({"files": {"notes": "/nowhere"}}, "nothing there"), ({"files": {"../notes": "/tmp"}}, "plain file name")])
  def test_unusable_arguments_are_refused(self, tmp_path: pathlib.Path, arguments: dict[str, Any],
                                          message: str) -> None:
    store, content = Store(str(tmp_path / "store")), write_content(tmp_path, "a")
    commit(store, 5, content)
    arguments = {"span": 4, "files": {"notes": content}, "parent": None, "settings": {}, "run_id": "r", **arguments}
    with pytest.raises(StoreError, match=message):
      store.commit(**arguments)
    assert store.spans() == [5]

  def test_empty_folder_is_refused(self, tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="empty folder"):
      commit(Store(str(tmp_path / "store")), 1, str(tmp_path / "empty"))

  def test_link_out_of_a_part_is_refused(self, tmp_path: pathlib.Path) -> None:
    content = write_content(tmp_path, "a")
    (tmp_path / "secret").write_text("secret")
    (pathlib.Path(content) / "deep" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(StoreError, match="link that leads out"):
      commit(Store(str(tmp_path / "store")), 1, content)
    assert not (tmp_path / "store").exists()

  def test_source_that_changes_meanwhile_is_refused(self, tmp_path: pathlib.Path) -> None:
    content = write_content(tmp_path, "a")

    def change(step: str) -> None:
      if step == "writer_registered":
        pathlib.Path(content, "text.txt").write_text("changed")

    store = Store(str(tmp_path / "store"), on_step=change)
    with pytest.raises(StoreError, match="must not change"):
      commit(store, 1, content)
    assert store.spans() == [] and files.names_in(store.uri + "/staging") == []


class TestFeatureSpec:

  SPEC = FeatureSpec(fields=(Field("user", "user", hash_ids=10),), label=Label("click"))

  def memory(self, folder: pathlib.Path, name: str, spec: FeatureSpec) -> str:
    made = Memory.create(small_slots(np.ones([2, 1])), spec, Recipe(), span=1, num_examples_seen=10, budget={})
    save_memory(str(folder / name), made)
    return str(folder / name)

  def test_memory_of_the_newest_commit_is_loaded(self, root: str, tmp_path: pathlib.Path) -> None:
    store = Store(root)
    made = store.commit(1, {"memory": self.memory(tmp_path, "a", self.SPEC)}, parent=None, settings={}, run_id="r")
    assert made.feature_spec_digest == self.SPEC.digest()
    assert memory_folder(root) == store.path(made, "memory") == memory_folder(store.path(made))
    assert load_memory(root).spec == self.SPEC

  def test_store_without_a_commit_is_named(self, tmp_path: pathlib.Path) -> None:
    with pytest.raises(StoreError, match="neither"):
      load_memory(str(tmp_path))

  def test_other_spec_than_the_parent_s_is_refused_with_both(self, root: str, tmp_path: pathlib.Path) -> None:
    other = dataclasses.replace(self.SPEC, fields=(Field("user", "user", hash_ids=11),))
    store = Store(root)
    store.commit(1, {"memory": self.memory(tmp_path, "a", self.SPEC)}, parent=None, settings={"ids": 10}, run_id="r")
    before = everything(root)
    with pytest.raises(StoreError, match=f"{self.SPEC.digest()}.*{other.digest()}.*ids = 11 where 10 was"):
      store.commit(2, {"memory": self.memory(tmp_path, "b", other)}, parent=1, settings={"ids": 11}, run_id="r")
    assert everything(root) == before

  def test_other_spec_that_is_declared_to_be_migrated_from_the_parent_s_is_committed(
      self, root: str, tmp_path: pathlib.Path) -> None:
    other = dataclasses.replace(self.SPEC, fields=(Field("user", "user", hash_ids=19),))
    store = Store(root)
    store.commit(1, {"memory": self.memory(tmp_path, "a", self.SPEC)}, parent=None, settings={}, run_id="r")
    memory = {"memory": self.memory(tmp_path, "b", other)}
    with pytest.raises(StoreError, match=self.SPEC.digest()):
      store.commit(2, memory, parent=1, settings={"migrated_from": other.digest()}, run_id="r")
    made = store.commit(2, memory, parent=1, settings={"migrated_from": self.SPEC.digest()}, run_id="r")
    assert made.feature_spec_digest == other.digest()

  def test_spec_may_come_from_the_settings(self, tmp_path: pathlib.Path) -> None:
    settings = {"feature_spec": self.SPEC.to_dict()}
    made = commit(Store(str(tmp_path / "store")), 1, write_content(tmp_path, "a"), settings=settings)
    assert made.feature_spec_digest == self.SPEC.digest()

  def test_damaged_memory_is_not_committed(self, tmp_path: pathlib.Path) -> None:
    folder = self.memory(tmp_path, "a", self.SPEC)
    shard = next(pathlib.Path(folder).glob("slots-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(FormatError, match="manifest's digest"):
      Store(str(tmp_path / "store")).commit(1, {"memory": folder}, parent=None, settings={}, run_id="r")


class TestKilledWriters:

  # Besides after each step: in each write of a file before it is flushed, which is the owner's, two of content, the
  # commit's and, where one is replaced, that of the commit that is kept.
  @pytest.mark.parametrize("step", [*STEPS, "write_1", "write_2", "write_3", "write_4", "write_5"])
  @pytest.mark.parametrize("replace", [False, True], ids=["new", "replace"])
  def test_nothing_committed_is_lost_and_the_next_run_recovers(self, tmp_path: pathlib.Path, step: str,
                                                               replace: bool) -> None:
    if step == "write_5" and not replace:
      pytest.skip("a new commit writes four files")
    root = str(tmp_path / "store")
    store = Store(root)
    first = commit(store, 1, write_content(tmp_path, "first"))
    span = 2
    earlier = commit(store, span, write_content(tmp_path, "earlier")) if replace else None
    content = write_content(tmp_path, "second")

    code, _, errors = finish(start_writer(root, step, content, span, replace))
    assert code == -signal.SIGKILL, errors

    visible = step in ("committed", "cleaned")
    assert store.read(1) == first
    assert store.newest().span == (2 if visible or replace else 1)
    if not visible and replace:
      assert store.read(span) == earlier
    check_store(store).require_sound()

    code, output, errors = finish(start_writer(root, "none", content, span, replace))
    assert code == 0, errors
    assert output.strip() == content and store.read(span).run_id == content
    check_store(store).require_sound()
    assert files.names_in(f"{root}/staging") == []
    data = {first.data, store.read(span).data} | ({earlier.data} if earlier else set())
    assert set(files.names_in(f"{root}/data")) == data
    rest = repair(store)
    assert len(rest) == (step == "write_5"), "only a half-written copy of the replaced commit waits for the repair"
    assert len(files.names_in(f"{root}/commits")) == (3 if replace else 2)

  @pytest.mark.parametrize("step", STEPS[:5])
  def test_next_run_with_other_content_leaves_no_rest(self, tmp_path: pathlib.Path, step: str) -> None:
    root = str(tmp_path / "store")
    finish(start_writer(root, step, write_content(tmp_path, "dead"), 1))
    made = commit(Store(root), 1, write_content(tmp_path, "alive"))
    assert files.names_in(f"{root}/data") == [made.data] and files.names_in(f"{root}/staging") == []

  @pytest.mark.parametrize("step", STEPS[:5])
  def test_repair_clears_what_the_dead_left(self, tmp_path: pathlib.Path, step: str) -> None:
    root = str(tmp_path / "store")
    store = Store(root)
    made = commit(store, 1, write_content(tmp_path, "a"))
    before = everything(root)
    finish(start_writer(root, step, write_content(tmp_path, "dead"), 2))
    assert repair(store) != []
    assert everything(root) == before and check_store(store).require_sound() == [made]

  def test_living_writer_is_left_alone(self, tmp_path: pathlib.Path) -> None:
    root = str(tmp_path / "store")
    content = write_content(tmp_path, "slow")
    writer = start_writer(root, "meet", content, 1)
    assert writer.stdout.readline() == "staged\n"
    assert repair(Store(root)) == []
    commit(Store(root), 2, write_content(tmp_path, "quick"), parent=None)
    code, output, errors = finish(writer)
    assert code == 0 and output.strip() == content, errors
    assert Store(root).spans() == [1, 2]
    check_store(Store(root)).require_sound()

  @pytest.mark.parametrize("step", STEPS)
  def test_object_store_shows_all_or_nothing(self, tmp_path: pathlib.Path, step: str) -> None:
    class Death(BaseException):
      """Ends the writer where SIGKILL would: no handler of ours runs on a URI's path after it."""

    def die(name: str) -> None:
      if name == step:
        raise Death

    root, content = f"ram://{tmp_path.name}/killed", write_content(tmp_path, "second")
    first = commit(Store(root), 1, write_content(tmp_path, "first"))
    with pytest.raises(Death):
      commit(Store(root, on_step=die), 2, content)
    visible = STEPS.index(step) >= STEPS.index("committed")
    assert Store(root).newest().span == (2 if visible else 1)
    check_store(Store(root)).require_sound()
    assert repair(Store(root), grace_seconds=1e12) == []
    assert commit(Store(root), 2, content).parent_data == first.data
    check_store(Store(root)).require_sound()

  def test_object_store_s_dead_data_go_after_the_grace(self, tmp_path: pathlib.Path) -> None:
    def die(name: str) -> None:
      if name == "data_published":
        raise KeyboardInterrupt

    root = f"ram://{tmp_path.name}/graced"
    made = commit(Store(root), 1, write_content(tmp_path, "first"))
    with pytest.raises(KeyboardInterrupt):
      commit(Store(root, on_step=die), 2, write_content(tmp_path, "second"))
    assert len(repair(Store(root), grace_seconds=0)) == 1
    assert files.names_in(f"{root}/data") == [made.data]


class TestCrowd:

  @pytest.mark.parametrize("same", [True, False], ids=["same content", "other content"])
  def test_two_writers_of_one_span(self, tmp_path: pathlib.Path, same: bool) -> None:
    root = str(tmp_path / "store")
    contents = [write_content(tmp_path, "a")]
    contents.append(contents[0] if same else write_content(tmp_path, "b"))
    writers = [start_writer(root, "meet", content, 1) for content in contents]
    for writer in writers:
      assert writer.stdout.readline() == "staged\n"
    for writer in writers:
      writer.stdin.write("\n")
      writer.stdin.flush()
    ends = [finish(writer) for writer in writers]
    codes = [code for code, _, _ in ends]
    store = Store(root)
    if same:
      assert codes == [0, 0], ends
    else:
      assert sorted(codes) == [0, 1], ends
      loser = codes.index(1)
      assert "never changed silently" in ends[loser][2]
      assert store.read(1).run_id == contents[1 - loser]
    check_store(store).require_sound()
    assert files.names_in(f"{root}/data") == [store.read(1).data]
    assert files.names_in(f"{root}/staging") == [] and files.names_in(f"{root}/commits") == ["1.json"]

  def test_lost_race_on_an_object_store_is_told(self, tmp_path: pathlib.Path) -> None:
    root = f"ram://{tmp_path.name}/race"
    content, other = write_content(tmp_path, "a"), write_content(tmp_path, "b")

    def overtake(step: str) -> None:
      if step == "committed":
        commit(Store(root), 1, other, replace=True)

    with pytest.raises(StoreError, match="one process commits a span at a time"):
      commit(Store(root, on_step=overtake), 1, content)


class TestFullDisk:

  @pytest.mark.parametrize("step", STEPS[:5])
  @pytest.mark.parametrize("failure", [
      OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EDQUOT, "Quota exceeded"),
      tf.errors.ResourceExhaustedError(None, None, "No space left on device")], ids=["disk", "quota", "tensorflow"])
  def test_store_is_unchanged_at_every_step(self, tmp_path: pathlib.Path, step: str, failure: Exception) -> None:
    def fail(name: str) -> None:
      if name == step:
        raise failure

    root = str(tmp_path / "store")
    commit(Store(root), 1, write_content(tmp_path, "first"))
    before = everything(root)
    with pytest.raises(StoreError, match="room.*free space"):
      commit(Store(root, on_step=fail), 2, write_content(tmp_path, "second"))
    assert everything(root) == before
    check_store(Store(root)).require_sound()

  def test_failing_write_of_a_file_is_told_the_same_way(self, root: str, tmp_path: pathlib.Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: str, target: str) -> tuple[str, int]:
      raise OSError(errno.ENOSPC, "No space left on device", target)

    commit(Store(root), 1, write_content(tmp_path, "first"))
    before = everything(root)
    monkeypatch.setattr(files, "copy", fail)
    with pytest.raises(StoreError, match="room.*free space"):
      commit(Store(root), 2, write_content(tmp_path, "second"))
    assert everything(root) == before

  def test_place_that_is_not_writable_is_told_apart(self, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="must be writable"):
      commit(Store(str(tmp_path / "file" / "store")), 1, write_content(tmp_path, "a"))


class TestDamage:

  @pytest.fixture
  def store(self, tmp_path: pathlib.Path) -> Store:
    store = Store(str(tmp_path / "store"))
    for span in (1, 2):
      commit(store, span, write_content(tmp_path, f"content-{span}"))
    return store

  def test_changed_and_missing_files_are_all_named(self, store: Store) -> None:
    pathlib.Path(store.path(store.read(1), "notes/text.txt")).write_text("content of content-X")
    pathlib.Path(store.path(store.read(2), "notes/deep/numbers.bin")).unlink()
    with pytest.raises(FormatError, match="2 problems") as caught:
      check_store(store).require_sound()
    assert "span 1" in str(caught.value) and "text.txt has not the digest" in str(caught.value)
    assert "span 2" in str(caught.value) and "numbers.bin is missing" in str(caught.value)

  def test_committing_the_same_content_mends_it(self, store: Store, tmp_path: pathlib.Path) -> None:
    before = store.read(2)
    pathlib.Path(store.path(before, "notes/text.txt")).write_text("damaged")
    assert commit(store, 2, str(tmp_path / "content-2")) == before
    assert len(check_store(store).require_sound()) == 2 and files.names_in(store.uri + "/staging") == []

  @pytest.mark.parametrize(("change", "message"), [
      (lambda c: c.update(format_version=9), "format version 9.*upgrade"),
      (lambda c: c.update(format_name="x"), "format_name"),
      (lambda c: c.pop("files"), "missing: .'files'"),
      (lambda c: c["files"]["notes/text.txt"].update(num_bytes=1), "does not fit"),
      (lambda c: c.update(files={"../../x": {"sha256": "0" * 64, "num_bytes": 1}}), "leads out of its folder"),
      (lambda c: c.update(files=[]), "files: it is an object.*a list"),
      (lambda c: c["settings"].update(budget=2), "does not fit"),
      (lambda c: c.update(span=3), "does not fit"),
      (lambda c: c.update(run_id="other"), "does not fit"),
      (lambda c: c.update(parent=2), "the parent 2")])
  def test_edited_commit_is_refused_and_never_skipped(self, store: Store, change: Callable[[dict[str, Any]], None],
                                                      message: str) -> None:
    path = pathlib.Path(store.uri, "commits", "2.json")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    for read in (store.newest, lambda: check_store(store).require_sound(), store.commits):
      with pytest.raises(FormatError, match=message):
        read()
    assert store.newest(below=2).span == 1

  @pytest.mark.parametrize("path", ["../x", "/etc/passwd", "s3://bucket/x", "notes/../../x", "notes//x", "./x", "a\\b",
                                    "a\0b", "a\nb", "a\ud800b", ""])
  def test_commit_of_files_elsewhere_is_refused(self, store: Store, path: str) -> None:
    commit_path = pathlib.Path(store.uri, "commits", "2.json")
    content = json.loads(commit_path.read_text())
    content["files"] = {path: {"sha256": "0" * 64, "num_bytes": 1}}
    content["data"] = data_digest({path: FileInfo("0" * 64, 1)})
    content["digest"] = canonical_digest({key: content[key] for key in content if key != "digest"})
    commit_path.write_text(json.dumps(content))
    for read in (store.newest, lambda: check_store(store).require_sound(), lambda: repair(store),
                 lambda: collect_garbage(store, 1)):
      with pytest.raises(FormatError, match="leads out of its folder"):
        read()

  @pytest.mark.parametrize("data", ["../../victim", "/", "", ".", "0" * 64 + "/../../../victim", 7, None, ["x"]])
  def test_dead_writer_s_claim_removes_nothing_elsewhere(self, store: Store, tmp_path: pathlib.Path,
                                                         data: object) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "x").write_text("x")
    writer = pathlib.Path(store.uri, "staging", "dead")
    writer.mkdir(parents=True)
    (writer / "owner.json").write_text(json.dumps({"data": data, "span": 9}))
    repair(store)
    assert (tmp_path / "victim" / "x").exists() and not writer.exists() and len(check_store(store).require_sound()) == 2

  def test_repair_with_an_unreadable_commit_removes_no_data(self, store: Store) -> None:
    pathlib.Path(store.uri, "commits", "2.json").write_text("{")
    before = everything(store.uri)
    with pytest.raises(FormatError):
      repair(store)
    assert everything(store.uri) == before

  def test_missing_parent_is_named(self, store: Store) -> None:
    os.remove(f"{store.uri}/commits/1.json")
    with pytest.raises(FormatError, match="its parent, span 1, is not there"):
      check_store(store).require_sound()


class TestRevisions:

  @pytest.fixture(params=["local", "ram"])
  def small(self, request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> SmallStore:
    (tmp_path / "memories").mkdir()
    root = str(tmp_path / "store") if request.param == "local" else f"ram://{tmp_path.name}/revised"
    return SmallStore(root, tmp_path / "memories", range(1, 3))

  def test_a_revision_takes_the_place_of_the_newest_commit_which_is_kept(self, small: SmallStore):
    before = small.store.read(2)
    revision = small.revise(num_slots=3)
    assert small.store.newest() == revision and revision.revises == before.data
    assert (revision.parent, revision.parent_data) == (before.parent, before.parent_data)
    assert revision.settings["revision"] == {"of": before.data, "distill": {"outer_steps": 9}}
    assert {key: value for key, value in revision.settings.items() if key != "revision"} == before.settings
    assert small.store.find(2, before.data[:9]) == before and not small.store.data_problems(before)
    # By its content, by span, and by a digest.
    uri = small.store.uri
    assert [len(load_memory(uri, **which)) for which in (
        {}, {"span": 2}, {"span": 2, "data": before.data[:12]}, {"span": 1})] == [3, 3, 2, 2]
    check_store(small.store).require_sound()

  def test_the_next_span_grows_from_the_revision(self, small: SmallStore):
    revision = small.revise()
    following = small.commit(3)
    assert (following.parent, following.parent_data) == (2, revision.data) and following.revises is None
    check_store(small.store).require_sound()

  def test_a_revision_can_be_revised_and_all_before_it_stay(self, small: SmallStore):
    first = small.store.read(2)
    second, third = small.revise(num_slots=3), small.revise(num_slots=4)
    assert (third.revises, second.revises, first.revises) == (second.data, first.data, None)
    collect_garbage(small.store, 1)
    assert {small.store.read_named(name).data for name in small.store.names()} == {
        first.data, second.data, third.data}
    check_store(small.store).require_sound()
    assert small.revise(num_slots=4) == third, "the same content again changes nothing"

  def test_what_a_run_has_replaced_is_removed_with_its_revisions(self, small: SmallStore):
    small.revise()
    replaced = small.commit(2, num_slots=7, replace=True, previous=small.memories[1])
    collect_garbage(small.store, 1)
    assert [small.store.read_named(name) for name in small.store.names()] == [replaced]

  @pytest.mark.parametrize("meanwhile", ["a later span", "the span again", "a revision"])
  def test_a_revision_of_what_is_no_longer_the_newest_is_refused(self, small: SmallStore, meanwhile: str):
    begun = small.store.read(2)
    if meanwhile == "a revision":
      small.revise(num_slots=5)
    elif meanwhile == "a later span":
      small.commit(3)
    else:
      small.commit(2, num_slots=6, replace=True, previous=small.memories[1])
    names = small.store.names()
    path = small.folder / "late"
    save_memory(str(path), small_memory(2, small.memories[1], 9))
    with pytest.raises(StoreError, match="begun from.*another process has committed meanwhile"):
      small.store.revise(begun, {"memory": str(path)}, revision={}, run_id="late")
    assert small.store.names() == names
    check_store(small.store).require_sound()

  @pytest.mark.parametrize("step", STEPS)
  def test_a_revision_that_dies_is_whole_or_not_there(self, tmp_path: pathlib.Path, step: str):
    class Death(BaseException):
      pass

    def die(name: str) -> None:
      if name == step:
        raise Death

    (tmp_path / "memories").mkdir()
    small = SmallStore(str(tmp_path / "store"), tmp_path / "memories", range(1, 3))
    before = small.store.read(2)
    small.store = Store(small.store.uri, on_step=die)
    with pytest.raises(Death):
      small.revise(num_slots=3)
    store = Store(small.store.uri)
    assert store.read(2).revises == (before.data if STEPS.index(step) >= STEPS.index("committed") else None)
    check_store(store).require_sound()
    small.store = store
    assert small.revise(num_slots=4).revises == store.find(2, store.read(2).revises).data
