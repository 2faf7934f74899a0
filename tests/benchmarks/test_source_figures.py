"""Costs in passes and orders of the panel, by hand."""

import numpy as np
import pytest

from benchmarks.fidelity.bills import pass_cost
from benchmarks.fidelity.rankings import Rankings
from benchmarks.fidelity.source_figures import source_figures
from benchmarks.fidelity.sources import LOG, MEMORY, RIVALS, UNREFINED
from benchmarks.fidelity.trained import Choosing, PanelMember, Trained
from tests.benchmarks.test_searches import clicks

MEMBERS = [PanelMember("good", True, False), PanelMember("bad", False, False)]
UNIFORM, SEARCH = "sample/uniform/1_5", "halving/1_10"


def test_costs_are_in_passes_and_orders_are_judged_on_the_resolved_pairs():
  labels, good = clicks(3.0)
  bad = clicks(0.5)[1]

  def trained(cost, first, second=None, **more):
    return Trained(np.stack([first, first if second is None else second]), 0.01, 1, 1, 100.0 * cost, 2.0 * cost, **more)

  scores = {
      # Two passes each: a pass is 100 FLOPs and 2 seconds.
      (LOG, "good"): Trained(np.stack([good, good]), 0.01, 2, 1, 200.0, 4.0, Choosing(1, 600.0, 16.0)),
      (LOG, "bad"): Trained(np.stack([bad, bad]), 0.01, 2, 1, 200.0, 4.0, Choosing(1, 600.0, 16.0)),
      (MEMORY, "good"): trained(0.02, good, start_seconds=3.0), (MEMORY, "bad"): trained(0.04, bad, start_seconds=5.0),
      # The second seed has the order wrong, the mean is right.
      (UNIFORM, "good"): trained(0.2, good, bad), (UNIFORM, "bad"): trained(0.2, bad, bad + 1e-3 * labels),
      # The search gave up the good one.
      (SEARCH, "good"): trained(0.1, good, rungs=np.array([0, 0])),
      (SEARCH, "bad"): trained(0.3, bad, rungs=np.array([1, 1])), ("sample/users/1_5", "good"): trained(0.2, good)}
  rankings = Rankings(scores, [member.name for member in MEMBERS], labels)
  log, memory, uniform, search = source_figures(rankings, (LOG, MEMORY, UNREFINED, *RIVALS), pass_cost(scores, MEMBERS))
  assert [one["source"] for one in (log, memory, uniform, search)] == [LOG, MEMORY, UNIFORM, SEARCH]
  assert log["training_passes"] == {"flops": 2, "wall": 2} and log["candidate_passes"] == {"flops": 8, "wall": 10}
  assert memory["training_passes"] == memory["candidate_passes"] == pytest.approx({"flops": 0.03, "wall": 0.03})
  assert (memory["start_seconds"], log["start_seconds"]) == (4.0, 0.0)
  assert search["training_passes"] == pytest.approx({"flops": 0.2, "wall": 0.2})
  assert [one["agreement"] for one in (log, memory, uniform, search)] == [1, 1, 1, 0]
  assert [one["agreement_of_seeds"] for one in (log, memory, uniform, search)] == [1, 1, 0.5, 0]
  assert search["mean_auc"] == pytest.approx(log["mean_auc"]) and search["regret"] > 0.1 > memory["regret"] == 0
