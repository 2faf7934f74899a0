"""The scored sample of a stage: drawn from that of the memory before it and from the stage's span."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from diet_tf.distillation.settings import Stage
from diet_tf.distillation.teacher import Teacher
from diet_tf.log.encoded_rows import BoundedSample, EncodedRows, RowStream
from diet_tf.log.hashing import salted_mix
from diet_tf.memory.memory import Memory
from diet_tf.memory.scored_sample import ScoredSample, merge


class StageSample:
  """Draws the rows of a span's scored sample along the first whole pass over the span, whatever that pass is for.

  Args:
    stage: the stage's settings, seed and span.
    rows: stream of the span's scored rows.
  """

  def __init__(self, stage: Stage, rows: RowStream) -> None:
    self._stage, self._rows = stage, rows
    self._num_rows = stage.settings.privacy.num_scored_rows
    self._drawn: tuple[EncodedRows, int] | None = None

  def stream(self) -> Iterator[EncodedRows]:
    """A pass over the rows; it is drawn from as it goes by, unless a pass before it has ended."""
    if not self._num_rows or self._drawn is not None:
      yield from self._rows()
      return
    # Not by `mix`, by which the stage draws the rows that it learns from.
    sample = BoundedSample(self._num_rows, functools.partial(salted_mix, seed=self._stage.stage_seed))
    count = 0
    for batch in self._rows():
      sample.add(EncodedRows(batch.ids, example_ids=batch.example_ids))
      count += len(batch)
      yield batch
    if sample.has_drawn:
      self._drawn = (sample.shuffled(), count)

  def scored(self, previous: Memory | None, teacher: Teacher) -> ScoredSample | None:
    """The sample with the probabilities of the teacher after the span; None where the settings keep none.

    Args:
      previous: the memory before the stage; None in the first.
      teacher: the teacher after its pass over the span.
    """
    if not self._num_rows:
      return None
    if self._drawn is None:
      for _ in self.stream():
        pass
    if self._drawn is None:
      return None
    rows, count = self._drawn
    return merge(None if previous is None else previous.scored_sample, rows, count, self._num_rows,
                 seed=self._stage.stage_seed, probabilities_of=teacher.probabilities)
