"""Writers of a local store: the living are left alone, and of the dead nothing is left that no commit needs."""

from __future__ import annotations

import os
import pathlib

import pytest

from diet_tf.store.locks import lock_file, store_lock
from diet_tf.store.store import Store
from diet_tf.store.writers import clear_dead_writers, dead_writers, registered_writer

UNCOMMITTED = "a" * 64


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
  """A store with one commit."""
  (tmp_path / "content").write_text("x")
  made = Store(str(tmp_path / "store"))
  made.commit(1, {"notes": str(tmp_path / "content")}, parent=None, settings={}, run_id="r")
  return made


def leave_writer(store: Store, name: str, data: str) -> pathlib.Path:
  """The staging folder of a writer that died after it had published data."""
  folder = pathlib.Path(store.paths.staging, name)
  folder.mkdir(parents=True)
  (folder / "owner.json").write_text(f'{{"data": "{data}", "span": 1}}')
  return folder


def test_a_registered_writer_is_alive_until_its_block_ends(store: Store):
  with registered_writer(store, store.read(1)) as writer:
    assert pathlib.Path(writer).parent == pathlib.Path(store.paths.staging)
    with store_lock(store.paths):
      assert dead_writers(store) == [] and clear_dead_writers(store) == []
    pathlib.Path(writer, "half").write_text("left")
  assert not os.path.exists(writer)
  assert store.data_problems(store.read(1)) == [], "data that a commit needs stay"


def test_a_writer_that_fails_leaves_nothing(store: Store):
  with pytest.raises(KeyboardInterrupt), registered_writer(store, store.read(1)):
    raise KeyboardInterrupt
  assert os.listdir(store.paths.staging) == []


def test_the_dead_are_those_that_hold_no_lock(store: Store):
  dead, living = (leave_writer(store, name, UNCOMMITTED) for name in ("dead", "living"))
  empty = pathlib.Path(store.paths.staging, "empty")
  empty.mkdir()
  lock = lock_file(str(living / "owner.json"), wait=False)
  with store_lock(store.paths):
    # One without an owner file has died before it wrote one.
    assert sorted(dead_writers(store)) == [str(dead), str(empty)]
  os.close(lock)
  with store_lock(store.paths):
    assert sorted(dead_writers(store)) == [str(dead), str(empty), str(living)]


def test_data_of_the_dead_go_unless_a_commit_has_them(store: Store):
  committed = store.read(1).data
  folder = pathlib.Path(store.paths.data_folder(UNCOMMITTED))
  folder.mkdir()
  leave_writer(store, "one", UNCOMMITTED)
  leave_writer(store, "other", committed)
  with store_lock(store.paths):
    assert len(clear_dead_writers(store)) == 2
  assert os.listdir(store.paths.data) == [committed] and os.listdir(store.paths.staging) == []


def test_an_unreadable_commit_keeps_all_data(store: Store):
  pathlib.Path(store.paths.commits, "2.json").write_text("{")
  folder = pathlib.Path(store.paths.data_folder(UNCOMMITTED))
  folder.mkdir()
  leave_writer(store, "one", UNCOMMITTED)
  with store_lock(store.paths):
    clear_dead_writers(store)
  assert folder.exists() and os.listdir(store.paths.staging) == []
