"""What a store needs no more: removed after a crash (`repair`), or with all commits but the newest (`collect_garbage`).

Whoever dies in between leaves a sound store, and the next call goes on. In an object store there are no locks, so the
scheduler keeps a garbage collection apart from all writers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping

from diet_tf.errors import ConfigError, DietError, FormatError
from diet_tf.io import files
from diet_tf.io.documents import read_document
from diet_tf.io.files import is_remote, writing
from diet_tf.memory.manifest import read_manifest
from diet_tf.store.commit import Commit, ForgottenCommit
from diet_tf.store.locks import store_lock
from diet_tf.store.paths import CommitName
from diet_tf.store.pins import write_forgotten
from diet_tf.store.reader import MEMORY_PART, StoreReader
from diet_tf.store.writers import clear_dead_writers, dead_writers

# The protocol of a garbage collection, in order; `on_step` is called after each, for each file and folder. The record
# of what goes comes first, so that no commit names a parent that nobody knows, and data last, so that none lacks them.
GARBAGE_STEPS = ("forgotten_recorded", "commit_removed", "data_removed")
# A writer in an object store, or a refinement anywhere, that is silent for so long is taken for dead.
GRACE_SECONDS = 24 * 3600.0


@dataclasses.dataclass(frozen=True)
class Garbage:
  """What a garbage collection removes.

  Attributes:
    kept_spans: the spans whose commits stay, pinned ones included.
    pinned_spans: the spans of commits that stay because they are pinned.
    commit_files: paths of the commits that go, in the order in which they go.
    data_folders: paths of the data folders that no commit needs then.
    leftovers: paths of what dead writers left: staging folders, half-written files, and checkpoints of refinements
      that nobody went on with.
    num_bytes: size of all of these together.
  """

  kept_spans: tuple[int, ...]
  pinned_spans: tuple[int, ...]
  commit_files: tuple[str, ...]
  data_folders: tuple[str, ...]
  leftovers: tuple[str, ...]
  num_bytes: int


def repair(store: StoreReader, grace_seconds: float = GRACE_SECONDS) -> list[str]:
  """Removes what dead writers left, and nothing that a commit or a living writer needs; returns the removed paths.

  Args:
    store: the store to repair.
    grace_seconds: age up to which a file in an object store is taken to be a living writer's, and a checkpoint
      anywhere a living refinement's. Local writers hold a lock, so that there the age does not count.

  Raises:
    FormatError: a commit is damaged, so that nobody knows which data it needs.
  """
  with writing(store.uri), store_lock(store.paths):
    removed = clear_dead_writers(store)
    needed = {store.read_named(name).data for name in store.names()} | {pin.data for pin in store.pins()}
    forgotten = {commit.data for commit in store.forgotten()}
    found = [*_unneeded_data(store, needed, forgotten, grace_seconds), *_partial_files(store, grace_seconds),
             *_old_checkpoints(store, grace_seconds)]
    for path in found:
      files.remove_if_there(path)
  return [*removed, *found]


def collect_garbage(store: StoreReader, keep: int, *, keep_replaced: bool = False, dry_run: bool = False,
                    grace_seconds: float = GRACE_SECONDS,
                    on_step: Callable[[str], None] | None = None) -> Garbage:
  """Removes all commits but the newest and the pinned ones, the data that only they needed, and what dead writers left.

  With a revision stays what it is a revision of.

  What later commits say of the removed ones is kept, so that a verification still knows their parents, and a span that
  grew from a removed commit is not run from another one. In an object store no writer may be at work meanwhile.

  Args:
    store: the store to remove from.
    keep: how many commits stay beside the pinned ones, at least 1.
    keep_replaced: whether replaced commits of spans that stay do so too; otherwise they go unless they are pinned.
    dry_run: whether nothing is changed.
    grace_seconds: age up to which a file in an object store is taken to be a living writer's, as in `repair`.
    on_step: function that is called with the name of each step of `GARBAGE_STEPS` once it is done.

  Returns:
    What was removed, or would be.

  Raises:
    ConfigError: nothing is to be kept.
    StoreError: nothing is committed.
    FormatError: a commit or a pin is damaged, or content that is kept: what is older may be all there is.
  """
  if keep < 1:
    raise ConfigError("keep", rule="at least 1 commit is kept: the next span grows from it.", received=str(keep),
                      remedy="to be rid of a store, remove its folder.")
  store.require_commits()
  # A store without the file that is locked has no writer, and a dry run is not to make it.
  alone = dry_run and not files.exists(store.paths.lock)
  with writing(store.uri), contextlib.nullcontext() if alone else store_lock(store.paths):
    garbage, forgotten = _find_garbage(store, keep, keep_replaced, grace_seconds)
    if not dry_run:
      _remove(store, garbage, forgotten, on_step or (lambda name: None))
  return garbage


def _find_garbage(store: StoreReader, keep: int, keep_replaced: bool,
                  grace_seconds: float) -> tuple[Garbage, list[ForgottenCommit]]:
  """What goes, and the record of all commits that are gone then; changes nothing."""
  commits = {name: store.read_named(name) for name in store.names()}
  pinned = {pin.data for pin in store.pins()}
  newest = {name.span for name in [name for name in commits if name.is_current][-keep:]}
  revised = _revised(commits)
  kept = [name for name, commit in commits.items() if commit.data in pinned
          or (name.span in newest and (name.is_current or keep_replaced or (name.span, commit.data) in revised))]
  # The oldest first: a current commit always has all that came after it.
  going = sorted(set(commits) - set(kept), key=lambda name: (name.is_current, name))
  problems = [problem for name in kept for problem in store.data_problems(commits[name])]
  if problems:
    raise FormatError(store.uri, rule="what is kept is as it was committed.", received="\n  ".join(problems),
                      remedy="see diet store verify; restore the named files, or run their spans again.")
  # A removed commit may have been made again since.
  there = {(commits[name].span, commits[name].data) for name in kept}
  forgotten = [one for one in [*store.forgotten(), *(_forgotten(store, commits[name]) for name in going)]
               if (one.span, one.data) not in there]
  data = _unneeded_data(store, {commits[name].data for name in kept} | pinned, {one.data for one in forgotten},
                        grace_seconds)
  leftovers = [*dead_writers(store), *_partial_files(store, grace_seconds), *_old_checkpoints(store, grace_seconds)]
  paths = [store.paths.commit(name) for name in going]
  spans, pinned_spans = (sorted({name.span for name in names}) for names in (
      kept, [name for name in kept if commits[name].data in pinned]))
  return Garbage(tuple(spans), tuple(pinned_spans), tuple(paths), tuple(data), tuple(leftovers),
                 sum(map(files.num_bytes_below, [*paths, *data, *leftovers]))), forgotten


def _revised(commits: Mapping[CommitName, Commit]) -> set[tuple[int, str]]:
  """Spans and data of the commits that current ones are revisions of, at first or second hand."""
  revises = {(name.span, commit.data): commit.revises for name, commit in commits.items()}
  found: set[tuple[int, str]] = set()
  for name, commit in commits.items():
    earlier = commit.revises if name.is_current else None
    while earlier is not None and (name.span, earlier) not in found:
      found.add((name.span, earlier))
      earlier = revises.get((name.span, earlier))
  return found


def _forgotten(store: StoreReader, commit: Commit) -> ForgottenCommit:
  """What stays known of a commit that is to be removed."""
  try:
    memory = read_manifest(store.path(commit, MEMORY_PART)).digest
  except DietError:
    # A commit without a memory, or with a damaged one, of which nobody needs to know more.
    memory = None
  return ForgottenCommit(commit.span, commit.data, commit.feature_spec_digest, memory)


def _remove(store: StoreReader, garbage: Garbage, forgotten: list[ForgottenCommit],
            on_step: Callable[[str], None]) -> None:
  """Removes garbage in the order of `GARBAGE_STEPS`; the lock of the store is held."""
  spared: set[str] = set()
  if garbage.commit_files:
    write_forgotten(store, forgotten)
    on_step("forgotten_recorded")
    # In an object store, where nothing is locked, a commit may have been pinned since.
    spared = {pin.data for pin in store.pins()} & {commit.data for commit in forgotten}
    if spared:
      write_forgotten(store, [commit for commit in forgotten if commit.data not in spared])
  for path in garbage.commit_files:
    if spared and Commit.from_dict(read_document(path), path).data in spared:
      continue
    files.remove_if_there(path)
    on_step("commit_removed")
  if not is_remote(store.uri):
    files.flush_folder(store.paths.commits)
  spared_folders = {store.paths.data_folder(data) for data in spared}
  for path in [*garbage.data_folders, *garbage.leftovers]:
    if path in spared_folders:
      continue
    files.remove_if_there(path)
    on_step("data_removed")


def _unneeded_data(store: StoreReader, needed: set[str], forgotten: set[str], grace_seconds: float) -> list[str]:
  """The data folders that no commit needs and no living writer fills."""
  folders = {digest: store.paths.data_folder(digest) for digest in files.names_in(store.paths.data)}
  # Some object stores list a folder for a while after the last file in it is gone.
  return [folder for digest, folder in folders.items() if digest not in needed and files.exists(folder)
          and (digest in forgotten or _is_abandoned(folder, grace_seconds))]


def _partial_files(store: StoreReader, grace_seconds: float) -> list[str]:
  """Files that a writer died in, which no reader sees."""
  paths = [files.join(folder, name) for folder in (store.uri, store.paths.commits) for name in files.names_in(folder)
           if name.endswith(files.PARTIAL_SUFFIX)]
  return [path for path in paths if _is_abandoned(path, grace_seconds)]


def _old_checkpoints(store: StoreReader, grace_seconds: float) -> list[str]:
  """Checkpoints of refinements that were last written long ago: one under way writes anew every few minutes.

  A refinement holds no lock: one that ends just now removes its checkpoint beside this.
  """
  found = []
  for name in files.names_in(store.paths.unfinished):
    path = files.join(store.paths.unfinished, name)
    with contextlib.suppress(DietError), writing(path):
      if _age_seconds(path) > grace_seconds:
        found.append(path)
  return found


def _is_abandoned(path: str, grace_seconds: float) -> bool:
  """Whether no living writer is at work on a path that no commit needs, while the lock of the store is held."""
  return not is_remote(path) or _age_seconds(path) > grace_seconds


def _age_seconds(path: str) -> float:
  """How long ago the youngest file at or below a path was written."""
  paths = [files.join(path, below) for below in files.files_below(path)] if files.is_folder(path) else [path]
  return time.time() - max((files.modified_seconds(one) for one in paths), default=0.0)
