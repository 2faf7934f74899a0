"""The geometry of the report's charts: positions in the units of an SVG view box, with no markup and no colours.

Charts are narrow (`WIDTH`), so that their text keeps a readable size on a phone, where the picture is not scaled down.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

WIDTH = 300.0
_LABEL_GAP = 13.0
# About the width of a letter at the size of the charts' text.
_LETTER = 7.1
_MOST_LETTERS = 18
_MOST_POINTS = 400
# More rows than this stand closer together.
_MOST_WIDE_ROWS = 12


@dataclasses.dataclass(frozen=True)
class Tick:
  """A tick of an axis: where it is, and what it says."""

  position: float
  text: str


@dataclasses.dataclass(frozen=True)
class Axis:
  """A linear scale from values to positions.

  Attributes:
    low: the least value.
    high: the greatest value.
    start: the position of `low`.
    end: the position of `high`; less than `start` for an axis that points upwards.
  """

  low: float
  high: float
  start: float
  end: float

  def __call__(self, value: float) -> float:
    """The position of a value, to a hundredth of a unit."""
    return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)

  def ticks(self, most: int = 5) -> list[Tick]:
    """At most `most` ticks at round values."""
    step = _round_step((self.high - self.low) / most)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
    return [Tick(self(number * step), f"{number * step:,.{digits}f}") for number in range(first, last + 1)]


def axis(values: Sequence[float], start: float, end: float, *, margin: float = 0.08, from_zero: bool = False) -> Axis:
  """An axis that holds all finite `values`, with a margin on either side."""
  finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
  low, high = min(finite), max(finite)
  room = margin * (high - low) if high > low else 0.1 * abs(high) or 1.0
  return Axis(0.0 if from_zero else low - room, high + room, start, end)


def _round_step(least: float) -> float:
  """The least of 1, 2 and 5 times a power of ten that is at least `least`."""
  power = 10.0 ** math.floor(math.log10(least))
  return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= least * (1.0 - 1e-9))


def spread(positions: Sequence[float], low: float, high: float, gap: float = _LABEL_GAP) -> list[float]:
  """Positions as near to the wanted ones as labels of height `gap` allow, between `low` and `high` if they fit."""
  order = sorted(range(len(positions)), key=lambda index: positions[index])
  placed = [0.0] * len(positions)
  last = low - gap
  for index in order:
    last = placed[index] = max(positions[index], last + gap)
  last = high + gap
  for index in reversed(order):  # What overflows is pushed back, and pushes in turn.
    if placed[index] <= last - gap:
      break
    last = placed[index] = last - gap
  return [round(value, 2) for value in placed]


def shortened(text: str) -> str:
  """The text, or if it is too long for a label its beginning and end, which tell variants of one family apart."""
  if len(text) <= _MOST_LETTERS:
    return text
  half = (_MOST_LETTERS - 1) // 2
  return f"{text[:half]}…{text[-half:]}"


def _label_width(labels: Sequence[str]) -> float:
  return _LETTER * max((len(shortened(label)) for label in labels), default=0)


@dataclasses.dataclass(frozen=True)
class Framed:
  """A chart within axes: its height, and the four sides of its frame."""

  height: float
  left: float
  right: float
  top: float
  bottom: float


@dataclasses.dataclass(frozen=True)
class Point:
  """A mark with error bars: its place, half the bars' lengths (0 for none), a label, and what a pointer shows."""

  x: float
  y: float
  x_error: float
  y_error: float
  label: str
  label_y: float
  title: str


@dataclasses.dataclass(frozen=True)
class Scatter(Framed):
  """AUC on the log against AUC on the memory, on one scale for both, with the diagonal where they are equal."""

  shape: ClassVar[str] = "scatter"
  label_x: float
  x_ticks: list[Tick]
  y_ticks: list[Tick]
  points: list[Point]


# A value with its standard error, which may be NaN.
Measured = tuple[float, float]


def scatter(names: Sequence[str], log: Sequence[Measured], memory: Sequence[Measured]) -> Scatter:
  """A scatter plot of `(mean, standard error)` pairs, labels in a column at its right."""
  left, right, top = 40.0, round(WIDTH - 16.0 - _label_width(names), 2), 22.0
  bottom = top + max(200.0, _LABEL_GAP * (len(names) - 1))
  ends = [mean + sign * _finite(error) for mean, error in [*log, *memory] for sign in (-1, 1)]
  x, y = axis(ends, left, right), axis(ends, bottom, top)
  wanted = [y(mean) for mean, _ in memory]
  scale, y_scale = (right - left) / (x.high - x.low), (bottom - top) / (y.high - y.low)
  points = [Point(x(a), y(b), round(_finite(a_error) * scale, 2), round(_finite(b_error) * y_scale, 2), shortened(name),
                  label_y,
                  f"{name}: log {_measured(a, a_error)}, memory {_measured(b, b_error)}")
            for name, (a, a_error), (b, b_error), label_y in zip(names, log, memory, spread(wanted, top, bottom),
                                                                 strict=True)]
  return Scatter(bottom + 36.0, left, right, top, bottom, right + 14.0, x.ticks(3), y.ticks(5), points)


