"""The report of one stage: what it did with the slots, how the refinement went, and what the gate decided."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from diet_tf import charts, files
from diet_tf.arrays import write_json
from diet_tf.manifest import check_document, read_document
from diet_tf.report import ACTION_NAMES, StageSummary, template
from diet_tf.slots import Slots

FORMAT_NAME = "diet_tf.stage"
FORMAT_VERSION = 1
_TEMPLATE = "stage.html.j2"


@dataclasses.dataclass(frozen=True)
class StageRecord:
  """A stage's summary, with the ages of the slots that it leaves.

  Attributes:
    summary: of the stage.
    slots_by_age: per span in which slots were added, how many of them the stage `changed` and `kept` as they were.
    teacher_loss: the teacher's cross-entropy on the held-back examples before it saw them; None if not known.
  """

  summary: StageSummary
  slots_by_age: Mapping[int, Mapping[str, int]]
  teacher_loss: float | None = None

  def write(self, path: str) -> None:
    """Writes the record as JSON."""
    write_json(path, {
        "format_name": FORMAT_NAME, "format_version": FORMAT_VERSION, "summary": self.summary.to_dict(),
        "slots_by_age": {str(span): dict(counts) for span, counts in self.slots_by_age.items()},
        "teacher_loss": self.teacher_loss})

  @classmethod
  def read(cls, path: str) -> StageRecord:
    """The record that `write` wrote.

    Raises:
      FormatError: the file is damaged, or of a newer version.
    """
    document = read_document(path)
    check_document(document, path, FORMAT_NAME, FORMAT_VERSION,
                   {"format_name", "format_version", "summary", "slots_by_age", "teacher_loss"})
    ages = {int(span): counts for span, counts in document["slots_by_age"].items()}
    return cls(StageSummary.from_dict(document["summary"]), ages, document["teacher_loss"])


def slots_by_age(slots: Slots, span: int) -> dict[int, dict[str, int]]:
  """Per span in which slots were added, how many were `changed` in `span` (or added then), and how many `kept`."""
  changed = slots.updated_spans == span
  ages = {}
  for born in np.unique(slots.born_spans):
    of_span = slots.born_spans == born
    ages[int(born)] = {"changed": int((of_span & changed).sum()), "kept": int((of_span & ~changed).sum())}
  return ages


def write_stage_report(uri: str, record: StageRecord) -> None:
  """Writes the report as one HTML page that loads nothing, atomically."""
  page = render_stage_report(record)
  with files.writing(uri):
    files.write_atomically(uri, page.encode())


def render_stage_report(record: StageRecord) -> str:
  """The report as HTML."""
  summary = record.summary
  label = f"span {summary.span}"
  actions = {name: float(summary.actions.get(name, 0)) for name in ACTION_NAMES}
  ages = {f"span {born}": {name: float(count) for name, count in counts.items()}
          for born, counts in record.slots_by_age.items()}
  curve = charts.line_chart({label: summary.outer_losses}) if len(summary.outer_losses) > 1 else None
  return template(_TEMPLATE).render(
      width=f"{charts.WIDTH:g}", summary=summary, curve=curve, candidates=_candidates(summary.verdict or {}),
      actions=charts.bar_chart({label: actions}, {label: f"{summary.num_slots:,}"}, left=64.0),
      ages=charts.bar_chart(ages, {age: f"{sum(counts.values()):,.0f}" for age, counts in ages.items()}, left=64.0),
      counts={name: f"{count:,.0f}" for name, count in actions.items()},
      teacher_loss=None if record.teacher_loss is None else f"{record.teacher_loss:.5f}",
      chosen=(summary.verdict or {}).get("chosen", ""))


def _candidates(verdict: Mapping[str, Any]) -> list[tuple[str, str, str]]:
  """`(candidate, loss, refined less it)` as text."""
  rows = []
  for name, loss in verdict.get("losses", {}).items():
    difference = "–"
    if name in verdict["differences"]:
      difference = f"{verdict['differences'][name]:+.5f} ± {verdict['standard_errors'][name]:.5f}"
    rows.append((name, f"{loss:.5f}", difference))
  return rows
