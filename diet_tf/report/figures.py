"""What a report shows: figures with their data, and tables that sort."""

from __future__ import annotations

import dataclasses
import math
import urllib.parse
from collections.abc import Sequence
from typing import Any

from diet_tf.printable import spreadsheet_text

Value = str | int | float | None
# A table shows no more rows than this; the CSV has all.
_MOST_ROWS = 200


@dataclasses.dataclass(frozen=True)
class Data:
  """The rows behind a figure: what the report's charts and matplotlib's plots draw, each in its way.

  Attributes:
    name: name of the file that they are downloaded as, without its ending.
    columns: names of the columns.
    rows: values of each row, in the order of `columns`; None or NaN where one is not known.
  """

  name: str
  columns: tuple[str, ...]
  rows: tuple[tuple[Value, ...], ...]

  def column(self, name: str) -> list[Any]:
    """The values of a column, row by row."""
    place = self.columns.index(name)
    return [row[place] for row in self.rows]

  @property
  def texts(self) -> list[list[str]]:
    """The first rows as text, numbers to six digits."""
    return [[_text(value) for value in row] for row in self.rows[:_MOST_ROWS]]

  @property
  def num_hidden(self) -> int:
    """How many rows `texts` leaves out."""
    return max(0, len(self.rows) - _MOST_ROWS)

  def csv(self) -> str:
    """The rows as CSV with a header, numbers in full; a text never begins as a formula does."""
    return "".join(",".join(map(_csv_cell, row)) + "\r\n" for row in (self.columns, *self.rows))

  @property
  def href(self) -> str:
    """The CSV as an address that needs no server."""
    return "data:text/csv;charset=utf-8," + urllib.parse.quote(self.csv(), safe="/,:")


def data(name: str, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> Data:
  """The rows behind a figure."""
  return Data(name, tuple(columns), tuple(map(tuple, rows)))


@dataclasses.dataclass(frozen=True)
class Figure:
  """A chart with all that a reader needs of it.

  Attributes:
    name: name that identifies the figure within the page.
    title: title of its section.
    caption: sentences that say what is drawn, and how to read it.
    chart: chart of `point_charts`, `line_charts` or `bar_charts`; None where what it shows is not known.
    data: rows behind the chart; None where there is no chart.
    legend: `(kind, name)` of each colour of the chart.
    missing: sentence that says why there is no chart.
    axis: text of the horizontal axis.
  """

  name: str
  title: str
  caption: str
  chart: Any | None
  data: Data | None = None
  legend: tuple[tuple[str, str], ...] = ()
  missing: str = ""
  axis: str = ""


@dataclasses.dataclass(frozen=True)
class Cell:
  """A cell of a table that sorts: its text, and the number that it sorts by, if it is one."""

  text: str
  number: float | None = None

  @property
  def key(self) -> str:
    """The number as text; empty where there is none."""
    return "" if self.number is None or not math.isfinite(self.number) else repr(float(self.number))


@dataclasses.dataclass(frozen=True)
class SortedTable:
  """A table whose columns sort.

  Attributes:
    caption: sentence that says what the table holds.
    columns: names of the columns.
    rows: cells of each row; the first names the row.
  """

  caption: str
  columns: tuple[str, ...]
  rows: tuple[tuple[Cell, ...], ...]


def _text(value: Value) -> str:
  if value is None or isinstance(value, float) and not math.isfinite(value):
    return "–"
  if isinstance(value, float):
    return f"{value:.6g}"
  return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _csv_cell(value: Value) -> str:
  if value is None or isinstance(value, float) and not math.isfinite(value):
    return ""
  if not isinstance(value, str):
    return f"{value:.10g}" if isinstance(value, float) else str(value)
  text = spreadsheet_text(value)
  return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\r\n') else text
