"""The report: one self-contained HTML page of a run, with its charts as inline SVG; it loads nothing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import numpy as np
import yaml

from diet_tf import charts, files
from diet_tf.fidelity_result import KINDS, LOG, MEMORY, FidelityResult, MemberFidelity, Training
from diet_tf.manifest import Manifest
from diet_tf.metrics import Estimate, PairedDifference
from diet_tf.printable import printable
from diet_tf.slots import Slots

KIND_NAMES = {"log": "whole log", "memory": "memory", "random_hard": "random rows, clicks",
              "random_soft": "random rows, teacher's labels"}
ACTION_NAMES = ("freeze", "update", "replace", "add")
# More stages than this are too many lines for one chart: the newest are shown.
_MOST_CURVES = 6


@dataclasses.dataclass(frozen=True)
class StageSummary:
  """What one stage did.

  Attributes:
    span: the span that it took in.
    num_examples: of the span.
    num_slots: of the memory after it.
    actions: slots by action: `freeze`, `update`, `replace`, `add`.
    outer_losses: the outer loss after each outer step.
    verdict: of the gate, by the names of `diet_tf.gate.Verdict`: `chosen`, `losses`, `differences`,
      `standard_errors`; None where there was no gate.
    seconds: wall time by step of the stage.
  """

  span: int
  num_examples: int
  num_slots: int
  actions: Mapping[str, int] = dataclasses.field(default_factory=dict)
  outer_losses: Sequence[float] = ()
  verdict: Mapping[str, Any] | None = None
  seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)

  def to_dict(self) -> dict[str, Any]:
    """The summary as JSON values."""
    return {**dataclasses.asdict(self), "outer_losses": [float(loss) for loss in self.outer_losses]}

  @classmethod
  def from_dict(cls, value: Mapping[str, Any]) -> StageSummary:
    """The summary that `to_dict` wrote."""
    return cls(**value)


def write_report(uri: str, result: FidelityResult, *, manifest: Manifest, slots: Slots | None = None,
                 stages: Sequence[StageSummary] = (), settings: Mapping[str, Any] | None = None,
                 commands: Sequence[str] = ()) -> None:
  """Writes the report of a run, atomically.

  Args:
    uri: the HTML file.
    result: the fidelity of the memory.
    manifest: of the memory.
    slots: of the memory, for their ages; None leaves these out.
    stages: in order; those that are known.
    settings: of the run, shown as YAML.
    commands: shell commands that give the same figures again.

  Raises:
    StoreError: the disk is full or the place is not writable.
  """
  page = render_report(result, manifest=manifest, slots=slots, stages=stages, settings=settings, commands=commands)
  with files.writing(uri):
    files.make_folders(files.parent(uri))
    files.write_atomically(uri, page.encode())


def render_report(result: FidelityResult, *, manifest: Manifest, slots: Slots | None = None,
                  stages: Sequence[StageSummary] = (), settings: Mapping[str, Any] | None = None,
                  commands: Sequence[str] = ()) -> str:
  """The report as HTML; see `write_report`."""
  kinds = [kind for kind in KINDS if any(kind in member.trainings for member in result.members)]
  stages = sorted(stages, key=lambda stage: stage.span)
  return template("report.html.j2").render(
      width=f"{charts.WIDTH:g}", result=result, manifest=manifest, stages=stages, commands=list(commands), kinds=kinds,
      kind_names=KIND_NAMES,
      key_figures=_key_figures(result), scatter=_scatter(result), dots=_dots(result, kinds),
      rows=[_row(member, kinds) for member in result.members], costs=_costs(result), cost_chart=_cost_chart(result),
      curves=_curves(stages), actions=_actions(stages), action_names=ACTION_NAMES, ages=_ages(slots, manifest.span),
      verdicts=[_verdict(stage) for stage in stages if stage.verdict], summary=result.summary(),
      settings_text=_as_yaml(settings) if settings else "", recipe_text=_as_yaml(_short_recipe(manifest)))


def template(name: str) -> jinja2.Template:
  """A template of `diet_tf/templates`, into which values go escaped, their control characters written out."""
  environment = jinja2.Environment(loader=jinja2.PackageLoader("diet_tf"), autoescape=True, trim_blocks=True,
                                   lstrip_blocks=True, undefined=jinja2.StrictUndefined, finalize=_shown)
  return environment.get_template(name)


def _shown(value: Any) -> Any:
  # What a macro has made is markup by now, a subclass of str, with its values escaped.
  return printable(value) if type(value) is str else value


def _key_figures(result: FidelityResult) -> list[tuple[str, str, str]]:
  """`(figure, name, explanation)` of what to read first."""
  agreement = result.agreement
  share = "none" if math.isnan(agreement.share) else f"{agreement.share:.0%}"
  cost = result.cost
  return [
      (f"{result.recovery:.1%}", "recovery", "of the log's lift over chance, mean of the panel"),
      (f"1/{cost.records[LOG] / cost.records[MEMORY]:.0f}", "records", f"{cost.records[MEMORY]:,} slots"),
      (f"1/{cost.cost_ratio:.0f}", "training cost", "examples processed, memory to log"),
      (share, "agreement", f"{agreement.num_resolved} of {agreement.num_pairs} pairs are resolved"),
  ]


def _measured(value: Estimate) -> charts.Measured:
  return value.mean, value.standard_error


def _scatter(result: FidelityResult) -> charts.Scatter:
  log, memory = ([_measured(member.trainings[kind].auc) for member in result.members] for kind in (LOG, MEMORY))
  return charts.scatter([member.name for member in result.members], log, memory)


def _dots(result: FidelityResult, kinds: Sequence[str]) -> charts.DotPlot:
  return charts.dot_plot({member.name: {kind: _measured(member.trainings[kind].auc) for kind in reversed(kinds)
                                        if kind in member.trainings} for member in result.members})


def _row(member: MemberFidelity, kinds: Sequence[str]) -> dict[str, Any]:
  """One member's lines of the tables, as text."""
  trainings = {kind: member.trainings.get(kind) for kind in kinds}
  return {
      "name": member.name,
      "aucs": [str(training.auc) if training else "–" for training in trainings.values()],
      "log_losses": [str(training.log_loss) if training else "–" for training in trainings.values()],
      "recovery": f"{member.recovery:.3f}",
      "differences": [_difference(member.differences.get(kind)) for kind in kinds if kind != MEMORY],
      "choices": [_choice(training) for training in trainings.values()],
  }


