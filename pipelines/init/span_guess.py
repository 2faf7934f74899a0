"""How the spans of a log are told apart, and the budget, so that each span has rows enough for what `diet run` does."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from diet_tf.distillation.budget import BudgetSettings
from diet_tf.errors import ConfigError
from diet_tf.io import files
from diet_tf.log import span_patterns
from pipelines.init.log_files import LogFiles
from pipelines.init.log_sample import LogSample
from pipelines.init.time_guess import TimeGuess
from tfx_components.log_gen import plan

# Lengths that a span may have, in seconds, and what they are called.
_SPAN_LENGTHS = ((604_800, "week"), (86_400, "day"), (43_200, "half-day"), (21_600, "quarter of a day"),
                 (3_600, "hour"), (600, "ten minutes"), (60, "minute"))
_ENOUGH_SPANS = 5
_SOME_SPANS = 3
_LEAST_SPANS = 2
# With as many rows, days and weeks that the calendar has are worth keeping.
_ENOUGH_ROWS = 2_000
# A tenth of a span is held back, and of no fewer rows it is sure that any is.
_LEAST_ROWS = 80
# The rows of a log are counted up to this size.
_MOST_BYTES_COUNTED = 1 << 30
# Expected rows of the rarer label in a span; none in it would stop the run.
_LEAST_OF_LABEL = 8
# The same among the rows that are held back of the newest spans, on which the panel's settings are selected.
_LEAST_HELD_BACK = 5
_HELD_BACK = 0.1
_SELECTION_SPANS = 3
# A memory of fewer slots than this is a handful of training steps.
_LEAST_SLOTS = 256
_USUAL_FRACTION = BudgetSettings().fraction
_USUAL_SHARE = f"one slot per {round(1 / _USUAL_FRACTION)} examples"
_MOST_FRACTION = 0.5
_ENOUGH_LABELS = 30
# Of numbers that are estimated, how much smaller they may be.
_MARGIN = 1.25


@dataclasses.dataclass(frozen=True)
class SpanSizes:
  """About how many rows spans have.

  Attributes:
    numbers: `[num_spans]` the spans' numbers, ascending.
    rows: `[num_spans]` float64, rows of each.
    ones: `[num_spans]` float64, about how many of them have the label 1.
  """

  numbers: np.ndarray
  rows: np.ndarray
  ones: np.ndarray

  def __len__(self) -> int:
    return len(self.numbers)

  def too_small(self, batch_size: int, test_spans: int) -> str | None:
    """What no run could take, in words; None where all spans have rows enough."""
    least = max(_LEAST_ROWS, math.ceil(_MARGIN * batch_size / _MOST_FRACTION))
    small = np.flatnonzero(self.rows < least)
    if len(small):
      return (f"span {self.numbers[small[0]]} with about {self.rows[small[0]]:,.0f} rows, of {len(self)} spans; "
              f"at least {least} are needed")
    rarer = np.minimum(self.ones, self.rows - self.ones)
    rare = np.flatnonzero(rarer < _LEAST_OF_LABEL)
    if len(rare):
      return (f"span {self.numbers[rare[0]]} with about {rarer[rare[0]]:,.0f} rows of the rarer label, of {len(self)} "
              f"spans; at least {_LEAST_OF_LABEL} are needed")
    newest = rarer[:len(self) - test_spans][-_SELECTION_SPANS:]
    if newest.sum() * _HELD_BACK < _LEAST_HELD_BACK:
      return (f"about {newest.sum() * _HELD_BACK:.0f} rows of the rarer label in the tenth that is held back of the "
              f"newest spans; at least {_LEAST_HELD_BACK} are needed")
    return None


@dataclasses.dataclass(frozen=True)
class SpanLayout:
  """How the log's spans are told apart.

  Attributes:
    reason: a sentence that says how many spans there are, and what tells them apart.
    pattern: pattern of the log's files.
    sizes: the spans with their rows.
    column: name of the time column that assigns rows to spans; None where the paths do.
    seconds: length of a span in seconds; None where the paths tell spans apart.
    unit: unit of the time column, a key of `TIME_UNITS` of the log's settings; None where it needs none.
    origin: start of span 0, in seconds since 1970.
    rows: rows of a span; None where the paths or a time tell spans apart.
  """

  reason: str
  pattern: str
  sizes: SpanSizes
  column: str | None = None
  seconds: int | None = None
  unit: str | None = None
  origin: int = 0
  rows: int | None = None


@dataclasses.dataclass(frozen=True)
class SpanChoice:
  """Chooses the spans of a log.

  Attributes:
    log_files: the files of the log.
    sample: rows of it.
    labels: `[num_rows]` float64 labels of the sample.
    batch_size: slots of a training batch, which a memory has at least.
    test_spans: how many of the newest spans are kept for the test.
  """

  log_files: LogFiles
  sample: LogSample
  labels: np.ndarray
  batch_size: int
  test_spans: int = 1

  def choose(self, time: TimeGuess | None, times: np.ndarray | None, unread: str = "") -> SpanLayout:
    """The layout whose spans have rows enough: by the paths if they tell spans apart, by time otherwise.

    Args:
      time: the column that orders the rows; None without one.
      times: the times of the log's rows in seconds, all or those of a sample; None without a column.
      unread: what is said of columns of times that are not read.

    Raises:
      ConfigError: nothing tells spans apart, or none of the ways gives spans with rows enough.
    """
    refused: list[tuple[int, str]] = []
    for layout in self._by_path():
      if (small := self._unfit(layout)) is None:
        return layout
      refused.append((len(layout.sizes), f"by the paths {small}"))
    if time is not None and times is not None and len(times):
      best = None
      for layout, wish in self._by_time(time, times):
        small = self._unfit(layout)
        if small is None and (best is None or wish < best[1]):
          best = layout, wish
          if wish[0] == 0:
            break  # What follows is shorter.
        refused += [(len(layout.sizes), f"by time {small}")] if small is not None else []
      if best is not None:
        return best[0]
    if time is None and not unread:
      for layout in self._by_rows():
        if (small := self._unfit(layout)) is None:
          return layout
        refused.append((len(layout.sizes), f"by rows {small}"))
    raise self._error(time, refused, unread)

  def _unfit(self, layout: SpanLayout) -> str | None:
    if len(layout.sizes) < _LEAST_SPANS:
      return f"there is one span ({', '.join(map(str, layout.sizes.numbers)) or 'none'})"
    return layout.sizes.too_small(self.batch_size, self.test_spans)

  def _error(self, time: TimeGuess | None, refused: Sequence[tuple[int, str]], unread: str) -> ConfigError:
    if not refused:
      return ConfigError("spans", rule="spans come from a number or a date in the paths, or from a column of times.",
                         received=f"{', '.join(self.log_files.patterns)}, and no such column. {unread}".strip(),
                         remedy="split the log into files such as span-0.csv, span-1.csv (a day each, say), or add a "
                         "column with the time, which --time names.")
    # Of what was tried, the fewest spans that are several.
    told = min(refused, key=lambda entry: (entry[0] < _LEAST_SPANS, entry[0]))[1]
    more = ("or, if a column is a time, name it with --time." if time is None else
            "or name more files of the log.")
    return ConfigError("spans", rule="there are at least two, each with rows enough of both labels to distil or to be "
                       "judged on.", received=f"{told}. {unread}".strip(),
                       remedy=f"give a longer log, or files with more rows each; {more}")

  def _by_path(self) -> Iterator[SpanLayout]:
    marked = [pattern for pattern in self.log_files.patterns if span_patterns.has_span(pattern)]
    # Days before hours, which are many and small.
    hour = span_patterns.DATE_MARKS[-1]
    for pattern in sorted(marked, key=lambda pattern: hour in pattern):
      by_span = span_patterns.paths_by_span(pattern)
      sizes = self._sizes_by_path(by_span)
      mark = "the number" if span_patterns.SPAN_MARK in pattern else "the date"
      named = f"{sizes.numbers[0]} to {sizes.numbers[-1]}" if len(sizes) > 1 else "one"
      yield SpanLayout(f"{len(sizes)} of them ({named}), by {mark} in the paths.", pattern, sizes)

  def _sizes_by_path(self, by_span: Mapping[int, Sequence[str]]) -> SpanSizes:
    numbers = np.array(sorted(by_span), np.int64)
    rows_of_path = self.sample.rows_of_path
    # A folder that a pattern matches stands for the files below it.
    rows = np.array([sum(rows for path, rows in rows_of_path.items()
                         if any(path == match or path.startswith(f"{match}/") for match in by_span[number]))
                     for number in numbers]) if len(numbers) else np.zeros(0)
    share = float(np.nanmean(self.labels))
    ones = rows * share
    of_path = {path: self.labels[self.sample.file_numbers == number] for number, path in enumerate(self.sample.paths)}
    for place, number in enumerate(numbers):
      known = [labels for path, labels in of_path.items()
               if any(path == match or path.startswith(f"{match}/") for match in by_span[number])]
      if known and len(labels := np.concatenate(known)):
        ones[place] = rows[place] * float(np.nanmean(labels))
    return SpanSizes(numbers, rows, ones)

  def _by_rows(self) -> Iterator[SpanLayout]:
    """Equal parts of the log in the order of its rows, the most first."""
    pattern = self.log_files.patterns[-1]
    if span_patterns.has_span(pattern) or self.log_files.reading.get("newlines_in_values"):
      return
    num_rows = self._num_rows()
    for parts in (_ENOUGH_SPANS, _SOME_SPANS, _LEAST_SPANS):
      rows = num_rows // parts
      # The sample is in the order of the log.
      shares = np.array([np.nanmean(labels) if np.isfinite(labels).any() else 0.0
                         for labels in np.array_split(self.labels, parts)])
      sizes = SpanSizes(np.arange(parts), np.full(parts, float(rows)), rows * shares)
      yield SpanLayout(f"{parts} of them, each of {rows:,} rows in the order of the files and their lines, since "
                       "neither the paths nor a time tell them apart. CHECK: the first rows are the oldest.", pattern,
                       sizes, rows=rows)

  def _num_rows(self) -> int:
    """How many rows the log has: counted in a log that is not too large, estimated in others."""
    if self.sample.whole or sum(map(files.num_bytes, self.log_files.paths)) > _MOST_BYTES_COUNTED:
      return round(self.sample.num_log_rows)
    return plan.count_rows(self.log_files.settings(), self.log_files.paths)

  def _by_time(self, time: TimeGuess, times: np.ndarray) -> Iterator[tuple[SpanLayout, tuple[int, int]]]:
    """Layouts, each with what orders them: the smaller, the better."""
    pattern = self.log_files.patterns[-1]
    if span_patterns.has_span(pattern):
      return
    least, greatest = float(times.min()), float(times.max())
    lengths = [(seconds, name) for seconds, name in _SPAN_LENGTHS if greatest - least >= seconds / 2]
    lengths += [(math.ceil((greatest - least + 1) / parts), f"{_count_word(parts)} part of the log")
                for parts in range(_ENOUGH_SPANS, _LEAST_SPANS - 1, -1)]
    if time.day_length is not None:
      lengths = [(100 * time.day_length, "month"), (time.day_length, "day")]
    for place, (seconds, name) in enumerate(lengths):
      origins = [(0, "where the numbers are 0")] if time.day_length is not None else _origins(least, greatest, seconds)
      for turn, (origin, begins) in enumerate(origins):
        sizes = self._sizes_by_time(time, times, seconds, origin)
        layout = SpanLayout(f"{len(sizes)} of them, each a {name}, by the time in {time.column}, since the paths do "
                            f"not tell them apart. Span 0 begins {begins}.", pattern, sizes, time.column, seconds,
                            time.unit, origin)
        enough = len(sizes) >= _ENOUGH_SPANS and float(sizes.rows.min()) >= _ENOUGH_ROWS
        tier = 0 if enough else 1 if len(sizes) >= _SOME_SPANS else 2
        yield layout, (tier, 2 * place * len(lengths) + turn)

  def _sizes_by_time(self, time: TimeGuess, times: np.ndarray, seconds: int, origin: int) -> SpanSizes:
    numbers, counts = np.unique(np.floor((times - origin) / seconds).astype(np.int64), return_counts=True)
    rows = counts * (self.sample.num_log_rows / len(times))
    share = float(np.nanmean(self.labels))
    # Per span the labels of the sample's rows; of a span with few of them the log's share is the better guess.
    known = np.isfinite(time.seconds) & np.isfinite(self.labels)
    places = np.searchsorted(numbers, np.floor((time.seconds[known] - origin) / seconds).astype(np.int64))
    inside = places < len(numbers)
    seen = np.bincount(places[inside], minlength=len(numbers))
    clicks = np.bincount(places[inside], self.labels[known][inside], minlength=len(numbers))
    ones = rows * np.where(seen >= _ENOUGH_LABELS, clicks / np.maximum(seen, 1), share)
    return SpanSizes(numbers, rows, ones)


def _count_word(parts: int) -> str:
  return {2: "second", 3: "third", 4: "fourth", 5: "fifth"}[parts]


def _origins(least: float, greatest: float, seconds: int) -> Iterator[tuple[int, str]]:
  """Where span 0 may begin, so that neither the first span nor the last is a short rest."""
  yield math.floor(least / 86_400) * 86_400, "at midnight UTC before the first row"
  yield math.floor(least), "with the first row"
  number = math.ceil((greatest - least + 1) / seconds)
  yield math.floor(greatest) + 1 - number * seconds, "so that the last span ends with the last row"


def choose_budget(sizes: SpanSizes, batch_size: int, test_spans: int) -> tuple[float, str]:
  """Slots per example, and why: the default, or more where the log is small."""
  rows = sizes.rows[:max(1, len(sizes) - test_spans)]
  wanted = max(_LEAST_SLOTS / rows.sum(), _MARGIN * batch_size / rows[0])
  if wanted <= _USUAL_FRACTION:
    return _USUAL_FRACTION, (f"{_USUAL_SHARE.capitalize()}: about {_USUAL_FRACTION * rows.sum():,.0f} for the "
                             f"{rows.sum():,.0f} of the log, the spans for the test left out.")
  fraction = min(_MOST_FRACTION, math.ceil(100 * wanted) / 100)
  return fraction, (f"The spans but for the test have about {rows.sum():,.0f} rows, the first {rows[0]:,.0f}: "
                    f"{_USUAL_SHARE} would be too few to train on. This gives about "
                    f"{fraction * rows.sum():,.0f} slots.")
