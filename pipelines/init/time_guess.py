"""The columns of a log that are times, and the one that orders its rows, guessed from names and values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from diet_tf.errors import ConfigError
from diet_tf.log import encoding
from diet_tf.log.times import DESCRIPTIONS, KindCounts, TimeKind, Times, read_times
from pipelines.init import names, text_kinds
from pipelines.init.log_sample import LogSample

# The epochs of the years 1990 and 2100, in seconds: whole numbers without a telling name are no times beyond.
_EARLIEST, _LATEST = 631_152_000.0, 4_102_444_800.0
# Of rows without a time no run takes more.
_MOST_MISSING = 0.01
# Of values that are no time a column of times may have some.
_MOST_BROKEN = 0.005
# Rank correlation of a column with the place in the file, from which on it is in the order of the rows.
_IN_ORDER = 0.9
# As many values at least has a count that orders rows; hours and weekdays have fewer.
_LEAST_COUNTED = 100


@dataclasses.dataclass(frozen=True)
class TimeGuess:
  """A column of times.

  Attributes:
    column: name of the log's column.
    unit: the unit of its numbers where they do not tell it themselves; None elsewhere.
    seconds: `[num_rows]` float64, the times of the sample in seconds since 1970; NaN where one is missing.
    reason: a sentence that says why it is a time; with the word CHECK where that is not sure.
    day_length: how far the numbers go on from a day to the next where they are digits of dates; None elsewhere.
  """

  column: str
  unit: str | None
  seconds: np.ndarray
  reason: str
  day_length: int | None = None

  @property
  def has_gaps(self) -> bool:
    """Whether more rows lack it than a run takes."""
    return bool(np.mean(~np.isfinite(self.seconds)) > _MOST_MISSING)


def guess_times(sample: LogSample, texts: Mapping[str, np.ndarray], label: str,
                asked: str | None = None) -> list[TimeGuess]:
  """The columns of times, the one that orders the rows first; empty if there is none.

  Args:
    sample: rows of the log.
    texts: per column that can be read `[num_rows]` object array of the canonical texts of the sample.
    label: name of the label's column.
    asked: name of the column that the user named; None, the default, leaves it to a guess.

  Raises:
    ConfigError: the column that was asked for is none of the log, or no time.
  """
  if asked is not None and asked not in texts:
    raise ConfigError("--time", rule=f"it is a column of the log: {', '.join(texts)}.", received=repr(asked),
                      remedy="name one of them.")
  found = []
  for name, values in texts.items():
    if name == label or names.is_id(name) and name != asked:
      continue
    order = _order(sample, values)
    guess = _guess(name, values, order, is_asked=name == asked)
    if guess is not None:
      lacking = float(np.mean(~np.isfinite(guess.seconds)))
      if guess.has_gaps and lacking < 1:
        guess = dataclasses.replace(guess, reason=f"{guess.reason} CHECK: {lacking:.1%} of the rows have none.")
      found.append(((name != asked, guess.has_gaps, not names.is_time(name), "CHECK" in guess.reason, order < _IN_ORDER,
                     -len(np.unique(guess.seconds))), guess))
  if asked is not None and asked not in [guess.column for _, guess in found]:
    shown = next((text for text in texts[asked] if text), "no value")
    raise ConfigError("--time", rule="the time column is a number or a text in ISO 8601 in every row.",
                      received=f"{asked!r}, with {shown!r}.",
                      remedy="name another column, or write the time as seconds since 1970 or in ISO 8601.")
  return [guess for _, guess in sorted(found, key=lambda pair: pair[0])]


def _guess(name: str, values: np.ndarray, order: float, *, is_asked: bool) -> TimeGuess | None:
  """The guess of one column; None where it is no time."""
  times = read_times(values)
  present = times.kinds != TimeKind.MISSING
  if not present.any():
    return None
  broken = float(np.mean(times.faulty[present]))
  if broken > _MOST_BROKEN:
    return _counted(name, values, times, order, is_asked=is_asked)
  kinds = KindCounts.of(times, values, np.arange(len(values))).ways()
  seconds = np.where(times.faulty, np.nan, times.microseconds / 1e6)
  what = DESCRIPTIONS[kinds[0]]
  reason = what if what.startswith("times") or what.startswith("dates") else f"times in {what}"
  if len(kinds) > 1:
    if not names.is_time(name):
      return None
    return TimeGuess(name, None, np.full(len(values), np.nan), "times that are written in several ways: " +
                     ", ".join(DESCRIPTIONS[kind] for kind in kinds) + ". CHECK: a run wants them in one.")
  if kinds[0].is_number and not (names.is_time(name) or is_asked):
    # Whole numbers of as many digits are many things; but not in the order of the rows, and not one per row of a date.
    plausible = np.nanmin(seconds) >= _EARLIEST and np.nanmax(seconds) <= _LATEST
    if not plausible or order < _IN_ORDER:
      return None
    reason += ". CHECK: by its values alone"
  return TimeGuess(name, None, seconds, f"{reason}.")


def _counted(name: str, values: np.ndarray, times: Times, order: float, *, is_asked: bool) -> TimeGuess | None:
  """The guess of a column of numbers without a unit that can be told: they may order rows all the same."""
  numbers, unreadable = encoding.numbers(values)
  if unreadable.any() or not np.isfinite(numbers).any() or np.mean(times.without_order) > _MOST_BROKEN:
    return None
  if not (is_asked or names.is_time(name)):
    return None
  form = text_kinds.digits_of_a_date(numbers[np.isfinite(numbers)])
  if form is not None:
    return TimeGuess(name, "s", numbers, f"dates with hours as {form}, whose numbers order the rows. CHECK: nobody can "
                     "tell how long it is from one to the next; ISO 8601 says it, as 2024-01-30T03.",
                     day_length=10 ** (len(form) - form.index("DD") - 2))
  if is_asked or order >= _IN_ORDER and len(np.unique(numbers)) >= _LEAST_COUNTED:
    return TimeGuess(name, "s", numbers, "orders the rows. CHECK: it does not look like a time since 1970, and is "
                     "taken to count seconds.")
  return None


def _order(sample: LogSample, values: np.ndarray) -> float:
  """How far a column's values follow the order of the rows: the mean rank correlation over files, either way round."""
  correlations = []
  for number in np.unique(sample.file_numbers):
    inside = values[sample.file_numbers == number]
    # Numbers by their size; dates and times in ISO 8601 have the order of their texts.
    numbers, unreadable = encoding.numbers(inside)
    ranks = np.unique(inside.astype(str) if unreadable.any() else numbers, return_inverse=True)[1]
    if len(inside) > 1 and ranks.max(initial=0) > 0:
      correlations.append(abs(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]))
  return float(np.mean(correlations)) if correlations else 0.0
