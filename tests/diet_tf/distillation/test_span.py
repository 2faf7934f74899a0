"""A span in memory: what is refused, and that it gives a stage what the files of the same rows give it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.distillation.influence import InfluenceSettings
from diet_tf.distillation.scoring import SpanScorer
from diet_tf.distillation.settings import StageSettings
from diet_tf.distillation.span import RowsInParts, Span, score_span
from diet_tf.distillation.squash import SquashSettings
from diet_tf.distillation.teacher import Teacher
from diet_tf.errors import DataError
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.examples import example_dataset, is_held_back
from tests.diet_tf.small_log import SPEC, TEACHER, draw, write_shards

SETTINGS = StageSettings(teacher=TEACHER, influence=InfluenceSettings(64, 0.1))
READS_INFLUENCES = dataclasses.replace(SETTINGS, squash=SquashSettings(influence_exponent=0.5))


def test_rows_without_ids_of_their_own_are_numbered_by_span():
  ids, labels, _ = draw(5)
  assert Span.of_arrays(3, SPEC, ids, labels).rows.example_ids.tolist() == [(3 << 32) + row for row in range(5)]


@pytest.mark.parametrize("change,message", [
    ({"ids": np.ones((4, 2), int)}, "column for each of the 3 fields.*2 columns"),
    ({"ids": np.array([[1, 1, 1], [1, 9, 1], [1, 1, 1], [1, 1, 1]])}, r"field 'item'.*\[0, 9\).*ids from 1 to 9"),
    ({"ids": np.array([[1, 1, 1], [-1, 1, 1], [1, 1, 1], [1, 1, 1]])}, "field 'user'.*ids from -1 to 1"),
    ({"ids": np.full((4, 3), 2**32 + 1)}, "field 'user'.*ids from 4294967297"),
    ({"ids": np.array([[1, 1, 1], [1, np.nan, 1], [1, 1, 1], [1, 1, 1]])}, "its ids are integers.*float64"),
    ({"example_ids": np.array([1.0, 1.5, 2.0, 3.0])}, "its example ids are integers.*float64"),
    ({"labels": np.array([0, 1, 0.5, 1])}, "0 or 1.*0.5"),
    ({"labels": np.array([0, 1, np.nan, 1])}, "0 or 1.*nan"),
    ({"labels": np.zeros(3)}, "one entry per row"),
    ({"labels": np.zeros(4)}, "both labels.*4 rows, 0 of them clicks"),
    ({"labels": np.ones(4)}, "both labels.*4 rows, 4 of them clicks"),
    ({"example_ids": np.array([1, 2, 2, 3])}, "stands twice")])
def test_arrays_that_do_not_fit_are_refused(change, message):
  arrays = {"ids": np.ones((4, 3), int), "labels": np.array([0, 1, 0, 1]), **change}
  with pytest.raises(DataError, match=message):
    Span.of_arrays(1, SPEC, **arrays)


def test_a_number_below_0_is_refused():
  with pytest.raises(DataError, match="span -1.*at least 0"):
    Span.of_arrays(-1, SPEC, np.ones((2, 3), int), np.array([0, 1]), np.arange(2))


@pytest.mark.parametrize("by_name", [False, True])
def test_a_dataset_gives_the_span_of_its_arrays(by_name):
  ids, labels, example_ids = draw(50)
  given = {name: ids[:, field] for field, name in enumerate(SPEC.names)} if by_name else ids
  dataset = tf.data.Dataset.from_tensor_slices((given, labels, example_ids)).batch(7)
  found, expected = Span.of_dataset(2, SPEC, dataset), Span.of_arrays(2, SPEC, ids, labels, example_ids)
  for name in ("ids", "labels", "example_ids"):
    np.testing.assert_array_equal(getattr(found.rows, name), getattr(expected.rows, name))
  without = Span.of_dataset(2, SPEC, tf.data.Dataset.from_tensor_slices((given, labels)).batch(7))
  np.testing.assert_array_equal(without.rows.example_ids, Span.of_arrays(2, SPEC, ids, labels).rows.example_ids)


def test_an_empty_dataset_is_refused():
  ids, labels, _ = draw(4)
  with pytest.raises(DataError, match="span 2.*no batch"):
    Span.of_dataset(2, SPEC, tf.data.Dataset.from_tensor_slices((ids, labels)).batch(2).take(0))


def test_a_part_without_rows_is_refused():
  with pytest.raises(DataError, match="0 of 5 held back"):
    RowsInParts(Span.of_arrays(1, SPEC, *draw(5)[:2], np.arange(1, 6)), 1e-9)


def test_a_span_in_memory_is_scored_as_its_files_are(tmp_path):
  columns = draw(600)
  shards = write_shards(tmp_path, columns, 1)
  sets = {part: example_dataset(shards, SPEC, TEACHER.batch_size, holdback=part) for part in ("without", "only")}
  held = np.asarray(is_held_back(columns[2], 0.1))
  one, other = (Teacher(SPEC, TEACHER, seed=1) for _ in range(2))
  one.advance(sets["without"], int((~held).sum()))
  scorer = SpanScorer(one, SETTINGS.influence)
  scorer.fit_reference(example_dataset(shards, SPEC, 64, holdback="only"), None)
  expected = scorer.score_examples(EncodedRows(*(column[~held] for column in columns)))
  one.advance(sets["only"], int(held.sum()), keep_checkpoints=False)
  scored, held_back = score_span(Span.of_arrays(1, SPEC, *columns), None, other, READS_INFLUENCES)
  (rows,) = scored.rows()
  np.testing.assert_array_equal(rows.example_ids, columns[2][~held])
  np.testing.assert_allclose(rows.teacher_logits, expected["teacher_logits"], rtol=1e-6)
  np.testing.assert_allclose(rows.influences, expected["influences"], rtol=1e-4, atol=1e-8)
  np.testing.assert_array_equal(held_back.ids, columns[0][held])
  assert scored.num_examples == 600 and len(scored.slot_influences) == len(scored.slot_drifts) == 0
  np.testing.assert_array_equal(one.logits(columns[0]), other.logits(columns[0]))


def test_influences_that_no_rule_reads_are_not_computed():
  spans = (score_span(Span.of_arrays(1, SPEC, *draw(600)), None, Teacher(SPEC, TEACHER, seed=1), settings)[0]
           for settings in (SETTINGS, READS_INFLUENCES))
  (without,), (with_them,) = (scored.rows() for scored in spans)
  assert not without.knows("influences") and with_them.knows("influences")
  np.testing.assert_array_equal(without.teacher_logits, with_them.teacher_logits)
