"""What is counted of a span's rows; the counts of parts add up with `+` to those of the whole, however it was cut."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from diet_tf.log.hashing import split_mix
from diet_tf.log.row_counts import EQUAL_ROWS, Reasons, RowTally, added
from diet_tf.log.times import KindCounts
from tfx_components.log_gen.sources import Block


@dataclasses.dataclass(frozen=True)
class Content:
  """What rows there are, whatever their order: equal contents are of equal rows, but for a chance of 2^-128.

  Attributes:
    num_rows: number of rows.
    sums: two sums over the rows, modulo 2^64, of a mix of time and example id.
  """

  num_rows: int = 0
  sums: tuple[int, int] = (0, 0)

  @classmethod
  def of(cls, times: np.ndarray, example_ids: np.ndarray) -> Content:
    """The content of rows with these `[n]` int64 times and example ids."""
    first = split_mix(example_ids.view(np.uint64) ^ split_mix(times.view(np.uint64)))
    second = split_mix(~first)
    return cls(len(times), (int(first.sum(dtype=np.uint64)), int(second.sum(dtype=np.uint64))))

  def __add__(self, other: Content) -> Content:
    one, two = ((mine + theirs) % (1 << 64) for mine, theirs in zip(self.sums, other.sums, strict=True))
    return Content(self.num_rows + other.num_rows, (one, two))


@dataclasses.dataclass(frozen=True)
class ReadCounts:
  """What reading and joining saw.

  Attributes:
    read: rows of the span, broken ones included.
    columns: names of the columns seen.
    num_records: per piece the records of its file that lie in it, blank lines and rows of other spans included.
    num_keyed: per join the rows that have a key.
    num_matched: per join the rows whose key is listed.
    time_kinds: per setting that names a column of times, how that column writes them.
    contents: per piece its sound rows.
    label_values: per value that the rule of the label names, the rows that have it.
  """

  read: RowTally = RowTally()
  columns: frozenset[str] = frozenset()
  num_records: Mapping[int, int] = dataclasses.field(default_factory=dict)
  num_keyed: Mapping[int, int] = dataclasses.field(default_factory=dict)
  num_matched: Mapping[int, int] = dataclasses.field(default_factory=dict)
  time_kinds: Mapping[str, KindCounts] = dataclasses.field(default_factory=dict)
  contents: Mapping[int, Content] = dataclasses.field(default_factory=dict)
  label_values: Mapping[str, int] = dataclasses.field(default_factory=dict)

  @classmethod
  def of(cls, block: Block, piece: int, read: RowTally, content: Content = Content()) -> ReadCounts:
    """The counts of a block of a piece, given its rows that belong to the span, and the sound ones among these."""
    return cls(read, block.names, {piece: block.num_records}, contents={piece: content})

  @classmethod
  def of_keys(cls, join: int, num_keyed: int, num_matched: int) -> ReadCounts:
    """The counts of some keys of a join."""
    return cls(num_keyed={join: num_keyed}, num_matched={join: num_matched})

  @classmethod
  def of_times(cls, setting: str, kinds: KindCounts) -> ReadCounts:
    """The counts of the values of a column of times, which is named by a setting."""
    return cls(time_kinds={setting: kinds})

  def __add__(self, other: ReadCounts) -> ReadCounts:
    # A block knows how many records of its piece were read by its end.
    records = {piece: max(self.num_records.get(piece, 0), other.num_records.get(piece, 0))
               for piece in {*self.num_records, *other.num_records}}
    return ReadCounts(self.read + other.read, self.columns | other.columns, records,
                      Counter(self.num_keyed) + Counter(other.num_keyed),
                      Counter(self.num_matched) + Counter(other.num_matched),
                      _sums(self.time_kinds, other.time_kinds, KindCounts()),
                      _sums(self.contents, other.contents, Content()),
                      Counter(self.label_values) + Counter(other.label_values))


def _sums(one: Mapping[Any, Any], other: Mapping[Any, Any], nothing: Any) -> dict[Any, Any]:
  return {key: one.get(key, nothing) + other.get(key, nothing) for key in {*one, *other}}


@dataclasses.dataclass(frozen=True)
class SortedRows:
  """The sorted rows of some ranges.

  Attributes:
    files: path of each range's spill file and the number of rows in it, by the range's number.
    kept: the rows.
    first_time: smallest time.
    last_time: largest time.
    duplicates: rows among those kept that are equal to the one before them.
    dropped: rows that were dropped for an equal one, by reason.
  """

  files: Mapping[int, tuple[str, int]] = dataclasses.field(default_factory=dict)
  kept: RowTally = RowTally()
  first_time: int = 0
  last_time: int = 0
  duplicates: RowTally = RowTally()
  dropped: Reasons = dataclasses.field(default_factory=dict)

  @classmethod
  def of(cls, table: pa.Table, number: int, path: str, *, drops: bool) -> SortedRows:
    """What is known of the sorted rows of a range that has any.

    Args:
      table: the distinct rows, in order, with their `count`.
      number: number of the range.
      path: file that the rows are written to.
      drops: whether of equal rows one is kept, or all.
    """
    times, labels, counts = table["time"], table["label"].to_numpy() > 0, table["count"].to_numpy()
    distinct = RowTally.of(labels)
    others = int(counts.sum()) - len(counts)
    more = RowTally(others, others, int(counts[labels].sum()) - distinct.num_positives)
    kept = distinct if drops else distinct + more
    return cls({number: (path, kept.num_rows)}, kept, times[0].as_py(), times[-1].as_py(),
               RowTally() if drops else more, {EQUAL_ROWS: more} if drops and others else {})

  def __add__(self, other: SortedRows) -> SortedRows:
    return SortedRows({**self.files, **other.files}, self.kept + other.kept,
                      min(self.first_time, other.first_time), max(self.last_time, other.last_time),
                      self.duplicates + other.duplicates, added(self.dropped, other.dropped))
