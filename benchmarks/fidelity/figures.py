"""From the panel's predictions on the test examples to the figures of the fidelity benchmark; numpy only.

A source is what a member was trained on, see `benchmarks.fidelity.sources`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.fidelity.bills import panel_bill, pass_cost
from benchmarks.fidelity.rankings import FIGURES, Rankings
from benchmarks.fidelity.source_figures import source_figures
from benchmarks.fidelity.sources import EQUAL_COST, FROM_SCRATCH, LOG, MEMORY, OURS, RIVALS, START, STATIC, UNREFINED
from benchmarks.fidelity.trained import PanelMember, Scores, Trained
from diet_tf import metrics
from diet_tf.errors import DataError
from diet_tf.fidelity.bill import Cost
from diet_tf.fidelity.scores import components_of_seeds, of_seeds
from diet_tf.io.json_files import without_nan
from diet_tf.metrics import Estimate, PairedDifference


def seed_recoveries(memory_aucs: np.ndarray, log_aucs: np.ndarray) -> np.ndarray:
  """`[num_seeds]` float64 whose mean is the recovery of the mean AUCs, and whose spread gives its standard error.

  `r + ((m_s - 1/2) - r (l_s - 1/2)) / (mean(l) - 1/2)` for seed s, with `r` the recovery of the means: the delta
  method's linear form of a ratio of paired means (Cochran, Sampling Techniques, 1977, section 6.3). Unlike the mean of
  the seeds' own ratios it is not biased by the noise of the denominator, and it averages over members seed by seed.
  NaN where the log is no better than chance.

  Args:
    memory_aucs: `[num_seeds]` float64, the AUCs of trainings on the memory.
    log_aucs: `[num_seeds]` float64, the AUCs of trainings on the log with the same seeds.
  """
  ratio = metrics.recovery(float(memory_aucs.mean()), float(log_aucs.mean()))
  if math.isnan(ratio):
    return np.full(len(log_aucs), np.nan)
  lift = log_aucs - 0.5
  return ratio + (memory_aucs - 0.5 - ratio * lift) / lift.mean()


def seed_aucs(trained: Trained, labels: np.ndarray) -> np.ndarray:
  """The AUC of each training, as `[num_seeds]` float64."""
  return of_seeds(metrics.auc, labels, trained.logits)


def member_figures(scores: Scores, members: Sequence[PanelMember], labels: np.ndarray,
                   baselines: Sequence[str]) -> list[dict[str, Any]]:
  """Per member, its figures as JSON values; what cannot be computed is None.

  Standard errors (`se`, `*_se`) are over seeds; that of the recovery is the delta method's, paired over seeds (see
  `seed_recoveries`). `difference_to_log` and `gain_over` are the AUC on the memory less that on the log or baseline,
  paired over seeds and test examples (`metrics.paired_auc_difference`).

  Args:
    scores: trainings of every member on the log, the memory and all `baselines`, and on the rest of `OURS` where there
      are any.
    members: members of the panel.
    labels: `[num_test]` labels of the test examples, 0 or 1.
    baselines: sources of the baselines, in the order of tables.

  Raises:
    DataError: a training is missing, or its logits are not `[num_seeds, num_test]`.
  """
  _check(scores, members, labels, baselines)
  return [without_nan(_member(scores, member, labels, baselines)) for member in members]


def _member(scores: Scores, member: PanelMember, labels: np.ndarray, baselines: Sequence[str]) -> dict[str, Any]:
  trained = {source: scores[source, member.name] for source in (*OURS, *baselines) if (source, member.name) in scores}
  aucs = {source: seed_aucs(one, labels) for source, one in trained.items()}
  differences = _differences_of_memory(trained, labels, (LOG, *baselines))
  recovery = metrics.estimate(seed_recoveries(aucs[MEMORY], aucs[LOG]))
  figures: dict[str, Any] = {**dataclasses.asdict(member), "learning_rate": trained[LOG].learning_rate,
                             "log_epochs": trained[LOG].epochs, "recovery": recovery.mean,
                             "se": recovery.standard_error}
  for source in (LOG, MEMORY, START):
    figures |= _with_error(f"{source}_auc", aucs.get(source))
  for source in (LOG, MEMORY):
    figures[f"{source}_logloss"] = of_seeds(metrics.log_loss, labels, trained[source].logits).mean()
    figures |= _with_error(f"{source}_calibration", of_seeds(metrics.calibration, labels, trained[source].logits))
  errors = {source: metrics.estimate(aucs[source]) for source in baselines}
  return figures | {
      "baselines": {source: value.mean for source, value in errors.items()},
      "baseline_se": {source: value.standard_error for source, value in errors.items()},
      "baseline_logloss": {source: of_seeds(metrics.log_loss, labels, trained[source].logits).mean()
                           for source in baselines},
      "baseline_calibration": {source: of_seeds(metrics.calibration, labels, trained[source].logits).mean()
                               for source in baselines},
      "difference_to_log": _difference(differences[LOG]),
      "gain_over": {source: _difference(differences[source]) for source in baselines}}


def _differences_of_memory(trained: Mapping[str, Trained], labels: np.ndarray,
                           others: Sequence[str]) -> dict[str, PairedDifference]:
  memory = components_of_seeds(labels, trained[MEMORY].logits)
  # One source's components at a time: together they would be the largest arrays of the benchmark.
  return {source: metrics.paired_auc_difference(labels, memory, components_of_seeds(labels, trained[source].logits))
          for source in others}


def _with_error(name: str, per_seed: np.ndarray | None) -> dict[str, float]:
  """`name` and `name_se`, NaN where there is nothing to average."""
  value = Estimate(math.nan, math.nan) if per_seed is None else metrics.estimate(per_seed)
  return {name: value.mean, f"{name}_se": value.standard_error}


def _difference(difference: PairedDifference) -> dict[str, Any]:
  return {"mean": difference.mean, "standard_error": difference.standard_error, "resolved": difference.resolved}


@dataclasses.dataclass(frozen=True)
class _Panel:
  """What the summary of some members is computed from.

  Attributes:
    members: members that the summary is of.
    labels: `[num_test]` labels of the test examples, 0 or 1.
    aucs: `[num_seeds]` AUCs, by source and member's name.
    rankings: orders of the members.
    baselines: sources of the baselines.
  """

  members: Sequence[PanelMember]
  labels: np.ndarray
  aucs: Mapping[tuple[str, str], np.ndarray]
  rankings: Rankings
  baselines: Sequence[str]

  def mean_auc(self, source: str) -> np.ndarray | None:
    """The mean AUC over members, `[num_seeds]`; None if there are no trainings on the source."""
    if (source, self.members[0].name) not in self.aucs:
      return None
    return np.mean([self.aucs[source, member.name] for member in self.members], axis=0)

  def recoveries(self, members: Sequence[PanelMember]) -> np.ndarray:
    """`[num_members, num_seeds]`, see `seed_recoveries`."""
    return np.array([seed_recoveries(self.aucs[MEMORY, member.name], self.aucs[LOG, member.name])
                     for member in members])


def summary_figures(scores: Scores, members: Sequence[PanelMember], labels: np.ndarray, baselines: Sequence[str], *,
                    stage_wall_ratio: float, distillation: Cost) -> dict[str, Any]:
  """The figures of the panel as JSON values; what cannot be computed is None.

  All members count, variants too; the same figures of the ten architectures alone stand under `architectures_only`.
  Standard errors (`*_se`) are over seeds, of the panel's mean for each seed. Gains and gaps are differences of the
  panel's mean AUC: `refinement_gain` is memory less unrefined, `last_stage_gain` memory less the last stage's start,
  `static_gain` memory less static, `continual_gap` from_scratch less memory. `agreement_low` and `agreement_high` are
  the ends of the agreement's interval (`diet_tf.fidelity.agreement_interval`), over seeds that are distillations of
  their own here. `unseen_architecture_gap` is the mean recovery of the architectures (no variants) that were used as
  proxies less that of those that never were. The one baseline that `gain_over_best_*` compares with is the one with the
  highest mean AUC on the test itself, which can only understate the gain. The ratios of examples, FLOPs and seconds are
  the log's over the memory's, summed over the panel, one training each. What a search costs, and from how many
  trainings on the memory pays, is named by `diet_tf.fidelity.bill.Bill.summary`; `bill_with_choice` has the same where
  the choice of a training's settings counts on every side, not on the memory's alone. `sources` and `baselines` say how
  each source orders the members (`benchmarks.fidelity.source_figures`).

  Args:
    scores: trainings of every member on the log, the memory and all `baselines`, and on the rest of `OURS` where there
      are any.
    members: members of the panel.
    labels: `[num_test]` labels of the test examples, 0 or 1.
    baselines: sources of the baselines.
    stage_wall_ratio: wall time of the last stage over that of a training pass over the log, passed through.
    distillation: cost of making the memory, from which the bill follows.

  Raises:
    DataError: a training is missing, or its logits are not `[num_seeds, num_test]`.
  """
  architectures = [member for member in members if not member.variant]
  found = panel_figures(scores, members, labels, baselines)
  rankings, one_pass = Rankings(scores, [member.name for member in members], labels), pass_cost(scores, members)
  sources = source_figures(rankings, dict.fromkeys((*OURS, *baselines, *RIVALS)), one_pass)
  with_choice = panel_bill(rankings, one_pass, distillation, with_choice=True).summary()
  return without_nan({
      **found, **_cost_figures(scores, members), **panel_bill(rankings, one_pass, distillation).summary(),
      "distillation": dataclasses.asdict(distillation), "distillation_seconds": distillation.seconds,
      "stage_wall_ratio": stage_wall_ratio, "sources": sources,
      "baselines": {one["source"]: {name: one[name] for name in (*FIGURES, "mean_auc")} for one in sources
                    if one["source"] not in OURS},
      "bill_with_choice": with_choice,
      "architectures_only": panel_figures(scores, architectures, labels, baselines) if architectures else None})


def panel_figures(scores: Scores, members: Sequence[PanelMember], labels: np.ndarray,
                  baselines: Sequence[str] = ()) -> dict[str, Any]:
  """The figures of some members together, without what they cost: see `summary_figures`, whose arguments these are.

  Raises:
    DataError: a training is missing, or its logits are not `[num_seeds, num_test]`.
  """
  _check(scores, members, labels, baselines)
  aucs = {(source, member.name): seed_aucs(scores[source, member.name], labels)
          for source in (*OURS, *baselines) for member in members if (source, member.name) in scores}
  rankings = Rankings(scores, [member.name for member in members], labels)
  return without_nan(_panel_figures(_Panel(members, labels, aucs, rankings, baselines)))


def _panel_figures(panel: _Panel) -> dict[str, Any]:
  sources = {source: value for source in (*OURS, *panel.baselines) if (value := panel.mean_auc(source)) is not None}
  return {**_recovery_figures(panel), **_ranking_figures(panel), **_gain_figures(panel),
          "panel_mean_auc": {source: dataclasses.asdict(metrics.estimate(value)) for source, value in sources.items()}}


def _recovery_figures(panel: _Panel) -> dict[str, Any]:
  recoveries = panel.recoveries(panel.members)
  # A member whose recovery is undefined counts as the least: argmin finds NaN first.
  least = int(np.argmin(recoveries.mean(axis=1)))
  seen = [member for member in panel.members if member.used_as_proxy and not member.variant]
  unseen = [member for member in panel.members if not member.used_as_proxy and not member.variant]
  gap = panel.recoveries(seen).mean(axis=0) - panel.recoveries(unseen).mean(axis=0) if seen and unseen else None
  return {**_with_error("mean_recovery", recoveries.mean(axis=0)), "min_recovery": recoveries[least].mean(),
          "min_recovery_member": panel.members[least].name, **_with_error("unseen_architecture_gap", gap)}


def _ranking_figures(panel: _Panel) -> dict[str, Any]:
  found = panel.rankings.figures(MEMORY)
  return {**found, "agreement_interval": [found["agreement_low"], found["agreement_high"]]}


def _gain_figures(panel: _Panel) -> dict[str, Any]:
  figures: dict[str, Any] = {**_gain(panel, "refinement_gain", MEMORY, UNREFINED),
                             **_gain(panel, "last_stage_gain", MEMORY, START),
                             **_gain(panel, "static_gain", MEMORY, STATIC),
                             **_gain(panel, "continual_gap", FROM_SCRATCH, MEMORY)}
  for kind, equal_cost in ((EQUAL_COST, True), ("same_records", False)):
    best = _best(panel, [source for source in panel.baselines
                         if source not in OURS and is_equal_cost(source) == equal_cost])
    figures[f"best_{kind}_baseline"] = best
    figures |= _gain(panel, f"gain_over_best_{kind}_baseline", MEMORY, best)
  return figures


def _gain(panel: _Panel, name: str, first: str, second: str | None) -> dict[str, float]:
  values = panel.mean_auc(first), panel.mean_auc(second) if second else None
  return _with_error(name, None if values[0] is None or values[1] is None else values[0] - values[1])


def _best(panel: _Panel, sources: Sequence[str]) -> str | None:
  """The source with the highest mean AUC; among equals the first."""
  means = {source: value.mean() for source in sources if (value := panel.mean_auc(source)) is not None}
  return max(means, key=lambda source: means[source]) if means else None


def is_equal_cost(baseline: str) -> bool:
  """Whether a baseline was trained on as many examples as the memory, not on as many records."""
  return baseline.endswith(f"/{EQUAL_COST}")


def _cost_figures(scores: Scores, members: Sequence[PanelMember]) -> dict[str, Any]:
  costs = {source: {unit: sum(getattr(scores[source, member.name], unit) for member in members)
                    for unit in ("examples", "flops", "seconds")} for source in (LOG, MEMORY)}
  ratios = {name: _ratio(costs[LOG][unit], costs[MEMORY][unit])
            for name, unit in (("cost_ratio", "examples"), ("flops_ratio", "flops"), ("wall_ratio", "seconds"))}
  return {**ratios, "training_costs": costs}


def _ratio(log: float, memory: float) -> float:
  return log / memory if memory > 0 else math.nan


def _check(scores: Scores, members: Sequence[PanelMember], labels: np.ndarray, baselines: Sequence[str]) -> None:
  """Every needed training is there, and all of them can be paired by seed and test example."""
  if not members:
    raise DataError("panel", rule="it has at least one member.", received="none.", remedy="name its members.")
  needed = (LOG, MEMORY, *baselines)
  for source in dict.fromkeys((*needed, *OURS)):
    missing = [member.name for member in members if (source, member.name) not in scores]
    # A mean over some members cannot be set against one over others.
    if missing and (source in needed or len(missing) < len(members)):
      raise DataError(f"trainings on {source}", rule="there is one for every member of the panel.",
                      received=f"none of {', '.join(missing)}.", remedy="train the whole panel on it.")
    if not missing:
      _check_shapes({member.name: scores[source, member.name].logits for member in members}, source,
                    (len(scores[LOG, members[0].name].logits), len(labels)))


def _check_shapes(logits: Mapping[str, np.ndarray], source: str, shape: tuple[int, int]) -> None:
  for name, one in logits.items():
    if one.shape != shape:
      raise DataError(f"logits of {name} on {source}",
                      rule="they are [num_seeds, num_test], with the seeds and test examples of all trainings.",
                      received=f"{list(one.shape)} against {list(shape)}.",
                      remedy="train and test every member with the same seeds and examples.")
