import numpy as np
import pytest

from diet_tf.log.features import Field
from diet_tf.memory.composition import IdDecoder, coverage, heaviest_slots
from tests.diet_tf import small_sets
from tests.diet_tf.small_report import SPEC, VOCABULARIES, make_slots
from tests.diet_tf.small_slots import small_slots


def test_coverage_counts_ids_that_have_weight():
  # Field 0 holds 1 and 3 (the padding 0 has no weight), field 1 holds 2.
  ids = np.array([[[1, 3], [2, 0]], [[1, 0], [2, 0]]])
  weights = np.array([[[0.5, 0.5], [1, 0]], [[1, 0], [1, 0]]])
  slots = small_slots(ids, weights, labels=[0, 1])
  batches = [np.array([[1, 2], [3, 0], [2, 1]]), np.array([[99, 2]])]
  assert coverage(slots, batches) == [0.5, 0.5]
  assert coverage(slots, []) is None
  empty = slots.take(np.zeros(0, int))
  assert coverage(empty, batches) == [0.0, 0.0]


def test_of_sets_of_values_the_held_ones_count_by_their_weight():
  slots = small_slots([[[5], [2], [3], [2]]], spec=small_sets.SPEC)
  rows = np.concatenate([small_sets.row(5, [2, 4], {1: 0.25, 3: 0.75}, 2), small_sets.row(6, [1, 7, 8], {1: 1.0}, 2)])
  # User 5 in one row of two; genre 2, half of the first row; tag 3, three quarters of it; the hour in both.
  assert coverage(slots, [rows], small_sets.LAYOUT) == [0.5, 0.25, 0.375, 1.0]


@pytest.mark.parametrize("field, number, text", [
    (Field("a", "a", hash_ids=8), 5, "hash 5"),
    (Field("a", "a", hash_ids=8), 0, "missing"),
    (Field("a", "a", vocabulary_ids=9, vocabulary=("x", "y")), 3, "y"),
    (Field("a", "a", vocabulary_ids=9, vocabulary=("x", "y")), 1, "not listed"),
    (Field("a", "a", vocabulary_ids=9, vocabulary=("x", "y")), 4, "id 4"),
    (Field("a", "a", boundaries=(4.0, 9.5)), 1, "< 4"),
    (Field("a", "a", boundaries=(4.0, 9.5)), 2, "4 to 9.5"),
    (Field("a", "a", boundaries=(4.0, 9.5)), 3, "≥ 9.5"),
    (Field("a", "a", boundaries=(4.0, 9.5)), 0, "missing"),
])
def test_ids_become_text(field, number, text):
  assert IdDecoder(field).text(number) == text


def test_a_grown_vocabulary_is_given():
  field = Field("a", "a", vocabulary_ids=9)
  assert IdDecoder(field, ["p", "q"]).text(3) == "q"
  assert IdDecoder(field).text(3) == "id 3"


def test_decoding_undoes_encoding():
  from diet_tf.log.encoding import encode

  vocabulary = Field("a", "a", vocabulary_ids=9)
  for value, number in zip(["q", "p"], encode(vocabulary, ["q", "p"], ["p", "q"]), strict=True):
    assert IdDecoder(vocabulary, ["p", "q"]).text(int(number)) == value
  bucketed = Field("b", "b", boundaries=(4.0, 9.0))
  assert [IdDecoder(bucketed).text(int(number)) for number in encode(bucketed, [3.9, 4.0, 8.9, 9.0])] == [
      "< 4", "4 to 9", "4 to 9", "≥ 9"]


def test_the_heaviest_slots_come_first_and_ties_stay_in_order():
  first, second = heaviest_slots(make_slots(), SPEC, VOCABULARIES, 2)
  assert (first.slot_id, first.sample_weight, first.born_span, first.updated_span) == (7, 2.0, 1, 3)
  assert first.values == {"user": (("hash 3", 1.0),), "genre": (("drama", 0.75), ("noir", 0.25)),
                          "price": (("4 to 9", 1.0),)}
  assert second.slot_id == 0
