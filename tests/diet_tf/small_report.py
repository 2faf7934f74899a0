"""A report made by hand: every figure in it can be checked with a pencil."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from diet_tf.fidelity.bill import Cost as BothUnits
from diet_tf.fidelity.grouping import Grouping
from diet_tf.fidelity.member_fidelity import MemberFidelity, Training
from diet_tf.fidelity.metric_result import MemberByMetric, MetricFigures, MetricResult, MetricScope
from diet_tf.fidelity.panel_metrics import PanelMetric
from diet_tf.fidelity.result import Cost, FidelityResult
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.row_counts import EQUAL_ROWS, RowCounts, RowTally
from diet_tf.memory.manifest import Manifest
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.metrics import Agreement, PairedDifference
from diet_tf.report import run_report as report
from diet_tf.report.histogram import INFLUENCE_EDGES, Histogram
from diet_tf.report.stage_record import StageRecord, StageSummary
from tests.diet_tf.small_slots import small_slots

SPEC = FeatureSpec((Field("user", "user", hash_ids=8), Field("genre", "genre", vocabulary_ids=6),
                    Field("price", "price", boundaries=(4.0, 9.0))), Label("click"))
VOCABULARIES = {"genre": ["drama", "=1+1", "noir"]}
# Two trainings on the log take 2 s in all, on the memory 0.2 s; the three pipeline runs 12 s each. One architecture
# saves 0.9 s: the memory pays from 36 / 0.9 = 40 architectures on.
BREAK_EVEN = 40
SETTINGS = {"seed": 0, "members": ("lr", "dnn")}
COMMANDS = ("diet demo",)


def make_training(auc: float, rate: float | None, seeds: int = 2, flops: float = 1e9, seconds: float = 0.5) -> Training:
  aucs = tuple(auc + 0.002 * number for number in range(seeds))
  return Training(aucs, tuple(1 - value for value in aucs), (1.0,) * seeds, rate, 2, 1000, flops, seconds)


def make_result(name: str = "dnn", seeds: int = 2, soft: bool = True, share: float = 1.0) -> FidelityResult:
  members = []
  for member, auc in (("lr", 0.71), (name, 0.73)):
    trainings = {"log": make_training(auc, 1e-3, seeds, 5e8, 1.0),
                 "memory": make_training(auc - 0.01, None, seeds, 2e7, 0.1),
                 "random_hard": make_training(auc - 0.1, 1e-2, seeds)}
    differences = {"log": PairedDifference(-0.01, 0.001, 0.002), "random_hard": PairedDifference(0.09, 0.01, 0.02)}
    if soft:
      trainings["random_soft"] = make_training(auc - 0.05, 3e-3, seeds)
      differences["random_soft"] = PairedDifference(0.04, math.nan, math.inf)
    members.append(MemberFidelity(member, trainings, differences, PairedDifference(auc - 0.499, 0.01, 0.02)))
  cost = Cost({"log": 5000, "memory": 50, "test": 900},
              {"log": 4000, "memory": 200, "log_raw": 9000, "memory_raw": 600},
              {"log": 5000, "memory": 100}, {"log": 1e9, "memory": 4e7}, {"log": 2.0, "memory": 0.2})
  return FidelityResult(tuple(members), Agreement(share, 1, 1, 1.0), cost, tuple(range(seeds)), spans=(1, 2, 3),
                        memory_uri="store/data/1", differences=members[0].differences, num_test_clicks=63,
                        rows={span: make_rows() for span in (1, 2)}, resolved_pairs=((0, 1),),
                        distillation=BothUnits(36.0, 21e9))


def make_by_metric(result: FidelityResult, name: str, worth: Mapping[str, Mapping[str, float]]) -> FidelityResult:
  """The result with another metric that ranks it; `worth` has the metric's value by member and kind of training."""
  members = tuple(MemberByMetric(
      member, {kind: MetricFigures((value, value + 0.02), 0.03, 0.04) for kind, value in of_kinds.items()},
      {"log": PairedDifference(-0.02, 0.01, 0.025)}) for member, of_kinds in worth.items())
  scope = MetricScope(PanelMetric.of(name), 120, 30, 70) if "@" in name or name == "gauc" else MetricScope(
      PanelMetric.of(name), 900, 0, 0)
  found = MetricResult(scope, members, Agreement(0.0, 1, 1, -1.0, 0.0, 0.5), ((0, 1),))
  return result.replace(by_metric={name: found}, agreement=found.agreement, settings={"metric": name, "group": "user"},
                        grouping=Grouping("user", 150, 5, 0.125) if scope.metric.within_groups else None)


