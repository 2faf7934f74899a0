"""The held-back part of a span: a bounded sample of the examples that no stage distils, for judging its memories."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from diet_tf.distillation.scoring import read_scores, score_file
from diet_tf.errors import DataError, FormatError
from diet_tf.log.encoded_rows import EncodedRows, sample_of
from diet_tf.log.examples import is_held_back, read_examples
from diet_tf.log.features import FeatureSpec
from diet_tf.log.hashing import mix


def teacher_loss(rows: EncodedRows) -> float | None:
  """The teacher's mean cross-entropy on rows with labels; None where its logits are not known."""
  if not rows.knows("teacher_logits") or np.isnan(rows.teacher_logits).any():
    return None
  logits = rows.teacher_logits.astype(np.float64)
  return float(np.mean(np.logaddexp(0, logits) - rows.labels * logits))


def sample_held_back(shards: Sequence[str], spec: FeatureSpec, fraction: float, max_rows: int, *, seed: int,
                     scores_dir: str | None = None) -> EncodedRows:
  """At most `max_rows` held-back examples, those first in a pseudo-random order of example ids, in their own order.

  Args:
    shards: paths or URIs of the TFRecord files that hold the span's examples.
    spec: the feature spec.
    fraction: share that is held back.
    max_rows: the most examples to return; about three times as many are held at a time.
    seed: seed of the pseudo-random order of example ids.
    scores_dir: folder of the span's scores, for the teacher's logits; None leaves these unknown.

  Raises:
    DataError: no example is held back.
    FormatError: the scores are not of these examples.
  """
  rows = sample_of(_held_back_parts(shards, spec, fraction, scores_dir), max_rows, functools.partial(mix, seed=seed))
  if rows is None or not len(rows):
    raise DataError("span", rule="some of its examples are held back.", received="none.",
                    remedy="begin with a longer span, or raise influence.holdback_fraction.")
  return rows


def _held_back_parts(shards: Sequence[str], spec: FeatureSpec, fraction: float,
                     scores_dir: str | None) -> Iterator[EncodedRows]:
  for shard in shards:
    batches = read_examples([shard], spec, 1 << 14, holdback="only", holdback_fraction=fraction)
    columns = [np.concatenate(column) for column in zip(*batches)]
    if not columns:
      continue
    ids, labels, example_ids = columns
    logits = None
    if scores_dir is not None:
      scores = read_scores(score_file(scores_dir, shard))
      held = np.asarray(is_held_back(scores["example_ids"], fraction))
      if not np.array_equal(scores["example_ids"][held], example_ids):
        raise FormatError(score_file(scores_dir, shard), rule="it has one row per example of its shard, in order.",
                          received=f"{int(held.sum())} held-back rows for {len(ids)}, or others.",
                          remedy="score the span again.")
      logits = scores["teacher_logits"][held]
    yield EncodedRows(ids, labels, example_ids, teacher_logits=logits)
