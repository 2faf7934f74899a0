"""Fast training of one panel member, again and again: a pass is one graph, traced once for all seeds and rates.

Why the gate does not train by it is said in `diet_tf.training.slot_trainer`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from diet_tf.errors import DataError, NumericsError
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_layout import RowLayout
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.models import PARAMETER_GROUPS, build_model, parameter_group
from diet_tf.models.draws import LayerDraws
from diet_tf.models.inputs import as_logits, build_with_form, create_variables, features_in_form
from diet_tf.models.optimizers import GroupedAdam
from diet_tf.models.registry import tables_of
from diet_tf.training.blocks import in_blocks
from diet_tf.training.flops import TRAINING_FACTOR, graph_flops
from diet_tf.training.recipe_steps import (
  ADAM_CONSTANTS,
  constants,
  group_rates,
  require_constants,
  step_multipliers,
)
from diet_tf.training.slot_adam import SlotAdam
from diet_tf.training.slot_features import packed_columns

# Size in bytes of initial weights up to which they are kept for the next training from the same seed.
MAX_KEPT_BYTES = 1 << 28
Optimizer = TypeVar("Optimizer", bound=GroupedAdam)


class _RecipeAdam(GroupedAdam):
  """A recipe's Adam whose learning rates and step multipliers are variables, so that recipes share one graph.

  Args:
    recipe: recipe to begin with; one that is followed later has the same beta_1, beta_2 and epsilon.
  """

  def __init__(self, recipe: Recipe) -> None:
    super().__init__(beta_1=recipe.beta_1, beta_2=recipe.beta_2, epsilon=recipe.epsilon, lazy=False)
    self._constants = constants(recipe, ADAM_CONSTANTS)
    self._group_rates = tf.Variable(tf.ones([len(PARAMETER_GROUPS)]), trainable=False)
    self._multipliers = tf.Variable(tf.ones([1]), trainable=False, shape=[None])
    self._groups: list[int] = []
    self.follow(recipe)

  def follow(self, recipe: Recipe) -> None:
    """Takes over a recipe's rates and multipliers.

    Raises:
      ConfigError: its other constants differ from those of the recipe that the optimiser was made for.
    """
    require_constants(recipe, self._constants, ADAM_CONSTANTS)
    self._group_rates.assign(group_rates(recipe))
    self._multipliers.assign(step_multipliers(recipe))

  def build(self, var_list: Iterable[tf.Variable]) -> None:
    """Creates the moments of each variable, and notes its group."""
    variables = list(var_list)
    super().build(variables)
    self._groups = [PARAMETER_GROUPS.index(parameter_group(variable)) for variable in variables]

  def _rate(self, index: int) -> Any:
    return tf.cast(tf.gather(self._group_rates, self._groups[index]), self._momentums[index].dtype)

  def _scaled(self, scale: tf.Tensor, iteration: tf.Tensor) -> tf.Tensor:
    multipliers = tf.cast(tf.convert_to_tensor(self._multipliers), scale.dtype)
    last = tf.cast(tf.shape(multipliers)[0] - 1, iteration.dtype)
    return scale * tf.gather(multipliers, tf.minimum(iteration, last))


class Learner:
  """A model whose weights, moments and learning rate are set back at will, without a new trace.

  Its model is called with packed features if it is one of ours. A user's own model says how it takes its input by an
  attribute `diet_inputs`, one of `INPUT_FORMS`; without one, the forms are tried in this order. A model that takes
  single ids is trained on whole slots by a `BagModel` ("averaged") or, where that cannot be, on ids drawn anew each
  epoch ("sampled").

  Args:
    member: name of a panel member, see `diet_tf.models.build_model`.
    spec: feature spec of the examples, whose whole id spaces size the tables.
    recipe: recipe of the memory, which gives the optimiser of trainings on it; all other trainings have Adam's usual
      constants.
    strategy: `tf.distribute` strategy to train under; None takes the current one.
    lazy: whether a training that does not follow the recipe moves only the rows of the batch, see `GroupedAdam`.
  """

  def __init__(self, member: str, spec: FeatureSpec, recipe: Recipe, *,
               strategy: tf.distribute.Strategy | None = None, lazy: bool = False) -> None:
    started = time.perf_counter()
    self.member = member
    self.spec = spec
    self.strategy = strategy or tf.distribute.get_strategy()
    with self.strategy.scope():
      self.model, self.input_form, self.not_averaged = build_with_form(member, spec)
      self._draws = LayerDraws(self.model)
      tables = tables_of(self.model)
      self._slot_adam = SlotAdam(self.model.trainable_variables, tables, recipe) if tables is not None else None
    self._lazy, self._recipe, self._learning_rate = lazy, recipe, 1e-3
    # The seed of the initial weights that were made last, and these.
    self._initial: tuple[int, list[tf.Variable]] | None = None
    # One graph for whatever number of rows.
    self._predict = tf.function(lambda ids: self._batch_logits(ids), input_signature=[
        tf.TensorSpec([None, RowLayout.of(spec).num_places], tf.int32)])
    self._warm: set[tuple[bool, str]] = set()
    self._slot_passes: dict[tuple[Any, ...], tf.types.experimental.PolymorphicFunction] = {}
    self._building_seconds = time.perf_counter() - started
    self._tracing_seconds = {False: 0.0, True: 0.0}

  def start_seconds(self, *, by_recipe: bool = False) -> float:
    """Wall time of building the model, and of tracing trainings by the recipe, or of those by a learning rate."""
    return self._building_seconds + self._tracing_seconds[by_recipe]

  # What a training does not need is not made: moments take twice the room of the tables.
  @functools.cached_property
  def _plain(self) -> GroupedAdam:
    # The rate is a variable of the optimiser: candidates share one graph.
    return self._built(GroupedAdam(dict.fromkeys(PARAMETER_GROUPS, 1.0), lazy=self._lazy,
                                   learning_rate=self._learning_rate))

  @functools.cached_property
  def _by_recipe(self) -> _RecipeAdam:
    return self._built(_RecipeAdam(self._recipe))

  def _built(self, optimizer: Optimizer) -> Optimizer:
    with self.strategy.scope():
      optimizer.build(self.model.trainable_variables)
    return optimizer

  @functools.cached_property
  def _plain_pass(self) -> tf.types.experimental.PolymorphicFunction:
    return self._compiled_pass(self._plain)

  @functools.cached_property
  def _recipe_pass(self) -> tf.types.experimental.PolymorphicFunction:
    return self._compiled_pass(self._by_recipe)

  def follow(self, recipe: Recipe) -> None:
    """Takes over the rates and multipliers of another recipe, without a new trace.

    Args:
      recipe: recipe with the constants of the one that the learner was made with.

    Raises:
      ConfigError: beta_1, beta_2 or epsilon are others.
    """
    self._by_recipe.follow(recipe)

  def reset(self, seed: int, learning_rate: float = 1e-3) -> None:
    """Gives the model the initial weights of `seed`, and the optimisers no past.

    Args:
      seed: seed of the initial weights, and of what Keras' random layers draw in training.
      learning_rate: Adam's rate for all parameter groups, in trainings that do not follow the recipe.
    """
    for variable, value in zip(self.model.weights, self._initial_weights(seed), strict=True):
      variable.assign(value)
    self._draws.restart(seed)
    for name in {"_plain", "_by_recipe"} & set(vars(self)):
      getattr(self, name).reset()
    self._learning_rate = learning_rate
    if "_plain" in vars(self):
      self._plain.learning_rate = learning_rate

  def _initial_weights(self, seed: int) -> list[tf.Variable]:
    if self._initial is not None and self._initial[0] == seed:
      return self._initial[1]
    with self.strategy.scope():
      fresh = build_model(self.member, self.spec, seed=seed)
      if not fresh.built or len(fresh.weights) != len(self.model.weights):
        create_variables(fresh, self.spec, self.input_form)
    weights = list(fresh.weights)
    # Rates are chosen by several trainings from the same weights, and drawing tables takes as long as a training.
    is_small = sum(variable.shape.num_elements() * variable.dtype.size for variable in weights) <= MAX_KEPT_BYTES
    self._initial = (seed, weights) if is_small else None
    return weights

  def train(self, dataset: tf.data.Dataset, *, by_recipe: bool = False) -> float:
    """Trains one pass over a dataset in its order; returns the seconds that it took, tracing left out.

    Args:
      dataset: batches of `({"ids", optionally "weights"}, labels [B], sample weights [B])`, packed.
      by_recipe: whether to train by the memory's recipe, or by the learning rate of `reset`.

    Raises:
      DataError: the dataset is empty.
      NumericsError: the training loss is not finite.
    """
    train_pass = self._recipe_pass if by_recipe else self._plain_pass
    warm_key = (by_recipe, str(dataset.element_spec))
    if warm_key not in self._warm:
      # No elements: the graph is traced and optimised, and nothing else happens. The filter hides from a distributed
      # iterator that there are none, which would be traced as a loop without steps.
      started = time.perf_counter()
      nothing = dataset.take(0).filter(lambda *_: True)
      train_pass(iter(self.strategy.experimental_distribute_dataset(nothing)))
      self._warm.add(warm_key)
      self._tracing_seconds[by_recipe] += time.perf_counter() - started
    start = time.perf_counter()
    total, steps = (float(value) for value in train_pass(
        iter(self.strategy.experimental_distribute_dataset(dataset))))
    seconds = time.perf_counter() - start
    if not steps:
      raise DataError(f"training data of panel member {self.member!r}", rule="it holds at least one batch.",
                      received="none.", remedy="give a span that is not empty.")
    self._require_finite(total / steps, "by the memory's recipe" if by_recipe else
                         f"at learning rate {self._learning_rate:g}")
    return seconds

  def _require_finite(self, loss: float, how: str) -> None:
    if not np.isfinite(loss):
      raise NumericsError(f"panel member {self.member!r}", rule="its training loss is finite.",
                          received=f"{loss} {how}.",
                          remedy="leave out high learning rates, or look for a faulty span.")

  @property
  def trains_on_slots(self) -> bool:
    """Whether `train_on_slots` can train the model: on whole slots, without other replicas to wait for."""
    return self.input_form != "sampled" and self.strategy.num_replicas_in_sync == 1

  def train_on_slots(self, slots: Slots, recipe: Recipe) -> float:
    """Trains on slots by a recipe, from tensors in one graph; returns the seconds that it took, tracing left out.

    The same steps as those of `train` over `Memory.dataset`, of which the last digits may differ: padding of narrower
    fields is not read.

    Args:
      slots: slots in the order of training, whose ids of a field come before its padding.
      recipe: recipe with the constants of the one that the learner was made with, which is followed from here on.

    Raises:
      ConfigError: beta_1, beta_2 or epsilon are others.
      NumericsError: the training loss is not finite.
    """
    (self._slot_adam or self._by_recipe).follow(recipe)
    arrays = self._slot_arrays(slots)
    signature = tuple((*array.shape[1:], array.dtype) for array in arrays) if self._slot_adam is None else ()
    if signature not in self._slot_passes:
      self._slot_passes[signature] = self._compiled_slot_pass(arrays)
      # No steps: the graph is traced and optimised, and nothing else happens.
      started = time.perf_counter()
      self._slot_passes[signature](*arrays, batch_size=recipe.batch_size, num_steps=0)
      self._tracing_seconds[True] += time.perf_counter() - started
    num_steps = recipe.epochs * recipe.steps_per_epoch(len(slots))
    start = time.perf_counter()
    loss = float(self._slot_passes[signature](*arrays, batch_size=recipe.batch_size, num_steps=num_steps)) / num_steps
    seconds = time.perf_counter() - start
    self._require_finite(loss, "by the memory's recipe")
    return seconds

  def _slot_arrays(self, slots: Slots) -> list[tf.Tensor]:
    """Ids, id weights, labels and sample weights; for built-in models columns, with the field of each."""
    ids, weights, fields = slots.ids, slots.weights, np.zeros(0, np.int64)
    if self._slot_adam is not None:
      ids, weights, fields = packed_columns(slots)
    return [tf.constant(array) for array in (ids, weights, fields, slots.labels, slots.sample_weights)]

  def _compiled_slot_pass(self, arrays: Sequence[tf.Tensor]) -> tf.types.experimental.PolymorphicFunction:
    slot_adam = self._slot_adam

    @tf.autograph.experimental.do_not_convert
    def step_of(features: dict[str, tf.Tensor], labels: tf.Tensor, sample_weights: tf.Tensor,
                step: tf.Tensor) -> tf.Tensor:
      if slot_adam is None:
        return self._step(features, labels, sample_weights, self._by_recipe)
      loss, gradients = self._loss_and_gradients(features, labels, sample_weights)
      slot_adam.apply(gradients, step)
      return loss

    def whole_pass(ids: tf.Tensor, weights: tf.Tensor, fields: tf.Tensor, labels: tf.Tensor, sample_weights: tf.Tensor,
                   batch_size: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
      total = tf.constant(0.0)
      if slot_adam is not None:
        slot_adam.start(self._table_rows(ids, weights, fields))
      per_epoch = -(-tf.shape(labels)[0] // batch_size)
      for step in tf.range(num_steps):
        start = step % per_epoch * batch_size
        rows = slice(start, start + batch_size)
        features = {"ids": ids[rows], "weights": weights[rows], **({} if slot_adam is None else {"fields": fields})}
        total += self.strategy.run(step_of, args=(features, labels[rows], sample_weights[rows], step))
      return total

    # Columns are as many as the widest slots of a memory have, and may be others for another memory.
    shapes = [[None, *array.shape[1:]] if slot_adam is None else [None] * array.shape.rank for array in arrays]
    signature = [*(tf.TensorSpec(shape, array.dtype) for shape, array in zip(shapes, arrays, strict=True)),
                 tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int32)]
    return tf.function(whole_pass, input_signature=signature)

  def logits(self, ids: np.ndarray) -> np.ndarray:
    """The logits of examples, `[N]` float32, from encoded rows `[N, num_places]`."""
    return in_blocks(self._predict, ids, padded=True)

  def flops_per_example(self, width: int) -> float:
    """Floating-point operations of training on one record with `width` ids a field (0: a row of the log).

    An estimate: the operations of the forward graph as TensorFlow's profiler counts them, times 3, the usual factor
    for a gradient and the product that it needs. Optimiser and input pipeline are not counted.
    """
    shape = [1, len(self.spec.fields), width] if width else [1, RowLayout.of(self.spec).num_places]
    ids = tf.TensorSpec(shape, tf.int32)
    weights = tf.TensorSpec(shape, tf.float32) if width else None
    return TRAINING_FACTOR * graph_flops(self._batch_logits, ids, weights)

  def _batch_logits(self, ids: tf.Tensor, weights: tf.Tensor | None = None, fields: tf.Tensor | None = None,
                    training: bool = False) -> tf.Tensor:
    features = features_in_form(self.input_form, self.spec, ids, weights)
    if fields is not None:
      features["fields"] = fields
    return as_logits(self.model, self.model(features, training=training))

  def _step(self, features: Mapping[str, tf.Tensor], labels: tf.Tensor, weights: tf.Tensor,
            optimizer: GroupedAdam) -> tf.Tensor:
    """One step; the loss is that of `keras.Model.fit`: weighted sum over the global batch size, plus regularisers."""
    loss, gradients = self._loss_and_gradients(features, labels, weights)
    optimizer.apply_gradients([pair for pair in zip(gradients, self.model.trainable_variables, strict=True)
                               if pair[0] is not None])
    return loss

  def _loss_and_gradients(self, features: Mapping[str, tf.Tensor], labels: tf.Tensor,
                          weights: tf.Tensor) -> tuple[tf.Tensor, list[Any]]:
    count = tf.cast(tf.shape(labels)[0], tf.float32)
    replicas = self.strategy.num_replicas_in_sync
    if replicas > 1:
      count = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, count)
    with tf.GradientTape() as tape:
      logits = self._batch_logits(features["ids"], features.get("weights"), features.get("fields"), training=True)
      losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
      loss = tf.add_n([tf.reduce_sum(weights * losses) / count,
                       *(penalty / replicas for penalty in self.model.losses)])
    return loss, tape.gradient(loss, self.model.trainable_variables)

  @tf.autograph.experimental.do_not_convert
  def _table_rows(self, ids: tf.Tensor, weights: tf.Tensor, fields: tf.Tensor) -> tf.Tensor:
    """The rows of the model's tables that packed columns read, `[num_entries]` int64."""
    columns = self.model.input_fields({"ids": ids, "weights": weights, "fields": fields})
    return tf.reshape(self.model.embedding.column_rows(columns["ids"], columns["fields"]), [-1])

  def _compiled_pass(self, optimizer: GroupedAdam) -> tf.types.experimental.PolymorphicFunction:
    def step(features: Mapping[str, tf.Tensor], labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
      return self._step(features, labels, weights, optimizer)

    def whole_pass(iterator: Iterator[Any]) -> tuple[tf.Tensor, tf.Tensor]:
      total, steps = tf.constant(0.0), tf.constant(0.0)
      for batch in iterator:
        losses = self.strategy.run(step, args=batch)
        total += self.strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)
        steps += 1.0
      return total, steps

    return tf.function(whole_pass, reduce_retracing=True)