def _difference(value: PairedDifference | None) -> str:
  if value is None:
    return "–"
  return f"{value.mean:+.4f} ± {value.margin:.4f}" if math.isfinite(value.margin) else f"{value.mean:+.4f}"


def _choice(training: Training | None) -> str:
  if training is None:
    return "–"
  rate = "recipe" if training.learning_rate is None else f"{training.learning_rate:g}"
  return f"{rate} × {training.epochs}"


def _costs(result: FidelityResult) -> list[tuple[str, str, str, str]]:
  """`(what, of the log, of the memory, ratio)`."""
  cost = result.cost
  return [(name, form(log), form(memory), f"{log / memory:.1f}" if memory else "–") for name, log, memory, form in (
      ("records", cost.records[LOG], cost.records[MEMORY], _count),
      ("bytes, gzip", cost.num_bytes[LOG], cost.num_bytes[MEMORY], _count),
      ("bytes, raw", cost.num_bytes["log_raw"], cost.num_bytes["memory_raw"], _count),
      ("examples processed", cost.examples[LOG], cost.examples[MEMORY], _count),
      ("operations (estimate)", cost.flops[LOG], cost.flops[MEMORY], lambda value: f"{value:.3g}"),
      ("seconds of training", cost.seconds[LOG], cost.seconds[MEMORY], lambda value: f"{value:.2f}"))]


def _count(value: float) -> str:
  return f"{value:,.0f}"


def _cost_chart(result: FidelityResult) -> charts.BarChart:
  ratios = {name: float(ratio) for name, _, _, ratio in _costs(result) if ratio != "–"}
  return charts.bar_chart({name: {"times less": ratio} for name, ratio in ratios.items()},
                          {name: f"{ratio:,.1f} ×" for name, ratio in ratios.items()}, left=132.0)


def _curves(stages: Sequence[StageSummary]) -> charts.LineChart | None:
  series = {f"span {stage.span}": stage.outer_losses for stage in stages if len(stage.outer_losses) > 1}
  newest = dict(list(series.items())[-_MOST_CURVES:])
  return charts.line_chart(newest) if newest else None


def _actions(stages: Sequence[StageSummary]) -> charts.BarChart | None:
  rows = {f"span {stage.span}": {name: float(stage.actions.get(name, 0)) for name in ACTION_NAMES}
          for stage in stages if stage.actions}
  texts = {f"span {stage.span}": f"{stage.num_slots:,}" for stage in stages}
  return charts.bar_chart(rows, texts, left=64.0) if rows else None


def _ages(slots: Slots | None, span: int) -> charts.BarChart | None:
  """Slots by the span that added them, parted into those that the last stage changed and the others."""
  if slots is None or not len(slots):
    return None
  rows, texts = {}, {}
  for born in np.unique(slots.born_spans):
    of_span = slots.born_spans == born
    changed = int(np.count_nonzero(of_span & (slots.updated_spans == span)))
    label = f"span {born}"
    rows[label] = {"changed": float(changed), "kept": float(np.count_nonzero(of_span) - changed)}
    texts[label] = f"{np.count_nonzero(of_span):,}"
  return charts.bar_chart(rows, texts, left=64.0)


def _verdict(stage: StageSummary) -> dict[str, Any]:
  """The gate's decision on a stage, as text."""
  verdict = stage.verdict or {}
  losses = "; ".join(f"{name} {loss:.4f}" for name, loss in verdict.get("losses", {}).items())
  errors = verdict.get("standard_errors", {})
  differences = "; ".join(f"{value:+.4f} ± {errors.get(name, math.nan):.4f} to {name}"
                          for name, value in verdict.get("differences", {}).items())
  return {"span": stage.span, "chosen": verdict.get("chosen", ""), "losses": losses, "differences": differences}


def _short_recipe(manifest: Manifest) -> dict[str, Any]:
  """The recipe with its multipliers told in a line: there is one for each training step."""
  recipe = manifest.recipe.to_dict()
  multipliers = recipe.pop("step_multipliers")
  if multipliers:
    recipe["step_multipliers"] = f"{len(multipliers)} steps, {min(multipliers):.3f} to {max(multipliers):.3f}"
  return recipe


def _as_yaml(value: Mapping[str, Any]) -> str:
  return yaml.safe_dump(_plain(value), sort_keys=False, default_flow_style=None, width=100)


def _plain(value: Any) -> Any:
  """The value with mappings as dicts and sequences as lists, which is all that YAML's safe writer knows."""
  if isinstance(value, Mapping):
    return {str(key): _plain(entry) for key, entry in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(entry) for entry in value]
  return value if isinstance(value, str | int | float | bool | None) else str(value)
