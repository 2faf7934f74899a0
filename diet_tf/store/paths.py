"""Where everything lies in a store, and how the files of its commits are named."""

from __future__ import annotations

import dataclasses
import re

from diet_tf.io import files

PIN_SUFFIX = ".json"
# Folder of a store, or of an output, in which a refinement that was cut waits for another attempt.
UNFINISHED_FOLDER = "unfinished"

_COMMIT_NAME = re.compile(r"(\d+)(?:\.replaced-(\d+))?\.json")


@dataclasses.dataclass(frozen=True, order=True)
class CommitName:
  """The file name of a commit.

  Names are ordered by span; of one span, the replaced commits come first, in the order in which they were made.

  Attributes:
    span: span of the commit.
    is_current: whether readers of the span get this commit; False for one that another has replaced.
    number: number of a replaced commit among those of its span, from 1; 0 for the current one.
  """

  span: int
  is_current: bool
  number: int = 0

  def __str__(self) -> str:
    return f"{self.span}.json" if self.is_current else f"{self.span}.replaced-{self.number}.json"

  @classmethod
  def parse(cls, name: str) -> CommitName | None:
    """What a file name in the folder of commits says; None if it is not the name of a commit."""
    match = _COMMIT_NAME.fullmatch(name)
    parsed = match and cls(int(match[1]), match[2] is None, int(match[2] or 0))
    # Only as a writer writes it: 07.json is no commit.
    return parsed if parsed and str(parsed) == name else None


@dataclasses.dataclass(frozen=True)
class StorePaths:
  """The places of a store, all below its root.

  Attributes:
    root: local folder or URI of the store, without a slash at its end.
  """

  root: str

  @property
  def commits(self) -> str:
    """The folder with one JSON file per commit."""
    return files.join(self.root, "commits")

  @property
  def data(self) -> str:
    """The folder with one data folder per content."""
    return files.join(self.root, "data")

  @property
  def staging(self) -> str:
    """The folder with one staging folder per writer at work."""
    return files.join(self.root, "staging")

  @property
  def forgotten(self) -> str:
    """The record of commits that a garbage collection removed."""
    return files.join(self.root, "forgotten.json")

  @property
  def pins(self) -> str:
    """The folder with one JSON file per pinned content."""
    return files.join(self.root, "pins")

  def pin(self, digest: str) -> str:
    """The file of the pin of the content with that digest."""
    return files.join(self.pins, f"{digest}{PIN_SUFFIX}")

  @property
  def lock(self) -> str:
    """The file that a process locks while it changes a local store."""
    return files.join(self.root, ".lock")

  @property
  def unfinished(self) -> str:
    """The folder with the checkpoints of refinements that are under way or were cut."""
    return files.join(self.root, UNFINISHED_FOLDER)

  @property
  def refining_lock(self) -> str:
    """The file that a process locks while it refines the newest memory of a local store."""
    return files.join(self.root, ".refining")

  def commit(self, name: CommitName) -> str:
    """The file of a commit."""
    return files.join(self.commits, str(name))

  def data_folder(self, digest: str) -> str:
    """The data folder of the content with that digest."""
    return files.join(self.data, digest)

  def owner(self, writer: str) -> str:
    """The file in a writer's staging folder that says what it writes, and that it keeps locked while it lives."""
    return files.join(writer, "owner.json")
