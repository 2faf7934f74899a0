"""What the benchmark's figures must reach on KuaiRand: a bar for the defaults, and an aim beyond it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Bar:
  """A figure that the benchmark must reach.

  Attributes:
    bar: name of the figure in the summary.
    at_least: whether the figure must be at least `required`, or else at most.
    required: limit of the figure.
    aim: limit that is aimed at.
    measured: figure as measured; None where it could not be computed.
  """

  bar: str
  at_least: bool
  required: float
  aim: float
  measured: float | None

  @property
  def met(self) -> bool:
    """Whether the figure keeps to its limit."""
    return self._keeps_to(self.required)

  @property
  def aim_met(self) -> bool:
    """Whether the figure keeps to the limit that is aimed at."""
    return self._keeps_to(self.aim)

  def _keeps_to(self, limit: float) -> bool:
    return self.measured is not None and (self.measured >= limit if self.at_least else self.measured <= limit)


# Figure, whether it must be at least the limit, the bar and the aim. What one default must meet at once.
_COSTS = (
    ("distillation_passes_flops", False, 12.0, 6.0),
    ("distillation_passes_wall", False, 25.0, 10.0),
    ("memory_training_passes_flops", False, 0.04, 0.02),
    ("memory_training_passes_wall", False, 0.08, 0.04),
    ("break_even_trainings", False, 30.0, 12.0),
    ("break_even_against_rival", False, 80.0, 35.0),
    ("break_even_against_rival_wall", False, 200.0, 60.0),
)
_ON_TEST = (
    ("agreement", True, 0.92, 0.95),
    ("regret", False, 0.0010, 0.0005),
    ("mean_recovery", True, 0.91, 0.945),
    ("min_recovery", True, 0.86, 0.92),
)
_ON_DEVELOPMENT = (("agreement", True, 0.96, 0.985),)
_OF_FIDELITY = (
    ("distillation_passes_wall", False, 60.0, 60.0),
    ("mean_recovery", True, 0.955, 0.97),
    ("min_recovery", True, 0.935, 0.95),
)
# `distill.effort` of the default, and of the memory that is refined for as much recovery as there is.
DEFAULT_EFFORT, FIDELITY_EFFORT = "ranking", "fidelity"


def bars(summary: Mapping[str, Any], *, effort: str = DEFAULT_EFFORT, development: bool = False) -> list[Bar]:
  """What the summary must reach, and what it does; nothing for an effort that has no bars.

  Args:
    summary: figures by name; one that is missing or None meets nothing.
    effort: `distill.effort` of the memory.
    development: whether it was judged on the days before the test, which have a bar of their own for the agreement and
      none for regret and recovery.
  """
  limits: tuple[tuple[str, bool, float, float], ...] = ()
  if effort == DEFAULT_EFFORT:
    limits = _COSTS + (_ON_DEVELOPMENT if development else _ON_TEST)
  elif effort == FIDELITY_EFFORT:
    limits = _OF_FIDELITY[:1] if development else _OF_FIDELITY
  return [Bar(name, at_least, required, aim, summary.get(name)) for name, at_least, required, aim in limits]
