"""Writers of a local store: each has a staging folder, locked for as long as it lives, so that the dead are known."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator

from diet_tf.errors import FormatError
from diet_tf.io import files
from diet_tf.io.documents import document_bytes, is_sha256, read_document
from diet_tf.store.commit import Commit
from diet_tf.store.locks import lock_file, store_lock
from diet_tf.store.reader import StoreReader


@contextlib.contextmanager
def registered_writer(store: StoreReader, draft: Commit) -> Iterator[str]:
  """A new staging folder, locked within the block and removed after it, with all that the writer left unfinished.

  Args:
    store: the store that is written, on a local disk.
    draft: the commit that is to be made; its data without a commit are removed after the block.
  """
  writer = files.join(store.paths.staging, uuid.uuid4().hex)
  lock = None
  try:
    with store_lock(store.paths):
      files.make_folders(writer)
      owner = store.paths.owner(writer)
      files.write_atomically(owner, document_bytes({"data": draft.data, "span": draft.span}))
      lock = lock_file(owner, wait=False)
    yield writer
  finally:
    with store_lock(store.paths):
      _clear_writer(store, writer)
    if lock is not None:
      os.close(lock)


def dead_writers(store: StoreReader) -> list[str]:
  """The staging folders that no living writer has locked.

  The caller holds the lock of the store, so that none of them can become a living writer's meanwhile.
  """
  dead = []
  for name in files.names_in(store.paths.staging):
    writer = files.join(store.paths.staging, name)
    owner = store.paths.owner(writer)
    lock = lock_file(owner, wait=False)
    if lock is not None:
      os.close(lock)
    if lock is not None or not files.exists(owner):
      dead.append(writer)
  return dead


def clear_dead_writers(store: StoreReader) -> list[str]:
  """Removes the staging folders of dead writers, and the data that they published without a commit.

  The caller holds the lock of the store.

  Returns:
    The staging folders that were removed.
  """
  dead = dead_writers(store)
  for writer in dead:
    _clear_writer(store, writer)
  return dead


def _clear_writer(store: StoreReader, writer: str) -> None:
  """Removes a staging folder, and the data that its writer published if no commit needs them."""
  try:
    owner = read_document(store.paths.owner(writer))
    data, folder = owner["data"], store.paths.data_folder(str(owner["data"]))
    if is_sha256(data) and files.exists(folder) and not _is_committed(store, data, owner["span"]):
      files.remove_if_there(folder)
  except (KeyError, FormatError):
    # A writer without a readable owner file has published nothing; and while a commit is not readable, nobody knows
    # which data it needs.
    pass
  files.remove_if_there(writer)


def _is_committed(store: StoreReader, data: str, span: int) -> bool:
  """Whether any commit has that data, the current one of the span or another."""
  # The span's own commit nearly always decides, without reading those of all other spans.
  current = store.read_if_there(span)
  if current is not None and current.data == data:
    return True
  return data in {store.read_named(name).data for name in store.names()}
