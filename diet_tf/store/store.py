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

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from diet_tf.errors import ConfigError, DietError, FormatError, StoreError
from diet_tf.io import files
from diet_tf.io.documents import canonical_digest, document_bytes, is_sha256, read_document
from diet_tf.io.files import is_remote, writing
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.manifest import MANIFEST_NAME, Manifest, read_manifest
from diet_tf.store import commit as commits_lib
from diet_tf.store.commit import Commit, CommitName, FileInfo, ForgottenCommit

__all__ = ["MEMORY_PART", "Commit", "FileInfo", "Garbage", "Store", "memory_folder"]

# The part of a commit that holds the memory.
MEMORY_PART = "memory"
# The key of a commit's settings that declares a change of the feature spec: the digest of the parent's.
MIGRATED_FROM_KEY = "migrated_from"
# The protocol of a commit, in order; `on_step` is called after each. The last but one makes the commit visible.
STEPS = ("writer_registered", "data_staged", "data_published", "commit_staged", "replaced_kept", "committed", "cleaned")
# The protocol of a garbage collection, in order; `on_step` is called after each, for each file and folder. The record
# of what goes comes first, so that no commit names a parent that nobody knows, and data last, so that none lacks them.
GARBAGE_STEPS = ("forgotten_recorded", "commit_removed", "data_removed")
# A writer in an object store that is silent for so long is taken for dead.
REMOTE_GRACE_SECONDS = 24 * 3600.0

_PART_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_OWNER_NAME = "owner.json"
_FORGOTTEN_NAME = "forgotten.json"
_LOCK_NAME = ".lock"
# File systems that know no locks answer with these: then only the scheduler keeps writers apart, as on object stores.
_NO_LOCKS_ERRNOS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


@dataclasses.dataclass(frozen=True)
class Garbage:
  """What a garbage collection removes.

  Attributes:
    kept: the spans whose commits stay.
    commits: paths of the commits that go, in the order in which they go.
    data: paths of the data folders that no commit needs then.
    rest: paths of what dead writers left.
    num_bytes: of all of these.
  """

  kept: tuple[int, ...]
  commits: tuple[str, ...]
  data: tuple[str, ...]
  rest: tuple[str, ...]
  num_bytes: int


@dataclasses.dataclass(frozen=True)
class _Source:
  path: str
  info: FileInfo


