"""The bill of a panel, and how random rows order its members, from the members' trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diet_tf import metrics
from diet_tf.fidelity.bill import UNITS, Bill, Cost, Rival, mean_cost
from diet_tf.fidelity.member_fidelity import MemberFidelity, Training
from diet_tf.fidelity.result_format import LOG, MEMORY
from diet_tf.fidelity.verdict import RANDOM_HARD, RANDOM_SOFT


def mean_aucs(members: Sequence[MemberFidelity], kind: str) -> list[float]:
  """The AUC of each member after training on a kind of data, the mean over seeds."""
  return [member.trainings[kind].auc.mean for member in members]


def baselines_of(members: Sequence[MemberFidelity],
                 pairs: Sequence[tuple[int, int]] | None) -> dict[str, dict[str, float]]:
  """How random rows order the members by the AUC, by their kind: agreement, tau-b, regret@1 and regret@3.

  Args:
    members: members of the panel.
    pairs: pairs of members that are resolved on the log; None, where they are not known, gives no agreement.
  """
  log = mean_aucs(members, LOG)
  return {kind: ranking_of(log, mean_aucs(members, kind), pairs or ()) for kind in (RANDOM_HARD, RANDOM_SOFT)
          if all(kind in member.trainings for member in members)}


def ranking_of(log: Sequence[float], other: Sequence[float], pairs: Sequence[tuple[int, int]]) -> dict[str, float]:
  """How something orders members beside the log: agreement, tau-b, regret@1 and regret@3.

  Args:
    log: per member, what it comes to after training on the log, more being better.
    other: the same after training on something else.
    pairs: pairs of members that are resolved on the log.
  """
  agreement = metrics.agreement_on(pairs, log, other)
  return {"agreement": agreement.share, "kendall_tau_b": agreement.tau_b, "regret": metrics.regret(log, other),
          "regret_at_3": metrics.regret(log, other, 3)}


def bill_of(members: Sequence[MemberFidelity], agreement: float, baselines: Mapping[str, Mapping[str, float]],
            distillation: Cost) -> Bill:
  """What many trainings cost on the memory, the log, and random rows with their clicks, the panel's only rival.

  A search trains each architecture once, so that its own rates on a memory are chosen for a single training.

  Args:
    members: members of the panel.
    agreement: agreement of the memory.
    baselines: how random rows order the members, see `baselines_of`.
    distillation: cost of making the memory.
  """

  def mean(kind: str) -> Cost:
    return mean_cost([_cost(member.trainings[kind]) for member in members])

  one_pass = mean_cost([_cost(member.trainings[LOG]).times(1 / member.trainings[LOG].epochs) for member in members])
  rivals = [Rival(kind, mean(kind), figures["agreement"]) for kind, figures in baselines.items()
            if kind == RANDOM_HARD]
  return Bill(one_pass, distillation, mean(MEMORY), mean(LOG), agreement, rivals)


def _cost(training: Training) -> Cost:
  """The cost of one training, with the choice of its own rates on a memory."""
  return Cost(*(getattr(training, unit) + (0.0 if training.rates is None else getattr(training.rates, unit))
                for unit in UNITS))
