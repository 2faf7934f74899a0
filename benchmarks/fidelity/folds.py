"""Labels by teachers that did not learn the very rows that they label, to see whether this changes the memory."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from diet_tf.distillation.span import ScoredSpan
from diet_tf.distillation.teacher import Teacher
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.examples import rows_dataset
from diet_tf.log.hashing import salted_mix
from diet_tf.training.blocks import in_blocks

# Whose logits rows have, which become labels of new slots, targets of outer batches and a coordinate of the clusters:
# the teacher's that goes on from stage to stage; those of two teachers of half of the rows each, for the half that they
# did not learn; or for the half that they did learn, which tells what is due to the smaller number of rows.
Targets = Literal["teacher", "out_of_fold", "in_fold"]
# An order of its own, which no stage draws by.
_FOLD_SEED = 0x0F01D
_STREAM_ROWS = 8192


def folds(example_ids: np.ndarray) -> np.ndarray:
  """`[num_rows]` int, the fold of each row, 0 or 1, by its example id (`[num_rows]` int64)."""
  return (salted_mix(example_ids, _FOLD_SEED) & np.uint64(1)).astype(np.int64)


def fold_logits(rows: EncodedRows, teacher: Teacher, targets: Targets) -> np.ndarray:
  """`[num_rows]` float32, the logits of each row by one of two teachers that have each learned one fold in one pass.

  Args:
    rows: rows with labels and example ids, in the order of time.
    teacher: teacher whose settings and seed the two others have.
    targets: "out_of_fold" for the teacher that did not learn the row, "in_fold" for the one that did.
  """
  fold = folds(rows.example_ids)
  logits = np.empty(len(rows), np.float32)
  for number in (0, 1):
    learned = rows.take(fold == number)
    half = Teacher(teacher.spec, teacher.settings, seed=teacher.seed)
    half.advance(rows_dataset(learned, teacher.settings.batch_size), len(learned), keep_checkpoints=False)
    labelled = np.flatnonzero((fold == number) == (targets == "in_fold"))
    logits[labelled] = in_blocks(half.logits, rows.ids[labelled])
  return logits


def relabelled(scored: ScoredSpan, rows: EncodedRows, teacher: Teacher, targets: Targets) -> ScoredSpan:
  """A scored span with the logits of `fold_logits` in the place of the teacher's.

  Args:
    scored: span after the teacher's pass.
    rows: rows of the span with labels, in the order of time, among which are those that were scored.
    teacher: teacher after its pass.
    targets: whose logits are taken.
  """
  kept = EncodedRows.concatenate(list(scored.rows()))
  learnt = rows.take(np.isin(rows.example_ids, kept.example_ids))
  order = np.argsort(learnt.example_ids)
  place = order[np.searchsorted(learnt.example_ids, kept.example_ids, sorter=order)]
  labelled = kept.with_columns(teacher_logits=fold_logits(learnt, teacher, targets)[place])
  return dataclasses.replace(scored, rows=lambda: labelled.batches(_STREAM_ROWS))
