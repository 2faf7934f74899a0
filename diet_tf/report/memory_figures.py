"""Figures of the memory and of its making: slots by age and action, distributions, coverage, refinement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from diet_tf.distillation.addressing import ACTION_NAMES
from diet_tf.memory.slots import Slots
from diet_tf.report import bar_charts, line_charts, point_charts
from diet_tf.report.figures import Data, Figure, data
from diet_tf.report.histogram import INFLUENCE_EDGES, LABEL_EDGES, WEIGHT_EDGES, Histogram, occupied
from diet_tf.report.stage_record import StageRecord

# More stages than this are too many lines for one chart: the newest are shown.
_MOST_CURVES = 6
_MOST_BARS = 30
_DECADES = tuple(f"{sign * 10.0 ** power:.3g}" for sign in (-1, 1) for power in range(-6, 3))
_NO_STAGES = "Not known: the artifacts of the pipeline runs are gone, or the memory was made elsewhere."
_NO_SLOTS = "Not known: the report was written without the memory's slots."
_ACTION_LEGEND = tuple(zip(ACTION_NAMES, ("frozen", "updated", "replaced", "added"), strict=True))


def outer_losses(stages: Sequence[StageRecord]) -> Figure:
  """The outer loss of the newest stages by outer step."""
  found = {stage.summary.span: stage.summary.outer_losses for stage in stages if len(stage.summary.outer_losses) > 1}
  newest = dict(list(found.items())[-_MOST_CURVES:])
  rows = [(span, int(step), loss) for span, losses in newest.items() for step, loss in line_charts.block_means(losses)]
  return Figure(
      "refinement", "Refinement", "Outer loss by outer step: the loss on real examples of a proxy trained on the "
      "slots. The newest stage is drawn in colour; a long curve is drawn as means of blocks of steps.",
      line_charts.line_chart({f"span {span}": losses for span, losses in newest.items()}) if newest else None,
      data("refinement", ("span", "outer_step", "outer_loss"), rows), axis="outer step",
      missing="Not known: no stage was refined, or the artifacts of the pipeline runs are gone.")


def slots_by_action(stages: Iterable[tuple[int, Mapping[str, int], int]]) -> Data:
  """How many slots each stage froze, updated, replaced and added.

  Args:
    stages: per stage its span, its slots by action, and how many slots it left.
  """
  return data("slots_by_action", ("span", *ACTION_NAMES, "slots_after"),
              [(span, *(int(actions.get(name, 0)) for name in ACTION_NAMES), num_slots)
               for span, actions, num_slots in stages])


def actions(stages: Sequence[StageRecord]) -> Figure:
  """What each stage did with its slots."""
  rows = slots_by_action((stage.summary.span, stage.summary.actions, stage.summary.num_slots)
                         for stage in stages if stage.summary.actions)
  names, counts = [f"span {span}" for span in rows.column("span")], [rows.column(name) for name in ACTION_NAMES]
  bars = {name: {action: float(count) for action, count in zip(ACTION_NAMES, row, strict=True)}
          for name, row in list(zip(names, zip(*counts, strict=True), strict=True))[-_MOST_BARS:]}
  texts = {name: f"{num_slots:,}" for name, num_slots in zip(names, rows.column("slots_after"), strict=True)}
  return Figure(
      "actions", "Slots by action", "What each stage did with its slots; at the end of a bar, the slots it left. "
      "Replaced slots gave their place to added ones."
      + _cut(len(rows.rows)),
      bar_charts.bar_chart(bars, texts) if bars else None, rows, _ACTION_LEGEND, _NO_STAGES)


def ages(slots_by_age: Mapping[int, Mapping[str, int]], span: int) -> Figure:
  """Slots by the span that added them, parted into those that the last stage changed and the others."""
  totals = {born: sum(counts.values()) for born, counts in slots_by_age.items()}
  bars = {f"span {born}": {name: float(counts.get(name, 0)) for name in ("changed", "kept")}
          for born, counts in list(slots_by_age.items())[-_MOST_BARS:]}
  return Figure(
      "ages", "Slots by age", f"The span that added a slot, and whether the stage of span {span} changed it."
      + _cut(len(slots_by_age)),
      bar_charts.bar_chart(bars, {f"span {born}": f"{total:,}" for born, total in totals.items()}) if bars else None,
      data("slots_by_age", ("born_span", "changed", "kept"),
           [(born, counts.get("changed", 0), counts.get("kept", 0)) for born, counts in slots_by_age.items()]),
      (("changed", f"changed or added in span {span}"), ("kept", "as it was")), _NO_SLOTS)


def labels(slots: Slots | None) -> Figure:
  """The distribution of the slots' labels."""
  return _distribution("labels", "Soft labels", "Share of the slots by soft label, in percent.", "label",
                       {} if slots is None else {"slots": Histogram.of(slots.labels, LABEL_EDGES)},
                       ("0", "0.25", "0.5", "0.75", "1"), _NO_SLOTS, whole=True)


