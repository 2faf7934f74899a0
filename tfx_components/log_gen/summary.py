"""What became of a span: the record that LogGen leaves beside its examples."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from diet_tf.io.documents import DocumentFormat
from diet_tf.io.shapes import Absentable, ListOf


@dataclasses.dataclass(frozen=True)
class LogSummary:
  """What became of a span.

  Attributes:
    span: its number.
    num_rows: rows read that belong to the span, broken ones included.
    num_quarantined: broken rows.
    num_duplicates: exact duplicates that were dropped.
    num_examples: examples written.
    num_positives: those with label 1.
    first_time: smallest time of an example; 0 where the spec has no time column.
    last_time: largest time.
    quarantine_reasons: broken rows by reason.
    joins: per used side table its pattern, way (broadcast or keyed), rows with a key, rows whose key was found.
    vocabulary_sizes: per growing field the number of values known after the span.
    shards: file names in order.
    files: the log's files.
    feature_spec_digest: of the spec that the examples are encoded with.
    salt_check: of the secret that ids are hashed with; None without one.
  """

  span: int
  num_rows: int
  num_quarantined: int
  num_duplicates: int
  num_examples: int
  num_positives: int
  first_time: int
  last_time: int
  quarantine_reasons: Mapping[str, int]
  joins: Sequence[Mapping[str, Any]]
  vocabulary_sizes: Mapping[str, int]
  shards: Sequence[str]
  files: Sequence[str]
  feature_spec_digest: str
  salt_check: str | None = None

  def to_dict(self) -> dict[str, Any]:
    """The summary as JSON types, with its format."""
    value = SUMMARY.document(dataclasses.asdict(self))
    return {key: entry for key, entry in value.items() if key != "salt_check" or entry is not None}

  def write(self, path: str) -> None:
    """Writes the summary as JSON."""
    SUMMARY.write(path, self.to_dict())


_JOIN = {"pattern": str, "way": str, "num_keyed": int, "num_matched": int}
SUMMARY = DocumentFormat("diet_tf.log_summary", {
    1: {**typing.get_type_hints(LogSummary), "joins": ListOf(_JOIN), "salt_check": Absentable(str)}},
    remedy="restore the file, or encode the span again.", indent=1, ascii_only=False, final_newline=False)
