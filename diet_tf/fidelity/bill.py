"""The bill: what a search over many architectures costs on a memory, on the log, and on the cheapest rival.

A *pass* is one epoch over the log's rows at the reference's batch size, the mean over the panel's architectures. A
*training* is one training of an architecture, the mean over the panel, with settings that are chosen: on the log it has
the epochs that the reference chose, one or several. Everything is told in both units: in wall time, and in
floating-point operations of forward and backward passes, which do not hang on the machine.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

from diet_tf.fidelity.break_even import BreakEven

# Numbers of trainings that there is a row for.
TRAININGS = (10, 30, 100, 300, 1000)
Unit = Literal["seconds", "flops"]
UNITS: tuple[Unit, ...] = ("seconds", "flops")
# What a cost in passes is called, by its unit.
IN_PASSES: dict[Unit, str] = {"seconds": "passes_wall", "flops": "passes_flops"}
LOG, MEMORY, RIVAL = "log", "memory", "rival"


@dataclasses.dataclass(frozen=True)
class Cost:
  """A cost in both units; NaN where it was not measured.

  Attributes:
    seconds: wall time.
    flops: floating-point operations of forward and backward passes, estimated.
  """

  seconds: float
  flops: float

  def __add__(self, other: Cost) -> Cost:
    return Cost(self.seconds + other.seconds, self.flops + other.flops)

  def times(self, factor: float) -> Cost:
    """The cost of so many."""
    return Cost(self.seconds * factor, self.flops * factor)


UNKNOWN = Cost(math.nan, math.nan)


def mean_cost(costs: Sequence[Cost]) -> Cost:
  """The mean of costs, in each unit."""
  total = Cost(math.fsum(cost.seconds for cost in costs), math.fsum(cost.flops for cost in costs))
  return total.times(1 / len(costs))


@dataclasses.dataclass(frozen=True)
class Rival:
  """What architectures can be compared on instead of a memory.

  Attributes:
    name: name of the source of its rows.
    training: cost of one training, the mean over the panel.
    agreement: share of the resolved pairs that it orders as the log does; NaN where that is not known.
  """

  name: str
  training: Cost
  agreement: float


@dataclasses.dataclass(frozen=True)
class Bill:
  """What the memory and its alternatives cost.

  Attributes:
    one_pass: cost of a pass.
    distillation: cost of making the memory: all parts of all stages, start-up included.
    memory: cost of one training on the memory, the mean over the panel.
    log: cost of one training on the log, the mean over the panel.
    agreement: agreement of the memory.
    rivals: the rivals, in the order of tables.
  """

  one_pass: Cost
  distillation: Cost
  memory: Cost
  log: Cost
  agreement: float
  rivals: Sequence[Rival] = ()

  def rival(self, unit: Unit) -> Rival:
    """The cheapest rival, in a unit, that orders the architectures at least as well as the memory.

    Agreements are compared as they were estimated, without their noise; an equal one is enough. Of rivals of equal
    cost, the one of the higher agreement is taken, then the first. Where none orders so well, training on the log is
    what is left: the log itself, whose agreement is 1.
    """
    able = [rival for rival in self.rivals
            if rival.agreement >= self.agreement and math.isfinite(getattr(rival.training, unit))]
    log = Rival(LOG, self.log, 1.0)
    return min([*able, log], key=lambda rival: (getattr(rival.training, unit), -rival.agreement))

  def times(self, unit: Unit, against: str = LOG) -> BreakEven:
    """The costs in a unit that break-even follows from.

    Args:
      unit: unit of the costs.
      against: what the memory is set against, the log or the cheapest rival.
    """
    other = self.log if against == LOG else self.rival(unit).training
    return BreakEven(getattr(other, unit), getattr(self.memory, unit), getattr(self.distillation, unit))

  def rows(self, trainings: Sequence[int] = TRAININGS) -> list[dict[str, Any]]:
    """One row for each number of trainings, as JSON values: `trainings`, and costs by unit and by what is trained on.

    The costs on the memory have the distillation in them. Each stands in its unit, and in passes.
    """
    return [{"trainings": count, **{unit: self._costs(unit, count) for unit in UNITS},
             **{IN_PASSES[unit]: {source: cost / getattr(self.one_pass, unit)
                                  for source, cost in self._costs(unit, count).items()} for unit in UNITS}}
            for count in trainings]

  def _costs(self, unit: Unit, count: int) -> dict[str, float]:
    on_log = self.times(unit)
    return {MEMORY: on_log.on_memory(count), LOG: on_log.on_log(count),
            RIVAL: self.times(unit, RIVAL).on_log(count)}

  def summary(self) -> dict[str, Any]:
    """The figures under the names of the machine-readable results; NaN or None where there is none."""
    return {
        "pass": dataclasses.asdict(self.one_pass),
        "distillation_passes_wall": self.distillation.seconds / self.one_pass.seconds,
        "distillation_passes_flops": self.distillation.flops / self.one_pass.flops,
        "memory_training_passes_wall": self.memory.seconds / self.one_pass.seconds,
        "memory_training_passes_flops": self.memory.flops / self.one_pass.flops,
        "log_training_passes_wall": self.log.seconds / self.one_pass.seconds,
        "log_training_passes_flops": self.log.flops / self.one_pass.flops,
        "break_even_trainings": self.times("seconds").exact_architectures,
        "break_even_trainings_flops": self.times("flops").exact_architectures,
        "rival": self.rival("flops").name, "rival_wall": self.rival("seconds").name,
        "break_even_against_rival": self.times("flops", RIVAL).exact_architectures,
        "break_even_against_rival_wall": self.times("seconds", RIVAL).exact_architectures,
        "bill": self.rows()}

  def sentences(self) -> list[str]:
    """What the memory cost to make, what it costs to train on, and from when on it pays by operations, in words."""
    operations = self.times("flops")
    pays = ("The operations of making it are not known for every span." if math.isnan(operations.distillation) else
            "In floating-point operations a training on the memory saves nothing." if operations.architectures is None
            else f"In floating-point operations it pays from {operations.architectures:,} on.")
    return [f"Making the memory took {self._in_passes(self.distillation, '.1f')}, where a pass is one epoch over the "
            f"log, the mean of the panel. A training on the memory takes {self._in_passes(self.memory, '.3f')}, one on "
            f"the log {self._in_passes(self.log, '.1f')}.", pays]

  def _in_passes(self, cost: Cost, form: str) -> str:
    values = ((cost.seconds / self.one_pass.seconds, "wall time"),
              (cost.flops / self.one_pass.flops, "floating-point operations"))
    return " and ".join(f"{value:{form}} passes in {words}" for value, words in values if not math.isnan(value))
