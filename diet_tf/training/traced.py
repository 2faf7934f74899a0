"""Trainings on slots whose graphs are traced once a process, for memories of all sizes.

Tracing the gradient through a training of one proxy costs as much as some twenty outer steps on 544 slots. Models of
the panel therefore get tables of any number of rows: the graph of one stage serves the next, whose slots hold other ids
and are more. Who is done with a training gives it back, and the next who asks for one of its kind takes it over. All
that a training depends on is set anew then, so that results are those of a new model.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_layout import RowLayout
from diet_tf.memory.slots import Slots
from diet_tf.models import build_model, parameter_group
from diet_tf.models.initialisation import drawn_anew
from diet_tf.models.input_fields import InputFields
from diet_tf.models.inputs import as_logits, build_with_form, create_variables, features_in_form
from diet_tf.models.registry import PANEL, parse_member
from diet_tf.training.bilevel import DifferentiableTraining, binary_cross_entropy
from diet_tf.training.inner_settings import InnerSettings
from diet_tf.training.slot_features import (
  FeatureMaker,
  PackedColumns,
  bag_features,
  drawn_features,
  is_narrow,
  packed_features,
)

# How many trainings wait for who asks next. One holds a few megabytes of graph; its tables are empty while it waits.
MAX_WAITING = 24
_WAITING: list[TracedTraining] = []


def loss_of_probabilities(targets: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
  """`[batch_size]` cross-entropy for a model that returns probabilities."""
  clipped = tf.clip_by_value(tf.reshape(probabilities, tf.shape(targets)), 1e-6, 1 - 1e-6)
  return -(targets * tf.math.log(clipped) + (1 - targets) * tf.math.log(1 - clipped))


def make_training(name: str, spec: FeatureSpec, inner: InnerSettings, slots: Slots, *, seed: int,
                  draw_seed: tf.Variable | None = None) -> DifferentiableTraining:
  """Differentiable training of a new model by name, with every variable created.

  Args:
    name: name of a panel member, or a user's own `module:Class`.
    spec: compact feature spec.
    inner: settings of the inner loop.
    slots: slots that it will be trained on; how many they are decides the batch size where the settings leave it open,
      and how many ids their fields have shapes the model's input.
    seed: seed of the model's weights.
    draw_seed: seed of all that is drawn in a training; None, the default, draws the same in every training, and the
      ids of a model of single ids by `seed`.
  """
  model, form, _ = build_with_form(name, spec, seed=seed)
  if form == "packed":
    features = _packed_features(slots)
  else:
    features = bag_features(spec) if form in ("weighted", "averaged") else drawn_features(
        spec, seed if draw_seed is None else draw_seed)
  return _training_of(name, model, form, features, inner.for_slots(len(slots)), draw_seed)


def _packed_features(slots: Slots) -> FeatureMaker:
  return PackedColumns(slots.max_ids_per_field, slots.max_ids) if _have_much_padding(slots) else packed_features


def _have_much_padding(slots: Slots) -> bool:
  """Whether leaving out the places that are padding in all slots pays."""
  return is_narrow(slots.max_ids_per_field, slots.max_ids)


def _training_of(name: str, model: tf.keras.Model, form: str, features: FeatureMaker, inner: InnerSettings,
                 draw_seed: tf.Variable | None) -> DifferentiableTraining:
  loss = binary_cross_entropy if getattr(model, "from_logits", True) else loss_of_probabilities
  return DifferentiableTraining(model, inner, parameter_group, features, loss, form, name, draw_seed)


def initial_weights(name: str, spec: FeatureSpec, seed: int, form: str | None = None) -> list[tf.Tensor]:
  """The initial weights of a model by name, in the order of its trainable variables.

  Args:
    name: name of a panel member, or a user's own `module:Class`.
    spec: compact feature spec.
    seed: seed of the weights.
    form: form in which the model takes its input; None, the default, finds out, which builds the model and tries it
      several times.
  """
  if form is None:
    form = build_with_form(name, spec, seed=seed).form
  pattern = _pattern(name, _smallest(spec)) if _is_of_the_panel(name) else None
  if pattern is None:
    model = build_model(name, spec, seed=seed)
    create_variables(model, spec, form)
    return [tf.constant(variable.numpy()) for variable in model.trainable_variables]
  own_seed, num_rows = parse_member(name).settings.get("seed", seed), sum(pattern.input_fields.of(spec).num_ids)
  return [drawn_anew(initializer, own_seed)((num_rows, *shape[1:]) if is_table else shape, dtype)
          for initializer, shape, dtype, is_table in pattern.variables]


class _Pattern(NamedTuple):
  """How the initial weights of a panel member are drawn.

  Attributes:
    input_fields: the fields that it reads.
    variables: of each trainable variable the initializer, the shape, the dtype, and whether it is a table of ids, whose
      first axis follows from the feature spec.
  """

  input_fields: InputFields
  variables: list[tuple[Any, tuple[int, ...], tf.DType, bool]]


@functools.lru_cache(maxsize=64)
def _pattern(name: str, spec: FeatureSpec) -> _Pattern | None:
  """The pattern of a panel member's initial weights; None where that of a variable is not known."""
  initializers: dict[Any, Any] = {}

  def noted(next_creator: Callable[..., tf.Variable], **arguments: Any) -> tf.Variable:
    variable = next_creator(**arguments)
    # Keras binds shape and dtype to the initializer.
    initializers[variable.ref()] = getattr(arguments.get("initial_value"), "func", None)
    return variable

  with tf.variable_creator_scope(noted):
    model = build_model(name, spec, seed=0)
  variables = [(initializers.get(variable.ref()), tuple(variable.shape), variable.dtype,
                variable is model.embedding.embedding_table or variable is model.embedding.linear_table)
               for variable in model.trainable_variables]
  if any(drawn_anew(initializer, 0) is None for initializer, *_ in variables):
    return None
  return _Pattern(model.input_fields, variables)


