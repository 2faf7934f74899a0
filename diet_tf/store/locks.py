"""Locks of files on a local disk, which the operating system drops when the process that holds them ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator

from diet_tf.errors import StoreError
from diet_tf.io import files
from diet_tf.io.files import is_remote
from diet_tf.store.paths import StorePaths

# File systems that know no locks answer with these: then only the scheduler keeps writers apart, as on object stores.
_NO_LOCKS_ERRNOS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)

_READ_ONLY_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def store_lock(paths: StorePaths) -> Iterator[None]:
  """Keeps changes by other processes out of a local store within the block; does nothing for a remote one.

  Args:
    paths: places of the store; its root is made if it is not there.
  """
  if is_remote(paths.root):
    yield
    return
  files.make_folders(paths.root)
  lock = lock_file(paths.lock, wait=True, create=True)
  try:
    yield
  finally:
    if lock is not None:
      os.close(lock)


@contextlib.contextmanager
def refining_lock(paths: StorePaths) -> Iterator[None]:
  """Keeps other processes from refining the newest memory of a local store within the block; other writers may work.

  Does nothing for a remote store, or on a file system without locks.

  Raises:
    StoreError: another process is at it.
  """
  if is_remote(paths.root):
    yield
    return
  descriptor = _opened(paths.refining_lock, create=True)
  try:
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      if error.errno not in _NO_LOCKS_ERRNOS:
        raise StoreError(paths.root, rule="one process at a time refines the newest memory of a store.",
                         received="another one at work.",
                         remedy="wait for its end, or end it; nothing is lost.") from error
    yield
  finally:
    os.close(descriptor)


def lock_file(path: str, *, wait: bool, create: bool = False) -> int | None:
  """The descriptor of a file that is now locked; None if another process holds the lock, or there is no such file.

  The operating system drops the lock when the descriptor is closed, also by the death of the process.

  Args:
    path: local path of the file.
    wait: whether to wait until the process that holds the lock drops it.
    create: whether the file is made if it is not there.

  Returns:
    None also on a file system without locks.
  """
  try:
    descriptor = _opened(path, create)
  except FileNotFoundError:
    return None
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
  except OSError as error:
    os.close(descriptor)
    if not wait or error.errno in _NO_LOCKS_ERRNOS:
      return None
    raise
  return descriptor


def _opened(path: str, create: bool) -> int:
  """The descriptor of a file that is to be locked; one that can only be read can be locked too."""
  try:
    return os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
  except OSError as error:
    if error.errno not in _READ_ONLY_ERRNOS or not os.path.exists(path):
      raise
  return os.open(path, os.O_RDONLY)
