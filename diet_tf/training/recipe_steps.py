"""A recipe as an optimiser takes it: Adam's constants, a rate for each parameter group, a multiplier for each step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diet_tf.errors import ConfigError
from diet_tf.memory.recipe import Recipe
from diet_tf.models.parameter_groups import PARAMETER_GROUPS

# What is built into a compiled training by `diet_tf.training.learner.Learner`, and by
# `diet_tf.training.slot_trainer.SlotTrainer`, which cuts the batches too.
ADAM_CONSTANTS = ("beta_1", "beta_2", "epsilon")
SLOT_TRAINER_CONSTANTS = ("batch_size", *ADAM_CONSTANTS)


def constants(recipe: Recipe, names: Sequence[str]) -> tuple[float, ...]:
  """The values of the recipe's settings of these names, in their order."""
  return tuple(getattr(recipe, name) for name in names)


def require_constants(recipe: Recipe, expected: tuple[float, ...], names: Sequence[str]) -> None:
  """Refuses a recipe that a training which was compiled for others cannot follow.

  Args:
    recipe: recipe to follow.
    expected: values of the constants that the training was compiled with.
    names: names of these constants, in the same order.

  Raises:
    ConfigError: one of the recipe's constants is another.
  """
  found = constants(recipe, names)
  if found != expected:
    words = ", ".join(names).replace("batch_size", "batch size")
    raise ConfigError("recipe", rule=f"all recipes of one trainer have the same {words}.",
                      received=f"{found} after {expected}.", remedy="make a trainer for each.")


def group_rates(recipe: Recipe) -> np.ndarray:
  """The recipe's learning rates, `[num_groups]` float32 in the order of `PARAMETER_GROUPS`."""
  return np.asarray([recipe.learning_rates[group] for group in PARAMETER_GROUPS], np.float32)


def step_multipliers(recipe: Recipe, num_steps: int | None = None) -> np.ndarray:
  """What multiplies the learning rates in each step, float32; the last one that the recipe gives holds beyond its end.

  Args:
    recipe: recipe of the training; without multipliers, they are 1 throughout.
    num_steps: length of the result; None, the default, gives those of the recipe, at least one.
  """
  given = np.asarray(recipe.step_multipliers or (1.0,), np.float32)
  if num_steps is None:
    return given
  given = given[:num_steps]
  return np.pad(given, (0, num_steps - len(given)), mode="edge")
