"""The held-back part of a span: a bounded sample of the examples that no stage distils, for judging its memories."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from diet_tf.distillation.scoring import read_scores, score_file
from diet_tf.errors import DataError, FormatError
from diet_tf.log.examples import is_held_back, read_examples
from diet_tf.log.features import FeatureSpec
from diet_tf.log.hashing import mix


@dataclasses.dataclass(frozen=True)
class HeldBack:
  """Held-back examples.

  Attributes:
    ids: `[num_examples, num_fields]` int32.
    labels: `[num_examples]` float32, 0 or 1.
    example_ids: `[num_examples]` int64.
    teacher_logits: `[num_examples]` float32, of the teacher before it saw these examples; NaN where not known.
  """

  ids: np.ndarray
  labels: np.ndarray
  example_ids: np.ndarray
  teacher_logits: np.ndarray

  def __len__(self) -> int:
    return len(self.ids)

  def take(self, rows: np.ndarray) -> HeldBack:
    """The examples at `rows`."""
    return HeldBack(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

  @classmethod
  def concatenate(cls, parts: Sequence[HeldBack]) -> HeldBack:
    """The examples of all parts, in order."""
    return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in dataclasses.fields(cls)))

  def teacher_loss(self) -> float | None:
    """The teacher's mean cross-entropy, or None where its logits are not known."""
    if np.isnan(self.teacher_logits).any():
      return None
    logits = self.teacher_logits.astype(np.float64)
    return float(np.mean(np.logaddexp(0, logits) - self.labels * logits))


def sample_held_back(shards: Sequence[str], spec: FeatureSpec, fraction: float, max_rows: int, *, seed: int,
                     scores_dir: str | None = None) -> HeldBack:
  """At most `max_rows` held-back examples, those first in a pseudo-random order of example ids, in their own order.

  Args:
    shards: of the span's examples.
    spec: the feature spec.
    fraction: share that is held back.
    max_rows: the most examples to return; about twice as many are held at a time.
    seed: of the pseudo-random order.
    scores_dir: folder of the span's scores, for the teacher's logits; None leaves these unknown.

  Raises:
    DataError: no example is held back.
    FormatError: the scores are not of these examples.
  """
  kept: HeldBack | None = None
  for part in _held_back_parts(shards, spec, fraction, scores_dir):
    kept = part if kept is None else HeldBack.concatenate([kept, part])
    if len(kept) > 2 * max_rows:
      kept = _first(kept, max_rows, seed)
  if kept is None or not len(kept):
    raise DataError("span", rule="some of its examples are held back.", received="none.",
                    remedy="begin with a longer span, or raise influence.holdback_fraction.")
  return _first(kept, max_rows, seed)


def _held_back_parts(shards: Sequence[str], spec: FeatureSpec, fraction: float,
                     scores_dir: str | None) -> Iterator[HeldBack]:
  for shard in shards:
    batches = read_examples([shard], spec, 1 << 14, holdback="only", holdback_fraction=fraction)
    columns = [np.concatenate(column) for column in zip(*batches)]
    if not columns:
      continue
    ids, labels, example_ids = columns
    logits = np.full(len(ids), np.nan, np.float32)
    if scores_dir is not None:
      scores = read_scores(score_file(scores_dir, shard))
      held = np.asarray(is_held_back(scores["example_ids"], fraction))
      if not np.array_equal(scores["example_ids"][held], example_ids):
        raise FormatError(score_file(scores_dir, shard), rule="it has one row per example of its shard, in order.",
                          received=f"{int(held.sum())} held-back rows for {len(ids)}, or others.",
                          remedy="score the span again.")
      logits = scores["teacher_logits"][held]
    yield HeldBack(ids, labels, example_ids, logits)


def _first(examples: HeldBack, num_rows: int, seed: int) -> HeldBack:
  if len(examples) <= num_rows:
    return examples
  rows = np.argpartition(mix(examples.example_ids, seed), num_rows)[:num_rows]
  return examples.take(np.sort(rows))
