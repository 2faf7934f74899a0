"""What rankings by rivals of the memory cost and how well they agree with the log's; numpy only.

A *pass* is one epoch over the log's rows at the reference's batch size, the mean over the panel's ten architectures. A
*training* is one training of a member on a source. A *candidate* is a training with the choice of its settings on
held-back rows, which the log and every rival need as well: a few more trainings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.fidelity.sources import LOG, MEMORY, RIVALS
from benchmarks.fidelity.trained import PanelMember, Scores, Trained
from diet_tf import metrics
from diet_tf.fidelity.scores import components_of_seeds


@dataclasses.dataclass(frozen=True)
class Cost:
  """A cost in both units.

  Attributes:
    flops: floating-point operations of forward and backward passes, estimated.
    seconds: wall time, without building and tracing.
  """

  flops: float
  seconds: float

  def in_passes(self, one_pass: Cost) -> dict[str, float]:
    """The cost in passes, by unit."""
    return {"flops": self.flops / one_pass.flops, "wall": self.seconds / one_pass.seconds}


def pass_cost(scores: Scores, members: Sequence[PanelMember]) -> Cost:
  """What a pass costs, as measured in the trainings on the log."""
  on_log = [scores[LOG, member.name] for member in members if not member.variant]
  return Cost(float(np.mean([one.epoch_flops for one in on_log])),
              float(np.mean([one.epoch_seconds for one in on_log])))


def training_cost(trained: Sequence[Trained]) -> Cost:
  """The cost of a training, the mean over members."""
  return Cost(float(np.mean([one.flops for one in trained])), float(np.mean([one.seconds for one in trained])))


def candidate_cost(trained: Sequence[Trained]) -> Cost:
  """The cost of a training with the choice of its settings, the mean over members."""
  return Cost(float(np.mean([one.flops + one.choosing.flops for one in trained])),
              float(np.mean([one.seconds + one.choosing.seconds for one in trained])))


def source_figures(scores: Scores, members: Sequence[PanelMember], labels: np.ndarray) -> list[dict[str, Any]]:
  """Per source, the log and the memory before the rivals: its costs in passes, mean AUC, and how it orders the members.

  `agreement` and `regret` are those of the order by the means over seeds, as of the memory; `agreement_of_seeds` and
  `regret_of_seeds` are means over the orders that each seed gives, which is what a user has of one sub-sample. Members
  that a search gave up rank below those that went on.

  Args:
    scores: trainings by source and member's name; a source that some member was not trained on is left out.
    members: members of the panel.
    labels: `[num_test]` labels of the test examples, 0 or 1.
  """
  names = [member.name for member in members]
  one_pass = pass_cost(scores, members)
  pairs = metrics.resolved_pairs(labels, [components_of_seeds(labels, scores[LOG, name].logits, np.float32)
                                          for name in names])
  log = [float(scores[LOG, name].standings(labels).mean()) for name in names]
  found = []
  for source in (LOG, MEMORY, *RIVALS):
    if not all((source, name) in scores for name in names):
      continue
    trained = [scores[source, name] for name in names]
    standings = np.array([one.standings(labels) for one in trained])
    aucs = standings if trained[0].rungs is None else standings - [one.rungs for one in trained]
    found.append({
        "source": source, "training_passes": training_cost(trained).in_passes(one_pass),
        "candidate_passes": candidate_cost(trained).in_passes(one_pass), "mean_auc": float(aucs.mean()),
        "agreement": metrics.agreement_on(pairs, log, standings.mean(axis=1)).share,
        "regret": metrics.regret(log, standings.mean(axis=1)),
        "agreement_of_seeds": float(np.mean([metrics.agreement_on(pairs, log, one).share for one in standings.T])),
        "regret_of_seeds": float(np.mean([metrics.regret(log, one) for one in standings.T]))})
  return found
