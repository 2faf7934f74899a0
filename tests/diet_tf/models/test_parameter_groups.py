"""Which learning rate a variable has, by its name and shape."""

from __future__ import annotations

import pytest
import tensorflow as tf

from diet_tf.models.parameter_groups import PARAMETER_GROUPS, parameter_group


@pytest.mark.parametrize(("name", "shape", "group"), [
    ("bag_embedding/linear_table:0", (100, 1), "linear"),
    ("bag_embedding/embedding_table:0", (100, 8), "embedding"),
    ("user/embeddings:0", (100, 8), "embedding"),
    # A table of width 1 holds linear weights, whatever its name.
    ("user/embeddings:0", (100, 1), "linear"),
    ("dense/kernel:0", (8, 1), "dense"),
    ("dense/bias:0", (8,), "dense"),
    # The layer's name says nothing; what has no rows is no table.
    ("embedding_tower/kernel:0", (8, 8), "dense"),
    ("tower/embedding_bias:0", (8,), "dense"),
    # A replica's copy is in the group of its original.
    ("user/embeddings/replica_1:0", (100, 8), "embedding"),
    ("bag_embedding/linear_table/replica_3:0", (100, 1), "linear"),
    ("model/user/embeddings:0", (9, 4), "embedding"),
    ("model/user/embeddings/replica_1:0", (9, 4), "embedding"),
    ("embedding_projection/kernel:0", (9, 4), "dense"),
    ("bag_embedding/embedding_table:0", None, "embedding"),
    ("user/embeddings", None, "embedding"),
    ("linear_table", None, "linear"),
    ("dense/kernel", None, "dense")])
def test_groups_by_name_and_shape(name: str, shape: tuple[int, ...] | None, group: str):
  assert group in PARAMETER_GROUPS and parameter_group(name, shape) == group


def test_a_variable_has_its_own_shape():
  assert parameter_group(tf.Variable(tf.zeros([5, 1]), name="embeddings")) == "linear"
  assert parameter_group(tf.Variable(tf.zeros([5, 2]), name="embeddings")) == "embedding"
