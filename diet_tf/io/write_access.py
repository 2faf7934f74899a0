"""Whether a place can be written to, found out before anything is computed for it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

from diet_tf.errors import StoreError
from diet_tf.io import files

# A stage of a small log fits in this; with less free room a disk is as good as full.
LEAST_FREE_BYTES = 1 << 30
# The name is fixed, so that no more than one is left where a bucket lets nobody remove anything.
_PROBE_NAME = ".diet-probe"


def require_writable_folder(folder: str) -> None:
  """Raises StoreError if nothing can be written into a folder, or if it cannot be made.

  Args:
    folder: path or URI of the folder, which need not be there; it is not made.
  """
  if files.is_remote(folder):
    probe = files.join(folder, _PROBE_NAME)
    with files.writing(folder):
      files.write_atomically(probe, b"")
    with contextlib.suppress(Exception):
      files.remove_if_there(probe)
    return
  place = nearest_folder(folder)
  if not os.path.isdir(place):
    raise StoreError(folder, rule="it is a folder, in which files are made.", received=f"a file at {place}.",
                     remedy="name another place.")
  with files.writing(folder):
    tempfile.TemporaryFile(prefix=_PROBE_NAME, dir=place).close()


def require_writable_file(path: str) -> None:
  """Raises StoreError if a file cannot be written; one that is there is not changed.

  Args:
    path: path or URI of the file.
  """
  if files.is_remote(path):
    require_writable_folder(files.parent(path))
    return
  if os.path.isdir(path):
    raise StoreError(path, rule="it is a file.", received="a folder.", remedy="name a file in it, or another place.")
  require_writable_folder(files.parent(path))
  if os.path.exists(path):
    with files.writing(path), open(path, "r+b"):
      pass


def nearest_folder(path: str) -> str:
  """The absolute path itself if something is there, or else the nearest folder above it that is."""
  path = os.path.abspath(path)
  while not os.path.exists(path):
    path = os.path.dirname(path)
  return path


def free_bytes(folder: str) -> int | None:
  """The free room on the disk of a local folder, which need not be there; None for a URI."""
  return None if files.is_remote(folder) else shutil.disk_usage(nearest_folder(folder)).free
