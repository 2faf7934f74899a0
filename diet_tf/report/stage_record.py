"""What one stage did, as its report and the report of the run read it: JSON beside the gate's verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diet_tf.io.arrays import write_json
from diet_tf.io.documents import check_document, read_document
from diet_tf.memory.slots import Slots
from diet_tf.report.histogram import Histogram

FORMAT_NAME = "diet_tf.stage"
FORMAT_VERSION = 2

_KEYS = {"format_name", "format_version", "summary", "slots_by_age", "teacher_loss"}
_KEYS_SINCE_2 = {"coverage", "influences"}


@dataclasses.dataclass(frozen=True)
class StageSummary:
  """What one stage did.

  Attributes:
    span: the span that it took in.
    num_examples: of the span.
    num_slots: of the memory after it.
    actions: slots by action: `freeze`, `update`, `replace`, `add`.
    outer_losses: the outer loss after each outer step.
    verdict: of the gate, by the names of `diet_tf.distillation.gate.Verdict`: `chosen`, `losses`, `differences`,
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


@dataclasses.dataclass(frozen=True)
class StageRecord:
  """A stage's summary, with what only the stage could count.

  Attributes:
    summary: of the stage.
    slots_by_age: per span in which slots were added, how many of them the stage `changed` and `kept` as they were.
    teacher_loss: the teacher's cross-entropy on the held-back examples before it saw them; None if not known.
    coverage: per field, the share of the held-back examples whose id the memory holds; None if not known.
    influences: of the span's examples; None if not known.
  """

  summary: StageSummary
  slots_by_age: Mapping[int, Mapping[str, int]]
  teacher_loss: float | None = None
  coverage: Mapping[str, float] | None = None
  influences: Histogram | None = None

  def write(self, path: str) -> None:
    """Writes the record as JSON."""
    write_json(path, {
        "format_name": FORMAT_NAME, "format_version": FORMAT_VERSION, "summary": self.summary.to_dict(),
        "slots_by_age": {str(span): dict(counts) for span, counts in self.slots_by_age.items()},
        "teacher_loss": self.teacher_loss,
        "coverage": None if self.coverage is None else dict(self.coverage),
        "influences": None if self.influences is None else self.influences.to_dict()})

  @classmethod
  def read(cls, path: str) -> StageRecord:
    """The record that `write` wrote; one of version 1 knows neither coverage nor influences.

    Raises:
      FormatError: the file is damaged, or of a newer version.
    """
    document = read_document(path)
    keys = _KEYS if document.get("format_version") == 1 else _KEYS | _KEYS_SINCE_2
    check_document(document, path, FORMAT_NAME, FORMAT_VERSION, keys)
    ages = {int(span): counts for span, counts in document["slots_by_age"].items()}
    influences = document.get("influences")
    return cls(StageSummary.from_dict(document["summary"]), ages, document["teacher_loss"], document.get("coverage"),
               None if influences is None else Histogram.from_dict(influences))


def slots_by_age(slots: Slots, span: int) -> dict[int, dict[str, int]]:
  """Per span in which slots were added, how many were `changed` in `span` (or added then), and how many `kept`."""
  changed = slots.updated_spans == span
  ages = {}
  for born in np.unique(slots.born_spans):
    of_span = slots.born_spans == born
    ages[int(born)] = {"changed": int((of_span & changed).sum()), "kept": int((of_span & ~changed).sum())}
  return ages
