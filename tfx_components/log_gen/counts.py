"""What is counted of a span's rows; the counts of parts add up with `+` to those of the whole, however it was cut."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from diet_tf.log.times import KindCounts
from tfx_components.log_gen.sources import Block


@dataclasses.dataclass(frozen=True)
class RowCounts:
  """What reading and joining saw.

  Attributes:
    num_rows: rows of the span, broken ones included.
    columns: names of the columns seen.
    num_records: per piece the records of its file that lie in it, blank lines and rows of other spans included.
    num_keyed: per join the rows that have a key.
    num_matched: per join the rows whose key is listed.
    time_kinds: per setting that names a column of times, how that column writes them.
  """

  num_rows: int = 0
  columns: frozenset[str] = frozenset()
  num_records: Mapping[int, int] = dataclasses.field(default_factory=dict)
  num_keyed: Mapping[int, int] = dataclasses.field(default_factory=dict)
  num_matched: Mapping[int, int] = dataclasses.field(default_factory=dict)
  time_kinds: Mapping[str, KindCounts] = dataclasses.field(default_factory=dict)

  @classmethod
  def of(cls, block: Block, piece: int, num_rows: int) -> RowCounts:
    """The counts of a block of a piece, of which `num_rows` rows belong to the span."""
    return cls(num_rows, block.names, {piece: block.num_records})

  @classmethod
  def of_keys(cls, join: int, num_keyed: int, num_matched: int) -> RowCounts:
    """The counts of some keys of a join."""
    return cls(num_keyed={join: num_keyed}, num_matched={join: num_matched})

  @classmethod
  def of_times(cls, setting: str, kinds: KindCounts) -> RowCounts:
    """The counts of the values of a column of times, which is named by a setting."""
    return cls(time_kinds={setting: kinds})

  def __add__(self, other: RowCounts) -> RowCounts:
    # A block knows how many records of its piece were read by its end.
    records = {piece: max(self.num_records.get(piece, 0), other.num_records.get(piece, 0))
               for piece in {*self.num_records, *other.num_records}}
    return RowCounts(self.num_rows + other.num_rows, self.columns | other.columns, records,
                     Counter(self.num_keyed) + Counter(other.num_keyed),
                     Counter(self.num_matched) + Counter(other.num_matched),
                     {name: self.time_kinds.get(name, KindCounts()) + other.time_kinds.get(name, KindCounts())
                      for name in {*self.time_kinds, *other.time_kinds}})


@dataclasses.dataclass(frozen=True)
class SortedRows:
  """The sorted rows of some ranges, without exact duplicates.

  Attributes:
    files: path of each range's spill file and the number of rows in it, by the range's number.
    num_positives: rows with label 1.
    first_time: smallest time.
    last_time: largest time.
  """

  files: Mapping[int, tuple[str, int]] = dataclasses.field(default_factory=dict)
  num_positives: int = 0
  first_time: int = 0
  last_time: int = 0

  @classmethod
  def of(cls, table: pa.Table, number: int, path: str) -> SortedRows:
    """What is known of the sorted rows of a range that has any."""
    times = table["time"]
    return cls({number: (path, table.num_rows)}, int(np.count_nonzero(table["label"].to_numpy())), times[0].as_py(),
               times[-1].as_py())

  def __add__(self, other: SortedRows) -> SortedRows:
    return SortedRows({**self.files, **other.files}, self.num_positives + other.num_positives,
                      min(self.first_time, other.first_time), max(self.last_time, other.last_time))

  @property
  def num_rows(self) -> int:
    """All rows."""
    return sum(number for _, number in self.files.values())
