"""The figures of all parts, and what follows from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.scale.measuring import NOTHING, Cost
from benchmarks.scale.refinement import RefinementFigures
from benchmarks.scale.stream import SpanFigures

# Components whose memory must not depend on the length of the span.
STREAMING = ("LogGen", "statistics, validation", "teacher, scores")
# The cost of a row up to a late span is compared with that up to this one.
EARLY_SPANS = 10


@dataclasses.dataclass(frozen=True)
class ScaleFigures:
  """What was measured; parts that were left out are empty.

  Attributes:
    spans: spans of growing length, each in a new store.
    refinement: refinement on growing numbers of slots.
    stream: many short spans, one after the other.
    log: few long spans, one after the other.
  """

  spans: tuple[SpanFigures, ...] = ()
  refinement: tuple[RefinementFigures, ...] = ()
  stream: tuple[SpanFigures, ...] = ()
  log: tuple[SpanFigures, ...] = ()

  def growth(self) -> dict[str, float]:
    """Per streaming component, the peak memory at the longest span over that at the shortest."""
    if len(self.spans) < 2:
      return {}
    first, *_, last = sorted(self.spans, key=lambda one: one.num_rows)
    return {name: last.costs[name].peak_bytes / first.costs[name].peak_bytes for name in STREAMING}

  def to_dict(self) -> dict[str, Any]:
    """The figures as JSON values, with what follows from them."""
    return {**dataclasses.asdict(self), "growth": self.growth(), "row_cost_growth": row_cost_growth(self.stream),
            "totals": {name: dataclasses.asdict(cumulated(spans))
                       for name, spans in (("stream", self.stream), ("log", self.log)) if spans}}


def cumulated(spans: Sequence[SpanFigures]) -> Cost:
  """The cost of all components of all spans."""
  return sum((one.total for one in spans), NOTHING)


def cpu_seconds_per_row(spans: Sequence[SpanFigures]) -> np.ndarray:
  """The processor time of all spans up to each, over their rows; `[num_spans]` float64."""
  seconds = np.cumsum([one.total.cpu_seconds for one in spans])
  return seconds / np.cumsum([one.num_rows for one in spans])


def row_cost_growth(spans: Sequence[SpanFigures]) -> float | None:
  """The cost of a row up to the last span over that up to span `EARLY_SPANS`; None for a stream that is no longer."""
  if len(spans) <= EARLY_SPANS:
    return None
  per_row = cpu_seconds_per_row(spans)
  return float(per_row[-1] / per_row[EARLY_SPANS - 1])
