"""Expectations are worked out by hand, or by counting all pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diet_tf import errors, metrics


def _auc_by_pairs(labels: np.ndarray, scores: np.ndarray) -> float:
  wins = [np.sign(a - b) / 2 + 0.5 for a in scores[labels == 1] for b in scores[labels == 0]]
  return float(np.mean(wins))


def test_midranks_share_ties():
  np.testing.assert_array_equal(metrics.midranks(np.array([3.0, 1.0, 3.0, 2.0])), [3.5, 1.0, 3.5, 2.0])


def test_auc_counts_a_tie_as_half():
  # Pairs: (.8, .1) right, (.8, .5) right, (.5, .1) right, (.5, .5) tie: 3.5 of 4.
  assert metrics.auc(np.array([1, 1, 0, 0]), np.array([0.8, 0.5, 0.5, 0.1])) == pytest.approx(3.5 / 4)


def test_auc_equals_counting_pairs():
  rng = np.random.default_rng(1)
  labels = (rng.random(200) < 0.3).astype(float)
  scores = np.round(rng.normal(size=200), 1)
  assert metrics.auc(labels, scores) == pytest.approx(_auc_by_pairs(labels, scores), abs=1e-12)
  assert metrics.auc(labels, -scores) == pytest.approx(1 - metrics.auc(labels, scores), abs=1e-12)
  assert metrics.auc(labels, np.zeros(200)) == 0.5


def test_auc_refuses_one_class():
  with pytest.raises(errors.DataError, match="both classes"):
    metrics.auc(np.ones(3), np.arange(3.0))


def test_auc_refuses_soft_labels():
  with pytest.raises(errors.DataError, match="soft labels"):
    metrics.auc(np.array([0.0, 0.5, 1.0]), np.arange(3.0))


def test_scores_that_are_not_finite_are_refused():
  with pytest.raises(errors.NumericsError, match="1 of 2"):
    metrics.auc(np.array([0, 1]), np.array([0.0, np.nan]))


def test_lengths_that_differ_are_refused():
  with pytest.raises(errors.DataError, match="2 labels, 3 scores"):
    metrics.log_loss(np.zeros(2), np.zeros(3))


def test_expected_auc_by_hand():
  # Ordered pairs: i over j weighs p_i (1 - p_j): .8 * .8 = .64 right, .2 * .2 = .04 wrong.
  assert metrics.expected_auc(np.array([0.8, 0.2])) == pytest.approx(0.64 / 0.68)
  assert metrics.expected_auc(np.array([0.8, 0.2]), np.array([1.0, 2.0])) == pytest.approx(0.04 / 0.68)
  assert metrics.expected_auc(np.array([0.8, 0.2]), np.array([1.0, 1.0])) == pytest.approx(0.5)


def test_expected_auc_of_certain_labels_is_the_auc():
  labels, scores = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.3, 0.4, 0.9, 0.4])
  assert metrics.expected_auc(labels, scores) == pytest.approx(metrics.auc(labels, scores))


def test_expected_auc_is_the_mean_over_drawn_clicks():
  rng = np.random.default_rng(2)
  probabilities = rng.random(300)
  draws = [metrics.auc((rng.random(300) < probabilities).astype(float), probabilities) for _ in range(400)]
  assert metrics.expected_auc(probabilities) == pytest.approx(np.mean(draws), abs=0.004)


def test_log_loss_by_hand():
  # Logit log(3) is p = 3/4; logit 0 is p = 1/2.
  expected = -(math.log(0.75) + math.log(0.5)) / 2
  assert metrics.log_loss(np.array([1, 0]), np.array([math.log(3), 0.0])) == pytest.approx(expected)
  assert metrics.log_loss(np.array([0.5]), np.array([0.0])) == pytest.approx(math.log(2))
  assert metrics.log_loss(np.array([0.0]), np.array([800.0])) == pytest.approx(800.0)


def test_calibration_is_predicted_over_actual_clicks():
  assert metrics.calibration(np.array([1, 0]), np.array([math.log(3), math.log(3)])) == pytest.approx(1.5)


def test_kendall_tau_b_by_hand():
  assert metrics.kendall_tau_b([1, 2, 3], [10, 20, 30]) == pytest.approx(1.0)
  assert metrics.kendall_tau_b([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
  # Pairs of (1,1), (2,2), (3,2): two concordant, one tied in the second: 2 / sqrt(3 * 2).
  assert metrics.kendall_tau_b([1, 2, 3], [1, 2, 2]) == pytest.approx(2 / math.sqrt(6))
  assert math.isnan(metrics.kendall_tau_b([1, 2], [1, 1]))


def test_estimate_by_hand():
  value = metrics.estimate([1.0, 3.0])
  assert (value.mean, value.standard_error) == (pytest.approx(2.0), pytest.approx(1.0))
  assert math.isnan(metrics.estimate([1.0]).standard_error)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (2, 4.303), (4, 2.776), (30, 2.042), (900, 1.963),
                                                   (1e6, 1.960)])
def test_t_quantile_matches_the_tables(freedom, quantile):
  assert metrics.t_quantile_95(freedom) == pytest.approx(quantile, abs=2e-3)


def test_paired_difference_by_hand():
  # Differences 1, 2, 3: mean 2, standard error 1 / sqrt(3), margin 4.303 times that = 2.484: not resolved.
  value = metrics.paired_difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
  assert value.mean == pytest.approx(2.0)
  assert value.standard_error == pytest.approx(1 / math.sqrt(3))
  assert value.margin == pytest.approx(2.484, abs=2e-3)
  assert not value.resolved
  assert not metrics.paired_difference([2.0], [1.0]).resolved


def test_auc_components_average_to_the_auc_in_each_class():
  labels, scores = np.array([1, 1, 0, 0]), np.array([0.8, 0.5, 0.5, 0.1])
  components = metrics.auc_components(labels, scores)
  np.testing.assert_allclose(components, [1.0, 0.75, 0.75, 1.0])


def test_paired_auc_difference_by_hand():
  # One seed; differences .5, 0 over positives and .25, .25 over negatives: variance .125 / 2 + 0.
  labels = np.array([1, 1, 0, 0])
  value = metrics.paired_auc_difference(labels, np.array([[1.0, 0.5, 0.75, 0.75]]), np.full((1, 4), 0.5))
  assert value.mean == pytest.approx(0.25)
  assert value.standard_error == pytest.approx(0.25)
  assert value.margin == pytest.approx(12.706 * 0.25, abs=1e-2)


def test_seeds_widen_a_paired_auc_difference():
  labels = np.array([1, 1, 0, 0])
  value = metrics.paired_auc_difference(labels, np.array([[0.9] * 4, [0.7] * 4]), np.full((2, 4), 0.5))
  assert value.mean == pytest.approx(0.3)
  assert value.standard_error == pytest.approx(0.1)  # std(.4, .2) / sqrt(2); the examples all agree


def test_a_single_example_of_a_class_tells_no_noise():
  first, second = np.array([[1.0, 1.0, 1.0]]), np.array([[0.5, 1.0, 0.0]])
  for labels in ([1, 0, 0], [0, 1, 1]):
    value = metrics.paired_auc_difference(np.array(labels), first, second)
    assert value.mean == 0.5 and math.isnan(value.standard_error) and not value.resolved


def test_lift_over_chance_is_the_auc_less_a_half_with_its_noise():
  # Positives have components 1 and 0.8, negatives 0.9 twice: AUC 0.9, and all noise is that of two positives.
  value = metrics.lift_over_chance(np.array([1, 1, 0, 0]), np.array([[1.0, 0.8, 0.9, 0.9]]))
  assert value.mean == pytest.approx(0.4)
  assert value.standard_error == pytest.approx(0.1)  # sqrt(0.02 / 2)
  assert value.margin == pytest.approx(1.2706, rel=1e-3) and not value.resolved  # Student's t with one degree.


def test_paired_auc_difference_covers_the_truth():
  """Two equally good models are told apart in about 5 % of the test sets."""
  rng = np.random.default_rng(3)
  resolved = 0
  for _ in range(300):
    labels = (np.arange(120) % 2).astype(float)
    scores = labels + rng.normal(size=(2, 120))
    components = [metrics.auc_components(labels, row)[None] for row in scores]
    resolved += metrics.paired_auc_difference(labels, *components).resolved
  assert 0.01 < resolved / 300 < 0.10


def test_agreement_counts_resolved_pairs_only():
  rng = np.random.default_rng(4)
  labels = (np.arange(2000) % 2).astype(float)
  noise = rng.normal(size=2000)
  # Members 0 and 1 hardly differ; both are far better than member 2.
  scores = [labels + noise, labels + noise + 0.3 * rng.normal(size=2000) * 0.01, 0.2 * labels + noise]
  components = [metrics.auc_components(labels, row)[None] for row in scores]
  aucs = [metrics.auc(labels, row) for row in scores]
  value = metrics.agreement(labels, components, aucs, [0.70, 0.71, 0.705])
  assert (value.num_resolved, value.num_pairs) == (2, 3)
  assert value.share == 0.5  # (1, 2) is kept, (0, 2) is turned round


def test_agreement_without_resolved_pairs_has_no_share():
  components = [np.full((1, 4), 0.5)] * 2
  value = metrics.agreement(np.array([0, 1, 0, 1]), components, [0.5, 0.5], [0.6, 0.5])
  assert math.isnan(value.share)
  assert value.num_resolved == 0


def test_regret_and_recovery_by_hand():
  assert metrics.regret([0.70, 0.74, 0.73], [0.66, 0.68, 0.69]) == pytest.approx(0.01)
  # The best two of the memory hold the log's best; of equals the first goes first.
  assert metrics.regret([0.70, 0.74, 0.73], [0.66, 0.68, 0.69], 2) == 0
  assert metrics.regret([0.70, 0.74, 0.73], [0.66, 0.66, 0.66]) == pytest.approx(0.04)
  assert metrics.regret([0.70, 0.74, 0.73], [0.69, 0.66, 0.68], 2) == pytest.approx(0.01)
  assert metrics.regret([0.70, 0.74], [0.69, 0.66], 3) == 0
  assert metrics.recovery(0.68, 0.70) == pytest.approx(0.9)
  assert math.isnan(metrics.recovery(0.6, 0.5))
