"""Joins of the log with side tables: small ones in memory, large ones through files partitioned by key.

A side table is encoded once, value by value, before the join; joining a row is then a look-up of its key and a copy of
finished ids. Both ways share all of that and differ only in how many parts the encoded table has.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diet_tf.errors import DataError
from diet_tf.log import encoding
from diet_tf.log.features import FeatureSpec
from diet_tf.log.settings import UTF_8
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import reasons, spill, value_lists, value_rules
from tfx_components.log_gen.columns import Column
from tfx_components.log_gen.sources import Block
from tfx_components.log_gen.spill import Claim

_MAX_NAMED = 5


@dataclasses.dataclass(frozen=True)
class JoinPlan:
  """One join, resolved against the feature spec.

  Attributes:
    index: number of the join in the settings, from 0.
    pattern: the side table, for messages.
    on: key column of the log.
    key: key column of the side table.
    fields: pairs of a field's number and the side column that it is read from.
    keyed: whether the log is partitioned by key to meet the side table.
    num_partitions: parts of the encoded side table; 1 unless keyed.
    encoding: encoding that the side table's texts should have.
    thousands: separator of thousands in its numbers; None for none.
    weights: pairs of a multi-valued field's number and the side column of the weights of its values.
  """

  index: int
  pattern: str
  on: str
  key: str
  fields: tuple[tuple[int, str], ...]
  keyed: bool
  num_partitions: int = 1
  encoding: str = UTF_8
  thousands: str | None = None
  weights: tuple[tuple[int, str], ...] = ()

  @property
  def columns(self) -> list[str]:
    """The columns of the side table that are read."""
    return [self.key, *(name for _, name in (*self.fields, *self.weights))]

  @property
  def key_name(self) -> str:
    """The spill column that carries the key of a keyed join."""
    return f"key{self.index}"


def field_name(index: int) -> str:
  """The spill column of a field."""
  return f"field{index}"


def weights_name(index: int) -> str:
  """The spill column of the weights of a field's values."""
  return f"weights{index}"


def field_type(spec: FeatureSpec, index: int) -> pa.DataType:
  """Ids, or texts where the vocabulary grows and is not known until the span has been read; or lists of them."""
  kind = pa.string() if encoding.grows(spec.fields[index]) else pa.int32()
  return pa.list_(kind) if spec.fields[index].is_multi_valued else kind


def spill_fields(spec: FeatureSpec, index: int) -> list[tuple[str, pa.DataType]]:
  """The spill columns of a field with their types."""
  weights = [] if spec.fields[index].weights is None else [(weights_name(index), pa.list_(pa.float64()))]
  return [(field_name(index), field_type(spec, index)), *weights]


def encode_field(spec: FeatureSpec, index: int, columns: Mapping[str, Column], places: tuple[str, str | None],
                 thousands: str | None, missing_in: Callable[[str], frozenset[str]],
                 num_rows: int) -> tuple[dict[str, pa.Array], list[tuple[np.ndarray, str]]]:
  """The spill columns of a field.

  Args:
    spec: the feature spec.
    index: number of the field.
    columns: the columns that there are, by name.
    places: the names of the columns that the field is read from: of its values, and of their weights or None.
    thousands: separator of thousands in numbers; None for none.
    missing_in: gives the texts that stand for a missing value of a column, for those within lists.
    num_rows: number of rows.

  Returns:
    The spill columns by name, and pairs of `[num_rows]` bool, true where the row breaks the field, and the reason.
  """
  field = spec.fields[index]
  values, weights = (None if name is None else columns.get(name) or columns_lib.all_missing(num_rows)
                     for name in places)
  assert values is not None
  if field.is_multi_valued:
    missing = (missing_in(places[0]), missing_in(places[1] or ""))
    sets = value_lists.field_sets(field, values, weights, thousands, missing, places)
    arrays = {field_name(index): sets.values}
    if sets.weights is not None:
      arrays[weights_name(index)] = sets.weights
    return arrays, list(value_lists.reasons_of(sets.broken))
  own, wrong = encode_column(spec, index, values, thousands)
  place, kind = reasons.column_of_field(places[0], field.name), field_type(spec, index)
  array = (pa.array(own, kind).take(pa.array(values.codes)) if encoding.grows(field)
           else pa.array(own[values.codes], kind))
  return {field_name(index): array}, [(mask[values.codes], f"{place} {words}") for mask, words in wrong if mask.any()]


def encode_column(spec: FeatureSpec, index: int, column: Column,
                  thousands: str | None) -> tuple[np.ndarray, list[tuple[np.ndarray, str]]]:
  """A column's values as a field has them.

  Args:
    spec: the feature spec.
    index: number of the field.
    column: the column.
    thousands: separator of thousands in numbers; None for none.

  Returns:
    Per distinct value its id (or text where the vocabulary grows), and pairs of `[u]` bool, true where the value breaks
    the field, and the words for it.
  """
  field = spec.fields[index]
  if encoding.grows(field):
    return column.texts, []
  if field.boundaries:
    values, wrong = value_rules.read_numbers(column, thousands)
    return encoding.bucket_ids(values, field.boundaries), wrong
  hashes = column.hashes if field.hash_ids is not None and field.salt is None else None
  ids, _ = encoding.encode_texts(field, column.texts, hashes=hashes)
  return ids, []


def side_schema(plan: JoinPlan, spec: FeatureSpec) -> pa.Schema:
  """Columns of an encoded side table: key, fields, and what is wrong with the row if anything."""
  fields = [column for index, _ in plan.fields for column in spill_fields(spec, index)]
  return pa.schema([("key", pa.string()), *fields, ("fault", pa.string())])


