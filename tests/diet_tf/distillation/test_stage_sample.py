"""The scored sample of a stage: drawn in the pass that the stage makes anyway, whatever way the rows come."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from diet_tf.distillation.settings import Stage, StageSettings
from diet_tf.distillation.stage_sample import StageSample
from diet_tf.distillation.teacher import Teacher
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.memory.memory import Memory
from diet_tf.memory.privacy import PrivacySettings
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.scored_sample import ScoredSample
from tests.diet_tf.small_log import SPEC, TEACHER, scored
from tests.diet_tf.small_slots import small_slots


class Span:
  """Rows as a stream in batches, which counts its passes."""

  def __init__(self, rows: EncodedRows, batch_size: int) -> None:
    self.rows, self.batch_size, self.passes = rows, batch_size, 0

  def __call__(self):
    self.passes += 1
    return self.rows.batches(self.batch_size)


@pytest.fixture(scope="module")
def teacher():
  return Teacher(SPEC, TEACHER, seed=1)


def stage(span=1, **privacy):
  return Stage(SPEC, StageSettings(privacy=PrivacySettings(**privacy)), 0, span)


def a_memory(sample):
  return Memory.create(small_slots([[1, 1, 1]], spec=SPEC), SPEC, Recipe(), span=0, num_examples_seen=200, budget={},
                       scored_sample=sample)


def drawn(rows, batch_size, teacher, previous=None, **privacy):
  return StageSample(stage(**privacy), Span(rows, batch_size)).scored(previous, teacher)


def test_order_and_batches_of_the_rows_do_not_matter(teacher):
  rows = scored(300)
  samples = [drawn(some, size, teacher, scored_rows=40)
             for some, size in ((rows, 300), (rows, 7), (rows.take(np.arange(300)[::-1]), 64))]
  assert len(samples[0]) == 40 and samples[0].num_examples == 300
  for sample in samples[1:]:
    np.testing.assert_array_equal(sample.ids, samples[0].ids)
    np.testing.assert_array_equal(sample.probabilities, samples[0].probabilities)
  known = {tuple(ids) for ids in rows.ids.tolist()}
  assert {tuple(ids) for ids in samples[0].ids.tolist()} <= known
  np.testing.assert_allclose(samples[0].probabilities, 1 / (1 + np.exp(-teacher.logits(samples[0].ids).numpy())),
                             rtol=1e-5)


def test_a_pass_for_something_else_is_drawn_from_once(teacher):
  span = Span(scored(100), 30)
  sample = StageSample(stage(scored_rows=10), span)
  next(iter(sample.stream()))  # A pass that breaks off.
  for _ in range(2):
    assert sum(len(batch) for batch in sample.stream()) == 100
  found = sample.scored(None, teacher)
  assert span.passes == 3
  np.testing.assert_array_equal(found.ids, drawn(scored(100), 100, teacher, scored_rows=10).ids)


def test_the_sample_before_is_carried(teacher):
  old = ScoredSample(scored(50, seed=9).ids, np.zeros(50), 200)
  sample = drawn(scored(200), 200, teacher, a_memory(old), scored_rows=50)
  assert len(sample) == 50 and sample.num_examples == 400
  num_old = len({tuple(ids) for ids in sample.ids.tolist()} & {tuple(ids) for ids in old.ids.tolist()})
  assert 12 < num_old < 38  # 25 on average, with a standard deviation below 3.6; a few rows are of both spans.


def test_none_where_the_settings_keep_none(teacher):
  old = a_memory(ScoredSample(np.ones([1, 3]), np.ones(1), 1))
  for privacy in ({"scored_rows": 0}, {"user_field": "user", "min_users_per_id": 2}):
    span = Span(scored(20), 20)
    assert StageSample(stage(**privacy), span).scored(old, teacher) is None and not span.passes


def test_the_settings_of_a_sample_change_no_digest_by_default():
  plain = StageSettings.from_json(StageSettings().to_json())  # With what the effort decides written out.
  ruled = dataclasses.replace(plain, privacy=PrivacySettings("user", 3))
  assert "scored_rows" not in plain.to_json() and "scored_rows" not in ruled.to_json()
  fewer = dataclasses.replace(plain, privacy=PrivacySettings(scored_rows=5))
  assert StageSettings.from_json(fewer.to_json()) == fewer and StageSettings.from_json(ruled.to_json()) == ruled
