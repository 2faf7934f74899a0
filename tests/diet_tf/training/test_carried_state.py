"""Proxies with dropout, noise and normalisation: their hypergradient, and what cannot be put back, by name."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.models import PARAMETER_GROUPS, parameter_group
from diet_tf.models.tower import SeededDropout
from diet_tf.training.bilevel import DifferentiableTraining, InnerSettings, binary_cross_entropy
from diet_tf.training.carried_state import CarriedState

NUM_SLOTS, NUM_FIELDS, MAX_IDS = 8, 3, 2
INNER = InnerSettings(batch_size=4, epochs=3, beta_2=0.97, epsilon=1e-3)
NUM_STEPS = INNER.num_steps(NUM_SLOTS)
NAMES = ("weights", "labels", "sample_weights", "learning_rates", "step_multipliers")
# Keras takes the decay of moving statistics in single precision.
DECAY = float(np.float32(1 - 0.9))
layers = tf.keras.layers


@pytest.fixture(autouse=True)
def double_precision():
  """Keras' random layers draw in its default precision."""
  tf.keras.backend.set_floatx("float64")
  yield
  tf.keras.backend.set_floatx("float32")


class Embedded(tf.keras.layers.Layer):
  """`[B, F, 2]` sums of embeddings of weighted bags."""

  def __init__(self):
    super().__init__()
    self.table = self.add_weight("embeddings", (7 * NUM_FIELDS, 2),
                                 initializer=tf.keras.initializers.RandomNormal(stddev=0.5, seed=1))

  def call(self, features):
    rows = tf.cast(features["ids"], tf.int64) + 7 * np.arange(NUM_FIELDS)[:, None]
    return tf.reduce_sum(tf.gather(self.table, rows) * features["weights"][..., None], axis=2)


def dense(units, seed, activation=None):
  return layers.Dense(units, activation, kernel_initializer=tf.keras.initializers.GlorotUniform(seed))


class Subclassed(tf.keras.Model):
  """A tower with layers of choice in its middle."""

  def __init__(self, *middle):
    super().__init__()
    self.embedded = Embedded()
    self.first, self.last = dense(4, 2, "tanh"), dense(1, 3)
    self.middle = list(middle)

  def call(self, features, training=False):
    hidden = self.first(tf.reshape(self.embedded(features), [-1, 2 * NUM_FIELDS]))
    for layer in self.middle:
      hidden = layer(hidden, training=training)
    return self.last(hidden)[:, 0]


def functional():
  features = {"ids": tf.keras.Input([NUM_FIELDS, None], dtype=tf.int64),
              "weights": tf.keras.Input([NUM_FIELDS, None])}
  dropped = layers.SpatialDropout1D(0.3)(Embedded()(features))
  hidden = layers.BatchNormalization(momentum=0.8)(dense(4, 2, "tanh")(layers.Flatten()(dropped)))
  return tf.keras.Model(features, dense(1, 3)(layers.Dropout(0.1)(hidden)))


def nested():
  inner = tf.keras.Sequential([layers.GaussianDropout(0.2), layers.BatchNormalization(momentum=0.7), dense(4, 4),
                               layers.AlphaDropout(0.2)])
  return Subclassed(Subclassed2(inner), layers.LayerNormalization())


class Subclassed2(tf.keras.Model):
  """A model of a user around another, and noise of a generator of its own."""

  def __init__(self, inner):
    super().__init__()
    self.inner = inner
    self.generator = tf.random.Generator.from_seed(1)

  def call(self, inputs, training=False):
    noise = self.generator.normal(tf.shape(inputs), stddev=0.1, dtype=inputs.dtype) if training else 0.0
    return self.inner(inputs, training=training) + noise


class Stopped(tf.keras.layers.Layer):
  """A gradient that is stopped, and noise by Keras."""

  def __init__(self):
    super().__init__()
    self.noise = layers.GaussianNoise(0.2)

  def call(self, inputs, training=False):
    return self.noise(tf.tanh(inputs) * tf.stop_gradient(inputs), training=training)


def shared():
  normalise = layers.BatchNormalization(momentum=0.6)
  return Subclassed(normalise, dense(4, 5), normalise)