def encode_side(block: Block, plan: JoinPlan, spec: FeatureSpec,
                missing_in: Callable[[str], frozenset[str]] = lambda _: frozenset()) -> pa.Table:
  """A block of the side table, encoded.

  Args:
    block: the block.
    plan: plan of the join.
    spec: the feature spec.
    missing_in: gives the texts that stand for a missing value of a column, for those within lists.

  Raises:
    DataError: if a line cannot be parsed, or a key or column is missing.
  """
  subject = f"side table {plan.pattern}"
  if block.rejected:
    _, reason, text = block.rejected[0]
    raise DataError(subject, rule="every line of a side table can be parsed.", received=f"{reason}: {text[:200]!r}.",
                    remedy="mend the side table.")
  arrays: dict[str, pa.Array] = {}
  key = block.columns.get(plan.key) or columns_lib.all_missing(len(block))
  _check_key(key, block, plan)
  arrays["key"] = _spread(key.texts, key.codes, pa.string())
  faults = np.full(len(block), None, object)
  weights = dict(plan.weights)
  for index, name in reversed(plan.fields):
    own, broken = encode_field(spec, index, block.columns, (name, weights.get(index)), plan.thousands, missing_in,
                               len(block))
    arrays.update(own)
    for column_name, is_id in ((name, not spec.fields[index].boundaries), (weights.get(index), False)):
      column = block.columns.get(column_name or "") or columns_lib.all_missing(len(block))
      if is_id:
        value_rules.refuse_rounded(column, f"column {name!r}", subject)
      place = reasons.column_of_field(str(column_name), spec.fields[index].name)
      broken += [(mask[column.codes], f"{place} {words}")
                 for mask, words in value_rules.wrong_values(column, plan.encoding, is_id=is_id)]
    for rows, reason in broken:
      faults[rows] = reason
  arrays["fault"] = pa.array(faults, pa.string())
  schema = side_schema(plan, spec)
  return pa.table([arrays[name] for name in schema.names], schema=schema)


def _check_key(key: Column, block: Block, plan: JoinPlan) -> None:
  """Raises `DataError` where a row of a side table has no key by which it can be found."""
  subject = f"side table {plan.pattern}"
  value_rules.refuse_rounded(key, f"column {plan.key!r}", subject)
  wrong = [(key.missing, f"{reasons.MISSING} (log.missing_values says which texts are)"),
           *value_rules.wrong_values(key, plan.encoding, is_id=True)]
  for broken, words in wrong:
    rows = broken[key.codes]
    if rows.any():
      row = int(np.argmax(rows))
      remedy = reasons.remedy_of(words) or "drop these rows, or join on another column"
      raise DataError(subject, rule=f"every row has a key in column {plan.key!r}.",
                      received=f"the key {key.texts[key.codes[row]]!r}, first in record {int(block.records[row]) + 1}, "
                      f"{words}.", remedy=f"{remedy}.")


def _spread(values: np.ndarray, codes: np.ndarray, kind: pa.DataType) -> pa.Array:
  return pa.array(values, kind).take(pa.array(codes))


class SideTable:
  """An encoded side table, or one partition of it, in memory.

  Args:
    table: rows of `side_schema`.
    pattern: pattern of the side table's files, its name in messages.

  Raises:
    DataError: if a key is listed twice.
  """

  def __init__(self, table: pa.Table, pattern: str) -> None:
    self._table = table.combine_chunks()
    self._keys = _chunk(self._table["key"])
    counts = self._keys.value_counts()
    repeated = pc.greater(counts.field("counts"), 1)
    if pc.any(repeated).as_py():
      keys = sorted(counts.field("values").filter(repeated).to_pylist())
      raise DataError(f"side table {pattern}", rule="every key is listed once, or rows of the log would multiply.",
                      received=f"{len(keys)} keys listed several times: {', '.join(keys[:_MAX_NAMED])}.",
                      remedy="keep one row per key, for example the newest.")

  def positions(self, keys: pa.Array) -> pa.Array:
    """Per key its row in the table, null where it is not listed."""
    return pc.index_in(keys, value_set=self._keys)

  def rows(self, positions: pa.Array) -> dict[str, pa.Array]:
    """Per column the values at the positions; id 0 or the empty text where null."""
    taken = {}
    for name in self._table.column_names[1:]:
      values = _chunk(self._table[name]).take(positions)
      empty = 0 if pa.types.is_integer(values.type) else ""
      # A list that is null is an empty one to whoever reads it.
      taken[name] = values if pa.types.is_list(values.type) else pc.fill_null(values, empty)
    return taken


def _chunk(column: pa.ChunkedArray) -> pa.Array:
  combined = column.combine_chunks()
  return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks) if combined.num_chunks \
      else pa.array([], column.type)


# The paths are unique to a run, so a table is never stale; workers of one process share it.
@functools.lru_cache(maxsize=16)
def load(claims: tuple[Claim, ...], pattern: str, schema_text: bytes) -> SideTable:
  """The encoded side table of these claims; `schema_text` is its serialised schema, for when there are none."""
  schema = pa.ipc.read_schema(pa.py_buffer(schema_text))
  return SideTable(pa.Table.from_batches(spill.read_claims(claims), schema), pattern)


def load_side(plan: JoinPlan, spec: FeatureSpec, claims: Iterable[Claim]) -> SideTable:
  """An encoded side table, or the partition of it that is claimed."""
  return load(tuple(sorted(claims)), plan.pattern, side_schema(plan, spec).serialize().to_pybytes())


def partition_of(hashes: np.ndarray, num_partitions: int) -> np.ndarray:
  """`[n]` uint64 fingerprints of keys to `[n]` int64 partitions."""
  return (hashes % np.uint64(num_partitions)).astype(np.int64)
