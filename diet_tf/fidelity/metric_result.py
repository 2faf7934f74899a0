"""What models come to by a metric, and how it ranks them: as figures, without TensorFlow."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from diet_tf import metrics
from diet_tf.fidelity.agreement_interval import component_agreement_interval
from diet_tf.fidelity.member_fidelity import differences_of, with_resolved
from diet_tf.fidelity.panel_bill import ranking_of
from diet_tf.fidelity.panel_metrics import GAUC, MetricOnRows, PanelMetric
from diet_tf.fidelity.result_format import LOG, MEMORY
from diet_tf.fidelity.verdict import AGREEMENT_CONFIDENCE, RANDOM_HARD, RANDOM_SOFT
from diet_tf.metrics import Agreement, Estimate, PairedDifference


@dataclasses.dataclass(frozen=True)
class MetricFigures:
  """A metric of one model's trainings.

  Attributes:
    values: the metric on the test rows, one per seed.
    standard_error_units: of the mean, over the test rows or groups that the metric is a mean of; NaN from one of them.
    standard_error: of the mean, over seeds and these together; with one seed, over these alone.
  """

  values: tuple[float, ...]
  standard_error_units: float
  standard_error: float

  @classmethod
  def of(cls, on_rows: MetricOnRows, values: np.ndarray, components: np.ndarray) -> MetricFigures:
    """The figures of trainings.

    Args:
      on_rows: the metric on the test rows.
      values: `[num_seeds]`, the metric after each training.
      components: `[num_seeds, num_units]` of the same trainings.
    """
    over_seeds = components.mean(axis=0, dtype=np.float64)[None]
    units, both = (metrics.paired_component_difference(on_rows.strata, one, np.zeros_like(one)).standard_error
                   for one in (over_seeds, components))
    return cls(tuple(values.tolist()), units, both)

  @property
  def estimate(self) -> Estimate:
    """Mean and standard error over seeds and test rows or groups together."""
    return Estimate(float(np.mean(self.values)), self.standard_error)

  def to_dict(self) -> dict[str, Any]:
    """The figures as JSON values."""
    over_seeds = metrics.estimate(self.values)
    return {"values": list(self.values), "mean": over_seeds.mean, "standard_error": self.standard_error,
            "standard_error_seeds": over_seeds.standard_error, "standard_error_units": self.standard_error_units}

  @classmethod
  def from_dict(cls, content: Mapping[str, Any]) -> MetricFigures:
    """The figures that `to_dict` wrote."""
    return cls(tuple(content["values"]), content["standard_error_units"], content["standard_error"])


def _counted(number: int, thing: str) -> str:
  return f"{number:,} {thing}{'' if number == 1 else 's'}"


@dataclasses.dataclass(frozen=True)
class MetricScope:
  """A metric and what it is a mean of.

  Attributes:
    metric: the metric.
    num_units: number of test rows or groups that it is a mean of.
    num_groups_left_out: number of groups that have no figure.
    num_rows_left_out: number of rows of these groups, and of rows without a group.
  """

  metric: PanelMetric
  num_units: int
  num_groups_left_out: int
  num_rows_left_out: int

  @classmethod
  def of(cls, on_rows: MetricOnRows) -> MetricScope:
    """The scope of a metric on given rows."""
    return cls(on_rows.metric, on_rows.num_units, on_rows.num_groups_left_out, on_rows.num_rows_left_out)

  @property
  def units(self) -> str:
    """What the metric is a mean of, in words."""
    return "groups" if self.metric.within_groups else "rows"

  @property
  def text(self) -> str:
    """The scope in a sentence."""
    title = f"{self.metric.title[0].upper()}{self.metric.title[1:]}"
    better = "; lower is better" if self.metric.sign < 0 else ""
    if not self.metric.within_groups:
      return f"{title} is of {_counted(self.num_units, 'row')}{better}."
    weighed = "each weighed by its rows" if self.metric.kind == GAUC else "each counting once"
    one_class = "rows of one class alone" if self.metric.kind == GAUC else "no click"
    left_out = (f"; left out are {_counted(self.num_groups_left_out, 'group')} with {one_class}, and "
                f"{_counted(self.num_rows_left_out, 'row')}, theirs and those of no group"
                if self.num_rows_left_out else "")
    return f"{title} is the mean over {_counted(self.num_units, 'group')}, {weighed}{left_out}."

  def to_dict(self) -> dict[str, Any]:
    """The scope as JSON values."""
    return {"name": self.metric.name, "lower_is_better": self.metric.sign < 0, "units": self.units,
            "num_units": self.num_units, "num_groups_left_out": self.num_groups_left_out,
            "num_rows_left_out": self.num_rows_left_out}


@dataclasses.dataclass(frozen=True)
class MemberByMetric:
  """One member of the panel by a metric.

  Attributes:
    name: name of the member.
    trainings: figures by what the member was trained on.
    differences: the metric on the memory less that on each other kind, paired over seeds and test rows or groups.
  """

  name: str
  trainings: Mapping[str, MetricFigures]
  differences: Mapping[str, PairedDifference]

  def to_dict(self) -> dict[str, Any]:
    """The figures as JSON values."""
    return {"name": self.name, "trainings": {kind: found.to_dict() for kind, found in self.trainings.items()},
            "differences": with_resolved(self.differences)}

  @classmethod
  def from_dict(cls, content: Mapping[str, Any]) -> MemberByMetric:
    """The figures that `to_dict` wrote."""
    return cls(content["name"], {kind: MetricFigures.from_dict(found) for kind, found in content["trainings"].items()},
               differences_of(content["differences"]))


class RankedMembers(abc.ABC):
  """Members of a panel that a metric ranks after training on each kind of data."""

  @abc.abstractmethod
  def merits(self, kind: str) -> list[float]:
    """What ranks the members after training on a kind of data: the mean over seeds, so signed that more is better."""

  @property
  def regret(self) -> float:
    """What is lost on the log, by the metric, by picking the member that is best on the memory."""
    return metrics.regret(self.merits(LOG), self.merits(MEMORY))

  @property
  def regret_at_3(self) -> float:
    """What is lost on the log, by the metric, by trying the three members alone that are best on the memory."""
    return metrics.regret(self.merits(LOG), self.merits(MEMORY), 3)


@dataclasses.dataclass(frozen=True)
class MetricResult(RankedMembers):
  """The panel by one metric.

  Attributes:
    scope: the metric, and what it is a mean of.
    members: the members, in the panel's order.
    agreement: agreement of the two rankings by this metric, with its interval.
    resolved_pairs: pairs of members, by their numbers, that are resolved on the log.
  """

  scope: MetricScope
  members: tuple[MemberByMetric, ...]
  agreement: Agreement
  resolved_pairs: tuple[tuple[int, int], ...]

  @property
  def metric(self) -> PanelMetric:
    """The metric."""
    return self.scope.metric

  def merits(self, kind: str) -> list[float]:
    """What ranks the members after training on a kind of data: the mean over seeds, so signed that more is better."""
    return [self.metric.sign * member.trainings[kind].estimate.mean for member in self.members]

  @property
  def baselines(self) -> dict[str, dict[str, float]]:
    """How random rows order the members, by their kind."""
    log = self.merits(LOG)
    return {kind: ranking_of(log, self.merits(kind), self.resolved_pairs) for kind in (RANDOM_HARD, RANDOM_SOFT)
            if all(kind in member.trainings for member in self.members)}

  def to_dict(self) -> dict[str, Any]:
    """The figures as JSON values."""
    return {
        **self.scope.to_dict(), "members": [member.to_dict() for member in self.members],
        "agreement": dataclasses.asdict(self.agreement), "resolved_pairs": [list(pair) for pair in self.resolved_pairs],
        "regret": self.regret, "regret_at_3": self.regret_at_3, "baselines": self.baselines}

  @classmethod
  def from_dict(cls, content: Mapping[str, Any]) -> MetricResult:
    """The figures that `to_dict` wrote."""
    scope = MetricScope(PanelMetric.of(content["name"]), content["num_units"], content["num_groups_left_out"],
                        content["num_rows_left_out"])
    return cls(
        scope, tuple(map(MemberByMetric.from_dict, content["members"])),
        Agreement(**content["agreement"]), tuple((first, second) for first, second in content["resolved_pairs"]))


class MetricTally:
  """Judges the members of a panel by a metric, one after the other.

  Args:
    on_rows: the metric on the test rows.

  Attributes:
    metric: the metric.
  """

  def __init__(self, on_rows: MetricOnRows) -> None:
    self._on_rows = on_rows
    self.metric = on_rows.metric
    self._members: list[MemberByMetric] = []
    # Rankings are compared over units: per member, [num_seeds, num_units].
    self._components: dict[str, list[np.ndarray]] = {LOG: [], MEMORY: []}

  def add(self, name: str, logits: Mapping[str, np.ndarray]) -> None:
    """Judges a member.

    Args:
      name: its name.
      logits: by what it was trained on, `[num_seeds, num_rows]` on the test rows.

    Raises:
      NumericsError: a logit is not finite.
    """
    found = {kind: self._on_rows.of_seeds(of_kind) for kind, of_kind in logits.items()}
    trainings = {kind: MetricFigures.of(self._on_rows, *of_kind) for kind, of_kind in found.items()}
    differences = {kind: metrics.paired_component_difference(self._on_rows.strata, found[MEMORY][1], components)
                   for kind, (_, components) in found.items() if kind != MEMORY}
    self._members.append(MemberByMetric(name, trainings, differences))
    for kind, of_members in self._components.items():
      of_members.append(found[kind][1].astype(np.float32))

  def result(self) -> MetricResult:
    """The figures of the members that were judged, in their order."""
    on_rows, log, memory = self._on_rows, self._components[LOG], self._components[MEMORY]
    pairs = tuple(metrics.resolved_component_pairs(on_rows.strata, log))
    found = MetricResult(MetricScope.of(on_rows), tuple(self._members),
                         Agreement(float("nan"), 0, 0, float("nan")), pairs)
    low, high = component_agreement_interval(on_rows.strata, log, memory, pairs, confidence=AGREEMENT_CONFIDENCE)
    agreement = metrics.agreement_on(pairs, found.merits(LOG), found.merits(MEMORY))
    return dataclasses.replace(found, agreement=dataclasses.replace(agreement, low=low, high=high))
