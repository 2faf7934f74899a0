"""Spill files: Arrow IPC files in the component's temporary folder, by which rows travel between steps.

Beam carries claims only, which name a file and some of its batches, so that memory stays flat on every runner, also on
one that keeps each collection in memory.
"""

from __future__ import annotations

import bisect
import dataclasses
import os
import uuid
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from diet_tf.io import files
from tfx_components.log_gen.ranges import Key, KeySample, Ranges

# Rows are collected in memory up to this size before they are written.
COLLECTED_BYTES = 64 << 20
BATCH_ROWS = 4096
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


def write_batches(path: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
  """Writes an Arrow IPC file, whole or not at all; a second attempt at the same work writes the same file over it."""
  target = path if files.is_remote(path) else f"{path}.{uuid.uuid4().hex[:12]}{files.PARTIAL_SUFFIX}"
  with files.open_to_write(target) as stream, pa.ipc.new_file(stream, schema, options=_OPTIONS) as writer:
    for batch in batches:
      writer.write_batch(batch)
  if target != path:
    # Without the flush to the disk that `files` makes: what spills need not outlive the machine.
    os.replace(target, path)


def write_table(path: str, table: pa.Table, batch_rows: int) -> None:
  """Writes a table as batches of `batch_rows`."""
  write_batches(path, table.schema, table.combine_chunks().to_batches(max_chunksize=batch_rows))


def read_batches(path: str, numbers: Iterable[int] | None = None) -> Iterator[pa.RecordBatch]:
  """The batches of a spill file: all, or those with these numbers."""
  with files.open_to_read(path) as stream, pa.ipc.open_file(stream) as reader:
    for number in range(reader.num_record_batches) if numbers is None else numbers:
      yield reader.get_batch(number)


@dataclasses.dataclass(frozen=True, order=True)
class Claim:
  """Some rows of a spill file.

  Attributes:
    path: the file.
    start: number of the first batch.
    stop: one more than the number of the last.
  """

  path: str
  start: int
  stop: int

  def batches(self) -> Iterator[pa.RecordBatch]:
    """The batches claimed."""
    return read_batches(self.path, range(self.start, self.stop))


def read_claims(claims: Iterable[Claim]) -> Iterator[pa.RecordBatch]:
  """The batches of several claims, in an order that does not depend on that in which Beam brings the claims."""
  for claim in sorted(claims):
    yield from claim.batches()


class PartitionWriter:
  """Collects rows and writes them grouped by partition, so that a partition's rows can be claimed alone.

  All partitions share a file, with one batch each: a file per partition would exhaust file handles and buffers.

  Args:
    stem: the files are named `<stem>-<number>.arrow`.
    schema: Arrow schema of the rows.
    file_bytes: a file is written when this much is collected.
  """

  def __init__(self, stem: str, schema: pa.Schema, file_bytes: int = COLLECTED_BYTES) -> None:
    self._stem, self._schema, self._file_bytes = stem, schema, file_bytes
    self._tables: list[pa.Table] = []
    self._partitions: list[np.ndarray] = []
    self._bytes = self._num_files = 0
    self._claims: list[tuple[int, Claim]] = []

  def write(self, table: pa.Table, partitions: np.ndarray) -> None:
    """Adds rows; `partitions` is `[num_rows]` int64, the partition of each."""
    self._tables.append(table)
    self._partitions.append(partitions)
    self._bytes += table.nbytes
    if self._bytes >= self._file_bytes:
      self._flush()

  def close(self) -> list[tuple[int, Claim]]:
    """Writes what is left and returns claims of all rows, each with its partition."""
    if self._tables:
      self._flush()
    return self._claims

  def _flush(self) -> None:
    partitions = np.concatenate(self._partitions)
    order = np.argsort(partitions, kind="stable")
    table = pa.concat_tables(self._tables).take(pa.array(order)).combine_chunks()
    self._tables, self._partitions, self._bytes = [], [], 0
    present, starts = np.unique(partitions[order], return_index=True)
    ends = [*starts[1:], len(order)]
    path = f"{self._stem}-{self._num_files:05d}.arrow"
    self._num_files += 1
    write_batches(path, self._schema, (table.slice(start, end - start).to_batches()[0]
                                       for start, end in zip(starts, ends)))
    self._claims += [(partition, Claim(path, number, number + 1)) for number, partition in enumerate(present.tolist())]


@dataclasses.dataclass(frozen=True)
class Run:
  """A spill file of distinct rows, each with its count, sorted by (time, example id).

  Attributes:
    path: the file.
    firsts: per batch the (time, example id) of its first row.
  """

  path: str
  firsts: tuple[Key, ...]

  def claims(self, ranges: Ranges) -> Iterator[tuple[int, Claim]]:
    """Per range that the run may have rows of, its number and the batches that may hold them."""
    for number in range(len(ranges)):
      low, high = ranges.bounds(number)
      start = 0 if low is None else max(0, bisect.bisect_right(self.firsts, low) - 1)
      stop = len(self.firsts) if high is None else bisect.bisect_left(self.firsts, high)
      if start < stop:
        yield number, Claim(self.path, start, stop)


class RunWriter:
  """Collects rows and writes them as sorted runs of bounded size, in which equal rows are one with a count.

  Args:
    stem: the files are named `<stem>-<number>.arrow`.
    run_bytes: a run is written when this much is collected.
  """

  def __init__(self, stem: str, run_bytes: int = COLLECTED_BYTES) -> None:
    self._stem, self._run_bytes = stem, run_bytes
    self._tables: list[pa.Table] = []
    self._bytes = 0
    self._runs: list[Run] = []
    self._sample = KeySample()

  def write(self, table: pa.Table) -> None:
    """Adds rows with columns `time` and `example_id` among others."""
    if not table.num_rows:
      return
    self._tables.append(table)
    self._bytes += table.nbytes
    if self._bytes >= self._run_bytes:
      self._flush()

  def close(self) -> tuple[list[Run], KeySample]:
    """Writes what is left and returns all runs, and a sample of the rows that were added."""
    if self._tables:
      self._flush()
    return self._runs, self._sample

  def _flush(self) -> None:
    table = pa.concat_tables(self._tables)
    self._tables, self._bytes = [], 0
    self._sample += KeySample.of(table["time"].to_numpy(), table["example_id"].to_numpy())
    table = distinct_rows(table)
    path = f"{self._stem}-{len(self._runs):05d}.arrow"
    write_table(path, table, BATCH_ROWS)
    starts = pa.array(range(0, table.num_rows, BATCH_ROWS))
    firsts = table.select(["time", "example_id"]).take(starts).to_pydict()
    self._runs.append(Run(path, tuple(zip(firsts["time"], firsts["example_id"]))))


def distinct_rows(table: pa.Table) -> pa.Table:
  """The rows sorted by (time, example id), each once, with a column `count` that says how often it was there.

  Rows that are equal in both are alike in everything. Rows that have a `count` already stand for as many.
  """
  times, example_ids = table["time"].to_numpy(), table["example_id"].to_numpy()
  counts = table["count"].to_numpy() if "count" in table.column_names else np.ones(len(times), np.int64)
  order = np.lexsort((example_ids, times))
  times, example_ids = times[order], example_ids[order]
  first = np.ones(len(order), bool)
  first[1:] = (times[1:] != times[:-1]) | (example_ids[1:] != example_ids[:-1])
  starts = np.flatnonzero(first)
  counts = np.add.reduceat(counts[order], starts) if len(starts) else counts
  return _with_counts(table.take(pa.array(order[starts])), counts)


def _with_counts(table: pa.Table, counts: np.ndarray) -> pa.Table:
  kept = table.drop(["count"]) if "count" in table.column_names else table
  return kept.append_column("count", pa.array(counts, pa.int64()))


def collect_distinct(tables: Iterable[pa.Table], collected_bytes: int = COLLECTED_BYTES) -> pa.Table:
  """The rows of some tables as `distinct_rows` gives them, in memory for the distinct ones only.

  Args:
    tables: at least one. A row may be in each of them.
    collected_bytes: rows are collected up to this size, or to twice that of the distinct ones, before equal ones are
      made one.
  """
  waiting: list[pa.Table] = []
  num_bytes, most = 0, collected_bytes
  for table in tables:
    waiting.append(table)
    num_bytes += table.nbytes
    if num_bytes >= most:
      waiting = [distinct_rows(pa.concat_tables(waiting))]
      num_bytes = waiting[0].nbytes
      most = max(collected_bytes, 2 * num_bytes)
  return distinct_rows(pa.concat_tables(waiting))


def repeated(table: pa.Table, batch_rows: int) -> Iterator[pa.RecordBatch]:
  """Each row as often as its `count` says, in batches of `batch_rows`; memory is taken for the distinct ones only.

  The row's k-th occurrence, from 0, has k added to its example id, modulo 2^63: equal rows are interchangeable, and the
  order stays.
  """
  counts = table["count"].to_numpy()
  rows = table.drop(["count"]).combine_chunks()
  if (counts == 1).all():
    yield from rows.to_batches(max_chunksize=batch_rows)
    return
  ends = np.cumsum(counts)
  place = rows.column_names.index("example_id")
  for start in range(0, int(ends[-1]), batch_rows):
    positions = np.arange(start, min(start + batch_rows, int(ends[-1])))
    taken = np.searchsorted(ends, positions, side="right")
    occurrences = positions - (ends - counts)[taken]
    batch = rows.take(pa.array(taken)).combine_chunks()
    example_ids = (batch["example_id"].to_numpy() + occurrences) & np.int64((1 << 63) - 1)
    yield batch.set_column(place, "example_id", pa.array(example_ids)).to_batches()[0]
