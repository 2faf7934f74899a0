"""Where the log is and how its spans and side tables are read."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from diet_tf.errors import ConfigError
from diet_tf.log.span_patterns import DATE_MARKS, SPAN_MARK, check_pattern, has_span
from diet_tf.settings import from_json

# Stands in the place of a span's number for the first one that is later than the newest commit.
AUTO_SPAN = "auto"
FORMATS = ("csv", "parquet", "jsonl", "tfrecord")
TIME_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Join:
  """A side table whose columns are added to the rows of the log.

  A row whose key the side table does not list gets missing values.

  Attributes:
    pattern: path or URI of the side table, as `log.pattern` is written.
    on: name of the log's column that is matched.
    key: name of the side table's column that is matched with it; None if it has the same name.
    columns: names of the columns that are added; empty adds all but the key.
    prefix: text that is put before the names of the added columns.
    format: format of the side table, one of `FORMATS`; None goes by the suffix.
  """

  pattern: str
  on: str
  key: str | None = None
  columns: tuple[str, ...] = ()
  prefix: str = ""
  format: str | None = None

  def __post_init__(self) -> None:
    _check_format(f"join with {self.pattern!r}", self.format)
    for name in ("pattern", "on"):
      if not getattr(self, name):
        raise ConfigError(f"join with {self.pattern!r}", rule=f"{name} is set.", received="nothing.",
                          remedy=f"set log.joins.{name}.")
    check_pattern(f"join with {self.pattern!r}", self.pattern)

  @property
  def key_column(self) -> str:
    """The key column of the side table."""
    return self.key or self.on


@dataclasses.dataclass(frozen=True)
class LogSettings:
  """The log, its spans, and the limits under which it is read.

  A span is found either in the paths or, where one file holds many spans, by time: a row belongs to span
  `floor((time - span_origin) / span_seconds)`. In paths `{SPAN}` stands for its number or for a date such as
  2024-01-30, whose number is 20240130; `{YYYY}`, `{MM}`, `{DD}` and `{HH}` stand for the parts of a date.

  Attributes:
    pattern: path or URI of the log's files, in which `*`, `?` and `[abc]` stand for characters of a name, and `{SPAN}`
      for the span; a folder that it matches stands for the files below it.
    format: format of the log's files, one of `FORMATS`; None goes by the suffix (`.gz` may follow for csv, jsonl and
      tfrecord, `.bz2`, `.zst`, `.xz` and `.lz4` for csv and jsonl).
    delimiter: the character between the values of a CSV line; None takes a tab for `.tsv` and a comma for all else.
    newlines_in_values: whether quoted CSV values may hold line breaks; such files are not split between workers.
    span_column: name of the column with the time that assigns a row to a span.
    span_seconds: length of such a span, in seconds.
    span_origin: start of span 0, in seconds since the epoch of the column.
    span_time_unit: unit of the column, one of s, ms, us, ns; a column of Arrow timestamps counts in us.
    joins: side tables whose columns are added to the rows of the log.
    broadcast_limit_bytes: size in bytes up to which a side table is held in memory by every worker; a larger one is
      joined through files partitioned by key.
    max_quarantine_share: largest share of a span's rows, in [0, 1], that may break the schema; beyond it the run fails.
    max_quarantine_rows: largest number of broken rows that are written out; all are counted.
    rows_per_shard: number of examples, about, in one output file; a span of no more than twice as many is one file.
    piece_bytes: size in bytes, about, of the pieces that input files are split into, the units of parallel work.
  """

  pattern: str
  format: str | None = None
  delimiter: str | None = None
  newlines_in_values: bool = False
  span_column: str | None = None
  span_seconds: float | None = None
  span_origin: float = 0.0
  span_time_unit: str = "s"
  joins: tuple[Join, ...] = ()
  broadcast_limit_bytes: int = 64 * MIB
  max_quarantine_share: float = 0.01
  max_quarantine_rows: int = 1_000
  rows_per_shard: int = 100_000
  piece_bytes: int = 64 * MIB

  def __post_init__(self) -> None:
    _check_format("log", self.format)
    self._check_span()
    _require(self.delimiter is None or len(self.delimiter) == 1, "log.delimiter", "it is one character.",
             self.delimiter)
    _require(0 <= self.max_quarantine_share <= 1, "log.max_quarantine_share", "it is a share in [0, 1].",
             self.max_quarantine_share)
    for name in ("broadcast_limit_bytes", "max_quarantine_rows"):
      _require(getattr(self, name) >= 0, f"log.{name}", "it is not negative.", getattr(self, name))
    for name in ("rows_per_shard", "piece_bytes"):
      _require(getattr(self, name) >= 1, f"log.{name}", "it is at least 1.", getattr(self, name))

  def _check_span(self) -> None:
    _require(bool(self.pattern), "log.pattern", "it is the path of the log.", self.pattern)
    check_pattern("log.pattern", self.pattern)
    by_path, by_time = has_span(self.pattern), self.span_column is not None
    _require(by_path != by_time, "log", f"spans come either from {SPAN_MARK} or the parts of a date "
             f"({', '.join(DATE_MARKS)}) in the pattern, or from span_column.",
             f"pattern {self.pattern!r}, span_column {self.span_column!r}")
    _require(by_time == (self.span_seconds is not None), "log.span_seconds", "it is set together with span_column.",
             self.span_seconds)
    _require(self.span_seconds is None or self.span_seconds > 0, "log.span_seconds", "it is positive.",
             self.span_seconds)
    _require(self.span_time_unit in TIME_UNITS, "log.span_time_unit", f"it is one of {sorted(TIME_UNITS)}.",
             self.span_time_unit)

  def to_dict(self) -> dict[str, Any]:
    """The settings as JSON types."""
    return json.loads(json.dumps(dataclasses.asdict(self)))

  def to_json(self) -> str:
    """The settings as one line of JSON."""
    return json.dumps(self.to_dict(), sort_keys=True)

  @classmethod
  def from_json(cls, text: str) -> LogSettings:
    """The settings that `to_json` wrote.

    Raises:
      ConfigError: a key is not known or missing, or a value is not usable.
    """
    return from_json(cls, text, "log")


def _require(holds: bool, subject: str, rule: str, received: object) -> None:
  if not holds:
    raise ConfigError(subject, rule=rule, received=repr(received), remedy="mend it in the log section of the config.")


def _check_format(subject: str, name: str | None) -> None:
  if name is not None and name not in FORMATS:
    raise ConfigError(subject, rule=f"format is one of {', '.join(FORMATS)}.", received=repr(name),
                      remedy="name one of them, or leave it out to go by the suffix.")
