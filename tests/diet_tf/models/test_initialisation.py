"""Initial values: the same for a seed and a shape, of the stated spread, and kept in a model's config."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.models.initialisation import SeededGlorotUniform, SeededNormal, derive_seed


def test_a_derived_seed_is_the_digest_s_first_31_bits():
  digest = hashlib.sha256(b"7/embedding").digest()
  assert derive_seed(7, "embedding") == int.from_bytes(digest[:4], "little") % 2**31
  assert len({derive_seed(seed, purpose) for seed in range(50) for purpose in ("a", "b")}) == 100


@pytest.mark.parametrize("make", [lambda seed: SeededNormal(0.5, seed), SeededGlorotUniform])
def test_values_hang_on_seed_and_shape_alone(make):
  tf.random.set_seed(1)
  first = make(3)([40, 30])
  tf.random.set_seed(2)
  tf.random.uniform([5])
  np.testing.assert_array_equal(make(3)([40, 30]), first)
  assert not np.allclose(make(4)([40, 30]), first)
  assert make(3)([2, 2], tf.float64).dtype == tf.float64


def test_normal_values_have_the_standard_deviation_that_is_asked_for():
  values = SeededNormal(0.5, 1)([100, 100]).numpy()
  # 10,000 values: standard errors 0.005 of the mean and 0.0035 of the deviation.
  assert values.mean() == pytest.approx(0, abs=0.02) and values.std() == pytest.approx(0.5, abs=0.014)
  assert not SeededNormal(0.0, 1)([3, 3]).numpy().any()


@pytest.mark.parametrize(("fan_out", "limit"), [(None, math.sqrt(6 / 150)), (10, math.sqrt(6 / 60))])
def test_glorot_s_limit_counts_what_goes_in_and_out(fan_out: int | None, limit: float):
  values = SeededGlorotUniform(1, fan_out)([50, 100]).numpy()
  assert np.abs(values).max() <= limit and np.abs(values).max() > 0.99 * limit


def test_matrices_of_other_shapes_are_filled_otherwise():
  tall, flat = SeededGlorotUniform(1)([4, 2]).numpy(), SeededGlorotUniform(1)([2, 4]).numpy()
  # Each divided by its own limit, which is the same for both.
  assert not np.allclose(tall.ravel(), flat.ravel())


@pytest.mark.parametrize("made", [SeededNormal(0.5, 3), SeededGlorotUniform(3, 7)])
def test_they_are_kept_in_a_config(made: tf.keras.initializers.Initializer):
  again = tf.keras.initializers.deserialize(tf.keras.initializers.serialize(made))
  assert type(again) is type(made) and again.get_config() == made.get_config()
  np.testing.assert_array_equal(again([3, 2]), made([3, 2]))