@dataclasses.dataclass(frozen=True)
class Mark:
  """A mark in a row of a dot plot."""

  kind: str
  x: float
  error: float
  title: str


@dataclasses.dataclass(frozen=True)
class DotRow:
  """A row of a dot plot."""

  label: str
  y: float
  marks: list[Mark]


@dataclasses.dataclass(frozen=True)
class DotPlot:
  """One row per member, one mark per kind of training data."""

  shape: ClassVar[str] = "dots"
  height: float
  left: float
  right: float
  bottom: float
  ticks: list[Tick]
  rows: list[DotRow]


def dot_plot(rows: Mapping[str, Mapping[str, Measured]]) -> DotPlot:
  """A dot plot of `(mean, standard error)` by row and kind."""
  left, right = round(14.0 + _label_width(list(rows)), 2), WIDTH - 12.0
  step = 24.0 if len(rows) <= _MOST_WIDE_ROWS else 16.0
  bottom = 8.0 + step * len(rows)
  x = axis([mean + sign * _finite(error) for marks in rows.values() for mean, error in marks.values()
            for sign in (-1, 1)], left, right, margin=0.05)
  scale = (right - left) / (x.high - x.low)
  made = [DotRow(shortened(label), 8.0 + step * (number + 0.5),
                 [Mark(kind, x(mean), round(_finite(error) * scale, 2),
                       f"{label}, {kind.replace('_', ' ')}: {_measured(mean, error)}")
                  for kind, (mean, error) in marks.items()])
          for number, (label, marks) in enumerate(rows.items())]
  return DotPlot(bottom + 34.0, left, right, bottom, x.ticks(4), made)


@dataclasses.dataclass(frozen=True)
class Line:
  """A polyline: its points as SVG writes them, a label for its end, and whether it is the one to look at."""

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
  left, right, top, bottom = 44.0, round(WIDTH - 10.0 - _label_width(list(series)), 2), 10.0, 180.0
  blocks = {label: block_means(values) for label, values in series.items() if len(values)}
  y = axis([value for pairs in blocks.values() for _, value in pairs], bottom, top)
  x = axis([0.0, *(step for pairs in blocks.values() for step, _ in pairs)], left, right, margin=0.0)
  labels_y = spread([y(pairs[-1][1]) for pairs in blocks.values()], top, bottom)
  lines = [Line(" ".join(f"{x(step)},{y(value)}" for step, value in pairs), label, label_y, label == list(blocks)[-1])
           for (label, pairs), label_y in zip(blocks.items(), labels_y, strict=True)]
  return LineChart(214.0, left, right, top, bottom, x.ticks(4), y.ticks(4), lines)


