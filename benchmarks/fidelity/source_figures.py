"""What a training on each source costs, and how well it orders the panel; numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.fidelity.bills import candidate_cost, training_cost
from benchmarks.fidelity.rankings import Rankings
from benchmarks.fidelity.trained import Trained
from diet_tf import metrics
from diet_tf.fidelity.bill import Cost


def source_figures(rankings: Rankings, sources: Iterable[str], one_pass: Cost) -> list[dict[str, Any]]:
  """Per source, its costs in passes, its mean AUC, and how it orders the members (`Rankings.figures`).

  `training_passes` is the cost of one training, `candidate_passes` that of a training with the choice of its settings
  on held-back rows, each the mean over members, by `flops` and by `wall` time. `start_seconds` is the time in neither:
  for building a model and tracing its graphs, which all trainings of a process have in common.

  Args:
    rankings: orders of the panel's members.
    sources: names of the sources; one that some member was not trained on is left out.
    one_pass: cost of a pass.
  """
  found = []
  for source in sources:
    if rankings.has(source):
      trained = rankings.trained(source)
      mean = metrics.estimate(_aucs(rankings, source, trained).mean(axis=0))
      found.append({"source": source, "training_passes": _in_passes(training_cost(trained), one_pass),
                    "candidate_passes": _in_passes(candidate_cost(trained), one_pass), "mean_auc": mean.mean,
                    "mean_auc_se": mean.standard_error,
                    "start_seconds": float(np.mean([one.start_seconds for one in trained])),
                    **rankings.figures(source)})
  return found


def _aucs(rankings: Rankings, source: str, trained: Sequence[Trained]) -> np.ndarray:
  """`[num_members, num_seeds]` AUCs: the standings without the rungs of a search."""
  standings = rankings.standings(source)
  return standings - np.array([np.zeros(standings.shape[1]) if one.rungs is None else one.rungs for one in trained])


def _in_passes(cost: Cost, one_pass: Cost) -> dict[str, float]:
  return {"flops": cost.flops / one_pass.flops, "wall": cost.seconds / one_pass.seconds}
