"""Whether a store holds what it says: digests, parents, feature specs, lineages, and the counts of its memories.

It reads everything and changes nothing, and it imports no TensorFlow for a local store.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from diet_tf.errors import DietError, FormatError
from diet_tf.io import files
from diet_tf.io.record_frames import count_records
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.manifest import MANIFEST_NAME, Manifest, read_manifest
from diet_tf.store.commit import Commit, FileInfo, ForgottenCommit
from diet_tf.store.paths import CommitName
from diet_tf.store.reader import MEMORY_PART, StoreReader
from diet_tf.store.store import MIGRATED_FROM_KEY


@dataclasses.dataclass(frozen=True)
class Verification:
  """What was found in a store.

  Attributes:
    uri: root of the store.
    commits: the commits that can be read, in the order of their names, replaced ones included.
    num_files: number of the files that were checked.
    num_bytes: size of these files together.
    problems: all that is wrong, as sentences.
  """

  uri: str
  commits: tuple[Commit, ...]
  num_files: int
  num_bytes: int
  problems: tuple[str, ...]

  def require_sound(self) -> list[Commit]:
    """The commits, replaced ones included, of a store that holds what it says.

    Raises:
      FormatError: naming all that is wrong, if anything is.
    """
    if self.problems:
      raise FormatError(self.uri, rule="every commit is readable and every file as it was committed.",
                        received="\n  ".join([f"{len(self.problems)} problems:", *self.problems]),
                        remedy="restore the named files from a copy, or run the named spans again.")
    return list(self.commits)


def check_store(store: StoreReader) -> Verification:
  """What is found in a store, all of whose files are read.

  Raises:
    StoreError: nothing is committed.
  """
  store.require_commits()
  return _Check(store).run()


class _Check:
  """One check of a store: its commits, and what was found of each content, which several commits may have."""

  def __init__(self, store: StoreReader) -> None:
    self._store = store
    self._problems: list[str] = []
    self._parents: dict[tuple[int | None, str | None], Commit | ForgottenCommit] = {}
    self._commits: dict[CommitName, Commit] = {}
    # Per data digest: the manifest of the memory, None where there is none or none that can be read.
    self._manifests: dict[str, Manifest | None] = {}
    self._content_problems: dict[str, list[str]] = {}

  def run(self) -> Verification:
    self._read_all()
    for commit in self._commits.values():
      if commit.data not in self._content_problems:
        self._content_problems[commit.data] = list(self._check_content(commit))
    for name, commit in self._commits.items():
      found = [*self._content_problems[commit.data], *self._commit_problems(commit), *self._parent_problems(commit)]
      self._problems += [f"{_named(name)}: {problem}" for problem in found]
    self._problems += self._pin_problems()
    infos = {(commit.data, path): info for commit in self._commits.values() for path, info in commit.files.items()}
    return Verification(self._store.uri, tuple(self._commits.values()), len(infos),
                        sum(info.num_bytes for info in infos.values()), tuple(self._problems))

  def _read_all(self) -> None:
    for name in self._store.names():
      try:
        self._commits[name] = self._store.read_named(name)
      except DietError as error:
        self._problems.append(str(error))
    try:
      self._parents.update(((one.span, one.data), one) for one in self._store.forgotten())
    except DietError as error:
      self._problems.append(str(error))
    # Of a commit that a garbage collection has not come to yet, there is more to see than the record of it.
    self._parents.update(((one.span, one.data), one) for one in self._commits.values())

  def _pin_problems(self) -> Iterator[str]:
    """What is wrong with the pins: a damaged one, or one of a commit that is not there."""
    try:
      pins = self._store.pins()
    except DietError as error:
      yield str(error)
      return
    there = {(commit.span, commit.data) for commit in self._commits.values()}
    for pin in pins:
      if (pin.span, pin.data) not in there:
        yield f"span {pin.span}: the pinned commit with the data {_short(pin.data)} is not there."

  def _check_content(self, commit: Commit) -> Iterator[str]:
    """What is wrong with the files of a commit and with the memory among them; remembers its manifest."""
    self._manifests[commit.data] = None
    problems = self._store.data_problems(commit)
    yield from problems
    if f"{MEMORY_PART}/{MANIFEST_NAME}" not in commit.files:
      return
    folder = self._store.path(commit, MEMORY_PART)
    if any(problem.startswith(files.join(folder, MANIFEST_NAME)) for problem in problems):
      return
    try:
      manifest = self._manifests[commit.data] = read_manifest(folder)
    except DietError as error:
      yield str(error)
      return
    for shard in manifest.all_files:
      if commit.files.get(f"{MEMORY_PART}/{shard.name}") != FileInfo(shard.sha256, shard.num_bytes):
        yield f"{folder}: the manifest's digest of {shard.name} is not the commit's."
      elif not problems:
        try:
          found = count_records(files.join(folder, shard.name), shard.num_raw_bytes)
        except DietError as error:
          yield str(error)
          continue
        if found != (shard.num_records, shard.num_raw_bytes):
          yield (f"{files.join(folder, shard.name)} has {found[0]} records and {found[1]} bytes uncompressed, not the "
                 f"manifest's {shard.num_records} and {shard.num_raw_bytes}.")

  def _commit_problems(self, commit: Commit) -> Iterator[str]:
    """What a commit says otherwise than its memory or its settings."""
    manifest = self._manifests[commit.data]
    specs: dict[str, str | None] = {} if manifest is None else {"its memory": manifest.feature_spec_digest}
    if "feature_spec" in commit.settings:
      specs["its settings"] = _digest_of(commit.settings["feature_spec"])
    for owner, digest in specs.items():
      if digest != commit.feature_spec_digest:
        yield f"the feature spec {_short(commit.feature_spec_digest)} is not that of {owner}, {_short(digest)}."
    if manifest is not None and manifest.span != commit.span:
      yield f"its memory is of span {manifest.span}."

  def _parent_problems(self, commit: Commit) -> Iterator[str]:
    """What does not fit what a commit grew from."""
    parent = self._parents.get((commit.parent, commit.parent_data))
    if commit.parent is not None and parent is None:
      yield f"its parent, span {commit.parent}, is not there."
      return
    if parent is not None and not _agree(parent.feature_spec_digest, commit.feature_spec_digest) and (
        commit.settings.get(MIGRATED_FROM_KEY) != parent.feature_spec_digest):
      yield (f"the feature spec {_short(commit.feature_spec_digest)} is not that of its parent, span {parent.span}, "
             f"{_short(parent.feature_spec_digest)}.")
    manifest = self._manifests[commit.data]
    if manifest is not None:
      yield from self._lineage_problems(manifest, parent)

  def _lineage_problems(self, manifest: Manifest, parent: Commit | ForgottenCommit | None) -> Iterator[str]:
    """What does not fit in the memories that a memory names: they are its parent's, and its parent."""
    named = list(manifest.lineage)
    if parent is None:
      if named:
        yield f"its memory grew from {_memories(named)}, but the commit has no parent."
      return
    before = self._manifests.get(parent.data) if isinstance(parent, Commit) else None
    digest = before.digest if before is not None else parent.memory if isinstance(parent, ForgottenCommit) else None
    if digest is None:
      return
    expected = {"span": parent.span, "digest": digest}
    if named[-1:] != [expected]:
      yield f"its memory grew from {_memories(named[-1:])}, but its parent's memory is {_memories([expected])}."
    elif before is not None and named[:-1] != list(before.lineage):
      yield (f"its memory grew from {_memories(named[:-1])}, but that of its parent, span {parent.span}, from "
             f"{_memories(before.lineage)}.")


def _named(name: CommitName) -> str:
  return f"span {name.span}" if name.is_current else f"span {name.span}, replaced commit {name.number}"


def _agree(first: str | None, second: str | None) -> bool:
  return first is None or second is None or first == second


def _digest_of(spec: object) -> str | None:
  try:
    return FeatureSpec.from_dict(spec).digest() if isinstance(spec, Mapping) else None
  except (DietError, TypeError, KeyError, ValueError, AttributeError):
    return None


def _short(digest: object) -> str:
  return str(digest)[:12]


def _memories(lineage: object) -> str:
  """Spans and digests of memories, the newest few where there are many."""
  entries = list(lineage)[-3:] if isinstance(lineage, list | tuple) else []
  return ", ".join(f"span {entry.get('span')} ({_short(entry.get('digest'))})" for entry in entries) or "no memory"
