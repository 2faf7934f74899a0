"""Sets of values of rows, by hand."""

import numpy as np
import pytest

from diet_tf.log.hashing import mix
from diet_tf.log.value_sets import distinct, packed_sets


def test_each_value_stands_once_in_its_row():
  entries = distinct(np.array([1, 0, 0, 1, 1]), np.array([7, 9, 3, 7, 2]))
  assert (entries.rows.tolist(), entries.keys.tolist(), entries.weights) == ([0, 0, 1, 1], [3, 9, 2, 7], None)
  sets = packed_sets(entries, 3, 2)
  assert sets.ids.tolist() == [[3, 9], [2, 7], [0, -1]] and sets.weights is None and sets.num_cut == 0


def test_weights_of_a_value_add_up_and_those_of_a_row_are_shares():
  entries = distinct(np.array([0, 0, 0, 1]), np.array([4, 2, 4, 5]), np.array([0.5, 1.0, 2.5, 0.0]))
  assert (entries.rows.tolist(), entries.keys.tolist(), entries.weights.tolist()) == ([0, 0], [2, 4], [1.0, 3.0])
  sets = packed_sets(entries, 2, 3)
  assert sets.ids.tolist() == [[2, 4, -1], [0, -1, -1]] and sets.weights.tolist() == [[0.25, 0.75, 0], [1, 0, 0]]
  order = np.array([2, 0, 3, 1])
  again = distinct(np.array([0, 0, 0, 1])[order], np.array([4, 2, 4, 5])[order], np.array([0.5, 1.0, 2.5, 0.0])[order])
  assert again.weights.tobytes() == entries.weights.tobytes()


@pytest.mark.parametrize("weights, kept", [([1.0, 5.0, 2.0, 5.0], [11, 13]), ([1.0, 1.0, 9.0, 2.0], [12, 13])])
def test_the_heaviest_are_kept(weights, kept):
  sets = packed_sets(distinct(np.zeros(4, int), np.arange(10, 14), np.array(weights)), 1, 2)
  assert sets.ids.tolist() == [kept] and sets.num_cut == 1
  np.testing.assert_allclose(sets.weights.sum(), 1, rtol=1e-6)


def test_of_equal_values_the_first_of_a_fixed_order_are_kept():
  ids = np.arange(1, 40)
  sets = packed_sets(distinct(np.repeat([0, 1], 39), np.tile(ids, 2)), 2, 5)
  expected = sorted(ids[np.argsort(mix(ids, 0))[:5]].tolist())
  assert sets.ids.tolist() == [expected, expected] and expected != [1, 2, 3, 4, 5]


def test_no_rows_and_no_values():
  nothing = distinct(np.zeros(0, int), np.zeros(0, int), np.zeros(0))
  assert packed_sets(nothing, 0, 2).ids.shape == (0, 2)
  assert packed_sets(nothing, 1, 2).ids.tolist() == [[0, -1]]


def test_huge_weights_of_a_row_keep_their_shares_and_others_their_bytes():
  entries = distinct(np.array([0, 0, 0, 1, 1]), np.array([2, 3, 2, 4, 5]), np.array([8e307, 1.6e308, 8e307, 0.1, 0.3]))
  assert entries.weights[2:].tolist() == [0.1, 0.3]
  sets = packed_sets(entries, 2, 2)
  assert sets.weights.tolist() == [[0.5, 0.5], [0.25, 0.75]]
