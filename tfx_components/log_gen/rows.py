"""From blocks of raw rows to encoded rows: select the span's, check, join, encode; set broken ones aside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from diet_tf.log import encoding
from diet_tf.log.duplicates import DuplicateRule
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_counts import Reasons, RowTally, added
from diet_tf.log.salt import Salt
from diet_tf.log.times import DESCRIPTIONS, KindCounts, TimeKind, Times, read_times
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import join as join_lib
from tfx_components.log_gen import reasons, value_rules
from tfx_components.log_gen.columns import Column
from tfx_components.log_gen.counts import Content, ReadCounts
from tfx_components.log_gen.join import JoinPlan
from tfx_components.log_gen.labels import read_labels
from tfx_components.log_gen.quarantine import Quarantine, QuarantinedRow
from tfx_components.log_gen.sources import Block, Piece
from tfx_components.log_gen.span_window import SpanWindow
from tfx_components.log_gen.spill import Claim

# The spill column of a row's declared key.
UNIQUE_KEY = "unique key"

# Settings that name a column of times.
SPAN_COLUMN, TIME_COLUMN = "log.span_column", "features.time"


@dataclasses.dataclass(frozen=True)
class RowPlan:
  """All that a worker needs to encode rows.

  Attributes:
    spec: the feature spec.
    span: the span whose rows are taken.
    window: how a row's span follows from its time; None takes all rows.
    joins: plans of the joins with the side tables that fields are read from.
    max_quarantine_rows: broken rows to keep per piece.
    read_columns: names of the log's columns that are read, as `read_columns` says; no other can break a row.
    thousands: separator of thousands in numbers; None for none.
    rule: which rows stand for each other; it says whether the other columns are read too, for example ids alone.
    num_key_partitions: number of partitions in which the rows of equal keys meet where the rule has a key.
    takes_minus_one: whether a label without a rule of its own may be -1, which counts as 0.
  """

  spec: FeatureSpec
  span: int
  window: SpanWindow | None
  joins: tuple[JoinPlan, ...]
  max_quarantine_rows: int
  read_columns: frozenset[str]
  thousands: str | None = None
  rule: DuplicateRule = DuplicateRule()
  num_key_partitions: int = 1
  takes_minus_one: bool = True

  @property
  def keyed_joins(self) -> tuple[JoinPlan, ...]:
    """The joins for which the log is partitioned by key, in order."""
    return tuple(plan for plan in self.joins if plan.keyed)

  @property
  def log_fields(self) -> list[int]:
    """The numbers of the fields that are read from the log itself."""
    joined = {index for plan in self.joins for index, _ in plan.fields}
    return [index for index in range(len(self.spec.fields)) if index not in joined]

  @property
  def id_columns(self) -> frozenset[str]:
    """The log's columns whose values are told apart: not those that are read as numbers alone."""
    return frozenset([*(self.spec.fields[index].column for index in self.log_fields
                        if not self.spec.fields[index].boundaries), *(plan.on for plan in self.joins),
                      *self.rule.unique])

  @property
  def wanted(self) -> list[str] | None:
    """The columns that readers are asked for; None for all."""
    return None if self.rule.reads_all_columns else sorted(self.read_columns)

  def identifies(self, column: str) -> bool:
    """Whether example ids are made of a column's values, among others."""
    return self.rule.reads_all_columns or column in self.read_columns

  def schema(self, pending: tuple[JoinPlan, ...]) -> pa.Schema:
    """Columns of spilled rows while `pending` keyed joins are still to come."""
    waiting = {index for plan in pending for index, _ in plan.fields}
    fields = [column for index in range(len(self.spec.fields)) if index not in waiting
              for column in join_lib.spill_fields(self.spec, index)]
    origin = [("piece", pa.int32()), ("record", pa.int64())] if pending else []
    key = [(UNIQUE_KEY, pa.int64())] if self.rule.unique else []
    return pa.schema([("time", pa.int64()), ("example_id", pa.int64()), ("label", pa.float32()), *fields, *key,
                      *((plan.key_name, pa.string()) for plan in pending), *origin])


class Faults:
  """Per row of a block the first rule that it breaks.

  Args:
    num_rows: number of rows of the block.
  """

  def __init__(self, num_rows: int) -> None:
    self.numbers = np.zeros(num_rows, np.int64)
    self.reasons = [""]

  def mark(self, rows: np.ndarray, reason: str) -> None:
    """Notes that `rows` (bool) break a rule, except where an earlier one is broken."""
    new = rows & (self.numbers == 0)
    if new.any():
      self.reasons.append(reason)
      self.numbers[new] = len(self.reasons) - 1

  def mark_values(self, broken: np.ndarray, column: Column, reason: str) -> None:
    """Notes that the rows whose distinct value is `broken` break a rule."""
    if broken.any():
      self.mark(broken[column.codes], reason)

  def tallies(self, labels: np.ndarray, labelled: np.ndarray) -> Reasons:
    """The rows that break a rule, by the first that they break.

    Args:
      labels: `[num_rows]` labels.
      labelled: `[num_rows]` bool, which of them could be read.
    """
    weights = (None, labelled, labelled & (labels > 0))
    counts = (np.bincount(self.numbers, weight, len(self.reasons)).astype(int).tolist() for weight in weights)
    found: Reasons = {}
    for reason, *numbers in list(zip(self.reasons, *counts, strict=True))[1:]:
      found = added(found, {reason: RowTally(*numbers)})
    return found


