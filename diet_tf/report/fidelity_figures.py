"""Figures and tables of the fidelity of a memory, of its cost, and of both over spans."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from diet_tf.fidelity.bill import Bill
from diet_tf.fidelity.break_even import BreakEven, duration, unit_of
from diet_tf.fidelity.member_fidelity import Training
from diet_tf.fidelity.metric_result import MetricResult
from diet_tf.fidelity.panel_metrics import AUC, LOG_LOSS, PanelMetric
from diet_tf.fidelity.result import KINDS, LOG, MEMORY, FidelityResult
from diet_tf.metrics import Estimate, PairedDifference
from diet_tf.report import bar_charts, line_charts, point_charts
from diet_tf.report.axes import Measured, round_count
from diet_tf.report.figures import Cell, Data, Figure, SortedTable, data
from diet_tf.report.stage_record import StageRecord

KIND_NAMES = {"log": "whole log", "memory": "memory", "random_hard": "random rows, clicks",
              "random_soft": "random rows, teacher's labels"}
TEACHER = "teacher"
# The slider reaches at least this far.
_LEAST_ARCHITECTURES = 100


def kinds_of(result: FidelityResult) -> list[str]:
  """What the panel was trained on, in the order of tables."""
  return [kind for kind in KINDS if any(kind in member.trainings for member in result.members)]


def memory_against_log(members: Iterable[tuple[str, tuple, tuple]], metric: str = "auc") -> Data:
  """A metric of each member after training on the log, and after training on the memory.

  Args:
    members: per member its name, and the mean and the standard error of the metric on either.
    metric: name of the metric.
  """
  columns = (f"{kind}_{metric}{suffix}" for kind in (LOG, MEMORY) for suffix in ("", "_se"))
  return data("memory_against_log", ("member", *columns),
              [(name, *log, *memory) for name, log, memory in members])


def scatter(result: FidelityResult) -> Figure:
  """The panel's metric on the log against the same on the memory, one point per member."""
  estimates = {kind: [_measured(found) for found in result.ranked_by(kind) if found is not None]
               for kind in (LOG, MEMORY)}
  names = [member.name for member in result.members]
  return Figure(
      "scatter", "Memory against log", f"{result.metric.title} on the test span, one point per member; bars are one "
      f"standard error over {_noise(result)}. On the dashed line memory and log are equal.",
      point_charts.scatter(names, estimates[LOG], estimates[MEMORY], result.metric.title),
      memory_against_log(zip(names, estimates[LOG], estimates[MEMORY], strict=True), result.metric.name))


def _noise(result: FidelityResult) -> str:
  """What the standard errors of the panel's metric are over."""
  if result.metric.kind == AUC:
    return "seeds"
  return f"seeds and {result.by_metric[result.metric.name].scope.units}"


def dots(result: FidelityResult) -> Figure:
  """The panel's metric of each member by what it was trained on."""
  kinds, name = kinds_of(result), result.metric.name
  estimates = {kind: result.ranked_by(kind) for kind in kinds}
  found = {member.name: {kind: _measured(one) for kind in kinds if (one := estimates[kind][number]) is not None}
           for number, member in enumerate(result.members)}
  marks = {member: dict(reversed(of_member.items())) for member, of_member in found.items()}
  rows = [(member, kind, *value) for member, of_member in found.items() for kind, value in of_member.items()]
  return Figure(
      "kinds", "By what a model is trained on", f"{result.metric.title} on the test span; bars are one standard error "
      f"over {_noise(result)}. Random rows are as many as the memory has slots, with their learning rate and epochs "
      f"selected on held-back examples. {result.passes_text()}",
      point_charts.dot_plot(marks), data(f"{name}_by_training", ("member", "trained_on", name, f"{name}_se"), rows),
      tuple((kind, KIND_NAMES[kind]) for kind in kinds), axis=result.metric.title)


def fidelity_data(result: FidelityResult) -> Data:
  """Every figure of the panel, one row per member and kind of training."""
  rows = [(member.name, kind, *_measured(training.auc), *_measured(training.log_loss), training.calibration.mean,
           member.recovery if kind == MEMORY else None, training.learning_rate, training.epochs,
           *(value for found in result.by_metric.values()
             for value in _measured(found.members[number].trainings[kind].estimate)))
          for number, member in enumerate(result.members) for kind, training in member.trainings.items()]
  return data("fidelity", ("member", "trained_on", "auc", "auc_se", "log_loss", "log_loss_se", "calibration",
                           "recovery", "learning_rate", "epochs",
                           *(f"by_{name}{suffix}" for name in result.by_metric for suffix in ("", "_se"))), rows)


