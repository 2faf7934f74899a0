import json

import numpy as np
import pytest

from tfx_components.log_gen import ranges
from tfx_components.log_gen.ranges import Interval, Range, TimeHistogram


def test_histogram_is_exact_and_as_fine_as_its_bins_allow():
  histogram = TimeHistogram()
  histogram.add(np.array([5, 5, -3, 4000]))
  assert histogram.intervals() == [Interval(-3, 0, 1), Interval(5, 0, 2), Interval(4000, 0, 1)]
  # 4096 bins of width 2 cover [-4, 8188); the bin of -3 starts at -4.
  histogram.add(np.array([8187]))
  assert histogram.shift == 1
  counts = [(interval.low, interval.count) for interval in histogram.intervals()]
  assert counts == [(-4, 1), (4, 2), (4000, 1), (8186, 1)]


@pytest.mark.parametrize("seed", range(5))
def test_histogram_does_not_depend_on_how_times_are_cut(seed):
  rng = np.random.default_rng(seed)
  times = rng.integers(-(2**62), 2**62, 3000) >> int(rng.integers(0, 60))
  whole = TimeHistogram()
  whole.add(times)
  parts = TimeHistogram()
  shuffled = rng.permutation(times)
  for chunk in np.array_split(shuffled, 7):
    part = TimeHistogram()
    part.add(chunk)
    parts.merge(TimeHistogram.from_dict(json.loads(json.dumps(part.to_dict()))))
  assert (parts.shift, parts.counts) == (whole.shift, whole.counts)
  assert sum(whole.counts.values()) == 3000 and len(whole.counts) <= ranges.MAX_BINS
  bounds = ranges.shard_ranges(whole.intervals(), 100)
  ids = np.zeros(len(times), np.int64)
  assert sum(int(ranges.in_range(times, ids, limits).sum()) for limits in bounds) == 3000


def test_ranges_are_contiguous_and_about_as_full_as_asked():
  intervals = [Interval(10 * i, 0, 40) for i in range(10)]
  bounds = ranges.shard_ranges(intervals, 100)
  assert [limits.low for limits in bounds] == [(-(1 << 63), 0), (30, 0), (60, 0), (90, 0)]
  assert [limits.high for limits in bounds] == [(30, 0), (60, 0), (90, 0), None]
  assert ranges.shard_ranges([], 100) == []


def test_a_single_time_with_many_rows_is_cut_by_example_id():
  bounds = ranges.shard_ranges([Interval(5, 0, 10), Interval(7, 0, 400), Interval(9, 0, 10)], 100)
  lows = [limits.low for limits in bounds]
  assert lows == [(-(1 << 63), 0), (7, 0), (7, 1 << 61), (7, 2 << 61), (7, 3 << 61), (9, 0)]
  times = np.full(4, 7)
  example_ids = np.array([0, (1 << 61) - 1, 1 << 61, (1 << 63) - 1])
  belongs = [[bool(hit) for hit in ranges.in_range(times, example_ids, limits)] for limits in bounds]
  assert np.sum(belongs, axis=0).tolist() == [1, 1, 1, 1]
  assert belongs[1] == [True, True, False, False] and belongs[4] == [False, False, False, True]


def test_only_intervals_that_time_can_cut_are_refined():
  intervals = [Interval(0, 3, 500), Interval(8, 3, 200), Interval(16, 0, 900)]
  assert ranges.too_heavy(intervals, 100) == intervals[:1]


def test_in_range_compares_time_before_example_id():
  limits = Range((10, 5), (20, 0))
  times, example_ids = np.array([10, 10, 11, 19, 20]), np.array([4, 5, 0, 9, 0])
  assert ranges.in_range(times, example_ids, limits).tolist() == [False, True, True, True, False]
