"""How vocabularies grow: the values of a span are counted exactly, partition by partition of their hashes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import TaggedOutput

from diet_tf.log import encoding
from diet_tf.log.features import FeatureSpec
from tfx_components.beam_graph import total
from tfx_components.log_gen import join as join_lib
from tfx_components.log_gen import spill
from tfx_components.log_gen.ranges import Ranges
from tfx_components.log_gen.spill import Claim
from tfx_components.log_gen.value_lists import list_entries

NEW_VALUES = "new values"
_SCHEMA = pa.schema([("field", pa.int16()), ("value", pa.string()), ("count", pa.int64())])
# The distinct values of so many rows are counted at a time.
_ROWS_PER_PARTITION = 4_000_000
_MAX_PARTITIONS = 256
# Distinct values whose counts are merged at a time.
_MERGED_VALUES = 2_000_000


def num_partitions(ranges: Ranges) -> int:
  """Partitions of the values of a span."""
  return max(1, min(_MAX_PARTITIONS, -(-ranges.num_rows // _ROWS_PER_PARTITION)))


def growing_fields(spec: FeatureSpec) -> tuple[int, ...]:
  """The numbers of the fields whose vocabularies grow."""
  return tuple(index for index, field in enumerate(spec.fields) if encoding.grows(field))


def spill_counts(path: str, rows: pa.Table, fields: Sequence[int], partitions: int) -> Iterator[tuple[int, Claim]]:
  """Counts the values of some fields and writes them, one batch per partition; returns claims by partition.

  Args:
    path: the file to write.
    rows: the rows, each with a `count`: how often it is there.
    fields: numbers of the fields.
    partitions: number of partitions of the values.
  """
  numbers, values, counts, places = [], [], [], []
  for index in fields:
    name = join_lib.field_name(index)
    distinct = _single_values(rows, name).group_by(name).aggregate([("count", "sum")])
    texts = distinct[name].to_numpy()
    numbers.append(np.full(len(texts), index, np.int16))
    values.append(texts)
    counts.append(distinct["count_sum"].to_numpy())
    places.append(join_lib.partition_of(encoding.fingerprints(texts), partitions))
  columns, place = [np.concatenate(part) for part in (numbers, values, counts)], np.concatenate(places)

  def batch(partition: int) -> pa.RecordBatch:
    chosen = place == partition
    return pa.record_batch([pa.array(column[chosen], field.type) for column, field in zip(columns, _SCHEMA)],
                           schema=_SCHEMA)

  spill.write_batches(path, _SCHEMA, map(batch, range(partitions)))
  yield from ((partition, Claim(path, partition, partition + 1)) for partition in range(partitions))


def _single_values(rows: pa.Table, name: str) -> pa.Table:
  """The rows with one value each: a row with a set of values stands there once for each of them."""
  if not pa.types.is_list(rows[name].type):
    return rows
  numbers, values = list_entries(rows[name])
  return pa.table({name: values, "count": rows["count"].to_numpy()[numbers]})


@dataclasses.dataclass(frozen=True)
class NewValues:
  """The values that may enter growing vocabularies, with how often they occur.

  Attributes:
    room: number of values to keep, by field name.
    counts: how often each of the most frequent values occurs, by field name and value; ties go by value.
  """

  room: Mapping[str, int]
  counts: Mapping[str, Mapping[str, int]]

  @classmethod
  def of(cls, counts: Mapping[str, Mapping[str, int]], room: Mapping[str, int]) -> NewValues:
    """The most frequent of some values; all occurrences of a value are counted together."""
    return cls(room, {field: {value: counts[field][value]
                              for value in encoding.grow_vocabulary((), counts[field], number)}
                      for field, number in room.items()})

  def __add__(self, other: NewValues) -> NewValues:
    return NewValues.of({field: {**self.counts[field], **other.counts[field]} for field in self.room}, self.room)


@dataclasses.dataclass(frozen=True)
class CountValues:
  """Adds up the counts of one partition of the values of growing fields.

  A value lies in one partition only, so the counts are exact, and the most frequent values of the span are among the
  most frequent of the partitions.

  Attributes:
    spec: the feature spec.
    known: values known before the span, by field name.
  """

  spec: FeatureSpec
  known: Mapping[str, Sequence[str]]

  def run(self, number: int, claims: Iterable[Claim], side_input: None) -> Iterator[TaggedOutput]:
    """The total of new values."""
    totals = _SCHEMA.empty_table()
    waiting: list[pa.Table] = []
    num_waiting = 0
    for batch in spill.read_claims(claims):
      waiting.append(pa.Table.from_batches([batch]))
      num_waiting += batch.num_rows
      if num_waiting > _MERGED_VALUES:
        totals, waiting, num_waiting = _added_up([totals, *waiting]), [], 0
    totals = _added_up([totals, *waiting])
    counts, room = {}, {}
    for index in growing_fields(self.spec):
      field = self.spec.fields[index]
      rows, known = totals.filter(pc.equal(totals["field"], index)), set(self.known[field.name])
      pairs = zip(rows["value"].to_pylist(), rows["count"].to_pylist())
      counts[field.name] = {value: count for value, count in pairs if value not in known}
      room[field.name] = encoding.vocabulary_capacity(field) - len(known)
    yield total(NEW_VALUES, NewValues.of(counts, room))


def _added_up(tables: list[pa.Table]) -> pa.Table:
  sums = pa.concat_tables(tables).group_by(["field", "value"]).aggregate([("count", "sum")])
  return sums.select(["field", "value", "count_sum"]).rename_columns(_SCHEMA.names).cast(_SCHEMA)
