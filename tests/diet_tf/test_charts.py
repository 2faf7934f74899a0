from __future__ import annotations

import math

import pytest

from diet_tf import charts


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
