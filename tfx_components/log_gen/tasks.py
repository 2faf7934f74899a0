"""The units of parallel work: each reads files, writes files, and reports a small dictionary of JSON types."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diet_tf.errors import DataError
from diet_tf.io import files
from diet_tf.log import encoding
from diet_tf.log.examples import write_example_shard
from diet_tf.log.features import FeatureSpec
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import join as join_lib
from tfx_components.log_gen import ranges, sources, spill
from tfx_components.log_gen.join import JoinPlan
from tfx_components.log_gen.quarantine import Quarantine, QuarantinedRow
from tfx_components.log_gen.ranges import Interval, Range, TimeHistogram
from tfx_components.log_gen.rows import Faults, RowEncoder, RowPlan, mark_joined
from tfx_components.log_gen.sources import Piece
from tfx_components.log_gen.spill import Part, Run

_COUNTS_SCHEMA = pa.schema([("field", pa.int16()), ("value", pa.string()), ("count", pa.int64())])
# Distinct values whose counts are merged at a time.
_MERGED_VALUES = 2_000_000


class Task(Protocol):
  """One unit of work; running it again gives the same files and the same report."""

  def run(self) -> dict[str, Any]:
    """Does the work and returns the report."""
    ...


class _RowSink:
  """Where encoded rows go: sorted runs with a histogram of times, or the partitions of the next keyed join."""

  def __init__(self, plan: RowPlan, pending: tuple[JoinPlan, ...], stem: str) -> None:
    self._join = pending[0] if pending else None
    self._histogram = TimeHistogram()
    self._runs = spill.RunWriter(stem)
    self._partitions = spill.PartitionWriter(stem, plan.schema(pending))

  def write(self, table: pa.Table) -> None:
    if not table.num_rows:
      return
    if self._join is None:
      self._histogram.add(table["time"].to_numpy())
      self._runs.write(table)
      return
    keys = columns_lib.from_arrow(table[self._join.key_name])
    self._partitions.write(table, join_lib.partition_of(keys.hashes, self._join.num_partitions)[keys.codes])

  def close(self) -> dict[str, Any]:
    runs = [dataclasses.asdict(run) for run in self._runs.close()]
    return {"runs": runs, "histogram": self._histogram.to_dict(), "partitions": _as_json(self._partitions.close())}


@dataclasses.dataclass(frozen=True)
class ReadPiece:
  """Reads a piece of the log, encodes its rows and spills them."""

  piece: Piece
  plan: RowPlan
  folder: str

  def run(self) -> dict[str, Any]:
    """Reports counts, broken rows, columns, matches of the joins, and where the rows are."""
    encoder = RowEncoder(self.plan, self.piece.index)
    sink = _RowSink(self.plan, self.plan.keyed_joins, f"{self.folder}/read-{self.piece.index:05d}")
    num_records = 0
    for block in sources.read_blocks(self.piece):
      sink.write(encoder.encode(block))
      num_records = block.num_records
    return {**sink.close(), "num_records": num_records, "num_rows": encoder.num_rows,
            "columns": sorted(encoder.columns), "quarantine": encoder.quarantine.to_dict(),
            "keyed": encoder.keyed, "matched": encoder.matched}


@dataclasses.dataclass(frozen=True)
class EncodeSide:
  """Encodes a piece of a side table into the partitions of its join."""

  piece: Piece
  join: JoinPlan
  spec: FeatureSpec
  folder: str

  def run(self) -> dict[str, Any]:
    """Reports the parts of each partition."""
    stem = f"{self.folder}/side-{self.join.index}-{self.piece.index:05d}"
    writer = spill.PartitionWriter(stem, join_lib.side_schema(self.join, self.spec))
    wanted = [self.join.key, *(name for _, name in self.join.fields)]
    for block in sources.read_blocks(self.piece, wanted):
      table = join_lib.encode_side(block, self.join, self.spec)
      keys = columns_lib.from_arrow(table["key"])
      writer.write(table, join_lib.partition_of(keys.hashes, self.join.num_partitions)[keys.codes])
    return {"partitions": _as_json(writer.close())}


def _as_json(partitions: Mapping[int, list[Part]]) -> dict[int, list[dict[str, Any]]]:
  return {partition: [dataclasses.asdict(part) for part in parts] for partition, parts in partitions.items()}


@dataclasses.dataclass(frozen=True)
class JoinPartition:
  """Joins one partition of the log with the same partition of a side table."""

  partition: int
  parts: tuple[Part, ...]
  plan: RowPlan
  pending: tuple[JoinPlan, ...]
  folder: str

  def run(self) -> dict[str, Any]:
    """Reports matches, broken rows, and where the rows are."""
    join, later = self.pending[0], self.pending[1:]
    side = join_lib.load_part(join, self.plan.spec, self.partition)
    sink = _RowSink(self.plan, later, f"{self.folder}/join-{join.index}-{self.partition:05d}")
    quarantine = Quarantine(self.plan.max_quarantine_rows)
    keyed = matched = 0
    for part in self.parts:
      for batch in spill.read_batches(part.path, part.batches):
        keys = batch.column(batch.schema.get_field_index(join.key_name))
        positions = side.positions(keys)
        keyed += pc.sum(pc.not_equal(keys, "")).as_py() or 0
        matched += len(positions) - positions.null_count
        sink.write(self._joined(batch, side.rows(positions), later, quarantine))
    join_lib.load.cache_clear()
    return {**sink.close(), "quarantine": quarantine.to_dict(), "keyed": {join.index: keyed},
            "matched": {join.index: matched}}

  def _joined(self, batch: pa.RecordBatch, columns: dict[str, pa.Array], later: tuple[JoinPlan, ...],
              quarantine: Quarantine) -> pa.Table:
    faults = Faults(batch.num_rows)
    mark_joined(columns.pop("fault"), faults)
    arrays = {**dict(zip(batch.schema.names, batch.columns)), **columns}
    join = self.pending[0]
    for row in np.flatnonzero(faults.numbers):
      quarantine.add(QuarantinedRow(arrays["piece"][row].as_py(), arrays["record"][row].as_py(),
                                    faults.reasons[faults.numbers[row]],
                                    {join.on: arrays[join.key_name][row].as_py()}))
    schema = self.plan.schema(later)
    table = pa.table([arrays[name] for name in schema.names], schema=schema)
    return table.filter(pa.array(faults.numbers == 0))


@dataclasses.dataclass(frozen=True)
class RefineIntervals:
  """Counts the times of some sorted runs within intervals that hold too many rows for one shard."""

  runs: tuple[Run, ...]
  intervals: tuple[Interval, ...]

  def run(self) -> dict[str, Any]:
    """Reports a finer histogram per interval."""
    histograms = [TimeHistogram() for _ in self.intervals]
    for run in self.runs:
      for interval, histogram in zip(self.intervals, histograms):
        numbers = run.batches_between((interval.low, 0), (interval.high, 0))
        for batch in spill.read_batches(run.path, numbers) if numbers else ():
          times = batch.column(batch.schema.get_field_index("time")).to_numpy()
          inside = times[(times >= interval.low) & (times < interval.high)]
          if len(inside):
            histogram.add(inside)
    return {"histograms": [histogram.to_dict() for histogram in histograms]}


@dataclasses.dataclass(frozen=True)
class SettleShard:
  """Sorts the rows of one range and drops exact duplicates.

  Where no vocabulary grows this is the finished shard; otherwise the values of growing fields are counted first.
  """

  index: int
  bounds: Range
  runs: tuple[tuple[str, tuple[int, ...]], ...]
  spec: FeatureSpec
  shard_path: str
  folder: str
  num_count_partitions: int

  def run(self) -> dict[str, Any]:
    """Reports counts and where the rows are."""
    table = self._sorted()
    times, example_ids = table["time"].to_numpy(), table["example_id"].to_numpy()
    first = np.ones(len(times), bool)
    first[1:] = (times[1:] != times[:-1]) | (example_ids[1:] != example_ids[:-1])
    num_duplicates = int(np.count_nonzero(~first))
    table = table.filter(pa.array(first)) if num_duplicates else table
    report = {"num_examples": table.num_rows, "num_duplicates": num_duplicates,
              "first_time": int(times[0]), "last_time": int(times[-1]),
              "num_positives": int(np.count_nonzero(table["label"].to_numpy()))}
    growing = [index for index, field in enumerate(self.spec.fields) if encoding.grows(field)]
    if not growing:
      write_shard(self.shard_path, table, self.spec, {})
      return report
    settled, counts = (f"{self.folder}/{kind}-{self.index:05d}.arrow" for kind in ("settled", "counts"))
    spill.write_table(settled, table, spill.RunWriter.BATCH_ROWS)
    spill.write_batches(counts, _COUNTS_SCHEMA, self._counts(table, growing))
    return {**report, "settled": settled, "counts": counts}

  def _sorted(self) -> pa.Table:
    tables = []
    for path, numbers in self.runs:
      for batch in spill.read_batches(path, list(numbers)):
        rows = pa.Table.from_batches([batch])
        inside = ranges.in_range(rows["time"].to_numpy(), rows["example_id"].to_numpy(), self.bounds)
        tables.append(rows if inside.all() else rows.filter(pa.array(inside)))
    return spill.sort_rows(pa.concat_tables(tables)).combine_chunks()

  def _counts(self, table: pa.Table, growing: list[int]) -> Iterator[pa.RecordBatch]:
    """One batch per partition, so that a partition's counts can be read alone."""
    numbers, values, counts, partitions = [], [], [], []
    for index in growing:
      distinct = table[join_lib.field_name(index)].value_counts()
      texts = distinct.field("values").to_numpy(zero_copy_only=False)
      numbers.append(np.full(len(texts), index, np.int16))
      values.append(texts)
      counts.append(distinct.field("counts").to_numpy())
      partitions.append(join_lib.partition_of(encoding.fingerprints(texts), self.num_count_partitions))
    partition = np.concatenate(partitions)
    columns = [np.concatenate(part) for part in (numbers, values, counts)]
    for number in range(self.num_count_partitions):
      rows = partition == number
      arrays = [pa.array(column[rows], field.type) for column, field in zip(columns, _COUNTS_SCHEMA)]
      yield pa.record_batch(arrays, schema=_COUNTS_SCHEMA)


