"""Metrics over rows: by hand, and what their components tell of the noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diet_tf import errors, metrics, pointwise_metrics

# Probabilities 3/4, 1/2, 1/4 and 1/2.
LOGITS = np.array([math.log(3), 0.0, -math.log(3), 0.0])
LABELS = np.array([1.0, 0.0, 0.0, 1.0])
ALL = {"log loss": pointwise_metrics.log_loss_components, "calibration": pointwise_metrics.calibration_error_components,
       "ece": pointwise_metrics.ece_components,
       "rmse": lambda labels, logits: pointwise_metrics.rmse_components(
           labels, pointwise_metrics.click_probabilities(logits))}


def test_log_loss_is_the_mean_of_what_the_rows_lose():
  found = pointwise_metrics.log_loss_components(LABELS, LOGITS)
  np.testing.assert_allclose(found, np.log([4 / 3, 2, 4 / 3, 2]))
  assert found.mean() == pytest.approx(metrics.log_loss(LABELS, LOGITS))


def test_calibration_error_is_the_logarithm_of_the_ratio():
  # Two predicted clicks for two; then two for one, and two for three.
  assert pointwise_metrics.calibration_error(LABELS, LOGITS) == pytest.approx(0, abs=1e-12)
  assert pointwise_metrics.calibration_error(np.array([1.0, 0, 0, 0]), LOGITS) == pytest.approx(math.log(2))
  assert pointwise_metrics.calibration_error(np.array([1.0, 1, 0, 1]), LOGITS) == pytest.approx(math.log(1.5))
  # Probabilities that are 0 but for rounding are no end of it.
  assert pointwise_metrics.calibration_error(np.array([1.0, 0.0]), np.array([-800.0, -800.0])) == pytest.approx(
      800 + math.log(0.5))
  with pytest.raises(errors.DataError, match="at least one click"):
    pointwise_metrics.calibration_error(np.zeros(4), LOGITS)


def test_expected_calibration_error_by_hand():
  # Two bins by rank: {1/4, 1/2} and {1/2, 3/4} would part two equal predictions; they share rank 2.5, in the second.
  # Bin 1 predicts .25 of 0 clicks; bin 2 predicts 1.75 of 2: (.25 + .25) / 4.
  assert pointwise_metrics.expected_calibration_error(LABELS, LOGITS, 2) == pytest.approx(0.125)
  # In one bin too much and too little make up for each other.
  assert pointwise_metrics.expected_calibration_error(LABELS, LOGITS, 1) == pytest.approx(0, abs=1e-12)
  np.testing.assert_allclose(pointwise_metrics.ece_components(LABELS, LOGITS, 2), [0.25, -0.5, 0.25, 0.5])


def test_rmse_by_hand():
  # Errors 3 and 4: the mean square is 12.5.
  assert pointwise_metrics.rmse(np.array([1.0, 2.0]), np.array([4.0, 6.0])) == pytest.approx(math.sqrt(12.5))
  root = math.sqrt(12.5)
  np.testing.assert_allclose(pointwise_metrics.rmse_components(np.array([1.0, 2.0]), np.array([4.0, 6.0])),
                             [root - 3.5 / (2 * root), root + 3.5 / (2 * root)])
  assert pointwise_metrics.rmse(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-6, 6)), max_size=50), st.randoms(use_true_random=False))
def test_the_order_of_rows_moves_components_with_them(rows, random):
  labels, logits = (np.array(column, float) for column in zip(*[*rows, (True, 1)], strict=True))
  order = np.array(random.sample(range(len(labels)), len(labels)))
  for components in ALL.values():
    np.testing.assert_allclose(components(labels[order], logits[order]), components(labels, logits)[order], atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_components_tell_the_noise_of_a_metric(name):
  """The standard error from one sample is the spread over samples; of the ECE, of a model that is far off."""
  random = np.random.default_rng(5)
  values, errors_of = [], []
  for _ in range(400):
    logits = random.normal(size=500)
    labels = (random.random(500) < pointwise_metrics.click_probabilities(logits - 1.5)).astype(float)
    components = ALL[name](labels, logits)
    values.append(components.mean())
    errors_of.append(components.std(ddof=1) / math.sqrt(500))
  assert np.mean(errors_of) == pytest.approx(np.std(values), rel=0.1)


def test_scores_that_are_not_finite_are_refused():
  for components in ALL.values():
    with pytest.raises(errors.NumericsError, match="finite"):
      components(LABELS, LOGITS * np.nan)
