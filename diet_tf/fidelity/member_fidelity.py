"""The figures of one member of the panel: its trainings on each kind of data, and how they differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from diet_tf import metrics
from diet_tf.fidelity.own_rates import OwnRates
from diet_tf.fidelity.result_format import KINDS, LOG, MEMORY
from diet_tf.metrics import Estimate, PairedDifference


@dataclasses.dataclass(frozen=True)
class Training:
  """One member's trainings on one kind of data, one per seed.

  Attributes:
    aucs: AUC on the test examples, one per seed.
    log_losses: log loss on the test examples in nats, one per seed.
    calibrations: predicted over actual clicks on the test examples, one per seed.
    learning_rate: rate that was selected; None where the memory's recipe sets rates per parameter group.
    epochs: number of passes over the data.
    examples: number of records processed in one training.
    flops: floating-point operations of one training, estimated.
    seconds: wall time of the fastest of the trainings, tracing and evaluation left out.
    rates: factors of a recipe's rates that were chosen before, and what that took; None where nothing was chosen so.
  """

  aucs: tuple[float, ...]
  log_losses: tuple[float, ...]
  calibrations: tuple[float, ...]
  learning_rate: float | None
  epochs: int
  examples: int
  flops: float
  seconds: float
  rates: OwnRates | None = None

  def whole(self, unit: str) -> float:
    """What one training costs with its share of choosing rates, which all seeds have in common.

    Args:
      unit: "examples", "flops" or "seconds".
    """
    chosen = 0.0 if self.rates is None else getattr(self.rates, unit) / len(self.aucs)
    return getattr(self, unit) + chosen

  @property
  def auc(self) -> Estimate:
    """Mean and standard error over seeds."""
    return metrics.estimate(self.aucs)

  @property
  def log_loss(self) -> Estimate:
    """Mean and standard error over seeds."""
    return metrics.estimate(self.log_losses)

  @property
  def calibration(self) -> Estimate:
    """Mean and standard error over seeds."""
    return metrics.estimate(self.calibrations)


@dataclasses.dataclass(frozen=True)
class MemberFidelity:
  """The figures of one member of the panel.

  Attributes:
    name: name of the member.
    trainings: trainings by what they were on; `random_soft` is absent where there was no teacher.
    differences: AUC on the memory less that on each other kind, paired over seeds and test examples.
    lift: AUC on the log less 1/2, with its noise over seeds and test examples; None in the figures of a release that
      did not write it down.
  """

  name: str
  trainings: Mapping[str, Training]
  differences: Mapping[str, PairedDifference]
  lift: PairedDifference | None = None

  @property
  def is_lifted(self) -> bool:
    """Whether training on the log is better than chance beyond noise, as far as the noise is known."""
    if self.lift is not None:
      return self.lift.resolved and self.lift.mean > 0
    aucs = self.trainings[LOG].aucs
    over_seeds = metrics.paired_difference(aucs, [0.5] * len(aucs))
    return over_seeds.mean > (over_seeds.margin if len(aucs) > 1 else 0.0)

  @property
  def recovery(self) -> float:
    """The share of the log's lift over chance that the memory keeps, of the mean AUCs; NaN where it is not lifted."""
    return metrics.recovery(self.trainings[MEMORY].auc.mean, self.trainings[LOG].auc.mean if self.is_lifted else 0.5)

  def to_dict(self) -> dict[str, Any]:
    """The figures as JSON values; the means first, under the names of the machine-readable results."""
    value: dict[str, Any] = {"name": self.name}
    for kind in KINDS:
      value[f"{kind}_auc"] = self._mean(kind, "auc")
    for kind in KINDS:
      value[f"{kind}_logloss"] = self._mean(kind, "log_loss")
    for kind in KINDS:
      value[f"{kind}_auc_se"] = self.trainings[kind].auc.standard_error if kind in self.trainings else None
    value["recovery"] = self.recovery
    value["trainings"] = {kind: dataclasses.asdict(training) for kind, training in self.trainings.items()}
    value["differences"] = with_resolved(self.differences)
    value["lift"] = None if self.lift is None else with_resolved({"": self.lift})[""]
    return value

  def _mean(self, kind: str, figure: str) -> float | None:
    return getattr(self.trainings[kind], figure).mean if kind in self.trainings else None


def with_resolved(differences: Mapping[str, PairedDifference]) -> dict[str, dict[str, Any]]:
  """Differences as JSON values, each with whether it is resolved."""
  return {kind: {**dataclasses.asdict(difference), "resolved": difference.resolved}
          for kind, difference in differences.items()}


def differences_of(content: Mapping[str, Mapping[str, Any]]) -> dict[str, PairedDifference]:
  """Differences in the content of a document; a margin without an end, too, is NaN there, which resolves nothing."""
  return {kind: PairedDifference(**{key: value for key, value in difference.items() if key != "resolved"})
          for kind, difference in content.items()}


def _training(content: Mapping[str, Any]) -> Training:
  rates = content.get("rates")
  return Training(**{**content, "rates": None if rates is None else OwnRates(**rates)})


def member_of(content: Mapping[str, Any]) -> MemberFidelity:
  """The figures that `MemberFidelity.to_dict` wrote."""
  lift = content.get("lift")
  return MemberFidelity(
      content["name"], {kind: _training(training) for kind, training in content["trainings"].items()},
      differences_of(content["differences"]), None if lift is None else differences_of({"": lift})[""])
