"""One Adam step by hand, and the step backwards against a tape."""

import types

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.training.adam_steps import AdamSteps

CONSTANTS = types.SimpleNamespace(beta_1=0.75, beta_2=0.5, epsilon=0.5)
RATES = tf.constant([0.5, 2.0], tf.float64)


def two_variables():
  return [tf.Variable([1.0, -2.0], dtype=tf.float64), tf.Variable([3.0], dtype=tf.float64)]


def test_a_first_step_by_hand():
  variables = two_variables()
  adam = AdamSteps(CONSTANTS, variables, [0, 1])
  adam.start()
  adam.apply([tf.constant([4.0, 0.0], tf.float64), None], RATES, tf.constant(0.25, tf.float64), tf.constant(0))
  # m = 4 / 4, v = 16 / 2; the correction is sqrt(1 - 1/2) / (1 - 3/4) = 2 sqrt 2; what has no gradient stays.
  step = 0.5 * 0.25 * 2 * np.sqrt(2) * 1 / (np.sqrt(8) + 0.5)
  np.testing.assert_allclose(variables[0], [1 - step, -2], rtol=1e-12)
  np.testing.assert_array_equal(variables[1], [3])
  np.testing.assert_allclose([moment.numpy()[0] for moment in adam.moments], [1, 0, 8, 0])
  np.testing.assert_allclose(adam.rates(RATES, tf.constant(0.25, tf.float64), tf.constant(0)),
                             [0.125 * 2 * np.sqrt(2), 0.5 * 2 * np.sqrt(2)])


@pytest.mark.parametrize("step", [0, 3])
def test_a_step_backwards_is_that_of_a_tape(step):
  adam = AdamSteps(CONSTANTS, two_variables()[:1], [1])
  m, v, gradient = (tf.constant(value, tf.float64) for value in ([0.5, -1.0], [2.0, 0.25], [-3.0, 0.5]))
  by_weights, by_m, by_v = (tf.constant(value, tf.float64) for value in ([0.3, -0.7], [0.2, 0.1], [-0.4, 0.6]))
  rates = adam.rates(RATES, tf.constant(0.25, tf.float64), tf.constant(step))
  with tf.GradientTape() as tape:
    tape.watch([gradient, m, v, rates])
    after_m = 0.75 * m + 0.25 * gradient
    after_v = 0.5 * v + 0.5 * gradient**2
    moved = -rates[1] * after_m / (tf.sqrt(after_v) + 0.5)
    total = tf.reduce_sum(moved * by_weights + after_m * by_m + after_v * by_v)
  expected = tape.gradient(total, [gradient, rates, m, v])
  found = adam.reverse(rates, [gradient], [by_weights], [by_m], [by_v], [after_m], [after_v])
  (by_gradient,), (by_log_rate,), (before_m,), (before_v,), (m_before,), (v_before,) = found
  np.testing.assert_allclose(by_gradient, expected[0], rtol=1e-12)
  np.testing.assert_allclose(by_log_rate, tf.convert_to_tensor(expected[1])[1] * rates[1], rtol=1e-12)
  np.testing.assert_allclose([before_m, before_v], expected[2:], rtol=1e-12)
  np.testing.assert_allclose([m_before, v_before], [m, v], rtol=1e-12)
