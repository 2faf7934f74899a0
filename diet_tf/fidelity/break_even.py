"""From how many architectures on a memory is cheaper than the log, or than whatever else they could be trained on."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class BreakEven:
  """The cost of one training of each architecture on the log, or on the memory with what it took to make it.

  All costs are of one unit: seconds, or floating-point operations.

  Attributes:
    log: cost of one training on the log, or on what stands in its place, as the mean of the panel.
    memory: cost of one training on the memory, as the mean of the panel.
    distillation: cost of making the memory.
  """

  log: float
  memory: float
  distillation: float

  def on_log(self, architectures: float) -> float:
    """The cost of training that many architectures on the log."""
    return architectures * self.log

  def on_memory(self, architectures: float) -> float:
    """The cost of making the memory and of training that many architectures on it."""
    return self.distillation + architectures * self.memory

  @property
  def exact_architectures(self) -> float | None:
    """The number of architectures at which both cost as much, not rounded.

    `distillation / (log - memory)`. None where the memory saves nothing, or a cost is not known.
    """
    saved = self.log - self.memory
    return self.distillation / saved if saved > 0 and not math.isnan(self.distillation) else None

  @property
  def architectures(self) -> int | None:
    """The least number of architectures for which the memory costs no more; None if there is none."""
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
