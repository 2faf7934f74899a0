"""One table of rows, and samples of streams of it: the rows that each user's draw gives, however the stream is cut."""

import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies

from diet_tf.errors import DataError
from diet_tf.log.encoded_rows import BoundedSample, EncodedRows, sample_of
from diet_tf.log.hashing import mix, salted_mix

ORDERS = {"stage": functools.partial(mix, seed=3), "panel": functools.partial(salted_mix, seed=3)}


def rows_of(num_rows, **columns):
  return EncodedRows(np.arange(2 * num_rows, dtype=np.int32).reshape(num_rows, 2),
                     example_ids=np.random.default_rng(0).permutation(num_rows).astype(np.int64) * 977, **columns)


def cut(rows, places):
  bounds = [0, *sorted(places), len(rows)]
  return [rows.take(slice(low, high)) for low, high in zip(bounds, bounds[1:])]


def test_columns_that_are_not_known_are_errors():
  rows = EncodedRows(np.zeros((2, 1), np.int32), np.array([0, 1], np.float32))
  assert rows.knows("labels") and not rows.knows("spans")
  with pytest.raises(DataError, match="rows.spans.*rows with ids, labels"):
    _ = rows.spans


@pytest.mark.parametrize("columns,message", [
    ({"ids": np.zeros(3, np.int32)}, r"rows\.ids.*shape \(3,\)"),
    ({"ids": np.zeros((3, 1), np.int32), "labels": np.zeros(2)}, r"rows\.labels.*3 in all.*shape \(2,\)")])
def test_columns_of_another_length_are_refused(columns, message):
  with pytest.raises(DataError, match=message):
    EncodedRows(**columns)


def test_take_batches_and_concatenate_keep_rows_together():
  rows = rows_of(5, spans=np.array([1, 1, 2, 2, 3]), labels=np.array([0, 1, 0, 1, 1], np.float32))
  assert rows.take(np.array([3, 0])).ids.tolist() == [[6, 7], [0, 1]]
  assert rows.of_spans([1, 3]).labels.tolist() == [0, 1, 1]
  assert [len(part) for part in rows.batches(2)] == [2, 2, 1]
  again = EncodedRows.concatenate(list(rows.batches(2)))
  for name in ("ids", "labels", "example_ids", "spans"):
    np.testing.assert_array_equal(getattr(again, name), getattr(rows, name))


def test_parts_with_other_columns_are_refused():
  with pytest.raises(DataError, match="ids, example_ids and ids, labels, example_ids"):
    EncodedRows.concatenate([rows_of(2), rows_of(2, labels=np.zeros(2, np.float32))])
  with pytest.raises(DataError, match="no parts"):
    EncodedRows.concatenate([])


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@settings(max_examples=60, deadline=None)
@given(places=strategies.lists(strategies.integers(0, 300), max_size=40), num_rows=strategies.integers(1, 320))
def test_any_cut_of_a_stream_gives_the_rows_that_come_first(order, places, num_rows):
  rows = rows_of(300)
  first = np.argsort(order(rows.example_ids), kind="stable")[:num_rows]
  sample = BoundedSample(num_rows, order)
  for part in cut(rows, places):
    sample.add(part)
  np.testing.assert_array_equal(sample.rows().ids, rows.ids[np.sort(first)])
  np.testing.assert_array_equal(sample.shuffled().ids, rows.ids[first])
  np.testing.assert_array_equal(sample_of(cut(rows, places), num_rows, order).ids, rows.ids[np.sort(first)])


def test_the_draws_of_stages_and_of_the_panel_are_those_of_before():
  # The two keys in Python's own integers: split_mix(id + s) and split_mix(id ^ s), s = 4 * 0x9E3779B97F4A7C15 mod 2^64.
  def finalise(value):
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31

  salt = 4 * 0x9E3779B97F4A7C15 % 2**64
  ids = [0, 1, 977, 2**62 + 5]
  assert mix(np.array(ids), 3).tolist() == [finalise((one + salt) % 2**64) for one in ids]
  assert salted_mix(np.array(ids), 3).tolist() == [finalise(one ^ salt) for one in ids]


def test_a_sample_is_uniform_over_the_stream():
  """Each of 40 blocks of a stream gets its share of a sample, within four standard deviations."""
  drawn = BoundedSample(2000, functools.partial(salted_mix, seed=7))
  for block in range(40):
    example_ids = np.arange(block * 1000, (block + 1) * 1000)
    drawn.add(EncodedRows(np.full([1000, 1], block), np.zeros(1000), example_ids))
  sample = drawn.shuffled()
  assert len(sample) == 2000
  counts = np.bincount(sample.ids[:, 0], minlength=40)
  assert np.abs(counts - 50).max() < 4 * math.sqrt(50)


def test_a_sample_smaller_than_asked_for_holds_all():
  drawn = BoundedSample(10, functools.partial(salted_mix, seed=0))
  drawn.add(EncodedRows(np.arange(3)[:, None], np.zeros(3), np.arange(3)))
  assert sorted(drawn.shuffled().ids[:, 0]) == [0, 1, 2]


def test_nothing_is_drawn_from_nothing():
  drawn = BoundedSample(10, ORDERS["stage"])
  assert not drawn.has_drawn and sample_of([], 3, ORDERS["stage"]) is None
  for draw in (drawn.rows, drawn.shuffled):
    with pytest.raises(DataError, match="at least one batch"):
      draw()
