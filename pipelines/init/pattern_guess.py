"""Patterns for the files of a log, from the paths of some: marks for the span that paths tell, `*` for what varies."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from diet_tf.errors import ConfigError
from diet_tf.io import files, path_patterns
from diet_tf.log.span_patterns import DATE_MARKS, SPAN_MARK

_DIGITS = re.compile(r"\d+")
# What a writer draws for each of its files, as Spark does; a mark that no path has stands for it.
_DRAWN = re.compile(r"(?<![0-9a-zA-Z])(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|"
                    r"(?=[0-9a-f]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{16,64})(?![0-9a-zA-Z])")
_DRAWN_MARK = "\x00"
_PARTITION = re.compile(r"((?<=/)[^/=]+=)[^/]*[^\W\d_][^/]*(?=/)")
# Words before a number that say that it counts spans.
_SPAN_WORDS = re.compile(r"(span|day|date|dt|ds|hour|week|month|period)[^a-zA-Z0-9]*$", re.IGNORECASE)
# Between the numbers of a date: 2024-01-30, 2024/01/30, year=2024/month=01/day=30; before its hour also T.
_WITHIN_DATES = re.compile(r"[-_.T ]|/(?:[a-zA-Z]+=)?")
_YEAR, _MONTH, _DAY, _HOUR = r"(?:19|20)\d{2}", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])", r"(?:[01]\d|2[0-3])"
_SHORT_MONTH, _SHORT_DAY, _SHORT_HOUR = r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])", r"(?:[01]?\d|2[0-3])"
_YYYY, _MM, _DD, _HH = DATE_MARKS
# Dates as numbers in a row: per number its form, and the marks that stand for it.
_DATES = tuple(tuple((re.compile(form), marks) for form, marks in numbers) for numbers in (
    ((_YEAR + _MONTH + _DAY + _HOUR, _YYYY + _MM + _DD + _HH),),
    ((_YEAR + _MONTH + _DAY, _YYYY + _MM + _DD), (_SHORT_HOUR, _HH)),
    ((_YEAR + _MONTH + _DAY, _YYYY + _MM + _DD),),
    ((_YEAR, _YYYY), (_SHORT_MONTH, _MM), (_SHORT_DAY, _DD), (_SHORT_HOUR, _HH)),
    ((_YEAR, _YYYY), (_SHORT_MONTH, _MM), (_SHORT_DAY, _DD)),
    ((_YEAR + _MONTH, _YYYY + _MM), (_DAY, _DD)),
    ((_YEAR, _YYYY), (_MONTH + _DAY, _MM + _DD)),
    ((_YEAR, _YYYY), (_SHORT_MONTH, _MM)),
    ((_YEAR + _MONTH, _YYYY + _MM),)))


def guess_patterns(paths: Sequence[str]) -> tuple[str, ...]:
  """Patterns that match the paths, and those of the months after: by finer spans first, the last one without any.

  Of a date in the paths all its numbers are marks, whether they vary among these paths or not. Without a date,
  `{SPAN}` stands for the number that tells spans apart. Other numbers that vary become `*`, and so does what a writer
  drew for each file.

  Args:
    paths: paths of a log's files; a single one is taken for one of those beside it that differ in its last number.

  Raises:
    ConfigError: the paths have nothing in common.
  """
  plain = [_without_drawn(path) for path in paths]
  skeletons = {_DIGITS.sub("0", path) for path in plain}
  if len(skeletons) > 1:
    # Partitions by something else than time, as in country=no/.
    plain = [_PARTITION.sub(rf"\g<1>{_DRAWN_MARK}", path) for path in plain]
    skeletons = {_DIGITS.sub("0", path) for path in plain}
  if len(skeletons) > 1:
    return (_common_pattern(paths, skeletons),)
  first = plain[0]
  numbers = [_DIGITS.findall(path) for path in [*plain, *(_others_beside(first) if len(paths) == 1 else [])]]
  varying = [place for place in range(len(numbers[0])) if len({row[place] for row in numbers}) > 1]
  date = next((date for date in _dates(first) if set(date) & set(varying) or _at_end(date, first)), None)
  if date is not None:
    return _dated_patterns(first, date, varying)
  stars = dict.fromkeys(varying, "*")
  unmarked = _with_marks(first, stars)
  if not varying:
    return (unmarked,)
  return _with_marks(first, {**stars, _span_place(first, varying): SPAN_MARK}), unmarked


def _without_drawn(path: str) -> str:
  """The path with a mark for what was drawn in the file's name; a folder is the one that was given."""
  folder, slash, name = path.rpartition("/")
  return folder + slash + _DRAWN.sub(_DRAWN_MARK, name)


