"""Of rows with the same declared key, the one that stays: the first by time, and of those the first by example id.

The rows of a key meet in one partition of the keys' fingerprints, before the span is sorted: their times differ where a
row was delivered again later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from diet_tf.log.row_counts import CONFLICTING_KEYS, EQUAL_KEYS, RowCounts, RowTally, added
from tfx_components.beam_graph import total
from tfx_components.log_gen import spill
from tfx_components.log_gen.rows import UNIQUE_KEY, RowPlan
from tfx_components.log_gen.spill import Claim
from tfx_components.log_gen.steps import RowSink

# Total: what was dropped, as `RowCounts`.
DROPPED = "dropped"
# Of each first row of a key: how many rows are equal to it, itself included; how many are not, and of them the clicks.
_EQUAL, _OTHERS, _OTHER_POSITIVES = "equal", "others", "other positives"


@dataclasses.dataclass(frozen=True)
class DropEqualKeys:
  """Keeps one row per key of a partition.

  Attributes:
    plan: plan of how rows are encoded.
    folder: folder for spill files, seen by all workers.
  """

  plan: RowPlan
  folder: str

  def run(self, number: int, claims: Iterable[Claim], side_input: None) -> Iterator[Any]:
    """Nothing to hand on; runs and what was dropped are totals."""
    table, dropped = first_of_each_key(pa.Table.from_batches([batch]) for batch in spill.read_claims(claims))
    sink = RowSink(self.plan, (), f"{self.folder}/key-{number:05d}", keys_are_unique=True)
    sink.write(table)
    yield from sink.close()
    yield total(DROPPED, dropped)


def first_of_each_key(tables: Iterable[pa.Table],
                      collected_bytes: int = spill.COLLECTED_BYTES) -> tuple[pa.Table, RowCounts]:
  """One row per key, and what became of the others; memory is taken for about twice the rows that stay.

  Args:
    tables: at least one, with the columns `time`, `example_id`, `label` and `UNIQUE_KEY` among others.
    collected_bytes: rows are collected up to this size, or to twice that of those that stay, before others are dropped.

  Returns:
    The rows that stay without their key, and counts that have `dropped` alone.
  """
  waiting: list[pa.Table] = []
  num_bytes, most = 0, collected_bytes
  for table in tables:
    waiting.append(_with_counts(table, np.ones(table.num_rows, np.int64), *np.zeros((2, table.num_rows), np.int64)))
    num_bytes += table.nbytes
    if num_bytes >= most:
      waiting = [_firsts(pa.concat_tables(waiting))]
      num_bytes = waiting[0].nbytes
      most = max(collected_bytes, 2 * num_bytes)
  firsts = _firsts(pa.concat_tables(waiting))
  return firsts.drop([UNIQUE_KEY, _EQUAL, _OTHERS, _OTHER_POSITIVES]), _dropped(firsts)


def _firsts(table: pa.Table) -> pa.Table:
  """The first row of each key, with what is known of the others added to its counts."""
  keys, times, example_ids, labels, equal, others, other_positives = (
      table[name].to_numpy() for name in (UNIQUE_KEY, "time", "example_id", "label", _EQUAL, _OTHERS, _OTHER_POSITIVES))
  order = np.lexsort((example_ids, times, keys))
  begins = np.ones(len(order), bool)
  begins[1:] = keys[order][1:] != keys[order][:-1]
  starts, group = np.flatnonzero(begins), np.cumsum(begins) - 1
  first = order[starts]
  same = (times[order] == times[first][group]) & (example_ids[order] == example_ids[first][group])
  clicked = labels > 0
  positives = equal * clicked + other_positives
  num_equal, num_rows, num_positives = (np.add.reduceat(values, starts) for values in (
      np.where(same, equal[order], 0), (equal + others)[order], positives[order]))
  # Rows that are equal have one label.
  return _with_counts(table.take(pa.array(first)), num_equal, num_rows - num_equal,
                      num_positives - num_equal * clicked[first])


def _with_counts(table: pa.Table, *counts: np.ndarray) -> pa.Table:
  names = (_EQUAL, _OTHERS, _OTHER_POSITIVES)
  kept = table.drop([name for name in names if name in table.column_names])
  for name, values in zip(names, counts, strict=True):
    kept = kept.append_column(name, pa.array(values, pa.int64()))
  return kept


def _dropped(firsts: pa.Table) -> RowCounts:
  labels, equal = firsts["label"].to_numpy() > 0, firsts[_EQUAL].to_numpy() - 1
  others = int(firsts[_OTHERS].to_numpy().sum())
  tallies = {EQUAL_KEYS: RowTally(int(equal.sum()), int(equal.sum()), int(equal[labels].sum())),
             CONFLICTING_KEYS: RowTally(others, others, int(firsts[_OTHER_POSITIVES].to_numpy().sum()))}
  return RowCounts(dropped=added(tallies, {}))
