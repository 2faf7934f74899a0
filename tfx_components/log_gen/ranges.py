"""Contiguous ranges of (time, example id), so that sorting a span needs the memory of one output shard only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

MAX_BINS = 4096
# Example ids are 63-bit fingerprints, hence uniform: a range of them can be cut without counting.
EXAMPLE_ID_BITS = 63
Key = tuple[int, int]


class TimeHistogram:
  """Exact counts of times in bins of equal width `2 ** shift`, with `shift` as small as `MAX_BINS` bins allow.

  Since a bin of one shift lies within a bin of any larger one, histograms of parts of a span add up exactly, and the
  sum does not depend on how the span was cut.
  """

  def __init__(self, shift: int = 0, counts: Mapping[int, int] | None = None) -> None:
    self.shift = shift
    self.counts: dict[int, int] = dict(counts or {})

  def add(self, times: np.ndarray) -> None:
    """Counts `[n]` int64 times."""
    bins, counts = np.unique(times >> self.shift, return_counts=True)
    if len(bins) > MAX_BINS:
      # Coarsen first: a dictionary of every distinct time of a block would be large.
      extra = int(bins[-1] - bins[0]).bit_length() - (MAX_BINS - 1).bit_length()
      if extra > 0:
        self._coarsen(extra)
        bins, counts = np.unique(times >> self.shift, return_counts=True)
    self._add(zip(bins.tolist(), counts.tolist()))

  def merge(self, other: TimeHistogram) -> None:
    """Adds the counts of another histogram."""
    shift = max(self.shift, other.shift)
    self._coarsen(shift - self.shift)
    self._add((position >> (shift - other.shift), count) for position, count in other.counts.items())

  def _add(self, items: Iterable[tuple[int, int]]) -> None:
    for position, count in items:
      self.counts[position] = self.counts.get(position, 0) + count
    while self.counts and max(self.counts) - min(self.counts) >= MAX_BINS:
      self._coarsen(1)

  def _coarsen(self, extra: int) -> None:
    if not extra:
      return
    coarse: dict[int, int] = {}
    for position, count in self.counts.items():
      coarse[position >> extra] = coarse.get(position >> extra, 0) + count
    self.shift, self.counts = self.shift + extra, coarse

  def intervals(self) -> list[Interval]:
    """The occupied bins in order of time."""
    return [Interval(position << self.shift, self.shift, count) for position, count in sorted(self.counts.items())]

  def to_dict(self) -> dict[str, object]:
    """The histogram as JSON types."""
    return {"shift": self.shift, "counts": sorted(self.counts.items())}

  @classmethod
  def from_dict(cls, value: Mapping[str, object]) -> TimeHistogram:
    """The histogram that `to_dict` gave."""
    return cls(int(value["shift"]), dict(value["counts"]))  # type: ignore[call-overload]


@dataclasses.dataclass(frozen=True)
class Interval:
  """`count` rows with times in `[low, low + 2 ** shift)`."""

  low: int
  shift: int
  count: int

  @property
  def high(self) -> int:
    """First time after the interval."""
    return self.low + (1 << self.shift)


@dataclasses.dataclass(frozen=True)
class Range:
  """The rows of one shard: keys in `[low, high)`, unbounded where `high` is None."""

  low: Key
  high: Key | None


def too_heavy(intervals: Sequence[Interval], rows_per_shard: int) -> list[Interval]:
  """The intervals that hold more rows than two shards should and can still be cut by time."""
  return [interval for interval in intervals if interval.count > 2 * rows_per_shard and interval.shift > 0]


def shard_ranges(intervals: Sequence[Interval], rows_per_shard: int) -> list[Range]:
  """Contiguous ranges of about `rows_per_shard` rows that cover all intervals, in order.

  Args:
    intervals: occupied and in order; those too heavy by time have been refined.
    rows_per_shard: rows that a range should hold; an interval of a single time is cut by example id.
  """
  lows: list[Key] = []
  collected = rows_per_shard
  for interval in intervals:
    if collected >= rows_per_shard or collected + interval.count > 2 * rows_per_shard:
      lows.append((interval.low, 0))
      collected = 0
    collected += interval.count
    parts = -(-interval.count // rows_per_shard)
    if interval.shift == 0 and parts > 2:
      lows += [(interval.low, part * (1 << EXAMPLE_ID_BITS) // parts) for part in range(1, parts)]
      collected = rows_per_shard
  if lows:
    # The first range starts below everything.
    lows[0] = (-(1 << 63), 0)
  return [Range(low, high) for low, high in zip(lows, [*lows[1:], None])]


def in_range(times: np.ndarray, example_ids: np.ndarray, bounds: Range) -> np.ndarray:
  """`[n]` bool: which rows have their (time, example id) in the range."""
  def at_least(key: Key) -> np.ndarray:
    return (times > key[0]) | ((times == key[0]) & (example_ids >= key[1]))

  return at_least(bounds.low) if bounds.high is None else at_least(bounds.low) & ~at_least(bounds.high)
