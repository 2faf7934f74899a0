"""Labels by teachers that did not learn the rows that they label."""

import numpy as np
import pytest

from benchmarks.fidelity.folds import fold_logits, folds, relabelled
from benchmarks.fidelity.streams import distil
from diet_tf.distillation.settings import StageSettings
from diet_tf.distillation.span import ScoredSpan
from diet_tf.distillation.teacher import Teacher, TeacherSettings
from diet_tf.log.encoded_rows import EncodedRows
from tests.diet_tf.small_log import SPEC, TINY, draw

SETTINGS = TeacherSettings(members=(f"dnn({TINY})",), learning_rate=0.05, batch_size=16)


def rows_of(num_rows, seed):
  ids, _, example_ids = draw(num_rows, seed)
  # Nothing can be learned from the ids but what the very rows were.
  labels = np.random.default_rng(seed).integers(0, 2, num_rows).astype(np.float32)
  return EncodedRows(ids, labels, example_ids, np.zeros(num_rows, np.int64))


def test_a_row_is_in_one_of_two_folds_whatever_is_beside_it():
  example_ids = np.arange(1000, dtype=np.int64)
  fold = folds(example_ids)
  assert set(fold) == {0, 1} and 400 < fold.sum() < 600
  np.testing.assert_array_equal(folds(example_ids[::-1]), fold[::-1])


def test_each_fold_is_labelled_by_the_teacher_that_did_not_learn_it():
  rows = rows_of(400, 3)
  teacher = Teacher(SPEC, SETTINGS, seed=0)
  out, within = (fold_logits(rows, teacher, targets) for targets in ("out_of_fold", "in_fold"))
  fold = folds(rows.example_ids)
  # The teacher of the first fold labels it in the one case, and the other fold in the other.
  changed = rows.with_columns(labels=np.where(fold == 0, 1 - rows.labels, rows.labels))
  out_changed, within_changed = (fold_logits(changed, teacher, targets) for targets in ("out_of_fold", "in_fold"))
  np.testing.assert_array_equal(out_changed[fold == 0], out[fold == 0])
  assert (out_changed[fold == 1] != out[fold == 1]).all()
  np.testing.assert_array_equal(within_changed[fold == 1], within[fold == 1])
  assert (within_changed[fold == 0] != within[fold == 0]).all()


def test_the_scored_rows_get_the_labels_of_their_own_example_ids():
  rows = rows_of(200, 4)
  teacher = Teacher(SPEC, SETTINGS, seed=0)
  kept = rows.take(slice(0, 120)).with_columns(teacher_logits=np.zeros(120, np.float32),
                                               influences=np.arange(120, dtype=np.float32))
  backwards = kept.take(np.arange(120)[::-1])
  scored = ScoredSpan(lambda: backwards.batches(50), np.zeros(0, np.float32), 200)
  found = EncodedRows.concatenate(list(relabelled(scored, rows, teacher, "out_of_fold").rows()))
  # Rows that are held back are learned by neither teacher.
  np.testing.assert_array_equal(found.teacher_logits[::-1],
                                fold_logits(rows.take(slice(0, 120)), teacher, "out_of_fold"))
  np.testing.assert_array_equal(found.influences, backwards.influences)


def test_they_are_for_one_stage():
  rows = rows_of(100, 5)
  with pytest.raises(ValueError, match="2 stages"):
    distil(rows, [[0], [1]], SPEC, StageSettings(), seed=0, targets="out_of_fold")
