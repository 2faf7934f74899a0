"""What the trainings of one member on one source gave and cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from diet_tf import metrics
from diet_tf.fidelity.scores import of_seeds


@dataclasses.dataclass(frozen=True)
class Choosing:
  """What it cost to choose the settings of a training; nothing where nothing is chosen.

  Attributes:
    examples: number of records that were trained on, over all settings that were tried.
    flops: floating-point operations of these trainings and of scoring held-back rows, estimated.
    seconds: wall time of the same, without building and tracing.
  """

  examples: int = 0
  flops: float = 0.0
  seconds: float = 0.0

  def __add__(self, other: Choosing) -> Choosing:
    return Choosing(self.examples + other.examples, self.flops + other.flops, self.seconds + other.seconds)


@dataclasses.dataclass(frozen=True)
class Trained:
  """One member's trainings on one source, one per seed.

  Attributes:
    logits: `[num_seeds, num_test]` float32, the logits of the test examples.
    learning_rate: rate that was selected; None where a recipe sets the rates, or where there are several.
    epochs: number of passes over the source.
    examples: number of records processed by one training.
    flops: floating-point operations of one training, estimated.
    seconds: wall time of the fastest training, without building and tracing.
    choosing: what choosing its settings cost beside.
    start_seconds: wall time of building the model and of tracing its graphs, once for all trainings of a process.
    rungs: `[num_seeds]`, how far the member came in a search that gives up members on its way; None for no search.
  """

  logits: np.ndarray
  learning_rate: float | None
  epochs: int
  examples: int
  flops: float
  seconds: float
  choosing: Choosing = Choosing()
  start_seconds: float = 0.0
  rungs: np.ndarray | None = None

  @property
  def epoch_flops(self) -> float:
    """Floating-point operations of one pass over the source."""
    return self.flops / self.epochs

  @property
  def epoch_seconds(self) -> float:
    """Wall time of one pass over the source."""
    return self.seconds / self.epochs

  def standings(self, labels: np.ndarray) -> np.ndarray:
    """`[num_seeds]` float64 by which members are ordered, for each seed: the AUC.

    In a search the rung comes before the AUC, which lies below 1: who was given up ranks below who went on.

    Args:
      labels: `[num_test]` labels of the test examples, 0 or 1.
    """
    aucs = of_seeds(metrics.auc, labels, self.logits)
    return aucs if self.rungs is None else aucs + self.rungs


@dataclasses.dataclass(frozen=True)
class PanelMember:
  """A member of the panel.

  Attributes:
    name: name of the member.
    used_as_proxy: whether its architecture's family took part in the inner loop.
    variant: whether it is a variant of one of the panel's ten architectures, not one of the ten.
    large: whether it is one of the wider and deeper members, whose figures stand beside those of the others.
    cost_class: about how many times a proxy's FLOPs a row it takes, 1, 5 or 25; 0 where it was not measured.
  """

  name: str
  used_as_proxy: bool
  variant: bool
  large: bool = False
  cost_class: int = 0


# Trainings by source and member's name.
Scores = Mapping[tuple[str, str], Trained]
