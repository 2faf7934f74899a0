import pytest

from diet_tf.memory.last_refinement import LastRefinement

NOTE = LastRefinement(3, 40, 900, 10)


def test_growth_is_what_was_added_as_a_share_of_what_was_there():
  assert NOTE.growth == 0.25
  assert LastRefinement(None, 0, 0, 5).growth == float("inf")


@pytest.mark.parametrize(("changed", "holds"), [
    ({}, True), ({"span": None}, True), ({"span": 4}, True), ({"span": 5}, False), ({"span": -1}, False),
    ({"num_slots": -1}, False), ({"num_added": 1.5}, False), ({"more": 1}, False)])
def test_a_note_is_of_a_span_up_to_the_memory_s_own(changed, holds):
  assert LastRefinement.is_note({**NOTE.to_dict(), **changed}, 4) is holds


def test_a_note_is_whole():
  note = NOTE.to_dict()
  del note["num_added"]
  assert not LastRefinement.is_note(note, 4)
