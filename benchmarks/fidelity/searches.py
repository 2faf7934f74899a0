"""Searches that give up candidates on their way: successive halving, and a full pass that is stopped early.

They rank members by trainings that the sub-samples have made, so that nothing is trained for them. Whom a search gives
up is decided for each seed by the test examples, on which all other sources rank members too. A platform would decide
on examples of its own, which can only do worse here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.fidelity.sources import EARLY_STOPPINGS, HALVINGS
from benchmarks.fidelity.trained import Choosing, PanelMember, Scores, Trained
from diet_tf import metrics
from diet_tf.fidelity.scores import components_of_seeds, of_seeds

# Maps the members that are left, by number, to those that go on; of a rung's source and a seed.
GoOn = Callable[[Sequence[int]], list[int]]


def searches(scores: Scores, members: Sequence[PanelMember], labels: np.ndarray) -> dict[tuple[str, str], Trained]:
  """The outcome of every search for which each member was trained on all rungs, by source and member.

  Successive halving (Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
  AISTATS 2016) trains all members on the smallest sub-sample, and the better half, rounded up, anew on each larger one,
  until one is left. Early stopping trains all members on the log, and stops each as soon as it is worse than the best
  of those that are left, resolved at 95 % over the test examples, or the only one.

  A member's logits are those of its last training, its rung says how far it came, and its cost is what all its
  trainings took: of a halving, each rung with its choice of a rate; of an early stopping, the last rung with its choice
  alone, since a pass that goes on is not begun anew. `examples`, `flops` and `seconds` are means over the seeds.

  Args:
    scores: trainings by source and member's name.
    members: members that are searched among; others than these would be other searches.
    labels: `[num_test]` labels of the test examples, 0 or 1.
  """
  found: dict[tuple[str, str], Trained] = {}
  for named, go_on, from_anew in ((HALVINGS, _better_half, True), (EARLY_STOPPINGS, _not_worse, False)):
    for name, rungs in named.items():
      if all((rung, member.name) in scores for rung in rungs for member in members):
        trained = [[scores[rung, member.name] for member in members] for rung in rungs]
        outcome = _outcomes(trained, functools.partial(go_on, labels), from_anew=from_anew)
        found |= {(name, member.name): one for member, one in zip(members, outcome, strict=True)}
  return found


def _better_half(labels: np.ndarray, trained: Sequence[Trained], seed: int) -> GoOn:
  aucs = [float(of_seeds(metrics.auc, labels, one.logits[seed:seed + 1])[0]) for one in trained]

  def go_on(left: Sequence[int]) -> list[int]:
    # A stable sort: of equals, the member that stands first in the panel.
    return sorted(left, key=lambda member: -aucs[member])[:(len(left) + 1) // 2]

  return go_on


def _not_worse(labels: np.ndarray, trained: Sequence[Trained], seed: int) -> GoOn:
  components = [components_of_seeds(labels, one.logits[seed:seed + 1]) for one in trained]

  def go_on(left: Sequence[int]) -> list[int]:
    best = max(left, key=lambda member: float(components[member].mean()))
    differences = {member: metrics.paired_auc_difference(labels, components[member], components[best])
                   for member in left if member != best}
    return [member for member in left
            if member == best or not (differences[member].resolved and differences[member].mean < 0)]

  return go_on


def _outcomes(trained: Sequence[Sequence[Trained]], go_on: Callable[[Sequence[Trained], int], GoOn], *,
              from_anew: bool) -> list[Trained]:
  """The outcome of a search for each member.

  Args:
    trained: trainings by rung and member.
    go_on: function that decides, from a rung's trainings and the number of a seed, which members go on.
    from_anew: whether each rung begins a training of its own, or goes on with that of the rung before.
  """
  num_members, num_seeds = len(trained[0]), len(trained[0][0].logits)
  rungs = np.zeros((num_members, num_seeds), np.int64)
  for seed in range(num_seeds):
    left: Sequence[int] = range(num_members)
    for rung, of_members in enumerate(trained):
      rungs[left, seed] = rung
      if rung + 1 < len(trained):
        left = go_on(of_members, seed)(left)
      if len(left) == 1:
        break
  return [_outcome([of_members[member] for of_members in trained], rungs[member], from_anew=from_anew)
          for member in range(num_members)]


def _outcome(of_rungs: Sequence[Trained], rungs: np.ndarray, *, from_anew: bool) -> Trained:
  paid = [of_rungs[:rung + 1] if from_anew else [of_rungs[rung]] for rung in rungs]

  def mean(cost: Callable[[Trained], float]) -> float:
    return float(np.mean([sum(map(cost, of_seed)) for of_seed in paid]))

  return Trained(
      logits=np.stack([of_rungs[rung].logits[seed] for seed, rung in enumerate(rungs)]), learning_rate=None, epochs=1,
      examples=round(mean(lambda one: one.examples)), flops=mean(lambda one: one.flops),
      seconds=mean(lambda one: one.seconds),
      choosing=Choosing(round(mean(lambda one: one.choosing.examples)), mean(lambda one: one.choosing.flops),
                        mean(lambda one: one.choosing.seconds)),
      start_seconds=of_rungs[0].start_seconds, rungs=rungs)


def of_members(scores: Scores, members: Sequence[PanelMember]) -> Mapping[tuple[str, str], Trained]:
  """The trainings on the sources that every one of the members was trained on, and of these members alone."""
  names = {member.name for member in members}
  sources = {source for source, _ in scores}
  common = {source for source in sources if all((source, name) in scores for name in names)}
  return {key: one for key, one in scores.items() if key[0] in common and key[1] in names}