def fidelity_tables(result: FidelityResult) -> list[SortedTable]:
  """The panel's tables: AUC with recovery, differences, log loss, what each training was set to, and other metrics."""
  kinds = kinds_of(result)
  names = tuple(KIND_NAMES[kind] for kind in kinds)
  others = [kind for kind in kinds if kind != MEMORY]
  seeds = ", mean ± standard error over seeds" if len(result.seeds) > 1 else ""
  aucs, losses, choices, differences = [], [], [], []
  for member in result.members:
    name, trainings = Cell(member.name), [member.trainings.get(kind) for kind in kinds]
    aucs.append((name, *(_estimate(training.auc if training else None) for training in trainings),
                 Cell("–" if math.isnan(member.recovery) else f"{member.recovery:.3f}", member.recovery)))
    losses.append((name, *(_estimate(training.log_loss if training else None) for training in trainings)))
    choices.append((name, *map(_choice, trainings)))
    differences.append((name, *(_difference(member.differences.get(kind)) for kind in others)))
  return [
      SortedTable(f"AUC{seeds}; recovery is the memory's lift over 0.5 as a share of the log's, where that is "
                  "more than noise",
                  ("member", *names, "recovery"), tuple(aucs)),
      SortedTable("AUC on the memory less AUC on the other, with the 95 % margin, paired over seeds and test examples",
                  ("member", *(KIND_NAMES[kind] for kind in others)), tuple(differences)),
      # Asked for by name, it has a table with the noise of rows too.
      *([] if LOG_LOSS in result.by_metric else [SortedTable("Log loss", ("member", *names), tuple(losses))]),
      SortedTable("Learning rate × epochs", ("member", *names), tuple(choices)),
      *(table for found in result.by_metric.values() for table in _metric_tables(found, kinds))]


def _metric_tables(found: MetricResult, kinds: Sequence[str]) -> list[SortedTable]:
  """A metric of each member by what it was trained on, and how the memory differs from the others by it."""
  units = found.scope.units
  others = [kind for kind in kinds if kind != MEMORY]
  values = tuple((Cell(member.name), *(_estimate(training.estimate if training else None)
                                       for training in map(member.trainings.get, kinds))) for member in found.members)
  differences = tuple((Cell(member.name), *(_difference(member.differences.get(kind)) for kind in others))
                      for member in found.members)
  return [
      SortedTable(f"{found.metric.title}, mean ± standard error over seeds and {units}",
                  ("member", *(KIND_NAMES[kind] for kind in kinds)), values),
      SortedTable(f"{found.metric.title} on the memory less {found.metric.title} on the other, with the 95 % margin, "
                  f"paired over seeds and {units}", ("member", *(KIND_NAMES[kind] for kind in others)), differences)]


def over_spans(history: Sequence[FidelityResult]) -> Figure:
  """Recovery and agreement of the memories that were evaluated, by the last span of each."""
  results = sorted((result for result in history if result.spans), key=lambda result: result.spans[-1])
  nan = float("nan")
  # Agreements by other metrics, as the settings were before, are of something else.
  metric = results[-1].metric if results else PanelMetric.of(AUC)
  agreements = {result.spans[-1]: result.agreement.share if result.metric == metric else nan for result in results}
  series = {"recovery": {result.spans[-1]: (result.recovery, nan) for result in results if result.recoveries},
            "agreement": {span: (share, nan) for span, share in agreements.items() if not math.isnan(share)}}
  series = {name: values for name, values in series.items() if values}
  rows = [(result.spans[-1], result.recovery, agreements[result.spans[-1]], result.agreement.num_resolved,
           result.cost.records[MEMORY], result.cost.cost_ratio) for result in results]
  return Figure(
      "spans", "Fidelity over spans", "Mean recovery of the panel, and the share of resolved pairs that the memory "
      f"orders{'' if metric.kind == AUC else f' by {metric.title}'} as the log does, of each memory that was "
      "evaluated, by the last span that it has seen.",
      line_charts.trend(series) if len(results) > 1 and series else None,
      data("fidelity_over_spans", ("span", "recovery", "agreement", "resolved_pairs", "slots", "cost_ratio"), rows),
      axis="last span of the memory", missing="One memory was evaluated so far. Evaluate after later spans too, and "
      "their figures stand here beside one another." if len(results) < 2 else "Nothing to show: no model trained on "
      "the log was better than chance, and no two differed by more than the noise.")


def gate_losses(stages: Sequence[StageRecord]) -> Figure:
  """The losses that the gate compared, by span."""
  series: dict[str, dict[int, Measured]] = {}
  errors: Mapping[str, float]
  for stage in stages:
    verdict = stage.summary.verdict or {}
    errors = verdict.get("standard_errors", {})
    for name, loss in verdict.get("losses", {}).items():
      if not math.isfinite(loss):
        continue  # A training that diverged has no place in a chart; the gate's table says so.
      series.setdefault(name, {})[stage.summary.span] = (loss, errors.get(name, math.nan))
    if verdict and stage.teacher_loss is not None:
      series.setdefault(TEACHER, {})[stage.summary.span] = (stage.teacher_loss, math.nan)
  rows = sorted((span, name, loss, error) for name, values in series.items()
                for span, (loss, error) in values.items())
  return Figure(
      "gate-losses", "Held-back loss over spans", "Cross-entropy on the held-back part of each span, of models trained "
      "on the refined memory, on the start before refinement and on the memory before; and of the teacher before it "
      "saw these examples. Bars are the standard error of the difference to the refined one. Lower is better.",
      line_charts.trend(series) if series else None,
      data("held_back_loss", ("span", "candidate", "loss", "se_of_difference"), rows),
      axis="span", missing="Not known: the artifacts of the pipeline runs are gone.")


