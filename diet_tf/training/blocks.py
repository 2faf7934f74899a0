"""Calling a compiled function on many examples, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

# A block bounds the memory that one call takes, whatever the number of examples.
BLOCK_ROWS = 8192


def in_blocks(function: Callable[[tf.Tensor], tf.Tensor], ids: np.ndarray, *, padded: bool = False) -> np.ndarray:
  """What a function returns for examples, `[num_examples, ...]`, computed `BLOCK_ROWS` rows at a time.

  Args:
    function: maps encoded rows `[num_rows, num_places]` to one output a row, `[num_rows, ...]`.
    ids: `[num_examples, num_places]` int32.
    padded: whether a last block that is shorter than those before it is filled with zeros for the call, so that a
      compiled function sees two shapes at most. The last digit of an output may depend on the shape.

  Returns:
    The outputs in the order of `ids`; `[0]` float32 without any example.
  """
  parts = []
  for start in range(0, len(ids), BLOCK_ROWS):
    rows = ids[start:start + BLOCK_ROWS]
    filled = np.pad(rows, ((0, BLOCK_ROWS - len(rows)), (0, 0))) if padded and start else rows
    parts.append(np.asarray(function(tf.constant(filled)))[:len(rows)])
  return np.concatenate(parts) if parts else np.zeros([0], np.float32)
