"""Garbage collection of a store: what stays, what goes, and what is there when it dies in between."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from diet_tf.errors import ConfigError, FormatError, StoreError
from diet_tf.io import files
from diet_tf.store.garbage import GARBAGE_STEPS, collect_garbage, repair
from diet_tf.store.memories import load_memory
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from tests.diet_tf.small_store import SPEC, SmallStore

COLLECTOR = """
import os, signal, sys
from diet_tf.io import files
from diet_tf.store.garbage import collect_garbage
from diet_tf.store.store import Store
root, last_step, in_write = sys.argv[1:]
steps, flush = [], files._flush_to_disk

def die_in_write(output, path):
  output.flush()
  os.kill(os.getpid(), signal.SIGKILL)

def on_step(name):
  steps.append(name)
  if len(steps) == int(last_step):
    os.kill(os.getpid(), signal.SIGKILL)

if int(in_write):
  files._flush_to_disk = die_in_write
collect_garbage(Store(root), 2, on_step=on_step)
assert "tensorflow" not in sys.modules
print(*steps)
"""
# Of a store with the spans 1 to 4 and a replaced commit of span 3, two stay: of three commits with data of their own.
NUM_STEPS = 1 + 3 + 3


class Death(BaseException):
  """Ends a garbage collection where SIGKILL would."""


@pytest.fixture(params=["local", "ram"])
def root(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
  return str(tmp_path / "store") if request.param == "local" else f"ram://{tmp_path.name}/store"


@pytest.fixture
def small(root: str, tmp_path: pathlib.Path) -> SmallStore:
  """Spans 1 to 4; span 3 was replaced before span 4 grew from it."""
  (tmp_path / "memories").mkdir()
  made = SmallStore(root, tmp_path / "memories", range(1, 4))
  made.commit(3, num_slots=3, replace=True)
  made.commit(4)
  return made


def everything(root: str) -> dict[str, bytes]:
  return {path: files.read_bytes(files.join(root, path)) for path in files.files_below(root)}


def require_kept(small: SmallStore, spans: list[int]) -> None:
  """The store is sound, its newest memory loads, and the next span's stage can commit."""
  assert small.store.spans() == spans
  check_store(small.store).require_sound()
  assert load_memory(small.store.uri, spec=SPEC).digest == small.memories[spans[-1]].digest


