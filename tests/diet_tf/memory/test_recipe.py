"""Recipes: what they may say, and that they are read as they were written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from diet_tf.errors import ConfigError
from diet_tf.memory.recipe import Recipe


def test_round_trip():
  recipe = Recipe(batch_size=32, epochs=3, step_multipliers=(1.0, 0.5), learning_rates={
      "embedding": 0.01, "linear": 0.02, "dense": 0.003})
  assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize("change", [
    {"batch_size": 0}, {"epochs": 0}, {"beta_1": 1.0}, {"epsilon": 0.0}, {"learning_rates": {"dense": 0.1}},
    {"learning_rates": {"embedding": float("nan"), "linear": 1, "dense": 1}}, {"step_multipliers": (-1.0,)},
    {"order": "shuffled"}])
def test_value_out_of_range_is_named(change: dict[str, Any]):
  with pytest.raises(ConfigError, match=next(iter(change))):
    Recipe(**change)


def test_unknown_key_is_named():
  with pytest.raises(ConfigError, match="momentum"):
    Recipe.from_dict({"momentum": 0.9})


def test_steps_count_the_smaller_last_batch():
  assert Recipe(batch_size=4).steps_per_epoch(10) == 3
