"""The budget: how many slots a memory may have."""

from __future__ import annotations

import dataclasses

from diet_tf.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class BudgetSettings:
  """The size of the memory.

  Attributes:
    fraction: slots per example seen so far, in all spans together.
    max_slots: the memory never grows beyond this; None sets no cap.
  """

  fraction: float = 0.02
  max_slots: int | None = None

  def __post_init__(self) -> None:
    if not 0 < self.fraction <= 1:
      raise ConfigError("budget.fraction", rule="it lies in (0, 1].", received=str(self.fraction),
                        remedy="use 0.02 for one slot per 50 examples.")
    if self.max_slots is not None and self.max_slots < 1:
      raise ConfigError("budget.max_slots", rule="it is at least 1.", received=str(self.max_slots),
                        remedy="raise it, or remove it to set no cap.")

  def num_slots(self, num_examples_seen: int) -> int:
    """The number of slots after that many examples: `min(max_slots, fraction * examples)`, and at least 1."""
    if num_examples_seen < 1:
      raise ConfigError("budget", rule="a memory is made from at least one example.", received=str(num_examples_seen),
                        remedy="give a span that is not empty.")
    slots = max(1, round(self.fraction * num_examples_seen))
    return slots if self.max_slots is None else min(slots, self.max_slots)

  def num_slots_of_span(self, num_examples: int) -> int:
    """The slots that a span earns: `fraction * examples` of its own, and at least 1."""
    return max(1, round(self.fraction * num_examples))

  def is_capped(self, num_examples_seen: int) -> bool:
    """Whether the memory would be larger after that many examples, were there no cap."""
    return self.max_slots is not None and round(self.fraction * num_examples_seen) > self.max_slots
