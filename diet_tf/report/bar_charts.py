"""Charts of bars: horizontal ones of segments, and upright ones over the bins of a histogram."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

from diet_tf.report.axes import WIDTH, Framed, Tick, axis, label_width, shortened


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
  """Stacked horizontal bars.

  Args:
    rows: length of each bar's segments, at least 0, by the bar's label and then by the segment's kind.
    texts: figure at the end of each bar, by the bar's label.
  """
  step, bar_height, left = 24.0, 14.0, round(14.0 + label_width(list(rows)), 2)
  right = round(WIDTH - 10.0 - label_width(list(texts.values())), 2)
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
    edges: edges of the bins as text, one more than there are bins.
    series: value of each bin in percent, by the kind of the column.
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
    if text in ticks and (not x_ticks or position - x_ticks[-1].position >= label_width([text, x_ticks[-1].text])):
      x_ticks.append(Tick(position, text))
  return ColumnChart(184.0, left, right, top, bottom, x_ticks, y.ticks(4), columns)
