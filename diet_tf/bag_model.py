"""Models of one id a field on the weighted bags of a memory: each embedding layer gives the mean of a bag."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from diet_tf.errors import ConfigError, said_by_model

_WEIGHTS = "/weights"
_RULE = ("every way from the ids to its outputs leads through a tf.keras.layers.Embedding, whatever is done to the ids "
         "before is done to each by itself, and it returns [batch] or [batch, 1].")
_REMEDY = ("look the ids up with Embedding layers alone, or train on drawn ids: memory.dataset(mode='sampled') and "
           "memory.recipe.fit(model, memory, mode='sampled').")


class BagModel(tf.keras.Model):
  """A model of one id a field that takes weighted bags of ids too, and shares its weights with the model given.

  A slot of a memory has up to K weighted ids in a field. A model that takes one of them, drawn by weight, sees little
  of the slot. Here it sees all of it: each bag is written out as `n` ids, of which an id of weight `w` has about
  `w n`, the model runs on them, and each of its `tf.keras.layers.Embedding` layers returns the mean over the n
  embeddings of a bag, `[batch, ...]`. The rest of the model works on these means, and costs what it costs on one id.
  That is the weighted sum that `diet_tf.BagEmbedding` gives, up to the rounding of weights to n-ths; n is twice the
  width of the widest field, and the places are the midpoints of n equal shares, so that nothing is drawn.

  Features without weights are passed on as they are: single ids, to judge the model on the log or train it there.

  Args:
    model: takes `{field: [batch] ids}`, subclassed or functional. Every way from the ids to its outputs leads through
      an `Embedding` layer (or a subclass of it); before it, ids may be cast, shifted, hashed, looked up, given an axis.

  Example:
    >>> model = my_models.Pooled(memory.spec)
    >>> bags = memory.recipe.compile(diet_tf.BagModel(model))
    >>> memory.recipe.fit(bags, memory)
    >>> model.predict(log.held_out.dataset(8192, "sampled"))
  """

  def __init__(self, model: tf.keras.Model) -> None:
    super().__init__()
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
    if bags and not self.model.built:
      self.model({name: ids[:, 0] for name, (ids, _) in bags.items()})
    if bags and not self._is_checked:
      self._check(bags)
      self._is_checked = True
    return super().__call__(features, *args, **kwargs)

  def call(self, features: Mapping[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
    """See `__call__`."""
    bags = _bags_of(features)
    return self._of_bags(bags, training) if bags else self.model(features, training=training)

  def _of_bags(self, bags: Mapping[str, tuple[tf.Tensor, tf.Tensor]], training: bool | None) -> tf.Tensor:
    widths = [ids.shape[1] for ids, _ in bags.values()]
    if None in widths:
      widths = [tf.shape(ids)[1] for ids, _ in bags.values()]
    num_ids = 2 * (tf.reduce_max(tf.stack(widths)) if tf.is_tensor(widths[0]) else max(widths))
    shares = (tf.cast(tf.range(num_ids), tf.float32) + 0.5) / tf.cast(num_ids, tf.float32)
    singles = {name: tf.reshape(ids_at(ids, weights, shares), [-1]) for name, (ids, weights) in bags.items()}
    num_bags = tf.shape(next(iter(bags.values()))[0])[0]
    tables = [layer for layer in self.model.submodules if isinstance(layer, tf.keras.layers.Embedding)]
    with _averaging(tables, num_bags, num_ids):
      outputs = self.model(singles, training=training)
    tf.debugging.assert_equal(tf.shape(outputs)[0], num_bags, f"A model on bags: {_RULE}")
    return outputs

  def _check(self, bags: Mapping[str, tuple[tf.Tensor, tf.Tensor]]) -> None:
    """Traces the model on three bags of two ids: there all shapes are known, and a wrong one is found by name."""
    features = {name: (tf.zeros([3, 2], ids.dtype), tf.ones([3, 2])) for name, (ids, _) in bags.items()}
    try:
      shape = tf.function(lambda: self._of_bags(features, False)).get_concrete_function().structured_outputs.shape
    except Exception as error:
      raise ConfigError(f"bag model of {type(self.model).__name__}", rule=_RULE, remedy=_REMEDY,
                        received=said_by_model(error)) from error
    if tuple(shape) not in ((3,), (3, 1)):
      raise ConfigError(f"bag model of {type(self.model).__name__}", rule=_RULE, remedy=_REMEDY,
                        received=f"outputs {tuple(shape)} for 3 bags.")


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
    shares: `[num_shares]`, or `[..., num_shares]` of each bag, multiples of 2^-24 from 0 to below 1: their product
      with the sum then stays below the sum in float32 too, and an id of weight 0 is never the first.

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
def _averaging(tables: Sequence[tf.keras.layers.Embedding], num_bags: tf.Tensor, num_ids: Any) -> Iterator[None]:
  """While it lasts, layers called on `[num_bags * num_ids, ...]` ids return means `[num_bags, ..., dim]`."""
  # A replica in another thread may have begun, and waits for this one: its layers are averaged already.
  own = [table for table in tables if "call" not in vars(table)]
  for table in own:
    table.call = _averaged(table.call, num_bags, num_ids)
  try:
    yield
  finally:
    for table in own:
      del table.call


def _averaged(call: Callable[..., tf.Tensor], num_bags: tf.Tensor, num_ids: Any) -> Callable[..., tf.Tensor]:
  def mean_of_bags(inputs: tf.Tensor) -> tf.Tensor:
    embeddings = call(inputs)
    shape = tf.shape(embeddings)
    tf.debugging.assert_equal(shape[0], num_bags * num_ids, "A model on bags looks up the ids of the batch alone.")
    means = tf.reduce_mean(tf.reshape(embeddings, tf.concat([[num_bags, num_ids], shape[1:]], axis=0)), axis=1)
    return tf.ensure_shape(means, [None, *embeddings.shape[1:]])

  return mean_of_bags
