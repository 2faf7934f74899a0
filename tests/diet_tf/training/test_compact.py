"""Compact id spaces: a renaming that can be undone, and one row for all other ids."""

import numpy as np

from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory.slots import Slots
from diet_tf.training.compact import OTHER_ID, CompactIds
from tests.diet_tf import small_sets
from tests.diet_tf.small_slots import small_slots

SPEC = FeatureSpec((Field("user", "user", hash_ids=100), Field("colour", "colour", vocabulary_ids=5, vocabulary=("r",)),
                    Field("price", "price", boundaries=(1.0, 2.0))), Label("click"))
IDS = np.array([[[70, 0], [2, 0], [1, 3]],
                [[30, 70], [2, 1], [0, 0]]])
WEIGHTS = np.array([[[1, 0], [1, 0], [0.25, 0.75]],
                    [[0.5, 0.5], [0.5, 0.5], [1, 0]]])


SLOTS = small_slots(IDS, WEIGHTS, labels=[0, 0.5], sample_weights=[1, 2], born_spans=[0, 1], influences=[0, 1],
                    spec=SPEC)


def test_a_literal_renaming():
  compact = CompactIds.of(SPEC, SLOTS)
  # The padding of weight 0 does not occur; the id 0 ("missing") of price does.
  assert [known.tolist() for known in compact.occurring] == [[30, 70], [1, 2], [0, 1, 3]]
  assert compact.spec.num_ids == (3, 3, 4)
  assert compact.spec.names == SPEC.names
  assert compact.rename(IDS[..., 0]).tolist() == [[2, 2, 2], [1, 2, 1]]


def test_the_renaming_can_be_undone():
  random = np.random.default_rng(0)
  numbers = np.arange(20)
  slots = small_slots(np.stack([random.integers(n, size=(20, 4)) for n in SPEC.num_ids], axis=1),
                      random.dirichlet(np.ones(4), size=(20, 3)), labels=numbers / 20, sample_weights=numbers + 1,
                      born_spans=numbers, influences=numbers, spec=SPEC)
  compact = CompactIds.of(SPEC, slots)
  renamed = compact.slots(slots)
  for field, known in enumerate(compact.occurring):
    assert renamed.ids[:, field].min() >= 1 and renamed.ids[:, field].max() <= len(known)
    np.testing.assert_array_equal(known[renamed.ids[:, field] - 1], slots.ids[:, field])
  for name in set(Slots.DTYPES) - {"ids"}:
    np.testing.assert_array_equal(getattr(renamed, name), getattr(slots, name))


def test_other_ids_become_the_one_for_all_others():
  compact = CompactIds.of(SPEC, SLOTS)
  renamed = compact.rename(np.array([[0, 0, 2], [29, 3, 2], [31, 4, 2], [99, 0, 2]]))
  assert (renamed == OTHER_ID).all()


def test_padding_stays_without_weight_and_within_the_id_space():
  compact = CompactIds.of(SPEC, SLOTS)
  renamed = compact.slots(SLOTS)
  np.testing.assert_array_equal(renamed.weights, WEIGHTS)
  assert (renamed.ids[WEIGHTS == 0] == 0).all()


def test_a_field_that_no_slot_has_is_a_field_still():
  weights = WEIGHTS.copy()
  weights[:, 1] = 0
  compact = CompactIds.of(SPEC, SLOTS.replace(weights=weights))
  assert compact.spec.num_ids[1] == 2
  assert (compact.rename(IDS)[:, 1] == OTHER_ID).all()


def test_ids_of_all_parts_occur():
  first, second = (SLOTS.take(np.array([row])) for row in range(2))
  both, whole = CompactIds.of(SPEC, first, second), CompactIds.of(SPEC, SLOTS)
  assert both.spec == whole.spec


def test_a_value_without_a_compact_id_keeps_its_weight_in_its_set():
  slots = small_slots([[[5], [2], [3], [2]], [[6], [7], [3], [2]]], spec=small_sets.SPEC)
  compact = CompactIds.of(small_sets.SPEC, slots)
  row = small_sets.row(5, [2, 4, 7], {1: 0.25, 3: 0.75}, 1)
  # Genres 2 and 7 are the first two that occur, 4 is another; tag 1 is another, and hour 1 too.
  assert compact.rename(row)[0, :7].tolist() == [1, 1, 0, 2, 0, 1, 0]
  assert compact.rename(row)[0, 7:].tolist() == row[0, 7:].tolist()
  assert compact.rename(small_sets.row(9, [1], {0: 1.0}, 2))[0, :7].tolist() == [0, 0, -1, -1, 0, -1, 1]
