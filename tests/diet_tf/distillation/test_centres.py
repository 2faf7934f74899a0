"""Centres by hand, and on two levels: as near as the exact search finds them, and the same however they are asked."""

import numpy as np
import pytest

from diet_tf.distillation import centres as centres_module
from diet_tf.distillation.centres import Centres, apportioned, assign, find_centres, fit_centres


def test_centres_are_found_on_separable_points():
  random = np.random.default_rng(0)
  means = np.array([[0, 0], [10, 0], [0, 10], [10, 10], [-10, 5]], np.float32)
  points = (means[np.arange(200) % 5] + random.normal(scale=0.3, size=(200, 2))).astype(np.float32)
  centres = fit_centres(points, np.ones(200), 5, num_iterations=20, seed=1)
  expected = np.stack([points[np.arange(200) % 5 == cluster].mean(0) for cluster in range(5)])
  clusters, distances = assign(expected, centres)
  assert sorted(clusters) == list(range(5))
  np.testing.assert_allclose(centres[clusters], expected, atol=1e-4)
  assert np.abs(distances).max() < 1e-3


def test_centres_are_weighted_means():
  points = np.array([[0.0], [1.0], [10.0]], np.float32)
  centres = fit_centres(points, np.array([1.0, 3.0, 1.0]), 2, num_iterations=10, seed=0)
  np.testing.assert_allclose(np.sort(centres[:, 0]), [0.75, 10.0], rtol=1e-6)


def test_an_empty_cluster_moves_to_the_worst_served_point():
  # Whatever the draw among 50 equal points and one far away, the far one ends with a centre of its own.
  points = np.zeros((51, 1), np.float32)
  points[50] = 9
  for seed in range(3):
    centres = fit_centres(points, np.ones(51), 2, num_iterations=3, seed=seed)
    assert sorted(centres[:, 0].tolist()) == [0, 9]


def make_points(count, seed=0):
  """Points of a plane in 40 clouds of unequal mass."""
  random = np.random.default_rng(seed)
  clouds = random.normal(scale=5, size=(40, 2))[random.geometric(0.1, size=count) % 40]
  return (clouds + random.normal(size=(count, 2))).astype(np.float32)


@pytest.fixture
def two_levels(monkeypatch):
  """Two levels from 16 centres on."""
  monkeypatch.setattr(centres_module, "MAX_EXACT_CENTRES", 16)


def test_few_centres_are_found_by_the_exact_search():
  points, weights = make_points(200), np.ones(200)
  found = find_centres(points, weights, 16, num_iterations=3, seed=4)
  assert found.cells is None
  np.testing.assert_array_equal(found.points, fit_centres(points, weights, 16, num_iterations=3, seed=4))


def test_two_levels_serve_points_about_as_well_as_the_exact_search(two_levels):
  points, weights = make_points(4000), np.ones(4000)
  exact = fit_centres(points, weights, 100, num_iterations=12, seed=0)
  found = find_centres(points, weights, 100, num_iterations=12, seed=0)
  assert found.points.shape == (100, 2) and len(found.cells) <= 10
  clusters, distances = found.nearest(points)
  assert distances.mean() < 1.05 * assign(points, exact)[1].mean()
  # The cells that are searched hold the nearest of all centres, for nearly every point.
  nearest, least = assign(points, found.points)
  assert (clusters == nearest).mean() > 0.995
  np.testing.assert_allclose(distances[clusters == nearest], least[clusters == nearest], atol=1e-3)
  assert np.bincount(clusters, minlength=100).min() > 0


def test_two_levels_do_not_depend_on_the_batch_and_give_the_same_bits_again(two_levels):
  points = make_points(700)
  first, second = (find_centres(points, np.ones(700), 60, num_iterations=4, seed=1) for _ in range(2))
  np.testing.assert_array_equal(first.points, second.points)
  whole = first.nearest(points)[0]
  for size in (1, 64):
    parts = [first.nearest(points[start:start + size])[0] for start in range(0, 700, size)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
  other = find_centres(points, np.ones(700), 60, num_iterations=4, seed=2)
  assert not np.array_equal(first.points, other.points)


def test_as_many_centres_as_points_are_the_points(two_levels):
  points = make_points(50)
  found = find_centres(points, np.ones(50), 50, num_iterations=2, seed=0)
  assert found.nearest(points)[1].max() < 1e-4


def test_centres_are_numbered_by_cell():
  centres = Centres.in_cells(np.array([[9.0], [1.0], [8.0], [0.0]], np.float32),
                             np.array([[0.5], [100.0], [8.5]], np.float32))
  assert centres.points[:, 0].tolist() == [1, 0, 9, 8]
  assert centres.cells[:, 0].tolist() == [0.5, 8.5]  # Nothing lies in the cell in between.
  assert centres.starts.tolist() == [0, 2, 4]
  clusters, distances = centres.nearest(np.array([[0.2], [12.0]], np.float32))
  assert clusters.tolist() == [1, 2]
  np.testing.assert_allclose(distances, [0.04, 9], rtol=1e-5)


@pytest.mark.parametrize("total,mass,most,expected", [
    (10, [6, 3, 1], [9, 9, 9], [6, 3, 1]),
    (10, [96, 3, 1], [9, 9, 9], [8, 1, 1]),  # One for each at least.
    (10, [6, 3, 1], [4, 9, 9], [4, 4, 2]),  # Two are passed on, to those that are furthest below.
    (6, [1, 1, 1], [2, 2, 2], [2, 2, 2])])
def test_centres_are_dealt_out_by_mass(total, mass, most, expected):
  assert apportioned(total, np.array(mass, float), np.array(most)).tolist() == expected
