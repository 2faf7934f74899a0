"""Charts of marks with error bars: a scatter plot, and a dot plot with a row per architecture."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

from diet_tf.report.axes import (
    LABEL_GAP,
    WIDTH,
    Framed,
    Measured,
    Tick,
    axis,
    error_ends,
    label_width,
    measured_text,
    shortened,
    spread,
)

# More rows than this stand closer together.
_MOST_WIDE_ROWS = 12


@dataclasses.dataclass(frozen=True)
class Point:
  """A mark with error bars.

  Attributes:
    x: place of the mark.
    y: place of the mark.
    x_error: half the length of the horizontal error bar; 0 for none.
    y_error: half the length of the upright error bar; 0 for none.
    label: name of the mark, in the column of labels.
    label_y: place of the label.
    title: what a pointer shows.
  """

  x: float
  y: float
  x_error: float
  y_error: float
  label: str
  label_y: float
  title: str


@dataclasses.dataclass(frozen=True)
class Scatter(Framed):
  """A metric on the log against the same on the memory, on one scale for both, with the diagonal where they are equal.

  Attributes:
    metric: title of the metric, on the axes.
    label_x: left side of the column of labels.
    x_ticks: ticks of the horizontal axis.
    y_ticks: ticks of the upright axis.
    points: one mark per architecture.
  """

  shape: ClassVar[str] = "scatter"
  metric: str
  label_x: float
  x_ticks: list[Tick]
  y_ticks: list[Tick]
  points: list[Point]


def scatter(names: Sequence[str], log: Sequence[Measured], memory: Sequence[Measured], metric: str = "AUC") -> Scatter:
  """A scatter plot of `(mean, standard error)` pairs, labels in a column at its right.

  Args:
    names: names of the architectures.
    log: values of a training on the log, in the order of `names`; they go to the right.
    memory: values of a training on the memory, in the order of `names`; they go up.
    metric: title of the metric, on the axes.
  """
  left, right, top = 40.0, round(WIDTH - 16.0 - label_width(names), 2), 22.0
  bottom = top + max(200.0, LABEL_GAP * (len(names) - 1))
  ends = error_ends([*log, *memory])
  x, y = axis(ends, left, right), axis(ends, bottom, top)
  wanted = [y(mean) for mean, _ in memory]
  points = [Point(x(a), y(b), x.length(a_error), y.length(b_error), shortened(name), label_y,
                  f"{name}: log {measured_text(a, a_error)}, memory {measured_text(b, b_error)}")
            for name, (a, a_error), (b, b_error), label_y in zip(names, log, memory, spread(wanted, top, bottom),
                                                                 strict=True)]
  return Scatter(bottom + 36.0, left, right, top, bottom, metric, right + 14.0, x.ticks(3), y.ticks(5), points)


@dataclasses.dataclass(frozen=True)
class Mark:
  """A mark in a row of a dot plot.

  Attributes:
    kind: what the mark stands for, which gives it its form and colour.
    x: place of the mark.
    error: half the length of its error bar; 0 for none.
    title: what a pointer shows.
  """

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
  left, right = round(14.0 + label_width(list(rows)), 2), WIDTH - 12.0
  step = 24.0 if len(rows) <= _MOST_WIDE_ROWS else 16.0
  bottom = 8.0 + step * len(rows)
  x = axis(error_ends(value for marks in rows.values() for value in marks.values()), left, right, margin=0.05)
  made = [DotRow(shortened(label), 8.0 + step * (number + 0.5),
                 [Mark(kind, x(mean), x.length(error),
                       f"{label}, {kind.replace('_', ' ')}: {measured_text(mean, error)}")
                  for kind, (mean, error) in marks.items()])
          for number, (label, marks) in enumerate(rows.items())]
  return DotPlot(bottom + 34.0, left, right, bottom, x.ticks(4), made)
