"""What one stage did, as its report and the report of the run read it: JSON beside the gate's verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from diet_tf.fidelity.bill import UNKNOWN, Cost
from diet_tf.io.documents import REMEDY, DocumentFormat
from diet_tf.io.json_files import without_nan
from diet_tf.io.shapes import Figure, Nullable, Place, shaped
from diet_tf.log.row_counts import ROW_COUNTS_SHAPE, RowCounts
from diet_tf.memory.slots import Slots
from diet_tf.report.histogram import Histogram
from diet_tf.report.influence_diagnosis import InfluenceDiagnosis

# Under what name the wall time of a whole pipeline run stands among a stage's seconds.
PIPELINE_RUN = "pipeline run"


@dataclasses.dataclass(frozen=True)
class StageSummary:
  """What one stage did.

  Attributes:
    span: number of the span that the stage took in.
    num_examples: number of the span's examples.
    num_slots: number of slots of the memory after the stage.
    actions: number of slots by action: `freeze`, `update`, `replace`, `add`.
    outer_losses: the outer loss after each outer step.
    verdict: what the gate decided, by the names of `diet_tf.distillation.gate.Verdict`: `chosen`, `losses`,
      `differences`, `standard_errors`; None where there was no gate.
    seconds: wall time in seconds of each part of the stage, by the part's name.
    flops: floating-point operations of each part of the stage, by the part's name; empty where they were not counted.
    light: why the stage did not refine the memory, as a sentence; None where it did.
  """

  span: int
  num_examples: int
  num_slots: int
  actions: Mapping[str, int] = dataclasses.field(default_factory=dict)
  outer_losses: Sequence[float] = ()
  verdict: Mapping[str, Any] | None = None
  seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
  flops: Mapping[str, float] = dataclasses.field(default_factory=dict)
  light: str | None = None

  def to_dict(self) -> dict[str, Any]:
    """The summary as JSON values."""
    return {**dataclasses.asdict(self), "outer_losses": [float(loss) for loss in self.outer_losses],
            "verdict": without_nan(self.verdict)}

  @classmethod
  def from_dict(cls, value: Mapping[str, Any]) -> StageSummary:
    """The summary that `to_dict` wrote.

    Raises:
      FormatError: a key is missing or unknown, or a value is of another type.
    """
    return cls(**shaped(value, _SUMMARY_6, Place("stage summary", REMEDY)))


VERDICT_SHAPE = {"chosen": str, "losses": Mapping[str, Figure], "differences": Mapping[str, Figure],
                 "standard_errors": Mapping[str, Figure]}
_SUMMARY = {"span": int, "num_examples": int, "num_slots": int, "actions": Mapping[str, int],
            "outer_losses": list[float], "verdict": Nullable(VERDICT_SHAPE), "seconds": Mapping[str, float]}
_WITH_FLOPS = {**_SUMMARY, "flops": Mapping[str, float]}
_SUMMARY_6 = {**_WITH_FLOPS, "light": str | None}
_VERSION_1 = {"summary": _SUMMARY, "slots_by_age": Mapping[int, Mapping[str, int]], "teacher_loss": float | None}
_VERSION_2 = {**_VERSION_1, "coverage": Mapping[str, float] | None, "influences": Histogram | None}
_VERSION_3 = {**_VERSION_2, "rows": Nullable(ROW_COUNTS_SHAPE)}
_VERSION_4 = {**_VERSION_3, "summary": _WITH_FLOPS}
_VERSION_5 = {**_VERSION_4, "diagnosis": InfluenceDiagnosis | None}
STAGE_RECORD = DocumentFormat("diet_tf.stage", {
    1: _VERSION_1, 2: _VERSION_2, 3: _VERSION_3, 4: _VERSION_4, 5: _VERSION_5,
    6: {**_VERSION_5, "summary": _SUMMARY_6}}, indent=1)


@dataclasses.dataclass(frozen=True)
class StageRecord:
  """A stage's summary, with what only the stage could count.

  Attributes:
    summary: what the stage did.
    slots_by_age: per span in which slots were added, how many of them the stage `changed` and `kept` as they were.
    teacher_loss: the teacher's mean cross-entropy on the held-back examples before it saw them; None if not known.
    coverage: per field name, the share of the held-back examples whose id the memory holds, in [0, 1]; None if not
      known.
    influences: the influences of the span's examples, or of a sample of them; None if not known.
    rows: what became of the span's rows; None if not known.
    diagnosis: which examples and slots are harmful by their influence; None if not known.
  """

  summary: StageSummary
  slots_by_age: Mapping[int, Mapping[str, int]]
  teacher_loss: float | None = None
  coverage: Mapping[str, float] | None = None
  influences: Histogram | None = None
  rows: RowCounts | None = None
  diagnosis: InfluenceDiagnosis | None = None

  def write(self, path: str) -> None:
    """Writes the record as JSON."""
    STAGE_RECORD.write(path, STAGE_RECORD.document({
        "summary": self.summary.to_dict(),
        "slots_by_age": {str(span): dict(counts) for span, counts in self.slots_by_age.items()},
        "teacher_loss": self.teacher_loss,
        "coverage": None if self.coverage is None else dict(self.coverage),
        "influences": None if self.influences is None else self.influences.to_dict(),
        "rows": None if self.rows is None else self.rows.to_dict(),
        "diagnosis": None if self.diagnosis is None else dataclasses.asdict(self.diagnosis)}))

  @classmethod
  def read(cls, path: str) -> StageRecord:
    """The record that `write` wrote; one of version 1 knows neither coverage nor influences, none before 3 the rows,
    none before 4 the operations, and none before 6 is of a light stage.

    Raises:
      FormatError: the file is damaged, or of a newer version.
    """
    content = STAGE_RECORD.read(path)
    rows = content.pop("rows", None)
    return cls(**{**content, "summary": StageSummary(**content["summary"]),
                  "rows": None if rows is None else RowCounts.from_dict(rows)})


def distillation_cost(stages: Iterable[StageRecord], spans: Iterable[int]) -> Cost:
  """What it cost to make a memory of some spans: the pipeline runs' time with start-up, and the stages' operations.

  NaN in the unit that is not known for each of the spans.
  """
  known = {stage.summary.span: stage.summary for stage in stages}
  total = Cost(0.0, 0.0)
  for span in spans:
    summary = known.get(span)
    total += UNKNOWN if summary is None else Cost(
        summary.seconds.get(PIPELINE_RUN, math.nan), sum(summary.flops.values()) if summary.flops else math.nan)
  return total


def slots_by_age(slots: Slots, span: int) -> dict[int, dict[str, int]]:
  """Per span in which slots were added, how many were `changed` in `span` (or added then), and how many `kept`."""
  changed = slots.updated_spans == span
  ages = {}
  for born in np.unique(slots.born_spans):
    of_span = slots.born_spans == born
    ages[int(born)] = {"changed": int((of_span & changed).sum()), "kept": int((of_span & ~changed).sum())}
  return ages
