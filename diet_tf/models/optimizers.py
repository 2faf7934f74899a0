"""Adam with a learning rate per group of variables, which reads and writes only the rows that a batch touches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.models.parameter_groups import PARAMETER_GROUPS, parameter_group


class _Step(NamedTuple):
  """What all variables of one dtype share in one step, as scalar tensors."""

  beta_1_power: tf.Tensor
  beta_2_power: tf.Tensor
  scale: tf.Tensor


class _CurrentStep:
  """Holds the tensors of the step under way, out of sight of TensorFlow's attribute tracking."""

  def __init__(self) -> None:
    self.by_dtype: dict[tf.DType, _Step] | None = None


@tf.keras.utils.register_keras_serializable("diet_tf")
class GroupedAdam(tf.keras.optimizers.Optimizer):
  """Adam (Kingma and Ba, 2015) as Keras computes it, lazy for sparse gradients and with a rate per parameter group.

  At step t = 1, 2, ... with gradient g:

      m <- m + (1 - beta_1) (g - m),   v <- v + (1 - beta_2) (g^2 - v)
      w <- w - rate_t sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)
      rate_t = learning_rates[group] * step_multipliers[t - 1] * learning_rate

  For an `tf.IndexedSlices` gradient, rows that occur more than once are summed. If `lazy`, only the rows that occur
  are read or written: w, m and v of all others stay as they are, bit for bit. Otherwise a row goes on moving by its m
  after it has occurred, as in Keras' own Adam: for at least `momentum_steps` further steps, or for ever. Rows that
  never occurred have m = v = 0 and would not move, so that they need no reading either way. t counts steps, not visits.

  Args:
    learning_rates: one rate per group ("embedding", "linear", "dense"; see `parameter_group`), or one for all.
    beta_1: decay of the mean of gradients.
    beta_2: decay of the mean of squared gradients.
    epsilon: added to the square root.
    step_multipliers: one factor per step; the last one holds beyond its end; none means 1.
    lazy: whether only the rows of the batch move.
    momentum_steps: if not lazy, how many steps at least a row moves on; None is for ever, which equals Keras' Adam.
      With 32 steps at beta_1 = 0.9 all but 3 % of the movement is made, at a cost that does not grow with the log.
    all_rows: if not lazy and without momentum_steps, whether each step reads all rows of a table, and not those alone
      that have occurred. The steps are the same, and cost more on large tables; XLA needs their shapes, which are known
      beforehand.
    learning_rate: a common factor of all rates, a number or a Keras schedule, so that Keras' callbacks work.
  """

  def __init__(self, learning_rates: Mapping[str, float] | float = 1e-3, *, beta_1: float = 0.9, beta_2: float = 0.999,
               epsilon: float = 1e-7, step_multipliers: Iterable[float] = (), lazy: bool = True,
               momentum_steps: int | None = None, all_rows: bool = False, learning_rate: Any = 1.0,
               name: str = "GroupedAdam", **kwargs: Any) -> None:
    # Without weight_decay=None Keras would walk over whole tables at each step to subtract 0.
    super().__init__(name=name, weight_decay=None, jit_compile=False, **kwargs)
    self._learning_rates = self._no_dependency(_rates(learning_rates))
    self._beta_1 = _in_unit_interval("beta_1", beta_1)
    self._beta_2 = _in_unit_interval("beta_2", beta_2)
    if not epsilon > 0.0:
      raise ConfigError("optimizer setting 'epsilon'", rule="it is positive.", received=repr(epsilon),
                        remedy="pass for example 1e-7.")
    self._epsilon = float(epsilon)
    self._step_multipliers = self._no_dependency([float(value) for value in step_multipliers])
    self._lazy = lazy
    if momentum_steps is not None and momentum_steps < 1:
      raise ConfigError("optimizer setting 'momentum_steps'", rule="it is at least 1, or None.",
                        received=repr(momentum_steps), remedy="pass 32, or lazy=True for none.")
    self._momentum_steps = momentum_steps
    if all_rows and (lazy or momentum_steps is not None):
      raise ConfigError("optimizer setting 'all_rows'", rule="it goes with lazy=False and without momentum_steps.",
                        received=f"lazy={lazy}, momentum_steps={momentum_steps}.", remedy="leave out one of them.")
    self._all_rows = all_rows
    self._learning_rate = self._build_learning_rate(learning_rate)
    self._current = _CurrentStep()
    self._seen: dict[str, tuple[tf.Variable, tf.Variable]] = self._no_dependency({})

  def build(self, var_list: Iterable[tf.Variable]) -> None:
    """Creates m and v, zero, for each variable."""
    variables = list(var_list)
    super().build(variables)
    if getattr(self, "_built", False):
      return
    self._built = True
    self._group_names = self._no_dependency([parameter_group(variable) for variable in variables])
    self._rates = self._no_dependency([self._learning_rates[group] for group in self._group_names])
    self._momentums = [self.add_variable_from_reference(variable, "m") for variable in variables]
    self._velocities = [self.add_variable_from_reference(variable, "v") for variable in variables]
    if not self._lazy and not self._all_rows and not tf.distribute.has_strategy():
      # A variable that is made while a step is traced has that step traced twice.
      for variable, group in zip(variables, self._group_names):
        if group != "dense":
          self._seen_rows(variable)

  def _seen_rows(self, variable: tf.Variable) -> tuple[tf.Variable, tf.Variable]:
    """The rows of a table that occurred in the period before the present one, and in the present one."""
    key = self._var_key(variable)
    if key not in self._seen:
      with tf.init_scope():
        earlier, recent = (tf.Variable(tf.zeros([0], tf.int64), trainable=False, shape=[None], name=name)
                           for name in ("earlier_rows", "recent_rows"))
        self._seen[key] = (earlier, recent)
    return self._seen[key]

  @property
  def has_fixed_shapes(self) -> bool:
    """Whether XLA can compile the steps: they keep no list of rows, which grows."""
    return self._lazy or self._all_rows

  def stop_all_rows(self) -> None:
    """Stops the movement of all rows until they occur again, as at the end of one training and the start of another."""
    for pair in self._seen.values():
      for rows in pair:
        rows.assign(tf.zeros([0], tf.int64))

  def reset(self) -> None:
    """Sets the steps and all moments back to 0, as in a new optimizer; rates stay as they are."""
    for variable in (self.iterations, *self._momentums, *self._velocities):
      variable.assign(tf.zeros_like(variable))
    # Rows without moments would not move, but each step would read them.
    self.stop_all_rows()

  def set_rates(self, learning_rates: Mapping[str, float]) -> None:
    """Takes other rates per group from here on; a step that was traced before keeps those that it was traced with."""
    self._learning_rates = self._no_dependency(_rates(learning_rates))
    if getattr(self, "_built", False):
      # In the order of `build`, which went by the groups of the variables.
      self._rates = self._no_dependency([self._learning_rates[group] for group in self._group_names])

  def moments(self, variable: tf.Variable) -> tuple[tf.Variable, tf.Variable]:
    """The variables m and v of a variable that the optimizer was built for."""
    index = self._index_dict[self._var_key(variable)]
    return self._momentums[index], self._velocities[index]

  def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, tf.Variable]], name: str | None = None,
                      skip_gradients_aggregation: bool = False, **kwargs: Any) -> tf.Variable:
    """As Keras': one step; returns the iteration counter."""
    # The bias corrections are a dozen scalar operations: made once a step, not once a variable.
    self._current.by_dtype = {}
    try:
      return super().apply_gradients(grads_and_vars, name=name, skip_gradients_aggregation=skip_gradients_aggregation,
                                     **kwargs)
    finally:
      self._current.by_dtype = None

  def update_step(self, gradient: Any, variable: tf.Variable) -> None:
    """Updates one variable and its m and v in place."""
    index = self._index_dict[self._var_key(variable)]
    m, v, step = self._momentums[index], self._velocities[index], self._step(variable.dtype)
    rate = step.scale * self._rate(index)
    if isinstance(gradient, tf.IndexedSlices) and self._all_rows:
      gradient = tf.math.unsorted_segment_sum(gradient.values, gradient.indices, variable.shape[0])
    if isinstance(gradient, tf.IndexedSlices):
      self._update_rows(gradient, variable, m, v, step, rate)
      return
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle, m=m.handle, v=v.handle, beta1_power=step.beta_1_power, beta2_power=step.beta_2_power,
        lr=rate, beta1=self._beta_1, beta2=self._beta_2, epsilon=self._epsilon, grad=gradient)

  def _update_rows(self, gradient: tf.IndexedSlices, variable: tf.Variable, m: tf.Variable, v: tf.Variable,
                   step: _Step, rate: tf.Tensor) -> None:
    rows, values = tf.cast(gradient.indices, tf.int64), gradient.values  # The base class has summed repeated rows.
    if not self._lazy:
      rows, values = self._with_seen_rows(rows, values, variable)
    m_rows, v_rows = tf.gather(m, rows), tf.gather(v, rows)
    m_rows += (1.0 - self._beta_1) * (values - m_rows)
    v_rows += (1.0 - self._beta_2) * (tf.square(values) - v_rows)
    alpha = rate * tf.sqrt(1.0 - step.beta_2_power) / (1.0 - step.beta_1_power)
    m.scatter_update(tf.IndexedSlices(m_rows, rows))
    v.scatter_update(tf.IndexedSlices(v_rows, rows))
    variable.scatter_sub(tf.IndexedSlices(alpha * m_rows / (tf.sqrt(v_rows) + self._epsilon), rows))

  def _with_seen_rows(self, rows: tf.Tensor, values: tf.Tensor, variable: tf.Variable) -> tuple[tf.Tensor, tf.Tensor]:
    """The gradient of all rows that still move: zero for those that this batch does not read."""
    earlier, recent = self._seen_rows(variable)
    all_rows, positions = tf.unique(tf.concat([earlier, recent, rows], axis=0), out_idx=tf.int64)
    num_seen = tf.shape(earlier)[0] + tf.shape(recent)[0]
    all_values = tf.math.unsorted_segment_sum(values, positions[num_seen:], tf.shape(all_rows)[0])
    now_recent = tf.unique(tf.concat([recent, rows], axis=0))[0]
    if self._momentum_steps is None:
      recent.assign(now_recent)
      return all_rows, all_values
    ends = (tf.convert_to_tensor(self.iterations) + 1) % self._momentum_steps == 0
    earlier.assign(tf.cond(ends, lambda: now_recent, earlier.read_value))
    recent.assign(tf.cond(ends, lambda: now_recent[:0], lambda: now_recent))
    return all_rows, all_values

  def _step(self, dtype: tf.DType) -> _Step:
    by_dtype = self._current.by_dtype
    if by_dtype is None:
      return self._make_step(dtype)
    if dtype not in by_dtype:
      by_dtype[dtype] = self._make_step(dtype)
    return by_dtype[dtype]

  def _rate(self, index: int) -> Any:
    """The learning rate of a variable's group."""
    return self._rates[index]

  def _scaled(self, scale: tf.Tensor, iteration: tf.Tensor) -> tf.Tensor:
    """The common factor of all rates, with the multiplier of a step."""
    if not self._step_multipliers:
      return scale
    last = len(self._step_multipliers) - 1
    return scale * tf.gather(tf.constant(self._step_multipliers, scale.dtype), tf.minimum(iteration, last))

  def _make_step(self, dtype: tf.DType) -> _Step:
    iteration = tf.convert_to_tensor(self.iterations)
    count = tf.cast(iteration + 1, dtype)
    scale = self._scaled(tf.cast(tf.convert_to_tensor(self.learning_rate), dtype), iteration)
    # As constants, not casts: a Python number that is cast goes through float32.
    beta_1, beta_2 = tf.constant(self._beta_1, dtype), tf.constant(self._beta_2, dtype)
    return _Step(tf.pow(beta_1, count), tf.pow(beta_2, count), scale)

  def get_config(self) -> dict[str, Any]:
    """The constructor's arguments."""
    return {
        "name": self.name,
        "learning_rates": dict(self._learning_rates),
        "beta_1": self._beta_1,
        "beta_2": self._beta_2,
        "epsilon": self._epsilon,
        "step_multipliers": list(self._step_multipliers),
        "lazy": self._lazy,
        "momentum_steps": self._momentum_steps,
        # Earlier releases read what does not need it.
        **({"all_rows": True} if self._all_rows else {}),
        "learning_rate": self._serialize_hyperparameter(self._learning_rate),
        "clipnorm": self.clipnorm,
        "clipvalue": self.clipvalue,
        "global_clipnorm": self.global_clipnorm,
    }


def _rates(learning_rates: Mapping[str, float] | float) -> dict[str, float]:
  rates = learning_rates if isinstance(learning_rates, Mapping) else dict.fromkeys(PARAMETER_GROUPS, learning_rates)
  if set(rates) != set(PARAMETER_GROUPS):
    raise ConfigError("optimizer setting 'learning_rates'", rule=f"its keys are {list(PARAMETER_GROUPS)}.",
                      received=str(sorted(rates)), remedy="give every group a rate, or one number for all.")
  negative = {group: rate for group, rate in rates.items() if not rate >= 0.0}
  if negative:
    raise ConfigError("optimizer setting 'learning_rates'", rule="no rate is negative.", received=str(negative),
                      remedy="use 0 to keep a group as it is.")
  return {group: float(rates[group]) for group in PARAMETER_GROUPS}


def _in_unit_interval(name: str, value: float) -> float:
  if not 0.0 <= value < 1.0:
    raise ConfigError(f"optimizer setting {name!r}", rule="it lies in [0, 1).", received=repr(value),
                      remedy=f"change {name}.")
  return float(value)