class TestWhatStays:

  def test_newest_commits_and_their_data_stay_and_all_else_goes(self, small: SmallStore) -> None:
    needed = {small.store.read(span).data for span in (3, 4)}
    garbage = collect_garbage(small.store, 2)
    assert garbage.kept_spans == (3, 4)
    names = [path.rpartition("/")[2] for path in garbage.commit_files]
    assert names == ["3.replaced-1.json", "1.json", "2.json"]
    assert files.names_in(files.join(small.store.uri, "commits")) == ["3.json", "4.json"]
    assert set(files.names_in(files.join(small.store.uri, "data"))) == needed
    require_kept(small, [3, 4])

  def test_next_span_grows_from_the_newest_and_is_sound(self, small: SmallStore) -> None:
    collect_garbage(small.store, 1)
    made = small.commit(5)
    assert made.parent == 4
    require_kept(small, [4, 5])
    collect_garbage(small.store, 1)
    require_kept(small, [5])
    assert small.store.known_spans() == [1, 2, 3, 4, 5]

  def test_nothing_to_do_changes_nothing(self, small: SmallStore) -> None:
    collect_garbage(small.store, 2)
    before = everything(small.store.uri)
    garbage = collect_garbage(small.store, 2)
    assert (garbage.commit_files, garbage.data_folders, garbage.leftovers, garbage.num_bytes) == ((), (), (), 0)
    assert everything(small.store.uri) == before
    assert collect_garbage(small.store, 99).kept_spans == (3, 4)

  def test_data_of_a_kept_commit_stay_where_a_removed_one_had_the_same(self, root: str,
                                                                       tmp_path: pathlib.Path) -> None:
    content = tmp_path / "content"
    content.write_text("the same")
    store = Store(root)
    for span in (1, 2):
      store.commit(span, {"notes": str(content)}, parent=None, settings={}, run_id="r")
    assert collect_garbage(store, 1).data_folders == ()
    assert [commit.span for commit in check_store(store).require_sound()] == [2]

  def test_dry_run_tells_the_same_and_changes_nothing(self, small: SmallStore) -> None:
    before = everything(small.store.uri)
    told = collect_garbage(small.store, 2, dry_run=True)
    assert everything(small.store.uri) == before
    going = (*told.commit_files, *(f"{path}/" for path in told.data_folders))
    gone = sum(len(content) for path, content in before.items()
               if files.join(small.store.uri, path).startswith(going))
    assert told.num_bytes == gone > 0
    assert collect_garbage(small.store, 2) == told

  def test_dry_run_of_a_copied_store_makes_no_lock(self, tmp_path: pathlib.Path) -> None:
    (tmp_path / "memories").mkdir()
    small = SmallStore(str(tmp_path / "store"), tmp_path / "memories", range(1, 3))
    lock = tmp_path / "store" / ".lock"
    assert lock.exists()
    lock.unlink()
    assert len(collect_garbage(small.store, 1, dry_run=True).commit_files) == 1
    assert not lock.exists() and small.store.spans() == [1, 2]

  def test_dry_run_of_a_store_that_can_only_be_read(self, tmp_path: pathlib.Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memories").mkdir()
    small = SmallStore(str(tmp_path / "store"), tmp_path / "memories")
    opened = os.open

    def read_only(path: str, flags: int, *more: int) -> int:
      if flags & (os.O_WRONLY | os.O_RDWR) and str(path).startswith(small.store.uri):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
      return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(files, "write_atomically", lambda path, content: os.close(os.open(path, os.O_RDWR)))
    before = everything(small.store.uri)
    assert collect_garbage(small.store, 1, dry_run=True).kept_spans == (4,)
    with pytest.raises(StoreError, match="the place must be writable.*Read-only file system"):
      collect_garbage(small.store, 1)
    assert everything(small.store.uri) == before

  def test_dead_writers_and_half_written_files_go_as_well(self, tmp_path: pathlib.Path) -> None:
    (tmp_path / "memories").mkdir()
    small = SmallStore(str(tmp_path / "store"), tmp_path / "memories", range(1, 3))
    writer = tmp_path / "store" / "staging" / "dead"
    writer.mkdir(parents=True)
    (writer / "owner.json").write_text(json.dumps({"data": "a" * 64, "span": 9}))
    (tmp_path / "store" / "data" / ("a" * 64)).mkdir()
    partial = tmp_path / "store" / "forgotten.json.0123.partial"
    partial.write_text("{")
    garbage = collect_garbage(small.store, 5)
    assert garbage.leftovers == (str(writer), str(partial)) and len(garbage.data_folders) == 1
    assert not writer.exists() and not partial.exists()
    require_kept(small, [1, 2])

  def test_checkpoints_go_that_no_refinement_has_written_for_a_day(self, tmp_path: pathlib.Path) -> None:
    """No lock tells whether a refinement lives, on a disk neither."""
    (tmp_path / "memories").mkdir()
    small = SmallStore(str(tmp_path / "store"), tmp_path / "memories", range(1, 3))
    old, young = (tmp_path / "store" / "unfinished" / f"refinement-{span}.npz" for span in (1, 2))
    old.parent.mkdir()
    for path in (old, young):
      path.write_bytes(b"x")
    os.utime(old, (0, 0))
    assert collect_garbage(small.store, 5, dry_run=True).leftovers == (str(old),)
    assert old.exists()
    assert collect_garbage(small.store, 5).leftovers == (str(old),)
    assert not old.exists() and young.exists()
    os.utime(young, (0, 0))
    assert repair(small.store) == [str(young)]

  def test_young_data_without_a_commit_stay_in_an_object_store(self, tmp_path: pathlib.Path) -> None:
    (tmp_path / "memories").mkdir()
    small = SmallStore(f"ram://{tmp_path.name}/young", tmp_path / "memories", range(1, 3))
    files.make_folders(f"{small.store.uri}/data/living")
    files.write_atomically(f"{small.store.uri}/data/living/x", b"x")
    # Data of a removed commit are known not to be a living writer's.
    assert len(collect_garbage(small.store, 1, grace_seconds=1e12).data_folders) == 1
    assert "living" in files.names_in(f"{small.store.uri}/data")
    assert len(collect_garbage(small.store, 1, grace_seconds=0).data_folders) == 1


class TestRefusals:

  @pytest.mark.parametrize("keep", [0, -1])
  def test_keeping_nothing_is_refused(self, small: SmallStore, keep: int) -> None:
    before = everything(small.store.uri)
    with pytest.raises(ConfigError, match="at least 1 commit"):
      collect_garbage(small.store, keep)
    assert everything(small.store.uri) == before

  def test_store_without_commits_is_refused_and_not_made(self, tmp_path: pathlib.Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
      with pytest.raises(StoreError, match="at least one commit"):
        collect_garbage(Store(str(folder)), 1)
    assert list(tmp_path.iterdir()) == []

  def test_damage_of_what_is_kept_is_told_before_older_commits_go(self, small: SmallStore) -> None:
    path = small.store.path(small.store.read(4), "memory/manifest.json")
    files.write_atomically(path, b"{}")
    before = everything(small.store.uri)
    for dry_run in (True, False):
      with pytest.raises(FormatError, match="manifest.json has not the digest"):
        collect_garbage(small.store, 1, dry_run=dry_run)
    assert everything(small.store.uri) == before

  def test_unreadable_commit_stops_it(self, small: SmallStore) -> None:
    files.write_atomically(files.join(small.store.uri, "commits/1.json"), b"{")
    before = everything(small.store.uri)
    with pytest.raises(FormatError, match=r"1\.json"):
      collect_garbage(small.store, 1)
    assert everything(small.store.uri) == before

  def test_span_that_grew_from_a_removed_commit_is_not_run_from_another(self, small: SmallStore) -> None:
    collect_garbage(small.store, 2)
    for span in (2, 3):
      with pytest.raises(StoreError, match=f"span {span - 1}, was removed.*above 3"):
        small.store.newest(below=span)
    # The first span grows from nothing, as it did; and above the oldest that is kept nothing has changed.
    assert small.store.newest(below=1) is None
    assert [small.store.newest(below=span).span for span in (4, 5, 6)] == [3, 4, 4]
    with pytest.raises(StoreError, match="its own was removed"):
      small.store.read(2)

  def test_forgotten_parent_of_another_memory_is_named(self, small: SmallStore) -> None:
    collect_garbage(small.store, 2)
    path = files.join(small.store.uri, "forgotten.json")
    content = json.loads(files.read_bytes(path))
    assert [(entry["span"], entry["memory"]) for entry in content["commits"] if entry["span"] < 3] == [
        (span, small.memories[span].digest) for span in (1, 2)]
    content["commits"] = [{**entry, "memory": "f" * 64} for entry in content["commits"]]
    files.write_atomically(path, json.dumps(content).encode())
    with pytest.raises(FormatError, match=r"forgotten\.json.*does not fit"):
      check_store(small.store).require_sound()
    files.remove_if_there(path)
    with pytest.raises(FormatError, match="span 3: its parent, span 2, is not there"):
      check_store(small.store).require_sound()


class TestDeath:

  @pytest.mark.parametrize("last_step", range(1, NUM_STEPS + 1))
  def test_exception_after_any_step(self, small: SmallStore, last_step: int) -> None:
    steps: list[str] = []

    def die(name: str) -> None:
      steps.append(name)
      if len(steps) == last_step:
        raise Death

    with pytest.raises(Death):
      collect_garbage(small.store, 2, on_step=die)
    assert set(steps) <= set(GARBAGE_STEPS)
    spans = small.store.spans()
    require_kept(small, spans)
    assert spans[-2:] == [3, 4]
    assert small.store.known_spans() == [1, 2, 3, 4]
    collect_garbage(small.store, 2)
    require_kept(small, [3, 4])
    assert len(files.names_in(files.join(small.store.uri, "data"))) == 2
    small.commit(5)
    require_kept(small, [3, 4, 5])

  @pytest.mark.parametrize("number", range(NUM_STEPS - 1))
  def test_exception_in_the_middle_of_a_removal(self, small: SmallStore, number: int,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    removals, remove = 0, files.remove_if_there

    def die(path: str) -> None:
      nonlocal removals
      removals += 1
      if removals <= number:
        remove(path)
        return
      if files.is_folder(path):
        remove(files.join(path, files.files_below(path)[0]))
      raise Death

    with monkeypatch.context() as patch:
      patch.setattr(files, "remove_if_there", die)
      with pytest.raises(Death):
        collect_garbage(small.store, 2)
    require_kept(small, small.store.spans())
    assert small.store.spans()[-2:] == [3, 4]
    repair(small.store)
    collect_garbage(small.store, 2)
    require_kept(small, [3, 4])
    assert len(files.names_in(files.join(small.store.uri, "data"))) == 2

  @pytest.mark.parametrize(("last_step", "in_write"), [(0, 1), *((step, 0) for step in range(1, NUM_STEPS + 1))])
  def test_killed_process(self, tmp_path: pathlib.Path, last_step: int, in_write: int) -> None:
    (tmp_path / "memories").mkdir()
    small = SmallStore(str(tmp_path / "store"), tmp_path / "memories", range(1, 4))
    small.commit(3, num_slots=3, replace=True)
    small.commit(4)
    arguments = [sys.executable, "-c", COLLECTOR, small.store.uri]
    killed = subprocess.run([*arguments, str(last_step), str(in_write)], capture_output=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    require_kept(small, small.store.spans())
    again = subprocess.run([*arguments, "0", "0"], capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 0, again.stderr
    require_kept(small, [3, 4])
    assert repair(small.store) == [] and os.listdir(small.store.uri).count("forgotten.json") == 1
