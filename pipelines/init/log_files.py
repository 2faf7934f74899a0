"""The files of a raw log, and how they are read: format, delimiter, encoding and header, told by their first bytes."""

from __future__ import annotations

import codecs
import csv
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diet_tf.errors import ConfigError, DataError
from diet_tf.io import files, path_patterns
from diet_tf.log import encoding as encoding_lib
from diet_tf.log import span_patterns
from diet_tf.log.settings import DELIMITERS, SPAN_MARK, UTF_8, LogSettings, delimiter_of
from pipelines.init import text_kinds
from pipelines.init.pattern_guess import guess_patterns
from tfx_components.log_gen import file_kinds, sources

# How --delimiter names what is hard to type.
NAMED_DELIMITERS = {"comma": ",", "semicolon": ";", "pipe": "|", "bar": "|", "space": " "}
_PEEKED_BYTES = 1 << 16
_PEEKED_LINES = 30
_MAX_FILES_COMPARED = 20
# Of the cells of a first line, so many must look like those below it for it to be no header.
_HEADER_SHARE = 0.5
_LEAST_OTHERS = 0.2
_BOMS = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclasses.dataclass(frozen=True)
class LogFiles:
  """The files of a log.

  Attributes:
    paths: paths or URIs of the files, sorted.
    num_named: how many of them the user named.
    patterns: patterns that match all of them, by finer spans first; the last one may have no mark for a span.
    reading: keys of the section `log` that say how the files are read, with their values, but for what is the default.
  """

  paths: tuple[str, ...]
  num_named: int
  patterns: tuple[str, ...]
  reading: Mapping[str, Any]

  def settings(self, **keys: Any) -> LogSettings:
    """Settings for readers of the files; without keys, for those to whom it does not matter how spans are told."""
    return LogSettings(**{"pattern": SPAN_MARK, **self.reading, **keys})


def find_files(log: Sequence[str], *, declared_format: str | None = None, delimiter: str | None = None,
               encoding: str | None = None, header: Sequence[str] = ()) -> LogFiles:
  """The files that paths, globs, folders or a pattern with marks for spans name.

  Args:
    log: paths, globs, folders or a pattern as the user gave them; a shell may have expanded a glob.
    declared_format: format of the files; None, the default, goes by the suffix.
    delimiter: character between the values of a CSV line, or its name; None, the default, goes by the first lines.
    encoding: encoding of the texts; None, the default, goes by the first bytes.
    header: names of the columns of CSV files without a header.

  Raises:
    DataError: there are none, or nothing says their format.
    ConfigError: files have nothing in common, or CSV files have no header and no names are given.
  """
  paths = sorted({path for entry in log for path in _matching_paths(entry, declared_format)})
  if not paths:
    raise DataError(" ".join(log), rule="it names at least one file.", received="none.",
                    remedy="check the path; put a glob in quotes.")
  marked = [entry for entry in log if span_patterns.has_span(entry)]
  patterns = (marked[0],) if marked else guess_patterns(paths)
  found = span_patterns.all_paths(patterns[-1]) if len(patterns) > 1 or not marked else paths
  # The pattern may match files beside those that were named: all of them are the log.
  all_paths = sorted({path for match in found for path in _data_files(match)} | set(paths))
  file_format = sources.format_of(paths[0], declared_format)
  if not marked and len(patterns) == 1 and len(paths) > 1:
    _require_same_columns(paths, file_format)
  reading: dict[str, Any] = {} if declared_format is None else {"format": declared_format}
  if file_format in ("csv", "jsonl"):
    guessed = encoding or guess_encoding(paths[0])
    reading.update({"encoding": guessed} if guessed != UTF_8 else {})
  if file_format == "csv":
    named = None if delimiter is None else delimiter_of(NAMED_DELIMITERS.get(delimiter.lower(), delimiter),
                                                        "--delimiter")
    guess = named or guess_delimiter(paths[0], reading.get("encoding", UTF_8))
    reading.update({"delimiter": guess} if guess != file_kinds.delimiter_of(paths[0], None) else {})
    reading.update({"columns": tuple(header)} if header else {})
    rows, has_newlines = first_rows(paths[0], guess, reading.get("encoding", UTF_8))
    reading.update({"newlines_in_values": True} if has_newlines else {})
    if not header:
      _require_header(paths[0], rows)
  return LogFiles(tuple(all_paths), len(paths), patterns, reading)


def _require_same_columns(paths: Sequence[str], file_format: str) -> None:
  """Raises ConfigError where files of different names have different columns: a log and its side tables, say."""
  declared = {path: _file_columns(path, file_format) for path in paths[:_MAX_FILES_COMPARED]}
  first = declared[paths[0]]
  other = next((path for path, names in declared.items() if names != first), None)
  if other is not None and first is not None:
    raise ConfigError("log", rule="its files have the same columns.",
                      received=f"{', '.join(first)} in {paths[0]}; {', '.join(declared[other] or ())} in {other}.",
                      remedy="name the files of the log alone, as a glob; side tables are joined by log.joins.")


