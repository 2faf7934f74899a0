from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from diet_tf.log.hashing import split_mix
from tfx_components.log_gen import spill
from tfx_components.log_gen.ranges import KeySample, Ranges
from tfx_components.log_gen.spill import Claim, Run


def mixed(example_ids):
  return split_mix(np.asarray(example_ids, np.int64).view(np.uint64))


def test_a_sample_holds_the_distinct_keys_with_the_smallest_mixed_ids():
  example_ids = np.arange(50)
  times = example_ids % 7
  sample = KeySample.of(np.repeat(times, 3), np.repeat(example_ids, 3), size=10)
  smallest = example_ids[np.argsort(mixed(example_ids))][:10]
  assert sample.example_ids.tolist() == smallest.tolist() and sample.times.tolist() == (smallest % 7).tolist()
  assert sample.num_rows == 150
  assert sample.keys() == sorted((int(one) % 7, int(one)) for one in smallest)


def test_a_few_keys_with_very_many_duplicates_are_all_sampled():
  times, example_ids = np.zeros(4000, np.int64), np.repeat([5, 6, 7, 8], [3997, 1, 1, 1])
  expected = sorted([5, 6, 7, 8], key=lambda example_id: mixed([example_id])[0])
  assert KeySample.of(times, example_ids, size=3).example_ids.tolist() == expected[:3]


def ranges_of(times, example_ids, rows_per_range, size=1 << 10, cuts=1):
  parts = [KeySample.of(*part, size=size)
           for part in zip(np.array_split(times, cuts), np.array_split(example_ids, cuts))]
  return Ranges.of(sum(parts[1:], parts[0]), rows_per_range)


@pytest.mark.parametrize("seed", range(3))
def test_ranges_are_about_equally_full_also_where_a_fifth_of_the_rows_has_one_time(seed):
  rng = np.random.default_rng(seed)
  times = np.where(rng.random(20_000) < 0.2, 77, rng.integers(0, 1 << 40, 20_000))
  example_ids = rng.integers(0, 1 << 63, 20_000)
  ranges = ranges_of(times, example_ids, 2_000)
  shares = [int(ranges.hold(number, times, example_ids).sum()) for number in range(len(ranges))]
  # A range has a tenth of 1,024 keys sampled: a deviation of 1 / sqrt(102), of which four are allowed.
  assert len(ranges) == 10 and sum(shares) == 20_000
  assert max(shares) < 2_800 and min(shares) > 1_200


@pytest.mark.parametrize("cuts", [7, 1000])
def test_ranges_do_not_depend_on_how_rows_are_cut_and_ordered(cuts):
  rng = np.random.default_rng(1)
  times, example_ids = rng.integers(0, 50, 5000), rng.integers(0, 1 << 63, 5000)
  expected = ranges_of(times, example_ids, 300)
  order = rng.permutation(5000)
  assert ranges_of(times[order], example_ids[order], 300, cuts=cuts) == expected and len(expected) == 17


def test_ranges_hold_each_key_once_and_compare_time_before_example_id():
  ranges = Ranges(((10, 5), (20, 0)))
  times, example_ids = np.array([9, 10, 10, 11, 19, 20]), np.array([9, 4, 5, 0, 9, 0])
  assert [ranges.hold(number, times, example_ids).tolist() for number in range(3)] == [
      [True, True, False, False, False, False], [False, False, True, True, True, False],
      [False, False, False, False, False, True]]
  assert [ranges.bounds(number) for number in range(3)] == [(None, (10, 5)), ((10, 5), (20, 0)), ((20, 0), None)]


def test_there_are_no_more_ranges_than_keys_sampled():
  ranges = ranges_of(np.zeros(900, np.int64), np.arange(900) % 4, 100)
  assert ranges == Ranges(((0, 1), (0, 2), (0, 3)), 900)
  assert Ranges.of(KeySample(), 100) == Ranges()


def rows(times, example_ids, **counts):
  return pa.table({"time": pa.array(times, pa.int64()), "example_id": pa.array(example_ids, pa.int64()),
                   **{name: pa.array(values, pa.int64()) for name, values in counts.items()}})


def test_a_run_claims_for_each_range_the_batches_that_may_hold_its_rows():
  run = Run("run.arrow", ((0, 0), (10, 0), (10, 50), (30, 0)))
  claims = dict(run.claims(Ranges(((5, 0), (10, 50), (40, 0)))))
  # Batch 0 may reach over (5, 0); batch 2 begins where the third range does; batch 3 may reach over (40, 0).
  assert claims == {0: Claim("run.arrow", 0, 1), 1: Claim("run.arrow", 0, 2), 2: Claim("run.arrow", 2, 4),
                    3: Claim("run.arrow", 3, 4)}
  # Nothing of the run lies before its first row.
  assert dict(run.claims(Ranges(((0, 0),)))) == {1: Claim("run.arrow", 0, 4)}


def test_the_claims_of_all_ranges_hold_every_row_once(tmp_path, monkeypatch):
  monkeypatch.setattr(spill, "BATCH_ROWS", 16)
  rng = np.random.default_rng(0)
  times, example_ids = rng.integers(0, 5, 1000), rng.integers(0, 300, 1000)
  writer = spill.RunWriter(f"{tmp_path}/run", run_bytes=4000)
  for part in np.array_split(np.arange(1000), 20):
    writer.write(rows(times[part], example_ids[part]))
  runs, sample = writer.close()
  ranges = Ranges.of(sample, 90)
  assert len(runs) > 2 and len(ranges) == 12 and sample.num_rows == 1000
  found = []
  for number in range(len(ranges)):
    claims = [claim for run in runs for index, claim in run.claims(ranges) if index == number]
    table = pa.Table.from_batches(spill.read_claims(claims[::-1]), rows([], [], count=[]).schema)
    inside = ranges.hold(number, table["time"].to_numpy(), table["example_id"].to_numpy())
    kept = spill.distinct_rows(table.filter(pa.array(inside))).to_pydict()
    found += list(zip(kept["time"], kept["example_id"], kept["count"]))
  expected = Counter(zip(times.tolist(), example_ids.tolist()))
  assert found == sorted((*key, count) for key, count in expected.items())


def test_rows_that_are_in_every_table_are_collected_once(monkeypatch):
  rng = np.random.default_rng(0)
  tables = [rows(times, times % 7, count=times % 2 + 1) for times in np.split(rng.permutation(3000) % 300, 30)]
  sorted_rows, distinct_rows = [], spill.distinct_rows

  def spy(table):
    sorted_rows.append(table.num_rows)
    return distinct_rows(table)

  monkeypatch.setattr(spill, "distinct_rows", spy)
  collected = spill.collect_distinct(iter(tables), collected_bytes=400 * 24)
  # Ten rows of each, which stand for one or two.
  assert list(zip(*collected.to_pydict().values())) == [(time, time % 7, 10 * (time % 2 + 1)) for time in range(300)]
  # At most twice the distinct rows, and the table that is more.
  assert max(sorted_rows) <= 2 * 300 + 100 and len(sorted_rows) > 3
  assert spill.collect_distinct(tables[:1]).num_rows == len(set(tables[0]["time"].to_pylist()))
