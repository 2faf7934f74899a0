import re

import numpy as np
import pytest

from diet_tf.errors import FormatError
from diet_tf.report import StageSummary
from diet_tf.slots import Slots
from diet_tf.stage_report import StageRecord, render_stage_report, slots_by_age, write_stage_report

VERDICT = {"chosen": "refined", "losses": {"refined": 0.5, "start": 0.625}, "differences": {"start": -0.125},
           "standard_errors": {"start": 0.01}}


def record(**kwargs):
  summary = StageSummary(span=3, num_examples=1000, num_slots=6, actions={"freeze": 1, "update": 2, "replace": 1,
                                                                          "add": 3},
                         outer_losses=[0.7, 0.65, 0.6], verdict=VERDICT)
  return StageRecord(summary, {1: {"changed": 2, "kept": 1}, 3: {"changed": 3, "kept": 0}}, **kwargs)


def test_slots_by_age():
  count = 5
  slots = Slots(np.zeros((count, 1, 1)), np.ones((count, 1, 1)), np.zeros(count), np.ones(count), np.arange(count),
                np.array([1, 1, 2, 3, 3]), np.array([1, 3, 2, 3, 3]), np.zeros(count))
  assert slots_by_age(slots, 3) == {1: {"changed": 1, "kept": 1}, 2: {"changed": 0, "kept": 1},
                                    3: {"changed": 2, "kept": 0}}


def test_the_record_round_trips(tmp_path):
  path = str(tmp_path / "stage.json")
  record(teacher_loss=0.4).write(path)
  assert StageRecord.read(path) == record(teacher_loss=0.4)
  (tmp_path / "stage.json").write_text('{"format_name": "diet_tf.stage", "format_version": 2}')
  with pytest.raises(FormatError, match="format version 2"):
    StageRecord.read(path)


def test_the_page_shows_the_figures_and_loads_nothing(tmp_path):
  write_stage_report(str(tmp_path / "report.html"), record(teacher_loss=0.4))
  page = (tmp_path / "report.html").read_text()
  for text in ("Stage of span 3", "1,000 examples into 6 slots", "updated 2", "0.62500", "-0.12500 ± 0.01000",
               "0.40000", "Outer loss by outer step"):
    assert text in page
  assert not re.search(r"https?:|src=|@import|url\(", page)


def test_a_stage_without_refinement_or_teacher_loss():
  plain = StageRecord(StageSummary(1, 10, 8), {1: {"changed": 8, "kept": 0}})
  page = render_stage_report(plain)
  assert "Outer loss" not in page and "before it saw" not in page
