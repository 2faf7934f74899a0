"""The teacher: a reference model trained on the log as it arrives, one pass per span, carried from stage to stage.

It gives the soft targets of the outer loss, the geometry in which clusters are found, and the checkpoints at which
influence is measured. It may be an ensemble: its logit is the mean of its members' logits.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from diet_tf.errors import ConfigError, FormatError, NumericsError
from diet_tf.io import arrays as array_files
from diet_tf.io import files
from diet_tf.io.documents import DocumentFormat
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_layout import RowLayout, missing_rows
from diet_tf.memory.slots import Slots
from diet_tf.models import RankingModel, build_model, parameter_group
from diet_tf.models.draws import LayerDraws
from diet_tf.models.optimizers import GroupedAdam
from diet_tf.progress import Progress, silent
from diet_tf.training.blocks import in_blocks

# A slot has up to K ids in each field, whose embeddings are looked up at once.
_SLOTS_AT_A_TIME = 1024
# Weights of one member, by the keys of `keyed_variables` and `keyed_state`.
Weights = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class TeacherSettings:
  """How the teacher is built and trained.

  Attributes:
    members: panel members whose logits are averaged; the first one is where influence is measured.
    learning_rate: learning rate of Adam, the same for every parameter group.
    batch_size: examples per step.
    momentum_steps: how long at least the row of an id goes on moving after it occurred, see `GroupedAdam`.
    num_checkpoints: weights kept along a span's pass, evenly spaced, the last at its end.
  """

  members: tuple[str, ...] = ("dnn", "deepfm")
  learning_rate: float = 2e-3
  batch_size: int = 256
  momentum_steps: int = 32
  num_checkpoints: int = 2

  def __post_init__(self) -> None:
    if not self.members:
      raise ConfigError("teacher.members", rule="names at least one panel member.", received="none.",
                        remedy="use [dnn].")
    if self.learning_rate <= 0:
      raise ConfigError("teacher.learning_rate", rule="is positive.", received=str(self.learning_rate),
                        remedy="use 0.002.")
    for name in ("batch_size", "momentum_steps", "num_checkpoints"):
      if getattr(self, name) < 1:
        raise ConfigError(f"teacher.{name}", rule="is at least 1.", received=str(getattr(self, name)),
                          remedy="raise it.")


_REMEDY = "restore the commit or retrain the teacher."
TEACHER = DocumentFormat("diet_tf.teacher", {1: {
    "seed": int, "settings": TeacherSettings, "feature_spec_digest": str, "num_examples_seen": int,
    "num_checkpoints": int}}, _REMEDY, indent=1)


class Teacher:
  """A streaming ensemble of panel members.

  Args:
    spec: the feature spec of the log.
    settings: settings of how it is built and trained.
    seed: seed of the initial weights of the first member; the others' seeds count up from it.
    strategy: strategy that it is trained under; None takes the current one.
  """

  def __init__(self, spec: FeatureSpec, settings: TeacherSettings, *, seed: int = 0,
               strategy: tf.distribute.Strategy | None = None) -> None:
    self.spec = spec
    self.settings = settings
    self.seed = seed
    self.strategy = strategy or tf.distribute.get_strategy()
    self.num_examples_seen = 0
    self.checkpoints: list[Weights] = []
    with self.strategy.scope():
      self.members = [_built(build_model(name, spec, seed=seed + index), spec)
                      for index, name in enumerate(settings.members)]
      self._draws = [LayerDraws(member) for member in self.members]
      for index, draws in enumerate(self._draws):
        draws.restart(seed + index)
      self._optimizers = [GroupedAdam(settings.learning_rate, lazy=False, momentum_steps=settings.momentum_steps)
                          for _ in self.members]
      for member, optimizer in zip(self.members, self._optimizers):
        optimizer.build(member.trainable_variables)
    self._steps = tf.function(self._train_steps, reduce_retracing=True)
    self._predict = tf.function(self._mean_logits, autograph=False, input_signature=[
        tf.TensorSpec([None, RowLayout.of(spec).num_places], tf.int32)])
    bags = [None, len(spec.fields), None]
    self._predict_bags = tf.function(self._mean_bag_logits, autograph=False, input_signature=[
        tf.TensorSpec(bags, tf.int32), tf.TensorSpec(bags, tf.float32)])
    self._loaded: Weights | None = None

  @property
  def reference_member(self) -> RankingModel:
    """The member at whose checkpoints influence is measured."""
    return self.members[0]

  @tf.autograph.experimental.do_not_convert
  def _train_step(self, ids: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    total = tf.constant(0.0)
    for member, optimizer in zip(self.members, self._optimizers):
      with tf.GradientTape() as tape:
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=member({"ids": ids}, training=True))
        loss = tf.nn.compute_average_loss(losses, global_batch_size=self.settings.batch_size)
        if member.losses:
          loss += tf.nn.scale_regularization_loss(tf.add_n(member.losses))
      variables = member.trainable_variables
      optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
      total += loss
    return total / len(self.members)

  def _train_steps(self, iterator: tf.data.Iterator, num_steps: tf.Tensor) -> tf.Tensor:
    total = tf.constant(0.0)
    for _ in tf.range(num_steps):
      ids, labels, _ = next(iterator)
      losses = self.strategy.run(self._train_step, args=(ids, labels))
      total += self.strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)
    return total / tf.cast(num_steps, tf.float32)

  def advance(self, dataset: tf.data.Dataset, num_examples: int, *, keep_checkpoints: bool = True,
              progress: Progress = silent) -> float:
    """Trains one pass over a span in time order; returns the mean training loss.

    Args:
      dataset: batches of `(ids [batch_size, num_places], labels [batch_size], example_ids [batch_size])`.
      num_examples: how many examples it yields.
      keep_checkpoints: whether `checkpoints` is replaced by those of this pass.
      progress: callback that is told, after each block of steps, how many examples were read.

    Raises:
      NumericsError: if the loss is not finite.
    """
    num_steps = -(-num_examples // self.settings.batch_size)
    kept = {round(num_steps * (i + 1) / self.settings.num_checkpoints) for i in range(self.settings.num_checkpoints)}
    ends = sorted({*kept, *range(50, num_steps, 50), num_steps})
    if keep_checkpoints:
      self.checkpoints = []
    for optimizer in self._optimizers:
      optimizer.stop_all_rows()
    iterator = iter(self.strategy.experimental_distribute_dataset(dataset))
    done, total = 0, 0.0
    for end in ends:
      if end == done:
        continue
      loss = float(self._steps(iterator, tf.constant(end - done)))
      if not np.isfinite(loss):
        raise NumericsError("teacher", rule="its training loss is finite.",
                            received=f"{loss} between steps {done} and {end}.",
                            remedy="lower teacher.learning_rate or check the labels of the span.")
      total += loss * (end - done)
      done = end
      if keep_checkpoints and end in kept:
        self.checkpoints.append(self._weights(self.reference_member))
      progress("teacher pass (examples)", min(done * self.settings.batch_size, num_examples), num_examples)
    self.num_examples_seen += num_examples
    return total / max(done, 1)

  def _mean_logits(self, ids: tf.Tensor) -> tf.Tensor:
    return self._mean_of_members({"ids": ids})

  def _mean_bag_logits(self, ids: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return self._mean_of_members({"ids": ids, "weights": weights})

  def _mean_of_members(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
    return tf.add_n([member(features, training=False) for member in self.members]) / len(self.members)

  def logits(self, ids: np.ndarray | tf.Tensor) -> tf.Tensor:
    """`[batch_size]` mean logits of `[batch_size, num_places]` encoded rows."""
    return self._predict(tf.cast(ids, tf.int32))

  def probabilities(self, ids: np.ndarray) -> np.ndarray:
    """`[num_rows]` float32 probabilities of a click, of `[num_rows, num_places]` encoded rows."""
    return in_blocks(lambda block: tf.sigmoid(self.logits(block)), ids)

  def slot_logits(self, slots: Slots) -> np.ndarray:
    """`[num_slots]` float32 mean logits of slots, each as the bags that it is."""
    return in_blocks(self._predict_bags, slots.ids, slots.weights, block_rows=_SLOTS_AT_A_TIME)

  def _weights(self, member: RankingModel) -> Weights:
    return {key: variable.numpy() for key, variable in (*keyed_variables(member), *keyed_state(member))}

  @functools.cached_property
  def _copy(self) -> RankingModel:
    return _built(build_model(self.settings.members[0], self.spec, seed=self.seed), self.spec)

  def is_loaded(self, checkpoint: Weights) -> bool:
    """Whether `load_checkpoint` has nothing to do."""
    return self._loaded is checkpoint

  def load_checkpoint(self, checkpoint: Weights) -> RankingModel:
    """A copy of the reference member with a checkpoint's weights, which are others after the next call."""
    if not self.is_loaded(checkpoint):
      for key, variable in (*keyed_variables(self._copy), *keyed_state(self._copy)):
        variable.assign(checkpoint[key])
      self._loaded = checkpoint
    return self._copy

  def save(self, directory: str) -> None:
    """Writes members, optimisers and checkpoints; of a table, only the rows that training has touched."""
    arrays: dict[str, np.ndarray] = {}
    for index, (member, optimizer) in enumerate(zip(self.members, self._optimizers)):
      arrays[f"{index}/iterations"] = optimizer.iterations.numpy()
      arrays.update({f"{index}/{key}": variable.numpy() for key, variable in self._state(index)})
      for key, variable in keyed_variables(member):
        first, second = (moment.numpy() for moment in optimizer.moments(variable))
        rows = touched_rows(variable, second)
        values = {f"{index}/{key}/w": variable.numpy(), f"{index}/{key}/m": first, f"{index}/{key}/v": second}
        if index == 0:
          values.update({f"checkpoint/{number}/{key}": checkpoint[key]
                         for number, checkpoint in enumerate(self.checkpoints)})
        arrays.update({name: value if rows is None else value[rows] for name, value in values.items()})
        if rows is not None:
          arrays[f"{index}/{key}/rows"] = rows
    arrays.update({f"checkpoint/{number}/{key}": checkpoint[key] for key, _ in keyed_state(self.reference_member)
                   for number, checkpoint in enumerate(self.checkpoints)})
    header = TEACHER.document({
        "seed": self.seed, "settings": dataclasses.asdict(self.settings), "feature_spec_digest": self.spec.digest(),
        "num_examples_seen": self.num_examples_seen, "num_checkpoints": len(self.checkpoints)})
    files.make_folders(directory)
    array_files.write_arrays(f"{directory}/teacher.npz", arrays)
    TEACHER.write(f"{directory}/teacher.json", header)

  @classmethod
  def load(cls, directory: str, spec: FeatureSpec, settings: TeacherSettings, *,
           strategy: tf.distribute.Strategy | None = None) -> Teacher:
    """The teacher saved in `directory`, with the seed that it was begun with.

    Raises:
      FormatError: if the files are damaged, of a newer version, or of other settings or another feature spec.
    """
    header = TEACHER.read(f"{directory}/teacher.json")
    _check_header(directory, header, spec, settings)
    arrays = array_files.read_arrays(f"{directory}/teacher.npz")
    teacher = cls(spec, settings, seed=header["seed"], strategy=strategy)
    teacher.num_examples_seen = header["num_examples_seen"]
    for index, (member, optimizer) in enumerate(zip(teacher.members, teacher._optimizers)):
      for key, variable in keyed_variables(member):
        rows = arrays.get(f"{index}/{key}/rows")
        for kind, target in zip("wmv", (variable, *optimizer.moments(variable))):
          target.assign(_restored(target.numpy(), arrays, f"{index}/{key}/{kind}", rows, directory))
      for key, variable in teacher._state(index):
        variable.assign(_restored_state(variable.numpy(), arrays, f"{index}/{key}", directory))
      iterations = optimizer.iterations
      iterations.assign(_restored(iterations.numpy(), arrays, f"{index}/iterations", None, directory))
    teacher._restore_checkpoints(arrays, header["num_checkpoints"], directory)
    return teacher

  def _restore_checkpoints(self, arrays: Mapping[str, np.ndarray], num_checkpoints: int, directory: str) -> None:
    initial = _built(build_model(self.settings.members[0], self.spec, seed=self.seed), self.spec)
    self.checkpoints = [
        {**{key: _restored(variable.numpy().copy(), arrays, f"checkpoint/{number}/{key}", arrays.get(f"0/{key}/rows"),
                           directory) for key, variable in keyed_variables(initial)},
         **{key: _restored_state(variable.numpy(), arrays, f"checkpoint/{number}/{key}", directory)
            for key, variable in keyed_state(initial)}} for number in range(num_checkpoints)]

  def _state(self, index: int) -> list[tuple[str, tf.Variable]]:
    """What a member carries from step to step beside what is trained, its generators included."""
    generators = [(f"draws.{number:02d}", state) for number, state in enumerate(self._draws[index].variables)]
    return keyed_state(self.members[index]) + generators


