"""Distilling a stream from arrays: one memory for one seed, stages that build on each other, the choice of the gate."""

import dataclasses

import numpy as np
import pytest

from benchmarks.fidelity.streams import distil, refine_for_search
from diet_tf.distillation import stage
from diet_tf.distillation.budget import BudgetSettings
from diet_tf.distillation.gate import GateSettings
from diet_tf.distillation.refinement import DistillSettings
from diet_tf.distillation.settings import StageSettings
from diet_tf.distillation.squash import SquashSettings
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.memory.slots import Slots
from diet_tf.training.bilevel import InnerSettings
from tests.diet_tf.small_log import SPEC, TEACHER, TINY, draw

SETTINGS = StageSettings(
    teacher=TEACHER, budget=BudgetSettings(0.06), squash=SquashSettings(ids_per_slot=3, num_components=3),
    distill=DistillSettings(inner=InnerSettings(batch_size=8, epochs=1), proxies=("lr",), outer_steps=3,
                            outer_batch_size=32, num_initialisations=1, replay_rows=64),
    gate=GateSettings(members=(f"dnn({TINY})",), num_seeds=1))


def log_of(*spans):
  parts = [draw(400, seed=span) for span in spans]
  return EncodedRows(*(np.concatenate(column) for column in zip(*parts)), np.repeat(spans, 400))


@pytest.fixture(scope="module")
def stream():
  return distil(log_of(1, 2), [[1], [2]], SPEC, SETTINGS, seed=0)[0]


def test_each_stage_adds_to_the_memory_before_it(stream):
  first, second = stream
  assert len(first.memory) == 24 and len(second.memory) == 48
  assert first.actions == {"freeze": 0, "update": 0, "replace": 0, "add": 24}
  assert second.actions["update"] == 24 and second.actions["add"] == 24
  assert second.memory.manifest.num_examples_seen == 800
  assert set(second.start.slots.born_spans) == {1, 2}
  assert set(second.seconds) == {"teacher and scores", "addressing", "refinement", "gate"}
  assert min(second.seconds.values()) > 0


def test_a_search_refines_what_a_light_stage_left_and_nothing_else():
  rarely = dataclasses.replace(SETTINGS, distill=dataclasses.replace(SETTINGS.distill, refine_growth=2.0))
  (first, second), teacher = distil(log_of(1, 2), [[1], [2]], SPEC, rarely, seed=0)
  assert first.light is None and second.light is not None
  assert refine_for_search(first, teacher, rarely, span=1, seed=0) is None
  found = refine_for_search(second, teacher, rarely, span=2, seed=0)
  assert found.outer_steps == 3 and found.memory.manifest.span == 2 and len(found.memory) == 48
  refined = found.chosen == "refined"
  assert (found.memory.slots.labels != second.memory.slots.labels).any() == refined
  assert set(found.flops) == {"refinement", "gate"}
  assert min(*found.seconds.values(), *found.flops.values()) > 0
  drafts = dataclasses.replace(rarely, distill=dataclasses.replace(rarely.distill, outer_steps=0))
  assert refine_for_search(second, teacher, drafts, span=2, seed=0) is None


def test_slots_can_be_labelled_out_of_fold(stream):
  out = distil(log_of(1, 2), [[1]], SPEC, SETTINGS, seed=0, targets="out_of_fold")[0][0]
  assert out.actions == stream[0].actions and out.memory.manifest.num_examples_seen == 400
  assert (out.start.slots.labels != stream[0].start.slots.labels).all()


def test_one_seed_gives_the_same_memory_and_another_does_not(stream):
  again = distil(log_of(1, 2), [[1], [2]], SPEC, SETTINGS, seed=0)[0][1].memory.slots
  other = distil(log_of(1, 2), [[1], [2]], SPEC, SETTINGS, seed=1)[0][1].memory.slots
  for name in Slots.DTYPES:
    np.testing.assert_array_equal(getattr(stream[1].memory.slots, name), getattr(again, name), err_msg=name)
  assert not np.array_equal(other.labels, again.labels)


def test_all_spans_at_once_are_one_stage_with_the_whole_budget():
  outcomes, teacher = distil(log_of(1, 2), [[1, 2]], SPEC, SETTINGS, seed=0)
  assert len(outcomes) == 1 and len(outcomes[0].memory) == 48
  assert teacher.num_examples_seen == 800 and set(outcomes[0].memory.slots.born_spans) == {2}


def test_held_back_rows_are_the_gates_alone(monkeypatch):
  seen = {}

  def judge(candidates, spec, ids, labels, settings, *, seed, progress=None):
    seen.update(num_rows=len(ids), candidates=set(candidates))
    return dataclasses.make_dataclass("Verdict", ["chosen"])("start")

  monkeypatch.setattr(stage, "judge", judge)
  rows = log_of(1)
  outcome = distil(rows, [[1]], SPEC, SETTINGS, seed=0)[0][0]
  assert 0 < seen["num_rows"] < 100 and seen["candidates"] == {"refined", "start"}
  np.testing.assert_array_equal(outcome.memory.slots.labels, outcome.start.slots.labels)
