"""Charts of lines: over steps, over spans, and two that cross."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from diet_tf.report.axes import (
    LETTER_WIDTH,
    WIDTH,
    Axis,
    Framed,
    Measured,
    Tick,
    axis,
    error_ends,
    label_width,
    measured_text,
    spread,
)

# A longer line is drawn through as many means.
_MOST_POINTS = 400


@dataclasses.dataclass(frozen=True)
class Line:
  """A polyline.

  Attributes:
    points: its points as SVG writes them.
    label: text at its end.
    label_y: place of the label.
    emphasised: whether it is the one to look at.
  """

  points: str
  label: str
  label_y: float
  emphasised: bool


@dataclasses.dataclass(frozen=True)
class LineChart(Framed):
  """Lines over a count of steps."""

  shape: ClassVar[str] = "lines"
  x_ticks: list[Tick]
  y_ticks: list[Tick]
  lines: list[Line]


def line_chart(series: Mapping[str, Sequence[float]]) -> LineChart:
  """Lines over steps 1, 2, ...; the last series is emphasised, since the others are its past.

  A long series is shown as the means of equal blocks of steps.
  """
  left, right, top, bottom = 44.0, round(WIDTH - 10.0 - label_width(list(series)), 2), 10.0, 180.0
  blocks = {label: block_means(values) for label, values in series.items() if len(values)}
  y = axis([value for pairs in blocks.values() for _, value in pairs], bottom, top)
  x = axis([0.0, *(step for pairs in blocks.values() for step, _ in pairs)], left, right, margin=0.0)
  labels_y = spread([y(pairs[-1][1]) for pairs in blocks.values()], top, bottom)
  lines = [Line(" ".join(f"{x(step)},{y(value)}" for step, value in pairs), label, label_y, label == list(blocks)[-1])
           for (label, pairs), label_y in zip(blocks.items(), labels_y, strict=True)]
  return LineChart(214.0, left, right, top, bottom, x.ticks(4), y.ticks(4), lines)


def block_means(values: Sequence[float]) -> list[tuple[float, float]]:
  """`(last step, mean)` of at most 400 equal blocks of a series; steps that are not finite are left out.

  A series without a finite value is one point, `(1, 0)`.
  """
  size = -(-len(values) // _MOST_POINTS)
  pairs = []
  for start in range(0, len(values), size):
    block = [value for value in values[start:start + size] if math.isfinite(value)]
    if block:
      pairs.append((float(min(start + size, len(values))), sum(block) / len(block)))
  return pairs or [(1.0, 0.0)]


@dataclasses.dataclass(frozen=True)
class TrendPoint:
  """A mark of a trend.

  Attributes:
    x: place of the mark.
    y: place of the mark.
    error: half the length of its error bar; 0 for none.
    title: what a pointer shows.
  """

  x: float
  y: float
  error: float
  title: str


@dataclasses.dataclass(frozen=True)
class TrendLine:
  """A series over spans.

  Attributes:
    kind: what the series stands for, which gives it its colour.
    label: text at its end.
    label_y: place of the label.
    points: the line through its marks as SVG writes it.
    marks: one mark per span.
  """

  kind: str
  label: str
  label_y: float
  points: str
  marks: list[TrendPoint]


@dataclasses.dataclass(frozen=True)
class Trend(Framed):
  """Series over spans."""

  shape: ClassVar[str] = "trend"
  x_ticks: list[Tick]
  y_ticks: list[Tick]
  lines: list[TrendLine]


def trend(series: Mapping[str, Mapping[int, Measured]]) -> Trend:
  """Lines of `(value, standard error)` over spans, which stand at equal distances; each series is a kind of its own."""
  spans = sorted({span for values in series.values() for span in values})
  left, right, top, bottom = 44.0, round(WIDTH - 16.0 - label_width(list(series)), 2), 10.0, 160.0
  y = axis(error_ends(value for values in series.values() for value in values.values()), bottom, top)
  distance = (right - left) / (len(spans) + 1)
  places = {span: round(left + (number + 1) * distance, 2) for number, span in enumerate(spans)}
  labels_y = spread([y(values[max(values)][0]) for values in series.values()], top, bottom)
  lines = []
  for (kind, values), label_y in zip(series.items(), labels_y, strict=True):
    marks = [TrendPoint(places[span], y(mean), y.length(error),
                        f"{kind}, span {span}: {measured_text(mean, error)}")
             for span, (mean, error) in sorted(values.items())]
    lines.append(TrendLine(kind, kind, label_y, " ".join(f"{mark.x},{mark.y}" for mark in marks), marks))
  every = math.ceil(LETTER_WIDTH * (len(str(spans[-1])) + 1) / distance)
  x_ticks = [Tick(places[span], str(span)) for span in spans[(len(spans) - 1) % every::every]]
  return Trend(194.0, left, right, top, bottom, x_ticks, y.ticks(4), lines)


@dataclasses.dataclass(frozen=True)
class CrossingChart(Framed):
  """Two straight lines from the left edge to the right one, and where they cross.

  Attributes:
    most: count at the right edge.
    x_ticks: ticks of the horizontal axis.
    y_ticks: ticks of the upright axis.
    lines: the two lines, without marks.
    crossing: place at which they cross; None where that is not within the frame.
    marker: place of the marker.
    y_name: what the upright axis is.
  """

  shape: ClassVar[str] = "crossing"
  most: int
  x_ticks: list[Tick]
  y_ticks: list[Tick]
  lines: list[TrendLine]
  crossing: float | None
  marker: float
  y_name: str


def crossing_chart(lines: Mapping[str, tuple[float, float]], most: int, at: int, crossing: float | None,
                   y_name: str) -> CrossingChart:
  """Lines over counts from 0 to `most`.

  Args:
    lines: the values at 0 and at `most`, by the kind of the line.
    most: count at the right edge, at least 1.
    at: count that the marker stands at.
    crossing: count at which the lines cross; None if they do not.
    y_name: what the upright axis is.
  """
  left, right, top, bottom = 44.0, round(WIDTH - 16.0 - label_width(list(lines)), 2), 22.0, 162.0
  x = Axis(0.0, float(most), left, right)
  y = axis([0.0, *(value for ends in lines.values() for value in ends)], bottom, top, margin=0.04, from_zero=True)
  labels_y = spread([y(end) for _, end in lines.values()], top, bottom)
  drawn = [TrendLine(kind, kind, label_y, f"{left},{y(start)} {right},{y(end)}", [])
           for (kind, (start, end)), label_y in zip(lines.items(), labels_y, strict=True)]
  shown = None if crossing is None or crossing > most else x(crossing)
  return CrossingChart(196.0, left, right, top, bottom, most, x.ticks(4), y.ticks(4), drawn, shown, x(at),
                       y_name)
