"""The table of a long stream: after each shown span its cost so far, and what the memory is worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.fidelity.tables import Table
from benchmarks.scale.figures import cpu_seconds_per_row, cumulated
from benchmarks.scale.measuring import MIB
from benchmarks.scale.stream import SpanFigures
from diet_tf.io.json_files import without_nan


@dataclasses.dataclass(frozen=True)
class SpanRow:
  """What is known after a span.

  Attributes:
    place: number of the spans so far.
    streams: figures of these spans, for each seed.
    figures: those of `JudgedSpan.figures`; None where the panel was not trained.
  """

  place: int
  streams: Sequence[Sequence[SpanFigures]]
  figures: Mapping[str, Any] | None = None

  @property
  def num_rows(self) -> int:
    """Rows of the log so far."""
    return sum(one.num_rows for one in self.streams[0])

  @property
  def cpu_seconds_per_row(self) -> float:
    """Processor time so far over the rows, the mean over the seeds."""
    return float(np.mean([cpu_seconds_per_row(stream)[-1] for stream in self.streams]))

  @property
  def wall_seconds(self) -> float:
    """Wall time so far, the mean over the seeds."""
    return float(np.mean([cumulated(stream).wall_seconds for stream in self.streams]))

  @property
  def peak_bytes(self) -> int:
    """The largest peak of any component so far, over all seeds."""
    return max(cumulated(stream).peak_bytes for stream in self.streams)

  @property
  def num_passes(self) -> float | None:
    """Wall time so far in passes over the log so far; None where none was measured."""
    return None if self.figures is None else self.wall_seconds / self.figures["pass_seconds"]

  def to_dict(self) -> dict[str, Any]:
    """The row as JSON values; of the spans, the newest."""
    figures = None if self.figures is None else {
        name: value._asdict() if hasattr(value, "_asdict") else dataclasses.asdict(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
        for name, value in self.figures.items()}
    return without_nan({
        "place": self.place, "num_rows": self.num_rows, "cpu_seconds_per_row": self.cpu_seconds_per_row,
        "wall_seconds": self.wall_seconds, "peak_bytes": self.peak_bytes, "passes": self.num_passes,
        "newest": [stream[-1].to_dict() for stream in self.streams], "figures": figures})


def table_of(rows: Sequence[SpanRow]) -> str:
  """The rows as a Markdown table."""
  header = ("span", "rows so far", "slots", "CPU s for 1,000 rows", "wall minutes", "passes", "peak MiB",
            "recovery", "least", "agreement, one memory", "agreement, mean", "regret", "resolved pairs")
  return Table("After each span", header, tuple(_cells(row) for row in rows)).markdown()


def _cells(row: SpanRow) -> tuple[str, ...]:
  newest = row.streams[0][-1]
  cost = (f"{newest.span:,}" if newest.span < 10_000 else str(newest.span), f"{row.num_rows:,}",
          f"{newest.num_slots:,}", f"{1e3 * row.cpu_seconds_per_row:.2f}", f"{row.wall_seconds / 60:,.1f}",
          "-" if row.num_passes is None else f"{row.num_passes:,.1f}", f"{row.peak_bytes / MIB:,.0f}")
  if row.figures is None:
    return (*cost, *["-"] * 6)
  recovery, agreement = row.figures["recovery"], row.figures["agreement"]
  return (*cost, f"{recovery.mean:.3f} ± {recovery.standard_error:.3f}",
          f"{row.figures['least']:.3f} ({row.figures['least_member']})",
          f"{agreement.mean:.3f} ± {agreement.standard_error:.3f}", f"{row.figures['agreement_of_mean']:.3f}",
          f"{row.figures['regret']:.4f}", str(row.figures["num_resolved"]))
