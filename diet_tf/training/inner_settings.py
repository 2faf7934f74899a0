"""How a proxy is trained on slots: batches, passes and Adam's constants."""

from __future__ import annotations

import dataclasses

from diet_tf.errors import ConfigError
from diet_tf.memory.recipe import MAX_BATCH_SIZE, MAX_EPOCHS

# Where the settings name no batch size: what the smallest memories are trained by, and the steps of a training that a
# larger one keeps to by larger batches, so that the work of a training does not grow by more than its slots do.
LEAST_BATCH_SIZE = 32
LEAST_STEPS_OF_LARGER_BATCHES = 32


@dataclasses.dataclass(frozen=True)
class InnerSettings:
  """How a proxy is trained on the slots.

  Attributes:
    batch_size: slots per step, which the number of slots is a multiple of; None, the default, lets it grow with the
      slots: 32, doubled as often as leaves a training at least 32 steps.
    epochs: number of passes over the slots, each in stored order.
    beta_1: decay of Adam's first moment, strictly between 0 and 1.
    beta_2: decay of Adam's second moment, strictly between 0 and 1.
    epsilon: positive number that is added to the root of Adam's second moment.
  """

  batch_size: int | None = None
  epochs: int = 1
  beta_1: float = 0.9
  beta_2: float = 0.99
  epsilon: float = 1e-7

  def __post_init__(self) -> None:
    for name, most in (("batch_size", MAX_BATCH_SIZE), ("epochs", MAX_EPOCHS)):
      if getattr(self, name) is None and name == "batch_size":
        continue
      if getattr(self, name) < 1:
        raise ConfigError(f"distill.inner.{name}", rule="is at least 1.", received=str(getattr(self, name)),
                          remedy="raise it.")
      if getattr(self, name) > most:
        raise ConfigError(f"distill.inner.{name}", rule=f"is at most {most:,}, as in a recipe.",
                          received=str(getattr(self, name)), remedy="lower it.")
    for name in ("beta_1", "beta_2"):
      if not 0 < getattr(self, name) < 1:
        raise ConfigError(f"distill.inner.{name}", rule="lies strictly between 0 and 1.",
                          received=str(getattr(self, name)), remedy="use 0.9 or 0.99.")
    if self.epsilon <= 0:
      raise ConfigError("distill.inner.epsilon", rule="is positive.", received=str(self.epsilon), remedy="use 1e-7.")

  @property
  def least_batch_size(self) -> int:
    """Slots per step of the smallest memory, which is one batch."""
    return LEAST_BATCH_SIZE if self.batch_size is None else self.batch_size

  def batch_size_for(self, num_slots: int) -> int:
    """Slots per step of a training on about `num_slots` slots, whose number is then rounded down to whole batches.

    The rounded number has the same batch size: one that grows does so at a multiple of the larger batch.
    """
    if self.batch_size is not None:
      return self.batch_size
    size = LEAST_BATCH_SIZE
    while self.epochs * (num_slots // (2 * size)) >= LEAST_STEPS_OF_LARGER_BATCHES:
      size *= 2
    return size

  def for_slots(self, num_slots: int) -> InnerSettings:
    """The same settings with the batch size that they have for `num_slots` slots."""
    return dataclasses.replace(self, batch_size=self.batch_size_for(num_slots))

  def num_steps(self, num_slots: int) -> int:
    """Steps of one training on `num_slots` slots."""
    batch_size = self.batch_size_for(num_slots)
    if num_slots % batch_size:
      raise ConfigError("memory", rule="the number of slots is a multiple of the batch size.",
                        received=f"{num_slots} slots, batch size {batch_size}.",
                        remedy="choose a budget or a batch size that divide.")
    return self.epochs * num_slots // batch_size
