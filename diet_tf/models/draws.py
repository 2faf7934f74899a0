"""What the layers of a model draw, as a function of a seed: no global generator, and every draw can be made again."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from diet_tf.models.tower import SeededDropout

# Steps of one training that `SeededDropout` counts before it would come to the masks of another seed's.
_STEPS_PER_SEED = 1 << 20


class LayerDraws:
  """The random generators of a model's layers, set to states that follow from a seed.

  Keras' own layers (`Dropout`, `GaussianNoise` and others) draw from an operation whose place in its stream nobody can
  set, so that neither a run nor a step can be repeated. Keras has another way for them, a `tf.random.Generator` whose
  state is a variable: from here on they go that way. A `tf.random.Generator` that a layer has as an attribute is one of
  these generators too.

  Args:
    model: model with all its layers; its draws change, and nothing else of it.
  """

  def __init__(self, model: tf.keras.Model) -> None:
    modules = modules_of(model)
    found = [_generator_of(value) for module in modules for _, value in sorted(vars(module).items())]
    self.generators = list({id(one): one for one in found if one is not None}.values())
    self._counters = [module.num_calls for module in modules if isinstance(module, SeededDropout)]

  @property
  def variables(self) -> list[tf.Variable]:
    """The states of the generators."""
    return [generator.state for generator in self.generators]

  def restart(self, seed: int | tf.Tensor) -> None:
    """Sets the generators to where the draws of a seed begin; the counters of `SeededDropout` stay as they are."""
    for index, state in enumerate(self.variables):
      # Any state will do as the place where a stream begins.
      state.assign(tf.random.stateless_uniform(state.shape, [tf.cast(seed, tf.int64), index], None, None, tf.int64))

  def count_from(self, seed: tf.Tensor) -> None:
    """Sets the counters of `SeededDropout` to where the masks of a seed below 2^31 begin."""
    for counter in self._counters:
      counter.assign(tf.cast(seed, tf.int64) * _STEPS_PER_SEED)


def modules_of(model: tf.keras.Model) -> list[tf.Module]:
  """A model, its layers and what they are made of, in an order that is the same in every process.

  `tf.Module.submodules` fails on recurrent layers with dropout, which keep their masks by graph.
  """
  found: dict[int, tf.Module] = {}

  def visit(value: Any) -> None:
    if isinstance(value, tf.Module):
      if id(value) not in found:
        found[id(value)] = value
        for _, attribute in sorted(vars(value).items()):
          visit(attribute)
    elif isinstance(value, dict):
      for item in value.values():
        visit(item)
    elif isinstance(value, list | tuple):
      for item in value:
        visit(item)

  visit(model)
  return list(found.values())


def _generator_of(value: Any) -> tf.random.Generator | None:
  """The generator in an attribute of a layer; one is made where Keras would draw from a stateful operation."""
  if isinstance(value, tf.random.Generator):
    return value
  # Keras' `RandomGenerator` is not exported.
  if type(value).__name__ != "RandomGenerator" or not hasattr(value, "_rng_type"):
    return None
  if value._rng_type == value.RNG_LEGACY_STATEFUL:
    value._rng_type, value._built = value.RNG_STATEFUL, False
    # Keras would draw a seed from Python's global generator.
    value._seed = 0
  value._maybe_init()
  return value._generator
