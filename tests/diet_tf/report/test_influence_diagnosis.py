"""The most harmful examples and slots, from score files by hand, and what the stage's report says of them."""

import dataclasses

import numpy as np
import pytest

from diet_tf.distillation.scoring import SCORES
from diet_tf.report.influence_diagnosis import HarmfulExample, HarmfulSlot, InfluenceDiagnosis, diagnose
from diet_tf.report.stage_record import StageRecord
from diet_tf.report.stage_report import render_stage_report
from tests.diet_tf.small_report import make_stages
from tests.diet_tf.small_slots import small_slots


def write_scores(path, first_id, influences, is_scored=True):
  count = len(influences)
  ids = np.arange(first_id, first_id + count)
  SCORES.write(str(path), {
      "example_ids": ids, "labels": (ids % 2).astype(np.float32), "is_scored": np.full(count, is_scored),
      "teacher_logits": np.log(np.full(count, 3, np.float32)), "influences": np.array(influences, np.float32)})
  return str(path)


@pytest.fixture
def paths(tmp_path):
  return [write_scores(tmp_path / "a.npz", 10, [0.5, -0.25, -2.0]), write_scores(tmp_path / "b.npz", 20, [-0.5, 1.0]),
          write_scores(tmp_path / "c.npz", 30, [0, 0, 0], False)]


def test_the_examples_of_least_influence_come_first(paths):
  # Logit log 3 is a probability of 3/4. Nothing is held back at a fraction this small.
  found, histogram = diagnose(paths, 1e-6, None, np.zeros(0, np.float32), withheld=False)
  assert (found.num_examples, found.num_scored, found.slots) == (8, 5, ())
  assert [(one.example_id, one.label, one.influence) for one in found.examples] == [
      (12, 0, -2), (20, 0, -0.5), (11, 1, -0.25)]
  assert found.examples[0].probability == pytest.approx(0.75)
  assert histogram.total == 5


def test_no_single_example_is_shown_where_it_is_withheld(paths):
  found, histogram = diagnose(paths, 1e-6, None, np.zeros(0, np.float32), withheld=True)
  assert found.examples is None and histogram.total == 5
  page = render_stage_report(dataclasses.replace(make_stages()[2], diagnosis=found))
  assert "Single examples are not shown" in page and "example id</th>" not in page


def test_slots_of_negative_influence_are_listed():
  slots = small_slots(np.ones((3, 3)), labels=np.array([0.25, 0.5, 0.75]), born_spans=np.array([1, 2, 2]))
  found, _ = diagnose([], 0.1, slots, np.array([-1, 0.5, -3], np.float32), withheld=False)
  assert found.slots == (HarmfulSlot(int(slots.slot_ids[2]), 2, 0.75, -3.0),
                         HarmfulSlot(int(slots.slot_ids[0]), 1, 0.25, -1.0))


def test_the_report_shows_both_and_says_that_it_is_a_sample(tmp_path):
  diagnosis = InfluenceDiagnosis(5000, 4096, (HarmfulExample(123456, 1.0, 0.0125, -0.003),),
                                 (HarmfulSlot(77, 2, 0.25, -0.001),))
  record = dataclasses.replace(make_stages()[2], diagnosis=diagnosis)
  record.write(str(tmp_path / "stage.json"))
  assert StageRecord.read(str(tmp_path / "stage.json")).diagnosis == diagnosis
  page = render_stage_report(record)
  for text in ("4,096 of 5,000", "a sample", "123456", "0.0125", "-3.00e-03", ">77<", "-1.00e-03"):
    assert text in page, text
  assert "Harmful influence" not in render_stage_report(make_stages()[2])