def _is_of_the_panel(name: str) -> bool:
  return parse_member(name).model in PANEL


def _smallest(spec: FeatureSpec) -> FeatureSpec:
  """The spec with the fewest ids in each field: what a model has beside its tables does not depend on them."""
  fields = tuple(dataclasses.replace(field, hash_ids=2, vocabulary_ids=None, vocabulary=(), boundaries=(), salt=None)
                 for field in spec.fields)
  return dataclasses.replace(spec, fields=fields)


class TracedTraining:
  """One model with what is computed with it: a training, its gradient, and logits.

  Args:
    name: name of a panel member, or a user's own `module:Class`.
    spec: compact feature spec.
    inner: settings of the inner loop, with a batch size.
    slots: slots that it will be trained on.
    seed: seed of a user's own model; one of the panel is given weights before it is used.
    draws_anew: whether each gradient draws masks and single ids by a seed of its own, or the same ones in every
      training.

  Attributes:
    training: the differentiable training.
    is_of_any_size: whether another feature spec can be taken, see `take`.
    kind: what a training has in common with those that it can stand for.
  """

  def __init__(self, name: str, spec: FeatureSpec, inner: InnerSettings, slots: Slots, *, seed: int,
               draws_anew: bool) -> None:
    self.is_of_any_size = _is_of_the_panel(name)
    self._draw_seed = tf.Variable(seed, trainable=False, dtype=tf.int64) if draws_anew else None
    self._spec = spec
    if self.is_of_any_size:
      model = build_model(name, _smallest(spec), seed=0)
      model.let_sizes_vary()
      self._features = _packed_features(slots)
      self.training = _training_of(name, model, "packed", self._features, inner.for_slots(len(slots)),
                                   self._draw_seed)
    else:
      self.training = make_training(name, spec, inner, slots, seed=seed, draw_seed=self._draw_seed)
    self.kind: tuple[Any, ...] = ()
    self._functions: dict[str, Any] = {}

  @property
  def form(self) -> str:
    """Form in which the model takes its input, see `diet_tf.models.inputs`."""
    return self.training.form

  def take(self, spec: FeatureSpec, slots: Slots, num_steps: int) -> bool:
    """Makes room for other slots; whether the graph that was traced may be used for that size.

    Args:
      spec: compact feature spec of the same fields.
      slots: slots that it will be trained on.
      num_steps: steps of a training.
    """
    self._spec = spec
    if not self.is_of_any_size:
      return True
    if isinstance(self._features, PackedColumns):
      self._features.take(slots.max_ids_per_field, slots.max_ids)
    return self.training.take_size(self.training.model.take_sizes(spec), num_steps)

  def empty(self) -> None:
    """Frees the memory of the tables until `take`."""
    if self.is_of_any_size:
      self.training.empty()

  def num_traces(self, what: str) -> int:
    """How often `gradient`, `train` or `logits` was traced."""
    return self._functions[what].experimental_get_tracing_count() if what in self._functions else 0

  def train(self, initial: list[tf.Tensor], inputs: dict[str, tf.Tensor]) -> None:
    """Trains from initial weights; the arguments are those of `DifferentiableTraining.train`."""
    self._call("train", self.training.train, initial, inputs)

  def logits(self, ids: tf.Tensor) -> tf.Tensor:
    """`[num_rows]` logits of `[num_rows, num_places]` encoded rows after the last training."""
    return self._call("logits", self._logits, ids)

  def gradient(self, initial: list[tf.Tensor], shift: tf.Tensor, inputs: dict[str, tf.Tensor], ids: tf.Tensor,
               targets: tf.Tensor, importances: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The outer loss and its hypergradient, see `DifferentiableTraining.hypergradient`.

    Args:
      initial: weights in the order of the model's variables.
      shift: scalar int32, by which the entries of each of them are rotated, and the seed of what is drawn.
      inputs: fields of `diet_tf.training.bilevel.TrainingInputs`, by name.
      ids: `[outer_batch_size, num_places]` encoded rows.
      targets: `[outer_batch_size]` soft targets.
      importances: `[outer_batch_size]` non-negative weights.
    """
    return self._call("gradient", self._gradient, initial, shift, inputs, ids, targets, importances)

  def _call(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    if what not in self._functions:
      widths_vary = isinstance(self._features, PackedColumns) if self.is_of_any_size else False
      signature = tf.nest.map_structure(functools.partial(_of_any_size, widths_vary=widths_vary), arguments
                                        ) if self.is_of_any_size else None

      # A function of its own: TensorFlow takes methods of several objects for one, and warns that it traces that often.
      def traced(*given: Any) -> Any:
        return function(*given)

      self._functions[what] = tf.function(traced, input_signature=signature, autograph=False,
                                          reduce_retracing=signature is None)
    return self._functions[what](*arguments)

  def _logits(self, ids: tf.Tensor) -> tf.Tensor:
    features = features_in_form(self.form, self._spec, ids, None)
    return as_logits(self.training.model, self.training.model(features, training=False))

  def _gradient(self, initial: list[tf.Tensor], shift: tf.Tensor, inputs: dict[str, tf.Tensor], ids: tf.Tensor,
                targets: tf.Tensor, importances: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
    if self._draw_seed is not None:
      # Draws of one id per field are new in each outer step, or labels would be fitted to a single draw.
      self._draw_seed.assign(tf.cast(shift, tf.int64))
    return self.training.hypergradient([_shifted(weights, shift) for weights in initial], inputs,
                                       features_in_form(self.form, self._spec, ids, None), targets, importances)


def _of_any_size(value: Any, widths_vary: bool) -> tf.TensorSpec:
  """The signature of an argument whose first axis has any size; that of slots' ids and weights, also the last."""
  tensor = tf.convert_to_tensor(value)
  shape = [None, *tensor.shape[1:]] if tensor.shape.rank else []
  return tf.TensorSpec([*shape[:2], None] if len(shape) == 3 and widths_vary else shape, tensor.dtype)


def _shifted(weights: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
  """A rotation of all entries: as good as a fresh draw where entries are independent draws of one distribution."""
  return tf.reshape(tf.roll(tf.reshape(weights, [-1]), shift, 0), tf.shape(weights))


def traced_training(name: str, spec: FeatureSpec, inner: InnerSettings, slots: Slots, *, seed: int,
                    draws_anew: bool, device: str = "") -> TracedTraining:
  """A training of a model by name, one that was given back if there is one of its kind; arguments of `TracedTraining`.

  Args:
    name: name of a panel member, or a user's own `module:Class`.
    spec: compact feature spec.
    inner: settings of the inner loop.
    slots: slots that it will be trained on.
    seed: seed of a user's own model.
    draws_anew: whether each gradient draws by a seed of its own.
    device: device of a new one's variables; the default is where TensorFlow puts them.
  """
  inner = inner.for_slots(len(slots))
  kind = (name, spec.names, RowLayout.of(spec), inner, _have_much_padding(slots) or slots.max_ids, draws_anew, device)
  num_steps = inner.epochs * len(slots) // inner.least_batch_size
  for index, waiting in enumerate(_WAITING):
    if waiting.kind == kind and waiting.take(spec, slots, num_steps):
      return _WAITING.pop(index)
  with tf.device(device or None):
    made = TracedTraining(name, spec, inner, slots, seed=seed, draws_anew=draws_anew)
  made.kind = kind
  made.take(spec, slots, num_steps)
  return made


def give_back(training: TracedTraining) -> None:
  """Lets others have a training of `traced_training`, whose present owner has no further use for it."""
  if training.is_of_any_size and training not in _WAITING:
    training.empty()
    _WAITING.append(training)
    del _WAITING[:-MAX_WAITING]
