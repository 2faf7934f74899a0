"""The hypergradient against a plain unrolled tape, against central differences, and against Keras' own training."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory.memory import Memory
from diet_tf.memory.recipe import Recipe
from diet_tf.models import PARAMETER_GROUPS, build_model, parameter_group
from diet_tf.training.bilevel import (
  DifferentiableTraining,
  InnerSettings,
  PackedColumns,
  binary_cross_entropy,
  packed_features,
)
from tests.diet_tf import small_sets
from tests.diet_tf.small_slots import small_slots

SPEC = FeatureSpec(tuple(Field(name, name, hash_ids=7) for name in ("user", "item", "hour")), Label("click"))
NUM_SLOTS, NUM_FIELDS, MAX_IDS = 8, 3, 2
INNER = InnerSettings(batch_size=4, epochs=3, beta_2=0.97, epsilon=1e-3)
NUM_STEPS = INNER.num_steps(NUM_SLOTS)
OUTER_IDS = np.random.default_rng(5).integers(7, size=(6, NUM_FIELDS))
OUTER_TARGETS = np.random.default_rng(6).uniform(size=6)


def make_inputs(dtype="float64"):
  random = np.random.default_rng(0)
  values = {
      "ids": random.integers(7, size=(NUM_SLOTS, NUM_FIELDS, MAX_IDS)),
      "weights": random.dirichlet(np.ones(MAX_IDS), size=(NUM_SLOTS, NUM_FIELDS)).astype(dtype),
      "labels": random.uniform(size=NUM_SLOTS).astype(dtype),
      "sample_weights": random.uniform(0.5, 1.5, size=NUM_SLOTS).astype(dtype),
      "learning_rates": np.asarray([0.05, 0.07, 0.03], dtype),
      "step_multipliers": random.uniform(0.5, 1.5, size=NUM_STEPS).astype(dtype),
  }
  return {name: tf.constant(value) for name, value in values.items()}


def make_training(member, dtype="float64", settings=INNER, features=packed_features):
  model = build_model(member, SPEC, seed=3, embedding_dim=2, embedding_stddev=0.3, hidden_units=(4,), dtype=dtype)
  return DifferentiableTraining(model, settings, parameter_group, features)


def outer(dtype="float64"):
  return {"ids": tf.constant(OUTER_IDS)}, tf.constant(OUTER_TARGETS.astype(dtype)), tf.ones(6, dtype)


def unrolled_loss(training, initial, inputs):
  """The outer loss as a plain composition of tensors, for a tape to differentiate through all steps."""
  weights = dict(zip([variable.name for variable in training.variables], initial))
  moments = {name: (tf.zeros_like(value), tf.zeros_like(value)) for name, value in weights.items()}
  groups = {variable.name: PARAMETER_GROUPS.index(parameter_group(variable)) for variable in training.variables}
  for step in range(NUM_STEPS):
    rows = slice((step * INNER.batch_size) % NUM_SLOTS, (step * INNER.batch_size) % NUM_SLOTS + INNER.batch_size)
    with tf.GradientTape() as tape:
      tape.watch(weights)
      logits = written_out(training.model.family, weights, inputs["ids"][rows], inputs["weights"][rows])
      loss = tf.reduce_mean(inputs["sample_weights"][rows] * binary_cross_entropy(inputs["labels"][rows], logits))
    gradients = tape.gradient(loss, weights)
    correction = np.sqrt(1 - INNER.beta_2**(step + 1)) / (1 - INNER.beta_1**(step + 1))
    for name in weights:
      gradient = tf.convert_to_tensor(gradients[name])
      m = INNER.beta_1 * moments[name][0] + (1 - INNER.beta_1) * gradient
      v = INNER.beta_2 * moments[name][1] + (1 - INNER.beta_2) * gradient**2
      # The derivative of the root at 0 is taken as 0, as the reverse pass does.
      root = tf.where(v > 0, tf.sqrt(tf.where(v > 0, v, tf.ones_like(v))), tf.zeros_like(v))
      rate = inputs["learning_rates"][groups[name]] * inputs["step_multipliers"][step] * correction
      weights[name] = weights[name] - rate * m / (root + INNER.epsilon)
      moments[name] = (m, v)
  ones = tf.ones([6, NUM_FIELDS, 1], tf.float64)
  logits = written_out(training.model.family, weights, tf.constant(OUTER_IDS)[..., None], ones)
  return tf.reduce_mean(binary_cross_entropy(tf.constant(OUTER_TARGETS), logits))


def written_out(family, weights, ids, id_weights):
  """FM and DNN as functions of their weights."""
  rows = ids + 7 * np.arange(NUM_FIELDS)[:, None]
  named = {name.split(":")[0]: value for name, value in weights.items()}
  embeddings = tf.reduce_sum(tf.gather(named["bag_embedding/embedding_table"], rows) * id_weights[..., None], 2)
  if family == "fm":
    linear = tf.reduce_sum(tf.gather(named["bag_embedding/linear_table"], rows)[..., 0] * id_weights, [1, 2])
    total = tf.reduce_sum(embeddings, 1)
    pairs = 0.5 * tf.reduce_sum(total**2 - tf.reduce_sum(embeddings**2, 1), 1)
    return linear + pairs + named["head/bias"]
  flat = tf.reshape(embeddings, [-1, NUM_FIELDS * 2])
  hidden = tf.nn.relu(flat @ named["tower/dense_0/kernel"] + named["tower/dense_0/bias"])
  return (hidden @ named["head/kernel"])[:, 0] + named["head/bias"]


def hypergradient(training, inputs, dtype="float64"):
  initial = [tf.constant(variable.numpy()) for variable in build_model(
      training.model.family, SPEC, seed=3, embedding_dim=2, embedding_stddev=0.3, hidden_units=(4,),
      dtype=dtype).trainable_variables]
  return initial, *training.hypergradient(initial, inputs, *outer(dtype))


@pytest.mark.parametrize("family", ["fm", "dnn"])
def test_hypergradient_equals_unrolled_tape(family):
  training, inputs = make_training(family), make_inputs()
  initial, loss, gradients = hypergradient(training, inputs)
  moved = [inputs[name] for name in ("weights", "labels", "sample_weights", "learning_rates", "step_multipliers")]
  with tf.GradientTape() as tape:
    tape.watch(moved)
    expected_loss = unrolled_loss(training, initial, inputs)
  expected = tape.gradient(expected_loss, moved, unconnected_gradients=tf.UnconnectedGradients.ZERO)
  np.testing.assert_allclose(loss, expected_loss, rtol=1e-12)
  for ours, theirs in zip(gradients, expected, strict=True):
    assert np.abs(theirs).max() > 1e-5
    np.testing.assert_allclose(ours, theirs, atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize("name,index,position", [("weights", (2, 1, 0), 0), ("labels", (5,), 1),
                                                 ("sample_weights", (1,), 2), ("learning_rates", (0,), 3),
                                                 ("step_multipliers", (4,), 4)])
@pytest.mark.parametrize("family", ["dcn_v2", "nfm"])
def test_hypergradient_equals_central_differences(family, name, index, position):
  training, inputs = make_training(family), make_inputs()
  initial, _, gradients = hypergradient(training, inputs)
  losses = []
  for shift in (1e-5, -1e-5):
    moved = inputs[name].numpy()
    moved[index] += shift
    losses.append(float(training.hypergradient(initial, {**inputs, name: tf.constant(moved)}, *outer())[0]))
  np.testing.assert_allclose(gradients[position].numpy()[index], (losses[0] - losses[1]) / 2e-5, rtol=1e-4, atol=1e-9)


def test_outer_rows_with_sets_of_values_are_exact():
  """The loss is that of the same outer batch written out as bags, and the gradient that of central differences."""
  spec, (rows, labels, _) = small_sets.SPEC, small_sets.draw(6, seed=4)
  random = np.random.default_rng(0)
  inputs = {**make_inputs(), "ids": tf.constant(random.integers(5, size=(NUM_SLOTS, 4, MAX_IDS))),
            "weights": tf.constant(random.dirichlet(np.ones(MAX_IDS), size=(NUM_SLOTS, 4)))}
  model = build_model("fm", spec, seed=3, embedding_dim=2, embedding_stddev=0.3, dtype="float64")
  training = DifferentiableTraining(model, INNER, parameter_group)
  initial = [tf.constant(variable.numpy()) for variable in model.trainable_variables]
  outer_batch = {"ids": tf.constant(rows)}, tf.constant(labels.astype(np.float64)), tf.ones(6, tf.float64)
  loss, gradients = training.hypergradient(initial, inputs, *outer_batch)
  ids, weights = small_sets.as_bags(rows)
  training.train(initial, inputs)
  trained = model({"ids": tf.constant(ids), "weights": tf.constant(weights)})
  np.testing.assert_allclose(loss, tf.reduce_mean(binary_cross_entropy(outer_batch[1], trained)), rtol=1e-7)
  for name, index, position in (("weights", (2, 1, 0), 0), ("labels", (5,), 1), ("learning_rates", (0,), 3)):
    found = []
    for change in (1e-5, -1e-5):
      moved = inputs[name].numpy()
      moved[index] += change
      found.append(float(training.hypergradient(initial, {**inputs, name: tf.constant(moved)}, *outer_batch)[0]))
    assert abs(gradients[position].numpy()[index]) > 1e-5
    np.testing.assert_allclose(gradients[position].numpy()[index], (found[0] - found[1]) / 2e-5, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("member", ["deepfm", "dcn_v2", "fm(without=user)"])
def test_padding_that_all_slots_have_can_be_left_out(member):
  """Columns in place of padded bags: the same loss and hypergradient, and none for the padding."""
  inputs = make_inputs()
  padded = inputs["weights"].numpy()
  padded[:, 1] = [1, 0]
  inputs["weights"] = tf.constant(padded)
  found = []
  for features in (PackedColumns([2, 1, 2], MAX_IDS), packed_features):
    training = make_training(member, features=features)
    initial = [tf.constant(variable.numpy()) for variable in training.variables]
    found.append(training.hypergradient(initial, inputs, *outer()))
  (loss, gradients), (expected_loss, expected) = found
  np.testing.assert_allclose(loss, expected_loss, rtol=1e-12)
  np.testing.assert_array_equal(gradients[0][:, 1, 1], np.zeros(NUM_SLOTS))
  read = np.array([[1, 1], [1, 0], [1, 1]])
  for ours, theirs in zip(gradients, [expected[0] * read, *expected[1:]], strict=True):
    assert np.abs(theirs).max() > 1e-6
    np.testing.assert_allclose(ours, theirs, atol=1e-12, rtol=1e-6)


def test_steps_that_are_made_again_give_the_same_bytes():
  """Of a model with dropout too, whose masks and counters are made again."""
  inputs, found = make_inputs("float32"), []
  for kept_bytes in (1 << 20, 0):
    model = build_model("deepfm", SPEC, seed=3, embedding_dim=2, embedding_stddev=0.3, hidden_units=(4,), dropout=0.3)
    training = DifferentiableTraining(model, INNER, parameter_group, kept_bytes=kept_bytes)
    assert training.keeps_each_step(NUM_STEPS) == bool(kept_bytes)
    initial = [tf.constant(variable.numpy()) for variable in training.variables]
    found.append(training.hypergradient(initial, inputs, *outer("float32")))
  assert NUM_STEPS == 6  # Two segments of three steps.
  assert float(found[0][0]) == float(found[1][0])
  for kept, made_again in zip(found[0][1], found[1][1], strict=True):
    np.testing.assert_array_equal(kept, made_again)
    assert np.abs(kept).max() > 0


def test_no_retrace_after_the_first_outer_step():
  training, inputs = make_training("dnn"), make_inputs()
  for _ in range(3):
    hypergradient(training, inputs)
  assert training.hypergradient.experimental_get_tracing_count() == 1


def test_training_equals_keras_fit_by_the_recipe():
  values = {name: value.numpy() for name, value in make_inputs("float32").items()}
  slots = small_slots(values["ids"], values["weights"], labels=values["labels"],
                      sample_weights=values["sample_weights"], spec=SPEC)
  recipe = Recipe(batch_size=4, epochs=3, beta_1=INNER.beta_1, beta_2=INNER.beta_2, epsilon=INNER.epsilon,
                  learning_rates=dict(zip(PARAMETER_GROUPS, values["learning_rates"].tolist())),
                  step_multipliers=tuple(values["step_multipliers"].tolist()))
  memory = Memory.create(slots, SPEC, recipe, span=1, num_examples_seen=100, budget={})
  training = make_training("deepfm", "float32")
  initial = [tf.constant(variable.numpy()) for variable in training.variables]
  training.train(initial, {name: tf.constant(value) for name, value in values.items()})
  keras = build_model("deepfm", SPEC, seed=3, embedding_dim=2, embedding_stddev=0.3, hidden_units=(4,))
  memory.fit(keras, verbose=0)
  for ours, theirs in zip(training.variables, keras.trainable_variables, strict=True):
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_user_keras_model_is_a_proxy():
  class Plain(tf.keras.Model):

    def __init__(self):
      super().__init__()
      self.table = tf.keras.layers.Embedding(7, 2)
      self.out = tf.keras.layers.Dense(1)

    def call(self, features, training=False):
      return self.out(tf.reduce_sum(self.table(features["ids"]) * features["weights"][..., None], [1, 2]))

  model = Plain()
  model({"ids": tf.zeros([1, 3, 1], tf.int32), "weights": tf.ones([1, 3, 1])})
  training = DifferentiableTraining(model, INNER, parameter_group)
  initial = [tf.constant(variable.numpy()) for variable in training.variables]
  features = {"ids": tf.constant(OUTER_IDS)[..., None], "weights": tf.ones([6, 3, 1])}
  _, gradients = training.hypergradient(initial, make_inputs("float32"), features,
                                        tf.constant(OUTER_TARGETS.astype("float32")), tf.ones(6))
  assert all(np.isfinite(gradient).all() and np.abs(gradient).max() > 0 for gradient in gradients)


def test_a_training_wants_a_batch_size():
  with pytest.raises(ConfigError, match="for_slots"):
    make_training("lr", settings=InnerSettings())


PEAK = """
import resource, sys
import numpy as np, tensorflow as tf
from diet_tf.training.bilevel import DifferentiableTraining, InnerSettings
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.models import build_model, parameter_group
steps = int(sys.argv[1])
spec = FeatureSpec((Field("user", "user", hash_ids=20_000),), Label("click"))
model = build_model("dnn", spec, embedding_dim=8)
training = DifferentiableTraining(model, InnerSettings(batch_size=8, epochs=steps // 4), parameter_group,
                                  kept_bytes=int(sys.argv[2]))
random = np.random.default_rng(0)
inputs = dict(ids=random.integers(20_000, size=(32, 1, 1)), weights=np.ones((32, 1, 1), np.float32),
              labels=random.random(32).astype(np.float32), sample_weights=np.ones(32, np.float32),
              learning_rates=np.full(3, 0.01, np.float32), step_multipliers=np.ones(steps, np.float32))
initial = [tf.constant(variable.numpy()) for variable in training.variables]
training.hypergradient(initial, {name: tf.constant(value) for name, value in inputs.items()},
                       {"ids": tf.zeros([8, 1], tf.int32)}, tf.ones(8), tf.ones(8))
num_bytes = sum(4 * variable.numpy().size for variable in training.variables)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, num_bytes)
"""


def growth_per_step(kept_bytes):
  """Bytes by which the peak grows with each step, and bytes of the weights."""
  peaks = {}
  for steps in (40, 240):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PEAK, str(steps), str(kept_bytes)],
                          capture_output=True, text=True, check=True,
                          env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"})
    peaks[steps], num_bytes = map(int, done.stdout.split())
  return (peaks[240] - peaks[40]) / 200, num_bytes


@pytest.mark.slow
def test_peak_memory_grows_by_one_copy_of_the_weights_per_step_at_most():
  kept, num_bytes = growth_per_step(1 << 40)
  # One copy of the weights a step, and two moments every ceil(sqrt(T)) steps; twice that is left for the allocator.
  assert kept < 2 * num_bytes, (kept, num_bytes)
  # From 40 steps to 240, four times ceil(sqrt(T)) copies grow from 28 to 64: by .18 a step.
  made_again, num_bytes = growth_per_step(0)
  assert made_again < 0.4 * num_bytes, (made_again, num_bytes)
