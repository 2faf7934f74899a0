"""Examples with what the influence scorer said of them, passed over again and again, and sampled."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from diet_tf.errors import DataError
from diet_tf.log.hashing import mix


@dataclasses.dataclass(frozen=True)
class ScoredExamples:
  """Examples with what the influence scorer said of them.

  Attributes:
    ids: `[num_examples, num_fields]` int32.
    example_ids: `[num_examples]` int64.
    teacher_logits: `[num_examples]` float32.
    influences: `[num_examples]` float32.
  """

  ids: np.ndarray
  example_ids: np.ndarray
  teacher_logits: np.ndarray
  influences: np.ndarray

  def __len__(self) -> int:
    return len(self.ids)

  def take(self, rows: np.ndarray) -> ScoredExamples:
    """The examples at `rows` (`[n]` int or bool), in that order."""
    return ScoredExamples(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

  @classmethod
  def concatenate(cls, parts: list[ScoredExamples]) -> ScoredExamples:
    """All examples of `parts`, in order."""
    return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in dataclasses.fields(cls)))


# A pass over a span's examples; called once per pass, so that nothing needs to be kept.
Passes = Callable[[], Iterable[ScoredExamples]]


def sample(passes: Passes, num_rows: int, seed: int) -> ScoredExamples:
  """At most `num_rows` examples of a pass, those first in a pseudo-random order, in the pass's own order."""
  kept: ScoredExamples | None = None
  for batch in passes():
    kept = batch if kept is None else ScoredExamples.concatenate([kept, batch])
    # Pruning at twice the size keeps the memory bounded and the work per batch constant on average.
    if len(kept) > 2 * num_rows:
      kept = _first(kept, num_rows, seed)
  if kept is None:
    raise DataError("span", rule="holds at least one example that is not held back.", received="none.",
                    remedy="check the span's log, or lower influence.holdback_fraction.")
  return _first(kept, num_rows, seed)


def _first(examples: ScoredExamples, num_rows: int, seed: int) -> ScoredExamples:
  if len(examples) <= num_rows:
    return examples
  rows = np.argpartition(mix(examples.example_ids, seed), num_rows)[:num_rows]
  return examples.take(np.sort(rows))
