"""From how many architectures on a memory is cheaper than the log, in wall time."""

from __future__ import annotations

import dataclasses
import math

from diet_tf.fidelity.result import LOG, MEMORY, Cost


@dataclasses.dataclass(frozen=True)
class BreakEven:
  """The time of one training of each architecture on the log, or on the memory with what it took to make it.

  Attributes:
    log: seconds of one training on the log, as the mean of the panel.
    memory: seconds of one training on the memory, as the mean of the panel.
    distillation: seconds that it took to make the memory.
  """

  log: float
  memory: float
  distillation: float

  @classmethod
  def of(cls, cost: Cost, num_members: int, distillation: float) -> BreakEven:
    """The times of a panel of `num_members`, whose costs are sums over it."""
    return cls(cost.seconds[LOG] / num_members, cost.seconds[MEMORY] / num_members, distillation)

  def on_log(self, architectures: float) -> float:
    """Seconds to train that many architectures on the log."""
    return architectures * self.log

  def on_memory(self, architectures: float) -> float:
    """Seconds to make the memory and to train that many architectures on it."""
    return self.distillation + architectures * self.memory

  @property
  def exact_architectures(self) -> float | None:
    """The number of architectures at which both take as long, not rounded; None where the memory saves nothing.

    `distillation / (log - memory)`.
    """
    saved = self.log - self.memory
    return self.distillation / saved if saved > 0 else None

  @property
  def architectures(self) -> int | None:
    """The least number of architectures for which the memory takes no longer; None if there is none."""
    # A hair less, so that a quotient that is whole but for rounding is not rounded up.
    return None if self.exact_architectures is None else max(1, math.ceil(self.exact_architectures - 1e-9))


def unit_of(seconds: float) -> tuple[str, float]:
  """The unit of time that suits some seconds, and its own length in seconds."""
  for unit, length in (("h", 3600.0), ("min", 60.0)):
    if abs(seconds) >= 2 * length:
      return unit, length
  return "s", 1.0


def duration(seconds: float) -> str:
  """The seconds as text, in the unit that suits them."""
  unit, length = unit_of(seconds)
  return f"{seconds / length:.1f} {unit}"
