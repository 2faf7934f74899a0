"""Pins: commits of a store that nothing removes, each with a note that says why, such as the model trained on it.

A pin is of a commit's content, so that it holds as well once the commit is replaced. Each is a file of its own, whose
write is one step, also in an object store. A pin is written first and the record of removed commits is looked at then,
while a removal writes that record first and looks at the pins then: whoever comes second sees the other.
"""

from __future__ import annotations

import datetime

from diet_tf.errors import StoreError
from diet_tf.io import files
from diet_tf.io.documents import document_bytes
from diet_tf.io.files import writing
from diet_tf.store import commit as commits_lib
from diet_tf.store.commit import MAX_NOTE_CHARACTERS, Pin
from diet_tf.store.locks import store_lock
from diet_tf.store.reader import StoreReader


def pin_commit(store: StoreReader, span: int, note: str = "", *, data: str | None = None) -> Pin:
  """The pin of a commit, which is written; it takes the place of an earlier pin of the same commit.

  Args:
    store: the store of the commit.
    span: number of the commit's span.
    note: why the commit is kept, at most `MAX_NOTE_CHARACTERS` long.
    data: digest of the commit's content, or how it begins, where the commit was replaced; None takes the span's
      current one.

  Raises:
    StoreError: there is no such commit, or it is being removed; or the note is too long.
  """
  if len(note) > MAX_NOTE_CHARACTERS:
    raise StoreError("the note", rule=f"it has at most {MAX_NOTE_CHARACTERS:,} characters.",
                     received=f"{len(note):,}.", remedy="shorten it.")
  store.require_commits()
  with writing(store.uri), store_lock(store.paths):
    commit = store.find(span, data)
    created = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    pin = Pin(commit.span, commit.data, note, created)
    files.make_folders(store.paths.pins)
    files.write_atomically(store.paths.pin(commit.data), document_bytes(pin.to_dict()))
    # Where there are locks no removal is under way; what one that was cut had set out to remove can still be kept.
    if files.is_remote(store.uri) and any(
        (one.span, one.data) == (commit.span, commit.data) for one in store.forgotten()):
      files.remove_if_there(store.paths.pin(commit.data))
      raise StoreError(f"span {span} in {store.uri}", rule="a commit that is being removed cannot be pinned.",
                       received="a removal of old commits under way, or one that was cut.",
                       remedy="let it end (diet store gc), and pin again if the commit is still there.")
    write_forgotten(store)
  return pin


def unpin_commits(store: StoreReader, span: int, *, data: str | None = None) -> list[Pin]:
  """The pins of a span's commits, which are removed.

  Args:
    store: the store of the commits.
    span: number of the span.
    data: digest of a commit's content, or how it begins; None removes the pins of all commits of the span.

  Raises:
    StoreError: no such commit is pinned.
  """
  with writing(store.uri), store_lock(store.paths):
    pins = store.pins()
    found = [pin for pin in pins if pin.span == span and pin.data.startswith(data or "")]
    if not found:
      raise StoreError(f"span {span} in {store.uri}", rule="only what is pinned can be unpinned.",
                       received=f"pins of {_listed(pins)}.", remedy="see diet store log.")
    for pin in found:
      files.remove_if_there(store.paths.pin(pin.data))
    write_forgotten(store)
  return found


def write_forgotten(store: StoreReader, removed: list[commits_lib.ForgottenCommit] | None = None) -> None:
  """Writes the record of removed commits, in a version that releases which know no pins refuse while there are any.

  Args:
    store: the store, whose lock is held.
    removed: all commits that are recorded as removed; None keeps those that are.
  """
  recorded = store.forgotten() if removed is None else removed
  has_pins = bool(store.pins())
  if recorded or has_pins or files.exists(store.paths.forgotten):
    content = document_bytes(commits_lib.forgotten_to_dict(recorded, has_pins=has_pins))
    files.write_atomically(store.paths.forgotten, content)


def _listed(pins: list[Pin]) -> str:
  return ", ".join(f"span {pin.span} ({pin.data[:12]})" for pin in pins) or "no commit"
