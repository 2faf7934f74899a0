"""Metrics of rows that stand for several: by hand, against rows that are repeated, and against what was sampled."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diet_tf import errors, metrics, weighted_metrics
from diet_tf.fidelity.panel_metrics import MetricOnRows, PanelMetric
from diet_tf.group_metrics import Groups
from diet_tf.pointwise_metrics import click_probabilities, expected_calibration_error

NAMES = ("auc", "gauc", "log_loss", "calibration", "rmse")
RANDOM = np.random.default_rng(0)
LABELS = (RANDOM.random(120) < 0.4).astype(float)
SCORES = np.round(RANDOM.normal(size=120) + LABELS - 0.5, 1)
USERS = RANDOM.integers(0, 9, 120)
TIMES = RANDOM.integers(0, 4, 120)


def _value(name: str, labels, scores, users, weights=None) -> float:
  on_rows = MetricOnRows.of(PanelMetric.of(name), labels, Groups.of(users), weights)
  return float(on_rows.of_seeds(scores[None])[0][0])


def test_the_auc_of_weighted_pairs_by_hand():
  # Pairs: clicked .8 over .5 weighs 2 * 1, .8 over .1 2 * 3, .5 ties .5 1 * 1, .5 over .1 1 * 3: 11.5 of 12.
  labels, scores, weights = np.array([1, 1, 0, 0]), np.array([0.8, 0.5, 0.5, 0.1]), np.array([2.0, 1, 1, 3])
  assert weighted_metrics.weighted_auc(labels, scores, weights) == pytest.approx(11.5 / 12)
  found = weighted_metrics.weighted_auc_components(labels, scores, weights)
  # Of the first clicked row all is below, of the second 3.5 of 4: they have 4/3 and 2/3 of a row's weight.
  whole = 11.5 / 12
  np.testing.assert_allclose(found[:2], [whole + 4 / 3 * (1 - whole), whole + 2 / 3 * (3.5 / 4 - whole)])
  assert found[2:].mean() == pytest.approx(whole)


def test_equal_weights_change_nothing():
  np.testing.assert_allclose(weighted_metrics.weighted_auc_components(LABELS, SCORES, np.full(120, 7.0)),
                             metrics.auc_components(LABELS, SCORES), atol=1e-12)
  for name in (*NAMES, "ece"):
    on_rows = [MetricOnRows.of(PanelMetric.of(name), LABELS, Groups.of(USERS), weights)
               for weights in (None, np.full(120, 7.0))]
    np.testing.assert_allclose(*(one.components(SCORES) for one in on_rows), atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_is_how_often_a_row_is_there(name):
  rows = np.repeat(np.arange(120), TIMES)
  expected = _value(name, LABELS[rows], SCORES[rows], USERS[rows])
  assert _value(name, LABELS, SCORES, USERS, TIMES) == pytest.approx(expected, abs=1e-12)


def test_bins_of_the_calibration_error_have_equal_weight():
  # Half of the weight is the first row's: one bin for it, and one for the two others.
  labels, logits, weights = np.array([1.0, 0.0, 1.0]), np.array([-1.0, 0.0, 1.0]), np.array([2.0, 1.0, 1.0])
  p = click_probabilities(logits)
  expected = (2 * (1 - p[0]) + abs(p[1] + p[2] - 1)) / 4
  on_rows = MetricOnRows.of(PanelMetric.of("ece"), labels, weights=weights)
  assert expected_calibration_error(labels, logits, 2, weights) == pytest.approx(expected)
  assert on_rows.num_units == 3


@pytest.mark.parametrize("name", NAMES)
def test_weights_make_up_for_negatives_that_were_left_out(name):
  """A quarter of the negatives is kept, and counts fourfold: on average the metric of the whole log, with its noise."""
  random = np.random.default_rng(4)
  users = random.integers(0, 40, 4000)
  logits = random.normal(size=4000) - 1.5
  labels = (random.random(4000) < click_probabilities(logits)).astype(float)
  scores = logits + 0.5 * random.normal(size=4000)
  whole, found, noise = _value(name, labels, scores, users), [], []
  for _ in range(60):
    kept = (labels == 1) | (random.random(4000) < 0.25)
    weights = np.where(labels == 1, 1.0, 4.0)[kept]
    on_rows = MetricOnRows.of(PanelMetric.of(name), labels[kept], Groups.of(users[kept]), weights)
    values, components = on_rows.of_seeds(scores[kept][None])
    found.append(values[0])
    noise.append(metrics.paired_component_difference(on_rows.strata, components, 0 * components).standard_error)
  assert np.mean(found) == pytest.approx(whole, abs=4 * np.std(found) / math.sqrt(60))
  # Which negatives are kept is only part of the noise that a sample of the log has.
  assert np.std(found) < np.mean(noise) * 1.2


def test_weights_that_are_none_are_refused():
  for weights, message in ((np.ones(3), "3 for 120 rows"), (-np.ones(120), "not negative"),
                           (np.full(120, np.nan), "finite"), (np.zeros(120), "not all 0"),
                           (LABELS, "labels of weight: a ranking metric needs both classes")):
    with pytest.raises(errors.DataError, match=message):
      weighted_metrics.weighted_auc(LABELS, SCORES, weights)
  with pytest.raises(errors.DataError, match="ndcg@3: ranks of rows that stand for others"):
    MetricOnRows.of(PanelMetric.of("ndcg@3"), LABELS, Groups.of(USERS), TIMES)


def test_groups_with_weight_in_one_class_alone_are_left_out():
  labels, users, weights = np.array([1.0, 0, 1, 0]), np.array([1, 1, 2, 2]), np.array([1.0, 2, 1, 0])
  on_rows = MetricOnRows.of(PanelMetric.of("gauc"), labels, Groups.of(users), weights)
  assert (on_rows.num_units, on_rows.num_groups_left_out, on_rows.num_rows_left_out) == (1, 1, 2)
  np.testing.assert_array_equal(on_rows.components(np.array([2.0, 1, 1, 2])), [1.0])
