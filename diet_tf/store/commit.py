"""What a store writes down: the commit of a span, the record of commits that were removed, and pins."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from diet_tf.errors import FormatError
from diet_tf.io import files
from diet_tf.io.documents import DocumentFormat, canonical_digest, is_count, is_sha256

_REMEDY = "restore the file from a copy, or run the span again; do not edit it by hand."


@dataclasses.dataclass(frozen=True)
class FileInfo:
  """Digest and size of one file of a commit.

  Attributes:
    sha256: SHA-256 of the content, in hex.
    num_bytes: size of the content.
  """

  sha256: str
  num_bytes: int


_COMMIT = {"span": int, "parent": int | None, "parent_data": str | None, "data": str, "files": Mapping[str, FileInfo],
           "feature_spec_digest": str | None, "settings": Mapping[str, Any], "settings_digest": str, "run_id": str,
           "created": str}
# Version 1 has no digest of its own.
COMMIT = DocumentFormat("diet_tf.commit", {1: _COMMIT, 2: {**_COMMIT, "digest": str}}, _REMEDY)


# Key of the settings of a commit that revises another one of its span: `of`, the digest of that one's data, and
# `distill`, the settings that it was refined by.
REVISION_KEY = "revision"


@dataclasses.dataclass(frozen=True)
class Commit:
  """What one span left in the store.

  Attributes:
    span: number of the span, at least 0.
    parent: span of the commit that this one grew from, below its own; None for the first.
    parent_data: data digest of that commit, since a span's commit can be replaced; None for the first.
    data: digest of the content, which is the name of its data folder.
    files: digest and size of each file, by its path in the data folder (`memory/manifest.json`).
    feature_spec_digest: digest of the feature spec of the memory, or of the settings; None if neither names one.
    settings: settings of the run, as JSON values.
    settings_digest: digest of the settings.
    run_id: name of the pipeline run that made the commit.
    created: UTC time of the commit in ISO 8601, to the second.
    format_name: name of the format, `diet_tf.commit`.
    format_version: version of the format, 1 or 2.
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
  format_name: str = COMMIT.name
  format_version: int = COMMIT.newest

  @property
  def num_bytes(self) -> int:
    """Size of all files of the commit together."""
    return sum(info.num_bytes for info in self.files.values())

  @property
  def revises(self) -> str | None:
    """The digest of the data of the commit of the same span that this one revises; None where it revises none."""
    revision = self.settings.get(REVISION_KEY)
    return str(revision["of"]) if isinstance(revision, Mapping) and "of" in revision else None

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
    content = COMMIT.check(value, subject)
    digest = content.pop("digest", None)
    commit = cls(**content, format_version=value["format_version"])
    commit._check(subject)
    if digest is not None and commit.to_dict()["digest"] != digest:
      raise damaged(subject, "a digest that does not fit the rest.")
    return commit

  def _check(self, subject: str) -> None:
    for path, info in self.files.items():
      if not files.is_plain_path(path):
        raise damaged(subject, f"the path {path!r}, which leads out of its folder.")
      if not is_sha256(info.sha256) or not is_count(info.num_bytes):
        raise damaged(subject, f"a digest or size of {path!r} that is none.")
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
    span: number of the span that it was the commit of.
    data: digest of its content.
    feature_spec_digest: digest of the feature spec that it was made with; None if it named none.
    memory: digest of its memory; None if it had none, or none that could be read.
  """

  span: int
  data: str
  feature_spec_digest: str | None
  memory: str | None


_FORGOTTEN = {"commits": list[ForgottenCommit], "digest": str}
# Version 2 says that there are pins, which releases of version 1 would not keep: they refuse it.
FORGOTTEN = DocumentFormat("diet_tf.forgotten", {1: _FORGOTTEN, 2: _FORGOTTEN}, _REMEDY)


def forgotten_to_dict(commits: Iterable[ForgottenCommit], *, has_pins: bool = False) -> dict[str, Any]:
  """The record of removed commits as JSON values, with the digest of all of them.

  Args:
    commits: the removed commits.
    has_pins: whether the store has pins.
  """
  ordered = sorted(set(commits), key=lambda commit: (commit.span, commit.data))
  value = {**FORGOTTEN.document({"commits": [dataclasses.asdict(commit) for commit in ordered]}),
           "format_version": 2 if has_pins else 1}
  return {**value, "digest": canonical_digest(value)}


def forgotten_from_dict(value: Mapping[str, Any], subject: str) -> list[ForgottenCommit]:
  """The removed commits that `forgotten_to_dict` wrote, in the order of their spans.

  Raises:
    FormatError: unknown format name, newer version, missing or unknown keys, or a digest that does not fit.
  """
  commits: list[ForgottenCommit] = FORGOTTEN.check(value, subject)["commits"]
  sound = all(is_count(commit.span) and is_sha256(commit.data) for commit in commits)
  if not sound or canonical_digest({key: value[key] for key in value if key != "digest"}) != value["digest"]:
    raise damaged(subject, "a digest that does not fit the rest, or an entry that is none.")
  return commits


@dataclasses.dataclass(frozen=True)
class Pin:
  """A commit that nothing removes.

  Attributes:
    span: number of the commit's span.
    data: digest of its content.
    note: why it is kept.
    created: UTC time of the pin in ISO 8601, to the second.
  """

  span: int
  data: str
  note: str
  created: str

  def to_dict(self) -> dict[str, Any]:
    """The pin as JSON values, with the digest of all of them."""
    value = PIN.document(dataclasses.asdict(self))
    return {**value, "digest": canonical_digest(value)}

  @classmethod
  def from_dict(cls, value: Mapping[str, Any], subject: str = "pin") -> Pin:
    """The pin that `to_dict` wrote.

    Raises:
      FormatError: unknown format name, newer version, missing or unknown keys, a value of another type, or a digest
        that does not fit.
    """
    content = PIN.check(value, subject)
    digest = content.pop("digest")
    pin = cls(**content)
    if not (is_count(pin.span) and is_sha256(pin.data)) or pin.to_dict()["digest"] != digest:
      raise damaged(subject, "a digest that does not fit the rest, or an entry that is none.")
    return pin


PIN = DocumentFormat("diet_tf.pin", {1: {"span": int, "data": str, "note": str, "created": str, "digest": str}},
                     _REMEDY)
MAX_NOTE_CHARACTERS = 1000


def data_digest(infos: Mapping[str, FileInfo]) -> str:
  """The digest of a commit's content, which names its folder."""
  return canonical_digest({path: dataclasses.asdict(info) for path, info in infos.items()})


def damaged(subject: str, received: str) -> FormatError:
  """The error for a file of the store that is not as it was written."""
  return FormatError(subject, rule="a commit is as its writer made it.", received=received,
                     remedy=_REMEDY)