def make_inputs():
  random = np.random.default_rng(0)
  values = {"ids": random.integers(7, size=(NUM_SLOTS, NUM_FIELDS, MAX_IDS)),
            "weights": random.dirichlet(np.ones(MAX_IDS), size=(NUM_SLOTS, NUM_FIELDS)),
            "labels": random.uniform(size=NUM_SLOTS), "sample_weights": random.uniform(0.5, 1.5, size=NUM_SLOTS),
            "learning_rates": np.asarray([0.05, 0.07, 0.03]), "step_multipliers": random.uniform(0.5, 1.5, NUM_STEPS)}
  return {name: tf.constant(value) for name, value in values.items()}


OUTER = ({"ids": tf.constant(np.random.default_rng(5).integers(7, size=(6, NUM_FIELDS, 1))),
          "weights": tf.ones([6, NUM_FIELDS, 1], tf.float64)},
         tf.constant(np.random.default_rng(6).uniform(size=6)), tf.ones(6, tf.float64))


def make_training(model):
  model(OUTER[0])
  training = DifferentiableTraining(model, INNER, parameter_group)
  return training, [tf.constant(variable.numpy()) for variable in training.variables]


@pytest.mark.parametrize("make", [
    lambda: Subclassed(layers.Dropout(0.1)), lambda: Subclassed(layers.Dropout(0.3)),
    lambda: Subclassed(layers.Dropout(0.5)), lambda: Subclassed(SeededDropout(0.5, 1)),
    lambda: Subclassed(layers.BatchNormalization()), lambda: Subclassed(Stopped()), functional, nested, shared],
    ids=["dropout .1", "dropout .3", "dropout .5", "our dropout", "batch normalisation", "stopped gradient",
         "functional, both", "nested, both", "shared batch normalisation"])
def test_hypergradient_equals_central_differences(make):
  (training, initial), inputs = make_training(make()), make_inputs()
  _, gradients = training.hypergradient(initial, inputs, *OUTER)
  ours, differences = [], []
  for name, gradient in zip(NAMES, gradients, strict=True):
    for index in list(np.ndindex(*gradient.shape))[:6]:
      losses = []
      for shift in (1e-6, -1e-6):
        moved = inputs[name].numpy()
        moved[index] += shift
        losses.append(float(training.hypergradient(initial, {**inputs, name: tf.constant(moved)}, *OUTER)[0]))
      differences.append((losses[0] - losses[1]) / 2e-6)
      ours.append(gradient.numpy()[index])
  assert np.abs(differences).max() > 1e-2
  cosine = np.dot(ours, differences) / np.linalg.norm(ours) / np.linalg.norm(differences)
  assert cosine > 0.999999
  np.testing.assert_allclose(ours, differences, rtol=1e-4, atol=1e-7)
  assert training.hypergradient.experimental_get_tracing_count() == 1


def unrolled_loss(model, initial, inputs, states):
  """The outer loss as a composition of tensors: a tower with batch normalisation, and dropout by the given states."""
  weights, moments = list(initial), [(tf.zeros_like(value), tf.zeros_like(value)) for value in initial]
  moving = [tf.zeros(4, tf.float64), tf.ones(4, tf.float64)]
  generator = tf.random.Generator.from_state(states, alg="philox")

  def logits(features, training):
    table, first, first_bias, gamma, beta, last, last_bias = weights
    rows = features["ids"] + 7 * np.arange(NUM_FIELDS)[:, None]
    embedded = tf.reduce_sum(tf.gather(table, rows) * features["weights"][..., None], axis=2)
    hidden = tf.tanh(tf.reshape(embedded, [-1, 6]) @ first + first_bias)
    mean, variance = moving
    if training:
      mean = tf.reduce_mean(hidden, 0)
      variance = tf.reduce_mean((hidden - mean)**2, 0)
      moving[:] = [moving[0] - DECAY * (moving[0] - mean), moving[1] - DECAY * (moving[1] - variance)]
    hidden = gamma * (hidden - mean) / tf.sqrt(variance + 1e-3) + beta
    if training:
      hidden *= tf.cast(generator.uniform(tf.shape(hidden), dtype=tf.float64) >= 0.3, tf.float64) / 0.7
    return (hidden @ last + last_bias)[:, 0]

  for step in range(NUM_STEPS):
    rows = slice((step * INNER.batch_size) % NUM_SLOTS, (step * INNER.batch_size) % NUM_SLOTS + INNER.batch_size)
    with tf.GradientTape() as tape:
      tape.watch(weights)
      outputs = logits({name: inputs[name][rows] for name in ("ids", "weights")}, training=True)
      loss = tf.reduce_mean(inputs["sample_weights"][rows] * binary_cross_entropy(inputs["labels"][rows], outputs))
    gradients = tape.gradient(loss, weights)
    correction = np.sqrt(1 - INNER.beta_2**(step + 1)) / (1 - INNER.beta_1**(step + 1))
    for index, variable in enumerate(model.trainable_variables):
      gradient = tf.convert_to_tensor(gradients[index])
      m = INNER.beta_1 * moments[index][0] + (1 - INNER.beta_1) * gradient
      v = INNER.beta_2 * moments[index][1] + (1 - INNER.beta_2) * gradient**2
      # The derivative of the root at 0 is taken as 0, as the reverse pass does.
      root = tf.where(v > 0, tf.sqrt(tf.where(v > 0, v, tf.ones_like(v))), tf.zeros_like(v))
      rate = inputs["learning_rates"][PARAMETER_GROUPS.index(parameter_group(variable))]
      weights[index] -= rate * inputs["step_multipliers"][step] * correction * m / (root + INNER.epsilon)
      moments[index] = (m, v)
  return tf.reduce_mean(binary_cross_entropy(OUTER[1], logits(OUTER[0], training=False)))