@dataclasses.dataclass(frozen=True)
class CountValues:
  """Adds up the counts of one partition of the values of growing fields.

  A value lies in one partition only, so the counts are exact, and the most frequent values of the span are among the
  most frequent of the partitions.
  """

  partition: int
  paths: tuple[str, ...]
  known: Mapping[str, tuple[str, ...]]
  spec: FeatureSpec

  def run(self) -> dict[str, Any]:
    """Reports per field the new values that may enter its vocabulary, with their counts."""
    totals = _COUNTS_SCHEMA.empty_table()
    waiting: list[pa.Table] = []
    for path in self.paths:
      waiting += [pa.Table.from_batches([batch]) for batch in spill.read_batches(path, [self.partition])]
      if sum(table.num_rows for table in waiting) > _MERGED_VALUES:
        totals, waiting = _added_up([totals, *waiting]), []
    totals = _added_up([totals, *waiting])
    candidates = {}
    for index, field in enumerate(self.spec.fields):
      if encoding.grows(field):
        rows = totals.filter(pc.equal(totals["field"], index))
        counts = dict(zip(rows["value"].to_pylist(), rows["count"].to_pylist()))
        new = encoding.grow_vocabulary(self.known[field.name], counts, encoding.vocabulary_capacity(field))
        candidates[field.name] = {value: counts[value] for value in new[len(self.known[field.name]):]}
    return {"candidates": candidates}


