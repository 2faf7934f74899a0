"""Models of one id a field on the weighted bags of a memory: each embedding layer gives the mean of a bag."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from diet_tf.errors import ConfigError, said_by_model

_WEIGHTS = "/weights"
_RULE = ("it looks up ids in tf.keras.layers.Embedding layers and uses them for nothing else, each looked-up id comes "
         "from one field, and it returns [batch] or [batch, 1].")
_REMEDY = ("change it so, or train it on drawn ids: memory.recipe.fit(model, memory, mode='sampled'); a member of the "
           "panel with diet_inputs = 'sampled' is.")
# Sizes of the batches that a model is tried on; an error that comes from the size of one is none with the other.
_TRIED = (3, 7)

# What the thread runs a model on: the number of bags, and of ids that each is written out as.
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
  `save` and `export` are those of the model. Its own `train_step` and `compute_loss` are not used.

  Args:
    model: takes `{field: [batch] ids}`, subclassed or functional. It uses ids to look them up in `Embedding` layers (or
      subclasses) and for nothing else; before that, each may be cast, shifted, hashed or given an axis. An id that is
      made of two fields, a cross, is refused: which ids of the one go with which of the other, a slot does not know.
      So is a layer whose `call` is a `tf.function`, which would keep what it computed on bags.

  Raises:
    ConfigError: what is given is no Keras model.

  Example:
    >>> model = my_models.Pooled(memory.spec)
    >>> bags = memory.recipe.compile(diet_tf.BagModel(model))
    >>> memory.recipe.fit(bags, memory)
    >>> model.predict(log.held_out.dataset(8192, "sampled"))
  """

  def __init__(self, model: tf.keras.Model) -> None:
    if not isinstance(model, tf.keras.Model):
      raise ConfigError("bag model", rule="it is made of a model of tf-keras (Keras 2).", received=f"{model!r}.",
                        remedy="pass a model, not its class, and import diet_tf before TensorFlow.")
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

  def export(self, *args: Any, **kwargs: Any) -> None:
    """Exports the model of single ids, as its own `export` does."""
    self.model.export(*args, **kwargs)

  def _of_bags(self, bags: Mapping[str, tuple[tf.Tensor, tf.Tensor]], training: bool | None) -> tf.Tensor:
    widths = [ids.shape[1] for ids, _ in bags.values()]
    if None in widths:
      widths = [tf.shape(ids)[1] for ids, _ in bags.values()]
    num_ids = 2 * (tf.reduce_max(tf.stack(widths)) if tf.is_tensor(widths[0]) else max(widths))
    shares = (tf.cast(tf.range(num_ids), tf.float32) + 0.5) / tf.cast(num_ids, tf.float32)
    singles = {name: tf.reshape(ids_at(ids, tf.cast(weights, tf.float32), shares), [-1])
               for name, (ids, weights) in bags.items()}
    num_bags = tf.shape(next(iter(bags.values()))[0])[0]

    def mean_of_bags(inputs: tf.Tensor, embeddings: tf.Tensor) -> tf.Tensor:
      del inputs
      shape = tf.shape(embeddings)
      tf.debugging.assert_equal(shape[0], num_bags * num_ids, "A model on bags looks up the ids of the batch alone.")
      means = tf.reduce_mean(tf.reshape(embeddings, tf.concat([[num_bags, num_ids], shape[1:]], axis=0)), axis=1)
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
      received = self._compiled_layer() or self._cross({name: ids.dtype for name, (ids, _) in bags.items()})
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

  def _compiled_layer(self) -> str:
    for layer in (self.model, *self.model.submodules):
      if isinstance(getattr(layer, "call", None), tf.types.experimental.PolymorphicFunction):
        return f"the call of {type(layer).__name__} is a tf.function; Keras compiles without."
    return ""

  def _cross(self, dtypes: Mapping[str, tf.DType]) -> str:
    """Names two fields that move one looked-up id, or "" where there are none.

    Rows 0 and F + 1 have id 0, and id 1, in all F fields. The F rows after each differ from it in one field: which
    looked-up ids differ too tells what they are made of.
    """
    names, count = list(dtypes), len(dtypes)
    one = np.eye(count, dtype=np.int64)
    rows = np.concatenate([np.zeros([1, count], np.int64), one, np.ones([1, count], np.int64), 1 - one])
    looked_up: list[np.ndarray] = []

    def note(inputs: tf.Tensor, embeddings: tf.Tensor) -> tf.Tensor:
      looked_up.append(np.asarray(inputs))
      return embeddings

    with tf.init_scope(), _looking_up(self._tables(), note):
      self.model({name: tf.constant(rows[:, field], dtypes[name]) for field, name in enumerate(names)}, training=False)
    for ids in looked_up:
      if ids.shape[:1] != rows.shape[:1]:
        continue  # Not of the batch, as is found when all shapes are known.
      by_row = ids.reshape([2, count + 1, -1])
      moves = (by_row[:, 1:] != by_row[:, :1]).any(axis=0)  # [F, ids of a row]
      crossed = np.flatnonzero(moves.sum(axis=0) > 1)
      if len(crossed):
        first, second = np.flatnonzero(moves[:, crossed[0]])[:2]
        return f"an id that is made of {names[first]} and {names[second]} together."
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
def _looking_up(tables: Sequence[tf.keras.layers.Embedding],
                change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Iterator[None]:
  """While it lasts, `change(inputs, embeddings)` is what layers return in this thread; in others they do as always.

  The replicas of a distribution strategy run in threads that wait for each other in the middle of a model.
  """
  before = getattr(_RUNNING, "change", None)
  with _LOCK:
    for table in tables:
      count, own = _CHANGED.get(id(table), (0, {}))
      if not count:
        own = {name: vars(table)[name] for name in ("call", "compute_mask") if name in vars(table)}
        table.call, table.compute_mask = _changed(table.call), _unmasked(table.compute_mask)
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


def _changed(call: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
  def changed_call(inputs: tf.Tensor, *args: Any, **kwargs: Any) -> tf.Tensor:
    embeddings = call(inputs, *args, **kwargs)
    change = getattr(_RUNNING, "change", None)
    return embeddings if change is None else change(inputs, embeddings)

  return changed_call


def _unmasked(compute_mask: Callable[..., Any]) -> Callable[..., Any]:
  """Bags have no mask: one of their ids may be missing, and the others not."""
  def mask_of_rows(*args: Any, **kwargs: Any) -> Any:
    return compute_mask(*args, **kwargs) if getattr(_RUNNING, "change", None) is None else None

  return mask_of_rows
