"""What a store writes down: the commit of a span, and the record of commits that were removed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from diet_tf.errors import FormatError
from diet_tf.io import files
from diet_tf.io.documents import canonical_digest, check_document, is_count, is_sha256

FORMAT_NAME = "diet_tf.commit"
# Version 1 has no digest of its own.
FORMAT_VERSION = 2
FORGOTTEN_FORMAT_NAME = "diet_tf.forgotten"
FORGOTTEN_FORMAT_VERSION = 1

_COMMIT_NAME = re.compile(r"(\d+)(?:\.replaced-(\d+))?\.json")


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

  @property
  def num_bytes(self) -> int:
    """Size of its files."""
    return sum(info.num_bytes for info in self.files.values())

  def to_dict(self) -> dict[str, Any]:
    """The commit as JSON values, with the digest of all of them."""
    value = dataclasses.asdict(self)
    return value if self.format_version < 2 else {**value, "digest": canonical_digest(value)}

  @classmethod
  def from_dict(cls, value: Mapping[str, Any], subject: str = "commit") -> Commit:
    """The commit that `to_dict` wrote.

    Raises:
      FormatError: unknown format name, newer version, missing or unknown keys, a value of another type, a digest that
        does not fit, or a path that leads out of the commit's folder.
    """
    names = {field.name for field in dataclasses.fields(cls)}
    signed = value.get("format_version") != 1
    check_document(value, subject, FORMAT_NAME, FORMAT_VERSION, names | ({"digest"} if signed else set()))
    try:
      commit = cls(**{**{name: value[name] for name in names},
                      "files": {path: FileInfo(**info) for path, info in value["files"].items()}})
    except (TypeError, AttributeError) as error:
      raise damaged(subject, f"{type(error).__name__}: {error}") from error
    commit._check(subject)
    if signed and commit.to_dict()["digest"] != value["digest"]:
      raise damaged(subject, "a digest that does not fit the rest.")
    return commit

  def _check(self, subject: str) -> None:
    for path, info in self.files.items():
      if not files.is_plain_path(path):
        raise damaged(subject, f"the path {path!r}, which leads out of its folder.")
      if not is_sha256(info.sha256) or not is_count(info.num_bytes):
        raise damaged(subject, f"a digest or size of {path!r} that is none.")
    texts = [self.settings_digest, self.run_id, self.created, self.feature_spec_digest or "", self.parent_data or ""]
    if not all(isinstance(text, str) for text in texts) or not isinstance(self.settings, dict):
      raise damaged(subject, "a value of another type.")
    if not is_count(self.span) or not (self.parent is None or is_count(self.parent) and self.parent < self.span):
      raise damaged(subject, f"the span {self.span!r} with the parent {self.parent!r}.")
    if (self.parent is None) != (self.parent_data is None):
      raise damaged(subject, "a parent without its data, or the other way round.")
    if data_digest(self.files) != self.data or canonical_digest(self.settings) != self.settings_digest:
      raise damaged(subject, "a data digest or settings digest that does not fit the rest.")


@dataclasses.dataclass(frozen=True)
class ForgottenCommit:
  """What is kept of a commit that was removed: what later commits say of it.

  Attributes:
    span: its span.
    data: the digest of its content.
    feature_spec_digest: of its memory.
    memory: the digest of its memory; None if it had none, or none that could be read.
  """

  span: int
  data: str
  feature_spec_digest: str | None
  memory: str | None


def forgotten_to_dict(commits: Iterable[ForgottenCommit]) -> dict[str, Any]:
  """The record of removed commits as JSON values, with the digest of all of them."""
  ordered = sorted(set(commits), key=lambda commit: (commit.span, commit.data))
  value = {"format_name": FORGOTTEN_FORMAT_NAME, "format_version": FORGOTTEN_FORMAT_VERSION,
           "commits": [dataclasses.asdict(commit) for commit in ordered]}
  return {**value, "digest": canonical_digest(value)}


def forgotten_from_dict(value: Mapping[str, Any], subject: str) -> list[ForgottenCommit]:
  """The removed commits that `forgotten_to_dict` wrote, in the order of their spans.

  Raises:
    FormatError: unknown format name, newer version, missing or unknown keys, or a digest that does not fit.
  """
  check_document(value, subject, FORGOTTEN_FORMAT_NAME, FORGOTTEN_FORMAT_VERSION,
                 {"format_name", "format_version", "commits", "digest"})
  try:
    commits = [ForgottenCommit(**entry) for entry in value["commits"]]
    sound = all(is_count(commit.span) and is_sha256(commit.data) for commit in commits)
  except TypeError as error:
    raise damaged(subject, f"{type(error).__name__}: {error}") from error
  if not sound or canonical_digest({key: value[key] for key in value if key != "digest"}) != value["digest"]:
    raise damaged(subject, "a digest that does not fit the rest, or an entry that is none.")
  return commits


@dataclasses.dataclass(frozen=True, order=True)
class CommitName:
  """The name of a commit's file, in the order of spans; of one span, the replaced ones first, as they were made.

  Attributes:
    span: of the commit.
    standing: whether it stands for its span.
    number: of a replaced commit, from 1; 0 for the one that stands.
  """

  span: int
  standing: bool
  number: int = 0

  def __str__(self) -> str:
    return f"{self.span}.json" if self.standing else f"{self.span}.replaced-{self.number}.json"

  @classmethod
  def parse(cls, name: str) -> CommitName | None:
    """What a file name in the folder of commits says; None if it is no commit's."""
    match = _COMMIT_NAME.fullmatch(name)
    parsed = match and cls(int(match[1]), match[2] is None, int(match[2] or 0))
    # Only as a writer writes it: 07.json is no commit.
    return parsed if parsed and str(parsed) == name else None


def data_digest(infos: Mapping[str, FileInfo]) -> str:
  """The digest of a commit's content, which names its folder."""
  return canonical_digest({path: dataclasses.asdict(info) for path, info in infos.items()})


def damaged(subject: str, received: str) -> FormatError:
  """The error for a file of the store that is not as it was written."""
  return FormatError(subject, rule="a commit is as its writer made it.", received=received,
                     remedy="restore the file from a copy, or run the span again; do not edit it by hand.")