def _added_up(tables: list[pa.Table]) -> pa.Table:
  sums = pa.concat_tables(tables).group_by(["field", "value"]).aggregate([("count", "sum")])
  return sums.select(["field", "value", "count_sum"]).rename_columns(_COUNTS_SCHEMA.names).cast(_COUNTS_SCHEMA)


@dataclasses.dataclass(frozen=True)
class WriteShard:
  """Writes a settled shard once the vocabularies are known."""

  settled: str
  shard_path: str
  spec: FeatureSpec
  vocabularies_path: str

  def run(self) -> dict[str, Any]:
    """Writes the shard; there is nothing to report."""
    vocabularies = encoding.read_vocabularies(self.vocabularies_path)
    write_shard(self.shard_path, pa.Table.from_batches(spill.read_batches(self.settled)), self.spec, vocabularies)
    return {}


def write_shard(path: str, table: pa.Table, spec: FeatureSpec, vocabularies: Mapping[str, list[str]]) -> None:
  """Writes finished rows as one shard of examples."""
  ids = np.empty((table.num_rows, len(spec.fields)), np.int32)
  for index, field in enumerate(spec.fields):
    column = table[join_lib.field_name(index)]
    if encoding.grows(field):
      distinct = columns_lib.from_arrow(column)
      ids[:, index] = encoding.Vocabulary(vocabularies[field.name]).ids(distinct.texts)[distinct.codes]
    else:
      ids[:, index] = column.to_numpy()
  write_example_shard(path, ids, table["label"].to_numpy(), table["example_id"].to_numpy(),
                              table["time"].to_numpy(), spec)


def merged_counts(parts: list[Mapping[str, int]]) -> dict[str, int]:
  """The sum of several dictionaries of counts."""
  total: Counter[str] = Counter()
  for part in parts:
    total.update(part)
  return dict(total)


def check_both_labels(num_examples: int, num_positives: int, subject: str, column: str) -> None:
  """Raises `DataError` where all examples of a span have one label."""
  if 0 < num_positives < num_examples:
    return
  raise DataError(subject, rule="a span has examples of both labels, or there is nothing to learn.",
                  received=f"{num_examples} examples, all with {column!r} = {int(num_positives > 0)}.",
                  remedy="check the label (column, positive_from), or join spans into longer ones.")


def remove_quietly(folder: str) -> None:
  """Removes the spill files; what cannot be removed is left to the owner of the temporary folder."""
  try:
    files.remove_if_there(folder)
  except OSError:
    pass
