"""Metrics by name and on rows, and the noise of their differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diet_tf import group_metrics, metrics, pointwise_metrics
from diet_tf.errors import ConfigError, DataError, NumericsError
from diet_tf.fidelity.panel_metrics import MetricOnRows, PanelMetric, require_metrics
from diet_tf.group_metrics import Groups

NAMES = ("auc", "gauc", "ndcg@3", "recall@2", "log_loss", "ece", "calibration", "rmse")
RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=300)
LABELS = (RANDOM.random(300) < pointwise_metrics.click_probabilities(1.5 * LOGITS)).astype(np.float32)
GROUPS = Groups.of(RANDOM.integers(0, 60, 300))
VALUES = {"auc": metrics.auc, "log_loss": metrics.log_loss, "ece": pointwise_metrics.expected_calibration_error,
          "calibration": pointwise_metrics.calibration_error,
          "gauc": lambda *rows: group_metrics.gauc(*rows, GROUPS),
          "ndcg@3": lambda *rows: group_metrics.ndcg(*rows, GROUPS, 3),
          "recall@2": lambda *rows: group_metrics.recall(*rows, GROUPS, 2),
          "rmse": lambda labels, logits: pointwise_metrics.rmse(labels, pointwise_metrics.click_probabilities(logits))}


@pytest.mark.parametrize(("name", "title", "within_groups", "sign"), [
    ("auc", "AUC", False, 1), ("gauc", "GAUC", True, 1), ("ndcg@10", "NDCG@10", True, 1),
    ("recall@5", "recall@5", True, 1), ("log_loss", "log loss", False, -1), ("ece", "ECE", False, -1),
    ("calibration", "calibration error", False, -1), ("rmse", "RMSE", False, -1)])
def test_metrics_have_names(name, title, within_groups, sign):
  metric = PanelMetric.of(name)
  assert (metric.name, metric.title, metric.within_groups, metric.sign) == (name, title, within_groups, sign)


@pytest.mark.parametrize("name", ["", "AUC", "ndcg", "ndcg@0", "ndcg@-1", "ndcg@", "recall@x", "gauc@3", "auc@1", None])
def test_what_is_no_metric_is_refused(name):
  with pytest.raises(ConfigError, match="panel.metric.*gauc, ndcg@K"):
    PanelMetric.of(name, "panel.metric")


def test_a_metric_within_groups_needs_them():
  assert [metric.name for metric in require_metrics(["auc", "gauc"], "user", ("m", "g"))] == ["auc", "gauc"]
  with pytest.raises(ConfigError, match="panel.group: .*users or requests.*no field, and the metric ndcg@3"):
    require_metrics(["auc", "ndcg@3"], None, ("panel.metric", "panel.group"))
  with pytest.raises(ConfigError, match="panel.group: .*for a metric within groups.*'user', and auc, rmse alone"):
    require_metrics(["auc", "rmse"], "user", ("panel.metric", "panel.group"))
  with pytest.raises(ConfigError, match="panel.metric: no metric is named twice"):
    require_metrics(["gauc", "gauc"], "user", ("panel.metric", "panel.group"))
  with pytest.raises(DataError, match="rows in groups"):
    MetricOnRows.of(PanelMetric.of("gauc"), LABELS)


@pytest.mark.parametrize("name", NAMES)
def test_components_average_to_the_metric_over_each_stratum(name):
  on_rows = MetricOnRows.of(PanelMetric.of(name), LABELS, GROUPS)
  values, components = on_rows.of_seeds(np.stack([LOGITS, -LOGITS]))
  expected = [VALUES[name](LABELS, logits) for logits in (LOGITS, -LOGITS)]
  np.testing.assert_allclose(values, expected, atol=1e-12)
  assert components.shape == (2, on_rows.num_units)
  for units in on_rows.strata:
    np.testing.assert_allclose(components[:, units].mean(axis=1), expected, atol=1e-12)
  # The better model has the better figure, whichever way that is.
  assert on_rows.metric.sign * (values[0] - values[1]) > 0 or name in ("ece", "calibration")


def test_groups_without_a_figure_are_counted():
  # Three users: both classes in two rows, a click alone, no click in two; and a row of nobody.
  labels, keys = np.array([1, 0, 1, 0, 0, 1.0]), np.array([1, 1, 2, 3, 3, 0])
  groups = Groups.of(keys, keys > 0)
  found = {name: MetricOnRows.of(PanelMetric.of(name), labels, groups) for name in ("gauc", "ndcg@1")}
  assert [(one.num_units, one.num_groups_left_out, one.num_rows_left_out) for one in found.values()] == [
      (1, 2, 4), (2, 1, 3)]
  with pytest.raises(DataError, match="gauc: at least one group has clicks and rows without.*3 groups"):
    MetricOnRows.of(PanelMetric.of("gauc"), np.zeros(6), groups)
  with pytest.raises(DataError, match="recall@2: at least one group has clicks"):
    MetricOnRows.of(PanelMetric.of("recall@2"), np.zeros(6), groups)


def test_gauc_has_the_noise_of_a_ratio():
  """By hand: users of 2 and of 4 rows, with AUC 1 and 1/2, weighed 1/3 and 2/3."""
  labels, scores = np.array([1, 0, 1, 0, 0, 0.0]), np.array([2.0, 1, 1, 1, 1, 1])
  on_rows = MetricOnRows.of(PanelMetric.of("gauc"), labels, Groups.of(np.array([0, 0, 1, 1, 1, 1])))
  whole = 2 / 3
  np.testing.assert_allclose(on_rows.components(scores), [whole + 2 / 3 * (1 - whole), whole + 4 / 3 * (0.5 - whole)])


@pytest.mark.parametrize("name", NAMES)
def test_two_equal_models_are_told_apart_in_about_5_percent_of_tests(name):
  """Rows of one user are no independent trials: each user leans one way, and moves both models alike and apart."""
  random, resolved = np.random.default_rng(3), 0
  metric = PanelMetric.of(name)
  # The noise of bins that are nearly calibrated is overstated: both models are far off.
  off = 2.5 if name == "ece" else 0.5
  for _ in range(100):
    sizes = random.integers(2, 9, 60)
    users = np.repeat(np.arange(60), sizes)
    truth = random.normal(size=60)[users] + random.normal(size=len(users))
    labels = (random.random(len(users)) < pointwise_metrics.click_probabilities(truth)).astype(float)
    apart = random.normal(size=[2, 60])[:, users] if metric.within_groups else np.zeros([2, 1])
    scores = truth + 0.7 * random.normal(size=[2, len(users)]) + 0.5 * apart + off
    on_rows = MetricOnRows.of(metric, labels, Groups.of(users))
    first, second = (on_rows.of_seeds(one[None])[1] for one in scores)
    resolved += metrics.paired_component_difference(on_rows.strata, first, second).resolved
  assert 1 <= resolved <= 11


def test_logits_that_are_not_finite_are_refused():
  for name in NAMES:
    with pytest.raises(NumericsError, match="finite"):
      MetricOnRows.of(PanelMetric.of(name), LABELS, GROUPS).components(np.full(300, math.nan))
