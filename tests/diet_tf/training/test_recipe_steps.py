"""A recipe's rates, multipliers and constants, as every training by it takes them."""

import dataclasses

import numpy as np
import pytest

from diet_tf.errors import ConfigError
from diet_tf.memory.recipe import Recipe
from diet_tf.training.recipe_steps import (
  ADAM_CONSTANTS,
  SLOT_TRAINER_CONSTANTS,
  constants,
  group_rates,
  require_constants,
  step_multipliers,
)

RECIPE = Recipe(batch_size=8, beta_1=0.5, beta_2=0.75, epsilon=0.25,
                learning_rates={"dense": 3.0, "linear": 2.0, "embedding": 1.0}, step_multipliers=(1.0, 0.5))


def test_rates_stand_in_the_order_of_the_groups():
  found = group_rates(RECIPE)
  assert found.dtype == np.float32 and found.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(("num_steps", "expected"), [(None, [1.0, 0.5]), (1, [1.0]), (2, [1.0, 0.5]),
                                                     (4, [1.0, 0.5, 0.5, 0.5])])
def test_the_last_multiplier_holds_beyond_its_end(num_steps, expected):
  found = step_multipliers(RECIPE, num_steps)
  assert found.dtype == np.float32 and found.tolist() == expected


def test_no_multipliers_are_ones():
  recipe = dataclasses.replace(RECIPE, step_multipliers=())
  assert step_multipliers(recipe, 3).tolist() == [1.0, 1.0, 1.0] and step_multipliers(recipe).tolist() == [1.0]


def test_a_recipe_of_other_constants_is_refused():
  assert constants(RECIPE, SLOT_TRAINER_CONSTANTS) == (8, 0.5, 0.75, 0.25)
  other_batch = dataclasses.replace(RECIPE, batch_size=16, epochs=9)
  require_constants(other_batch, constants(RECIPE, ADAM_CONSTANTS), ADAM_CONSTANTS)
  with pytest.raises(ConfigError, match="batch size"):
    require_constants(other_batch, constants(RECIPE, SLOT_TRAINER_CONSTANTS), SLOT_TRAINER_CONSTANTS)