def sample_weights(slots: Slots | None) -> Figure:
  """The distribution of the slots' sample weights."""
  return _distribution("weights", "Sample weights", "Share of the slots by sample weight, in percent, on a logarithmic "
                       "scale; the mean weight is 1. The outermost columns hold all that is beyond them.",
                       "sample weight", {} if slots is None else {
                           "slots": Histogram.of(slots.sample_weights, WEIGHT_EDGES)},
                       tuple(f"{2.0 ** power:.3g}" for power in range(-6, 8, 2)), _NO_SLOTS)


def influences(slots: Slots | None, stage: StageRecord | None) -> Figure:
  """The distributions of the influence of slots and of the newest span's examples."""
  # New slots have none: 0 stands for it.
  found = {} if slots is None else {"slots": Histogram.of(slots.influences[slots.influences != 0], INFLUENCE_EDGES)}
  sample = ""
  if stage is not None and stage.diagnosis is not None and stage.diagnosis.num_scored < stage.diagnosis.num_examples:
    sample = (f" (a sample of {stage.diagnosis.num_scored:,} of {stage.diagnosis.num_examples:,}, drawn by example id)")
  if stage is not None and stage.influences is not None:
    found["examples"] = stage.influences
  span = "" if stage is None else f" of span {stage.summary.span}"
  return _distribution(
      "influence", "Influence", "Share of the slots, when they were last addressed, and of the "
      f"examples{span}{sample}, in percent, by influence: how much training on one lowers the teacher's loss on the "
      "reference set (above 0) or raises it. The scale is logarithmic on either side of 0; scores compare within one "
      "stage only.",
      "influence", found,
      _DECADES, "Not known: the report was written without slots and scores.")


def coverage(shares: Mapping[str, Mapping[str, float]], names: Mapping[str, str]) -> Figure:
  """Which share of impressions has its id in the memory, by field.

  Args:
    shares: per kind of examples, the share of each field.
    names: name that the figure gives to each kind.
  """
  fields = list(dict.fromkeys(field for values in shares.values() for field in values))
  nan = float("nan")
  marks = {field: {kind: (100.0 * values[field], nan) for kind, values in shares.items() if field in values}
           for field in fields}
  return Figure(
      "coverage", "Field coverage", "Per field, the percentage of impressions whose id is in the memory. A missing "
      "value and one that is not listed are ids too. A model trained on the memory alone knows nothing of the others.",
      point_charts.dot_plot(marks) if marks else None,
      data("field_coverage", ("field", *(f"{kind}_percent" for kind in shares)),
           [(field, *(100.0 * values[field] if field in values else None for values in shares.values()))
            for field in fields]),
      tuple((kind, names[kind]) for kind in shares), "Not known: no examples were at hand to count.",
      axis="% of impressions")


def _cut(num_spans: int) -> str:
  """What a caption adds where not all spans are drawn."""
  return f" The {_MOST_BARS} newest spans are drawn; the data have more." if num_spans > _MOST_BARS else ""


def _distribution(name: str, title: str, caption: str, axis: str, found: Mapping[str, Histogram],
                  ticks: Sequence[str], missing: str, whole: bool = False) -> Figure:
  """A figure of histograms of the same bins; without `whole`, empty bins at the ends are left out."""
  found = {kind: histogram for kind, histogram in found.items() if histogram.total}
  if not found:
    return Figure(name, title, caption, None, missing=missing)
  edges = next(iter(found.values())).edges
  first, last = (0, len(edges) - 1) if whole else occupied(list(found.values()))
  shares = {kind: histogram.shares()[first:last] for kind, histogram in found.items()}
  texts = [f"{edge:.3g}" for edge in edges[first:last + 1]]
  legend = tuple((kind, f"{kind} ({histogram.total:,})") for kind, histogram in found.items())
  rows = [(edges[place], edges[place + 1], *(histogram.counts[place] for histogram in found.values()))
          for place in np.arange(first, last).tolist()]
  return Figure(name, title, caption, bar_charts.column_chart(texts, shares, ticks),
                data(name, ("from", "to", *found), rows), legend if len(found) > 1 else (), axis=axis)
