"""Differentiable training: the gradient of an outer loss with respect to the data and rates a model was trained with.

A proxy is trained on the slots by an inner loop of `T` Adam steps; the outer loss is its cross-entropy on real examples
afterwards. The hypergradient is the reverse pass through those steps. Instead of an unrolled graph, which grows with
`T` and must know the model's arithmetic, the reverse pass walks the steps backwards and asks, at each one, for the
gradient and one Hessian-vector product of the inner loss at the stored weights, by two nested tapes. Any Keras model
can therefore be a proxy, and the graph has the size of one step.

The inner step is Adam as Keras computes it (Kingma and Ba, "Adam", 2015, section 2, last paragraph), for each variable
of parameter group `a`, at step `t = 1 ... T`:

    m_t = beta_1 m_{t-1} + (1 - beta_1) g_t          g_t = d loss_t / d w_{t-1}
    v_t = beta_2 v_{t-1} + (1 - beta_2) g_t^2
    w_t = w_{t-1} - rate_a s_t c_t m_t / (sqrt(v_t) + epsilon)        c_t = sqrt(1 - beta_2^t) / (1 - beta_1^t)

with `s_t` the multiplier of step `t`. All rows of an embedding table take part in every step, also those that the batch
does not read: an id that occurs once goes on moving by its first moment, which few steps cannot do without. Tables are
therefore compacted to the ids of the slots (`diet_tf.training.compact`). Reversing follows Maclaurin et al.,
"Gradient-based Hyperparameter Optimization through Reversible Learning", 2015, algorithm 2, with two deviations:
weights are not recovered by exact arithmetic but read from checkpoints (one copy of the weights per step), and the
moments are recovered by inverting their recursions, which loses digits by `beta_1^-k` over `k` steps, so that they are
stored anew every `ceil(sqrt(T))` steps.

A training call may change more than the trained variables: moving statistics `s_t = S_t(s_{t-1}, w_{t-1}, data)`,
counters, and the states of random generators. They are stored before each step and put back for the step backwards,
which then draws the same masks again, and the adjoint of `s` goes back beside those of `w`, `m` and `v`
(`diet_tf.training.carried_state`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.memory.recipe import MAX_BATCH_SIZE, MAX_EPOCHS
from diet_tf.models.parameter_groups import PARAMETER_GROUPS
from diet_tf.training.carried_state import CarriedState
from diet_tf.training.slot_features import FeatureMaker, Features, PackedColumns, packed_features
from diet_tf.training.unstopped import unstopped
from diet_tf.training.variable_blocks import Derivative, VariableBlocks, dense_gradient, dense_gradients, products

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# Where the settings name no batch size: what the smallest memories are trained by, and the steps of a training that a
# larger one keeps to by larger batches, so that the work of a training does not grow by more than its slots do.
LEAST_BATCH_SIZE = 32
LEAST_STEPS_OF_LARGER_BATCHES = 44


@dataclasses.dataclass(frozen=True)
class InnerSettings:
  """How a proxy is trained on the slots.

  Attributes:
    batch_size: slots per step, which the number of slots is a multiple of; None, the default, lets it grow with the
      slots: 32, doubled as often as leaves a training at least 44 steps.
    epochs: number of passes over the slots, each in stored order.
    beta_1: decay of Adam's first moment, strictly between 0 and 1.
    beta_2: decay of Adam's second moment, strictly between 0 and 1.
    epsilon: positive number that is added to the root of Adam's second moment.
  """

  batch_size: int | None = None
  epochs: int = 2
  beta_1: float = 0.9
  beta_2: float = 0.99
  epsilon: float = 1e-7

  def __post_init__(self) -> None:
    for name, most in (("batch_size", MAX_BATCH_SIZE), ("epochs", MAX_EPOCHS)):
      if getattr(self, name) is None and name == "batch_size":
        continue
      if getattr(self, name) < 1:
        raise ConfigError(f"distill.inner.{name}", rule="is at least 1.", received=str(getattr(self, name)),
                          remedy="raise it.")
      if getattr(self, name) > most:
        raise ConfigError(f"distill.inner.{name}", rule=f"is at most {most:,}, as in a recipe.",
                          received=str(getattr(self, name)), remedy="lower it.")
    for name in ("beta_1", "beta_2"):
      if not 0 < getattr(self, name) < 1:
        raise ConfigError(f"distill.inner.{name}", rule="lies strictly between 0 and 1.",
                          received=str(getattr(self, name)), remedy="use 0.9 or 0.99.")
    if self.epsilon <= 0:
      raise ConfigError("distill.inner.epsilon", rule="is positive.", received=str(self.epsilon), remedy="use 1e-7.")

  @property
  def least_batch_size(self) -> int:
    """Slots per step of the smallest memory, which is one batch."""
    return LEAST_BATCH_SIZE if self.batch_size is None else self.batch_size

  def batch_size_for(self, num_slots: int) -> int:
    """Slots per step of a training on about `num_slots` slots, whose number is then rounded down to whole batches.

    The rounded number has the same batch size: one that grows does so at a multiple of the larger batch.
    """
    if self.batch_size is not None:
      return self.batch_size
    size = LEAST_BATCH_SIZE
    while self.epochs * (num_slots // (2 * size)) >= LEAST_STEPS_OF_LARGER_BATCHES:
      size *= 2
    return size

  def for_slots(self, num_slots: int) -> InnerSettings:
    """The same settings with the batch size that they have for `num_slots` slots."""
    return dataclasses.replace(self, batch_size=self.batch_size_for(num_slots))

  def num_steps(self, num_slots: int) -> int:
    """Steps of one training on `num_slots` slots."""
    batch_size = self.batch_size_for(num_slots)
    if num_slots % batch_size:
      raise ConfigError("memory", rule="the number of slots is a multiple of the batch size.",
                        received=f"{num_slots} slots, batch size {batch_size}.",
                        remedy="choose a budget or a batch size that divide.")
    return self.epochs * num_slots // batch_size


@dataclasses.dataclass(frozen=True)
class TrainingInputs:
  """Everything that a training on slots depends on and that an outer step may change.

  Attributes:
    ids: `[num_slots, num_fields, max_ids]` int32, the ids of the slots.
    weights: `[num_slots, num_fields, max_ids]` float32, the id weights.
    labels: `[num_slots]` float32, the soft labels in [0, 1].
    sample_weights: `[num_slots]` float32, the weights of the slots in the loss.
    learning_rates: `[num_groups]` float32, in the order of `PARAMETER_GROUPS`.
    step_multipliers: `[num_steps]` float32, what multiplies the rates in each step.
  """

  ids: tf.Tensor
  weights: tf.Tensor
  labels: tf.Tensor
  sample_weights: tf.Tensor
  learning_rates: tf.Tensor
  step_multipliers: tf.Tensor

  def differentiable(self) -> list[tf.Tensor]:
    """The tensors that have a hypergradient, in the order in which it is returned."""
    return [self.weights, self.labels, self.sample_weights, self.learning_rates, self.step_multipliers]


def binary_cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
  """`[batch_size]` cross-entropy of soft targets in `[0, 1]` and logits."""
  return tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=tf.reshape(logits, tf.shape(targets)))


class DifferentiableTraining:
  """Trains one model on slots, forwards and backwards.

  Args:
    model: built Keras model that returns `[batch_size]` or `[batch_size, 1]` logits. Its variables are overwritten.
    settings: settings of the inner loop, with a batch size, see `InnerSettings.for_slots`.
    group_of: function from a variable to its parameter group, one of `PARAMETER_GROUPS`.
    features: function that makes the model's input from a batch of ids and weights; `PackedColumns` gets them narrowed.
    loss: function from `(targets, logits)` to the loss of each example.
    form: form in which the model takes its input, see `diet_tf.models.inputs`; kept for those who call it afterwards.
    name: name of the model in errors; None, the default, takes Keras'.
    draw_seed: seed of what the model's layers draw in a training; None, the default, draws the same in every training.

  Attributes:
    state: what the model carries from step to step beside its trainable variables.
  """

  def __init__(self, model: tf.keras.Model, settings: InnerSettings, group_of: Callable[[tf.Variable], str],
               features: FeatureMaker = packed_features,
               loss: Loss = binary_cross_entropy, form: str = "packed", name: str | None = None,
               draw_seed: tf.Variable | None = None) -> None:
    self.model = model
    self.form = form
    self.settings = settings
    if settings.batch_size is None:
      raise ConfigError("training on slots", rule="its settings have a batch size.", received="None.",
                        remedy="pass settings.for_slots(num_slots).")
    self._batch_size: int = settings.batch_size
    self._variables = list(model.trainable_variables)
    self._moments = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in self._variables * 2]
    self._groups = [PARAMETER_GROUPS.index(group_of(variable)) for variable in self._variables]
    self._blocks = VariableBlocks(self._variables, self._groups)
    self._features = features
    self._narrowed = features.narrowed if isinstance(features, PackedColumns) else tf.identity
    self._loss = loss
    self.state = CarriedState(model, name or model.name, draw_seed)
    # Only the loops over steps are for AutoGraph; converting a model's own code costs seconds and changes nothing.
    self.hypergradient = tf.function(self._hypergradient, reduce_retracing=True)
    self.train = tf.function(self._train, reduce_retracing=True)

  @property
  def variables(self) -> list[tf.Variable]:
    """The model's trainable variables, in the order of initial weights."""
    return self._variables

  def require_replayable(self, inputs: dict[str, tf.Tensor]) -> None:
    """Raises ConfigError if what a training changes of the model cannot be put back; nothing is computed."""
    self._prepared(inputs)

  def trace_step_backwards(self, inputs: dict[str, tf.Tensor]) -> None:
    """Traces one step backwards without computing it; what TensorFlow cannot differentiate twice raises there."""

    def step_backwards() -> None:
      zeros = self._zeros()
      states = [tf.zeros(variable.shape, variable.dtype) for variable in self.state.followed]
      self._reverse_step(self._prepared(inputs), tf.constant(0), zeros, states, zeros, zeros, zeros, zeros)

    self.require_replayable(inputs)
    tf.function(step_backwards, autograph=False).get_concrete_function()

  def _inner_loss(self, step: tf.Tensor, ids: tf.Tensor, weights: tf.Tensor, labels: tf.Tensor,
                  sample_weights: tf.Tensor) -> tf.Tensor:
    """The loss of one step as `keras.Model.fit` computes it: weighted sum over the batch size, plus regularisers."""
    losses = self._loss(labels, self.model(self._features(ids, weights, step), training=True))
    total = tf.reduce_mean(sample_weights * losses)
    return tf.add_n([total, *self.model.losses]) if self.model.losses else total

  @tf.autograph.experimental.do_not_convert
  def _prepared(self, inputs: dict[str, tf.Tensor]) -> TrainingInputs:
    """The inputs as batches are cut from them."""
    prepared = TrainingInputs(**{**inputs, **{name: self._narrowed(inputs[name]) for name in ("ids", "weights")}})
    self.state.find(self._call, [tf.TensorSpec([None, *part.shape[1:]], part.dtype)
                                  for part in (prepared.ids, prepared.weights)])
    return prepared

  def _call(self, training: bool, ids: tf.Tensor, weights: tf.Tensor) -> None:
    """Calls the model as a step does, or as it is called after training."""
    self.model(self._features(ids, weights, tf.constant(0)), training=training)

  def _batch(self, inputs: TrainingInputs, step: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
    size = self._batch_size
    start = (step * size) % tf.shape(inputs.labels)[0]
    parts = [inputs.weights, inputs.labels, inputs.sample_weights]
    return inputs.ids[start:start + size], [part[start:start + size] for part in parts]

  def _beta_powers(self, step: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
    count = tf.cast(step + 1, dtype)
    return tf.constant(self.settings.beta_1, dtype)**count, tf.constant(self.settings.beta_2, dtype)**count

  @tf.autograph.experimental.do_not_convert
  def _forward_step(self, inputs: TrainingInputs, step: tf.Tensor) -> None:
    ids, batch = self._batch(inputs, step)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(self._variables)
      loss = self._inner_loss(step, ids, *batch)
    gradients = tape.gradient(loss, self._variables)
    count = len(self._variables)
    for variable, gradient, group, m, v in zip(self._variables, gradients, self._groups, self._moments[:count],
                                               self._moments[count:]):
      dtype = variable.dtype
      power_1, power_2 = self._beta_powers(step, dtype)
      tf.raw_ops.ResourceApplyAdam(
          var=variable.handle, m=m.handle, v=v.handle, beta1_power=power_1, beta2_power=power_2,
          lr=inputs.learning_rates[group] * inputs.step_multipliers[step],
          beta1=tf.constant(self.settings.beta_1, dtype), beta2=tf.constant(self.settings.beta_2, dtype),
          epsilon=tf.constant(self.settings.epsilon, dtype), grad=dense_gradient(gradient, variable))

  @tf.autograph.experimental.do_not_convert
  def _start(self, initial: Sequence[tf.Tensor]) -> None:
    self._assign(initial)
    self.state.start()
    for moment in self._moments:
      moment.assign(tf.zeros_like(moment))

  @tf.autograph.experimental.do_not_convert
  def _assign(self, weights: Sequence[tf.Tensor]) -> None:
    for variable, value in zip(self._variables, weights):
      variable.assign(value)

  def _zeros(self) -> list[tf.Tensor]:
    return self._blocks.join([None] * len(self._variables))

  def _train(self, initial: list[tf.Tensor], inputs: dict[str, tf.Tensor]) -> None:
    """Trains from the initial weights; the model's variables hold the result."""
    training = self._prepared(inputs)
    self._start(initial)
    for step in tf.range(tf.shape(training.step_multipliers)[0]):
      self._forward_step(training, step)

  def _checkpointed_train(self, inputs: TrainingInputs, num_steps: tf.Tensor, segment: tf.Tensor) -> tuple[list, ...]:
    """Trains, keeping weights and state before each step, and moments after each `segment` steps and after the last."""
    weights = [tf.TensorArray(x.dtype, num_steps, clear_after_read=False, element_shape=x.shape)
               for x in self._variables]
    moments = [tf.TensorArray(x.dtype, (num_steps + segment - 1) // segment, clear_after_read=False,
                              element_shape=x.shape) for x in self._moments]
    states = [tf.TensorArray(x.dtype, num_steps, clear_after_read=False, element_shape=x.shape)
              for x in self.state.variables]
    for step in tf.range(num_steps):
      weights = [array.write(step, variable.read_value()) for array, variable in zip(weights, self._variables)]
      states = [array.write(step, value) for array, value in zip(states, self.state.values())]
      self._forward_step(inputs, step)
      if (step + 1) % segment == 0 or step + 1 == num_steps:
        moments = [array.write(step // segment, moment.read_value()) for array, moment in zip(moments, self._moments)]
    return weights, states, moments

  @tf.autograph.experimental.do_not_convert
  def _outer_loss(self, features: Features, targets: tf.Tensor, importances: tf.Tensor) -> tf.Tensor:
    losses = self._loss(targets, self.model(features, training=False))
    return tf.reduce_sum(importances * losses) / tf.reduce_sum(importances)

  @tf.autograph.experimental.do_not_convert
  def _outer_gradients(self, features: Features, targets: tf.Tensor, importances: tf.Tensor) -> tuple[Any, ...]:
    """The outer loss, its gradients by the variables in blocks, and those by the followed state."""
    count, sources = len(self._variables), self._variables + self.state.followed
    if self.state.stops_gradients:
      loss = unstopped(lambda *inputs: self._outer_loss(dict(zip(features, inputs)), *inputs[len(features):]),
                       *features.values(), targets, importances)
      gradients = tf.gradients([loss], sources)
    else:
      with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        loss = self._outer_loss(features, targets, importances)
      gradients = tape.gradient(loss, sources)
    return loss, self._blocks.join(gradients[:count]), dense_gradients(gradients[count:], sources[count:])

  def _hypergradient(self, initial: list[tf.Tensor], inputs: dict[str, tf.Tensor], features: Features,
                     targets: tf.Tensor, importances: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The outer loss after training, and its gradient with respect to `TrainingInputs.differentiable()`.

    Args:
      initial: weights that training starts from, in the order of `variables`.
      inputs: fields of `TrainingInputs`, by name.
      features: the model's input for the outer batch.
      targets: `[outer_batch_size]` float32, the soft targets in [0, 1].
      importances: `[outer_batch_size]` float32, the non-negative weights of the outer examples.
    """
    with tf.GradientTape(watch_accessed_variables=False) as weights_tape:
      weights_tape.watch(inputs["weights"])
      training = self._prepared(inputs)
    num_steps = tf.shape(training.step_multipliers)[0]
    segment = tf.cast(tf.math.ceil(tf.sqrt(tf.cast(num_steps, tf.float32))), tf.int32)
    self._start(initial)
    weights, states, moments = self._checkpointed_train(training, num_steps, segment)
    loss, adjoints, adjoints_s = self._outer_gradients(features, targets, importances)
    by_weights, *others = self._reverse(training, num_steps, segment, weights, states, moments, adjoints, adjoints_s)
    return loss, [weights_tape.gradient(training.weights, inputs["weights"], output_gradients=by_weights), *others]

  def _reverse(self, inputs: TrainingInputs, num_steps: tf.Tensor, segment: tf.Tensor, weights: list, states: list,
               moments: list, adjoints: list[tf.Tensor], adjoints_s: list[tf.Tensor]) -> list[tf.Tensor]:
    """Pulls the adjoints of the final weights, in blocks, and of the followed state back through all steps."""
    count = len(self._variables)
    adjoints_m, adjoints_v = self._zeros(), self._zeros()
    m, v = self._zeros(), self._zeros()
    size = self._batch_size
    data = [tf.TensorArray(x.dtype, num_steps, element_shape=[size, *x.shape[1:]])
            for x in inputs.differentiable()[:3]]
    log_rates = tf.TensorArray(inputs.learning_rates.dtype, num_steps, element_shape=[len(PARAMETER_GROUPS)])
    for offset in tf.range(num_steps):
      step = num_steps - 1 - offset
      if (step + 1) % segment == 0 or offset == 0:
        stored = [array.read(step // segment) for array in moments]
        m, v = self._blocks.join(stored[:count]), self._blocks.join(stored[count:])
      self._assign([array.read(step) for array in weights])
      self.state.assign([array.read(step) for array in states])
      parts, per_group, adjoints, adjoints_s, adjoints_m, adjoints_v, m, v = self._reverse_step(
          inputs, step, adjoints, adjoints_s, adjoints_m, adjoints_v, m, v)
      data = [array.write(step, part) for array, part in zip(data, parts)]
      log_rates = log_rates.write(step, per_group)
    # [num_steps, batch_size, ...] -> [epochs, num_slots, ...] -> [num_slots, ...]
    totals = [tf.reduce_sum(tf.reshape(array.stack(), tf.concat([[-1], tf.shape(x)], 0)), 0)
              for array, x in zip(data, inputs.differentiable())]
    per_step = log_rates.stack()  # [num_steps, num_groups]
    return [*totals, tf.reduce_sum(per_step, 0) / inputs.learning_rates,
            tf.reduce_sum(per_step, 1) / inputs.step_multipliers]

  @tf.autograph.experimental.do_not_convert
  def _reverse_step(self, inputs: TrainingInputs, step: tf.Tensor, adjoints: list[tf.Tensor],
                    adjoints_s: list[tf.Tensor], adjoints_m: list[tf.Tensor], adjoints_v: list[tf.Tensor],
                    m: list[tf.Tensor], v: list[tf.Tensor]) -> tuple[list[tf.Tensor], ...]:
    """One step backwards: adjoints and moments after it, in blocks, become those before it.

    Returns:
      The step's contributions to the gradients of its batch of id weights, labels and sample weights; those to the
      logarithms of the learning rates, `[num_groups]`; adjoints of `w`, `s`, `m` and `v`; `m` and `v`.
    """
    ids, batch = self._batch(inputs, step)
    found = [variable.read_value() for variable in self.state.followed]
    sources = [*self._variables, *batch, *found]
    if self.state.stops_gradients:
      derivative: Derivative = tf.gradients
      gradients, after = unstopped(self._step_gradients, step, ids, *batch, *found)
    else:
      with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        gradients, after = self._step_gradients(step, ids, *batch, *found)
      derivative = tape.gradient
    through, per_block, adjoints_m, adjoints_v, m, v = self._reverse_adam(
        self._rates(inputs, step), self._blocks.join(gradients), adjoints, adjoints_m, adjoints_v, m, v)
    # What the call made of the state has adjoints of its own, beside those of the gradients.
    second = products(derivative, [*gradients, *after], [*self._blocks.part(through), *adjoints_s], sources)
    count = len(self._variables)
    hessians = self._blocks.join(second[:count])
    adjoints = [adjoint + hessian for adjoint, hessian in zip(adjoints, hessians)]
    parts = dense_gradients(second[count:count + len(batch)], batch)
    adjoints_s = dense_gradients(second[count + len(batch):], found)
    per_group = tf.math.unsorted_segment_sum(tf.stack(per_block), self._blocks.groups, len(PARAMETER_GROUPS))
    return parts, per_group, adjoints, adjoints_s, adjoints_m, adjoints_v, m, v

  def _step_gradients(self, step: tf.Tensor, ids: tf.Tensor, weights: tf.Tensor, labels: tf.Tensor,
                      sample_weights: tf.Tensor, *found: tf.Tensor) -> tuple[list[Any], list[tf.Tensor]]:
    """The gradients of a step, and what it makes of the followed state that it found."""
    with tf.GradientTape(watch_accessed_variables=False) as tape, self.state.following(found) as after:
      tape.watch(self._variables)
      loss = self._inner_loss(step, ids, weights, labels, sample_weights)
    return tape.gradient(loss, self._variables), after

  def _rates(self, inputs: TrainingInputs, step: tf.Tensor) -> tf.Tensor:
    """`[num_groups]`, the factor of `m / (sqrt(v) + epsilon)` in a step."""
    power_1, power_2 = self._beta_powers(step, inputs.learning_rates.dtype)
    return inputs.learning_rates * inputs.step_multipliers[step] * tf.sqrt(1 - power_2) / (1 - power_1)

  def _reverse_adam(self, rates: tf.Tensor, gradients: list[tf.Tensor], adjoints: list[tf.Tensor],
                    adjoints_m: list[tf.Tensor], adjoints_v: list[tf.Tensor], m: list[tf.Tensor],
                    v: list[tf.Tensor]) -> tuple[list[tf.Tensor], ...]:
    """Adam's own part of a backward step, all in blocks; `m` and `v` are those after the step.

    Returns:
      Per block the adjoint of its gradient, the derivative with respect to the logarithm of its rate, the adjoints
      of `m` and `v` before the step, and `m` and `v` before it.
    """
    beta_1, beta_2, epsilon = self.settings.beta_1, self.settings.beta_2, self.settings.epsilon
    results: list[tuple[tf.Tensor, ...]] = []
    for group, gradient, adjoint, adjoint_m, adjoint_v, m_i, v_i in zip(
        self._blocks.groups, gradients, adjoints, adjoints_m, adjoints_v, m, v):
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
