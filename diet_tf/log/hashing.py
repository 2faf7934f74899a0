"""SplitMix64, from which everything is drawn that is to depend on an example's id and a seed alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
  import tensorflow as tf

# What SplitMix64 adds between two draws: the golden ratio as a 64-bit fraction.
_STEP = 0x9E3779B97F4A7C15
# Shifts and factors of SplitMix64's finaliser, and its last shift.
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31
_MASK = (1 << 64) - 1


def split_mix(values: np.ndarray) -> np.ndarray:
  """`[...]` uint64, mixed by SplitMix64's finaliser: every bit of the result depends on all bits of the value.

  With `z` the value: `z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9; z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  z ^ (z >> 31)`, see Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 16.
  """
  for shift, factor in _ROUNDS:
    values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
  return values ^ (values >> np.uint64(_LAST_SHIFT))


def split_mix_tensor(values: tf.Tensor) -> tf.Tensor:
  """The same for a `[...]` uint64 tensor, inside a graph."""
  import tensorflow as tf

  def folded(state: tf.Tensor, shift: int) -> tf.Tensor:
    return tf.bitwise.bitwise_xor(state, tf.bitwise.right_shift(state, tf.constant(shift, tf.uint64)))

  for shift, factor in _ROUNDS:
    values = folded(values, shift) * tf.constant(factor, tf.uint64)
  return folded(values, _LAST_SHIFT)


def mix(example_ids: np.ndarray, seed: int) -> np.ndarray:
  """`[n]` uint64, a pseudo-random order of `[n]` int64 example ids that depends on nothing else but the seed.

  It is `split_mix(example_id + (seed + 1) * step)`, as SplitMix64 takes its steps between draws.
  """
  return split_mix(example_ids.astype(np.uint64) + np.uint64((seed + 1) * _STEP & _MASK))


def salted_mix(example_ids: np.ndarray, seed: int) -> np.ndarray:
  """Another such order: `split_mix(example_id ^ ((seed + 1) * step))`.

  The panel draws its random rows by it, so that these are no draw of the stages, which draw by `mix`.
  """
  return split_mix(example_ids.astype(np.int64).view(np.uint64) ^ np.uint64((seed + 1) * _STEP & _MASK))