def test_hypergradient_equals_unrolled_tape():
  model = Subclassed(layers.BatchNormalization(momentum=0.9), layers.Dropout(0.3))
  (training, initial), inputs = make_training(model), make_inputs()
  loss, gradients = training.hypergradient(initial, inputs, *OUTER)
  names = [variable.name.split(":")[0].rsplit("/", 1)[-1] for variable in model.trainable_variables]
  order = [names.index("embeddings"), names.index("kernel"), names.index("bias"), names.index("gamma"),
           names.index("beta")]
  order += [index for index in range(len(names)) if index not in order]
  moved = [inputs[name] for name in NAMES]
  # Where the draws of seed 0 begin, see `LayerDraws.restart`.
  states = tf.random.stateless_uniform([3], tf.constant([0, 0], tf.int64), None, None, tf.int64)

  class Ordered:
    trainable_variables = [model.trainable_variables[index] for index in order]

  with tf.GradientTape() as tape:
    tape.watch(moved)
    expected_loss = unrolled_loss(Ordered, [initial[index] for index in order], inputs, states)
  expected = tape.gradient(expected_loss, moved, unconnected_gradients=tf.UnconnectedGradients.ZERO)
  np.testing.assert_allclose(loss, expected_loss, rtol=1e-12)
  for ours, theirs in zip(gradients, expected, strict=True):
    assert np.abs(theirs).max() > 1e-5
    np.testing.assert_allclose(ours, theirs, atol=1e-9, rtol=1e-6)


def test_a_training_ends_alike_whatever_was_trained_before():
  """In another process a model is another one, with the same seeds."""
  found = []
  for _ in range(2):
    training, initial = make_training(functional())
    training.train(initial, {**make_inputs(), "labels": tf.zeros(NUM_SLOTS, tf.float64)})
    training.train(initial, make_inputs())
    found.append([value.numpy() for value in (*training.variables, *training.model.non_trainable_variables)])
  for first, second in zip(*found, strict=True):
    np.testing.assert_array_equal(first, second)


def test_a_draw_seed_gives_each_training_draws_of_its_own():
  model = Subclassed(layers.Dropout(0.5), SeededDropout(0.5, 1))
  model(OUTER[0])
  seed = tf.Variable(3, dtype=tf.int64)
  training = DifferentiableTraining(model, INNER, parameter_group, draw_seed=seed)
  initial = [tf.constant(variable.numpy()) for variable in training.variables]
  losses = []
  for value in (3, 4, 3):
    seed.assign(value)
    losses.append(float(training.hypergradient(initial, make_inputs(), *OUTER)[0]))
  assert losses[0] == losses[2] != losses[1]


class Odd(tf.keras.Model):
  """A model whose call does one thing more."""

  def __init__(self, act):
    super().__init__()
    self.act = act
    self.normalise = layers.BatchNormalization()
    self.kernel = self.add_weight("kernel", (2, 1))
    self.average = self.add_weight("average", (2,), trainable=False)

  def call(self, inputs, training=False):
    with tf.name_scope("noisy"):
      hidden = self.act(self, inputs) if training else inputs
    return hidden @ self.kernel


