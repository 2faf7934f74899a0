"""Adam's own part of a training on slots: a step of all variables in place, and a step backwards, in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import tensorflow as tf

from diet_tf.training.variable_blocks import VariableBlocks, dense_gradient


class AdamConstants(Protocol):
  """What of the settings of an inner loop Adam reads, see `diet_tf.training.inner_settings.InnerSettings`."""

  @property
  def beta_1(self) -> float:
    """Decay of the first moment."""

  @property
  def beta_2(self) -> float:
    """Decay of the second moment."""

  @property
  def epsilon(self) -> float:
    """What is added to the root of the second moment."""


class AdamSteps:
  """Adam on some variables, with a learning rate for each parameter group, forwards and backwards.

  Args:
    constants: decays and epsilon.
    variables: the variables that are trained.
    groups: parameter group of each variable, as an index of the learning rates.

  Attributes:
    moments: first moments of all variables, then second ones; each step overwrites them.
    blocks: the variables as the steps backwards see them.
  """

  def __init__(self, constants: AdamConstants, variables: Sequence[tf.Variable], groups: Sequence[int]) -> None:
    self._constants = constants
    self._variables = variables
    self._groups = groups
    self.moments = [tf.Variable(tf.zeros_like(variable), trainable=False, shape=variable.shape)
                    for variable in [*variables, *variables]]
    self.blocks = VariableBlocks(variables, groups)

  def start(self) -> None:
    """Sets all moments to 0, in the present shapes of the variables."""
    for moment, variable in zip(self.moments, [*self._variables, *self._variables]):
      moment.assign(tf.zeros_like(variable))

  def moment_blocks(self, moments: Sequence[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """First and second moments in blocks, of values in the order of `moments`."""
    count = len(self._variables)
    return self.blocks.join(moments[:count]), self.blocks.join(moments[count:])

  def apply(self, gradients: Sequence[Any], learning_rates: tf.Tensor, multiplier: tf.Tensor, step: tf.Tensor) -> None:
    """Step `step`, counted from 0, of all variables.

    Args:
      gradients: one for each variable; absent ones are 0, sparse ones are made dense.
      learning_rates: `[num_groups]`.
      multiplier: scalar, multiplies the rates in this step.
      step: scalar int32.
    """
    count = len(self._variables)
    powers = {dtype: self._beta_powers(step, dtype) for dtype in {variable.dtype for variable in self._variables}}
    rates = {group: learning_rates[group] * multiplier for group in set(self._groups)}
    for variable, gradient, group, m, v in zip(self._variables, gradients, self._groups, self.moments[:count],
                                               self.moments[count:]):
      dtype = variable.dtype
      power_1, power_2 = powers[dtype]
      tf.raw_ops.ResourceApplyAdam(
          var=variable.handle, m=m.handle, v=v.handle, beta1_power=power_1, beta2_power=power_2, lr=rates[group],
          beta1=tf.constant(self._constants.beta_1, dtype), beta2=tf.constant(self._constants.beta_2, dtype),
          epsilon=tf.constant(self._constants.epsilon, dtype), grad=dense_gradient(gradient, variable))

  def rates(self, learning_rates: tf.Tensor, multiplier: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """`[num_groups]`, the factor of `m / (sqrt(v) + epsilon)` in a step; arguments as of `apply`."""
    power_1, power_2 = self._beta_powers(step, learning_rates.dtype)
    return learning_rates * multiplier * tf.sqrt(1 - power_2) / (1 - power_1)

  def reverse(self, rates: tf.Tensor, gradients: list[tf.Tensor], adjoints: list[tf.Tensor],
              adjoints_m: list[tf.Tensor], adjoints_v: list[tf.Tensor], m: list[tf.Tensor],
              v: list[tf.Tensor]) -> tuple[list[tf.Tensor], ...]:
    """Adam's own part of a backward step, all in blocks; `m` and `v` are those after the step.

    Returns:
      Per block the adjoint of its gradient, the derivative with respect to the logarithm of its rate, the adjoints
      of `m` and `v` before the step, and `m` and `v` before it.
    """
    beta_1, beta_2, epsilon = self._constants.beta_1, self._constants.beta_2, self._constants.epsilon
    results: list[tuple[tf.Tensor, ...]] = []
    for group, gradient, adjoint, adjoint_m, adjoint_v, m_i, v_i in zip(
        self.blocks.groups, gradients, adjoints, adjoints_m, adjoints_v, m, v):
      root = tf.sqrt(v_i)
      pulled = rates[group] * adjoint / (root + epsilon)
      total_m = adjoint_m - pulled
      # d sqrt(v) / d v is infinite at 0; there m is 0 too and the step is 0 for either sign, so the limit 0 is taken.
      total_v = adjoint_v + tf.math.divide_no_nan(pulled * m_i, 2 * root * (root + epsilon))
      results.append((
          (1 - beta_1) * total_m + 2 * (1 - beta_2) * gradient * total_v, -tf.reduce_sum(pulled * m_i),
          beta_1 * total_m, beta_2 * total_v, (m_i - (1 - beta_1) * gradient) / beta_1,
          # Rounding may leave a second moment that was 0 a little below it.
          tf.maximum((v_i - (1 - beta_2) * tf.square(gradient)) / beta_2, 0)))
    return tuple(list(part) for part in zip(*results))

  def _beta_powers(self, step: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
    count = tf.cast(step + 1, dtype)
    return tf.constant(self._constants.beta_1, dtype)**count, tf.constant(self._constants.beta_2, dtype)**count
