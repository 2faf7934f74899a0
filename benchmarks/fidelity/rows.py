"""Encoded examples of a log as arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class LogRows:
  """Encoded examples, in time order.

  Attributes:
    ids: `[num_rows, num_fields]` int32.
    labels: `[num_rows]` float32, 0 or 1.
    example_ids: `[num_rows]` int64, distinct.
    spans: `[num_rows]` int64, the number of each row's span, ascending.
  """

  ids: np.ndarray
  labels: np.ndarray
  example_ids: np.ndarray
  spans: np.ndarray

  def __len__(self) -> int:
    return len(self.ids)

  def take(self, rows: np.ndarray) -> LogRows:
    """The rows at `rows` (`[n]` int or bool), in that order."""
    return LogRows(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

  def of_spans(self, spans: Sequence[int]) -> LogRows:
    """The rows of some spans."""
    return self.take(np.isin(self.spans, spans))
