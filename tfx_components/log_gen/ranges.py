"""Ranges of (time, example id) that are about equally full, so that sorting a span takes the memory of one range only.

They are cut at keys of a sample of the rows. Which rows are in the sample depends on the set of the rows alone, and so
do the ranges; what LogGen writes does not depend on them at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from diet_tf.log.hashing import split_mix

Key = tuple[int, int]
# With n rows of it in a range, the range's rows are off by a share of 1 / sqrt(n) or so.
SAMPLE_SIZE = 1 << 14
# Of larger spans, a key in so many is in the sample: with 100,000 rows to a range, about a hundred of them.
_ROWS_PER_KEY = 1 << 10
_BOUND = np.uint64((1 << 64) // _ROWS_PER_KEY)
# A range of fewer rows costs more to claim than to sort.
LEAST_ROWS_PER_RANGE = 1 << 16


@dataclasses.dataclass(frozen=True, eq=False)
class KeySample:
  """The distinct keys of a span's rows whose mixed example ids are smallest: `size` of them, or one in 1,024.

  Attributes:
    num_rows: rows that it was drawn from, exact duplicates included.
    times: `[n]` int64.
    example_ids: `[n]` int64, ordered by their mixed values.
    size: how many keys to hold at least, if there are as many.
  """

  num_rows: int = 0
  times: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
  example_ids: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
  size: int = SAMPLE_SIZE

  @classmethod
  def of(cls, times: np.ndarray, example_ids: np.ndarray, size: int = SAMPLE_SIZE) -> KeySample:
    """The sample of rows with these `[n]` int64 times and example ids."""
    return cls(len(times), *_smallest(times, example_ids, size), size)

  def __add__(self, other: KeySample) -> KeySample:
    times, example_ids = (np.concatenate(pair) for pair in ((self.times, other.times),
                                                            (self.example_ids, other.example_ids)))
    return KeySample(self.num_rows + other.num_rows, *_smallest(times, example_ids, self.size), self.size)

  def keys(self, places: Sequence[int] | None = None) -> list[Key]:
    """The keys in order, or those at some places of it."""
    order = np.lexsort((self.example_ids, self.times))
    order = order if places is None else order[list(places)]
    return list(zip(self.times[order].tolist(), self.example_ids[order].tolist()))


def _smallest(times: np.ndarray, example_ids: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
  """The distinct keys with the smallest mixed example ids, in the order of these and of time: `size`, or one in 1,024.
  """
  mixed = split_mix(example_ids.view(np.uint64))
  if len(mixed) > 4 * size:
    # Most rows need not be sorted, unless the smallest are duplicates of a few.
    few = mixed <= max(np.partition(mixed, 2 * size)[2 * size], _BOUND)
    if len(np.unique(mixed[few])) >= size:
      times, example_ids, mixed = times[few], example_ids[few], mixed[few]
  order = np.lexsort((times, mixed))
  times, example_ids, mixed = times[order], example_ids[order], mixed[order]
  first = np.ones(len(order), bool)
  first[1:] = (times[1:] != times[:-1]) | (example_ids[1:] != example_ids[:-1])
  kept = max(size, int(np.searchsorted(mixed[first], _BOUND)))
  return times[first][:kept], example_ids[first][:kept]


@dataclasses.dataclass(frozen=True)
class Ranges:
  """Contiguous ranges that hold every key.

  Attributes:
    splits: where they are cut, increasing: the first keys of all ranges but the first.
    num_rows: number of rows in all ranges, exact duplicates included.
  """

  splits: tuple[Key, ...] = ()
  num_rows: int = 0

  @classmethod
  def of(cls, sample: KeySample, rows_per_range: int) -> Ranges:
    """Ranges of about `rows_per_range` rows; fewer where the sample has not as many keys."""
    number, size = max(1, -(-sample.num_rows // rows_per_range)), len(sample.times)
    places = sorted({part * size // number for part in range(1, number)} - {0})
    return cls(tuple(sample.keys(places)), sample.num_rows)

  def __len__(self) -> int:
    return len(self.splits) + 1

  def bounds(self, number: int) -> tuple[Key | None, Key | None]:
    """The first key of a range and the first after it; None where it is unbounded."""
    return (self.splits[number - 1] if number else None), (self.splits[number] if number < len(self.splits) else None)

  def hold(self, number: int, times: np.ndarray, example_ids: np.ndarray) -> np.ndarray:
    """`[n]` bool: which rows have their (time, example id) in a range."""
    low, high = self.bounds(number)
    inside = np.ones(len(times), bool)
    if low is not None:
      inside &= _at_least(times, example_ids, low)
    if high is not None:
      inside &= ~_at_least(times, example_ids, high)
    return inside


def _at_least(times: np.ndarray, example_ids: np.ndarray, key: Key) -> np.ndarray:
  return (times > key[0]) | ((times == key[0]) & (example_ids >= key[1]))