def in_function(model, inputs):
  return tf.function(lambda x: model.normalise(x, training=True))(inputs)


def on_condition(model, inputs):
  return tf.cond(inputs[0, 0] > 0, lambda: model.normalise(inputs, training=True), lambda: inputs)


def in_table(model, inputs):
  table = TABLES.setdefault(id(model), tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0))
  table.insert(tf.constant([1], tf.int64), tf.constant([2], tf.int64))
  return inputs


def trained(model, inputs):
  model.kernel.assign(model.kernel / tf.norm(model.kernel))
  return inputs


def scattered(model, inputs):
  model.average.scatter_nd_update([[0]], inputs[:1, 0])
  return inputs


TABLES, ELSEWHERE = {}, tf.Variable(1.0)


@pytest.mark.parametrize("act,words", [
    (lambda model, x: x + tf.random.uniform(tf.shape(x), dtype=x.dtype), "RandomUniform in .*noisy"),
    (lambda model, x: tf.nn.dropout(x, 0.5), "RandomUniform in .*noisy/dropout"),
    (lambda model, x: tf.function(lambda y: y + tf.random.normal(tf.shape(y), dtype=y.dtype))(x),
     "RandomStandardNormal in .*noisy"),
    (lambda model, x: tf.random.shuffle(x), "RandomShuffle"),
    (lambda model, x: tf.py_function(tf.sin, [x], x.dtype), "EagerPyFunc"),
    (lambda model, x: tf.numpy_function(np.sin, [x], x.dtype), "PyFunc"),
    (lambda model, x: x + tf.random.get_global_generator().normal(tf.shape(x), dtype=x.dtype), "RngReadAndSkip"),
    (lambda model, x: x * tf.cast(ELSEWHERE.assign_add(1.0), x.dtype), "AssignAddVariableOp"),
    (in_table, "LookupTableInsertV2"), (trained, "AssignVariableOp in .*noisy"),
    (in_function, "AssignSubVariableOp in .*noisy.*batch_normalization.* tf.function"),
    (on_condition, "AssignSubVariableOp in .*noisy/cond.*batch_normalization.* tf.cond"),
    (scattered, "ResourceScatterNdUpdate in .*noisy.* a part of a variable")])
def test_what_cannot_be_put_back_is_refused_by_name(act, words):
  # Left to itself, TensorFlow refuses to make one once a command in this process has asked for determinism.
  tf.random.set_global_generator(tf.random.Generator.from_seed(1))
  model = Odd(act)
  # Its variables are made outside of the condition or function.
  model.normalise.build([None, 2])
  state = CarriedState(model, "my.models:Odd")
  with pytest.raises(ConfigError, match=words) as refused:
    state.find(lambda training, inputs: model(inputs, training=training), [tf.TensorSpec([None, 2], tf.float64)])
  assert refused.value.subject == "model 'my.models:Odd'"
  assert "learning_rate" not in str(refused.value)


def test_counters_of_any_kind_are_put_back():
  def count(model, inputs):
    tf.cond(inputs[0, 0] > 0, lambda: model.calls.assign_add(1), lambda: model.calls.read_value())
    return inputs

  model = Odd(count)
  model.calls = tf.Variable(7, trainable=False)
  state = CarriedState(model, "odd")
  state.find(lambda training, inputs: model(inputs, training=training), [tf.TensorSpec([None, 2], tf.float64)])
  assert [variable.name for variable in state.variables] == [model.calls.name] and not state.followed
  model(tf.ones([1, 2], tf.float64), training=True)
  assert model.calls.numpy() == 8
  state.start()
  assert model.calls.numpy() == 7


PEAK = """
import resource, sys
import tensorflow as tf
from tests.diet_tf.training import test_carried_state as tested
training, initial = tested.make_training(tested.functional())
peaks = []
for repetitions in (3, 60):
  for _ in range(repetitions):
    training.hypergradient(initial, tested.make_inputs(), *tested.OUTER)
  peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((peaks[1] - peaks[0]) / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_trainings():
  script = f"import tensorflow as tf\ntf.keras.backend.set_floatx('float64')\n{PEAK}"
  done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True,
                        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"})
  assert float(done.stdout) < 16, done.stdout
