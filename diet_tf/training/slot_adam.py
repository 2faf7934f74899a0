"""A recipe's Adam over slots: the rows of tables that a training can move are known before it begins.

`diet_tf.models.optimizers.GroupedAdam` finds out, step by step, which rows of a table have occurred, and goes on moving
these. Here they are the rows of all slots, from the first step on: one that has not occurred yet has no moments and
does not move, so that the steps are the same, up to the rounding of sums. Moments are kept for these rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from diet_tf.memory.recipe import Recipe
from diet_tf.models.parameter_groups import PARAMETER_GROUPS, parameter_group
from diet_tf.training.recipe_steps import ADAM_CONSTANTS, constants, group_rates, require_constants, step_multipliers


class SlotAdam:
  """Adam with a rate for each parameter group; recipes, and memories with other ids, share one graph.

  Args:
    variables: variables that are trained.
    tables: those of them of which a step reads some rows, all by the same numbers; their gradients are
      `tf.IndexedSlices`.
    recipe: recipe to begin with; one that is followed later has the same beta_1, beta_2 and epsilon.
  """

  def __init__(self, variables: Sequence[tf.Variable], tables: Sequence[tf.Variable], recipe: Recipe) -> None:
    self._variables = list(variables)
    self._constants = constants(recipe, ADAM_CONSTANTS)
    self._rates = tf.Variable(group_rates(recipe), trainable=False)
    self._multipliers = tf.Variable(step_multipliers(recipe), trainable=False, shape=[None])
    self._groups = [PARAMETER_GROUPS.index(parameter_group(variable)) for variable in self._variables]
    known = {table.ref() for table in tables}
    self._is_table = [variable.ref() in known for variable in self._variables]
    self._rows = tf.Variable(tf.zeros([0], tf.int64), trainable=False, shape=[None])
    self._moments = [self._moments_of(variable, is_table) for variable, is_table in zip(
        self._variables, self._is_table, strict=True)]

  def _moments_of(self, variable: tf.Variable, is_table: bool) -> tuple[tf.Variable, tf.Variable]:
    shape, rest = ([0, *variable.shape[1:]], [None, *variable.shape[1:]]) if is_table else (variable.shape,) * 2
    return tuple(tf.Variable(tf.zeros(shape, variable.dtype), trainable=False, shape=rest)
                 for _ in range(2))

  def follow(self, recipe: Recipe) -> None:
    """Takes over a recipe's rates and multipliers.

    Raises:
      ConfigError: its other constants differ from those of the recipe that the optimiser was made for.
    """
    require_constants(recipe, self._constants, ADAM_CONSTANTS)
    self._rates.assign(group_rates(recipe))
    self._multipliers.assign(step_multipliers(recipe))

  @tf.autograph.experimental.do_not_convert
  def start(self, rows: tf.Tensor) -> None:
    """Begins a training: no moments, and in a graph the rows of tables that occur in it, `[num_entries]` int64."""
    self._rows.assign(tf.sort(tf.unique(rows)[0]))
    count = tf.shape(self._rows)[0]
    for pair, is_table in zip(self._moments, self._is_table, strict=True):
      for moment in pair:
        shape = tf.concat([[count], tf.shape(moment)[1:]], axis=0) if is_table else tf.shape(moment)
        moment.assign(tf.zeros(shape, moment.dtype))

  @tf.autograph.experimental.do_not_convert
  def apply(self, gradients: Sequence[tf.Tensor | tf.IndexedSlices | None], step: tf.Tensor) -> None:
    """One step, numbered from 0.

    Args:
      gradients: gradients of the variables, in their order; None leaves a variable as it is.
      step: scalar int32.
    """
    beta_1, beta_2, _ = self._constants
    count = tf.cast(step + 1, tf.float32)
    powers = tf.constant(beta_1)**count, tf.constant(beta_2)**count
    multiplier = self._multipliers[tf.minimum(step, tf.shape(self._multipliers)[0] - 1)]
    rates = tf.convert_to_tensor(self._rates) * multiplier
    for variable, gradient, group, is_table, (m, v) in zip(
        self._variables, gradients, self._groups, self._is_table, self._moments, strict=True):
      if gradient is None:
        continue
      if is_table:
        self._move_rows(variable, gradient, rates[group], powers, m, v)
        continue
      dtype = variable.dtype
      tf.raw_ops.ResourceApplyAdam(
          var=variable.handle, m=m.handle, v=v.handle, beta1_power=tf.cast(powers[0], dtype),
          beta2_power=tf.cast(powers[1], dtype), lr=tf.cast(rates[group], dtype), beta1=tf.constant(beta_1, dtype),
          beta2=tf.constant(beta_2, dtype), epsilon=tf.constant(self._constants[2], dtype),
          grad=tf.convert_to_tensor(gradient))

  def _move_rows(self, table: tf.Variable, gradient: tf.IndexedSlices, rate: tf.Tensor,
                 powers: tuple[tf.Tensor, tf.Tensor], m: tf.Variable, v: tf.Variable) -> None:
    beta_1, beta_2, epsilon = self._constants
    rows = tf.convert_to_tensor(self._rows)
    places = tf.searchsorted(rows, tf.cast(gradient.indices, rows.dtype))
    total = tf.math.unsorted_segment_sum(gradient.values, places, tf.shape(rows)[0])
    before_m, before_v = tf.convert_to_tensor(m), tf.convert_to_tensor(v)
    now_m = before_m + (1 - beta_1) * (total - before_m)
    now_v = before_v + (1 - beta_2) * (tf.square(total) - before_v)
    m.assign(now_m)
    v.assign(now_v)
    alpha = tf.cast(rate * tf.sqrt(1 - powers[1]) / (1 - powers[0]), table.dtype)
    table.scatter_sub(tf.IndexedSlices(alpha * now_m / (tf.sqrt(now_v) + epsilon), rows))