def block_means(values: Sequence[float]) -> list[tuple[float, float]]:
  """`(last step, mean)` of at most `_MOST_POINTS` blocks; steps that are not finite are left out."""
  size = -(-len(values) // _MOST_POINTS)
  pairs = []
  for start in range(0, len(values), size):
    block = [value for value in values[start:start + size] if math.isfinite(value)]
    if block:
      pairs.append((float(min(start + size, len(values))), sum(block) / len(block)))
  return pairs or [(1.0, 0.0)]


@dataclasses.dataclass(frozen=True)
class Segment:
  """A part of a bar."""

  kind: str
  x: float
  width: float
  title: str


@dataclasses.dataclass(frozen=True)
class Bar:
  """A horizontal bar of one or more segments, with a label at its left and a figure at its right."""

  label: str
  y: float
  segments: list[Segment]
  text: str
  text_x: float


@dataclasses.dataclass(frozen=True)
class BarChart:
  """Horizontal bars from 0."""

  shape: ClassVar[str] = "bars"
  height: float
  left: float
  bar_height: float
  bars: list[Bar]


def bar_chart(rows: Mapping[str, Mapping[str, float]], texts: Mapping[str, str]) -> BarChart:
  """Stacked horizontal bars: per row the segments' lengths by kind, and the figure at the bar's end."""
  step, bar_height, left = 24.0, 14.0, round(14.0 + _label_width(list(rows)), 2)
  right = round(WIDTH - 10.0 - _label_width(list(texts.values())), 2)
  x = axis([0.0, *(sum(parts.values()) for parts in rows.values())], left, right, margin=0.0, from_zero=True)
  bars = []
  for number, (label, parts) in enumerate(rows.items()):
    segments, done = [], 0.0
    for kind, value in parts.items():
      if value > 0:
        segments.append(Segment(kind, x(done), round(x(done + value) - x(done), 2), f"{label}, {kind}: {value:,.4g}"))
        done += value
    bars.append(Bar(shortened(label), 5.0 + step * number, segments, texts[label], x(done) + 5.0))
  return BarChart(step * len(rows) + 6.0, left, bar_height, bars)


@dataclasses.dataclass(frozen=True)
class Column:
  """An upright bar."""

  kind: str
  x: float
  y: float
  width: float
  height: float
  title: str


@dataclasses.dataclass(frozen=True)
class ColumnChart(Framed):
  """Upright bars over the bins of a histogram, one for each series in each bin."""

  shape: ClassVar[str] = "columns"
  x_ticks: list[Tick]
  y_ticks: list[Tick]
  columns: list[Column]


def column_chart(edges: Sequence[str], series: Mapping[str, Sequence[float]], ticks: Sequence[str]) -> ColumnChart:
  """Columns from 0, in percent.

  Args:
    edges: of the bins as text, one more than there are bins.
    series: per kind, the value of each bin.
    ticks: the edges that are written under the axis, as far as there is room.
  """
  left, right, top, bottom = 34.0, WIDTH - 24.0, 10.0, 150.0
  y = axis([0.0, *(value for values in series.values() for value in values)], bottom, top, margin=0.05, from_zero=True)
  step = (right - left) / (len(edges) - 1)
  width = 0.84 * step / len(series)
  columns = [
      Column(kind, round(left + (number + 0.08) * step + place * width, 2), y(value), round(width, 2),
             round(bottom - y(value), 2), f"{kind}, {edges[number]} to {edges[number + 1]}: {value:.1f} %")
      for place, (kind, values) in enumerate(series.items()) for number, value in enumerate(values) if value > 0]
  x_ticks: list[Tick] = []
  for number, text in enumerate(edges):
    position = round(left + number * step, 2)
    if text in ticks and (not x_ticks or position - x_ticks[-1].position >= _label_width([text, x_ticks[-1].text])):
      x_ticks.append(Tick(position, text))
  return ColumnChart(184.0, left, right, top, bottom, x_ticks, y.ticks(4), columns)


@dataclasses.dataclass(frozen=True)
class TrendPoint:
  """A mark of a trend, with half its error bar's length (0 for none)."""

  x: float
  y: float
  error: float
  title: str


@dataclasses.dataclass(frozen=True)
class TrendLine:
  """A series over spans: its colour's kind, its marks, and the line through them."""

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
  left, right, top, bottom = 44.0, round(WIDTH - 16.0 - _label_width(list(series)), 2), 10.0, 160.0
  y = axis([mean + sign * _finite(error) for values in series.values() for mean, error in values.values()
            for sign in (-1, 1)], bottom, top)
  distance = (right - left) / (len(spans) + 1)
  places = {span: round(left + (number + 1) * distance, 2) for number, span in enumerate(spans)}
  scale = (bottom - top) / (y.high - y.low)
  labels_y = spread([y(values[max(values)][0]) for values in series.values()], top, bottom)
  lines = []
  for (kind, values), label_y in zip(series.items(), labels_y, strict=True):
    marks = [TrendPoint(places[span], y(mean), round(_finite(error) * scale, 2),
                        f"{kind}, span {span}: {_measured(mean, error)}")
             for span, (mean, error) in sorted(values.items())]
    lines.append(TrendLine(kind, kind, label_y, " ".join(f"{mark.x},{mark.y}" for mark in marks), marks))
  every = math.ceil(_LETTER * (len(str(spans[-1])) + 1) / distance)
  x_ticks = [Tick(places[span], str(span)) for span in spans[(len(spans) - 1) % every::every]]
  return Trend(194.0, left, right, top, bottom, x_ticks, y.ticks(4), lines)


@dataclasses.dataclass(frozen=True)
class CrossingChart(Framed):
  """Two straight lines from the left edge to the right one, and where they cross."""

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
    lines: per kind, the values at 0 and at `most`.
    most: the count at the right edge.
    at: the count that the marker stands at.
    crossing: the count at which the lines cross; None for none.
    y_name: what the upright axis is.
  """
  left, right, top, bottom = 44.0, round(WIDTH - 16.0 - _label_width(list(lines)), 2), 22.0, 162.0
  x = Axis(0.0, float(most), left, right)
  y = axis([0.0, *(value for ends in lines.values() for value in ends)], bottom, top, margin=0.04, from_zero=True)
  labels_y = spread([y(end) for _, end in lines.values()], top, bottom)
  drawn = [TrendLine(kind, kind, label_y, f"{left},{y(start)} {right},{y(end)}", [])
           for (kind, (start, end)), label_y in zip(lines.items(), labels_y, strict=True)]
  shown = None if crossing is None or crossing > most else x(crossing)
  return CrossingChart(196.0, left, right, top, bottom, most, x.ticks(4), y.ticks(4), drawn, shown, x(at),
                       y_name)


def round_count(least: float) -> int:
  """The least of 1, 2 and 5 times a power of ten that is at least `least`, itself at least 1."""
  return round(_round_step(max(1.0, least)))


def _finite(value: float) -> float:
  return value if math.isfinite(value) else 0.0


def _measured(mean: float, error: float) -> str:
  return f"{mean:.4f} ± {error:.4f}" if math.isfinite(error) else f"{mean:.4f}"
