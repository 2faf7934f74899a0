"""Locks: one process at a time, and none that outlives its process."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from diet_tf.errors import StoreError
from diet_tf.store import locks
from diet_tf.store.locks import lock_file, refining_lock, store_lock
from diet_tf.store.paths import StorePaths

# Locks a store, says so, and waits to be killed.
HOLDER = """
import sys
from diet_tf.store.locks import store_lock
from diet_tf.store.paths import StorePaths
with store_lock(StorePaths(sys.argv[1])):
  print("locked", flush=True)
  sys.stdin.readline()
"""


def test_a_lock_is_had_once_and_again_after_it_was_dropped(tmp_path: pathlib.Path):
  path = str(tmp_path / "file")
  assert lock_file(path, wait=False) is None and not os.path.exists(path), "without `create` no file is made"
  first = lock_file(path, wait=False, create=True)
  assert first is not None
  assert lock_file(path, wait=False) is None
  os.close(first)
  second = lock_file(path, wait=False)
  assert second is not None
  os.close(second)


def test_a_store_s_lock_ends_with_the_process_that_holds_it(tmp_path: pathlib.Path):
  paths = StorePaths(str(tmp_path / "store"))
  holder = subprocess.Popen([sys.executable, "-c", HOLDER, paths.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            text=True)
  assert holder.stdout.readline() == "locked\n"
  assert lock_file(paths.lock, wait=False) is None
  holder.send_signal(signal.SIGKILL)
  holder.communicate(timeout=60)
  with store_lock(paths):
    assert lock_file(paths.lock, wait=False) is None
  lock = lock_file(paths.lock, wait=False)
  assert lock is not None
  os.close(lock)


def test_a_lock_is_dropped_by_an_exception(tmp_path: pathlib.Path):
  paths = StorePaths(str(tmp_path))
  with pytest.raises(KeyboardInterrupt), store_lock(paths):
    raise KeyboardInterrupt
  lock = lock_file(paths.lock, wait=False)
  assert lock is not None
  os.close(lock)


def test_a_remote_store_has_no_lock(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
  monkeypatch.chdir(tmp_path)
  with store_lock(StorePaths("ram://locks/store")):
    pass
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", locks._NO_LOCKS_ERRNOS)
def test_a_file_system_without_locks_is_used_without(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                                     number: int):
  def refuse(descriptor: int, operation: int) -> None:
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr(locks.fcntl, "flock", refuse)
  with store_lock(StorePaths(str(tmp_path))):
    assert lock_file(str(tmp_path / "file"), wait=True, create=True) is None


def test_another_failure_to_lock_is_no_lock_held(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
  def fail(descriptor: int, operation: int) -> None:
    raise OSError(5, "Input/output error")

  monkeypatch.setattr(locks.fcntl, "flock", fail)
  with pytest.raises(OSError, match="Input/output"), store_lock(StorePaths(str(tmp_path))):
    pytest.fail("the block runs only where the lock is held")


def test_one_process_at_a_time_refines_while_others_write(tmp_path: pathlib.Path):
  paths = StorePaths(str(tmp_path))
  with refining_lock(paths):
    with pytest.raises(StoreError, match="one process at a time refines"), refining_lock(paths):
      pass
    with store_lock(paths):
      pass
  with refining_lock(paths):
    pass


def test_where_nothing_can_be_locked_the_scheduler_keeps_refinements_apart(tmp_path: pathlib.Path, monkeypatch):
  def flock(descriptor: int, how: int) -> None:
    raise OSError(locks._NO_LOCKS_ERRNOS[0], "no locks")

  monkeypatch.setattr(locks.fcntl, "flock", flock)
  with refining_lock(StorePaths(str(tmp_path))), refining_lock(StorePaths("s3://bucket/store")):
    pass
