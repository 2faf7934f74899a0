"""SplitMix64, from which everything is drawn that is to depend on an example's id and a seed alone."""

from __future__ import annotations

import numpy as np

# Shifts and factors of SplitMix64's finaliser.
SPLIT_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def split_mix(values: np.ndarray) -> np.ndarray:
  """`[n]` uint64, mixed by SplitMix64's finaliser (Steele et al., OOPSLA 2014): every bit depends on all bits."""
  for shift, factor in SPLIT_MIX:
    values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
  return values ^ (values >> np.uint64(31))


def mix(example_ids: np.ndarray, seed: int) -> np.ndarray:
  """`[n]` uint64, a pseudo-random order of example ids that depends on nothing else but the seed."""
  # Steps of the golden ratio, as SplitMix64 takes between its draws.
  return split_mix(example_ids.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 & (2**64 - 1)))
