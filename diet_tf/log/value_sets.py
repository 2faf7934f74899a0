"""Sets of values, one for each row: each id once, the heaviest where there are too many, in the places of a row.

Nothing here depends on the order of a row's values, on how often one of them is repeated (but for the sum of its
weights), or on other rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diet_tf.log.features import MISSING_ID
from diet_tf.log.hashing import mix
from diet_tf.log.row_layout import PADDING_ID

# Of weights up to here, as many as a row can have have a sum.
_HUGE = 2.0**960


class Entries(NamedTuple):
  """Values of rows, row by row.

  Attributes:
    rows: `[n]` int64, the number of the row of each value, ascending.
    keys: `[n]` int64, what tells values apart, below 2^32; ascending and distinct in a row.
    weights: `[n]` float64, the weight of each value, above 0; None where values have none.
  """

  rows: np.ndarray
  keys: np.ndarray
  weights: np.ndarray | None


def distinct(rows: np.ndarray, keys: np.ndarray, weights: np.ndarray | None = None) -> Entries:
  """The values of rows, each once, with the sum of its weights; what has no weight in all is left out.

  Args:
    rows: `[n]` int64, the number of the row of each value.
    keys: `[n]` int64, what tells values apart, from 0 to 2^32 - 1.
    weights: `[n]` float64, not negative; None where values have none.
  """
  pairs = rows.astype(np.int64) << 32 | keys.astype(np.int64)
  if weights is None:
    pairs = np.sort(pairs)
    pairs = pairs[np.concatenate([[True], pairs[1:] != pairs[:-1]])] if len(pairs) else pairs
    return Entries(pairs >> 32, pairs & 0xFFFFFFFF, None)
  weights = _summable(rows, weights)
  # By weight too, so that a sum of floats does not depend on the order in which a row lists them.
  order = np.lexsort((weights, pairs))
  pairs, weights = pairs[order], weights[order]
  starts = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]])) if len(pairs) else np.zeros(0, np.int64)
  sums = np.add.reduceat(weights, starts) if len(starts) else np.zeros(0)
  pairs, sums = pairs[starts][sums > 0], sums[sums > 0]
  return Entries(pairs >> 32, pairs & 0xFFFFFFFF, sums)


def _summable(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """The weights, of which those of a row with a huge one are scaled, exactly, so that no sum of them overflows."""
  huge = weights > _HUGE
  return np.where(np.isin(rows, rows[huge]), np.ldexp(weights, -64), weights) if huge.any() else weights


class PackedSets(NamedTuple):
  """The sets of rows in their places.

  Attributes:
    ids: `[num_rows, width]` int32, ascending before `PADDING_ID`; the missing id alone where a row has no value.
    weights: `[num_rows, width]` float32, summing to 1 in each row, 0 in padding; None where values have none.
    num_cut: number of rows that have more values than there is room for.
  """

  ids: np.ndarray
  weights: np.ndarray | None
  num_cut: int


def packed_sets(entries: Entries, num_rows: int, width: int) -> PackedSets:
  """The sets of rows, of which each keeps its `width` heaviest ids, and of equal ones those first in a fixed order.

  Args:
    entries: values of the rows, whose keys are ids.
    num_rows: number of rows.
    width: the most ids that are kept of a row.
  """
  rows, keys, weights = entries
  counts = np.bincount(rows, minlength=num_rows)
  num_cut = int((counts > width).sum())
  if num_cut:
    # By the id itself, small ids would be kept everywhere.
    order = np.lexsort((mix(keys, 0), np.zeros(len(rows)) if weights is None else -weights, rows))
    kept = np.sort(order[_places(rows) < width])
    rows, keys = rows[kept], keys[kept]
    weights = None if weights is None else weights[kept]
  ids = np.full((num_rows, width), PADDING_ID, np.int32)
  places = _places(rows)
  ids[rows, places] = keys
  ids[counts == 0, 0] = MISSING_ID
  if weights is None:
    return PackedSets(ids, None, num_cut)
  shares = np.zeros((num_rows, width))
  shares[rows, places] = weights
  shares[counts == 0, 0] = 1
  return PackedSets(ids, (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32), num_cut)


def _places(rows: np.ndarray) -> np.ndarray:
  """`[n]`, the place of each value within its row, from 0; `[n]` ascending `rows`."""
  counts = np.bincount(rows)
  return np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
