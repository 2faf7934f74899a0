"""Rules of the benchmark of capped memories, and its tables, on literal cases."""

import dataclasses

import numpy as np
import pytest

from benchmarks.capped.__main__ import table
from benchmarks.capped.rules import RULES, keep, merge
from tests.diet_tf.small_slots import small_slots


@dataclasses.dataclass
class Evidence:
  """Four old slots and one new one."""

  old: object
  new: object
  span: int = 9
  seed: int = 0

  def influences(self):
    return np.array([0.1, -0.3, 0.2, 0.0, 0.5])

  def overlaps(self):
    return np.array([1, 1, 0, 0.5])

  def removal_costs(self, **_):
    return np.array([0.2, 0.1, -0.1, 0.3, 0.4])


@pytest.fixture
def evidence():
  old = small_slots(np.ones((4, 2)), slot_ids=[0, 1, 2, 3], born_spans=[3, 3, 1, 2], sample_weights=[2, 1, 0.6, 0.4])
  return Evidence(old, small_slots(np.ones((1, 2)), slot_ids=[9], born_spans=9))


@pytest.mark.parametrize(("rule", "gone"), [
    ("oldest", 2), ("lightest", 3), ("influence", 1), ("size of influence", 3), ("overlap", 2), ("removal cost", 2),
    # Weight times 2^(-age / 3): .5, .25, .6 / 6.35, .4 / 5.04.
    ("decayed mass", 3),
    # Ranks of influence 2 0 3 1, of overlap 2.5 2.5 0 1.
    ("influence and overlap", 3)])
def test_which_slot_leaves(evidence, rule, gone):
  made = RULES[rule](evidence)
  assert made.slot_ids.tolist() == [one for one in range(4) if one != gone] + [9]
  # Each part weighs by its number of slots.
  assert made.sample_weights[:3].mean() == pytest.approx(1) and made.sample_weights[3] == 1


def test_equals_leave_by_their_slot_ids(evidence):
  assert keep(lambda one: np.zeros(4))(evidence).slot_ids.tolist() == [1, 2, 3, 9]


def test_the_nearest_slots_are_joined():
  slots = small_slots([[[1, 2], [5, 0]], [[1, 3], [6, 0]], [[4, 0], [6, 0]]],
                      [[[0.5, 0.5], [1, 0]], [[0.5, 0.5], [1, 0]], [[1, 0], [1, 0]]], labels=[0.2, 0.8, 0.5],
                      sample_weights=[1.5, 0.5, 1], slot_ids=[7, 8, 9])
  made = merge(slots, slots.sample_weights, np.array([[0.0], [1.0], [5.0]]), 2, (2, 1))
  assert made.slot_ids.tolist() == [7, 9]
  # Three quarters of one bag and a quarter of the other: id 1 has .5 of both, 2 has .375 and 3 .125, which is cut.
  assert made.ids[0].tolist() == [[1, 2], [5, 0]]
  np.testing.assert_allclose(made.weights[0], [[0.5 / 0.875, 0.375 / 0.875], [1, 0]], rtol=1e-6)
  np.testing.assert_allclose(made.labels, [0.35, 0.5], rtol=1e-6)
  np.testing.assert_allclose(made.sample_weights, [4 / 3, 2 / 3], rtol=1e-6)


def test_a_table_has_differences_with_errors():
  def figure(rule, seed, divergence, recovery=0.8):
    return {"log": "small", "seed": seed, "rule": rule, "span": 3, "divergence": divergence, "auc": 0.7,
            "recovery": recovery, "log_loss": 0.6}

  lines = table([figure("random", 0, 0.03), figure("random", 1, 0.05), figure("oldest", 0, 0.02, 0.9),
                 figure("oldest", 1, 0.046, 0.86), figure("overlap", 1, 0.046)],
                ["random", "oldest", "overlap"]).splitlines()
  # Less by 10 and 4 thousandths: 7 on average, and half of their difference is the standard error.
  assert lines[-2] == ("| oldest | 2 | 33.0 | 33.0 | -7.0 ± 3.0 |  | 0.880 | +0.080 ± 0.020 |  | 0.7000 | 0.6000 |")
  assert lines[-1] == ("| overlap | 1 | 46.0 | 46.0 | -4.0 ± nan | +0.0 ± nan | 0.800 | +0.000 ± nan | -0.060 ± nan "
                       "| 0.7000 | 0.6000 |")
