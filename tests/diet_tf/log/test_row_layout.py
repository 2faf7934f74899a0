"""The places of an encoded row, by hand."""

import numpy as np
import pytest

from diet_tf.errors import DataError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.row_layout import RowLayout, missing_rows, rows_of_fields
from tests.diet_tf.small_sets import LAYOUT, SPEC, row

PLAIN = FeatureSpec((Field("user", "user", hash_ids=13), Field("hour", "hour", hash_ids=5)), Label("click"))
QUARTER, THREE_QUARTERS = np.array([0.25, 0.75], np.float32).view(np.int32).tolist()
ROW = row(5, [2, 4], {1: 0.25, 3: 0.75}, 2)


def test_a_row_has_ids_field_by_field_and_weights_behind_them():
  assert ROW.tolist() == [[5, 2, 4, -1, 1, 3, 2, QUARTER, THREE_QUARTERS]] and ROW.dtype == np.int32
  assert (LAYOUT.num_ids, LAYOUT.num_places, LAYOUT.is_plain) == (7, 9, False)
  assert LAYOUT.fields.tolist() == [0, 1, 1, 1, 2, 2, 3]
  assert [LAYOUT.ids_at(field) for field in range(4)] == [slice(0, 1), slice(1, 4), slice(4, 6), slice(6, 7)]
  assert LAYOUT.weights_at(2) == slice(7, 9)
  # Without the user and the genres.
  assert LAYOUT.places_of([2, 3]).tolist() == [4, 5, 6, 7, 8]


def test_rows_of_single_values_are_as_before():
  layout = RowLayout.of(PLAIN)
  assert (layout.is_plain, layout.num_places, layout.fields.tolist()) == (True, 2, [0, 1])
  ids = np.array([[3, 1], [0, 4]])
  assert layout.of_single_ids(ids).tolist() == ids.tolist()
  assert rows_of_fields({"hour": ids[:, 1], "user": ids[:, 0]}, PLAIN).tolist() == ids.tolist()


def test_values_are_told_row_by_row_with_their_weights():
  rows = np.concatenate([ROW, row(6, [7], {0: 1.0}, 3)])
  numbers, ids, weights = LAYOUT.values(rows, 1)
  assert (numbers.tolist(), ids.tolist(), weights.tolist()) == ([0, 0, 1], [2, 4, 7], [0.5, 0.5, 1])
  numbers, ids, weights = LAYOUT.values(rows, 2)
  assert (numbers.tolist(), ids.tolist(), weights.tolist()) == ([0, 0, 1], [1, 3, 0], [0.25, 0.75, 1])
  assert LAYOUT.weights(rows, 1).tolist() == [[0.5, 0.5, 0], [1, 0, 0]]


def test_rows_of_one_value_each_and_missing_rows():
  assert LAYOUT.of_single_ids(np.array([[5, 2, 1, 3]])).tolist() == row(5, [2], {1: 1.0}, 3).tolist()
  assert missing_rows(SPEC, 1).tolist() == row(0, [0], {0: 1.0}, 0).tolist()
  assert missing_rows(SPEC, 0).shape == (0, 9)


def test_rows_of_named_fields():
  columns = {"user": np.array([5]), "genres": np.array([[2, 4]]), "tags": np.array([[1, 3]]),
             "tags/weights": np.array([[0.25, 0.75]]), "hour": np.array([2])}
  assert rows_of_fields(columns, SPEC).tolist() == ROW.tolist()
  with pytest.raises(DataError, match=r"'genres'.*at most 3 values.*4"):
    rows_of_fields({**columns, "genres": np.array([[1, 2, 3, 4]])}, SPEC)


@pytest.mark.parametrize("place, value, message", [
    (0, 13, r"field 'user'.*\[0, 13\)\. Received: ids from 13 to 13"),
    (0, -1, r"field 'user'.*\[0, 13\)"),
    (1, -1, r"field 'genres'.*one at least"),
    (2, 9, r"field 'genres'.*\[0, 9\)"),
    (2, 2, "field 'genres'.*distinct and ascend"),
    (2, 1, "field 'genres'.*distinct and ascend"),
    (2, -2, r"field 'genres'.*\[0, 9\)"),
    (7, THREE_QUARTERS, "field 'tags'.*sum to 1"),
    (5, -1, "field 'tags'.*0 in padding"),
])
def test_rows_are_checked(place, value, message):
  broken = ROW.copy()
  broken[0, place] = value
  LAYOUT.check(ROW, SPEC, "rows")
  with pytest.raises(DataError, match=message):
    LAYOUT.check(broken, SPEC, "rows")


def test_padding_stands_behind_the_values():
  broken = ROW.copy()
  broken[0, 1:4] = [2, -1, 4]
  with pytest.raises(DataError, match="before padding"):
    LAYOUT.check(broken, SPEC, "rows")
  with pytest.raises(DataError, match="9 columns in all, for each of the 4 fields.*4 columns"):
    LAYOUT.check(ROW[:, :4], SPEC, "rows")
