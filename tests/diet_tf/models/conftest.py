"""A small feature spec and examples of it, shared by the tests of models."""

import numpy as np
import pytest

from diet_tf.log.features import FeatureSpec, Field, Label


@pytest.fixture
def spec() -> FeatureSpec:
  return make_spec(5, 7, 4)


@pytest.fixture
def single() -> dict[str, np.ndarray]:
  """Eight examples with one id per field."""
  rng = np.random.default_rng(1)
  return {name: rng.integers(0, num_ids, 8) for name, num_ids in zip("abc", (5, 7, 4), strict=True)}


@pytest.fixture
def bags() -> tuple[np.ndarray, np.ndarray]:
  """Eight slots of two weighted ids per field, `(ids [8, 3, 2], weights [8, 3, 2])`."""
  rng = np.random.default_rng(2)
  ids = np.stack([rng.integers(0, num_ids, (8, 2)) for num_ids in (5, 7, 4)], axis=1)
  weights = rng.uniform(0.1, 1.0, ids.shape)
  return ids, weights / weights.sum(-1, keepdims=True)


def make_spec(*num_ids: int) -> FeatureSpec:
  names = "abcdefgh"[:len(num_ids)]
  fields = tuple(Field(name, name, hash_ids=count) for name, count in zip(names, num_ids, strict=True))
  return FeatureSpec(fields, Label("click"))
