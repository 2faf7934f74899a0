"""Counts of parts add up to those of the whole, however it is cut."""

import functools
import operator
import random

import numpy as np
import pyarrow as pa
import pytest

from diet_tf.log.row_counts import EQUAL_ROWS, RowTally, added
from diet_tf.report.histogram import Histogram
from tfx_components.beam_graph import FirstError, Sum
from tfx_components.influence_scorer.score import ExampleCounts
from tfx_components.log_gen.counts import Content, ReadCounts, SortedRows
from tfx_components.log_gen.quarantine import Quarantine, QuarantinedRow
from tfx_components.log_gen.ranges import KeySample
from tfx_components.log_gen.sources import Block
from tfx_components.log_gen.vocabularies import NewValues

RNG = np.random.default_rng(0)
TIMES, EXAMPLE_IDS = RNG.integers(0, 9, 60), RNG.integers(0, 30, 60)
BROKEN = [QuarantinedRow(piece, record, f"why {record % 3}", {"x": str(record)}) for piece in range(3)
          for record in range(20)]


def quarantine_of(rows):
  tallies = {}
  for row in rows:
    tallies = added(tallies, {BROKEN[row].reason: RowTally(1, row % 2, 0)})
  return Quarantine.of(tallies, [BROKEN[row] for row in rows], max_rows=7)


def sample_of(rows):
  return KeySample.of(TIMES[rows], EXAMPLE_IDS[rows], size=10)


def row_counts_of(rows):
  """One block per row, each of a piece of its own; the columns differ."""
  return functools.reduce(operator.add, (
      ReadCounts.of(Block({}, np.arange(4), (), 4 + row, frozenset([f"c{row % 5}"])), row,
                    RowTally(row, row, row % 2), Content.of(TIMES[:row], EXAMPLE_IDS[:row]))
      + ReadCounts.of_keys(row % 2, 4, row % 4) for row in rows))


def sorted_rows_of(rows):
  """One range per row, which is there `row % 3 + 1` times."""
  return functools.reduce(operator.add, (SortedRows.of(
      pa.table({"time": [int(TIMES[row])], "label": np.float32([row % 2]), "count": [row % 3 + 1]}), row,
      f"sorted-{row}", drops=row < 30) for row in rows))


def new_values_of(rows):
  return NewValues.of({"f": {f"v{row}": row % 7 for row in rows}, "g": {}}, {"f": 8, "g": 3})


def first_error_of(rows):
  return functools.reduce(operator.add, (FirstError(row % 3, row, ValueError(str(row))) for row in rows))


def example_counts_of(rows):
  return ExampleCounts.of(EXAMPLE_IDS[rows], 0.4)


def histogram_of(rows):
  return Histogram.of(TIMES[rows] / 2, (0.0, 1.0, 1.5, 4.0))


def shown(value):
  """What is to be equal."""
  if isinstance(value, KeySample):
    return value.num_rows, value.keys()
  return (value.step, value.number) if isinstance(value, FirstError) else value


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("of", [quarantine_of, sample_of, row_counts_of, sorted_rows_of, new_values_of, first_error_of,
                                example_counts_of, histogram_of])
def test_any_cut_gives_the_same_sum(of, seed):
  rng = random.Random(seed)
  rows = list(range(60))
  whole = of(rows)
  rng.shuffle(rows)
  cuts = sorted(rng.sample(range(1, 60), 2 + 9 * seed))
  parts = [of(rows[low:high]) for low, high in zip([0, *cuts], [*cuts, 60])]
  assert shown(functools.reduce(operator.add, parts)) == shown(whole)
  # As Beam adds: sums of some, then the sum of these, among them some of nothing.
  add = Sum()
  accumulators = [functools.reduce(add.add_input, parts[start::3], add.create_accumulator()) for start in range(5)]
  accumulators = accumulators[:3] + [add.create_accumulator()]
  assert shown(add.extract_output(add.merge_accumulators(accumulators))) == shown(whole)


def test_the_sums_are_those_of_the_rows():
  quarantine = quarantine_of(range(59, -1, -1))
  assert [(row.piece, row.record) for row in quarantine.rows] == [(0, record) for record in range(7)]
  assert quarantine.counts == {"why 0": 21, "why 1": 21, "why 2": 18} and quarantine.num_rows == 60
  counts = row_counts_of([1, 2, 3])
  assert (counts.read, counts.columns) == (RowTally(6, 6, 2), {"c1", "c2", "c3"})
  assert counts.contents[2].num_rows == 2
  assert counts.num_records == {1: 5, 2: 6, 3: 7} and counts.num_keyed == {0: 4, 1: 8}
  assert counts.num_matched == {0: 2, 1: 4}
  # The most frequent eight of 60 values, ties by value: counted six times are v6, v13, v20, ..., v55.
  assert sorted(new_values_of(range(60)).counts["f"], key=lambda value: int(value[1:])) == [
      "v6", "v13", "v20", "v27", "v34", "v41", "v48", "v55"]
  rows = sorted_rows_of([5, 4, 41])
  # Row 5 is there three times, 4 twice, of which one is kept; 41 is there, and kept, three times.
  assert rows.files == {5: ("sorted-5", 1), 4: ("sorted-4", 1), 41: ("sorted-41", 3)}
  assert (rows.kept, rows.duplicates) == (RowTally(5, 5, 4), RowTally(2, 2, 2))
  assert rows.dropped == {EQUAL_ROWS: RowTally(3, 3, 2)}
  assert (rows.first_time, rows.last_time) == (min(TIMES[[4, 5, 41]]), max(TIMES[[4, 5, 41]]))
  assert shown(first_error_of(range(5, 60))) == (0, 6)
