"""Where the log is and how its spans and side tables are read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec
from diet_tf.log.span_patterns import DATE_MARKS, SPAN_MARK, check_pattern, has_span
from diet_tf.settings import OTHER_NAME, from_json

# Stands in the place of a span's number for the first one that is later than the newest commit.
AUTO_SPAN = "auto"
# Commits and slots keep the number in 64 bits.
MAX_SPAN = (1 << 63) - 1
FORMATS = ("csv", "parquet", "jsonl", "tfrecord")
TIME_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
MIB = 1 << 20
UTF_8 = "utf-8"
DELIMITERS = (",", "\t", ";", "|")
# What exports write where a value is missing; the empty text is missing in any case.
MISSING_VALUES = ("NA", "N/A", "null", "NULL", "\\N", "nan", "NaN", "None")
# What release 0.1 took for missing, in CSV alone; its stores go on so.
RELEASE_0_1_MISSING_VALUES = ("nan", "NaN")
# Where a commit keeps the texts that were missing among its settings; null for the usual ones.
MISSING_KEY = "missing_values"
THOUSANDS = (",", " ", "'")
# How a shell or a config may write a delimiter that is hard to type.
_NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t"}
# Keys that release 0.1 had; others stand in the JSON where they are not the default.
_FIRST_KEYS = ("pattern", "format", "delimiter", "newlines_in_values", "span_column", "span_seconds", "span_origin",
               "span_time_unit", "joins", "broadcast_limit_bytes", "max_quarantine_share", "max_quarantine_rows",
               "rows_per_shard", "piece_bytes")
_FIRST_KEYS_OF_JOINS = ("pattern", "on", "key", "columns", "prefix", "format")


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
    delimiter: the character between the values of a CSV line, or tab; None takes that of the log or, where the columns
      are not found with it, the one of comma, tab, semicolon and bar with which they are.
    encoding: encoding of the side table's texts, by its name in Python.
    header: names of all columns of CSV files that do not begin with a line of names, in order.
  """

  pattern: str
  on: str
  key: str | None = None
  columns: tuple[str, ...] = ()
  prefix: str = ""
  format: str | None = None
  delimiter: str | None = None
  encoding: str = UTF_8
  header: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    _check_format(f"join with {self.pattern!r}", self.format)
    if self.delimiter is not None:
      object.__setattr__(self, "delimiter", delimiter_of(self.delimiter, "log.joins.delimiter"))
    _check_encoding(self.encoding, "log.joins.encoding")
    _check_names(self.header, "log.joins.header")
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
    delimiter: the character between the values of a CSV line, or tab; None takes a tab for `.tsv` and a comma for all
      else.
    encoding: encoding of the log's texts, by its name in Python.
    columns: names of all columns of CSV files that do not begin with a line of names, in order; or, in any format, a
      section of names in the files and those by which their columns are read, where these differ.
    missing_values: texts that stand for a missing value, in the log and in side tables; None takes the usual ones, but
      for those that a closed vocabulary or the label lists. The empty text is missing in any case.
    thousands: separator of thousands in the numbers of the log and of side tables: a comma, a space or an apostrophe;
      None refuses numbers with separators.
    newlines_in_values: whether quoted CSV values may hold line breaks; such files are not split between workers.
    span_column: name of the column with the time that assigns a row to a span.
    span_seconds: length of such a span, in seconds.
    span_origin: start of span 0, in seconds since 1970.
    span_time_unit: unit of numbers in that column, one of s, ms, us, ns; None tells it by each number, which has to be
      a time from 1973 to 2199. Timestamps of a file, dates and texts have a unit of their own.
    span_rows: rows of a span, in a log without a time: rows are counted in the order of the files' names and of the
      lines in them. A rest that is no whole span is left until it is one, and told.
    joins: side tables whose columns are added to the rows of the log.
    broadcast_limit_bytes: size in bytes up to which a side table is held in memory by every worker; a larger one is
      joined through files partitioned by key.
    max_quarantine_share: largest share of a span's rows, in [0, 1], that may break the schema; beyond it the run fails.
      A config may name it `max_quarantined_fraction` too.
    max_quarantine_rows: largest number of broken rows that are written out; all are counted.
    rows_per_shard: number of examples, about, in one output file; a span of no more than twice as many is one file.
    piece_bytes: size in bytes, about, of the pieces that input files are split into, the units of parallel work.
    unique: column, or columns, that name a row: of the rows of a span with the same values in them one is kept, the
      first by time. A row in which all of them are missing is set aside.
    drop_duplicates: whether rows of a span that are equal in all columns of the log count as one. Without it, and
      without `unique`, rows that look alike are as many impressions. Where neither is set, a store goes on as its
      newest commit says.
    max_dropped_fraction: largest share of a span's rows, in [0, 1], that `unique` or `drop_duplicates` may drop; beyond
      it the run fails.
    max_duplicate_fraction: largest share of the rows kept, in [0, 1], that may look like another one; beyond it the run
      fails. They are counted in any case.
  """

  pattern: str
  format: str | None = None
  delimiter: str | None = None
  encoding: str = UTF_8
  columns: tuple[str, ...] | Mapping[str, str] = ()
  missing_values: tuple[str, ...] | None = None
  thousands: str | None = None
  newlines_in_values: bool = False
  span_column: str | None = None
  span_seconds: float | None = None
  span_origin: float = 0.0
  span_time_unit: str | None = None
  span_rows: int | None = None
  joins: tuple[Join, ...] = ()
  broadcast_limit_bytes: int = 64 * MIB
  max_quarantine_share: float = dataclasses.field(default=0.01, metadata={OTHER_NAME: "max_quarantined_fraction"})
  max_quarantine_rows: int = 1_000
  rows_per_shard: int = 100_000
  piece_bytes: int = 64 * MIB
  unique: str | tuple[str, ...] = ()
  drop_duplicates: bool | None = None
  max_dropped_fraction: float = 0.75
  max_duplicate_fraction: float = 1.0

  def __post_init__(self) -> None:
    _check_format("log", self.format)
    self._check_span()
    if self.delimiter is not None:
      object.__setattr__(self, "delimiter", delimiter_of(self.delimiter, "log.delimiter"))
    _check_encoding(self.encoding, "log.encoding")
    _check_names(self.header, "log.columns")
    _require(all((*self.renames, *self.renames.values())), "log.columns",
             "each column has a name in the files and another one by which it is read.", dict(self.renames))
    _require(self.thousands is None or self.thousands in THOUSANDS, "log.thousands",
             f"it is one of {', '.join(map(repr, THOUSANDS))}.", self.thousands)
    object.__setattr__(self, "unique", (self.unique,) if isinstance(self.unique, str) else tuple(self.unique))
    _check_names(tuple(self.unique), "log.unique")
    _require(all(self.unique), "log.unique", "it is the name of a column, or a list of them.", self.unique)
    for name in ("max_quarantine_share", "max_dropped_fraction", "max_duplicate_fraction"):
      _require(0 <= getattr(self, name) <= 1, f"log.{name}", "it is a share in [0, 1].", getattr(self, name))
    for name in ("broadcast_limit_bytes", "max_quarantine_rows"):
      _require(getattr(self, name) >= 0, f"log.{name}", "it is not negative.", getattr(self, name))
    for name in ("rows_per_shard", "piece_bytes"):
      _require(getattr(self, name) >= 1, f"log.{name}", "it is at least 1.", getattr(self, name))

  def _check_span(self) -> None:
    _require(bool(self.pattern), "log.pattern", "it is the path of the log.", self.pattern)
    check_pattern("log.pattern", self.pattern)
    by_path, by_time, by_rows = has_span(self.pattern), self.span_column is not None, self.span_rows is not None
    received = f"pattern {self.pattern!r}, span_column {self.span_column!r}"
    _require(by_path + by_time + by_rows == 1, "log", f"spans come either from {SPAN_MARK} or the parts of a date "
             f"({', '.join(DATE_MARKS)}) in the pattern, or from span_column, or from span_rows.",
             f"{received}, span_rows {self.span_rows}" if by_rows else received)
    _require(self.span_rows is None or self.span_rows >= 1, "log.span_rows", "it is at least 1.", self.span_rows)
    _require(not (by_rows and self.newlines_in_values), "log.span_rows",
             "the rows of CSV files are counted by their lines, so that no value holds a line break.",
             "newlines_in_values: true")
    _require(by_time == (self.span_seconds is not None), "log.span_seconds", "it is set together with span_column.",
             self.span_seconds)
    _require(self.span_seconds is None or self.span_seconds > 0, "log.span_seconds", "it is positive.",
             self.span_seconds)
    _require(self.span_time_unit in (None, *TIME_UNITS), "log.span_time_unit", f"it is one of {', '.join(TIME_UNITS)}.",
             self.span_time_unit)

  @property
  def header(self) -> tuple[str, ...]:
    """The names of all columns of CSV files that have no line of names; empty where they have one."""
    return () if isinstance(self.columns, Mapping) else tuple(self.columns)

  @property
  def renames(self) -> Mapping[str, str]:
    """Per name of a column in the files the one by which it is read; empty where they are the same."""
    return self.columns if isinstance(self.columns, Mapping) else {}

  @property
  def missing_texts(self) -> frozenset[str]:
    """The texts that stand for a missing value, but for what a closed vocabulary lists (`listed_texts`)."""
    return frozenset(MISSING_VALUES if self.missing_values is None else self.missing_values)

  def missing_texts_in(self, file_format: str) -> frozenset[str]:
    """As `missing_texts`, in files of a format."""
    of_csv_alone = self.missing_values == RELEASE_0_1_MISSING_VALUES and file_format != "csv"
    return frozenset() if of_csv_alone else self.missing_texts

  def continued(self, committed: Mapping[str, Any] | None) -> LogSettings:
    """The settings in which texts are missing that were so before, where the config does not say which are.

    Args:
      committed: settings that the commit before was made with; None where nothing was committed.
    """
    if self.missing_values is not None or committed is None:
      return self
    values = committed.get(MISSING_KEY, RELEASE_0_1_MISSING_VALUES)
    return self if values is None else dataclasses.replace(self, missing_values=tuple(values))

  def listed_texts(self, spec: FeatureSpec) -> dict[str, frozenset[str]]:
    """Per column the texts that are missing by default, and are values since a field or the label lists them."""
    listed: dict[str, frozenset[str]] = {}
    for _, column, values in _value_lists(spec) if self.missing_values is None else ():
      if texts := self.missing_texts & set(values):
        listed[column] = listed.get(column, frozenset()) | texts
    return listed

  def check_listed_texts(self, spec: FeatureSpec) -> None:
    """Raises ConfigError where a text is declared to be missing, and a field or the label lists it as a value."""
    for place, _, values in _value_lists(spec) if self.missing_values is not None else ():
      texts = self.missing_texts & set(values)
      _require(not texts, "log.missing_values", f"it has none of the values that {place} lists.", sorted(texts))

  def check_list_columns(self, spec: FeatureSpec) -> None:
    """Raises ConfigError where a column that a field reads as lists of values is read as single values too."""
    lists = {name: field for field in reversed(spec.fields) for name in field.list_columns}
    single: list[tuple[str | None, str]]
    single = [(name, f"field {field.name!r}") for field in spec.fields for name in field.columns
              if not field.list_columns]
    single += [(spec.label.column, "the label"), (spec.time_column, "features.time"),
               (self.span_column, "log.span_column"), *((name, "log.unique") for name in self.unique)]
    for join in self.joins:
      single.append((join.on, f"the join with {join.pattern}"))
      if join.key_column in join.columns:
        single.append((join.prefix + join.key_column, f"the join with {join.pattern}"))
    for name, reader in single:
      if name in lists:
        raise ConfigError(f"field {lists[name].name!r}", rule="a column is read as lists of values, or as single ones.",
                          received=f"column {name!r}, which the field reads as lists, and {reader} does not.",
                          remedy="set separator of the field where the column is a text, or write a column for each.")

  def to_dict(self) -> dict[str, Any]:
    """The settings as JSON types; keys that release 0.1 did not have are left out at their default."""
    value = _without_new_defaults(self, _FIRST_KEYS)
    value["joins"] = [_without_new_defaults(join, _FIRST_KEYS_OF_JOINS) for join in self.joins]
    return json.loads(json.dumps(value))

  def identity(self) -> dict[str, Any]:
    """The settings as release 0.1 wrote them, where it could: digests that name what it encoded are of these."""
    return {**self.to_dict(), "delimiter": self.delimiter or ",", "span_time_unit": self.span_time_unit or "s"}

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


def _value_lists(spec: FeatureSpec) -> Iterator[tuple[str, str, tuple[str, ...]]]:
  """Where a spec lists values of the log: the place in words, the column, and the values."""
  for field in spec.fields:
    yield f"field {field.name!r}", field.column, field.vocabulary
  yield "the label", spec.label.column, (*spec.label.positive, *spec.label.negative)


def _without_new_defaults(settings: LogSettings | Join, first: tuple[str, ...]) -> dict[str, Any]:
  """The values of settings but for keys that are not among the first and have their default."""
  return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)
          if field.name in first or getattr(settings, field.name) != field.default}


def delimiter_of(text: str, subject: str) -> str:
  """The character that a delimiter's text names: itself, or a tab for `tab` and for a backslash with a t.

  Raises:
    ConfigError: the text is no single character, or one that CSV needs for something else.
  """
  character = _NAMED_DELIMITERS.get(text.lower(), text)
  _require(len(character) == 1 and character not in '"\r\n' and character.isascii(), subject,
           "it is one character of ASCII that is no quote and no line break, or tab.", text)
  return character


def _check_encoding(name: str, subject: str) -> None:
  try:
    # Python also lists codecs such as base64, which encode no text.
    known = "a".encode(name).decode(name) == "a"
  except (LookupError, ValueError):
    known = False
  _require(known, subject, "it names an encoding of text, such as utf-8, latin-1, cp1252, utf-16 or shift_jis.", name)


def _check_names(names: tuple[str, ...], subject: str) -> None:
  _require(len(set(names)) == len(names), subject, "the names of columns are distinct.", names)


def require_span(span: int, subject: str = "span") -> None:
  """Raises ConfigError if a number is not that of a span, 0 to `MAX_SPAN`."""
  if not 0 <= span <= MAX_SPAN:
    raise ConfigError(subject, rule=f"the number of a span lies in 0 to {MAX_SPAN:,}.", received=f"{span}.",
                      remedy="pass the number that stands for {SPAN} in the log's paths.")


def _require(holds: bool, subject: str, rule: str, received: object) -> None:
  if not holds:
    raise ConfigError(subject, rule=rule, received=repr(received), remedy="mend it in the log section of the config.")


def _check_format(subject: str, name: str | None) -> None:
  if name is not None and name not in FORMATS:
    raise ConfigError(subject, rule=f"format is one of {', '.join(FORMATS)}.", received=repr(name),
                      remedy="name one of them, or leave it out to go by the suffix.")