def cost_rows(result: FidelityResult) -> list[tuple[str, str, str, str]]:
  """`(what, of the log, of the memory, ratio)` as text."""
  return [(name, form(log), form(memory), f"{log / memory:.1f}" if memory else "–")
          for name, log, memory, form in _costs(result)]


def cost(result: FidelityResult) -> Figure:
  """How many times less the memory takes than the log."""
  found = [(name, log, memory) for name, log, memory, _ in _costs(result)]
  ratios = {name: log / memory for name, log, memory in found if memory}
  return Figure(
      "cost", "Cost", "How many times less the memory takes than the log. A slot with several ids is larger than a "
      "row, so bytes and operations shrink less than records. Making the memory costs on top, once: see Break-even.",
      bar_charts.bar_chart({name: {"times less": ratio} for name, ratio in ratios.items()},
                       {name: f"{ratio:,.1f} ×" for name, ratio in ratios.items()}),
      data("cost", ("what", "log", "memory", "ratio"), [(*row, ratios.get(row[0])) for row in found]))


def break_even(bill: Bill) -> BreakEven | None:
  """The times of the panel and of the pipeline runs; None where these are not known for every span of the log."""
  times = bill.times("seconds")
  return None if math.isnan(times.distillation) else times


def break_even_figure(times: BreakEven | None, at: int) -> Figure:
  """Wall time on the log and on the memory, by the number of architectures."""
  missing = "Not known: the time of the pipeline runs is not known for every span that the memory has seen."
  caption = ("Wall time of training that many architectures once each, on the log and on the memory. The memory's line "
             "begins at the time of the pipeline runs that made it, all their parts and start-up.")
  if times is None:
    return Figure("break-even", "Break-even", caption, None, missing=missing)
  crossing = times.architectures
  most = round_count(max(_LEAST_ARCHITECTURES, at, 2 * (crossing or 0)))
  unit, length = unit_of(times.on_log(most))
  lines = {LOG: (times.on_log(0) / length, times.on_log(most) / length),
           MEMORY: (times.on_memory(0) / length, times.on_memory(most) / length)}
  chart = line_charts.crossing_chart(lines, most, at, crossing, f"wall time, {unit}")
  return Figure("break-even", "Break-even", caption, chart,
                data("break_even", ("log_seconds_each", "memory_seconds_each", "distillation_seconds",
                                    "break_even_architectures"),
                     [(times.log, times.memory, times.distillation, crossing)]),
                ((LOG, "on the log"), (MEMORY, "on the memory")), axis="architectures")


def break_even_text(times: BreakEven, architectures: int) -> str:
  """What the slider says of a number of architectures; the page's script says the same in the same words."""
  log, memory = times.on_log(architectures), times.on_memory(architectures)
  better = "the memory saves" if memory <= log else "the log saves"
  return (f"{architectures:,}: {duration(log)} on the log, {duration(memory)} on the memory; {better} "
          f"{duration(abs(log - memory))}.")


def _costs(result: FidelityResult) -> list[tuple]:
  """`(what, of the log, of the memory, how it is written)`."""
  cost = result.cost
  return [("records", cost.records[LOG], cost.records[MEMORY], _count),
          ("bytes, gzip", cost.num_bytes[LOG], cost.num_bytes[MEMORY], _count),
          ("bytes, raw", cost.num_bytes["log_raw"], cost.num_bytes["memory_raw"], _count),
          ("examples processed", cost.examples[LOG], cost.examples[MEMORY], _count),
          ("operations", cost.flops[LOG], cost.flops[MEMORY], "{:.3g}".format),
          ("training seconds", cost.seconds[LOG], cost.seconds[MEMORY], "{:.2f}".format)]


def _count(value: float) -> str:
  return f"{value:,.0f}"


def _measured(value: Estimate) -> Measured:
  return value.mean, value.standard_error


def _estimate(value: Estimate | None) -> Cell:
  return Cell("–") if value is None else Cell(str(value), value.mean)


def _difference(value: PairedDifference | None) -> Cell:
  if value is None:
    return Cell("–")
  margin = f" ± {value.margin:.4f}" if math.isfinite(value.margin) else ""
  return Cell(f"{value.mean:+.4f}{margin}", value.mean)


def _choice(training: Training | None) -> Cell:
  if training is None:
    return Cell("–")
  rate = "recipe" if training.learning_rate is None else f"{training.learning_rate:g}"
  return Cell(f"{rate} × {training.epochs}", training.learning_rate)
