"""The cost of removal against trainings on weights that were changed by hand."""

import numpy as np
import pytest

from diet_tf.distillation.removal import in_whole_batches, removal_costs
from diet_tf.errors import NumericsError
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.memory.recipe import Recipe
from diet_tf.training.slot_trainer import Candidate, SlotTrainer
from tests.diet_tf.small_log import SPEC
from tests.diet_tf.small_slots import small_slots

RECIPE = Recipe(batch_size=4, epochs=2, beta_2=0.99,
                learning_rates={"embedding": 0.05, "linear": 0.05, "dense": 0.05})


def ids(num_rows, seed):
  random = np.random.default_rng(seed)
  return np.stack([random.integers(1, min(count, 6), num_rows) for count in SPEC.num_ids], axis=1)


@pytest.fixture(scope="module")
def rows():
  found = ids(40, seed=1)
  return EncodedRows(found.astype(np.int32), (0.1 + 0.1 * found[:, 0]).astype(np.float32))


@pytest.fixture(scope="module")
def slots():
  # Like the rows, the click's probability grows with the first field's id; the last slot says the opposite.
  found = ids(8, seed=2)
  labels = 0.1 + 0.1 * found[:, 0]
  labels[7] = 1 - labels[7]
  return small_slots(found, labels=labels, sample_weights=[0.5, 1.5, 1, 1, 0.8, 1.2, 1, 1])


def test_costs_are_the_slope_of_the_loss_along_each_weight(slots, rows):
  costs = removal_costs(slots, rows, RECIPE, SPEC, ("lr", "fm"), seed=3)
  assert costs.shape == (8,) and costs.dtype == np.float64
  losses = {"lr": SlotTrainer("lr", SPEC, [slots], RECIPE), "fm": SlotTrainer("fm", SPEC, [slots], RECIPE)}

  def loss(number, factor):
    weights = np.array(slots.sample_weights, np.float64)
    weights[number] *= factor
    changed = Candidate(slots.replace(sample_weights=weights), RECIPE)
    logits = np.stack([trainer.outputs(changed, [3], rows.ids)[0] for trainer in losses.values()]).astype(np.float64)
    return (np.logaddexp(0, logits) - rows.labels * logits).mean()

  slopes = [(loss(number, 1.01) - loss(number, 0.99)) / 0.02 for number in range(8)]
  np.testing.assert_allclose(costs, np.negative(slopes), rtol=0.05, atol=2e-5)


def test_what_fills_a_batch_up_has_no_weight_and_costs_nothing(slots, rows):
  filled = in_whole_batches(slots.take(np.arange(6)), 2)
  assert filled.sample_weights.tolist() == pytest.approx([0.5, 1.5, 1, 1, 0.8, 1.2, 0, 0])
  costs = removal_costs(filled, rows, RECIPE, SPEC, ("lr",), seed=3)
  assert (costs[:6] != 0).all() and costs[6:].tolist() == [0, 0]


def test_costs_that_are_not_finite_are_refused(slots, rows):
  broken = Recipe(batch_size=4, epochs=2, learning_rates={"embedding": 1e30, "linear": 1e30, "dense": 1e30})
  with pytest.raises(NumericsError, match="cost of removal"):
    removal_costs(slots, rows, broken, SPEC, ("fm",), seed=3)
