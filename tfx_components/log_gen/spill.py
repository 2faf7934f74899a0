"""Spill files: Arrow IPC files in the component's temporary folder, by which rows travel between steps.

Beam itself only carries their names, so memory stays flat on every runner, also on one that keeps each collection in
memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from diet_tf.io import files

# Rows are collected in memory up to this size before they are written.
COLLECTED_BYTES = 64 << 20
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


def write_batches(path: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
  """Writes an Arrow IPC file; a second attempt at the same work writes the same file over it."""
  with files.open_to_write(path) as stream, pa.ipc.new_file(stream, schema, options=_OPTIONS) as writer:
    for batch in batches:
      writer.write_batch(batch)


def write_table(path: str, table: pa.Table, batch_rows: int) -> None:
  """Writes a table as batches of `batch_rows`."""
  write_batches(path, table.schema, iter(table.combine_chunks().to_batches(max_chunksize=batch_rows)))


def read_batches(path: str, numbers: Sequence[int] | None = None) -> Iterator[pa.RecordBatch]:
  """The batches of a spill file: all, or those with these numbers."""
  with files.open_to_read(path) as stream, pa.ipc.open_file(stream) as reader:
    for number in range(reader.num_record_batches) if numbers is None else numbers:
      yield reader.get_batch(number)


@dataclasses.dataclass(frozen=True)
class Part:
  """Some rows of one partition: batches of a spill file that holds those of other partitions too."""

  path: str
  batches: tuple[int, ...]


class PartitionWriter:
  """Collects rows and writes them grouped by partition, so that a partition's rows can be read alone.

  All partitions share a file, with one batch each: a file per partition would exhaust file handles and buffers.

  Args:
    stem: the files are named `<stem>-<number>.arrow`.
    schema: of the rows.
    file_bytes: a file is written when this much is collected.
  """

  def __init__(self, stem: str, schema: pa.Schema, file_bytes: int = COLLECTED_BYTES) -> None:
    self._stem, self._schema, self._file_bytes = stem, schema, file_bytes
    self._tables: list[pa.Table] = []
    self._partitions: list[np.ndarray] = []
    self._bytes = self._num_files = 0
    self._parts: dict[int, list[Part]] = {}

  def write(self, table: pa.Table, partitions: np.ndarray) -> None:
    """Adds rows; `partitions` is `[num_rows]` int64, the partition of each."""
    self._tables.append(table)
    self._partitions.append(partitions)
    self._bytes += table.nbytes
    if self._bytes >= self._file_bytes:
      self._flush()

  def close(self) -> dict[int, list[Part]]:
    """Writes what is left and returns the parts of each partition that has rows."""
    if self._tables:
      self._flush()
    return self._parts

  def _flush(self) -> None:
    partitions = np.concatenate(self._partitions)
    order = np.argsort(partitions, kind="stable")
    table = pa.concat_tables(self._tables).take(pa.array(order)).combine_chunks()
    self._tables, self._partitions, self._bytes = [], [], 0
    present, starts = np.unique(partitions[order], return_index=True)
    ends = [*starts[1:], len(order)]
    path = f"{self._stem}-{self._num_files:05d}.arrow"
    self._num_files += 1
    groups = (table.slice(start, end - start).to_batches()[0] for start, end in zip(starts, ends))
    write_batches(path, self._schema, groups)
    for number, partition in enumerate(present.tolist()):
      self._parts.setdefault(partition, []).append(Part(path, (number,)))


@dataclasses.dataclass(frozen=True)
class Run:
  """A spill file of rows sorted by (time, example id).

  Attributes:
    path: the file.
    firsts: per batch the (time, example id) of its first row.
  """

  path: str
  firsts: tuple[tuple[int, int], ...]

  def batches_between(self, low: tuple[int, int], high: tuple[int, int] | None) -> list[int]:
    """The numbers of the batches that may hold rows in `[low, high)`; `high` None is unbounded."""
    ends = (*self.firsts[1:], None)
    return [number for number, (first, end) in enumerate(zip(self.firsts, ends))
            if (high is None or first < high) and (end is None or end >= low)]


class RunWriter:
  """Collects rows and writes them as sorted runs of bounded size.

  Args:
    stem: the files are named `<stem>-<number>.arrow`.
    run_bytes: a run is written when this much is collected.
  """

  BATCH_ROWS = 4096

  def __init__(self, stem: str, run_bytes: int = COLLECTED_BYTES) -> None:
    self._stem, self._run_bytes = stem, run_bytes
    self._tables: list[pa.Table] = []
    self._bytes = 0
    self.runs: list[Run] = []

  def write(self, table: pa.Table) -> None:
    """Adds rows with columns `time` and `example_id` among others."""
    if not table.num_rows:
      return
    self._tables.append(table)
    self._bytes += table.nbytes
    if self._bytes >= self._run_bytes:
      self._flush()

  def close(self) -> list[Run]:
    """Writes what is left and returns all runs."""
    if self._tables:
      self._flush()
    return self.runs

  def _flush(self) -> None:
    table = sort_rows(pa.concat_tables(self._tables))
    self._tables, self._bytes = [], 0
    path = f"{self._stem}-{len(self.runs):05d}.arrow"
    write_table(path, table, self.BATCH_ROWS)
    starts = pa.array(range(0, table.num_rows, self.BATCH_ROWS))
    firsts = table.select(["time", "example_id"]).take(starts).to_pydict()
    self.runs.append(Run(path, tuple(zip(firsts["time"], firsts["example_id"]))))


def sort_rows(table: pa.Table) -> pa.Table:
  """The rows sorted stably by (time, example id)."""
  order = np.lexsort((table["example_id"].to_numpy(), table["time"].to_numpy()))
  return table.take(pa.array(order))
