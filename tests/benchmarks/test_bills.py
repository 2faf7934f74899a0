"""What the panel's trainings cost, and the bills of candidates of several sizes, by hand."""

import dataclasses
import math

import numpy as np
import pytest

from benchmarks.fidelity.bills import bills_by_class, distillation_cost, panel_bill, pass_cost
from benchmarks.fidelity.rankings import Rankings
from benchmarks.fidelity.sources import LOG, MEMORY
from benchmarks.fidelity.trained import Choosing, PanelMember, Trained
from diet_tf.fidelity.bill import Cost
from tests.benchmarks.test_rankings import LABELS, LOGITS

FIFTH, TENTH = "sample/uniform/1_5", "sample/uniform/1_10"
MEMBERS = [PanelMember("a", True, False, cost_class=1), PanelMember("b", False, False, cost_class=1),
           PanelMember("c", False, True, large=True, cost_class=5)]
# What the log gives a, b and c; the memory turns b and c round, a tenth of the log a and b, and a fifth none.
ORDERS = {LOG: (1.0, 0.5, 0.0), MEMORY: (1.0, 0.0, 0.5), FIFTH: (1.0, 0.5, 0.0), TENTH: (0.5, 1.0, 0.0)}
COSTS = {LOG: 2.0, MEMORY: 0.05, FIFTH: 0.2, TENTH: 0.1}


def scores(sources=tuple(ORDERS)):
  """The large member costs five times the others; the log's reference takes two passes."""
  found = {}
  for source in sources:
    for member, auc in zip(MEMBERS, ORDERS[source], strict=True):
      cost = COSTS[source] * member.cost_class
      found[source, member.name] = Trained(
          np.array([LOGITS[auc]] * 2, np.float32), 0.01, 2 if source == LOG else 1, 10, 1000.0 * cost, 10.0 * cost,
          Choosing(30, 3000.0 * cost, 30.0 * cost) if source != MEMORY else Choosing())
  return found


def rankings(sources=tuple(ORDERS)):
  return Rankings(scores(sources), [member.name for member in MEMBERS], LABELS)


def test_a_pass_is_an_epoch_of_the_architectures():
  assert pass_cost(scores(), MEMBERS) == Cost(10.0, 1000.0)


def test_a_distillation_is_the_sum_of_its_stages_and_the_mean_of_its_seeds():
  stages = [{"seconds": {"gate": 1.0, "start-up": 2.0}, "flops": {"gate": 10.0}}, {"seconds": {"gate": 3.0},
             "flops": {"gate": 30.0}}]
  later = [{"seconds": {"gate": 8.0}, "flops": {"gate": 60.0}}]
  assert distillation_cost([stages, later]) == Cost(7.0, 50.0)
  # A folder that was begun before operations were noted knows its time alone.
  found = distillation_cost([stages, [{"seconds": {"gate": 8.0}}]])
  assert found.seconds == 7.0 and math.isnan(found.flops)


def test_the_rival_orders_at_least_as_well_as_the_memory():
  one = Rankings({key: value for key, value in scores().items() if key[1] != "c"}, ["a", "b"], LABELS)
  bill = panel_bill(one, Cost(10.0, 1000.0), Cost(60.0, 4500.0))
  # The memory orders a and b as the log does, a tenth does not.
  assert (bill.agreement, bill.rival("flops").name) == (1.0, FIFTH)
  assert bill.times("flops", "rival").exact_architectures == pytest.approx(4500 / 150)
  with_choice = panel_bill(one, Cost(10.0, 1000.0), Cost(60.0, 4500.0), with_choice=True)
  assert with_choice.rival("flops").training == Cost(8.0, 800.0) and with_choice.memory == bill.memory


def test_a_training_on_the_memory_has_the_choice_of_its_rates_in_it():
  chosen = {key: dataclasses.replace(one, choosing=Choosing(10, 100.0, 1.0)) if key[0] == MEMORY else one
            for key, one in scores().items() if key[1] != "c"}
  bill = panel_bill(Rankings(chosen, ["a", "b"], LABELS), Cost(10.0, 1000.0), Cost(60.0, 4500.0))
  assert bill.memory == Cost(1.5, 150.0) and bill.log == Cost(20.0, 2000.0)


def test_a_class_of_candidates_has_its_own_costs_agreement_and_rival():
  first, second, third = bills_by_class(rankings(), MEMBERS, Cost(10.0, 1000.0), Cost(60.0, 4500.0), (1, 5, 25))
  assert (first["members"], second["members"], third["members"]) == (["a", "b"], ["c"], [])
  assert [one["measured"] for one in (first, second, third)] == [True, True, False]
  # All three pairs have a or b, of which the memory keeps two; with c there are two, of which it keeps one.
  assert (first["agreement"], second["agreement"], third["agreement"]) == (pytest.approx(2 / 3), 0.5, None)
  assert first["memory_training_passes_flops"] == pytest.approx(0.05)
  assert second["memory_training_passes_flops"] == pytest.approx(0.25)
  # A tenth keeps two of three pairs, and both of c.
  assert (first["rival"], second["rival"]) == (TENTH, TENTH)
  assert second["break_even_against_rival"] == pytest.approx(4500 / 250)
  # Nothing of this size was trained: operations are those of class 1, times 25.
  assert third["memory_training_passes_flops"] == pytest.approx(1.25)
  assert math.isnan(third["memory_training_passes_wall"]) and third["break_even_trainings"] is None
  assert third["break_even_trainings_flops"] == pytest.approx(4500 / (25 * 1950))
