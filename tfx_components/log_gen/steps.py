"""What the steps of LogGen's graphs do with one element: read files, write files, and hand on claims and counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diet_tf.log.duplicates import DuplicateRule
from diet_tf.log.features import FeatureSpec
from tfx_components.beam_graph import total
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import join as join_lib
from tfx_components.log_gen import sources, spill, vocabularies
from tfx_components.log_gen.counts import ReadCounts, SortedRows
from tfx_components.log_gen.join import JoinPlan
from tfx_components.log_gen.quarantine import Quarantine, QuarantinedRow
from tfx_components.log_gen.ranges import Ranges
from tfx_components.log_gen.rows import UNIQUE_KEY, Faults, RowEncoder, RowPlan, mark_joined
from tfx_components.log_gen.seen_values import SeenValues
from tfx_components.log_gen.sources import Piece
from tfx_components.log_gen.spill import Claim

# Totals: of reading and joining the first four, where `RUNS` is a tuple of runs in any order.
COUNTS, QUARANTINE, RUNS, SAMPLE, SORTED, SEEN = "counts", "quarantine", "runs", "sample", "sorted", "seen"
# What meets in a keyed join.
LOG, SIDE = "log", "side"


class RowSink:
  """Where rows go: sorted runs and a sample of their keys, or the partitions in which they meet what comes next.

  Args:
    plan: plan of how rows are encoded.
    pending: the keyed joins that are still to come.
    stem: the files' paths begin with it.
    keys_are_unique: whether rows of equal declared keys have met already.
  """

  def __init__(self, plan: RowPlan, pending: tuple[JoinPlan, ...], stem: str, *, keys_are_unique: bool = False) -> None:
    self._join = pending[0] if pending else None
    self._num_key_partitions = plan.num_key_partitions if plan.rule.unique and not keys_are_unique else 0
    self._runs = spill.RunWriter(stem)
    self._partitions = spill.PartitionWriter(stem, plan.schema(pending))

  def write(self, table: pa.Table) -> None:
    """Adds rows."""
    if not table.num_rows:
      return
    if self._join is not None:
      keys = columns_lib.from_arrow(table[self._join.key_name])
      self._partitions.write(table, join_lib.partition_of(keys.hashes, self._join.num_partitions)[keys.codes])
    elif self._num_key_partitions:
      keys = table[UNIQUE_KEY].to_numpy().view(np.uint64)
      self._partitions.write(table, join_lib.partition_of(keys, self._num_key_partitions))
    else:
      self._runs.write(table)

  def close(self) -> Iterator[Any]:
    """Claims by partition; or the runs and a sample of their keys, as totals."""
    yield from self._partitions.close()
    runs, sample = self._runs.close()
    if runs:
      yield total(RUNS, tuple(runs))
      yield total(SAMPLE, sample)


@dataclasses.dataclass(frozen=True)
class EncodeSide:
  """Encodes a piece of a side table: claims by partition or, where it is held in memory, by number of the join."""

  join: JoinPlan
  spec: FeatureSpec
  folder: str

  def run(self, number: int, pieces: Iterable[Piece], side_input: None) -> Iterator[tuple[int, Claim]]:
    """Spills the encoded piece."""
    piece, = pieces
    stem = f"{self.folder}/side-{self.join.index}-{number:05d}"
    writer = spill.PartitionWriter(stem, join_lib.side_schema(self.join, self.spec))
    for block in sources.read_blocks(piece, self.join.columns):
      table = join_lib.encode_side(block, self.join, self.spec, piece.missing_in)
      keys = columns_lib.from_arrow(table["key"])
      writer.write(table, join_lib.partition_of(keys.hashes, self.join.num_partitions)[keys.codes])
    for partition, claim in writer.close():
      yield (partition if self.join.keyed else self.join.index), claim


@dataclasses.dataclass(frozen=True)
class ReadPiece:
  """Reads a piece of the log, encodes its rows and spills them."""

  plan: RowPlan
  folder: str

  def run(self, number: int, pieces: Iterable[Piece], side_input: Sequence[tuple[int, Claim]] | None) -> Iterator[Any]:
    """Claims by partition of the first keyed join; runs are a total."""
    piece, = pieces
    encoder = RowEncoder(self.plan, number, piece, side_input or ())
    sink = RowSink(self.plan, self.plan.keyed_joins, f"{self.folder}/read-{number:05d}")
    for block in sources.read_blocks(piece, self.plan.wanted, also=self.plan.read_columns):
      sink.write(encoder.encode(block))
    yield from sink.close()
    yield total(COUNTS, encoder.counts)
    yield total(QUARANTINE, encoder.quarantine)


@dataclasses.dataclass(frozen=True)
class JoinPartition:
  """Joins one partition of the log with the same partition of a side table: `pending[0]`."""

  plan: RowPlan
  pending: tuple[JoinPlan, ...]
  folder: str

  def run(self, number: int, claims: Mapping[str, Iterable[Claim]], side_input: None) -> Iterator[Any]:
    """Claims by partition of the next keyed join; runs are a total."""
    join, later = self.pending[0], self.pending[1:]
    own = list(claims[LOG])
    if not own:
      return
    side = join_lib.load_side(join, self.plan.spec, claims[SIDE])
    sink = RowSink(self.plan, later, f"{self.folder}/join-{join.index}-{number:05d}")
    counts, quarantine = ReadCounts(), Quarantine(self.plan.max_quarantine_rows)
    for batch in spill.read_claims(own):
      keys = batch.column(batch.schema.get_field_index(join.key_name))
      positions = side.positions(keys)
      counts += ReadCounts.of_keys(join.index, pc.sum(pc.not_equal(keys, "")).as_py() or 0,
                                  len(positions) - positions.null_count)
      table, broken = self._joined(batch, side.rows(positions), later)
      quarantine += broken
      sink.write(table)
    join_lib.load.cache_clear()
    yield from sink.close()
    yield total(COUNTS, counts)
    yield total(QUARANTINE, quarantine)

  def _joined(self, batch: pa.RecordBatch, columns: dict[str, pa.Array],
              later: tuple[JoinPlan, ...]) -> tuple[pa.Table, Quarantine]:
    """The rows with what the side table adds, and those whose row there is broken."""
    faults = Faults(batch.num_rows)
    mark_joined(columns.pop("fault"), faults)
    arrays = {**dict(zip(batch.schema.names, batch.columns)), **columns}
    schema = self.plan.schema(later)
    table = pa.table([arrays[name] for name in schema.names], schema=schema)
    return table.filter(pa.array(faults.numbers == 0)), self._broken(arrays, faults)

  def _broken(self, arrays: Mapping[str, pa.Array], faults: Faults) -> Quarantine:
    """The broken rows; only those that may be kept are looked at one by one: one key may be that of most rows."""
    join, most = self.pending[0], self.plan.max_quarantine_rows
    rows = np.flatnonzero(faults.numbers)
    rows = rows[np.lexsort((arrays["record"].to_numpy()[rows], arrays["piece"].to_numpy()[rows]))][:most]
    kept = [QuarantinedRow(arrays["piece"][row].as_py(), arrays["record"][row].as_py(),
                           faults.reasons[faults.numbers[row]], {join.on: arrays[join.key_name][row].as_py()})
            for row in rows]
    # Rows without a readable label did not get here.
    return Quarantine.of(faults.tallies(arrays["label"].to_numpy(), np.ones(len(faults.numbers), bool)), kept, most)


@dataclasses.dataclass(frozen=True)
class SortRange:
  """Sorts the rows of one range and keeps equal ones or drops them; the values of growing fields are counted besides.

  Attributes:
    ranges: all ranges of the span.
    rule: which rows are dropped.
    spec: feature spec of the rows.
    folder: folder that the sorted rows and the counts are written to.
  """

  ranges: Ranges
  rule: DuplicateRule
  spec: FeatureSpec
  folder: str

  def run(self, number: int, claims: Iterable[Claim], side_input: None) -> Iterator[Any]:
    """Claims of the counts, by partition of the values."""
    table = spill.collect_distinct(_rows_of_range(claims, number, self.ranges)).combine_chunks()
    # A batch that may hold rows of the range need not.
    if not table.num_rows:
      return
    path = f"{self.folder}/sorted-{number:05d}.arrow"
    yield total(SORTED, SortedRows.of(table, number, path, drops=self.rule.drops))
    yield total(SEEN, SeenValues.of(table, self.spec))
    rows = table if not self.rule.drops else table.set_column(
        table.column_names.index("count"), "count", pa.array(np.ones(table.num_rows, np.int64)))
    spill.write_batches(path, rows.schema.remove(rows.column_names.index("count")),
                        spill.repeated(rows, spill.BATCH_ROWS))
    if growing := vocabularies.growing_fields(self.spec):
      yield from vocabularies.spill_counts(f"{self.folder}/counts-{number:05d}.arrow", rows, growing,
                                           vocabularies.num_partitions(self.ranges))


def _rows_of_range(claims: Iterable[Claim], number: int, ranges: Ranges) -> Iterator[pa.Table]:
  """The claimed batches, without their rows of other ranges."""
  for batch in spill.read_claims(claims):
    rows = pa.Table.from_batches([batch])
    inside = ranges.hold(number, rows["time"].to_numpy(), rows["example_id"].to_numpy())
    yield rows if inside.all() else rows.filter(pa.array(inside))
