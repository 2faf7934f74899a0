"""The two trainings on slots, the gate's and the panel's, are one training but for rounding."""

import numpy as np
import pytest

from diet_tf.fidelity.trainings import train_on_memory
from diet_tf.memory.memory import Memory
from diet_tf.memory.recipe import Recipe
from diet_tf.training.compact import CompactIds
from diet_tf.training.learner import Learner
from diet_tf.training.slot_trainer import Candidate, SlotTrainer
from tests.diet_tf.small_log import SPEC, TINY, draw
from tests.diet_tf.small_slots import small_slots

RECIPE = Recipe(batch_size=16, epochs=2, learning_rates={"embedding": 0.02, "linear": 0.05, "dense": 0.01},
                step_multipliers=(1.0, 0.5, 0.25))


@pytest.mark.parametrize("member", ["lr", "fm(embedding_dim=2)", f"dnn({TINY})"])
def test_a_learner_on_compact_ids_ends_at_the_same_logits_but_for_rounding(member):
  ids, labels, _ = draw(64, seed=1)
  first = np.random.default_rng(0).uniform(0.2, 0.8, [64, 3, 1])
  slots = small_slots(np.stack([ids, draw(64, seed=2)[0]], axis=2), np.concatenate([first, 1 - first], axis=2),
                      labels=0.9 * labels + 0.05, spec=SPEC)
  unseen = draw(50, seed=3)[0]
  trainer = SlotTrainer(member, SPEC, [slots], RECIPE)
  trainer.train(Candidate(slots, RECIPE), seed=4)

  compact = CompactIds.of(SPEC, slots)
  memory = Memory.create(compact.slots(slots), compact.spec, RECIPE, span=0, num_examples_seen=64, budget={})
  learner = Learner(member, compact.spec, RECIPE)
  train_on_memory(learner, memory, seed=4)
  np.testing.assert_allclose(trainer.logits(unseen), learner.logits(compact.rename(unseen)), atol=1e-4)
  assert trainer.logits(unseen).std() > 0.01
