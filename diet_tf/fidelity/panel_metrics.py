"""The metrics that models can be judged and ranked by, by name, and one of them on given rows; numpy only.

Each is, to first order, the mean of components over units: over test rows, or over groups of them such as users. That
is all that the noise of a difference takes (`diet_tf.metrics.paired_component_difference`), with the delta method in
place of draws: of rows for the AUC and the pointwise metrics, of whole groups for those within groups, since the rows
of one user are no independent trials.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diet_tf import group_metrics, metrics, pointwise_metrics
from diet_tf.errors import ConfigError, DataError
from diet_tf.group_metrics import Groups
from diet_tf.weighted_metrics import checked_weights, weighted_auc_components, weighted_components

AUC, GAUC, NDCG, RECALL = "auc", "gauc", "ndcg", "recall"
LOG_LOSS, ECE, CALIBRATION, RMSE = "log_loss", "ece", "calibration", "rmse"
# What each is called in tables.
_TITLES = {AUC: "AUC", GAUC: "GAUC", NDCG: "NDCG", RECALL: "recall", LOG_LOSS: "log loss", ECE: "ECE",
           CALIBRATION: "calibration error", RMSE: "RMSE"}
_WITHIN_GROUPS = (GAUC, NDCG, RECALL)
_AT_RANKS = (NDCG, RECALL)
_LOWER_IS_BETTER = (LOG_LOSS, ECE, CALIBRATION, RMSE)
# The names, as errors and documents list them.
METRIC_NAMES = tuple(f"{kind}@K" if kind in _AT_RANKS else kind for kind in _TITLES)
_NAME = re.compile(r"([a-z_]+)(?:@([1-9][0-9]{0,5}))?")


@dataclasses.dataclass(frozen=True)
class PanelMetric:
  """A metric by name, as `ndcg@10`.

  Attributes:
    kind: the name without its number of ranks.
    at: number of ranks that count; 0 for a metric that has no such number.
  """

  kind: str
  at: int = 0

  @classmethod
  def of(cls, name: str, subject: str = "metric") -> PanelMetric:
    """The metric of a name.

    Args:
      name: one of `METRIC_NAMES`, with a number in the place of K.
      subject: what named it, for the message.

    Raises:
      ConfigError: there is no such metric.
    """
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    kind, at = (found[1], int(found[2] or 0)) if found else ("", 0)
    if kind not in _TITLES or (at > 0) != (kind in _AT_RANKS):
      raise ConfigError(subject, rule=f"it is one of {', '.join(METRIC_NAMES)}, with a number of ranks for K.",
                        received=repr(name), remedy="name one of them, as gauc or ndcg@10.")
    return cls(kind, at)

  @property
  def name(self) -> str:
    """The name that it was asked for by."""
    return f"{self.kind}@{self.at}" if self.at else self.kind

  @property
  def title(self) -> str:
    """What it is called in tables."""
    return f"{_TITLES[self.kind]}@{self.at}" if self.at else _TITLES[self.kind]

  @property
  def within_groups(self) -> bool:
    """Whether it is a mean over groups of rows, and not over rows."""
    return self.kind in _WITHIN_GROUPS

  @property
  def sign(self) -> float:
    """What makes more be better: 1, or -1 for a loss."""
    return -1.0 if self.kind in _LOWER_IS_BETTER else 1.0


def require_metrics(names: Sequence[str], group: str | None, subjects: tuple[str, str]) -> tuple[PanelMetric, ...]:
  """The metrics of names, checked with the field that groups rows.

  Args:
    names: names of the metrics.
    group: name of the field whose ids make groups; None without one.
    subjects: what names the metrics, and what names the field, for messages.

  Raises:
    ConfigError: a name is none of a metric, one is named twice, or there is no group where one is needed, or one that
      none of the metrics needs.
  """
  found = tuple(PanelMetric.of(name, subjects[0]) for name in names)
  if len(set(found)) < len(found):
    raise ConfigError(subjects[0], rule="no metric is named twice.", received=", ".join(names),
                      remedy="name each once.")
  grouped = [metric.name for metric in found if metric.within_groups]
  if grouped and group is None:
    raise ConfigError(subjects[1], rule="it names the field that tells users or requests apart, for a metric of the "
                      "rows of one at a time.", received=f"no field, and the metric {grouped[0]}.",
                      remedy=f"set {subjects[1]} to a field of the log, as user_id.")
  if group is not None and not grouped:
    raise ConfigError(subjects[1], rule="it is for a metric within groups: gauc, ndcg@K or recall@K.",
                      received=f"{group!r}, and {', '.join(names)} alone.",
                      remedy=f"name such a metric with {subjects[0]}, or leave {subjects[1]} out.")
  return found


@dataclasses.dataclass(frozen=True)
class MetricOnRows:
  """A metric on given rows, by which all models that are compared are judged.

  Attributes:
    metric: the metric.
    components: function from a model's logits on the rows, `[num_rows]`, to what each unit adds, `[num_units]` float64;
      their mean over a stratum is the metric. It raises NumericsError where a logit is not finite.
    strata: numbers of the units, rows or groups, in each stratum that the metric is a mean over.
    num_units: number of units that count.
    num_groups_left_out: number of groups that have no figure, as those of users who clicked nothing.
    num_rows_left_out: number of rows of these groups, and of rows without a group.
  """

  metric: PanelMetric
  components: Callable[[np.ndarray], np.ndarray]
  strata: metrics.Strata
  num_units: int
  num_groups_left_out: int = 0
  num_rows_left_out: int = 0

  @classmethod
  def of(cls, metric: PanelMetric, labels: np.ndarray, groups: Groups | None = None,
         weights: np.ndarray | None = None) -> MetricOnRows:
    """The metric on rows of known labels.

    Args:
      metric: the metric.
      labels: `[num_rows]`, 0 or 1.
      groups: groups of the rows, for a metric within groups.
      weights: `[num_rows]`, how many rows each stands for (`diet_tf.weighted_metrics`); None counts each once.

    Raises:
      DataError: the labels are of one class, no group has a figure, there are no groups where they are needed, or
        weights are not usable, or not by this metric.
    """
    labels = np.asarray(labels, np.float64)
    if weights is not None:
      weights = checked_weights(weights, len(labels))
      if metric.kind in _AT_RANKS:
        raise DataError(metric.name, rule="ranks of rows that stand for others are not known.",
                        received="rows with weights.", remedy="judge by gauc or auc, or leave the weights out.")
    if metric.within_groups:
      return cls._within_groups(metric, labels, groups, weights)
    strata = metrics.class_strata(labels) if metric.kind == AUC else (np.arange(len(labels)),)
    return cls(metric, functools.partial(_of_rows, metric.kind, labels, weights), strata, len(labels))

  @classmethod
  def _within_groups(cls, metric: PanelMetric, labels: np.ndarray, groups: Groups | None,
                     weights: np.ndarray | None) -> MetricOnRows:
    if groups is None:
      raise DataError(metric.name, rule="it is of rows in groups.", received="rows without.",
                      remedy="pass the groups of the rows.")
    counts = np.ones(len(labels)) if weights is None else weights
    positive = metrics.is_positive(labels)
    counted = groups.sums(positive * counts) > 0
    if metric.kind == GAUC:
      counted &= groups.sums(~positive * counts) > 0
    if not counted.any():
      needed = "clicks and rows without" if metric.kind == GAUC else "clicks"
      raise DataError(metric.name, rule=f"at least one group has {needed}.", received=f"{groups.count:,} groups, none "
                      "of them such.", remedy="judge on more rows, or name another field as the group.")
    units = np.flatnonzero(counted)
    components = functools.partial(_of_groups, metric, labels, groups, weights, units)
    return cls(metric, components, (np.arange(len(units)),), len(units), groups.count - len(units),
               len(labels) - int(groups.sizes[units].sum()))

  def of_seeds(self, logits: np.ndarray, dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray]:
    """The metric of each training, `[num_seeds]` float64, and its components, `[num_seeds, num_units]`.

    Args:
      logits: `[num_seeds, num_rows]`, after each training.
      dtype: type of the components; `np.float32` takes half the memory, and rounds far below the noise.
    """
    found = [self.components(one) for one in logits]
    values = np.array([components[self.strata[0]].mean() for components in found])
    return values, np.stack([components.astype(dtype) for components in found])


def _of_groups(metric: PanelMetric, labels: np.ndarray, groups: Groups, weights: np.ndarray | None,
               units: np.ndarray, logits: np.ndarray) -> np.ndarray:
  """The components of a metric within groups, `[len(units)]`, of the groups `units`."""
  if metric.kind == GAUC:
    aucs = group_metrics.group_aucs(labels, logits, groups, weights)[units]
    # A ratio of two sums over groups: how many rows there are varies with the groups, too.
    return weighted_components(aucs, (groups.sizes if weights is None else groups.sums(weights))[units])
  of_groups = group_metrics.group_ndcgs if metric.kind == NDCG else group_metrics.group_recalls
  return of_groups(labels, logits, groups, metric.at)[units]


def _of_rows(kind: str, labels: np.ndarray, weights: np.ndarray | None, logits: np.ndarray) -> np.ndarray:
  """The components of a metric over rows, `[num_rows]`."""
  if kind == AUC:
    return (metrics.auc_components(labels, logits) if weights is None
            else weighted_auc_components(labels, logits, weights))
  if kind == RMSE:
    logits = pointwise_metrics.click_probabilities(logits)
  return _POINTWISE[kind](labels, logits, weights=weights)


_POINTWISE: dict[str, Callable[..., np.ndarray]] = {
    LOG_LOSS: pointwise_metrics.log_loss_components, ECE: pointwise_metrics.ece_components,
    CALIBRATION: pointwise_metrics.calibration_error_components, RMSE: pointwise_metrics.rmse_components}
