"""Examples go through a function a block at a time, whole and in order."""

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.training.blocks import in_blocks


@pytest.mark.parametrize(("padded", "shapes"), [(False, [2, 2, 1]), (True, [2, 2, 2])])
def test_rows_come_back_in_order_without_the_padding(padded, shapes):
  seen = []

  def first_column(ids):
    seen.append(len(ids))
    return tf.cast(ids[:, 0], tf.float32)

  found = in_blocks(first_column, np.arange(10, dtype=np.int32).reshape(5, 2), padded=padded, block_rows=2)
  assert found.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0] and seen == shapes


def test_several_columns_go_in_step():
  found = in_blocks(lambda ids, weights: tf.cast(ids, tf.float32) * weights, np.arange(5, dtype=np.int32),
                    np.arange(5, 10, dtype=np.float32), padded=True, block_rows=2)
  assert found.tolist() == [0.0, 6.0, 14.0, 24.0, 36.0]


def test_no_example_gives_no_output():
  found = in_blocks(lambda ids: ids, np.zeros([0, 3], np.int32))
  assert found.shape == (0,) and found.dtype == np.float32
