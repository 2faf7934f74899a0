"""The bill by hand: a pass of ten seconds, a memory that takes a twentieth of one, and rivals of several kinds."""

import math

import pytest

from diet_tf.fidelity.bill import Bill, Cost, Rival, mean_cost


def bill(*rivals, agreement=0.9, distillation_seconds=57.0):
  """A log whose reference takes two passes."""
  distillation = Cost(distillation_seconds, 300.0)
  return Bill(Cost(10.0, 100.0), distillation, Cost(1.0, 5.0), Cost(20.0, 200.0), agreement, rivals)


FIFTH = Rival("fifth", Cost(2.5, 20.0), 0.9)
TENTH = Rival("tenth", Cost(1.2, 10.0), 0.85)
HALF = Rival("half", Cost(5.0, 50.0), 0.99)


def test_costs_add_up():
  assert Cost(1.0, 10.0) + Cost(2.0, 5.0) == Cost(3.0, 15.0) and Cost(1.0, 10.0).times(3) == Cost(3.0, 30.0)
  assert mean_cost([Cost(1.0, 10.0), Cost(2.0, 30.0)]) == Cost(1.5, 20.0)


def test_the_rival_is_the_cheapest_of_at_least_the_memorys_agreement():
  found = bill(HALF, TENTH, FIFTH)
  # A tenth is cheaper and orders worse; an equal agreement is enough.
  assert found.rival("flops") == found.rival("seconds") == FIFTH
  assert bill(HALF, TENTH, FIFTH, agreement=0.85).rival("flops") == TENTH
  assert bill(HALF, FIFTH, agreement=0.95).rival("flops") == HALF


def test_which_rival_is_the_cheapest_may_differ_by_the_unit():
  small_steps = Rival("small steps", Cost(30.0, 1.0), 1.0)
  found = bill(HALF, small_steps)
  assert (found.rival("flops"), found.rival("seconds")) == (small_steps, HALF)
  unmeasured = Rival("unmeasured", Cost(math.nan, 1.0), 1.0)
  assert (bill(unmeasured).rival("flops").name, bill(unmeasured).rival("seconds").name) == ("unmeasured", "log")


def test_of_rivals_of_equal_cost_the_better_one_is_taken_and_then_the_first():
  better = Rival("better", FIFTH.training, 0.95)
  assert bill(FIFTH, better).rival("flops") == better
  assert bill(FIFTH, Rival("again", FIFTH.training, 0.9)).rival("flops") == FIFTH


def test_where_no_rival_orders_so_well_the_log_is_left():
  for rivals in ((), (TENTH,), (Rival("unknown", Cost(0.1, 0.1), math.nan),)):
    found = bill(*rivals)
    assert found.rival("flops") == Rival("log", Cost(20.0, 200.0), 1.0)
    assert found.summary()["break_even_against_rival"] == pytest.approx(300 / 195)


def test_the_bill_has_a_row_for_each_number_of_trainings():
  rows = bill(FIFTH).rows()
  assert [row["trainings"] for row in rows] == [10, 30, 100, 300, 1000]
  assert rows[0] == {
      "trainings": 10, "seconds": {"memory": 67.0, "log": 200.0, "rival": 25.0},
      "flops": {"memory": 350.0, "log": 2000.0, "rival": 200.0},
      "passes_wall": {"memory": 6.7, "log": 20.0, "rival": 2.5},
      "passes_flops": {"memory": 3.5, "log": 20.0, "rival": 2.0}}


def test_the_summary():
  found = bill(FIFTH).summary()
  assert (found["distillation_passes_wall"], found["distillation_passes_flops"]) == (5.7, 3.0)
  assert (found["memory_training_passes_wall"], found["memory_training_passes_flops"]) == (0.1, 0.05)
  assert (found["log_training_passes_wall"], found["log_training_passes_flops"]) == (2.0, 2.0)
  # 57 s of distillation save 19 s a training against the log, 1.5 s against the rival; 300 FLOPs save 195 and 15.
  assert (found["break_even_trainings"], found["break_even_against_rival_wall"]) == (3.0, 38.0)
  assert found["break_even_trainings_flops"] == pytest.approx(300 / 195)
  assert (found["break_even_against_rival"], found["rival"], found["rival_wall"]) == (20.0, "fifth", "fifth")


def test_a_memory_that_costs_more_than_its_rival_never_pays():
  found = bill(Rival("cheap", Cost(0.5, 5.0), 1.0)).summary()
  assert found["break_even_against_rival"] is found["break_even_against_rival_wall"] is None
  assert found["break_even_trainings"] == 3.0


def test_what_is_not_known_of_the_distillation_is_nan():
  found = bill(FIFTH, distillation_seconds=math.nan).summary()
  assert math.isnan(found["distillation_passes_wall"]) and found["break_even_trainings"] is None
  assert found["break_even_against_rival"] == 20.0 and math.isnan(found["bill"][0]["seconds"]["memory"])


def test_the_bill_in_words():
  first, second = bill().sentences()
  assert first.startswith("Making the memory took 5.7 passes in wall time and 3.0 passes in floating-point operations,")
  assert first.endswith("one on the log 2.0 passes in wall time and 2.0 passes in floating-point operations.")
  assert second == "In floating-point operations it pays from 2 on."
  # What is not known is left out.
  assert bill(distillation_seconds=math.nan).sentences()[0].startswith(
      "Making the memory took 3.0 passes in floating-point operations,")
