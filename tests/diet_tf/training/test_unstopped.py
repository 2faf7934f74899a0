"""Second derivatives through stopped gradients, against those worked out by hand."""

import numpy as np
import tensorflow as tf

from diet_tf.training.unstopped import stops_gradients, unstopped


def slope(x):
  """The gradient of `x^2 * stopped(x)`, which a tape takes for `2 x * x`."""
  with tf.GradientTape() as tape:
    tape.watch(x)
    value = x * x * tf.stop_gradient(x)
  return tape.gradient(value, x)


def test_a_stop_counts_in_the_first_derivative_alone():
  @tf.function
  def both(x):
    first = unstopped(slope, x)
    return first, *tf.gradients([first], [x])

  first, second = both(tf.constant(3.0))
  np.testing.assert_allclose(first, 18.0)
  # d (2 x * x) / d x = 4 x; a tape that stopped again would say 2 x.
  np.testing.assert_allclose(second, 12.0)


def test_variables_and_sparse_gradients_are_kept():
  table = tf.Variable([[1.0], [2.0], [3.0]])

  def gradient(ids):
    with tf.GradientTape() as tape:
      value = tf.reduce_sum(tf.gather(table, ids) ** 2 * tf.stop_gradient(table[0, 0]))
    return tape.gradient(value, table)

  @tf.function
  def both(ids):
    first = unstopped(gradient, ids)
    return first.values, first.indices, *tf.gradients([first.values], [table])

  values, indices, second = both(tf.constant([1, 1]))
  np.testing.assert_array_equal(indices, [1, 1])
  np.testing.assert_allclose(values, [[4.0], [4.0]])  # 2 table[1] * table[0]
  # By table[0]: 2 table[1] in each of two rows; by table[1]: 2 table[0] in each.
  np.testing.assert_allclose(tf.convert_to_tensor(second), [[8.0], [4.0], [0.0]])


def test_stops_are_seen_in_functions_too():
  def graph(function):
    return tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec([])).graph

  inner = tf.function(tf.stop_gradient)
  assert stops_gradients(graph(lambda x: inner(x) + 1))
  assert stops_gradients(graph(lambda x: tf.nn.moments(x[None], [0])[1]))
  assert not stops_gradients(graph(lambda x: x * 2))
