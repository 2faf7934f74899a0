"""Calling a compiled function on many examples, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

# A block bounds the memory that one call takes, whatever the number of examples.
BLOCK_ROWS = 8192


def in_blocks(function: Callable[..., tf.Tensor], *columns: np.ndarray, padded: bool = False,
              block_rows: int | None = None) -> np.ndarray:
  """What a function returns for examples, `[num_examples, ...]`, computed `BLOCK_ROWS` rows at a time.

  Args:
    function: maps a block of each column to one output a row, `[num_rows, ...]`.
    columns: arrays `[num_examples, ...]`, such as encoded rows `[num_examples, num_places]` int32.
    padded: whether a last block that is shorter than those before it is filled with zeros for the call, so that a
      compiled function sees two shapes at most. The last digit of an output may depend on the shape.
    block_rows: number of rows of a block; None takes `BLOCK_ROWS`.

  Returns:
    The outputs in the order of the columns; `[0]` float32 without any example.
  """
  parts, block_rows = [], block_rows or BLOCK_ROWS
  for start in range(0, len(columns[0]), block_rows):
    rows = [column[start:start + block_rows] for column in columns]
    missing = block_rows - len(rows[0]) if padded and start else 0
    filled = [np.pad(block, ((0, missing), *((0, 0),) * (block.ndim - 1))) if missing else block for block in rows]
    parts.append(np.asarray(function(*map(tf.constant, filled)))[:len(rows[0])])
  return np.concatenate(parts) if parts else np.zeros([0], np.float32)
