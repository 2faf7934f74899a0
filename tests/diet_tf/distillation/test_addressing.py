"""Addressing: the four actions on a literal case, and the budget whatever the inputs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diet_tf.distillation.addressing import (
  RULES,
  Action,
  AddressingSettings,
  IdCounts,
  Replacement,
  address,
  count_ids,
  needs_overlaps,
  replacement,
)
from diet_tf.errors import ConfigError
from tests.diet_tf.small_slots import small_slots

FREEZE, UPDATE, REPLACE = Action.FREEZE, Action.UPDATE, Action.REPLACE


def decide(influences, overlaps, num_slots, slot_ids=None, seed=0, **rules):
  slots, rules = small_slots(np.ones((len(influences), 2)), slot_ids=slot_ids), AddressingSettings(**rules)
  return address(slots, np.asarray(influences, np.float64), num_slots,
                 replacement(len(slots), num_slots, 0, False, rules), rules, seed=seed,
                 overlaps=np.asarray(overlaps, np.float64))


@pytest.mark.parametrize(("rule", "gone"), [
    # Costs .3 -.1 .2 0 .5; spans 7 5 6 5 8, of equals the least slot id; ranks of influence 4 3 2 1 0, of overlap
    # 0 1 2 3 4: all alike, so that the least slot ids go.
    ("removal", [1, 3]), ("oldest", [1, 3]), ("influence", [1, 2])])
def test_which_slots_make_room_at_the_cap(rule, gone):
  slots = small_slots(np.ones((5, 2)), slot_ids=[9, 1, 0, 7, 8], born_spans=[7, 5, 6, 5, 8])
  decided = address(slots, np.array([9.0, 8, 7, 6, 5]), 5, Replacement(2, rule), AddressingSettings(), seed=0,
                    overlaps=np.array([0, 0.1, 0.2, 0.3, 0.4]), removal_costs=np.array([0.3, -0.1, 0.2, 0.0, 0.5]))
  assert np.flatnonzero(decided.old_actions == REPLACE).tolist() == gone
  assert (decided.old_actions == UPDATE).sum() == 3 and decided.num_added == 2


@pytest.mark.parametrize(("num_old", "num_slots", "is_capped", "settings", "expected"), [
    (60, 80, False, {}, 0),                           # The memory grows by all of the span's slots.
    (70, 80, True, {}, 10),                           # It grows by half of them: as many again are replaced.
    (80, 80, True, {}, 20),                           # The steady state.
    (80, 60, True, {}, 40),                           # The cap was lowered.
    (80, 60, False, {}, 20),                          # The share was.
    (80, 80, True, {"at_cap": "keep"}, 0),            # None are to be replaced: the memory stays as it is.
    (80, 80, True, {"replace_fraction": 0.5}, 40),
    (80, 60, True, {"replace_fraction": 0.1}, 40),
    (10, 10, True, {}, 10),                           # The span would fill the memory alone.
])
def test_how_many_of_a_spans_twenty_slots_are_made_room_for(num_old, num_slots, is_capped, settings, expected):
  settings = AddressingSettings(**settings)
  found = replacement(num_old, num_slots, 20, is_capped, settings)
  assert found == Replacement(expected, "removal" if is_capped and settings.at_cap == "removal" else "influence")


def test_when_a_decision_reads_overlaps():
  assert not needs_overlaps(AddressingSettings(), Replacement(1, "removal"))
  assert needs_overlaps(AddressingSettings(), Replacement(1, "influence"))
  assert not needs_overlaps(AddressingSettings(), Replacement(0, "influence"))
  assert needs_overlaps(AddressingSettings(update_fraction=0.5), Replacement(0, "influence"))
  assert not needs_overlaps(AddressingSettings(rule="random", update_fraction=0.5), Replacement(1, "random"))


def test_the_four_actions_on_a_literal_case():
  influences = [0.5, -0.9, 0.2, 0.0, 0.7, 0.1]
  overlaps = [0.1, 0.8, 0.9, 0.0, 1.0, 0.4]
  # Ranks of influence 4 0 3 1 5 2, of overlap 1 3 4 0 5 2: usefulness 5 3 7 1 10 4. Of 6, a third goes: slots 3 and 1.
  # Of the other four, urgency |influence| * overlap 0.05 0.18 0.7 0.04: a half is updated, slots 4 and 2.
  decided = decide(influences, overlaps, 7, replace_fraction=1 / 3, update_fraction=0.5)
  assert decided.old_actions.tolist() == [FREEZE, REPLACE, UPDATE, REPLACE, UPDATE, FREEZE]
  assert decided.num_added == 3
  assert decided.counts() == {"freeze": 2, "update": 2, "replace": 2, "add": 3}


def test_slots_beyond_the_budget_are_replaced():
  decided = decide([0.4, 0.3, 0.2, 0.1], [1, 1, 1, 1], 2, update_fraction=0.5)
  assert decided.old_actions.tolist() == [UPDATE, FREEZE, REPLACE, REPLACE]
  assert decided.num_added == 0


def test_by_default_all_old_slots_are_updated_and_none_is_replaced():
  decided = decide([0.4, 0.3, 0.2, 0.1], [1, 0, 1, 0], 6)
  assert decided.old_actions.tolist() == [UPDATE] * 4 and decided.num_added == 2


def test_ties_go_by_slot_id():
  decided = decide([0.5] * 4, [0.5] * 4, 4, slot_ids=[30, 10, 40, 20], replace_fraction=0.25, update_fraction=1 / 3)
  # Usefulness and urgency are alike: the least slot id is replaced, the next one updated.
  assert decided.old_actions.tolist() == [FREEZE, REPLACE, FREEZE, UPDATE]


def test_equal_overlaps_leave_the_choice_to_influence():
  random = np.random.default_rng(1)
  influences = random.permutation(10)
  decided = decide(influences, [0.7] * 10, 10, replace_fraction=0.3)
  assert set(influences[decided.old_actions == REPLACE]) == {0, 1, 2}


def test_the_order_of_the_slots_does_not_matter():
  random = np.random.default_rng(0)
  influences, overlaps, slot_ids = random.normal(size=20), random.random(20), random.permutation(20)
  order = random.permutation(20)
  first = decide(influences, overlaps, 22, slot_ids, replace_fraction=0.2)
  second = decide(influences[order], overlaps[order], 22, slot_ids[order], replace_fraction=0.2)
  np.testing.assert_array_equal(first.old_actions[order], second.old_actions)


def test_the_rule_all_updates_every_survivor():
  decided = decide(range(8), [1] * 8, 8, rule="all", replace_fraction=0.25, update_fraction=0.5)
  assert decided.counts() == {"freeze": 0, "update": 6, "replace": 2, "add": 2}


def test_the_rule_random_draws_the_same_numbers_by_seed():
  shares = {"update_fraction": 0.5, "replace_fraction": 0.05}
  by_influence = decide(range(40), [1] * 40, 44, **shares)
  drawn = [decide(range(40), [1] * 40, 44, rule="random", seed=seed, **shares) for seed in (1, 1, 2)]
  assert all(one.counts() == by_influence.counts() for one in drawn)
  np.testing.assert_array_equal(drawn[0].old_actions, drawn[1].old_actions)
  assert (drawn[0].old_actions != drawn[2].old_actions).any()
  assert (drawn[0].old_actions != by_influence.old_actions).any()


@settings(max_examples=200, deadline=None)
@given(data=st.data(), count=st.integers(0, 30), num_slots=st.integers(1, 40), rule=st.sampled_from(RULES),
       update_fraction=st.floats(0, 1), replace_fraction=st.floats(0, 1), seed=st.integers(0, 2**31 - 2))
def test_the_budget_holds_whatever_the_inputs(data, count, num_slots, rule, update_fraction, replace_fraction, seed):
  figures = st.lists(st.floats(-1e3, 1e3, width=32), min_size=count, max_size=count)
  influences, overlaps = data.draw(figures), np.abs(data.draw(figures)) / 1e3
  decided = decide(influences, overlaps, num_slots, seed=seed, rule=rule, update_fraction=update_fraction,
                   replace_fraction=replace_fraction)
  counts = decided.counts()
  assert counts["freeze"] + counts["update"] + counts["replace"] == count
  assert decided.num_added >= 0
  assert counts["freeze"] + counts["update"] + decided.num_added == num_slots
  assert counts["replace"] >= round(replace_fraction * count)


def test_overlap_by_hand():
  # Field 0 is 1 half of the time and 2 otherwise (entropy log 2), field 1 is uniform on 4 ids (entropy 2 log 2).
  counts = count_ids((4, 6), [np.array([[1, 1], [2, 2]]), np.array([[1, 3], [2, 4]])])
  np.testing.assert_allclose(counts.field_weights(), [1 / 3, 2 / 3], rtol=1e-12)
  ids = np.array([[[1, 0], [4, 3]],    # All of it occurs.
                  [[1, 3], [5, 2]],    # Three quarters of field 0, a fifth of field 1.
                  [[3, 0], [5, 0]]])   # Nothing.
  weights = np.array([[[1, 0], [0.5, 0.5]], [[0.75, 0.25], [0.8, 0.2]], [[1, 0], [1, 0]]])
  np.testing.assert_allclose(counts.overlap(small_slots(ids, weights)), [1, 0.75 / 3 + 0.4 / 3, 0], rtol=1e-6)


def test_a_missing_id_is_no_overlap():
  counts = count_ids((3, 3), [np.array([[0, 1], [1, 2]])])
  slots = small_slots([[0, 1], [1, 1]])
  np.testing.assert_allclose(counts.overlap(slots), [0.5, 1], rtol=1e-6)


def test_counts_do_not_depend_on_the_batches():
  ids = np.random.default_rng(0).integers(5, size=(40, 2))
  whole, parts = count_ids((5, 5), [ids]), count_ids((5, 5), np.array_split(ids, 7))
  np.testing.assert_array_equal(whole.field_weights(), parts.field_weights())


def test_a_span_that_says_nothing_has_no_overlap():
  counts, slots = IdCounts((3, 3)), small_slots(np.ones((2, 2)))
  assert counts.overlap(slots).tolist() == [0, 0]
  counts.add(np.array([[1, 1], [1, 1]]))  # One value per field: nothing tells its examples apart.
  assert counts.overlap(slots).tolist() == [0, 0]


@pytest.mark.parametrize("broken", [{"rule": "best"}, {"at_cap": "newest"}, {"update_fraction": 1.5},
                                    {"replace_fraction": -0.1}])
def test_settings_are_checked(broken):
  with pytest.raises(ConfigError, match=next(iter(broken))):
    AddressingSettings(**broken)