def _built(model: RankingModel, spec: FeatureSpec) -> RankingModel:
  model({"ids": tf.constant(missing_rows(spec, 1))})
  return model


def keyed_variables(model: tf.keras.Model) -> list[tuple[str, tf.Variable]]:
  """The trainable variables with keys that are alike in every process (Keras numbers layers as they are made)."""
  return [(f"{index:02d}.{variable.name.rsplit('/', 1)[-1].split(':')[0]}", variable)
          for index, variable in enumerate(model.trainable_variables)]


def keyed_state(model: tf.keras.Model) -> list[tuple[str, tf.Variable]]:
  """The variables that are not trained (moving statistics, counters), with keys that are alike in every process."""
  return [(f"state.{index:02d}.{variable.name.rsplit('/', 1)[-1].split(':')[0]}", variable)
          for index, variable in enumerate(model.non_trainable_variables)]


def touched_rows(variable: tf.Variable, second_moment: np.ndarray) -> np.ndarray | None:
  """The rows of a table that training has read, or None if the variable is no table."""
  if parameter_group(variable) == "dense":
    return None
  return np.flatnonzero(second_moment.reshape(len(second_moment), -1).any(axis=1)).astype(np.int64)


def _restored(base: np.ndarray, arrays: Mapping[str, np.ndarray], key: str, rows: np.ndarray | None,
              directory: str) -> np.ndarray:
  if key not in arrays:
    raise FormatError(f"{directory}/teacher.npz", rule="holds every variable of the teacher.",
                      received=f"no array {key!r}.", remedy=_REMEDY)
  value = arrays[key]
  expected = base.shape if rows is None else (len(rows), *base.shape[1:])
  if value.shape != expected:
    raise FormatError(f"{directory}/teacher.npz, array {key!r}", rule="has the variable's shape.",
                      received=f"{value.shape}, expected {expected}.",
                      remedy="use the feature spec and teacher settings that the commit was made with.")
  if rows is None:
    return value
  base[rows] = value
  return base


def _restored_state(initial: np.ndarray, arrays: Mapping[str, np.ndarray], key: str, directory: str) -> np.ndarray:
  """A saved value; before state was saved at all, each pass began with the initial one."""
  return _restored(initial, arrays, key, None, directory) if key in arrays else initial


def _check_header(directory: str, header: Mapping[str, Any], spec: FeatureSpec, settings: TeacherSettings) -> None:
  subject = f"{directory}/teacher.json"
  if header["feature_spec_digest"] != spec.digest():
    raise FormatError(subject, rule="belongs to the feature spec in use.",
                      received=f"feature spec {header['feature_spec_digest'][:12]}, in use {spec.digest()[:12]}.",
                      remedy="restore the features section of the config, or start a new store.")
  if header["settings"] != settings:
    raise FormatError(subject, rule="was trained with the teacher settings in use.",
                      received=f"saved {dataclasses.asdict(header['settings'])}, "
                      f"in use {dataclasses.asdict(settings)}.",
                      remedy="restore the teacher section of the config, or start a new store.")
