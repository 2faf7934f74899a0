"""Slots: shapes, choice, and joining of narrow and wide ones."""

from __future__ import annotations

import numpy as np
import pytest

from diet_tf.errors import DataError
from diet_tf.memory.slots import Slots
from tests.diet_tf.small_slots import small_slots

# Two slots of two fields: the first field has up to three ids, the second one.
IDS = [[[1, 2, 3], [4, 0, 0]], [[5, 0, 0], [6, 0, 0]]]
WEIGHTS = [[[0.25, 0.25, 0.5], [1, 0, 0]], [[1, 0, 0], [1, 0, 0]]]


def test_arrays_have_the_dtypes_of_the_format():
  slots = small_slots(IDS, WEIGHTS)
  assert {name: getattr(slots, name).dtype for name in Slots.DTYPES} == {
      "ids": np.int32, "weights": np.float32, "labels": np.float32, "sample_weights": np.float32, "slot_ids": np.int64,
      "born_spans": np.int64, "updated_spans": np.int64, "influences": np.float32}


def test_sizes():
  slots = small_slots(IDS, WEIGHTS)
  assert (len(slots), slots.num_fields, slots.max_ids, slots.max_ids_per_field) == (2, 2, 3, (3, 1))
  assert slots.take(np.array([1])).max_ids_per_field == (1, 1)
  # A place between two ids that have weight counts.
  gap = small_slots([[[1, 0, 2]]], [[[0.5, 0, 0.5]]])
  assert gap.max_ids_per_field == (3,)


def test_rows_are_taken_in_the_order_that_is_asked_for():
  taken = small_slots(IDS, WEIGHTS, labels=[0.1, 0.9], slot_ids=[10, 20]).take(np.array([1, 0]))
  assert taken.slot_ids.tolist() == [20, 10] and taken.ids.tolist() == IDS[::-1]
  np.testing.assert_array_equal(taken.labels, np.float32([0.9, 0.1]))


def test_rows_are_taken_by_a_mask():
  assert small_slots(IDS, WEIGHTS).take(np.array([False, True])).slot_ids.tolist() == [1]


def test_replacing_an_array_leaves_the_others_and_the_original():
  slots = small_slots(IDS, WEIGHTS, labels=0.5)
  changed = slots.replace(labels=np.array([0, 1]))
  assert changed.labels.tolist() == [0, 1] and slots.labels.tolist() == [0.5, 0.5]
  assert changed.ids is slots.ids


def test_narrow_slots_are_padded_where_they_are_joined_with_wide_ones():
  joined = Slots.concatenate([small_slots([[7, 8]], slot_ids=[5]), small_slots(IDS, WEIGHTS)])
  assert joined.ids.tolist() == [[[7, 0, 0], [8, 0, 0]], *IDS]
  assert joined.weights.tolist() == [[[1, 0, 0], [1, 0, 0]], *WEIGHTS]
  assert joined.slot_ids.tolist() == [5, 0, 1]


@pytest.mark.parametrize(("array", "value", "message"), [
    ("weights", np.ones((2, 2, 2)), "ids and weights are"), ("ids", np.ones((2, 2)), "ids and weights are"),
    ("labels", np.ones(3), r"slots\.labels.*3 for 2 slots"),
    ("slot_ids", np.ones(1), r"slots\.slot_ids.*1 for 2 slots")])
def test_arrays_that_do_not_fit_each_other_are_refused(array: str, value: np.ndarray, message: str):
  with pytest.raises(DataError, match=message):
    small_slots(IDS, WEIGHTS).replace(**{array: value})
