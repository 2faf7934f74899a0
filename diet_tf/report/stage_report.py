"""The report of one stage: what it did with the slots, how the refinement went, and what the gate decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diet_tf.io import files
from diet_tf.memory.slots import Slots
from diet_tf.report import memory_figures, page
from diet_tf.report.axes import measured_text
from diet_tf.report.row_table import row_lines
from diet_tf.report.run_report import COVERAGE_NAMES
from diet_tf.report.stage_record import StageRecord, StageSummary


def write_stage_report(uri: str, record: StageRecord, slots: Slots | None = None) -> str:
  """The report as one HTML page that loads nothing, written atomically.

  Args:
    uri: the HTML file, in a folder that exists.
    record: record of the stage.
    slots: slots of the memory that the gate chose; None leaves their distributions out.
  """
  text = render_stage_report(record, slots)
  with files.writing(uri):
    files.write_atomically(uri, text.encode())
  return text


def render_stage_report(record: StageRecord, slots: Slots | None = None) -> str:
  """The report as HTML."""
  summary = record.summary
  shares = {} if record.coverage is None else {"held_back": record.coverage}
  return page.render(
      "stage.html.j2", summary=summary, verdict=verdict(summary), candidates=_candidates(summary.verdict or {}),
      rows=row_lines({} if record.rows is None else {summary.span: record.rows}),
      diagnosis=record.diagnosis, teacher_loss=None if record.teacher_loss is None else f"{record.teacher_loss:.5f}",
      figures=[memory_figures.actions([record]), memory_figures.ages(record.slots_by_age, summary.span),
               memory_figures.outer_losses([record]), memory_figures.labels(slots),
               memory_figures.sample_weights(slots), memory_figures.influences(slots, record),
               memory_figures.coverage(shares, COVERAGE_NAMES)])


def verdict(summary: StageSummary) -> str:
  """In a sentence, what the gate chose, and on what grounds; of a light stage, why it was one."""
  if summary.light is not None:
    return f"A light stage: new slots entered as they were squashed, and there was no gate, since {_lowered(summary)}"
  found = summary.verdict or {}
  chosen = found.get("chosen")
  if not chosen:
    return "This stage had no gate."
  others = "; ".join(f"{_difference(found, name)} to {name}"
                     for name in found["differences"])
  return f"The gate chose: {chosen}. The refined memory's loss differs by {others or 'nothing: it had no rival'}."


def _lowered(summary: StageSummary) -> str:
  light = summary.light or ""
  return f"{light[:1].lower()}{light[1:]}"


def _candidates(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
  """`(candidate, loss, refined less it)` as text."""
  rows = []
  for name, loss in found.get("losses", {}).items():
    difference = _difference(found, name) if name in found["differences"] else "–"
    rows.append((name, measured_text(loss, digits=5), difference))
  return rows


def _difference(found: Mapping[str, Any], name: str) -> str:
  return measured_text(found["differences"][name], found["standard_errors"][name], digits=5, signed=True)
