"""Initial values that are a pure function of a seed: no global generator, no dependence on what was created before."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class DerivedSeed(int):
  """A seed that `derive_seed` has made, which can be made of another one for the same purposes.

  Attributes:
    base: the seed that it was made of.
    purpose: what it is for.
  """

  base: int
  purpose: str

  def for_seed(self, seed: int) -> DerivedSeed:
    """The seed for the same purposes in a model of another seed."""
    return derive_seed(self.base.for_seed(seed) if isinstance(self.base, DerivedSeed) else seed, self.purpose)


def derive_seed(seed: int, purpose: str) -> DerivedSeed:
  """The seed of one variable of a model: a fixed function of the model's seed and of what the variable is for."""
  digest = hashlib.sha256(f"{int(seed)}/{purpose}".encode()).digest()
  derived = DerivedSeed(int.from_bytes(digest[:4], "little") & 0x7FFFFFFF)
  derived.base, derived.purpose = seed, purpose
  return derived


def drawn_anew(initializer: Any, seed: int) -> Any:
  """The initializer of the same variable in a model of another seed; None for one of which that is not known."""
  if isinstance(initializer, tf.keras.initializers.Zeros):
    return initializer
  if isinstance(initializer, SeededNormal | SeededGlorotUniform) and isinstance(initializer.seed, DerivedSeed):
    return type(initializer)(**{**initializer.get_config(), "seed": initializer.seed.for_seed(seed)})
  return None


@tf.keras.utils.register_keras_serializable("diet_tf")
class SeededNormal(tf.keras.initializers.Initializer):
  """Normal values of mean 0 that depend on the seed and the shape alone.

  Args:
    stddev: standard deviation; 0 gives zeros.
    seed: any integer below 2^31.
  """

  def __init__(self, stddev: float, seed: int) -> None:
    self.stddev = stddev
    self.seed = seed

  def __call__(self, shape: Sequence[int], dtype: Any = None, **kwargs: Any) -> tf.Tensor:
    """A tensor of that shape and dtype; Keras' partition arguments are not needed for a whole variable."""
    del kwargs
    return tf.random.stateless_normal(shape, (self.seed, 0), stddev=self.stddev, dtype=_dtype(dtype))

  def get_config(self) -> dict[str, Any]:
    """The constructor's arguments."""
    return {"stddev": self.stddev, "seed": self.seed}


@tf.keras.utils.register_keras_serializable("diet_tf")
class SeededGlorotUniform(tf.keras.initializers.Initializer):
  """Uniform values in +-sqrt(6 / (fan_in + fan_out)) that depend on the seed and the shape alone.

  Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010. The shape is
  part of the random key, so that a layer that copies its initialiser (TFRS' low-rank `Cross`, for U and V) does not
  fill two matrices with one stream.

  Args:
    seed: any integer below 2^31.
    fan_out: taken instead of the last dimension, for a kernel that holds several projections side by side.
  """

  def __init__(self, seed: int, fan_out: int | None = None) -> None:
    self.seed = seed
    self.fan_out = fan_out

  def __call__(self, shape: Sequence[int], dtype: Any = None, **kwargs: Any) -> tf.Tensor:
    """A `[fan_in, fan_out]` tensor of that dtype; Keras' partition arguments are not needed for a whole variable."""
    del kwargs
    fan_in, fan_out = int(shape[0]), int(shape[-1])
    limit = math.sqrt(6.0 / (fan_in + (self.fan_out or fan_out)))
    key = (self.seed, derive_seed(fan_in, str(fan_out)))
    return tf.random.stateless_uniform(shape, key, minval=-limit, maxval=limit, dtype=_dtype(dtype))

  def get_config(self) -> dict[str, Any]:
    """The constructor's arguments."""
    return {"seed": self.seed, "fan_out": self.fan_out}


def _dtype(dtype: Any) -> tf.DType:
  return tf.as_dtype(dtype or tf.keras.backend.floatx())
