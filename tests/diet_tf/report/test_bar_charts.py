from __future__ import annotations

import pytest

from diet_tf.report import bar_charts
from diet_tf.report.axes import WIDTH


def test_bars_stack_to_their_sum_and_leave_out_nothings():
  chart = bar_charts.bar_chart({"one": {"a": 3.0, "b": 0.0, "c": 1.0}, "two": {"a": 2.0}}, {"one": "4", "two": "2"})
  one, two = chart.bars
  assert [segment.kind for segment in one.segments] == ["a", "c"]
  assert one.segments[1].x == pytest.approx(one.segments[0].x + one.segments[0].width)
  assert sum(segment.width for segment in one.segments) == pytest.approx(2 * two.segments[0].width, abs=0.02)


def test_bars_leave_room_for_long_labels_and_figures():
  label, text = "span 20220429", "1,234,567"
  chart = bar_charts.bar_chart({label: {"a": 2.0}}, {label: text})
  assert chart.left > 6 * len(label)
  assert chart.bars[0].text_x + 6 * len(text) < WIDTH


def test_columns_stand_side_by_side_on_the_axis():
  chart = bar_charts.column_chart(["0", "1", "2"], {"a": [100.0, 0.0], "b": [50.0, 25.0]}, ticks=("0", "2"))
  assert [(column.kind, column.title) for column in chart.columns] == [
      ("a", "a, 0 to 1: 100.0 %"), ("b", "b, 0 to 1: 50.0 %"), ("b", "b, 1 to 2: 25.0 %")]
  a, b, c = chart.columns
  assert a.height == pytest.approx(2 * b.height, abs=0.02) and b.height == pytest.approx(2 * c.height, abs=0.02)
  assert all(column.y + column.height == pytest.approx(chart.bottom) for column in chart.columns)
  assert a.x + a.width == pytest.approx(b.x) and b.x + b.width < (chart.left + chart.right) / 2 < c.x
  assert [tick.text for tick in chart.x_ticks] == ["0", "2"]
  assert [tick.position for tick in chart.x_ticks] == [chart.left, chart.right]


def test_edges_are_written_where_there_is_room():
  edges = [f"{number / 100:.2f}" for number in range(31)]
  places = [tick.position for tick in bar_charts.column_chart(edges, {"a": [1.0] * 30}, edges).x_ticks]
  assert 4 <= len(places) <= 12 and min(b - a for a, b in zip(places, places[1:])) > 6 * 4
  assert [tick.text for tick in bar_charts.column_chart(edges, {"a": [1.0] * 30}, ["0.00", "0.15"]).x_ticks] == [
      "0.00", "0.15"]
