"""The store: the versioned, crash-safe home of memories, one commit per span.

    data/<data digest>/<part>/...       content, named by its digest and never changed
    commits/<span>.json                 the commit of a span: written last, atomically
    commits/<span>.replaced-<n>.json    commits that were replaced by name; their data stay
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

from diet_tf import files
from diet_tf.errors import DietError, FormatError, StoreError
from diet_tf.features import FeatureSpec
from diet_tf.files import is_remote, writing
from diet_tf.manifest import MANIFEST_NAME, Manifest, canonical_digest, check_document, document_bytes, read_document

FORMAT_NAME = "diet_tf.commit"
FORMAT_VERSION = 1
# The part of a commit that holds the memory.
MEMORY_PART = "memory"
# The key of a commit's settings that declares a change of the feature spec: the digest of the parent's.
MIGRATED_FROM_KEY = "migrated_from"
# The protocol of a commit, in order; `on_step` is called after each. The last but one makes the commit visible.
STEPS = ("writer_registered", "data_staged", "data_published", "commit_staged", "replaced_kept", "committed", "cleaned")
# A writer in an object store that is silent for so long is taken for dead.
REMOTE_GRACE_SECONDS = 24 * 3600.0

_COMMIT_NAME = re.compile(r"(\d+)\.json")
_REPLACED_NAME = re.compile(r"(\d+)\.replaced-(\d+)\.json")
_PART_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_OWNER_NAME = "owner.json"
_LOCK_NAME = ".lock"
# File systems that know no locks answer with these: then only the scheduler keeps writers apart, as on object stores.
_NO_LOCKS_ERRNOS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


@dataclasses.dataclass(frozen=True)
class FileInfo:
  """Digest and size of one file of a commit."""

  sha256: str
  num_bytes: int


@dataclasses.dataclass(frozen=True)
class Commit:
  """What one span left in the store.

  Attributes:
    span: the span.
    parent: the span of the commit that it grew from; None for the first.
    parent_data: the data digest of that commit, since a span's commit can be replaced.
    data: digest of the content, which names its folder.
    files: per path in that folder (`memory/manifest.json`), digest and size.
    feature_spec_digest: of the memory, or of the settings; None if neither names one.
    settings: the settings of the run.
    settings_digest: their digest.
    run_id: the pipeline run that made it.
    created: UTC time in ISO 8601.
  """

  span: int
  parent: int | None
  parent_data: str | None
  data: str
  files: Mapping[str, FileInfo]
  feature_spec_digest: str | None
  settings: Mapping[str, Any]
  settings_digest: str
  run_id: str
  created: str
  format_name: str = FORMAT_NAME
  format_version: int = FORMAT_VERSION

  def to_dict(self) -> dict[str, Any]:
    """The commit as JSON values."""
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(cls, value: Mapping[str, Any], subject: str = "commit") -> Commit:
    """The commit that `to_dict` wrote.

    Raises:
      FormatError: unknown format name, newer version, missing or unknown keys, or a digest that does not fit.
    """
    check_document(value, subject, FORMAT_NAME, FORMAT_VERSION, {field.name for field in dataclasses.fields(cls)})
    try:
      commit = cls(**{**value, "files": {path: FileInfo(**info) for path, info in value["files"].items()}})
      sound = (_data_digest(commit.files) == commit.data
               and canonical_digest(commit.settings) == commit.settings_digest
               and all(_is_plain_path(path) for path in commit.files))
    except (TypeError, KeyError, AttributeError) as error:
      raise _damaged(subject, f"{type(error).__name__}: {error}") from error
    if not sound:
      raise _damaged(subject, "a data digest, settings digest or path that does not fit the rest.")
    return commit


@dataclasses.dataclass(frozen=True)
class _Source:
  path: str
  info: FileInfo


class Store:
  """The commits below one root.

  Args:
    uri: a local folder or a URI that `tf.io.gfile` writes; made by the first commit.
    on_step: called with the name of each step of `STEPS` once it is done.
  """

  def __init__(self, uri: str, *, on_step: Callable[[str], None] | None = None) -> None:
    self.uri = str(uri).rstrip("/") or "/"
    self._on_step = on_step or (lambda name: None)

  def spans(self) -> list[int]:
    """The committed spans in increasing order."""
    matches = (_COMMIT_NAME.fullmatch(name) for name in files.names_in(self._commits_folder))
    return sorted(int(match[1]) for match in matches if match)

  def newest(self, below: int | None = None) -> Commit | None:
    """The commit of the greatest span, among those below `below` if that is given; None if there is none.

    Raises:
      FormatError: that commit is damaged; an older one is never taken in its stead.
    """
    spans = [span for span in self.spans() if below is None or span < below]
    return self.read(spans[-1]) if spans else None

  def read(self, span: int) -> Commit:
    """The commit of a span.

    Raises:
      StoreError: the span is not committed.
      FormatError: its commit is damaged or newer than this version reads.
    """
    commit = self._read_if_there(span)
    if commit is None:
      raise StoreError(f"span {span} in {self.uri}", rule="the span must be committed.",
                       received=f"commits of the spans {self.spans()}.", remedy="name one of these spans, or run it.")
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

  def verify(self) -> list[Commit]:
    """Checks every commit, its parent, and every file against its digest; returns the commits, replaced ones too.

    Raises:
      FormatError: naming all that is wrong.
    """
    problems: list[str] = []
    commits: list[Commit] = []
    for name in self._commit_names():
      try:
        commits.append(self._read_file(name))
      except DietError as error:
        problems.append(str(error))
    known = {(commit.span, commit.data) for commit in commits}
    checked: set[str] = set()
    for commit in commits:
      if commit.parent is not None and (commit.parent, commit.parent_data) not in known:
        problems.append(f"span {commit.span}: its parent, span {commit.parent}, is not there.")
      if commit.data not in checked:
        problems += [f"span {commit.span}: {problem}" for problem in self._data_problems(commit)]
        checked.add(commit.data)
    if problems:
      raise FormatError(self.uri, rule="every commit is readable and every file as it was committed.",
                        received="\n  ".join([f"{len(problems)} problems:", *problems]),
                        remedy="restore the named files from a copy, or run the named spans again.")
    return commits

  def repair(self, grace_seconds: float = REMOTE_GRACE_SECONDS) -> list[str]:
    """Removes what dead writers left, and nothing that a commit or a living writer needs; returns the removed paths.

    Args:
      grace_seconds: in an object store, what is younger is taken to be a living writer's. Local writers hold a lock.
    """
    with writing(self.uri), self._locked():
      removed = self._clear_dead_writers()
      referenced = {self._read_file(name).data for name in self._commit_names()}
      for digest in files.names_in(self._data_folder):
        folder = files.join(self._data_folder, digest)
        if digest not in referenced and (not is_remote(self.uri) or _age_seconds(folder) > grace_seconds):
          files.remove_if_there(folder)
          removed.append(folder)
      for name in files.names_in(self._commits_folder):
        path = files.join(self._commits_folder, name)
        if name.endswith(files.PARTIAL_SUFFIX) and (not is_remote(self.uri) or _age_seconds(path) > grace_seconds):
          files.remove_if_there(path)
          removed.append(path)
    return removed

  @property
  def _commits_folder(self) -> str:
    return files.join(self.uri, "commits")

  @property
  def _data_folder(self) -> str:
    return files.join(self.uri, "data")

  @property
  def _staging_folder(self) -> str:
    return files.join(self.uri, "staging")

  def _commit_path(self, span: int) -> str:
    return files.join(self._commits_folder, f"{span}.json")

  def _commit_names(self) -> list[str]:
    """The file names of all commits, replaced ones included."""
    return [name for name in files.names_in(self._commits_folder)
            if _COMMIT_NAME.fullmatch(name) or _REPLACED_NAME.fullmatch(name)]

  def _read_file(self, name: str) -> Commit:
    path = files.join(self._commits_folder, name)
    commit = Commit.from_dict(read_document(path), subject=path)
    if str(commit.span) != name.split(".", 1)[0]:
      raise _damaged(path, f"a commit of span {commit.span}.")
    return commit

  def _read_if_there(self, span: int) -> Commit | None:
    return self._read_file(f"{span}.json") if files.exists(self._commit_path(span)) else None

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
        data=_data_digest(infos), files=infos, feature_spec_digest=spec_digest, settings=settings,
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
      return None if self._data_problems(standing) else standing
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
      if not self._data_problems(draft):
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
    matches = (_REPLACED_NAME.fullmatch(name) for name in files.names_in(self._commits_folder))
    numbers = sorted(int(match[2]) for match in matches if match and int(match[1]) == span)
    kept = [files.join(self._commits_folder, f"{span}.replaced-{number}.json") for number in numbers]
    # A process that died after this step has kept it already.
    if not kept or files.read_bytes(kept[-1]) != content:
      number = numbers[-1] + 1 if numbers else 1
      files.write_atomically(files.join(self._commits_folder, f"{span}.replaced-{number}.json"), content)

  def _recover(self) -> None:
    if not is_remote(self.uri) and files.names_in(self._staging_folder):
      with self._locked():
        self._clear_dead_writers()

  def _clear_dead_writers(self) -> list[str]:
    """Removes the staging folders of dead writers and what they published without a commit; the lock is held."""
    removed = []
    for name in files.names_in(self._staging_folder):
      writer = files.join(self._staging_folder, name)
      lock = _lock(files.join(writer, _OWNER_NAME), wait=False)
      if lock is None and files.exists(files.join(writer, _OWNER_NAME)):
        continue
      self._clear_writer(writer)
      removed.append(writer)
      if lock is not None:
        os.close(lock)
    return removed

  def _clear_writer(self, writer: str) -> None:
    """Removes a staging folder, and the data that its writer published if no commit needs them; the lock is held."""
    try:
      owner = read_document(files.join(writer, _OWNER_NAME))
      folder = files.join(self._data_folder, owner["data"])
      if files.exists(folder) and not self._is_referenced(owner["data"], owner["span"]):
        files.remove_if_there(folder)
    except (FileNotFoundError, KeyError, FormatError):
      # A writer without a readable owner file has published nothing; and while a commit is not readable, nobody knows
      # which data it needs.
      pass
    files.remove_if_there(writer)

  def _is_referenced(self, data: str, span: int) -> bool:
    # The span's own commit nearly always decides, without reading those of all other spans.
    standing = self._read_if_there(span)
    if standing is not None and standing.data == data:
      return True
    return data in {self._read_file(name).data for name in self._commit_names()}

  def _data_problems(self, commit: Commit) -> list[str]:
    """What is wrong with the files of a commit, as sentences."""
    folder, problems = self.path(commit), []
    for path, info in commit.files.items():
      full = files.join(folder, path)
      if not files.exists(full):
        problems.append(f"{full} is missing.")
      elif FileInfo(*files.digest(full)) != info:
        problems.append(f"{full} has not the digest {info.sha256[:12]} and the {info.num_bytes} bytes it was "
                        "committed with.")
    return problems

  @contextlib.contextmanager
  def _locked(self) -> Iterator[None]:
    """Keeps other processes' writes to a local store out of the block."""
    if is_remote(self.uri):
      yield
      return
    files.make_folders(self.uri)
    lock = _lock(files.join(self.uri, _LOCK_NAME), wait=True, create=True)
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


def _data_digest(infos: Mapping[str, FileInfo]) -> str:
  return canonical_digest({path: dataclasses.asdict(info) for path, info in infos.items()})


def _is_plain_path(path: str) -> bool:
  return all(part not in ("", ".", "..") and "\\" not in part for part in path.split("/"))


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


def _damaged(subject: str, received: str) -> FormatError:
  return FormatError(subject, rule="a commit is as its writer made it.", received=received,
                     remedy="restore the file from a copy, or run the span again; do not edit it by hand.")
