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

Where a copy of the weights per step is more than `KEPT_BYTES`, weights, moments and state are stored before every
`ceil(sqrt(T))` steps alone, and the steps of such a segment are made again, with their very bytes, before it is walked
backwards: `4 ceil(sqrt(T))` copies of the weights in place of `T`, for one more training forwards (Griewank and
Walther, "Evaluating Derivatives", 2008, chapter 12).

A training call may change more than the trained variables: moving statistics `s_t = S_t(s_{t-1}, w_{t-1}, data)`,
counters, and the states of random generators. They are stored before each step and put back for the step backwards,
which then draws the same masks again, and the adjoint of `s` goes back beside those of `w`, `m` and `v`
(`diet_tf.training.carried_state`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.models.parameter_groups import PARAMETER_GROUPS
from diet_tf.training.adam_steps import AdamSteps
from diet_tf.training.carried_state import CarriedState
from diet_tf.training.inner_settings import InnerSettings
from diet_tf.training.slot_features import FeatureMaker, Features, PackedColumns, packed_features
from diet_tf.training.unstopped import unstopped
from diet_tf.training.variable_blocks import Derivative, dense_gradients, products

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# What the weights before each step of a training may take before steps are made again rather than kept.
KEPT_BYTES = 1 << 28


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
    kept_bytes: what the weights before each step may take before steps are made again; gradients do not depend on it.

  Attributes:
    state: what the model carries from step to step beside its trainable variables.
  """

  def __init__(self, model: tf.keras.Model, settings: InnerSettings, group_of: Callable[[tf.Variable], str],
               features: FeatureMaker = packed_features,
               loss: Loss = binary_cross_entropy, form: str = "packed", name: str | None = None,
               draw_seed: tf.Variable | None = None, kept_bytes: int = KEPT_BYTES) -> None:
    self.model = model
    self.form = form
    self.settings = settings
    if settings.batch_size is None:
      raise ConfigError("training on slots", rule="its settings have a batch size.", received="None.",
                        remedy="pass settings.for_slots(num_slots).")
    self._batch_size: int = settings.batch_size
    self._variables = list(model.trainable_variables)
    self._adam = AdamSteps(settings, self._variables, [
        PARAMETER_GROUPS.index(group_of(variable)) for variable in self._variables])
    self._blocks = self._adam.blocks
    self._features = features
    self._narrowed = features.narrowed if isinstance(features, PackedColumns) else tf.identity
    self._loss = loss
    self._kept_bytes = kept_bytes
    self._num_rows = 0
    self._keeps_each_step: bool | None = None
    self.state = CarriedState(model, name or model.name, draw_seed)
    # Converting loops and a model's own code for AutoGraph costs seconds and changes nothing: loops are written out.
    self.hypergradient = tf.function(self._hypergradient, reduce_retracing=True, autograph=False)
    self.train = tf.function(self._train, reduce_retracing=True, autograph=False)

  @property
  def variables(self) -> list[tf.Variable]:
    """The model's trainable variables, in the order of initial weights."""
    return self._variables

  def keeps_each_step(self, num_steps: int | None) -> bool:
    """Whether the weights before each of `num_steps` steps are kept, or the steps made again."""
    if num_steps is None:
      return False
    num_bytes = sum(variable.dtype.size * int(np.prod([self._num_rows if size is None else size
                                                       for size in variable.shape])) for variable in self._variables)
    return num_steps * num_bytes <= self._kept_bytes

  def take_size(self, num_rows: int, num_steps: int) -> bool:
    """Settles how the gradient is made, for tables of any number of rows.

    Args:
      num_rows: rows of such tables.
      num_steps: steps of a training.

    Returns:
      Whether the gradient can be used; it cannot where it was settled otherwise for another size.
    """
    self._num_rows = num_rows
    keeps_each_step = self.keeps_each_step(num_steps)
    self._keeps_each_step = keeps_each_step if self._keeps_each_step is None else self._keeps_each_step
    return keeps_each_step == self._keeps_each_step

  def empty(self) -> None:
    """Frees what tables of any number of rows and their moments hold."""
    for variable in (*self._variables, *self._adam.moments):
      if None in variable.shape:
        variable.assign(tf.zeros([0, *variable.shape[1:]], variable.dtype))

  def require_replayable(self, inputs: dict[str, tf.Tensor]) -> None:
    """Raises ConfigError if what a training changes of the model cannot be put back; nothing is computed."""
    self._prepared(inputs)

  def trace_step_backwards(self, inputs: dict[str, tf.Tensor]) -> None:
    """Traces one step backwards without computing it; what TensorFlow cannot differentiate twice raises there."""

    def step_backwards() -> None:
      zeros = self._zeros()
      states = [tf.zeros(variable.shape, variable.dtype) for variable in self.state.followed]
      self._reverse_step(self._prepared(inputs), tf.constant(0), _Pulled(zeros, states, zeros, zeros, zeros, zeros))

    self.require_replayable(inputs)
    tf.function(step_backwards, autograph=False).get_concrete_function()

  def _inner_loss(self, step: tf.Tensor, ids: tf.Tensor, weights: tf.Tensor, labels: tf.Tensor,
                  sample_weights: tf.Tensor) -> tf.Tensor:
    """The loss of one step as `keras.Model.fit` computes it: weighted sum over the batch size, plus regularisers."""
    losses = self._loss(labels, self.model(self._features(ids, weights, step), training=True))
    total = tf.reduce_mean(sample_weights * losses)
    return tf.add_n([total, *self.model.losses]) if self.model.losses else total

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

  def _forward_step(self, inputs: TrainingInputs, step: tf.Tensor) -> None:
    ids, batch = self._batch(inputs, step)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(self._variables)
      loss = self._inner_loss(step, ids, *batch)
    self._adam.apply(tape.gradient(loss, self._variables), inputs.learning_rates, inputs.step_multipliers[step], step)

  def _start(self, initial: Sequence[tf.Tensor]) -> None:
    self._assign(initial)
    self.state.start()
    self._adam.start()

  def _assign(self, weights: Sequence[tf.Tensor]) -> None:
    for variable, value in zip(self._variables, weights):
      variable.assign(value)

  def _zeros(self) -> list[tf.Tensor]:
    return self._blocks.join([None] * len(self._variables))

  @tf.autograph.experimental.do_not_convert
  def _train(self, initial: list[tf.Tensor], inputs: dict[str, tf.Tensor]) -> None:
    """Trains from the initial weights; the model's variables hold the result."""
    training = self._prepared(inputs)
    self._start(initial)
    self._forward_steps(training, tf.constant(0), tf.shape(training.step_multipliers)[0])

  def _forward_steps(self, inputs: TrainingInputs, first: tf.Tensor, last: tf.Tensor,
                     kept: list[tf.TensorArray] | None = None, place: tf.Tensor | int = 0) -> list[tf.TensorArray]:
    """Steps `first` to `last - 1`; `kept`, if given, is filled with weights and state before each, from `place` on."""

    def step_forwards(step: tf.Tensor, kept: list[tf.TensorArray]) -> tuple[tf.Tensor, list[tf.TensorArray]]:
      values = [variable.read_value() for variable in self._carried] if kept else []
      # What is read must be read before the step.
      with tf.control_dependencies(values):
        kept = [array.write(step - first + place, value) for array, value in zip(kept, values)]
        self._forward_step(inputs, step)
      return step + 1, kept

    return tf.while_loop(lambda step, _: step < last, step_forwards, (first, kept or []), parallel_iterations=1)[1]

  @property
  def _carried(self) -> list[tf.Variable]:
    """All that a step finds beside the moments: weights and state."""
    return self._variables + self.state.variables

  def _restore(self, values: Sequence[tf.Tensor]) -> None:
    """Puts back values of `_carried`."""
    for variable, value in zip(self._carried, values):
      variable.assign(value)

  def _outer_loss(self, features: Features, targets: tf.Tensor, importances: tf.Tensor) -> tf.Tensor:
    losses = self._loss(targets, self.model(features, training=False))
    return tf.reduce_sum(importances * losses) / tf.reduce_sum(importances)

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

  @tf.autograph.experimental.do_not_convert
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
    segments = _Segments.of(tf.shape(training.step_multipliers)[0])
    keeps_each_step = (self.keeps_each_step(training.step_multipliers.shape[0]) if self._keeps_each_step is None else
                       self._keeps_each_step)
    self._start(initial)
    kept, moments = self._checkpointed_train(training, segments, keeps_each_step)
    loss, adjoints, adjoints_s = self._outer_gradients(features, targets, importances)
    zeros = self._zeros()
    pulled = _Pulled(adjoints, adjoints_s, zeros, zeros, zeros, zeros)
    by_weights, *others = self._reverse(training, segments, keeps_each_step, kept, moments, pulled)
    return loss, [weights_tape.gradient(training.weights, inputs["weights"], output_gradients=by_weights), *others]

  def _checkpointed_train(self, inputs: TrainingInputs, segments: _Segments,
                          keeps_each_step: bool) -> tuple[list[tf.TensorArray], list[tf.TensorArray]]:
    """Trains, storing what the way back needs.

    Returns:
      Weights and state before each step, and moments after each segment; or, where not each step is kept, weights,
      state and moments before each segment.
    """

    def segment_forwards(index: tf.Tensor, kept: list[tf.TensorArray],
                         moments: list[tf.TensorArray]) -> tuple[Any, ...]:
      first, last = segments.bounds(index)
      if keeps_each_step:
        kept = self._forward_steps(inputs, first, last, kept, first)
        moments = _written(moments, index, self._adam.moments)
      else:
        values = [variable.read_value() for variable in (*self._carried, *self._adam.moments)]
        with tf.control_dependencies(values):
          kept = [array.write(index, value) for array, value in zip(kept, values)]
          moments = [array.write(index, value) for array, value in zip(moments, values[len(kept):])]
          self._forward_steps(inputs, first, last)
      return index + 1, kept, moments

    kept = _arrays(self._carried, segments.num_steps if keeps_each_step else segments.count)
    arrays = (tf.constant(0), kept, _arrays(self._adam.moments, segments.count))
    _, kept, moments = tf.while_loop(lambda index, *_: index < segments.count, segment_forwards, arrays,
                                     parallel_iterations=1)
    return kept, moments

  def _reverse(self, inputs: TrainingInputs, segments: _Segments, keeps_each_step: bool, kept: list[tf.TensorArray],
               moments: list[tf.TensorArray], pulled: _Pulled) -> list[tf.Tensor]:
    """Pulls the adjoints of the final weights, in blocks, and of the followed state back through all steps."""
    data = [tf.TensorArray(x.dtype, segments.num_steps, element_shape=[self._batch_size, *x.shape[1:]])
            for x in inputs.differentiable()[:3]]
    log_rates = tf.TensorArray(inputs.learning_rates.dtype, segments.num_steps, element_shape=[len(PARAMETER_GROUPS)])

    def segment_backwards(index: tf.Tensor, pulled: _Pulled, parts: list[tf.TensorArray]) -> tuple[Any, ...]:
      first, last = segments.bounds(index)
      stored = [array.read(index) for array in moments]
      found, place = kept, tf.constant(0)
      if not keeps_each_step:
        self._restore([array.read(index) for array in kept])
        for moment, value in zip(self._adam.moments, stored):
          moment.assign(value)
        found, place = self._forward_steps(inputs, first, last, _arrays(self._carried, last - first)), first
        stored = [moment.read_value() for moment in self._adam.moments]
      m, v = self._adam.moment_blocks(stored)

      def step_backwards(step: tf.Tensor, pulled: _Pulled, parts: list[tf.TensorArray]) -> tuple[Any, ...]:
        self._restore([array.read(step - place) for array in found])
        contributions, pulled = self._reverse_step(inputs, step, pulled)
        return step - 1, pulled, [array.write(step, part) for array, part in zip(parts, contributions)]

      _, pulled, parts = tf.while_loop(lambda step, *_: step >= first, step_backwards,
                                       (last - 1, pulled._replace(m=m, v=v), parts), parallel_iterations=1)
      return index - 1, pulled, parts

    _, _, (*data, log_rates) = tf.while_loop(lambda index, *_: index >= 0, segment_backwards,
                                             (segments.count - 1, pulled, [*data, log_rates]), parallel_iterations=1)
    # [num_steps, batch_size, ...] -> [epochs, num_slots, ...] -> [num_slots, ...]
    totals = [tf.reduce_sum(tf.reshape(array.stack(), tf.concat([[-1], tf.shape(x)], 0)), 0)
              for array, x in zip(data, inputs.differentiable())]
    per_step = log_rates.stack()  # [num_steps, num_groups]
    return [*totals, tf.reduce_sum(per_step, 0) / inputs.learning_rates,
            tf.reduce_sum(per_step, 1) / inputs.step_multipliers]

  def _reverse_step(self, inputs: TrainingInputs, step: tf.Tensor,
                    pulled: _Pulled) -> tuple[list[tf.Tensor], _Pulled]:
    """One step backwards: adjoints and moments after it, in blocks, become those before it.

    Returns:
      The step's contributions to the gradients of its batch of id weights, labels and sample weights, and to the
      logarithms of the learning rates, `[num_groups]`; and what was pulled back through it.
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
    rates = self._adam.rates(inputs.learning_rates, inputs.step_multipliers[step], step)
    through, per_block, adjoints_m, adjoints_v, m, v = self._adam.reverse(
        rates, self._blocks.join(gradients), pulled.weights, pulled.adjoints_m, pulled.adjoints_v, pulled.m, pulled.v)
    # What the call made of the state has adjoints of its own, beside those of the gradients.
    second = products(derivative, [*gradients, *after], [*self._blocks.part(through), *pulled.state], sources)
    count = len(self._variables)
    hessians = self._blocks.join(second[:count])
    adjoints = [adjoint + hessian for adjoint, hessian in zip(pulled.weights, hessians)]
    parts = dense_gradients(second[count:count + len(batch)], batch)
    adjoints_s = dense_gradients(second[count + len(batch):], found)
    per_group = tf.math.unsorted_segment_sum(tf.stack(per_block), self._blocks.groups, len(PARAMETER_GROUPS))
    return [*parts, per_group], _Pulled(adjoints, adjoints_s, adjoints_m, adjoints_v, m, v)

  def _step_gradients(self, step: tf.Tensor, ids: tf.Tensor, weights: tf.Tensor, labels: tf.Tensor,
                      sample_weights: tf.Tensor, *found: tf.Tensor) -> tuple[list[Any], list[tf.Tensor]]:
    """The gradients of a step, and what it makes of the followed state that it found."""
    with tf.GradientTape(watch_accessed_variables=False) as tape, self.state.following(found) as after:
      tape.watch(self._variables)
      loss = self._inner_loss(step, ids, weights, labels, sample_weights)
    return tape.gradient(loss, self._variables), after


class _Pulled(NamedTuple):
  """What is pulled back from step to step: adjoints in blocks and by followed variable, and moments in blocks."""

  weights: list[tf.Tensor]
  state: list[tf.Tensor]
  adjoints_m: list[tf.Tensor]
  adjoints_v: list[tf.Tensor]
  m: list[tf.Tensor]
  v: list[tf.Tensor]


class _Segments(NamedTuple):
  """The steps of a training in segments of `ceil(sqrt(num_steps))`, as scalar int32; the last may be shorter."""

  num_steps: tf.Tensor
  length: tf.Tensor
  count: tf.Tensor

  @classmethod
  def of(cls, num_steps: tf.Tensor) -> _Segments:
    """The segments of that many steps."""
    length = tf.cast(tf.math.ceil(tf.sqrt(tf.cast(num_steps, tf.float32))), tf.int32)
    return cls(num_steps, length, (num_steps + length - 1) // length)

  def bounds(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The first step of a segment, and the one after its last."""
    return index * self.length, tf.minimum((index + 1) * self.length, self.num_steps)


def _arrays(variables: Sequence[tf.Variable], size: tf.Tensor) -> list[tf.TensorArray]:
  """For each variable, room for `size` of its values."""
  return [tf.TensorArray(x.dtype, size, clear_after_read=False, element_shape=x.shape) for x in variables]


def _written(arrays: Sequence[tf.TensorArray], index: tf.Tensor,
             variables: Sequence[tf.Variable]) -> list[tf.TensorArray]:
  return [array.write(index, variable.read_value()) for array, variable in zip(arrays, variables)]
