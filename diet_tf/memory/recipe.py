"""The recipe that a memory ships: how to train on it. Plain data, read without TensorFlow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from diet_tf.errors import ConfigError
from diet_tf.io.documents import is_count
from diet_tf.models.parameter_groups import PARAMETER_GROUPS

# Beyond this a number of epochs or of slots in a batch is a fault, and one that nobody lives to see the end of.
MAX_EPOCHS = 10_000
MAX_BATCH_SIZE = (1 << 31) - 1
MAX_STEPS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How to train on a memory: learned together with the slots, for their stored order.

  Attributes:
    batch_size: slots per training step, from 1 to 2^31 - 1.
    epochs: passes over the memory, from 1 to 10,000.
    beta_1: Adam's decay of the first moment.
    beta_2: Adam's decay of the second moment.
    epsilon: Adam's denominator offset.
    learning_rates: one for each group of variables in `PARAMETER_GROUPS`.
    step_multipliers: multiplies the learning rates, one entry per training step, at most a million; the last one holds
      beyond its end, and none means 1 throughout.
    order: "as_stored": slots are never shuffled, since they were learned in this order.
  """

  batch_size: int = 64
  epochs: int = 2
  beta_1: float = 0.9
  beta_2: float = 0.999
  epsilon: float = 1e-7
  learning_rates: Mapping[str, float] = dataclasses.field(
      default_factory=lambda: {"embedding": 1e-2, "linear": 1e-2, "dense": 3e-3})
  step_multipliers: tuple[float, ...] = ()
  order: str = "as_stored"

  def __post_init__(self) -> None:
    object.__setattr__(self, "learning_rates", {name: float(rate) for name, rate in self.learning_rates.items()})
    object.__setattr__(self, "step_multipliers", tuple(float(value) for value in self.step_multipliers))
    for name, most in (("batch_size", MAX_BATCH_SIZE), ("epochs", MAX_EPOCHS)):
      value = getattr(self, name)
      self._require(name, f"is an integer from 1 to {most:,}.", is_count(value) and 1 <= value <= most)
    for name in ("beta_1", "beta_2"):
      self._require(name, "lies in [0, 1).", 0 <= getattr(self, name) < 1)
    self._require("epsilon", "is positive and finite.", 0 < self.epsilon < math.inf)
    self._require("learning_rates", f"has one positive rate for each of {list(PARAMETER_GROUPS)}.",
                  set(self.learning_rates) == set(PARAMETER_GROUPS)
                  and all(math.isfinite(rate) and rate > 0 for rate in self.learning_rates.values()))
    self._require("step_multipliers", f"are at most {MAX_STEPS:,} numbers, finite and not negative.",
                  len(self.step_multipliers) <= MAX_STEPS
                  and all(math.isfinite(value) and value >= 0 for value in self.step_multipliers))
    self._require("order", "is 'as_stored': slots are learned in their order.", self.order == "as_stored")

  def _require(self, name: str, rule: str, holds: bool) -> None:
    if not holds:
      raise ConfigError(f"recipe.{name}", rule=f"{name} {rule}", received=repr(getattr(self, name)),
                        remedy=f"correct {name}.")

  def steps_per_epoch(self, num_slots: int) -> int:
    """Training steps in one pass over that many slots, the last of which may be a smaller batch."""
    return -(-num_slots // self.batch_size)

  def to_dict(self) -> dict[str, Any]:
    """The recipe as JSON values."""
    value = dataclasses.asdict(self)
    return {**value, "step_multipliers": list(self.step_multipliers)}

  @classmethod
  def from_dict(cls, value: Mapping[str, Any]) -> Recipe:
    """The recipe that `to_dict` wrote.

    Raises:
      ConfigError: a key is unknown or a value is out of range.
    """
    known = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(value) - known)
    if unknown:
      raise ConfigError("recipe", rule=f"its keys are among {sorted(known)}.", received=f"unknown: {unknown}.",
                        remedy="remove them, or read it with the version that wrote it.")
    return cls(**value)
