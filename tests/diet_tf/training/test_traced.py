"""What was traced for one memory serves the next, with the results of a new model."""

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.models import PANEL, build_model
from diet_tf.training import bilevel, traced
from diet_tf.training.compact import CompactIds
from diet_tf.training.inner_settings import InnerSettings
from diet_tf.training.traced import give_back, initial_weights, traced_training
from tests.diet_tf.small_log import SPEC, draw
from tests.diet_tf.small_slots import small_slots

INNER = InnerSettings(batch_size=4, epochs=2)
MEMBER = "deepfm(embedding_dim=2,hidden_units=4-,without=hour)"


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch):
  monkeypatch.setattr(traced, "_WAITING", [])


def make_slots(count, seed, width=1):
  """Slots whose first field has `width` ids and whose others have one, each in three places."""
  ids = np.stack([draw(count, seed + place)[0] for place in range(3)], axis=2)
  weights = np.zeros(ids.shape)
  weights[:, :, 0] = 1
  weights[:, 0, :width] = 1 / width
  return small_slots(np.where(weights > 0, ids, 0), weights, labels=np.linspace(0.1, 0.9, count), spec=SPEC)


def taken(slots, **arguments):
  compact = CompactIds.of(SPEC, slots)
  return compact, traced_training(MEMBER, compact.spec, INNER, slots, **{"seed": 0, "draws_anew": True, **arguments})


def gradient(compact, training, slots):
  compacted, num_steps = compact.slots(slots), INNER.num_steps(len(slots))
  inputs = {"ids": compacted.ids, "weights": compacted.weights, "labels": compacted.labels,
            "sample_weights": compacted.sample_weights, "learning_rates": np.full(3, 0.1, np.float32),
            "step_multipliers": np.ones(num_steps, np.float32)}
  initial = initial_weights(MEMBER, compact.spec, 7)
  loss, gradients = training.gradient(initial, tf.constant(3), {name: tf.constant(x) for name, x in inputs.items()},
                                      tf.constant(compact.rename(draw(6, seed=9)[0])), tf.fill([6], 0.25), tf.ones(6))
  return [loss.numpy(), *(part.numpy() for part in gradients)]


def test_a_graph_serves_a_memory_of_more_slots_and_other_ids():
  small, large = make_slots(8, seed=1), make_slots(20, seed=5, width=2)
  compact, first = taken(small)
  gradient(compact, first, small)
  give_back(first)
  assert first.training.variables[0].shape[0] is None and len(first.training.variables[0].numpy()) == 0
  compact, again = taken(large)
  assert again is first
  found = gradient(compact, again, large)
  assert again.num_traces("gradient") == 1
  _, new = taken(large)
  assert new is not first  # What is in use is not lent again.
  for ours, expected in zip(found, gradient(compact, new, large), strict=True):
    np.testing.assert_array_equal(ours, expected)
    assert np.abs(expected).max() > 0
  # As a model of those very sizes has it, but for rounding.
  own = traced.make_training(MEMBER, compact.spec, INNER, large, seed=0)
  for variable, start in zip(own.variables, initial_weights(MEMBER, compact.spec, 7), strict=True):
    assert variable.shape == start.shape


@pytest.mark.parametrize("member", [*PANEL, "dnn(embedding_dim=2,hidden_units=4-3,without=hour,seed=5,l2=0.1)"])
def test_initial_weights_are_those_of_a_model_that_is_built(member):
  model = build_model(member, SPEC, seed=7)
  found = initial_weights(member, SPEC, 7)
  for ours, variable in zip(found, model.trainable_variables, strict=True):
    np.testing.assert_array_equal(ours, variable)
  assert traced._pattern(member, traced._smallest(SPEC)) is not None


def test_what_differs_in_more_than_size_is_made_anew():
  slots = make_slots(8, seed=1)
  _, first = taken(slots)
  for arguments in ({"draws_anew": False}, {"device": "/CPU:0"}):
    give_back(first)
    assert taken(slots, **arguments)[1] is not first
  assert traced_training(MEMBER, SPEC, InnerSettings(batch_size=8), slots, seed=0, draws_anew=True) is not first
  assert taken(slots)[1] is first


def test_a_graph_that_keeps_each_step_does_not_serve_where_that_is_too_much(monkeypatch):
  slots = make_slots(8, seed=1)
  compact, first = taken(slots)
  give_back(first)
  first.training._kept_bytes = 0
  assert taken(slots)[1] is not first
  assert first in traced._WAITING and bilevel.KEPT_BYTES > 0


def test_a_users_own_model_is_not_lent():
  slots = make_slots(8, seed=1)
  own = traced_training("diet_tf.models:TfrsRanking(member=lr)", SPEC, INNER, slots, seed=0, draws_anew=True)
  give_back(own)
  assert traced._WAITING == []


def test_no_more_wait_than_may():
  slots = make_slots(4, seed=1)
  trainings = [traced_training("lr", SPEC, INNER, slots, seed=0, draws_anew=True) for _ in range(3)]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(traced, "MAX_WAITING", 2)
    for training in trainings:
      give_back(training)
  assert traced._WAITING == trainings[1:]
