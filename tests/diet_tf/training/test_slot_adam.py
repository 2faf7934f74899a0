"""Training on slots with known rows: the steps of a training over a dataset, and one graph for all memories."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory.memory import Memory
from diet_tf.memory.recipe import Recipe
from diet_tf.training.learner import Learner
from diet_tf.training.slot_adam import SlotAdam
from tests.diet_tf.small_slots import small_slots

SPEC = FeatureSpec((Field("user", "user", hash_ids=40), Field("item", "item", hash_ids=30),
                    Field("hour", "hour", hash_ids=5)), Label("click"))
RECIPE = Recipe(batch_size=4, epochs=3, learning_rates={"embedding": 0.03, "linear": 0.1, "dense": 0.01},
                step_multipliers=(1.0, 0.5, 2.0))


def make_memory(seed: int, num_slots: int = 10, width: int = 3) -> Memory:
  """Slots of up to `width` ids of users and items and one of hours; ten are no whole number of batches."""
  random = np.random.default_rng(seed)
  ids = np.stack([random.integers(0, size, [num_slots, width]) for size in SPEC.num_ids], axis=1)
  weights = random.random([num_slots, 3, width]) + 0.1
  weights[:, 2, 1:] = 0
  weights[::2, 0, 2:] = 0
  slots = small_slots(ids, weights / weights.sum(axis=2, keepdims=True), labels=random.random(num_slots),
                      sample_weights=0.5 + random.random(num_slots), spec=SPEC)
  return Memory.create(slots, SPEC, RECIPE, span=0, num_examples_seen=100, budget={})


def every_id() -> np.ndarray:
  return np.stack([np.arange(40) % size for size in SPEC.num_ids], axis=1).astype(np.int32)


@pytest.mark.parametrize("member", ["lr", "deepfm(hidden_units=4-,without=item)", "diet_tf.models:TfrsRanking"])
def test_logits_are_those_of_a_training_over_the_dataset(member: str) -> None:
  memory = make_memory(0)
  learner = Learner(member, SPEC, RECIPE)
  learner.reset(3)
  learner.train(memory.dataset(packed=True, repeat_epochs=RECIPE.epochs), by_recipe=True)
  expected = learner.logits(every_id())
  learner.reset(3)
  learner.train_on_slots(memory.slots, RECIPE)
  np.testing.assert_allclose(learner.logits(every_id()), expected, atol=2e-5)


def test_memories_and_recipes_share_one_graph() -> None:
  learner, fresh = (Learner("dnn(hidden_units=4-)", SPEC, RECIPE) for _ in range(2))
  faster = dataclasses.replace(RECIPE, learning_rates=dict.fromkeys(RECIPE.learning_rates, 0.05), batch_size=3,
                               epochs=1)
  for memory, recipe in ((make_memory(0), RECIPE), (make_memory(1, 7, 2), faster)):
    learner.reset(1)
    learner.train_on_slots(memory.slots, recipe)
  traces = [one.experimental_get_tracing_count() for one in learner._slot_passes.values()]
  fresh.reset(1)
  fresh.train_on_slots(memory.slots, recipe)
  # Nothing of the training before is left: neither moments nor rows.
  np.testing.assert_array_equal(learner.logits(every_id()), fresh.logits(every_id()))
  assert traces == [1]


def test_two_steps_by_hand() -> None:
  table, bias = tf.Variable([[1.0], [1.0], [1.0], [1.0]], name="linear_table"), tf.Variable(1.0, name="bias")
  recipe = Recipe(beta_1=0.5, beta_2=0.75, epsilon=1e-12, step_multipliers=(1.0, 0.5),
                  learning_rates={"embedding": 9.0, "linear": 0.1, "dense": 0.2})
  adam = SlotAdam([table, bias], [table], recipe)
  adam.start(tf.constant([3, 1, 3], tf.int64))
  adam.apply([tf.IndexedSlices(tf.constant([[1.0], [1.0]]), tf.constant([1, 1], tf.int64)), tf.constant(-4.0)],
             tf.constant(0))
  # A first step is the rate, against the sign of the sum of the gradients; row 3 has none yet.
  np.testing.assert_allclose(table.numpy()[:, 0], [1, 0.9, 1, 1], rtol=1e-6)
  np.testing.assert_allclose(bias.numpy(), 1.2, rtol=1e-6)
  adam.apply([tf.IndexedSlices(tf.constant([[1.0]]), tf.constant([3], tf.int64)), None], tf.constant(1))
  # c = sqrt(1 - 0.75^2) / (1 - 0.5^2) = 0.8819171. Row 1: m = 0.5 * 1, v = 0.75 * 1; row 3: m = 0.5, v = 0.25.
  np.testing.assert_allclose(table.numpy()[:, 0], [1, 0.9 - 0.05 * 0.8819171 * 0.5 / 0.75**0.5, 1,
                                                   1 - 0.05 * 0.8819171], rtol=1e-6)
  np.testing.assert_allclose(bias.numpy(), 1.2, rtol=1e-6)
