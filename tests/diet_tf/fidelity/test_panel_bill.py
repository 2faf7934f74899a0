"""The bill of a small panel by hand: two members, whose trainings on the log take a second and two passes each."""

import dataclasses

from diet_tf.fidelity.bill import Cost
from diet_tf.fidelity.own_rates import OwnRates
from diet_tf.fidelity.panel_bill import baselines_of, bill_of
from tests.diet_tf.small_report import make_result


def test_the_bill_of_a_panel():
  members = make_result().members
  bill = bill_of(members, 1.0, baselines_of(members, ((0, 1),)), Cost(36.0, 21e9))
  assert (bill.one_pass, bill.log, bill.memory) == (Cost(0.5, 2.5e8), Cost(1.0, 5e8), Cost(0.1, 2e7))
  assert [(rival.name, rival.agreement) for rival in bill.rivals] == [("random_hard", 1.0)]
  # Random rows order the pair as the log does, at half the log's time and twice its operations.
  assert (bill.rival("seconds").name, bill.rival("flops").name) == ("random_hard", "log")


def test_a_training_on_the_memory_has_the_choice_of_its_rates_in_it():
  rates = OwnRates(2.0, 1.0, 3, 300, 8e7, 0.4, "scored rows")
  members = [dataclasses.replace(member, trainings={
      **member.trainings, "memory": dataclasses.replace(member.trainings["memory"], rates=rates)})
             for member in make_result().members]
  bill = bill_of(members, 1.0, baselines_of(members, ((0, 1),)), Cost(36.0, 21e9))
  assert bill.memory == Cost(0.5, 1e8) and bill.log == Cost(1.0, 5e8)


def test_random_rows_order_the_members():
  members = make_result().members
  found = baselines_of(members, ((0, 1),))
  assert set(found) == {"random_hard", "random_soft"}
  assert found["random_hard"] == {"agreement": 1.0, "kendall_tau_b": 1.0, "regret": 0.0, "regret_at_3": 0.0}
  # Which pairs are resolved was not written down once.
  assert baselines_of(members, None)["random_hard"]["agreement"] != 1.0
