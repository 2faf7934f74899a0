"""The report: one self-contained HTML page of a run, with its charts as inline SVG; it loads nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from diet_tf.fidelity.result import LOG, MEMORY, FidelityResult
from diet_tf.io import files
from diet_tf.memory.composition import HeavySlot, heaviest_slots
from diet_tf.memory.manifest import Manifest
from diet_tf.memory.slots import Slots
from diet_tf.report import fidelity_figures, memory_figures, page
from diet_tf.report.axes import measured_text
from diet_tf.report.figures import Data, data
from diet_tf.report.row_table import row_lines
from diet_tf.report.stage_record import StageRecord, StageSummary, distillation_cost, slots_by_age

COVERAGE_NAMES = {"log": "the log, which the memory has seen", "test": "the test, which it has not",
                  "held_back": "held-back part of the newest span"}
# The page stays small however many spans, fields and ids there are.
_MOST_SPANS = 400
_MOST_VERDICTS = 30
_MOST_ENTRIES = 200
_NUM_HEAVIEST = 10
_MOST_HEAVY_FIELDS = 500
_MOST_VALUES = 5


def write_report(uri: str, result: FidelityResult, **parts: Any) -> None:
  """Writes the report of a run, atomically.

  Args:
    uri: the HTML file.
    result: fidelity of the memory.
    **parts: further arguments of `render_report`: the parts of the report.

  Raises:
    StoreError: the disk is full or the place is not writable.
  """
  text = render_report(result, **parts)
  with files.writing(uri):
    files.make_folders(files.parent(uri))
    files.write_atomically(uri, text.encode())


def render_report(result: FidelityResult, *, manifest: Manifest, slots: Slots | None = None,
                  stages: Sequence[StageRecord] = (), vocabularies: Mapping[str, Sequence[str]] | None = None,
                  coverage: Mapping[str, Mapping[str, float]] | None = None, history: Sequence[FidelityResult] = (),
                  settings: Mapping[str, Any] | None = None, commands: Sequence[str] = ()) -> str:
  """The report as HTML; what is not known is said to be so.

  Args:
    result: fidelity of the memory.
    manifest: manifest of the memory.
    slots: slots of the memory; None leaves out what needs them.
    stages: records of the stages that are known, in any order.
    vocabularies: values of grown vocabularies in the order of their ids, by field name; ids are shown as these values.
    coverage: per kind of examples (`log`, `test`) and field, the share whose id the memory holds, in [0, 1].
    history: results of earlier memories.
    settings: settings of the run, shown as YAML.
    commands: shell commands that give the same figures again.
  """
  stages = sorted(stages, key=lambda stage: stage.summary.span)
  bill = result.replace(distillation=distillation_cost(stages, result.spans)).bill
  times = fidelity_figures.break_even(bill)
  at = len(result.members)
  stages = stages[-_MOST_SPANS:]
  heavy = [] if slots is None else _heaviest(slots, manifest, vocabularies or {})
  return page.render(
      "report.html.j2", result=result, manifest=manifest, verdict=result.verdict, key_figures=_key_figures(result),
      scatter=fidelity_figures.scatter(result), dots=fidelity_figures.dots(result),
      tables=fidelity_figures.fidelity_tables(result), fidelity_data=fidelity_figures.fidelity_data(result),
      over_spans=fidelity_figures.over_spans(_with(history, result)[-_MOST_SPANS:]),
      gate_losses=fidelity_figures.gate_losses(stages), cost=fidelity_figures.cost(result),
      cost_rows=fidelity_figures.cost_rows(result), times=times, at=at,
      break_even=fidelity_figures.break_even_figure(times, at),
      break_even_text=fidelity_figures.break_even_text(times, at) if times else "",
      cost_notes=bill.sentences() if times else [],
      rows=row_lines(dict(sorted(result.rows.items())[-_MOST_SPANS:])),
      composition=_composition(manifest, slots, stages, coverage), refinement=memory_figures.outer_losses(stages),
      heaviest=heavy, most_values=_MOST_VALUES, heaviest_data=_heaviest_data(heavy), hashed=_hashed(manifest),
      verdicts=[_verdict(stage.summary) for stage in stages[-_MOST_VERDICTS:]
                if stage.summary.verdict or stage.summary.light],
      summary=result.summary(), commands=list(commands), settings_text=_as_yaml(settings) if settings else "",
      recipe_text=_as_yaml(_short_recipe(manifest)))


def _key_figures(result: FidelityResult) -> list[tuple[str, str, str]]:
  """`(figure, name, explanation)` of what to read first."""
  agreement = result.agreement
  share = "none" if math.isnan(agreement.share) else f"{agreement.share:.0%}"
  cost = result.cost
  kept, members = result.recoveries, len(result.members)
  explained = ("no model trained on the log is better than chance" if not kept else
               "of the log's lift over chance, mean of " + (
                   "the panel" if len(kept) == members else f"{len(kept)} of {members} members"))
  return [
      (f"{result.recovery:.1%}" if kept else "none", "recovery", explained),
      (f"1/{cost.records[LOG] / cost.records[MEMORY]:.0f}", "records", f"{cost.records[MEMORY]:,} slots"),
      (f"1/{cost.cost_ratio:.0f}", "training cost", "examples processed, memory to log"),
      (share, "agreement", f"{agreement.num_resolved} of {agreement.num_pairs} pairs are resolved"),
  ]


def _with(history: Sequence[FidelityResult], result: FidelityResult) -> list[FidelityResult]:
  """The results of earlier memories, and this one."""
  return [*(earlier for earlier in history if earlier.spans[-1:] < result.spans[-1:]), result]


def _composition(manifest: Manifest, slots: Slots | None, stages: Sequence[StageRecord],
                 coverage: Mapping[str, Mapping[str, float]] | None) -> list[Any]:
  """The figures of what the memory is made of."""
  newest = stages[-1] if stages and stages[-1].summary.span == manifest.span else None
  shares = dict(coverage or {})
  if not shares and newest is not None and newest.coverage is not None:
    shares = {"held_back": newest.coverage}
  ages = {} if slots is None else slots_by_age(slots, manifest.span)
  return [memory_figures.ages(ages, manifest.span), memory_figures.actions(stages), memory_figures.labels(slots),
          memory_figures.sample_weights(slots), memory_figures.influences(slots, newest),
          memory_figures.coverage(shares, COVERAGE_NAMES)]


def _heaviest(slots: Slots, manifest: Manifest, vocabularies: Mapping[str, Sequence[str]]) -> list[HeavySlot]:
  """The heaviest slots: fewer where there are many fields."""
  spec = manifest.spec()
  return heaviest_slots(slots, spec, vocabularies, max(1, min(_NUM_HEAVIEST, _MOST_HEAVY_FIELDS // len(spec.fields))))


def _heaviest_data(heavy: Sequence[HeavySlot]) -> Data:
  return data("heaviest_slots", ("slot_id", "sample_weight", "label", "born_span", "updated_span", "influence", "field",
                                 "value", "weight"),
              [(slot.slot_id, slot.sample_weight, slot.label, slot.born_span, slot.updated_span, slot.influence, field,
                text, weight) for slot in heavy for field, values in slot.values.items()
               for text, weight in values[:_MOST_VALUES]])


def _hashed(manifest: Manifest) -> list[str]:
  """The names of the fields whose ids are hashes."""
  return [field.name for field in manifest.spec().fields if field.hash_ids is not None]


def _verdict(stage: StageSummary) -> dict[str, Any]:
  """The gate's decision on a stage, as text; of a light stage, which has no gate, why it was one."""
  if stage.light is not None:
    return {"span": stage.span, "chosen": "start, no gate", "losses": "a light stage", "differences": stage.light}
  found = stage.verdict or {}
  losses = "; ".join(f"{name} {measured_text(loss)}" for name, loss in found.get("losses", {}).items())
  errors = found.get("standard_errors", {})
  differences = "; ".join(f"{measured_text(value, errors.get(name, math.nan), signed=True)} to {name}"
                          for name, value in found.get("differences", {}).items())
  return {"span": stage.span, "chosen": found.get("chosen", ""), "losses": losses, "differences": differences}


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
  """The value with mappings as dicts and sequences as lists, which YAML's safe writer knows; long lists are cut."""
  if isinstance(value, Mapping):
    return {str(key): _plain(entry) for key, entry in value.items()}
  if isinstance(value, list | tuple):
    more = [f"and {len(value) - _MOST_ENTRIES:,} more"] if len(value) > _MOST_ENTRIES else []
    return [*map(_plain, value[:_MOST_ENTRIES]), *more]
  return value if isinstance(value, str | int | float | bool | None) else str(value)