def _file_columns(path: str, file_format: str) -> tuple[str, ...] | None:
  if file_format == "csv":
    encoding = guess_encoding(path)
    return sources.csv_header(path, guess_delimiter(path, encoding), encoding)[0]
  return sources.file_columns(sources.Piece(0, path, file_format)) if file_format == "parquet" else None


def _matching_paths(entry: str, declared_format: str | None) -> list[str]:
  if span_patterns.has_span(entry):
    matches = span_patterns.all_paths(entry)
  else:
    matches = [entry] if files.exists(entry) else path_patterns.glob(entry)
  found = []
  for match in matches:
    below = _data_files(match)
    # A folder may hold other files beside those of the log.
    found += below if declared_format or below == [match] else file_kinds.with_known_suffix(below)
  return found


def _data_files(path: str) -> list[str]:
  return file_kinds.data_files(path) if files.is_folder(path) else [path]


def first_lines(path: str, encoding: str) -> list[str]:
  """The first whole lines of a file, without a mark of byte order."""
  with file_kinds.open_lines(path) as stream:
    data = stream.read(_PEEKED_BYTES)
  lines = data.decode(encoding, "replace").removeprefix("\ufeff").splitlines()
  return lines[:_PEEKED_LINES] if len(data) < _PEEKED_BYTES else lines[:-1][:_PEEKED_LINES] or lines


def guess_encoding(path: str) -> str:
  """The encoding of a file's texts by its first bytes: UTF-16, or UTF-8 where nothing speaks against it."""
  with file_kinds.open_lines(path) as stream:
    data = stream.read(_PEEKED_BYTES)
  for bom, name in _BOMS:
    if data.startswith(bom) and not data.startswith(codecs.BOM_UTF32_LE):
      return name
  # Texts of Latin letters have a zero in every other byte.
  even, odd = data[::2].count(0), data[1::2].count(0)
  if max(even, odd) > 0.3 * len(data):
    return "utf-16-be" if even > odd else "utf-16-le"
  return UTF_8


def first_rows(path: str, delimiter: str, encoding: str) -> tuple[list[list[str]], bool]:
  """The first rows of a CSV file, its header among them, and whether values in quotes go on in the next line."""
  rows: list[list[str]] = []
  try:
    rows.extend(row for row in csv.reader((f"{line}\n" for line in first_lines(path, encoding)), delimiter=delimiter,
                                          strict=True) if row)
  except csv.Error as error:
    # A value that goes on beyond these lines; what else is wrong is told where the file is read.
    if "unexpected end" not in str(error):
      return rows, False
  has_newlines = any("\n" in value for row in rows for value in row)
  return rows, has_newlines and len({len(row) for row in rows}) == 1


def _require_header(path: str, rows: Sequence[Sequence[str]]) -> None:
  """Raises ConfigError where the names of a CSV file look like values of its first row."""
  if len(rows) < 2:
    return
  names = rows[0]
  below = list(zip(*(row for row in rows[1:] if len(row) == len(names))))
  alike = [name for name, values in zip(names, below) if name.strip() and _is_like(name, values)]
  if len(alike) > _HEADER_SHARE * sum(bool(name.strip()) for name in names):
    raise ConfigError(path, rule="the first line of a CSV file names its columns.",
                      received=f"{', '.join(names)}, which looks like the first row.",
                      remedy="write a header, or name the columns in their order: --columns " +
                      ",".join(f"name_{place}" for place in range(1, len(names) + 1)) + ".")


def _is_like(name: str, values: Sequence[str]) -> bool:
  """Whether a name is of the kind of the values below it: a number or a time as they are, or one of them."""
  present = np.array([name, *(value for value in values if value)], object)
  _, unreadable = encoding_lib.numbers(present)
  if not unreadable[0]:
    return bool(np.mean(unreadable[1:]) < _LEAST_OTHERS) if len(present) > 1 else False
  return name in values or all(map(text_kinds.is_time_text, present))


def guess_delimiter(path: str, encoding: str = UTF_8) -> str:
  """The delimiter that parts the first lines of a CSV file into most columns, of equal number in each line.

  Of equals it is the first in `DELIMITERS`.
  """
  lines = first_lines(path, encoding)

  def parted(delimiter: str) -> tuple[float, int]:
    widths: list[int] = []
    try:
      for row in csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True):
        widths += [len(row)] if row else []
    except csv.Error as error:
      # A value that goes on beyond these lines, or quotes that end where this delimiter has a value go on.
      if "unexpected end" not in str(error):
        return 0.0, 0
    if not widths or widths[0] < 2:
      return 0.0, 1
    even = sum(width == widths[0] for width in widths) / len(widths)
    return (1.0, widths[0]) if even > 0.8 else (even, widths[0])

  return max(DELIMITERS, key=parted)
