"""SplitMix64: the values of its authors, and an order that hangs on ids and seed alone."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from diet_tf.log.hashing import mix, salted_mix, split_mix, split_mix_tensor

GOLDEN = 0x9E3779B97F4A7C15
# The first three numbers that SplitMix64 draws from the state 0, as its authors' C code prints them.
DRAWS = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_values_are_those_of_the_authors():
  # The n-th draw is the finaliser's value at n steps of the golden ratio.
  states = np.array([number * GOLDEN % 2**64 for number in (1, 2, 3)], np.uint64)
  np.testing.assert_array_equal(split_mix(states), np.array(DRAWS, np.uint64))
  assert split_mix(np.zeros(1, np.uint64)).tolist() == [0]


def test_the_seed_counts_the_draws():
  # The id 0 with the seed s is mixed as the draw s + 1 from the state 0.
  assert [int(mix(np.zeros(1, np.int64), seed)[0]) for seed in range(3)] == DRAWS


def test_an_id_is_mixed_alike_wherever_it_stands():
  ids = np.array([-2**63, -1, 0, 1, 2**63 - 1])
  whole = mix(ids, 7)
  assert whole.dtype == np.uint64 and len(set(whole.tolist())) == 5
  np.testing.assert_array_equal(mix(ids[::-1], 7)[::-1], whole)
  assert not (mix(ids, 8) == whole).any()
  assert salted_mix(np.zeros(1, np.int64), 7).tolist() == mix(np.zeros(1, np.int64), 7).tolist()


def test_a_tensor_is_mixed_alike():
  values = np.random.default_rng(0).integers(0, 2**63, size=(4, 3)).astype(np.uint64) * np.uint64(2)
  np.testing.assert_array_equal(split_mix_tensor(tf.constant(values)), split_mix(values))
