from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from diet_tf.errors import FormatError
from diet_tf.fidelity.bill import Cost
from diet_tf.report.stage_record import StageRecord, StageSummary, distillation_cost, slots_by_age
from tests.diet_tf.small_report import make_stages
from tests.diet_tf.small_slots import small_slots


def test_slots_by_age():
  slots = small_slots(np.zeros((5, 1)), born_spans=[1, 1, 2, 3, 3], updated_spans=[1, 3, 2, 3, 3])
  assert slots_by_age(slots, 3) == {1: {"changed": 1, "kept": 1}, 2: {"changed": 0, "kept": 1},
                                    3: {"changed": 2, "kept": 0}}


def test_the_record_round_trips(tmp_path):
  path = str(tmp_path / "stage.json")
  full = make_stages()[2]
  for record in (full, dataclasses.replace(full, teacher_loss=None, coverage=None, influences=None, rows=None)):
    record.write(path)
    again = StageRecord.read(path)
    assert again.summary.to_dict() == record.summary.to_dict()
    assert dataclasses.replace(again, summary=record.summary) == record


def test_a_record_of_version_1_is_read(tmp_path):
  path = tmp_path / "stage.json"
  make_stages()[2].write(str(path))
  document = json.loads(path.read_text())
  summary = {key: value for key, value in document["summary"].items() if key not in ("flops", "light")}
  path.write_text(json.dumps({**{key: value for key, value in document.items() if key not in (
      "coverage", "influences", "rows", "diagnosis")}, "summary": summary, "format_version": 1}))
  record = StageRecord.read(str(path))
  assert record.summary.flops == {}
  assert record.summary.span == 3 and record.coverage is record.influences is record.rows is None
  # The keys of another version are none of its own.
  path.write_text(json.dumps({**document, "format_version": 1}))
  with pytest.raises(FormatError, match="unknown: .'coverage', 'diagnosis', 'influences', 'rows'"):
    StageRecord.read(str(path))


def test_a_record_before_operations_were_counted_is_read(tmp_path):
  path = tmp_path / "stage.json"
  make_stages()[2].write(str(path))
  document = json.loads(path.read_text())
  assert document["summary"].pop("light") is None
  path.write_text(json.dumps({**document, "format_version": 5}))
  assert StageRecord.read(str(path)).summary.light is None
  assert document.pop("diagnosis") is None
  path.write_text(json.dumps({**document, "format_version": 4}))
  assert StageRecord.read(str(path)).summary.flops == {"refinement": 6e9, "gate": 1e9}
  del document["summary"]["flops"]
  path.write_text(json.dumps({**document, "format_version": 3}))
  record = StageRecord.read(str(path))
  assert record.summary.flops == {} and record.rows is not None


def test_a_newer_record_is_refused(tmp_path):
  (tmp_path / "stage.json").write_text('{"format_name": "diet_tf.stage", "format_version": 7}')
  with pytest.raises(FormatError, match="format version 7"):
    StageRecord.read(str(tmp_path / "stage.json"))


def test_a_stage_summary_survives_json():
  summary = make_stages()[0].summary
  again = StageSummary.from_dict(json.loads(json.dumps(summary.to_dict())))
  assert again.to_dict() == summary.to_dict()


def test_the_cost_of_a_distillation_is_that_of_all_its_spans():
  stages = make_stages()
  assert distillation_cost(stages, (1, 2, 3)) == Cost(36.0, 21e9)
  assert distillation_cost(stages, (2,)) == Cost(12.0, 7e9)
  # What one span does not know is not known of all.
  uncounted = dataclasses.replace(stages[0], summary=dataclasses.replace(stages[0].summary, flops={}))
  found = distillation_cost([uncounted, *stages[1:]], (1, 2, 3))
  assert found.seconds == 36.0 and math.isnan(found.flops)
  found = distillation_cost(stages[1:], (1, 2, 3))
  assert math.isnan(found.seconds) and math.isnan(found.flops)
