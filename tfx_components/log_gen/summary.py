"""What became of a span: the record that LogGen leaves beside its examples."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from diet_tf.io import files as file_system
from diet_tf.io.documents import DocumentFormat
from diet_tf.io.shapes import Absentable, ListOf
from tfx_components.log_gen.file_names import SUMMARY_NAME


@dataclasses.dataclass(frozen=True)
class LogSummary:
  """What became of a span.

  Attributes:
    span: number of the span.
    num_rows: number of rows read that belong to the span, broken ones included.
    num_quarantined: number of broken rows.
    num_duplicates: number of exact duplicates that were dropped.
    num_examples: number of examples written.
    num_positives: number of examples with label 1.
    first_time: smallest time of an example, as the time column has its numbers, in microseconds since 1970 where it
      has dates, texts or timestamps; 0 where the spec has none.
    last_time: largest time of an example.
    quarantine_reasons: number of broken rows by reason.
    joins: per used side table its pattern, way (broadcast or keyed), rows with a key, rows whose key was found.
    vocabulary_sizes: per growing field, the number of values known after the span.
    shards: names of the files of examples, in order.
    files: paths of the log's files.
    feature_spec_digest: digest of the spec that the examples are encoded with.
    salt_check: check value of the secret that ids are hashed with; None without one.
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

  @classmethod
  def read(cls, folder: str) -> LogSummary | None:
    """The summary that LogGen left in the folder of its output; None where there is none.

    Raises:
      FormatError: the file is damaged, or of a newer version.
    """
    path = file_system.join(folder, SUMMARY_NAME)
    return cls(**SUMMARY.read(path)) if file_system.exists(path) else None


_JOIN = {"pattern": str, "way": str, "num_keyed": int, "num_matched": int}
SUMMARY = DocumentFormat("diet_tf.log_summary", {
    1: {**typing.get_type_hints(LogSummary), "joins": ListOf(_JOIN), "salt_check": Absentable(str)}},
    remedy="restore the file, or encode the span again.", indent=1, ascii_only=False, final_newline=False)
