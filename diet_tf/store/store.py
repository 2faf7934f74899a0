"""The store: the versioned, crash-safe home of memories, one commit per span.

    data/<data digest>/<part>/...       content, named by its digest and never changed
    commits/<span>.json                 the commit of a span: written last, atomically
    commits/<span>.replaced-<n>.json    commits that were replaced by name; their data stay
    forgotten.json                      what later commits say of commits that were removed
    staging/<writer>/                   a writer at work, locked by it for as long as it lives

A reader looks at `commits` alone, so that a process that dies at any point leaves either the commit or nothing to be
seen. On a local disk a data folder appears by one rename, under the store's lock, and the folders of dead writers are
known by their locks, which the operating system drops with the process. Object stores have neither renames nor locks:
there a data folder is filled in place (its name is its content, so filling it again is harmless), the put of the commit
is the atomic step, and two writers of one span at the same time must be kept apart by the scheduler.

Nothing here imports TensorFlow for a local store.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable, Mapping
from typing import Any

from diet_tf.errors import StoreError
from diet_tf.io import files
from diet_tf.io.documents import canonical_digest, document_bytes
from diet_tf.io.files import is_remote, writing
from diet_tf.io.write_access import require_writable_folder
from diet_tf.memory.manifest import MANIFEST_NAME
from diet_tf.store import commit as commits_lib
from diet_tf.store.commit import REVISION_KEY, Commit
from diet_tf.store.locks import store_lock
from diet_tf.store.parts import SourceFile, copy_parts, feature_spec_digest, measure_parts
from diet_tf.store.paths import CommitName
from diet_tf.store.reader import MEMORY_PART, StoreReader
from diet_tf.store.writers import clear_dead_writers, registered_writer

__all__ = ["MEMORY_PART", "MIGRATED_FROM_KEY", "STEPS", "Commit", "Store", "memory_folder"]

# The key of a commit's settings that declares a change of the feature spec: the digest of the parent's.
MIGRATED_FROM_KEY = "migrated_from"
# The protocol of a commit, in order; `on_step` is called after each. The last but one makes the commit visible.
STEPS = ("writer_registered", "data_staged", "data_published", "commit_staged", "replaced_kept", "committed", "cleaned")


class Store(StoreReader):
  """The commits below one root, to be read and added to.

  `diet_tf.store.garbage` removes what is no longer needed, and `diet_tf.store.verification` checks a store.

  Args:
    uri: root of the store, a local folder or a URI that `tf.io.gfile` writes; made by the first commit.
    on_step: function that is called with the name of each step of `STEPS` once it is done.

  Attributes:
    uri: the root, without a slash at its end.
    paths: the places below the root.
  """

  def __init__(self, uri: str, *, on_step: Callable[[str], None] | None = None) -> None:
    super().__init__(uri)
    self._on_step = on_step or (lambda name: None)

  def commit(self, span: int, files: Mapping[str, str], *, parent: Commit | int | None, settings: Mapping[str, Any],
             run_id: str, replace: bool = False) -> Commit:
    """Commits folders and files as the content of a span; returns the commit that readers of the span now get.

    The same content again changes nothing and returns the commit that is there.

    Args:
      span: number of the span, at least 0.
      files: local path or URI of each part's file or folder, by the part's name.
      parent: the commit that the content grew from, or the span of it, which is an earlier one; None for the first.
      settings: settings of the run, as JSON values. Its `feature_spec` or `feature_spec_digest` counts where the part
        "memory" has no manifest. Its `migrated_from`, the digest of the parent's feature spec, declares that the memory
        was migrated from it to another.
      run_id: name of the run.
      replace: whether other content of a committed span is replaced (the old commit is kept aside) or refused.

    Raises:
      StoreError: other content is committed; the feature spec differs from the parent's, which was not declared; a
        source is missing, empty or changes meanwhile; the disk is full or not writable. The store is then as it was.
    """
    sources = measure_parts(files)
    return self._write(self._draft(span, sources, parent, settings, run_id), sources, replace)

  def revise(self, revised: Commit, files: Mapping[str, str], *, revision: Mapping[str, Any], run_id: str) -> Commit:
    """Commits other content as a revision of the newest commit, which is kept aside; returns the revision.

    It has the parent and the settings of what it revises, so that the next span goes on from it as from that.

    Args:
      revised: the newest commit.
      files: local path or URI of each part's file or folder, by the part's name.
      revision: what is noted of the revision, as JSON values; `of` is added to it, the digest of the revised content.
      run_id: name of the run.

    Raises:
      StoreError: `revised` is no longer the newest commit; a source is missing, empty or changes meanwhile; the disk is
        full or not writable. The store is then as it was.
    """
    sources = measure_parts(files)
    noted = {**revised.settings, REVISION_KEY: {**revision, "of": revised.data}}
    settings = json.loads(json.dumps(noted, default=dict))
    infos = {path: source.info for path, source in sorted(sources.items())}
    draft = dataclasses.replace(
        revised, data=commits_lib.data_digest(infos), files=infos, settings=settings, run_id=run_id,
        feature_spec_digest=feature_spec_digest(sources, settings), settings_digest=canonical_digest(settings),
        created=_now(), format_version=commits_lib.COMMIT.newest)
    return self._write(draft, sources, replace=False)

  def _write(self, draft: Commit, sources: Mapping[str, SourceFile], replace: bool) -> Commit:
    with writing(self.uri):
      self._clear_dead_writers()
    sufficient = self._sufficient_commit(draft, replace)
    if sufficient is not None:
      return sufficient
    with writing(self.uri):
      if is_remote(self.uri):
        return self._commit_remotely(draft, sources, replace)
      return self._commit_locally(draft, sources, replace)

  def require_writable(self) -> None:
    """Raises StoreError if a commit could not be written; nothing is changed."""
    # In an object store one place is like another.
    folders = [self.uri] if is_remote(self.uri) else [self.uri, self.paths.commits, self.paths.data]
    for folder in folders:
      require_writable_folder(folder)

  def _draft(self, span: int, sources: Mapping[str, SourceFile], parent: Commit | int | None,
             settings: Mapping[str, Any], run_id: str) -> Commit:
    """The commit that is to be made, checked against its parent."""
    subject = f"span {span} in {self.uri}"
    if not isinstance(span, int) or isinstance(span, bool) or span < 0:
      raise StoreError(subject, rule="a span is an integer of at least 0.", received=repr(span), remedy="renumber it.")
    settings = json.loads(json.dumps(settings, default=dict))
    if isinstance(parent, int):
      parent = self.read(parent)
    infos = {path: source.info for path, source in sorted(sources.items())}
    spec_digest = feature_spec_digest(sources, settings)
    if parent is not None:
      _check_parent(subject, span, spec_digest, settings, parent)
    return Commit(
        span=span, parent=None if parent is None else parent.span, parent_data=None if parent is None else parent.data,
        data=commits_lib.data_digest(infos), files=infos, feature_spec_digest=spec_digest, settings=settings,
        settings_digest=canonical_digest(settings), run_id=str(run_id),
        created=_now())

  def _sufficient_commit(self, draft: Commit, replace: bool) -> Commit | None:
    """The current commit of the draft's span if it makes the draft needless; None if the draft is to be committed.

    Raises:
      StoreError: other content is committed and is not to be replaced.
    """
    current = self.read_if_there(draft.span)
    if draft.revises is not None and (current is None or current.data != draft.data):
      self._require_revised(draft, current)
      return None
    if current is None or (current.data != draft.data and replace):
      return None
    if current.data == draft.data:
      # Content that was damaged since is written again, under the current commit.
      return None if self.data_problems(current) else current
    raise StoreError(f"span {draft.span} in {self.uri}", rule="a committed span is never changed silently.",
                     received=f"data {draft.data[:12]} where {current.data[:12]} of run {current.run_id!r} is "
                     f"committed; {_settings_difference(current.settings, draft.settings)}.",
                     remedy="keep what is committed, or replace it by name (--replace, replace=True).")

  def _require_revised(self, draft: Commit, current: Commit | None) -> None:
    """Raises StoreError unless the draft revises the newest commit of the store."""
    newest = max(self.spans(), default=None)
    if current is None or current.data != draft.revises or newest != draft.span:
      found = "no commit" if current is None else f"data {current.data[:12]}, and newest span {newest}"
      raise StoreError(f"span {draft.span} in {self.uri}", rule="a revision takes the place of the newest commit, data "
                       f"{str(draft.revises)[:12]}, which it was begun from.", received=f"{found}.",
                       remedy="another process has committed meanwhile; refine what is newest now (diet refine).")

  def _commit_locally(self, draft: Commit, sources: Mapping[str, SourceFile], replace: bool) -> Commit:
    """Commits through a staging folder, whose content is renamed into its place under the store's lock."""
    with registered_writer(self, draft) as writer:
      self._on_step("writer_registered")
      staged = files.join(writer, "data")
      copy_parts(sources, staged)
      self._on_step("data_staged")
      with store_lock(self.paths):
        sufficient = self._sufficient_commit(draft, replace)
        if sufficient is not None:
          return sufficient
        self._publish_data(staged, draft)
        self._on_step("data_published")
        commit = self._publish_commit(draft, files.join(writer, "commit.json"))
    self._on_step("cleaned")
    return commit

  def _publish_data(self, staged: str, draft: Commit) -> None:
    """Moves staged data into their place; the lock of the store is held."""
    target = self.paths.data_folder(draft.data)
    files.make_folders(self.paths.data)
    if files.exists(target):
      if not self.data_problems(draft):
        return
      # It was damaged after it was written; what is staged is the same content, sound.
      files.rename(target, f"{staged}.damaged")
    files.rename(staged, target)

  def _publish_commit(self, draft: Commit, staged: str) -> Commit:
    """Makes the draft the current commit of its span, by way of the file `staged`; the lock of the store is held."""
    current = self.read_if_there(draft.span)
    if current is not None and current.data == draft.data:
      return current
    files.make_folders(self.paths.commits)
    files.write_atomically(staged, document_bytes(draft.to_dict()))
    self._on_step("commit_staged")
    self._keep_replaced(draft.span)
    self._on_step("replaced_kept")
    files.rename(staged, self.paths.commit(CommitName(draft.span, is_current=True)))
    self._on_step("committed")
    return draft

  def _commit_remotely(self, draft: Commit, sources: Mapping[str, SourceFile], replace: bool) -> Commit:
    """Commits to a file system without locks and renames of folders: the write of the commit is the atomic step."""
    self._on_step("writer_registered")
    copy_parts(sources, self.paths.data_folder(draft.data))
    self._on_step("data_staged")
    self._on_step("data_published")
    sufficient = self._sufficient_commit(draft, replace)
    if sufficient is not None:
      return sufficient
    files.make_folders(self.paths.commits)
    self._on_step("commit_staged")
    self._keep_replaced(draft.span)
    self._on_step("replaced_kept")
    files.write_atomically(self.paths.commit(CommitName(draft.span, is_current=True)), document_bytes(draft.to_dict()))
    self._on_step("committed")
    if self.read(draft.span) != draft:
      raise StoreError(f"span {draft.span} in {self.uri}", rule="one process commits a span at a time.",
                       received="the commit of another process in the place of this one.",
                       remedy="let the scheduler run one pipeline at a time on a store.")
    self._on_step("cleaned")
    return draft

  def _keep_replaced(self, span: int) -> None:
    """Keeps the current commit of the span, if there is one, aside under the next free number."""
    path = self.paths.commit(CommitName(span, is_current=True))
    if not files.exists(path):
      return
    content = files.read_bytes(path)
    replaced = [name for name in self.names() if name.span == span and not name.is_current]
    # A process that died after this step has kept it already.
    if not replaced or files.read_bytes(self.paths.commit(replaced[-1])) != content:
      name = CommitName(span, is_current=False, number=replaced[-1].number + 1 if replaced else 1)
      files.write_atomically(self.paths.commit(name), content)

  def _clear_dead_writers(self) -> None:
    if not is_remote(self.uri) and files.names_in(self.paths.staging):
      with store_lock(self.paths):
        clear_dead_writers(self)


