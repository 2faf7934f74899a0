"""Spans in paths: a pattern with `{SPAN}`, or with the parts of a date, and the files of each span that it matches.

A span is a whole number. Digits are that number; a date is the number that its digits make, so that 2024-01-30 is span
20240130 and its hour 3 is span 2024013003.
"""

from __future__ import annotations

import datetime
import re
import urllib.parse
from collections.abc import Mapping

from diet_tf.errors import ConfigError, DataError
from diet_tf.io import path_patterns

SPAN_MARK = "{SPAN}"
# The parts of a date, the largest first; a pattern has the first of them, or the first few.
DATE_MARKS = ("{YYYY}", "{MM}", "{DD}", "{HH}")
# What writers of partitioned tables put in the place of a value that is missing.
MISSING_PARTITION = "__HIVE_DEFAULT_PARTITION__"

_MARK = re.compile(r"\{[A-Z]+\}")
# Digits come first: a pattern that fits both ways is read as it is where there are no dates.
_NUMBER_OR_DATE = r"[0-9]+|[0-9]{4}-[0-9]{2}(?:-[0-9]{2}(?:[-_T ][0-9]{2})?)?"


def has_span(pattern: str) -> bool:
  """Whether a pattern says where the span stands in the paths."""
  return SPAN_MARK in pattern or any(mark in pattern for mark in DATE_MARKS)


def check_pattern(subject: str, pattern: str) -> None:
  """Raises ConfigError where a pattern's marks do not make one span."""
  marks = set(_MARK.findall(pattern))
  unknown = sorted(marks - {SPAN_MARK, *DATE_MARKS})
  if unknown:
    raise ConfigError(subject, rule=f"what stands for the span in a path is {SPAN_MARK} or {', '.join(DATE_MARKS)}.",
                      received=", ".join(unknown), remedy="correct it; a brace that is meant is written [{].")
  parts = [mark for mark in DATE_MARKS if mark in marks]
  if SPAN_MARK in marks and parts:
    raise ConfigError(subject, rule=f"a pattern has {SPAN_MARK} or the parts of a date.", received=repr(pattern),
                      remedy=f"{SPAN_MARK} alone stands for a whole date too, such as 2024-01-30.")
  if tuple(parts) != DATE_MARKS[:len(parts)]:
    raise ConfigError(subject, rule="a date in a path has its larger parts too: " + ", ".join(DATE_MARKS) + ".",
                      received=", ".join(parts), remedy="add the parts that are missing, or write * for the others.")


def paths_by_span(pattern: str) -> dict[int, list[str]]:
  """Per span the sorted files and folders that a pattern matches.

  Args:
    pattern: path or URI with `{SPAN}` or the parts of a date.

  Raises:
    DataError: what stands for a date in a path is none, or dates in the paths have different parts.
  """
  found: dict[int, list[str]] = {}
  lengths: dict[int, str] = {}
  for match in path_patterns.matching(pattern, _expressions(pattern)):
    span, num_parts = _span_of(match)
    found.setdefault(span, []).append(match.path)
    if num_parts:
      lengths.setdefault(num_parts, match.path)
  if len(lengths) > 1:
    raise DataError(pattern, rule="the dates in the paths have the same parts, or their spans would have no order.",
                    received=", ".join(lengths[length] for length in sorted(lengths)),
                    remedy="name the paths of one kind by the pattern.")
  return found


def paths_without_span(pattern: str) -> list[str]:
  """The sorted paths in which a partition without a value stands for the span, whose rows are therefore of none."""
  marked = pattern
  for mark in (SPAN_MARK, *DATE_MARKS):
    marked = marked.replace(mark, MISSING_PARTITION)
  return path_patterns.glob(re.sub(rf"{MISSING_PARTITION}[^/]*", f"{MISSING_PARTITION}", marked))


def all_paths(pattern: str) -> list[str]:
  """The sorted files and folders of all spans that a pattern matches."""
  return [match.path for match in path_patterns.matching(pattern, _expressions(pattern))]


def _expressions(pattern: str) -> dict[str, str]:
  digits = "[0-9]{2}" if "}{" in pattern else "[0-9]{1,2}"
  return {SPAN_MARK: _NUMBER_OR_DATE, DATE_MARKS[0]: "[0-9]{4}", **dict.fromkeys(DATE_MARKS[1:], digits)}


def _span_of(match: path_patterns.Match) -> tuple[int, int]:
  """The span of a path, and how many parts of a date it is made of; 0 where it is a number."""
  text = match.values.get(SPAN_MARK)
  if text is not None and text.isdecimal():
    return int(text), 0
  parts = re.split(r"[-_T ]", text) if text is not None else [
      match.values[mark] for mark in DATE_MARKS if mark in match.values]
  return _number_of_date(match.path, [int(part) for part in parts]), len(parts)


def _number_of_date(path: str, parts: list[int]) -> int:
  year, month, day, hour = [*parts, *(1, 1, 0)[len(parts) - 1:]]
  try:
    datetime.datetime(year, month, day, hour)
  except ValueError as error:
    raise DataError(path, rule="what stands for the span in a path is a number, or a date that there is.",
                    received=f"{'-'.join(f'{part:02d}' for part in parts)}: {error}.",
                    remedy="rename or remove it, or narrow log.pattern.") from error
  return int(f"{year:04d}" + "".join(f"{part:02d}" for part in parts[1:]))


def partition_values(path: str) -> Mapping[str, str]:
  """The columns that a path's folders give, as in `dt=2024-01-30/hour=03/part-0.parquet`; the missing is empty.

  Characters that paths cannot hold are %XX there, as Spark and Hive write them.
  """
  found = {}
  for name in path.split("/")[:-1]:
    column, equals, value = name.partition("=")
    if column and equals:
      found[urllib.parse.unquote(column)] = "" if value == MISSING_PARTITION else urllib.parse.unquote(value)
  return found