def _dated_patterns(path: str, date: Mapping[int, str], varying: Sequence[int]) -> tuple[str, ...]:
  """Patterns by hour, day and month, as far as the date goes, and one for spans by time."""
  stars = {place: "*" for place in varying if place not in date}
  patterns: list[str] = []
  written = "".join(date.values())
  for mark in reversed(DATE_MARKS[1:]):
    if mark in written:
      # One number is read as it is.
      whole = dict.fromkeys(date, SPAN_MARK) if len(date) == 1 and not patterns else date
      patterns.append(_with_marks(path, {**stars, **whole}))
    date = {place: marks.replace(mark, "*") for place, marks in date.items()}
  return *patterns, _with_marks(path, {**stars, **dict.fromkeys(date, "*")})


def _others_beside(path: str) -> list[str]:
  """The paths that differ from one in the last number of its name."""
  found = [match for match in _DIGITS.finditer(path) if match.start() > path.rfind("/")]
  if not found:
    return []
  start, end = (path_patterns.escaped(part).replace(_DRAWN_MARK, "*")
                for part in (path[:found[-1].start()], path[found[-1].end():]))
  plain = [_without_drawn(other) for other in path_patterns.glob(f"{start}*{end}")]
  return [other for other in plain if _DIGITS.sub("0", other) == _DIGITS.sub("0", path)]


def _at_end(date: Mapping[int, str], path: str) -> bool:
  """Whether a date stands in the name of a file or of its folder."""
  end = list(_DIGITS.finditer(path))[max(date)].end()
  return path.count("/", end) < 2


def _dates(path: str) -> list[dict[int, str]]:
  """The dates in a path: per number of one its place among the path's numbers, and the marks that stand for it."""
  matches = list(_DIGITS.finditer(path))
  found: list[dict[int, str]] = []
  place = 0
  while place < len(matches):
    numbers = next((numbers for numbers in _DATES if _are_date(path, matches[place:], numbers)), ())
    if numbers:
      found.append({place + offset: marks for offset, (_, marks) in enumerate(numbers)})
    place += max(1, len(numbers))
  return found


def _are_date(path: str, matches: Sequence[re.Match[str]], numbers: Sequence[tuple[re.Pattern[str], str]]) -> bool:
  if len(matches) < len(numbers) or not all(form.fullmatch(match.group())
                                            for (form, _), match in zip(numbers, matches)):
    return False
  if any(marks == _HH and len(match.group()) == 1 and not path[:match.start()].endswith("=")
         for (_, marks), match in zip(numbers, matches)):
    return False  # The number of a part, rather: hours are written with two digits, but for hour=3.
  between = zip(matches[:len(numbers) - 1], matches[1:])
  return all(_WITHIN_DATES.fullmatch(path[before.end():after.start()]) for before, after in between)


def _span_place(path: str, varying: Sequence[int]) -> int:
  """Which of the varying numbers counts spans: one that a word says, or the first."""
  matches = list(_DIGITS.finditer(path))
  told = [place for place in varying if _SPAN_WORDS.search(path[:matches[place].start()])]
  return (told or list(varying))[0]


def _with_marks(path: str, marks: Mapping[int, str]) -> str:
  """The pattern of a path with marks in the places of numbers; all else stands for itself."""
  written, end = [], 0
  for place, match in enumerate(_DIGITS.finditer(path)):
    if place in marks:
      written += [path_patterns.escaped(path[end:match.start()]), marks[place]]
      end = match.end()
  pattern = "".join([*written, path_patterns.escaped(path[end:])]).replace(_DRAWN_MARK, "*")
  return re.sub(r"\*{2,}", "*", pattern)


def _common_pattern(paths: Sequence[str], skeletons: Collection[str]) -> str:
  """A glob for files of different names: what they begin and end with, where it matches no other file."""
  folders = {path.rpartition("/")[0] for path in paths}
  names = [path.rpartition("/")[2] for path in paths]
  # Whole words: files of other words may come.
  start = re.sub(r"[^\W_]*$", "", _common_start(names))
  end = "." + _common_start([name.partition(".")[2][::-1] for name in names])[::-1]
  if len(folders) == 1 and len(end) > 1:
    pattern = f"{path_patterns.escaped(files.join(folders.pop(), start))}*{path_patterns.escaped(end)}"
    if set(path_patterns.glob(pattern)) <= set(paths):
      return pattern
  raise ConfigError("log", rule="the files of a log differ in numbers alone, as in day=20220408/part-0.csv, or are all "
                    "files of a folder that a glob matches.",
                    received=", ".join(sorted(skeletons)[:3]).replace(_DRAWN_MARK, "*"),
                    remedy="name the files of one kind, as a glob.")


def _common_start(texts: Sequence[str]) -> str:
  first, last = min(texts), max(texts)
  return first[:next((place for place, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))]