class RowEncoder:
  """Encodes blocks of one piece and counts what it sees.

  Args:
    plan: plan of how rows are encoded.
    piece: number of the piece.
    source: the piece.
    sides: the encoded rows of side tables that are held in memory, each with the number of its join.
  """

  def __init__(self, plan: RowPlan, piece: int, source: Piece, sides: Iterable[tuple[int, Claim]] = ()) -> None:
    self._plan, self._piece, self._source = plan, piece, source
    self._sides: dict[int, list[Claim]] = {join.index: [] for join in plan.joins}
    for index, claim in sides:
      self._sides[index].append(claim)
    self.quarantine = Quarantine(plan.max_quarantine_rows)
    self.counts = ReadCounts()

  def encode(self, block: Block) -> pa.Table:
    """The sound rows of the block that belong to the span, with the columns of `RowPlan.schema`."""
    columns, records, faults = self._select(block)
    arrays, labelled = self._encoded(columns, faults)
    self._set_aside(block, columns, records, faults, arrays["label"], labelled)
    arrays["piece"] = pa.array(np.full(len(records), self._piece, np.int32))
    arrays["record"] = pa.array(records)
    schema = self._plan.schema(self._plan.keyed_joins)
    table = pa.table([arrays[name] for name in schema.names], schema=schema)
    table = table.filter(pa.array(faults.numbers == 0)) if faults.numbers.any() else table
    read = RowTally.of(arrays["label"].to_numpy()[labelled], int(np.count_nonzero(~labelled)) + len(block.rejected))
    content = Content.of(table["time"].to_numpy(), table["example_id"].to_numpy())
    self.counts += ReadCounts.of(block, self._piece, read, content)
    return table

  def _select(self, block: Block) -> tuple[dict[str, Column], np.ndarray, Faults]:
    """The rows of the span; those without a readable time belong to none and are set aside in each."""
    window = self._plan.window
    if window is None:
      return block.columns, block.records, Faults(len(block))
    column = block.columns.get(window.column) or columns_lib.all_missing(len(block))
    spans, times = window.spans(column)
    self.counts += ReadCounts.of_times(SPAN_COLUMN, KindCounts.of(times, column.texts, column.codes))
    lost = times.faulty
    kept = (lost | (spans == self._plan.span))[column.codes]
    faults = Faults(int(kept.sum()))
    _mark_times(times, lost, column.take(kept), f"column {window.column!r}, which gives the span,", faults)
    return {name: values.take(kept) for name, values in block.columns.items()}, block.records[kept], faults

  def _encoded(self, columns: dict[str, Column], faults: Faults) -> tuple[dict[str, Any], np.ndarray]:
    """The arrays of the rows, and which of them have a label that could be read."""
    self._judge(columns, faults)
    num_rows = len(faults.numbers)
    spec = self._plan.spec
    identity = {name: column for name, column in columns.items() if self._plan.identifies(name)}
    arrays: dict[str, Any] = {"example_id": pa.array(example_ids(identity, num_rows, spec.salt))}
    labels, labelled = self._labels(_column(columns, spec.label.column, num_rows), faults)
    arrays["label"] = pa.array(labels)
    arrays["time"] = pa.array(self._times(columns, num_rows, faults))
    if self._plan.rule.unique:
      arrays[UNIQUE_KEY] = pa.array(self._keys(columns, num_rows, faults))
    for index in self._plan.log_fields:
      field = spec.fields[index]
      own, broken = join_lib.encode_field(spec, index, columns, (field.column, field.weights), self._plan.thousands,
                                          self._source.missing_in, num_rows)
      arrays.update(own)
      for rows, reason in broken:
        faults.mark(rows, reason)
    for plan in self._plan.joins:
      self._join(plan, _column(columns, plan.on, num_rows), arrays, faults)
    return arrays, labelled

  def _labels(self, column: Column, faults: Faults) -> tuple[np.ndarray, np.ndarray]:
    """The 0/1 labels, `[n]` float32, and which of them could be read, `[n]` bool; faults where they could not."""
    label = self._plan.spec.label
    read = read_labels(label, column, self._plan.thousands, takes_minus_one=self._plan.takes_minus_one)
    for broken, words in read.wrong:
      faults.mark_values(broken, column, f"label {label.column!r} {words}")
    self.counts += ReadCounts(label_values=read.rows_by_value(column.codes))
    return read.values[column.codes], read.known[column.codes]

  def _keys(self, columns: dict[str, Column], num_rows: int, faults: Faults) -> np.ndarray:
    """The fingerprint of each row's declared key; a row that has no value in any of its columns has no key."""
    names = self._plan.rule.unique
    own = {name: _column(columns, name, num_rows) for name in names}
    lacking = np.ones(num_rows, bool)
    for column in own.values():
      lacking &= column.missing[column.codes]
    faults.mark(lacking, f"key {', '.join(map(repr, names))} (log.unique) {reasons.MISSING}")
    return example_ids(own, num_rows)

  def _judge(self, columns: dict[str, Column], faults: Faults) -> None:
    """Marks rows in whose columns that are read stands what no rule of a field or label can mend."""
    id_columns = self._plan.id_columns
    for name in sorted(self._plan.read_columns & columns.keys()):
      column = columns[name]
      for broken, words in value_rules.wrong_values(column, self._source.encoding, is_id=name in id_columns):
        faults.mark_values(broken, column, f"column {name!r} {words}")
      if name in id_columns:
        value_rules.refuse_rounded(column, f"column {name!r}", self._source.path)

  def _times(self, columns: dict[str, Column], num_rows: int, faults: Faults) -> np.ndarray:
    """What orders the rows, `[n]` int64; all 0 where the spec has no time column."""
    name = self._plan.spec.time_column
    if name is None:
      return np.zeros(num_rows, np.int64)
    column = _column(columns, name, num_rows)
    times = read_times(column.texts, stamps=column.stamps)
    self.counts += ReadCounts.of_times(TIME_COLUMN, KindCounts.of(times, column.texts, column.codes))
    _mark_times(times, times.without_order, column, f"time {name!r}", faults)
    return times.order[column.codes]

  def _join(self, plan: JoinPlan, column: Column, arrays: dict[str, Any], faults: Faults) -> None:
    if plan.keyed:
      arrays[plan.key_name] = pa.array(column.texts, pa.string()).take(pa.array(column.codes))
      return
    side = join_lib.load_side(plan, self._plan.spec, self._sides[plan.index])
    positions = side.positions(pa.array(column.texts, pa.string())).take(pa.array(column.codes))
    joined = side.rows(positions)
    mark_joined(joined.pop("fault"), faults)
    arrays.update(joined)
    self.counts += ReadCounts.of_keys(plan.index, int(np.count_nonzero(~column.missing[column.codes])),
                                     len(positions) - positions.null_count)

  def _set_aside(self, block: Block, columns: dict[str, Column], records: np.ndarray, faults: Faults,
                 labels: pa.Array, labelled: np.ndarray) -> None:
    """Counts the broken rows; only those that may be kept are looked at one by one."""
    if not block.rejected and not faults.numbers.any():
      return
    # Both kinds lie in the order of their records, after those of the piece's earlier blocks.
    room = self._plan.max_quarantine_rows - len(self.quarantine.rows)
    rows = [QuarantinedRow(self._piece, record, reason, {"line": text})
            for record, reason, text in block.rejected[:room]]
    for row in np.flatnonzero(faults.numbers)[:room]:
      values = {name: str(column.texts[column.codes[row]]) for name, column in columns.items()}
      rows.append(QuarantinedRow(self._piece, int(records[row]), faults.reasons[faults.numbers[row]], values))
    tallies = faults.tallies(labels.to_numpy(), labelled)
    for _, reason, _ in block.rejected:
      tallies = added(tallies, {reason: RowTally(1)})
    self.quarantine += Quarantine.of(tallies, rows, self._plan.max_quarantine_rows)


def mark_joined(fault_texts: pa.Array, faults: Faults) -> None:
  """Notes the rows whose row of a side table is broken."""
  for reason in fault_texts.unique().to_pylist():
    if reason:
      faults.mark(np.asarray(fault_texts.to_numpy(zero_copy_only=False) == reason), reason)


def example_ids(columns: dict[str, Column], num_rows: int, salt: Salt | None = None) -> np.ndarray:
  """The fingerprint of each row's canonical values in these columns, keyed by a salt; `[num_rows]` int64."""
  sums = np.zeros(num_rows, np.uint64)
  for name, column in columns.items():
    sums += encoding.column_fingerprints(name, column.hashes, column.missing)[column.codes]
  return encoding.row_ids(sums, salt)


def _column(columns: dict[str, Column], name: str, num_rows: int) -> Column:
  return columns[name] if name in columns else columns_lib.all_missing(num_rows)


def _mark_times(times: Times, faulty: np.ndarray, column: Column, subject: str, faults: Faults) -> None:
  """Notes the rows whose time is none, by what is wrong with it."""
  for kind in map(TimeKind, np.unique(times.kinds[faulty])):
    faults.mark_values(faulty & (times.kinds == kind), column, f"{subject} {DESCRIPTIONS[kind]}")
