"""Times of a log: numbers since 1970, dates, and texts in ISO 8601, each told by what it looks like.

A time is a function of its own text (and of a declared unit), so that it never depends on the rows around it. What
cannot be told is a fault of that value. A column that writes its times in several ways is refused, since their order
would mean nothing. A text without a zone is taken as UTC.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping

import numpy as np

from diet_tf.errors import DataError
from diet_tf.log import encoding
from diet_tf.log.settings import TIME_UNITS

# Times from 1970 to 2199; no log was kept before, and none is of a later year.
_END_SECONDS = 7_258_118_400
# Seconds from March 1973 on have a unit that can be told: smaller numbers may be hours, or count from elsewhere.
_LEAST_SECONDS = 100_000_000
_MICROSECONDS = TIME_UNITS["us"]
_MISSING_TEXTS = frozenset(("", "nat", "nan", "none", "null", "<na>"))
_AS_ZEROS = str.maketrans("123456789", "0" * 9)
_NUMBER = re.compile(r"[+-]?(0+(\.0*)?|\.0+)([eE][+-]?0+)?")
_TIME = re.compile(
    r"(?P<year>0{4})(?P<dash>[-/]?)(?P<month>00)(?P=dash)(?P<day>00)"
    r"(?:[Tt ](?P<hour>00)(?::?(?P<minute>00)(?::?(?P<second>00)(?:[.,](?P<fraction>0+))?)?)?"
    r" ?(?P<zone>[Zz]|UTC|GMT|[+-](?P<zone_hour>00)(?::?(?P<zone_minute>00))?)?)?")
_LONG_YEAR = re.compile(r"[+-]?0{5,}-00-00.*")


class TimeKind(enum.IntEnum):
  """How a value writes a time, or why it is none."""

  MISSING = 0
  UNREADABLE = 1
  BEFORE_1970 = 2
  IMPOSSIBLE = 3
  UNTOLD = 4
  SECONDS = 5
  MILLISECONDS = 6
  MICROSECONDS = 7
  NANOSECONDS = 8
  DATES = 9
  WITHOUT_ZONE = 10
  WITH_ZONE = 11

  @property
  def is_fault(self) -> bool:
    """Whether the value is no time."""
    return self <= TimeKind.UNTOLD

  @property
  def is_number(self) -> bool:
    """Whether the value is a number, which has an order also where its unit cannot be told."""
    return TimeKind.UNTOLD <= self <= TimeKind.DATES


# What a fault says of a value, and what a kind says of values.
DESCRIPTIONS = {
    TimeKind.MISSING: "is missing", TimeKind.UNREADABLE: "is neither a number nor a time in ISO 8601",
    TimeKind.BEFORE_1970: "is negative, or before 1970",
    TimeKind.IMPOSSIBLE: "is a day or an hour that does not exist, or after the year 2199",
    TimeKind.UNTOLD: "is a number whose unit cannot be told",
    TimeKind.SECONDS: "seconds since 1970", TimeKind.MILLISECONDS: "milliseconds since 1970",
    TimeKind.MICROSECONDS: "microseconds since 1970", TimeKind.NANOSECONDS: "nanoseconds since 1970",
    TimeKind.DATES: "dates of digits alone", TimeKind.WITHOUT_ZONE: "times without a zone",
    TimeKind.WITH_ZONE: "times with a zone"}
_KINDS_OF_UNITS = dict(zip(TIME_UNITS, (TimeKind.SECONDS, TimeKind.MILLISECONDS, TimeKind.MICROSECONDS,
                                        TimeKind.NANOSECONDS)))


@dataclasses.dataclass(frozen=True)
class Times:
  """Values read as times.

  Attributes:
    kinds: `[n]` int8, the `TimeKind` of each value.
    microseconds: `[n]` int64 since 1970 in UTC; 0 where the value is no time.
    numbers: `[n]` int64, a number as it is, rounded down; 0 where the value is none.
  """

  kinds: np.ndarray
  microseconds: np.ndarray
  numbers: np.ndarray

  @property
  def faulty(self) -> np.ndarray:
    """`[n]` bool, true where the value is no time."""
    return self.kinds <= TimeKind.UNTOLD

  @property
  def without_order(self) -> np.ndarray:
    """`[n]` bool, true where the value has no place among others: also a number without a unit has one."""
    return self.kinds < TimeKind.UNTOLD

  @property
  def order(self) -> np.ndarray:
    """`[n]` int64 by which rows are sorted: a number itself, and the microseconds of all others."""
    is_number = (self.kinds >= TimeKind.UNTOLD) & (self.kinds <= TimeKind.DATES)
    return np.where(is_number, self.numbers, self.microseconds)


def read_times(texts: np.ndarray, *, unit: str | None = None, stamps: TimeKind | None = None) -> Times:
  """Texts read as times.

  A number is seconds, milliseconds, microseconds or nanoseconds since 1970, whichever gives a time from 1973 to 2199;
  eight digits are a date and fourteen a date with its time where there is that date. Ten or twelve that may be a date
  with its hour have no unit, and neither have smaller numbers.

  Args:
    texts: `[n]` object array of canonical texts.
    unit: unit of numbers, a key of `TIME_UNITS`; None, the default, tells it by each number.
    stamps: `WITHOUT_ZONE` or `WITH_ZONE` where a file types the values as timestamps, whose texts are microseconds.
  """
  times = Times(np.full(len(texts), TimeKind.UNREADABLE, np.int8), np.zeros(len(texts), np.int64),
                np.zeros(len(texts), np.int64))
  for shape, places in _places_by_shape(texts).items():
    if shape.lower() in _MISSING_TEXTS:
      times.kinds[places] = TimeKind.MISSING
    elif _NUMBER.fullmatch(shape):
      _read_numbers(times, places, texts, unit, stamps)
    elif (found := _TIME.fullmatch(shape)) is not None:
      _read_texts(times, places, texts, found)
    elif _LONG_YEAR.fullmatch(shape):
      times.kinds[places] = TimeKind.IMPOSSIBLE
  return times


def _places_by_shape(texts: np.ndarray) -> dict[str, np.ndarray]:
  """Per text with its digits as zeros, where it is: as few as a column has ways to write its values."""
  joined = "".join(texts)
  if joined.isdecimal() and joined.isascii() and all(texts):
    return {"0": np.arange(len(texts))}
  places: dict[str, list[int]] = {}
  for place, text in enumerate(texts):
    places.setdefault(text.translate(_AS_ZEROS), []).append(place)
  return {shape: np.array(found) for shape, found in places.items()}


def _read_numbers(times: Times, places: np.ndarray, texts: np.ndarray, unit: str | None,
                  stamps: TimeKind | None) -> None:
  numbers, unreadable = encoding.whole_numbers(texts[places])
  kinds = np.full(len(places), TimeKind.UNTOLD, np.int8)
  microseconds = np.zeros(len(places), np.int64)
  declared = "us" if stamps is not None else unit
  for name, per_second in TIME_UNITS.items():
    least = 0 if declared == name else _LEAST_SECONDS * per_second
    inside = (numbers >= least) & (numbers < _END_SECONDS * per_second)
    if declared in (None, name):
      kinds[inside] = _KINDS_OF_UNITS[name] if stamps is None else stamps
      microseconds[inside] = _as_microseconds(numbers[inside], per_second)
  if declared is None:
    _read_digits(numbers, kinds, microseconds)
  else:
    kinds[kinds == TimeKind.UNTOLD] = TimeKind.IMPOSSIBLE
  kinds[numbers < 0] = TimeKind.BEFORE_1970
  kinds[unreadable] = TimeKind.IMPOSSIBLE
  times.kinds[places], times.microseconds[places], times.numbers[places] = kinds, microseconds, numbers


def _as_microseconds(numbers: np.ndarray, per_second: int) -> np.ndarray:
  if per_second > _MICROSECONDS:
    return numbers // (per_second // _MICROSECONDS)
  return numbers * (_MICROSECONDS // per_second)


def _read_digits(numbers: np.ndarray, kinds: np.ndarray, microseconds: np.ndarray) -> None:
  """Numbers whose digits are those of a date: 20240130, or 20240130034500; of ten or twelve nobody can tell."""
  for num_digits in (8, 10, 12, 14):
    chosen = np.flatnonzero((numbers >= 10 ** (num_digits - 1)) & (numbers < 10 ** num_digits))
    if not len(chosen):
      continue
    parts, rest = [], numbers[chosen]
    for _ in range((num_digits - 4) // 2):
      parts.append(rest % 100)
      rest = rest // 100
    month, day, *clock = reversed(parts)
    kind, found = _calendar([rest, month, day, *clock])
    is_date = kind == TimeKind.WITHOUT_ZONE
    dated = chosen[is_date]
    kinds[dated] = TimeKind.DATES if num_digits in (8, 14) else TimeKind.UNTOLD
    microseconds[dated] = found[is_date] if num_digits in (8, 14) else 0


def _read_texts(times: Times, places: np.ndarray, texts: np.ndarray, found: re.Match[str]) -> None:
  """Texts of one shape, in which a part of a time stands at the same place."""
  characters = np.array(texts[places].tolist()).view(np.uint32).reshape(len(places), -1)
  digits = characters.astype(np.int64) - ord("0")

  def part(name: str, num_digits: int | None = None) -> np.ndarray:
    start, stop = found.span(name)
    number = np.zeros(len(places), np.int64)
    for place in range(start, stop if num_digits is None else min(stop, start + num_digits)):
      number = number * 10 + digits[:, place]
    return number

  names = [name for name in ("year", "month", "day", "hour", "minute", "second") if found[name] is not None]
  kinds, microseconds = _calendar([part(name) for name in names])
  if found["fraction"] is not None:
    microseconds = microseconds + part("fraction", 6) * 10 ** max(0, 6 - len(found["fraction"]))
  if found["zone"] is not None:
    kinds[kinds == TimeKind.WITHOUT_ZONE] = TimeKind.WITH_ZONE
  if found["zone_hour"] is not None:
    hours, minutes = part("zone_hour"), part("zone_minute") if found["zone_minute"] is not None else 0
    sign = -1 if found["zone"].startswith("-") else 1
    microseconds = microseconds - sign * (hours * 60 + minutes) * 60 * _MICROSECONDS
    kinds[(hours > 23) | (minutes > 59)] = TimeKind.IMPOSSIBLE
  kinds[(microseconds < 0) & (kinds == TimeKind.WITH_ZONE)] = TimeKind.BEFORE_1970
  times.kinds[places] = kinds
  times.microseconds[places] = np.where(kinds > TimeKind.UNTOLD, microseconds, 0)


def _calendar(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """Kinds and microseconds of years, months, days and, as far as they are given, hours, minutes and seconds."""
  year, month, day, *clock = parts
  exists = (month >= 1) & (month <= 12) & (day >= 1)
  months = np.where(exists, (year - 1970) * 12 + month - 1, 0).astype("M8[M]")
  lengths = ((months + 1).astype("M8[D]") - months.astype("M8[D]")).astype(np.int64)
  exists &= day <= lengths
  seconds = (months.astype("M8[D]").astype(np.int64) + day - 1) * 86_400
  for value, most, length in zip(clock, (23, 59, 59), (3_600, 60, 1)):
    exists &= value <= most
    seconds = seconds + value * length
  kinds = np.full(len(year), TimeKind.WITHOUT_ZONE, np.int8)
  kinds[year < 1970] = TimeKind.BEFORE_1970
  kinds[~exists | (year > 2199)] = TimeKind.IMPOSSIBLE
  return kinds, np.where(kinds == TimeKind.WITHOUT_ZONE, seconds * _MICROSECONDS, 0)


@dataclasses.dataclass(frozen=True)
class KindCounts:
  """How the values of a column write their times; the counts of parts add up with `+`.

  Attributes:
    rows: rows by kind.
    examples: per kind the value of a row, the first in the order of texts.
  """

  rows: Mapping[TimeKind, int] = dataclasses.field(default_factory=dict)
  examples: Mapping[TimeKind, str] = dataclasses.field(default_factory=dict)

  @classmethod
  def of(cls, times: Times, texts: np.ndarray, codes: np.ndarray) -> KindCounts:
    """The counts of rows that have the values `texts[codes]`, read as `times`."""
    rows = np.bincount(codes, minlength=len(texts))
    present = {TimeKind(kind): (times.kinds == kind) & (rows > 0) for kind in np.unique(times.kinds)}
    return cls({kind: int(rows[places].sum()) for kind, places in present.items() if places.any()},
               {kind: min(texts[places]) for kind, places in present.items() if places.any()})

  def __add__(self, other: KindCounts) -> KindCounts:
    kinds = sorted({*self.rows, *other.rows})
    return KindCounts({kind: self.rows.get(kind, 0) + other.rows.get(kind, 0) for kind in kinds},
                      {kind: min(counts.examples[kind] for counts in (self, other) if kind in counts.examples)
                       for kind in kinds})

  def ways(self, *, of_order: bool = False) -> list[TimeKind]:
    """The ways in which the times are written, among which there may be one: more are mixed up.

    Args:
      of_order: whether the times only order rows. Numbers then need no unit, unless most of them have different ones.
    """
    kinds = [kind for kind, rows in self.rows.items() if rows and not kind.is_fault]
    if not of_order:
      return kinds
    numbers = sorted((kind for kind in self.rows if kind.is_number), key=lambda kind: -self.rows[kind])
    others = [kind for kind in kinds if not kind.is_number]
    units = [kind for kind in numbers if kind not in (TimeKind.UNTOLD, TimeKind.DATES)]
    mixed = len(units) > 1 and self.rows.get(TimeKind.UNTOLD, 0) < self.rows[units[1]]
    return [*(units if mixed else numbers[:1]), *others]

  def require_one_way(self, subject: str, *, of_order: bool = False) -> None:
    """Raises DataError where times are written in several ways.

    Args:
      subject: the column, for the message.
      of_order: as in `ways`.
    """
    kinds = self.ways(of_order=of_order)
    if len(kinds) < 2:
      return
    remedy = "write all of them in one way."
    if all(kind.is_number for kind in kinds) and not of_order:
      remedy = "write all of them in one way, or set log.span_time_unit; others are set aside then."
    elif set(kinds) == {TimeKind.WITHOUT_ZONE, TimeKind.WITH_ZONE}:
      remedy = "write all of them with a zone, or none: then they are taken as UTC."
    raise DataError(subject, rule="its times are written in one way.", received=f"{self.described(kinds)}.",
                    remedy=remedy)

  def described(self, kinds: list[TimeKind]) -> str:
    """The kinds in words, with the rows and a value of each."""
    return "; ".join(f"{self.rows[kind]:,} {DESCRIPTIONS[kind]} ({self.examples[kind]})" for kind in sorted(kinds))