def _now() -> str:
  return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def memory_folder(uri: str, *, span: int | None = None, data: str | None = None) -> str:
  """The folder of the memory at `uri`: itself, or the memory of the newest commit if `uri` is the root of a store.

  Args:
    uri: folder of a memory, or root of a store.
    span: of a store, number of the span whose commit is meant; None takes the newest.
    data: digest of that commit's content, or how it begins, for one that was revised or replaced; None takes the
      span's current one.

  Raises:
    StoreError: there is neither, or no such commit.
  """
  uri = str(uri)
  if span is not None:
    store = Store(uri)
    return store.path(store.find(span, data), MEMORY_PART)
  if data is not None:
    raise StoreError(uri, rule="a digest names a commit of a span.", received=f"data {data!r} without a span.",
                     remedy="name the span too.")
  if files.exists(files.join(uri, MANIFEST_NAME)) or uri.endswith(".json"):
    return uri
  if files.exists(files.join(uri, MEMORY_PART, MANIFEST_NAME)):
    return files.join(uri, MEMORY_PART)
  store = Store(uri)
  newest = store.newest()
  if newest is None:
    raise StoreError(uri, rule=f"a memory is a folder with a {MANIFEST_NAME}, or the newest commit of a store.",
                     received="neither." if files.exists(uri) else "no such folder.",
                     remedy="check the path, or commit a span first.")
  return store.path(newest, MEMORY_PART)


def _check_parent(subject: str, span: int, spec_digest: str | None, settings: Mapping[str, Any],
                  parent: Commit) -> None:
  if parent.span >= span:
    raise StoreError(subject, rule="the parent is of an earlier span.", received=f"parent span {parent.span}.",
                     remedy="take the newest commit below the span.")
  declared = settings.get(MIGRATED_FROM_KEY) == parent.feature_spec_digest
  if spec_digest and parent.feature_spec_digest and spec_digest != parent.feature_spec_digest and not declared:
    raise StoreError(subject, rule=f"the feature spec is that of the parent, span {parent.span}: "
                     f"{parent.feature_spec_digest}.", received=f"{spec_digest}; "
                     f"{_settings_difference(parent.settings, settings)}.",
                     remedy="use the config that the store was begun with, or begin a new store.")


def _settings_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
  """Both values of every setting that differs."""
  lines = [f"{key} = {json.dumps(new.get(key))} where {json.dumps(old.get(key))} was committed"
           for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
  return "settings that differ: " + "; ".join(lines) if lines else "the settings are the same"
