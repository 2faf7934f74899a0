"""What became of a span: the record that LogGen leaves beside its examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from diet_tf.io import files as file_system
from diet_tf.io.documents import DocumentFormat
from diet_tf.io.shapes import Absentable, ListOf
from diet_tf.log.duplicates import DUPLICATE_RULE_SHAPE, RELEASE_0_1, DuplicateRule
from diet_tf.log.row_counts import EQUAL_ROWS, ROW_COUNTS_SHAPE, RowCounts, RowTally, total
from diet_tf.log.settings import RELEASE_0_1_MISSING_VALUES
from tfx_components.log_gen.file_names import SUMMARY_NAME


@dataclasses.dataclass(frozen=True)
class LogSummary:
  """What became of a span.

  Attributes:
    span: number of the span.
    rows: how many rows were read, kept, set aside and dropped, by reason.
    rule: which rows stood for each other.
    first_time: smallest time of an example, as the time column has its numbers, in microseconds since 1970 where it
      has dates, texts or timestamps; 0 where the spec has none.
    last_time: largest time of an example.
    joins: per used side table its pattern, way (broadcast or keyed), rows with a key, rows whose key was found.
    vocabulary_sizes: per growing field, the number of values known after the span.
    shards: names of the files of examples, in order.
    files: paths of the log's files.
    feature_spec_digest: digest of the spec that the examples are encoded with.
    salt_check: check value of the secret that ids are hashed with; None without one.
    missing_values: the texts that stood for a missing value; None for the usual ones.
  """

  span: int
  rows: RowCounts
  rule: DuplicateRule
  first_time: int
  last_time: int
  joins: Sequence[Mapping[str, Any]]
  vocabulary_sizes: Mapping[str, int]
  shards: Sequence[str]
  files: Sequence[str]
  feature_spec_digest: str
  salt_check: str | None = None
  missing_values: Sequence[str] | None = None

  @property
  def num_rows(self) -> int:
    """Number of rows read that belong to the span, broken ones included."""
    return self.rows.read.num_rows

  @property
  def num_quarantined(self) -> int:
    """Number of broken rows."""
    return total(self.rows.quarantined).num_rows

  @property
  def num_duplicates(self) -> int:
    """Number of rows that were dropped since another one stands for them."""
    return total(self.rows.dropped).num_rows

  @property
  def num_examples(self) -> int:
    """Number of examples written."""
    return self.rows.kept.num_rows

  @property
  def num_positives(self) -> int:
    """Number of examples with label 1."""
    return self.rows.kept.num_positives

  @property
  def quarantine_reasons(self) -> dict[str, int]:
    """Number of broken rows by reason."""
    return {reason: tally.num_rows for reason, tally in sorted(self.rows.quarantined.items())}

  def to_dict(self) -> dict[str, Any]:
    """The summary as JSON types, with its format."""
    value = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    value |= {"rows": self.rows.to_dict(), "rule": self.rule.to_dict()}
    value |= {name: getattr(self, name) for name in _COUNTS}
    if self.salt_check is None:
      del value["salt_check"]
    return SUMMARY.document(value)

  def write(self, path: str) -> None:
    """Writes the summary as JSON."""
    SUMMARY.write(path, self.to_dict())

  @classmethod
  def read(cls, folder: str) -> LogSummary | None:
    """The summary that LogGen left in the folder of its output; None where there is none.

    One of release 0.1 knows no click rates but that of the rows kept.

    Raises:
      FormatError: the file is damaged, or of a newer version.
    """
    path = file_system.join(folder, SUMMARY_NAME)
    if not file_system.exists(path):
      return None
    content = SUMMARY.read(path)
    counts = {name: content.pop(name) for name in _COUNTS}
    rows = RowCounts.from_dict(content.pop("rows")) if "rows" in content else _counts_of_release_0_1(counts)
    rule = DuplicateRule.from_dict(content.pop("rule")) if "rule" in content else RELEASE_0_1
    missing = content.pop("missing_values", RELEASE_0_1_MISSING_VALUES)
    return cls(rows=rows, rule=rule, missing_values=missing, **content)


def _counts_of_release_0_1(counts: Mapping[str, Any]) -> RowCounts:
  kept = RowTally(counts["num_examples"], counts["num_examples"], counts["num_positives"])
  reasons = {reason: RowTally(number) for reason, number in counts["quarantine_reasons"].items()}
  dropped = {EQUAL_ROWS: RowTally(counts["num_duplicates"])} if counts["num_duplicates"] else {}
  return RowCounts(RowTally(counts["num_rows"]), kept, reasons, dropped)


# What release 0.1 wrote of rows, and what stands beside `rows` still.
_COUNTS = {"num_rows": int, "num_quarantined": int, "num_duplicates": int, "num_examples": int, "num_positives": int,
           "quarantine_reasons": Mapping[str, int]}
_JOIN = {"pattern": str, "way": str, "num_keyed": int, "num_matched": int}
_VERSION_1 = {**_COUNTS, "span": int, "first_time": int, "last_time": int, "joins": ListOf(_JOIN),
              "vocabulary_sizes": Mapping[str, int], "shards": Sequence[str], "files": Sequence[str],
              "feature_spec_digest": str, "salt_check": Absentable(str)}
SUMMARY = DocumentFormat("diet_tf.log_summary", {
    1: _VERSION_1, 2: {**_VERSION_1, "rows": ROW_COUNTS_SHAPE, "rule": DUPLICATE_RULE_SHAPE,
                        "missing_values": list[str] | None}},
    remedy="restore the file, or encode the span again.", indent=1, ascii_only=False, final_newline=False)
