from __future__ import annotations

import math

import pytest

from diet_tf.report import point_charts


def test_a_scatter_has_one_scale_and_bars_of_one_standard_error():
  plot = point_charts.scatter(["a", "b"], [(0.7, 0.01), (0.8, math.nan)], [(0.6, 0.02), (0.8, 0.0)])
  first, second = plot.points
  across, up = (plot.right - plot.left), (plot.bottom - plot.top)
  # A member that is equal on both lies on the diagonal.
  assert (second.x - plot.left) / across == pytest.approx((plot.bottom - second.y) / up, abs=1e-3)
  assert first.x_error / across == pytest.approx(first.y_error / 2 / up, rel=1e-2)
  assert second.x_error == 0.0
  assert first.title == "a: log 0.7000 ± 0.0100, memory 0.6000 ± 0.0200"


def test_a_scatter_grows_with_its_labels():
  names = [f"model {number}" for number in range(30)]
  plot = point_charts.scatter(names, [(0.7, 0.01)] * 30, [(0.6 + 0.001 * number, 0.01) for number in range(30)])
  heights = sorted(point.label_y for point in plot.points)
  assert heights[0] >= plot.top and heights[-1] <= plot.bottom
  assert min(b - a for a, b in zip(heights, heights[1:])) >= 12.9
