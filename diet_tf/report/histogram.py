"""Counts by bin, with the bins that the report shows labels, weights and influences in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

LABEL_EDGES = tuple(round(0.05 * number, 2) for number in range(21))
# Weights have mean 1 over a memory: half powers of two on either side.
WEIGHT_EDGES = tuple(2.0 ** (number / 2) for number in range(-14, 15))
_MAGNITUDES = tuple(10.0 ** (number / 2) for number in range(-12, 5))
# Influences span many decades, with either sign: half decades, and one bin for what is about 0.
INFLUENCE_EDGES = (*(-magnitude for magnitude in reversed(_MAGNITUDES)), *_MAGNITUDES)


@dataclasses.dataclass(frozen=True)
class Histogram:
  """Counts of values by bin.

  Attributes:
    edges: edges of the bins, increasing, one more than there are bins.
    counts: number of values in each bin; the first and the last bin hold all that lies beyond them too.

  Raises:
    ValueError: the edges do not increase, or there is not one count of at least 0 for each bin.
  """

  edges: tuple[float, ...]
  counts: tuple[int, ...]

  def __post_init__(self) -> None:
    if len(self.counts) != len(self.edges) - 1 or min(self.counts, default=-1) < 0:
      raise ValueError(f"{len(self.edges)} edges have one count of at least 0 fewer than edges, not {self.counts}.")
    if any(low >= high for low, high in zip(self.edges, self.edges[1:])):
      raise ValueError(f"The edges of a histogram increase, not {self.edges}.")

  @classmethod
  def of(cls, values: np.ndarray, edges: Sequence[float]) -> Histogram:
    """The counts of values, `[num_values]`, in bins of these edges; values that are not finite are left out."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), np.asarray(edges, np.float64))
    return cls(tuple(float(edge) for edge in edges), tuple(counts.tolist()))

  def __add__(self, other: Histogram) -> Histogram:
    """The counts of both, as `of` gives them for the values of both together."""
    if self.edges != other.edges:
      raise ValueError("Histograms of different bins have no sum.")
    return Histogram(self.edges, tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)))

  @property
  def total(self) -> int:
    """The number of values."""
    return sum(self.counts)

  def shares(self) -> list[float]:
    """Per bin, the share of the values in percent; zeros where there are none."""
    return [100.0 * count / max(1, self.total) for count in self.counts]

  def to_dict(self) -> dict[str, Any]:
    """The histogram as JSON values."""
    return {"edges": list(self.edges), "counts": list(self.counts)}


def occupied(histograms: Sequence[Histogram]) -> tuple[int, int]:
  """The first bin that is not empty in all histograms of the same bins, and one more than the last; all if none is."""
  used = np.flatnonzero(np.sum([histogram.counts for histogram in histograms], axis=0))
  return (int(used[0]), int(used[-1]) + 1) if len(used) else (0, len(histograms[0].counts))
