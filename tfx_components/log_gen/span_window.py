"""The spans of a log by the time of its rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow.parquet as pq

from diet_tf.log.settings import TIME_UNITS, LogSettings
from diet_tf.log.span_patterns import partition_values
from diet_tf.log.times import TimeKind, Times, read_times
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen.columns import Column


@dataclasses.dataclass(frozen=True)
class SpanWindow:
  """The spans of a log by time: `floor((time - origin) / length)`, in whole microseconds.

  Attributes:
    column: name of the time column.
    origin: start of span 0, in microseconds since 1970.
    length: length of a span in microseconds, at least 1.
    unit: declared unit of numbers in the column; None tells it by each number.
  """

  column: str
  origin: int
  length: int
  unit: str | None = None

  @classmethod
  def of(cls, settings: LogSettings) -> SpanWindow | None:
    """The window that the settings describe; None where spans come from paths."""
    if settings.span_column is None or settings.span_seconds is None:
      return None
    per_second = TIME_UNITS["us"]
    return cls(settings.span_column, round(settings.span_origin * per_second),
               max(1, round(settings.span_seconds * per_second)), settings.span_time_unit)

  def spans(self, column: Column) -> tuple[np.ndarray, Times]:
    """Per distinct value of the time column its span (int64, of no meaning where it is no time), and its time."""
    times = read_times(column.texts, unit=self.unit, stamps=column.stamps)
    times.kinds[~column.has(columns_lib.SOUND, *columns_lib.NUMBERS)] = TimeKind.UNREADABLE
    return (times.microseconds - self.origin) // self.length, times

  def span_of_path(self, path: str) -> int | None:
    """The span of a file whose folders have the time, as in `dt=2024-01-30/`; None where they do not, or it is none."""
    value = partition_values(path).get(self.column)
    if value is None:
      return None
    spans, times = self.spans(columns_lib.from_texts([value]))
    return None if times.faulty[0] else int(spans[0])

  def may_hold(self, info: pq.RowGroupMetaData, span: int) -> bool:
    """Whether a row group of a Parquet file may hold rows of the span, or rows of no span, which every span reports."""
    for number in range(info.num_columns):
      column = info.column(number)
      if column.path_in_schema != self.column:
        continue
      statistics = column.statistics
      if statistics is None or not statistics.has_min_max or statistics.null_count != 0 \
          or not isinstance(statistics.min, int) or not isinstance(statistics.max, int):
        return True
      spans, times = self.spans(columns_lib.from_texts([str(statistics.min), str(statistics.max)]))
      # Only numbers of one unit have all others between them.
      if times.faulty.any() or times.kinds[0] != times.kinds[1] or times.kinds[0] == TimeKind.DATES:
        return True
      return bool(spans[0] <= span <= spans[1])
    return True
