"""What the panel's trainings and the distillation cost, and the bill of a search over many candidates; numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.fidelity.rankings import Rankings
from benchmarks.fidelity.sources import LOG, MEMORY, RIVALS
from benchmarks.fidelity.trained import PanelMember, Scores, Trained
from diet_tf.fidelity.bill import Bill, Cost, Rival, mean_cost

# What is told of how the memory orders a class of members.
_OF_CLASS = ("agreement", "agreement_low", "agreement_high", "num_resolved")


def pass_cost(scores: Scores, members: Sequence[PanelMember]) -> Cost:
  """What a pass costs: one epoch over the log's rows, the mean over the panel's ten architectures."""
  on_log = [scores[LOG, member.name] for member in members if not member.variant]
  return mean_cost([Cost(one.epoch_seconds, one.epoch_flops) for one in on_log])


def training_cost(trained: Sequence[Trained]) -> Cost:
  """The cost of one training, the mean over members."""
  return mean_cost([Cost(one.seconds, one.flops) for one in trained])


def candidate_cost(trained: Sequence[Trained]) -> Cost:
  """The cost of one training with the choice of its settings, the mean over members."""
  return mean_cost([Cost(one.seconds + one.choosing.seconds, one.flops + one.choosing.flops) for one in trained])


def distillation_cost(records: Sequence[Sequence[Mapping[str, Any]]]) -> Cost:
  """The cost of all stages with what lies between them, the mean over distillations.

  Args:
    records: per distillation, what was noted of each stage: `seconds` and `flops` by part; operations that were not
      noted are NaN.
  """
  return mean_cost([Cost(sum(sum(stage["seconds"].values()) for stage in stages),
                         sum(sum(stage["flops"].values()) if stage.get("flops") else math.nan for stage in stages))
                    for stages in records])


def panel_bill(rankings: Rankings, one_pass: Cost, distillation: Cost, *, with_choice: bool = False) -> Bill:
  """The bill of a panel. A training on the memory has the choice of its rates in it, where there was one.

  Args:
    rankings: orders of the panel's members.
    one_pass: cost of a pass.
    distillation: cost of making the memory.
    with_choice: whether the choice of a training's settings counts for the log and for rivals, too.
  """
  cost = candidate_cost if with_choice else training_cost
  rivals = [Rival(source, cost(rankings.trained(source)), rankings.agreement(source).share)
            for source in RIVALS if rankings.has(source)]
  return Bill(one_pass, distillation, candidate_cost(rankings.trained(MEMORY)), cost(rankings.trained(LOG)),
              rankings.agreement(MEMORY).share, rivals)


def bills_by_class(rankings: Rankings, members: Sequence[PanelMember], one_pass: Cost, distillation: Cost,
                   classes: Sequence[int]) -> list[dict[str, Any]]:
  """The bills of candidates of some times a proxy's FLOPs a row, each with the agreement on pairs that have one.

  A class that has members was trained, and `measured` says so: its costs are the means over these members, and a rival
  must order at least as well as the memory the resolved pairs that have one of them. Of a class without members the
  operations are those of class 1, times the class; wall time and agreement are not known, and the rival is the one of
  the whole panel.

  Args:
    rankings: orders of the members.
    members: the members with their classes, in the order of `rankings`.
    one_pass: cost of a pass.
    distillation: cost of making the memory.
    classes: classes of cost.
  """
  found = []
  for cost_class in classes:
    numbers = [number for number, member in enumerate(members) if member.cost_class == cost_class]
    if numbers:
      pairs = rankings.pairs_with(numbers)
      of_memory = rankings.figures(MEMORY, pairs)
      figures = {name: of_memory[name] for name in _OF_CLASS}
      bill = _bill_of(rankings, numbers, pairs, one_pass, distillation)
    else:
      figures = dict.fromkeys(_OF_CLASS)
      ones = [number for number, member in enumerate(members) if member.cost_class == 1] or range(len(members))
      bill = _scaled(_bill_of(rankings, ones, rankings.pairs, one_pass, distillation), cost_class)
    found.append({"cost_class": cost_class, "members": [members[number].name for number in numbers],
                  "measured": bool(numbers), **figures, **bill.summary()})
  return found


def _bill_of(rankings: Rankings, numbers: Sequence[int], pairs: Sequence[tuple[int, int]], one_pass: Cost,
             distillation: Cost) -> Bill:
  """The bill of the members with some numbers, whose order counts on some pairs."""

  def cost(source: str) -> Cost:
    trained = rankings.trained(source)
    counted = candidate_cost if source == MEMORY else training_cost
    return counted([trained[number] for number in numbers])

  rivals = [Rival(source, cost(source), rankings.agreement(source, pairs).share)
            for source in RIVALS if rankings.has(source)]
  return Bill(one_pass, distillation, cost(MEMORY), cost(LOG), rankings.agreement(MEMORY, pairs).share, rivals)


def _scaled(bill: Bill, factor: float) -> Bill:
  """The bill of candidates of so many times the operations, whose wall time was not measured."""

  def scaled(cost: Cost) -> Cost:
    return Cost(math.nan, cost.flops * factor)

  rivals = [Rival(rival.name, scaled(rival.training), rival.agreement) for rival in bill.rivals]
  return Bill(bill.one_pass, bill.distillation, scaled(bill.memory), scaled(bill.log), bill.agreement, rivals)
