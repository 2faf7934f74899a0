"""What Keras' layers draw, made a function of a seed."""

import random

import numpy as np
import tensorflow as tf

from diet_tf.models.draws import LayerDraws
from diet_tf.models.tower import SeededDropout


class Drawing(tf.keras.Model):
  """Draws by a layer of Keras, by one inside another model, and by a generator of its own."""

  def __init__(self):
    super().__init__()
    self.noise = tf.keras.layers.GaussianNoise(1.0, seed=4)
    self.nested = tf.keras.Sequential([tf.keras.layers.Dropout(0.5)])
    # Of a seed that is nobody's, as TensorFlow would make it, had no command of this process asked for determinism.
    self.generator = tf.random.Generator.from_seed(random.SystemRandom().getrandbits(31))

  def call(self, inputs, training=False):
    return self.nested(self.noise(inputs, training=training), training=training) + self.generator.uniform([4])


def drawn(model, draws, seed):
  draws.restart(seed)
  step = tf.function(lambda: model(tf.ones([4]), training=True))
  return [step().numpy() for _ in range(2)]


def test_the_draws_of_a_seed_are_the_same_in_every_model_and_after_other_draws():
  python_state = random.getstate()
  first, second = Drawing(), Drawing()
  draws = [LayerDraws(model) for model in (first, second)]
  assert random.getstate() == python_state
  once = drawn(first, draws[0], 3)
  assert not np.array_equal(once[0], once[1])
  other = drawn(first, draws[0], 4)
  assert not np.array_equal(once, other)
  np.testing.assert_array_equal(drawn(first, draws[0], 3), once)
  np.testing.assert_array_equal(drawn(second, draws[1], 3), once)


def test_layers_keep_their_weights_and_draw_apart():
  model = tf.keras.Sequential([tf.keras.layers.Dropout(0.5), tf.keras.layers.Dropout(0.5)])
  model(tf.ones([1, 64]))
  draws = LayerDraws(model)
  assert not model.weights and len(draws.variables) == 2
  draws.restart(0)
  first, second = (layer(tf.ones([1, 64]), training=True).numpy() for layer in model.layers)
  assert set(np.unique(first)) == {0.0, 2.0}
  assert 8 < (first != second).sum() < 56


def test_recurrent_layers_and_layers_in_containers_are_found():
  class Held(tf.keras.layers.Layer):
    """A layer that keeps others in a dictionary and a list."""

    def __init__(self):
      super().__init__()
      self.by_name = {"b": [tf.keras.layers.Dropout(0.5)], "a": tf.keras.layers.GaussianNoise(1.0)}

  model = tf.keras.Sequential([tf.keras.layers.GRU(2, dropout=0.5), Held()])
  model(tf.ones([1, 3, 2]))
  # Keras' recurrent layer has a generator of its own beside that of its cell.
  assert len(LayerDraws(model).variables) == 4


def test_a_seed_sets_the_counter_of_our_own_dropout():
  layer = SeededDropout(0.5, 1)
  model = tf.keras.Sequential([layer])
  draws = LayerDraws(model)
  masks = []
  for seed in (2, 3, 2):
    draws.count_from(tf.constant(seed))
    masks.append(model(tf.ones([64]), training=True).numpy())
  np.testing.assert_array_equal(masks[0], masks[2])
  assert (masks[0] != masks[1]).any()


def test_replicas_of_a_strategy_draw_by_the_seed():
  strategy = tf.distribute.MirroredStrategy(["CPU:0"])
  with strategy.scope():
    model = tf.keras.Sequential([tf.keras.layers.Dropout(0.5)])
    model(tf.ones([1, 8]))
    draws = LayerDraws(model)
  step = tf.function(lambda: strategy.run(lambda: model(tf.ones([1, 8]), training=True)))
  found = []
  for _ in range(2):
    draws.restart(5)
    found.append([np.asarray(step()) for _ in range(2)])
  np.testing.assert_array_equal(found[0], found[1])
