from __future__ import annotations

import math

import pytest

from diet_tf.report import charts


def test_an_axis_maps_its_ends_and_points_up_if_asked():
  axis = charts.Axis(1.0, 3.0, 200.0, 0.0)
  assert [axis(value) for value in (1.0, 2.0, 3.0)] == [200.0, 100.0, 0.0]


@pytest.mark.parametrize(("low", "high", "texts"), [
    (0.0, 10.0, ["0", "2", "4", "6", "8", "10"]),
    (0.703, 0.729, ["0.71", "0.72"]),
    (0.0, 2500.0, ["0", "500", "1,000", "1,500", "2,000", "2,500"]),
    (-0.4, 0.4, ["-0.4", "-0.2", "0.0", "0.2", "0.4"]),
])
def test_ticks_are_at_round_values(low, high, texts):
  assert [tick.text for tick in charts.Axis(low, high, 0.0, 100.0).ticks()] == texts


def test_an_axis_of_one_value_or_none_still_has_a_length():
  for values in ([0.7], [0.0], [], [math.nan]):
    axis = charts.axis(values, 0.0, 10.0)
    assert axis.high > axis.low and axis.ticks()


def test_labels_are_spread_and_stay_inside():
  assert charts.spread([10.0, 50.0], 0.0, 100.0, gap=12.0) == [10.0, 50.0]
  assert charts.spread([50.0, 10.0, 51.0], 0.0, 100.0, gap=12.0) == [50.0, 10.0, 62.0]
  assert charts.spread([99.0, 98.0, 97.0], 0.0, 100.0, gap=12.0) == [100.0, 88.0, 76.0]


def test_a_scatter_has_one_scale_and_bars_of_one_standard_error():
  plot = charts.scatter(["a", "b"], [(0.7, 0.01), (0.8, math.nan)], [(0.6, 0.02), (0.8, 0.0)])
  first, second = plot.points
  across, up = (plot.right - plot.left), (plot.bottom - plot.top)
  # A member that is equal on both lies on the diagonal.
  assert (second.x - plot.left) / across == pytest.approx((plot.bottom - second.y) / up, abs=1e-3)
  assert first.x_error / across == pytest.approx(first.y_error / 2 / up, rel=1e-2)
  assert second.x_error == 0.0
  assert first.title == "a: log 0.7000 ± 0.0100, memory 0.6000 ± 0.0200"


def test_long_names_are_cut_and_keep_their_end():
  name = "dnn(embedding_dim=4,hidden_units=64-32)"
  assert charts.shortened(name) == "dnn(embe…s=64-32)"
  assert charts.shortened("dcn_v2") == "dcn_v2"


def test_long_lines_are_means_of_blocks():
  chart = charts.line_chart({"a": [1.0] * 400 + [3.0] * 400, "b": [2.0, math.nan, 4.0]})
  assert [len(line.points.split()) for line in chart.lines] == [400, 2]
  assert [line.emphasised for line in chart.lines] == [False, True]
  last = chart.lines[0].points.split()[-1]
  assert float(last.split(",")[0]) == chart.right


def test_bars_stack_to_their_sum_and_leave_out_nothings():
  chart = charts.bar_chart({"one": {"a": 3.0, "b": 0.0, "c": 1.0}, "two": {"a": 2.0}}, {"one": "4", "two": "2"})
  one, two = chart.bars
  assert [segment.kind for segment in one.segments] == ["a", "c"]
  assert one.segments[1].x == pytest.approx(one.segments[0].x + one.segments[0].width)
  assert sum(segment.width for segment in one.segments) == pytest.approx(2 * two.segments[0].width, abs=0.02)


def test_bars_leave_room_for_long_labels_and_figures():
  label, text = "span 20220429", "1,234,567"
  chart = charts.bar_chart({label: {"a": 2.0}}, {label: text})
  assert chart.left > 6 * len(label)
  assert chart.bars[0].text_x + 6 * len(text) < charts.WIDTH


def test_a_scatter_grows_with_its_labels():
  names = [f"model {number}" for number in range(30)]
  plot = charts.scatter(names, [(0.7, 0.01)] * 30, [(0.6 + 0.001 * number, 0.01) for number in range(30)])
  heights = sorted(point.label_y for point in plot.points)
  assert heights[0] >= plot.top and heights[-1] <= plot.bottom
  assert min(b - a for a, b in zip(heights, heights[1:])) >= 12.9


def test_columns_stand_side_by_side_on_the_axis():
  chart = charts.column_chart(["0", "1", "2"], {"a": [100.0, 0.0], "b": [50.0, 25.0]}, ticks=("0", "2"))
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
  places = [tick.position for tick in charts.column_chart(edges, {"a": [1.0] * 30}, edges).x_ticks]
  assert 4 <= len(places) <= 12 and min(b - a for a, b in zip(places, places[1:])) > 6 * 4
  assert [tick.text for tick in charts.column_chart(edges, {"a": [1.0] * 30}, ["0.00", "0.15"]).x_ticks] == [
      "0.00", "0.15"]


def test_a_trend_stands_over_its_spans_at_equal_distances():
  chart = charts.trend({"a": {5: (1.0, 0.1), 90: (2.0, math.nan)}, "b": {7: (1.5, 0.0)}})
  a, b = chart.lines
  assert [mark.x - chart.left for mark in (*a.marks, *b.marks)] == pytest.approx(
      [share * (chart.right - chart.left) for share in (0.25, 0.75, 0.5)], abs=0.02)
  assert a.marks[0].y > b.marks[0].y > a.marks[1].y
  assert a.marks[0].error > 0 and a.marks[1].error == 0
  assert a.marks[0].title == "a, span 5: 1.0000 ± 0.1000"
  assert [tick.text for tick in chart.x_ticks] == ["5", "7", "90"]


def test_a_trend_names_as_many_spans_as_there_is_room_for_and_the_last():
  chart = charts.trend({"a": {20220401 + number: (float(number), 0.0) for number in range(28)}})
  assert chart.x_ticks[-1].text == "20220428" and 2 <= len(chart.x_ticks) <= 4
  places = [tick.position for tick in chart.x_ticks]
  assert min(b - a for a, b in zip(places, places[1:])) > 6 * 8


def test_lines_cross_where_they_are_said_to():
  chart = charts.crossing_chart({"log": (0.0, 100.0), "memory": (36.0, 46.0)}, 100, 25, 40, "seconds")
  middle = chart.left + 0.4 * (chart.right - chart.left)
  assert chart.crossing == pytest.approx(middle, abs=0.01)
  heights = []
  for line in chart.lines:
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in line.points.split())
    heights.append(y0 + (middle - x0) / (x1 - x0) * (y1 - y0))
  assert heights[0] == pytest.approx(heights[1], abs=0.02)
  assert chart.marker == pytest.approx(chart.left + 0.25 * (chart.right - chart.left), abs=0.01)
  assert charts.crossing_chart({"a": (0.0, 1.0)}, 100, 1, None, "s").crossing is None


@pytest.mark.parametrize("least, count", [(0, 1), (3, 5), (100, 100), (101, 200), (1900, 2000)])
def test_round_counts(least, count):
  assert charts.round_count(least) == count
