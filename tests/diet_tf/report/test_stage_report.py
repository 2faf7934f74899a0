from __future__ import annotations

import dataclasses
import re

from diet_tf.report.stage_record import StageRecord, StageSummary
from diet_tf.report.stage_report import render_stage_report, write_stage_report
from tests.diet_tf.small_report import make_slots, make_stages

RECORD = dataclasses.replace(make_stages()[2], slots_by_age={1: {"changed": 2, "kept": 1}})


def test_the_page_shows_the_figures_and_loads_nothing(tmp_path):
  write_stage_report(str(tmp_path / "report.html"), RECORD, make_slots())
  page = (tmp_path / "report.html").read_text()
  for text in ("Stage of span 3", "2,000 examples into 50 slots", "The gate chose: refined.", "0.65000",
               "-0.05000 ± 0.01000", "0.61000", "Outer loss by outer step", "held-back part of the newest span",
               "examples (40)", "slots (50)", "<td>2,010</td><td>2,000</td><td>8</td><td>2</td><td>30</td>",
               "<td>0.0998</td><td>0.0995</td>"):
    assert text in page
  assert "Not known" not in page
  assert not re.search(r"https?:|src=|@import|url\(", page)
  assert page.count("<script") == 1


def test_what_is_not_known_is_said_to_be_so():
  page = render_stage_report(StageRecord(StageSummary(1, 10, 8), {1: {"changed": 8, "kept": 0}}))
  assert "This stage had no gate." in page and "before it saw" not in page
  assert page.count("Not known") == 6  # All but slots by age.


def test_a_light_stage_says_why_it_was_one():
  light = "3 slots were added."
  page = render_stage_report(StageRecord(StageSummary(1, 10, 8, light=light), {1: {"changed": 8, "kept": 0}}))
  assert "there was no gate, since 3 slots were added." in page and "This stage had no gate." not in page


def test_it_looks_like_the_report_of_a_run():
  from tests.diet_tf.small_report import render

  style = re.compile("<style>.*</style>", re.DOTALL)
  assert style.search(render_stage_report(RECORD))[0] == style.search(render())[0]