class Store:
  """The commits below one root.

  Args:
    uri: a local folder or a URI that `tf.io.gfile` writes; made by the first commit.
    on_step: called with the name of each step of `STEPS` or `GARBAGE_STEPS` once it is done.
  """

  def __init__(self, uri: str, *, on_step: Callable[[str], None] | None = None) -> None:
    self.uri = str(uri).rstrip("/") or "/"
    self._on_step = on_step or (lambda name: None)

  def spans(self) -> list[int]:
    """The committed spans in increasing order."""
    return [name.span for name in self.names() if name.standing]

  def known_spans(self) -> list[int]:
    """The spans that are or were committed, in increasing order: those of removed commits too."""
    return sorted({*self.spans(), *(commit.span for commit in self.forgotten())})

  def names(self) -> list[CommitName]:
    """The names of all commits in increasing order, replaced ones included."""
    names = (CommitName.parse(name) for name in files.names_in(self._commits_folder))
    return sorted(name for name in names if name is not None)

  def forgotten(self) -> list[ForgottenCommit]:
    """What is known of commits that were removed, in the order of their spans.

    Raises:
      FormatError: the record of them is damaged.
    """
    path = self._forgotten_path
    return commits_lib.forgotten_from_dict(read_document(path), path) if files.exists(path) else []

  def newest(self, below: int | None = None) -> Commit | None:
    """The commit of the greatest span, among those below `below` if that is given; None if there is none.

    Raises:
      FormatError: that commit is damaged; an older one is never taken in its stead.
      StoreError: that commit was removed; nor is an older one taken then.
    """
    spans = [span for span in self.spans() if below is None or span < below]
    newest = spans[-1] if spans else None
    if below is not None:
      self._require_remembered(below, newest)
    return None if newest is None else self.read(newest)

  def read(self, span: int) -> Commit:
    """The commit of a span.

    Raises:
      StoreError: the span is not committed.
      FormatError: its commit is damaged or newer than this version reads.
    """
    commit = self._read_if_there(span)
    if commit is None:
      removed = any(one.span == span for one in self.forgotten())
      raise StoreError(f"span {span} in {self.uri}", rule="the span must be committed.",
                       received=f"commits of the spans {self.spans()}{'; its own was removed' if removed else ''}.",
                       remedy="name one of these spans, or run it.")
    return commit

  def read_named(self, name: CommitName) -> Commit:
    """The commit of that name.

    Raises:
      FormatError: it is damaged, or of another span than its name says.
    """
    path = files.join(self._commits_folder, str(name))
    commit = Commit.from_dict(read_document(path), subject=path)
    if commit.span != name.span:
      raise commits_lib.damaged(path, f"a commit of span {commit.span}.")
    return commit

  def commits(self) -> list[Commit]:
    """All commits in the order of their spans, without replaced ones."""
    return [self.read(span) for span in self.spans()]

  def path(self, commit: Commit, name: str = "") -> str:
    """Where a part of a commit lies: `name` is a part or a path below one; empty is the folder of all parts.

    Raises:
      StoreError: the commit has no such part.
    """
    folder = files.join(self._data_folder, commit.data)
    if not name:
      return folder
    if not any(path == name or path.startswith(f"{name}/") for path in commit.files):
      parts = sorted({path.split("/", 1)[0] for path in commit.files})
      raise StoreError(f"{name!r} of span {commit.span} in {self.uri}", rule=f"the commit has the parts {parts}.",
                       received=repr(name), remedy="name one of these.")
    return files.join(folder, name)

  def commit(self, span: int, files: Mapping[str, str], *, parent: Commit | int | None, settings: Mapping[str, Any],
             run_id: str, replace: bool = False) -> Commit:
    """Commits folders and files as the content of a span; returns the commit that now stands for it.

    The same content again changes nothing and returns the commit that is there.

    Args:
      span: at least 0.
      files: per part name, a local path or URI of a file or folder.
      parent: the commit that it grew from, of an earlier span; None for the first.
      settings: of the run, as JSON values. Its `feature_spec` or `feature_spec_digest` counts where the part "memory"
        has no manifest. Its `migrated_from`, the digest of the parent's feature spec, declares that the memory was
        migrated from it to another.
      run_id: names the run.
      replace: whether other content of a committed span is replaced (the old commit is kept aside) or refused.

    Raises:
      StoreError: other content is committed; the feature spec differs from the parent's, which was not declared; a
        source is missing, empty or changes meanwhile; the disk is full or not writable. The store is then as it was.
    """
    sources = _measure(files)
    draft = self._draft(span, sources, parent, settings, run_id)
    with writing(self.uri):
      self._recover()
    standing = self._standing(draft, replace)
    if standing is not None:
      return standing
    with writing(self.uri):
      if is_remote(self.uri):
        return self._commit_remotely(draft, sources, replace)
      return self._commit_locally(draft, sources, replace)

  def require_commits(self) -> None:
    """Raises StoreError if nothing is committed: there may be no store at all."""
    if not self.names():
      raise StoreError(self.uri, rule="a store has at least one commit.",
                       received="a folder without one." if files.exists(self.uri) else "no such folder.",
                       remedy="check the path, or commit a span first.")

  def repair(self, grace_seconds: float = REMOTE_GRACE_SECONDS) -> list[str]:
    """Removes what dead writers left, and nothing that a commit or a living writer needs; returns the removed paths.

    Args:
      grace_seconds: in an object store, what is younger is taken to be a living writer's. Local writers hold a lock.
    """
    with writing(self.uri), self._locked():
      removed = self._clear_dead_writers()
      needed = {self.read_named(name).data for name in self.names()}
      forgotten = {commit.data for commit in self.forgotten()}
      removed += (rest := [*self._unneeded_data(needed, forgotten, grace_seconds), *self._partial_files(grace_seconds)])
      for path in rest:
        files.remove_if_there(path)
    return removed

  def collect_garbage(self, keep: int, *, dry_run: bool = False,
                      grace_seconds: float = REMOTE_GRACE_SECONDS) -> Garbage:
    """Removes all commits but the newest, the data that only they needed, and what dead writers left.

    What later commits say of the removed ones is kept, so that `verify` still knows their parents, and a span that
    grew from a removed commit is not run from another one. Whoever dies in between leaves a sound store, and the next
    call goes on. In an object store no writer may be at work meanwhile.

    Args:
      keep: how many commits stay, at least 1; replaced ones never do.
      dry_run: whether nothing is changed.
      grace_seconds: see `repair`.

    Returns:
      What was removed, or would be.

    Raises:
      ConfigError: nothing is to be kept.
      StoreError: nothing is committed.
      FormatError: a commit is damaged, or content of one that is kept: what is older may be all there is.
    """
    if keep < 1:
      raise ConfigError("keep", rule="at least 1 commit is kept: the next span grows from it.", received=str(keep),
                        remedy="to be rid of a store, remove its folder.")
    self.require_commits()
    # A store without the file that is locked has no writer, and a dry run is not to make it.
    alone = dry_run and not files.exists(self._lock_path)
    with writing(self.uri), contextlib.nullcontext() if alone else self._locked():
      garbage, forgotten = self._garbage(keep, grace_seconds)
      if not dry_run:
        self._forget(garbage, forgotten)
    return garbage

  def data_problems(self, commit: Commit) -> list[str]:
    """What is wrong with the files of a commit, as sentences."""
    folder, problems = self.path(commit), []
    for path, info in commit.files.items():
      full = files.join(folder, path)
      if not files.exists(full):
        problems.append(f"{full} is missing.")
      elif files.leads_outside(folder, path):
        problems.append(f"{full} is a link that leads out of its folder.")
      elif files.is_folder(full) or FileInfo(*files.digest(full)) != info:
        problems.append(f"{full} has not the digest {info.sha256[:12]} and the {info.num_bytes} bytes it was "
                        "committed with.")
    return problems

  @property
  def _commits_folder(self) -> str:
    return files.join(self.uri, "commits")

  @property
  def _data_folder(self) -> str:
    return files.join(self.uri, "data")

  @property
  def _staging_folder(self) -> str:
    return files.join(self.uri, "staging")

  @property
  def _forgotten_path(self) -> str:
    return files.join(self.uri, _FORGOTTEN_NAME)

  @property
  def _lock_path(self) -> str:
    return files.join(self.uri, _LOCK_NAME)

  def _commit_path(self, span: int) -> str:
    return files.join(self._commits_folder, str(CommitName(span, standing=True)))

  def _read_if_there(self, span: int) -> Commit | None:
    return self.read_named(CommitName(span, standing=True)) if files.exists(self._commit_path(span)) else None

  def _require_remembered(self, below: int, newest: int | None) -> None:
    """Raises StoreError if a removed commit lies between the newest one below a span and the span."""
    spans = self.spans()
    lost = [one.span for one in self.forgotten()
            if one.span < below and one.span not in spans and (newest is None or one.span > newest)]
    if lost:
      raise StoreError(f"span {below} in {self.uri}", rule="a span grows from the newest commit below it.",
                       received=f"that commit, of span {max(lost)}, was removed by a garbage collection.",
                       remedy=f"run spans above {spans[0] if spans else max(lost)}, the oldest that is kept, or begin "
                       "a new store.")

  def _garbage(self, keep: int, grace_seconds: float) -> tuple[Garbage, list[ForgottenCommit]]:
    """What goes, and the record of all commits that are gone then; changes nothing."""
    commits = {name: self.read_named(name) for name in self.names()}
    kept = [name for name in commits if name.standing][-keep:]
    # The oldest first: what stands always has all that came after it.
    going = sorted(set(commits) - set(kept), key=lambda name: (name.standing, name))
    problems = [problem for name in kept for problem in self.data_problems(commits[name])]
    if problems:
      raise FormatError(self.uri, rule="what is kept is as it was committed.", received="\n  ".join(problems),
                        remedy="see diet store verify; restore the named files, or run their spans again.")
    forgotten = self.forgotten() + [self._forgotten(commits[name]) for name in going]
    data = self._unneeded_data({commits[name].data for name in kept}, {one.data for one in forgotten}, grace_seconds)
    rest = [*self._dead_writers(), *self._partial_files(grace_seconds)]
    paths = [files.join(self._commits_folder, str(name)) for name in going]
    return Garbage(tuple(name.span for name in kept), tuple(paths), tuple(data), tuple(rest),
                   sum(map(files.num_bytes_below, [*paths, *data, *rest]))), forgotten

  def _forgotten(self, commit: Commit) -> ForgottenCommit:
    try:
      memory = read_manifest(self.path(commit, MEMORY_PART)).digest
    except DietError:
      # A commit without a memory, or with a damaged one, of which nobody needs to know more.
      memory = None
    return ForgottenCommit(commit.span, commit.data, commit.feature_spec_digest, memory)

  def _forget(self, garbage: Garbage, forgotten: list[ForgottenCommit]) -> None:
    """Removes garbage; the lock is held."""
    if garbage.commits:
      files.write_atomically(self._forgotten_path, document_bytes(commits_lib.forgotten_to_dict(forgotten)))
      self._on_step("forgotten_recorded")
    for path in garbage.commits:
      files.remove_if_there(path)
      self._on_step("commit_removed")
    if not is_remote(self.uri):
      files.flush_folder(self._commits_folder)
    for path in [*garbage.data, *garbage.rest]:
      files.remove_if_there(path)
      self._on_step("data_removed")

  def _unneeded_data(self, needed: set[str], forgotten: set[str], grace_seconds: float) -> list[str]:
    """The data folders that no commit needs and no living writer fills."""
    folders = {digest: files.join(self._data_folder, digest) for digest in files.names_in(self._data_folder)}
    # Some object stores list a folder for a while after the last file in it is gone.
    return [folder for digest, folder in folders.items() if digest not in needed and files.exists(folder)
            and (digest in forgotten or self._is_abandoned(folder, grace_seconds))]

  def _partial_files(self, grace_seconds: float) -> list[str]:
    """Files that a writer died in, which no reader sees."""
    paths = [files.join(folder, name) for folder in (self.uri, self._commits_folder) for name in files.names_in(folder)
             if name.endswith(files.PARTIAL_SUFFIX)]
    return [path for path in paths if self._is_abandoned(path, grace_seconds)]

  def _is_abandoned(self, path: str, grace_seconds: float) -> bool:
    return not is_remote(self.uri) or _age_seconds(path) > grace_seconds

  def _draft(self, span: int, sources: Mapping[str, _Source], parent: Commit | int | None,
             settings: Mapping[str, Any], run_id: str) -> Commit:
    subject = f"span {span} in {self.uri}"
    if not isinstance(span, int) or isinstance(span, bool) or span < 0:
      raise StoreError(subject, rule="a span is an integer of at least 0.", received=repr(span), remedy="renumber it.")
    settings = json.loads(json.dumps(settings, default=dict))
    if isinstance(parent, int):
      parent = self.read(parent)
    infos = {path: source.info for path, source in sorted(sources.items())}
    spec_digest = _feature_spec_digest(sources, settings)
    if parent is not None:
      _check_parent(subject, span, spec_digest, settings, parent)
    return Commit(
        span=span, parent=None if parent is None else parent.span, parent_data=None if parent is None else parent.data,
        data=commits_lib.data_digest(infos), files=infos, feature_spec_digest=spec_digest, settings=settings,
        settings_digest=canonical_digest(settings), run_id=str(run_id),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"))

  def _standing(self, draft: Commit, replace: bool) -> Commit | None:
    """The commit that makes the draft needless; None if the draft is to be committed.

    Raises StoreError if other content stands there and is not to be replaced.
    """
    standing = self._read_if_there(draft.span)
    if standing is None or (standing.data != draft.data and replace):
      return None
    if standing.data == draft.data:
      # Content that was damaged since is written again, under the commit that stands.
      return None if self.data_problems(standing) else standing
    raise StoreError(f"span {draft.span} in {self.uri}", rule="a committed span is never changed silently.",
                     received=f"data {draft.data[:12]} where {standing.data[:12]} of run {standing.run_id!r} is "
                     f"committed; {_settings_difference(standing.settings, draft.settings)}.",
                     remedy="keep what is committed, or replace it by name (--replace, replace=True).")

  def _commit_locally(self, draft: Commit, sources: Mapping[str, _Source], replace: bool) -> Commit:
    writer = files.join(self._staging_folder, uuid.uuid4().hex)
    with self._registered(writer, draft):
      self._on_step("writer_registered")
      staged = files.join(writer, "data")
      _copy_all(sources, staged)
      self._on_step("data_staged")
      with self._locked():
        standing = self._standing(draft, replace)
        if standing is not None:
          return standing
        self._publish_data(staged, draft)
        self._on_step("data_published")
        commit = self._publish_commit(draft, files.join(writer, "commit.json"))
    self._on_step("cleaned")
    return commit

  @contextlib.contextmanager
  def _registered(self, writer: str, draft: Commit) -> Iterator[None]:
    """A staging folder whose lock is held within the block, and which is gone after it, with all it left unfinished."""
    lock = None
    try:
      with self._locked():
        files.make_folders(writer)
        owner = files.join(writer, _OWNER_NAME)
        files.write_atomically(owner, document_bytes({"data": draft.data, "span": draft.span}))
        lock = _lock(owner, wait=False)
      yield
    finally:
      with self._locked():
        self._clear_writer(writer)
      if lock is not None:
        os.close(lock)

  def _publish_data(self, staged: str, draft: Commit) -> None:
    target = files.join(self._data_folder, draft.data)
    files.make_folders(self._data_folder)
    if files.exists(target):
      if not self.data_problems(draft):
        return
      # It was damaged after it was written; what is staged is the same content, sound.
      files.rename(target, f"{staged}.damaged")
    files.rename(staged, target)

  def _publish_commit(self, draft: Commit, staged: str) -> Commit:
    standing = self._read_if_there(draft.span)
    if standing is not None and standing.data == draft.data:
      return standing
    files.make_folders(self._commits_folder)
    files.write_atomically(staged, document_bytes(draft.to_dict()))
    self._on_step("commit_staged")
    self._keep_replaced(draft.span)
    self._on_step("replaced_kept")
    files.rename(staged, self._commit_path(draft.span))
    self._on_step("committed")
    return draft

  def _commit_remotely(self, draft: Commit, sources: Mapping[str, _Source], replace: bool) -> Commit:
    self._on_step("writer_registered")
    _copy_all(sources, files.join(self._data_folder, draft.data))
    self._on_step("data_staged")
    self._on_step("data_published")
    standing = self._standing(draft, replace)
    if standing is not None:
      return standing
    files.make_folders(self._commits_folder)
    self._on_step("commit_staged")
    self._keep_replaced(draft.span)
    self._on_step("replaced_kept")
    files.write_atomically(self._commit_path(draft.span), document_bytes(draft.to_dict()))
    self._on_step("committed")
    if self.read(draft.span) != draft:
      raise StoreError(f"span {draft.span} in {self.uri}", rule="one process commits a span at a time.",
                       received="the commit of another process in the place of this one.",
                       remedy="let the scheduler run one pipeline at a time on a store.")
    self._on_step("cleaned")
    return draft

  def _keep_replaced(self, span: int) -> None:
    """Keeps the commit of the span, if there is one, aside under the next free number."""
    path = self._commit_path(span)
    if not files.exists(path):
      return
    content = files.read_bytes(path)
    kept = [name for name in self.names() if name.span == span and not name.standing]
    # A process that died after this step has kept it already.
    if not kept or files.read_bytes(files.join(self._commits_folder, str(kept[-1]))) != content:
      name = CommitName(span, standing=False, number=kept[-1].number + 1 if kept else 1)
      files.write_atomically(files.join(self._commits_folder, str(name)), content)

  def _recover(self) -> None:
    if not is_remote(self.uri) and files.names_in(self._staging_folder):
      with self._locked():
        self._clear_dead_writers()

  def _dead_writers(self) -> list[str]:
    """The staging folders that no living writer has locked; with the store's lock held, none can become one's."""
    dead = []
    for name in files.names_in(self._staging_folder):
      writer = files.join(self._staging_folder, name)
      owner = files.join(writer, _OWNER_NAME)
      lock = _lock(owner, wait=False)
      if lock is not None:
        os.close(lock)
      if lock is not None or not files.exists(owner):
        dead.append(writer)
    return dead

  def _clear_dead_writers(self) -> list[str]:
    """Removes the staging folders of dead writers and what they published without a commit; the lock is held."""
    dead = self._dead_writers()
    for writer in dead:
      self._clear_writer(writer)
    return dead

  def _clear_writer(self, writer: str) -> None:
    """Removes a staging folder, and the data that its writer published if no commit needs them; the lock is held."""
    try:
      owner = read_document(files.join(writer, _OWNER_NAME))
      data, folder = owner["data"], files.join(self._data_folder, str(owner["data"]))
      if is_sha256(data) and files.exists(folder) and not self._is_referenced(data, owner["span"]):
        files.remove_if_there(folder)
    except (KeyError, FormatError):
      # A writer without a readable owner file has published nothing; and while a commit is not readable, nobody knows
      # which data it needs.
      pass
    files.remove_if_there(writer)

  def _is_referenced(self, data: str, span: int) -> bool:
    # The span's own commit nearly always decides, without reading those of all other spans.
    standing = self._read_if_there(span)
    if standing is not None and standing.data == data:
      return True
    return data in {self.read_named(name).data for name in self.names()}

  @contextlib.contextmanager
  def _locked(self) -> Iterator[None]:
    """Keeps other processes' writes to a local store out of the block."""
    if is_remote(self.uri):
      yield
      return
    files.make_folders(self.uri)
    lock = _lock(self._lock_path, wait=True, create=True)
    try:
      yield
    finally:
      if lock is not None:
        os.close(lock)


def memory_folder(uri: str) -> str:
  """The folder of the memory at `uri`: itself, or the memory of the newest commit if `uri` is the root of a store.

  Raises:
    StoreError: there is neither.
  """
  uri = str(uri)
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



def _measure(parts: Mapping[str, str]) -> dict[str, _Source]:
  """Per path in the data folder, the file that it is copied from."""
  sources: dict[str, _Source] = {}
  for name, place in parts.items():
    path = str(place)
    if not _PART_NAME.fullmatch(name):
      raise StoreError(f"part {name!r}", rule="a part's name is a plain file name.", received=repr(name),
                       remedy="rename it.")
    inner = [f"/{below}" for below in files.files_below(path)] if files.is_folder(path) else [""]
    if not inner or not files.exists(path):
      raise StoreError(path, rule=f"the part {name!r} is a file, or a folder with files.",
                       received="an empty folder." if files.exists(path) else "nothing there.",
                       remedy="check that the step before has written it.")
    for below in inner:
      if below and files.leads_outside(path, below[1:]):
        raise StoreError(path + below, rule="a part's files lie in its folder.",
                         received="a link that leads out of it.", remedy="put a copy in its place.")
      sources[name + below] = _Source(path.rstrip("/") + below, FileInfo(*files.digest(path.rstrip("/") + below)))
  return sources


def _copy_all(sources: Mapping[str, _Source], folder: str) -> None:
  for path, source in sources.items():
    target = files.join(folder, path)
    if files.exists(target):
      # In an object store, of a commit or writer with the same content: never rewritten under its readers.
      if FileInfo(*files.digest(target)) == source.info:
        continue
      files.remove_if_there(target)
    copied = FileInfo(*files.copy(source.path, target))
    if copied != source.info:
      raise StoreError(source.path, rule="a file must not change while it is committed.",
                       received=f"digest {copied.sha256[:12]} after {source.info.sha256[:12]}.",
                       remedy="let its writer finish, and commit again.")
  if not is_remote(folder):
    for path in sorted({files.parent(files.join(folder, path)) for path in sources}, reverse=True):
      files.flush_folder(path)


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


def _feature_spec_digest(sources: Mapping[str, _Source], settings: Mapping[str, Any]) -> str | None:
  source = sources.get(f"{MEMORY_PART}/{MANIFEST_NAME}")
  if source is not None:
    manifest = Manifest.from_dict(read_document(source.path), subject=source.path)
    for shard in manifest.shards:
      found = sources.get(f"{MEMORY_PART}/{shard.name}")
      if found is None or found.info != FileInfo(shard.sha256, shard.num_bytes):
        raise FormatError(found.path if found else source.path, rule=f"{shard.name} has the manifest's digest.",
                          received="another digest." if found else "no such file.", remedy="save the memory again.")
    return manifest.feature_spec_digest
  if "feature_spec" in settings:
    return FeatureSpec.from_dict(settings["feature_spec"]).digest()
  return settings.get("feature_spec_digest")


def _settings_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
  """Both values of every setting that differs."""
  lines = [f"{key} = {json.dumps(new.get(key))} where {json.dumps(old.get(key))} was committed"
           for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
  return "settings that differ: " + "; ".join(lines) if lines else "the settings are the same"


def _age_seconds(path: str) -> float:
  """How long ago the youngest file at or below `path` was written."""
  paths = [files.join(path, below) for below in files.files_below(path)] if files.is_folder(path) else [path]
  return time.time() - max((files.modified_seconds(one) for one in paths), default=0.0)


def _lock(path: str, *, wait: bool, create: bool = False) -> int | None:
  """The descriptor of a file that is now locked; None if another holds the lock, or there is no file.

  The operating system drops the lock when the descriptor is closed, also by the death of the process.
  """
  try:
    descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
  except FileNotFoundError:
    return None
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
  except OSError as error:
    if not wait or error.errno in _NO_LOCKS_ERRNOS:
      os.close(descriptor)
      return None
    raise
  return descriptor