def make_rows() -> RowCounts:
  """Of 2,010 rows two hundred were clicked: eight are broken, one of them clicked, and two dropped."""
  return RowCounts(RowTally(2010, 2004, 200), RowTally(2000, 2000, 199),
                   {"label 'click' is missing": RowTally(6), "<b> is not a number": RowTally(2, 2, 1)},
                   {EQUAL_ROWS: RowTally(2, 2, 0)}, RowTally(30, 30, 4),
                   ("Field '<i>' has the same id in all rows, and says nothing.",))


def make_good_result() -> FidelityResult:
  """A result with enough resolved pairs, as a panel of more members has them: 24 of 28, of which 23 are kept."""
  return make_result(soft=False).replace(agreement=Agreement(23 / 24, 24, 28, 0.9, 0.875, 1.0))


def make_manifest() -> Manifest:
  return Manifest(SPEC.to_dict(), SPEC.digest(), 3, 50, 5000, dict.fromkeys(SPEC.names, 2), {"fraction": 0.01},
                  Recipe(step_multipliers=(1.0, 0.25)), lineage=({"span": 2, "digest": "ab" * 32},),
                  versions={"diet-tf": "0.1.0"})


def make_slots() -> Slots:
  """Fifty slots; number 7 is the heaviest, of genre drama and noir, price 4 to 9 and user hash 3."""
  born = np.repeat([1, 2, 3], [20, 20, 10])
  updated = np.where(np.arange(50) % 2, 3, born)
  ids, weights = np.ones([50, 3, 2]), np.zeros([50, 3, 2])
  weights[:, :, 0] = 1
  ids[7], weights[7, 1] = [[3, 0], [4, 2], [2, 0]], [0.25, 0.75]
  sample_weights = np.where(np.arange(50) == 7, 2.0, 48 / 49)
  return small_slots(ids, weights, labels=np.linspace(0, 1, 50), sample_weights=sample_weights, born_spans=born,
                     updated_spans=updated, influences=np.linspace(-0.01, 0.01, 50), spec=SPEC)


def make_stages() -> list[StageRecord]:
  verdict = {"chosen": "refined", "losses": {"refined": 0.6, "start": 0.65}, "differences": {"start": -0.05},
             "standard_errors": {"start": 0.01}}
  stages = []
  for span in (1, 2, 3):
    summary = StageSummary(span, 2000, 50, {"freeze": 20, "update": 15, "replace": 5, "add": 15}, (0.7, 0.65, 0.6),
                           verdict, {"pipeline run": 12.0}, {"refinement": 6e9, "gate": 1e9})
    stages.append(StageRecord(summary, {span: {"changed": 50, "kept": 0}}, 0.61, dict.fromkeys(SPEC.names, 0.5),
                              Histogram.of(np.linspace(-0.1, 0.1, 40), INFLUENCE_EDGES), make_rows()))
  return stages


def render(result: FidelityResult | None = None, **changes: Any) -> str:
  """The page, with parts of it changed."""
  coverage = {"log": {"user": 1.0, "genre": 0.875, "price": 0.75}, "test": {"user": 0.9, "genre": 0.5, "price": 0.7}}
  parts = {"manifest": make_manifest(), "slots": make_slots(), "stages": make_stages(), "vocabularies": VOCABULARIES,
           "coverage": coverage, "settings": SETTINGS, "commands": COMMANDS, **changes}
  return report.render_report(result or make_result(), **parts)
