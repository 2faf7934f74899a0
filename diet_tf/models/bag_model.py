"""Models of one id a field on the weighted bags of a memory: each embedding layer gives the mean of a bag."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from diet_tf.errors import ConfigError, said_by_model
from diet_tf.models.autograph import leave_keras_unconverted

_WEIGHTS = "/weights"
_RULE = ("it looks up ids in tf.keras.layers.Embedding layers and uses them for nothing else, each looked-up id comes "
         "from one field, and it returns [batch] or [batch, 1].")
_REMEDY = ("change it so, or train it on drawn ids: memory.fit(model, mode='sampled'); a member of the "
           "panel with diet_inputs = 'sampled' is.")
# Sizes of the batches that a model is tried on; an error that comes from the size of one is none with the other.
_TRIED = (3, 7)

# Pairs of ids that a model is tried on, to see what its looked-up ids are made of; a log has the first in any field.
_PAIRS = ((0, 1), (2, 5), (7, 100), (1000, 30011))

# Makes the output of a layer of its ids, the lookup of them, and its number of dimensions.
Change = Callable[[tf.Tensor, Callable[[], tf.Tensor], int], tf.Tensor]
# Its attribute `change` is what layers do in this thread.
_RUNNING = threading.local()
# By `id` of a layer that is changed, how many calls in all threads need that, and its own attributes that were there
# before; guarded by the lock.
_CHANGED: dict[int, tuple[int, dict[str, Any]]] = {}
_LOCK = threading.Lock()


class BagModel(tf.keras.Model):
  """A model of one id a field that takes weighted bags of ids too, and shares its weights with the model given.

  A slot of a memory has up to K weighted ids in a field. A model that takes one of them, drawn by weight, sees little
  of the slot. Here each bag is written out as n ids, of which an id of weight `w` has about `w n`, the model runs on
  all of them, and each of its `tf.keras.layers.Embedding` layers returns the mean over the n embeddings of a bag,
  `[batch, ...]`. The rest of the model works on these means. That is the weighted sum that `diet_tf.BagEmbedding`
  gives, up to the rounding of weights to n-ths: an id of less than an n-th may be left out. n is twice the width of the
  widest field, and the ids are those at the midpoints of n equal shares of the weight, so that nothing is drawn.

  Features without weights are passed on as they are: single ids, to judge the model on the log or train it there.
  What is saved and loaded is the model. Its own `train_step` and `compute_loss` are not used, and bags have no masks:
  `mask_zero` counts for single ids alone.

  Args:
    model: takes `{field: [batch] ids}`, subclassed or functional. It uses ids to look them up in `Embedding` layers (or
      subclasses) and for nothing else; before that, each may be cast, shifted, hashed or given an axis. An id that is
      made of two fields, a cross, is refused: which ids of the one go with which of the other, a slot does not know.
      So is a `tf.function` that looks ids up, which would keep what it did on bags.

  Raises:
    ConfigError: what is given is no Keras model.

  Example:
    >>> model = my_models.Pooled(memory.spec)
    >>> bags = memory.compile(diet_tf.BagModel(model))
    >>> memory.fit(bags)
    >>> model.predict(log.held_out.dataset(8192, "sampled"))
  """

  def __init__(self, model: tf.keras.Model) -> None:
    if not isinstance(model, tf.keras.Model):
      raise ConfigError("bag model", rule="it is made of a model of tf-keras (Keras 2).", received=f"{model!r}.",
                        remedy="pass a model, not its class, and import diet_tf before TensorFlow.")
    leave_keras_unconverted()
    # Id weights stay as they are in a model of half precision.
    super().__init__(autocast=False)
    self.model = model
    if hasattr(model, "from_logits"):
      self.from_logits = model.from_logits
    self._is_checked = False

  def __call__(self, features: Mapping[str, tf.Tensor], *args: Any, **kwargs: Any) -> tf.Tensor:
    """The model's outputs for bags `{field: [batch, K] ids, field + "/weights": [batch, K]}`, or for single ids.

    Raises:
      ConfigError: the model cannot be run on bags, see the class, or only some fields have weights.
    """
    # Not in `call`, whose errors Keras replaces by others.
    bags = _bags_of(features)
    if bags and not self._is_checked:
      self._check(bags)
      self._is_checked = True
    return super().__call__(features, *args, **kwargs)

  def call(self, features: Mapping[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
    """See `__call__`."""
    bags = _bags_of(features)
    return self._of_bags(bags, training) if bags else self.model(features, training=training)

  def save(self, *args: Any, **kwargs: Any) -> None:
    """Saves the model of single ids, as its own `save` does."""
    self.model.save(*args, **kwargs)

  def save_weights(self, *args: Any, **kwargs: Any) -> Any:
    """Saves the weights of the model of single ids, as its own `save_weights` does."""
    return self.model.save_weights(*args, **kwargs)

  def load_weights(self, *args: Any, **kwargs: Any) -> Any:
    """Loads weights into the model of single ids, as its own `load_weights` does."""
    return self.model.load_weights(*args, **kwargs)

  def export(self, *args: Any, **kwargs: Any) -> None:
    """Exports the model of single ids, as its own `export` does."""
    self.model.export(*args, **kwargs)

  def _of_bags(self, bags: Mapping[str, tuple[tf.Tensor, tf.Tensor]], training: bool | None) -> tf.Tensor:
    widths = [ids.shape[1] for ids, _ in bags.values()]
    if None in widths:
      widths = [tf.shape(ids)[1] for ids, _ in bags.values()]
    ids_per_bag = 2 * (tf.reduce_max(tf.stack(widths)) if tf.is_tensor(widths[0]) else max(widths))
    shares = (tf.cast(tf.range(ids_per_bag), tf.float32) + 0.5) / tf.cast(ids_per_bag, tf.float32)
    singles = {name: tf.reshape(ids_at(ids, tf.cast(weights, tf.float32), shares), [-1])
               for name, (ids, weights) in bags.items()}
    num_bags = tf.shape(next(iter(bags.values()))[0])[0]

    def mean_of_bags(ids: tf.Tensor, look_up: Callable[[], tf.Tensor], dim: int) -> tf.Tensor:
      del ids, dim
      embeddings = look_up()
      shape = tf.shape(embeddings)
      tf.debugging.assert_equal(shape[0], num_bags * ids_per_bag, "A model on bags looks up ids of the batch alone.")
      means = tf.reduce_mean(tf.reshape(embeddings, tf.concat([[num_bags, ids_per_bag], shape[1:]], axis=0)), axis=1)
      return tf.ensure_shape(means, [None, *embeddings.shape[1:]])

    with _looking_up(self._tables(), mean_of_bags):
      outputs = self.model(singles, training=training)
    tf.debugging.assert_equal(tf.shape(outputs)[0], num_bags, f"A model on bags: {_RULE}")
    return outputs

  def _tables(self) -> list[tf.keras.layers.Embedding]:
    return [layer for layer in self.model.submodules if isinstance(layer, tf.keras.layers.Embedding)]

  def _check(self, bags: Mapping[str, tuple[tf.Tensor, tf.Tensor]]) -> None:
    """Tries the model: with known shapes, where a wrong one is found by name, and for ids that two fields are in."""
    try:
      if not self.model.built:
        self.model({name: ids[:, 0] for name, (ids, _) in bags.items()})
      received = self._wrong_lookup({name: ids.dtype for name, (ids, _) in bags.items()})
      for count in _TRIED:
        features = {name: (tf.zeros([count, 2], ids.dtype), tf.ones([count, 2])) for name, (ids, _) in bags.items()}
        traced = tf.function(lambda: self._of_bags(features, False)).get_concrete_function()  # noqa: B023
        shape = traced.structured_outputs.shape
        if not received and (shape.rank is None or tuple(shape) not in ((count,), (count, 1))):
          received = f"outputs {shape} for {count} bags."
    except Exception as error:
      raise ConfigError(self._subject(), rule=_RULE, received=said_by_model(error), remedy=_REMEDY) from error
    if received:
      raise ConfigError(self._subject(), rule=_RULE, received=received, remedy=_REMEDY)

  def _subject(self) -> str:
    return f"bag model of {type(self.model).__name__}"

  def _wrong_lookup(self, dtypes: Mapping[str, tf.DType]) -> str:
    """What is wrong with how the model looks up ids, or ""."""
    for pair in _PAIRS:
      try:
        as_called, was_traced = self._looked_up(dtypes, pair)
        before = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        try:
          in_the_open, _ = self._looked_up(dtypes, pair)
        finally:
          tf.config.run_functions_eagerly(before)
      except tf.errors.InvalidArgumentError:
        if pair == _PAIRS[0]:
          raise
        return ""  # The model has no such ids.
      if was_traced or len(as_called) != len(in_the_open):
        return "a tf.function looks ids up, and keeps what it did on bags; Keras compiles models without."
      crossed = _cross(in_the_open, list(dtypes))
      if crossed:
        return crossed
    return ""

  def _looked_up(self, dtypes: Mapping[str, tf.DType], pair: tuple[int, int]) -> tuple[list[np.ndarray], bool]:
    """The inputs of all lookups for 2 (F + 1) rows of single ids, and whether one of them was in a graph.

    Rows 0 and F + 1 have one id of the pair in all F fields; each of the F rows after them has the other one in one
    field.
    """
    one = np.eye(len(dtypes), dtype=np.int64)
    second = np.concatenate([0 * one[:1], one, 0 * one[:1] + 1, 1 - one])
    rows = np.where(second, *pair[::-1])
    inputs: list[np.ndarray] = []
    was_traced = False

    def note(ids: tf.Tensor, look_up: Callable[[], tf.Tensor], dim: int) -> tf.Tensor:
      nonlocal was_traced
      if tf.is_symbolic_tensor(ids):
        was_traced = True
        return look_up()
      inputs.append(np.asarray(ids))
      try:
        return look_up()
      except tf.errors.InvalidArgumentError:  # The table has no such ids, which are not those of a log.
        return tf.zeros([*np.shape(ids), dim], self.model.compute_dtype)

    with tf.init_scope(), _looking_up(self._tables(), note):
      self.model({name: tf.constant(rows[:, field], dtypes[name]) for field, name in enumerate(dtypes)}, training=False)
    return inputs, was_traced


def _cross(looked_up: Sequence[np.ndarray], names: Sequence[str]) -> str:
  """Names two fields that change one looked-up id, or "" where there are none; see `BagModel._looked_up`."""
  for ids in looked_up:
    if ids.shape[:1] != (2 * (len(names) + 1),):
      continue  # Not of the batch, as is found when all shapes are known.
    by_row = ids.reshape([2, len(names) + 1, -1])
    moves = (by_row[:, 1:] != by_row[:, :1]).any(axis=0)  # [F, ids of a row]
    crossed = np.flatnonzero(moves.sum(axis=0) > 1)
    if len(crossed):
      first, second = np.flatnonzero(moves[:, crossed[0]])[:2]
      return f"a looked-up id that changes with {names[first]} and with {names[second]}."
  return ""


def _bags_of(features: Mapping[str, tf.Tensor]) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
  """Ids and weights of each field; none where all features are single ids."""
  bags = {name: (features[name], features[name + _WEIGHTS]) for name in features if name + _WEIGHTS in features}
  single = sorted(set(features) - set(bags) - {name + _WEIGHTS for name in bags})
  if bags and single:
    raise ConfigError("bag model: features", rule="all fields come with weights, or none does.",
                      received=f"no weights for {', '.join(single)}.", remedy="pass them as bags of one id.")
  return bags


def ids_at(ids: tf.Tensor, weights: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
  """Per bag, the ids at which the running sum of the weights first exceeds the given shares of the whole sum.

  Args:
    ids: `[..., K]`.
    weights: `[..., K]`, not negative.
    shares: `[num_shares]`, or `[..., num_shares]` of each bag, from 0 to 1 - 2^-23: their product with the sum then
      stays below the sum in float32 too, and an id of weight 0 is never the first.

  Returns:
    `[..., num_shares]`.
  """
  width = tf.shape(ids)[-1]
  running = tf.cumsum(weights, axis=-1)
  wanted = shares * running[..., -1:]
  places = tf.searchsorted(tf.reshape(running, [-1, width]), tf.reshape(wanted, [-1, tf.shape(wanted)[-1]]), "right")
  # Where all weights are 0 none exceeds.
  found = tf.gather(tf.reshape(ids, [-1, width]), tf.minimum(places, width - 1), batch_dims=1)
  return tf.reshape(found, tf.shape(wanted))


@contextlib.contextmanager
def _looking_up(tables: Sequence[tf.keras.layers.Embedding], change: Change) -> Iterator[None]:
  """While it lasts, layers return what `change` makes in this thread; in others they do as always.

  The replicas of a distribution strategy run in threads that wait for each other in the middle of a model.
  """
  before = getattr(_RUNNING, "change", None)
  with _LOCK:
    for table in tables:
      count, own = _CHANGED.get(id(table), (0, {}))
      if not count:
        own = {name: vars(table)[name] for name in ("call", "compute_mask") if name in vars(table)}
        table.call = _changed(table.call, table.output_dim)
        table.compute_mask = _unmasked(table.compute_mask)
      _CHANGED[id(table)] = (count + 1, own)
  _RUNNING.change = change
  try:
    yield
  finally:
    _RUNNING.change = before
    with _LOCK:
      for table in tables:
        count, own = _CHANGED.pop(id(table))
        if count > 1:
          _CHANGED[id(table)] = (count - 1, own)
          continue
        for name in ("call", "compute_mask"):
          delattr(table, name)
          if name in own:
            setattr(table, name, own[name])


def _changed(call: Callable[..., tf.Tensor], dim: int) -> Callable[..., tf.Tensor]:
  def changed_call(inputs: tf.Tensor, *args: Any, **kwargs: Any) -> tf.Tensor:
    change: Change | None = getattr(_RUNNING, "change", None)
    if change is None:
      return call(inputs, *args, **kwargs)
    return change(inputs, lambda: call(inputs, *args, **kwargs), dim)

  return changed_call


def _unmasked(compute_mask: Callable[..., Any]) -> Callable[..., Any]:
  """Bags have no mask: one of their ids may be missing, and the others not."""
  def mask_of_rows(*args: Any, **kwargs: Any) -> Any:
    return compute_mask(*args, **kwargs) if getattr(_RUNNING, "change", None) is None else None

  return mask_of_rows
