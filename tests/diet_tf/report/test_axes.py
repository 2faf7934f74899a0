from __future__ import annotations

import math

import pytest

from diet_tf.report import axes


def test_an_axis_maps_its_ends_and_points_up_if_asked():
  axis = axes.Axis(1.0, 3.0, 200.0, 0.0)
  assert [axis(value) for value in (1.0, 2.0, 3.0)] == [200.0, 100.0, 0.0]


@pytest.mark.parametrize(("low", "high", "texts"), [
    (0.0, 10.0, ["0", "2", "4", "6", "8", "10"]),
    (0.703, 0.729, ["0.71", "0.72"]),
    (0.0, 2500.0, ["0", "500", "1,000", "1,500", "2,000", "2,500"]),
    (-0.4, 0.4, ["-0.4", "-0.2", "0.0", "0.2", "0.4"]),
])
def test_ticks_are_at_round_values(low, high, texts):
  assert [tick.text for tick in axes.Axis(low, high, 0.0, 100.0).ticks()] == texts


def test_an_axis_of_one_value_or_none_still_has_a_length():
  for values in ([0.7], [0.0], [], [math.nan]):
    axis = axes.axis(values, 0.0, 10.0)
    assert axis.high > axis.low and axis.ticks()


def test_labels_are_spread_and_stay_inside():
  assert axes.spread([10.0, 50.0], 0.0, 100.0, gap=12.0) == [10.0, 50.0]
  assert axes.spread([50.0, 10.0, 51.0], 0.0, 100.0, gap=12.0) == [50.0, 10.0, 62.0]
  assert axes.spread([99.0, 98.0, 97.0], 0.0, 100.0, gap=12.0) == [100.0, 88.0, 76.0]


def test_long_names_are_cut_and_keep_their_end():
  name = "dnn(embedding_dim=4,hidden_units=64-32)"
  assert axes.shortened(name) == "dnn(embe…s=64-32)"
  assert axes.shortened("dcn_v2") == "dcn_v2"


@pytest.mark.parametrize("least, count", [(0, 1), (3, 5), (100, 100), (101, 200), (1900, 2000)])
def test_round_counts(least, count):
  assert axes.round_count(least) == count


def test_differences_have_the_length_of_the_scale_in_either_direction():
  # 100 units for 2 of the values.
  for axis in (axes.Axis(1.0, 3.0, 0.0, 100.0), axes.Axis(1.0, 3.0, 100.0, 0.0)):
    assert [axis.length(error) for error in (0.5, 0.0, math.nan, math.inf)] == [25.0, 0.0, 0.0, 0.0]


def test_error_bars_end_where_the_error_does():
  assert axes.error_ends([(2.0, 0.5), (3.0, math.nan)]) == [1.5, 2.5, 3.0, 3.0]


def test_a_label_is_as_wide_as_it_is_shown():
  # 7.1 units a letter; no label is shown with more than 17 letters and an ellipsis between its halves.
  assert axes.label_width(["fm", "wide"]) == pytest.approx(4 * 7.1)
  assert axes.label_width(["x" * 40]) == pytest.approx(17 * 7.1) and axes.label_width([]) == 0.0


def test_a_value_is_written_with_its_error_if_it_has_one():
  assert axes.measured_text(0.70123, 0.00456) == "0.7012 ± 0.0046"
  assert axes.measured_text(0.7, math.nan) == "0.7000"
