from __future__ import annotations

import math

import pytest

from diet_tf.report import line_charts


def test_long_lines_are_means_of_blocks():
  chart = line_charts.line_chart({"a": [1.0] * 400 + [3.0] * 400, "b": [2.0, math.nan, 4.0]})
  assert [len(line.points.split()) for line in chart.lines] == [400, 2]
  assert [line.emphasised for line in chart.lines] == [False, True]
  last = chart.lines[0].points.split()[-1]
  assert float(last.split(",")[0]) == chart.right


def test_a_trend_stands_over_its_spans_at_equal_distances():
  chart = line_charts.trend({"a": {5: (1.0, 0.1), 90: (2.0, math.nan)}, "b": {7: (1.5, 0.0)}})
  a, b = chart.lines
  assert [mark.x - chart.left for mark in (*a.marks, *b.marks)] == pytest.approx(
      [share * (chart.right - chart.left) for share in (0.25, 0.75, 0.5)], abs=0.02)
  assert a.marks[0].y > b.marks[0].y > a.marks[1].y
  assert a.marks[0].error > 0 and a.marks[1].error == 0
  assert a.marks[0].title == "a, span 5: 1.0000 ± 0.1000"
  assert [tick.text for tick in chart.x_ticks] == ["5", "7", "90"]


def test_a_trend_names_as_many_spans_as_there_is_room_for_and_the_last():
  chart = line_charts.trend({"a": {20220401 + number: (float(number), 0.0) for number in range(28)}})
  assert chart.x_ticks[-1].text == "20220428" and 2 <= len(chart.x_ticks) <= 4
  places = [tick.position for tick in chart.x_ticks]
  assert min(b - a for a, b in zip(places, places[1:])) > 6 * 8


def test_lines_cross_where_they_are_said_to():
  chart = line_charts.crossing_chart({"log": (0.0, 100.0), "memory": (36.0, 46.0)}, 100, 25, 40, "seconds")
  middle = chart.left + 0.4 * (chart.right - chart.left)
  assert chart.crossing == pytest.approx(middle, abs=0.01)
  heights = []
  for line in chart.lines:
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in line.points.split())
    heights.append(y0 + (middle - x0) / (x1 - x0) * (y1 - y0))
  assert heights[0] == pytest.approx(heights[1], abs=0.02)
  assert chart.marker == pytest.approx(chart.left + 0.25 * (chart.right - chart.left), abs=0.01)
  assert line_charts.crossing_chart({"a": (0.0, 1.0)}, 100, 1, None, "s").crossing is None
