"""Operations of a stage: its parts by hand, and an outer step against what TensorFlow's profiler counts."""

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.distillation.cost import (
  StageWork,
  gate_flops,
  num_distances,
  outer_step_flops,
  scoring_flops,
  squash_flops,
  stage_flops,
  teacher_flops,
)
from diet_tf.distillation.gate import GateSettings
from diet_tf.distillation.refinement import DistillSettings
from diet_tf.distillation.settings import StageSettings
from diet_tf.distillation.squash import SquashSettings
from diet_tf.distillation.stage import slot_passes
from diet_tf.distillation.teacher import TeacherSettings
from diet_tf.memory.recipe import Recipe
from diet_tf.models import parameter_group
from diet_tf.models.inputs import build_with_form
from diet_tf.training.bilevel import DifferentiableTraining, InnerSettings, _Pulled
from diet_tf.training.compact import CompactIds
from diet_tf.training.flops import ForwardFlops, forward_flops, graph_flops
from diet_tf.training.slot_trainer import Candidate, recipe_inputs
from tests.diet_tf.small_log import SPEC
from tests.diet_tf.small_slots import small_slots

PROXY = ForwardFlops(row=10.0, bag=12.0, place=4.0, is_packed=True)


def test_teacher_and_scores_by_hand():
  # Two members, three operations' worth of a forward pass for each of 100 rows.
  assert teacher_flops([10.0, 20.0], 100) == 3 * (10 + 20) * 100
  # At each of two checkpoints 70 rows, 10 reference rows and 5 slots twice; the logits of 90 rows, and of the slots
  # before and after the pass.
  assert scoring_flops([10.0, 20.0], [50.0, 60.0], 2, num_rows=90, num_influences=70, num_reference_rows=10,
                       num_slots=5) == 2 * 2 * (80 * 10 + 10 * 50) + 90 * 30 + 2 * 5 * 110


def test_squash_by_hand():
  settings = SquashSettings(num_components=3, num_iterations=2, sample_rows_per_slot=4)
  # A sample of 4 x 5 rows in 6 coordinates, three components and the logit.
  fitted, placed, distances = 2 * 10 + 2 * 36, 2 * 6 * 3, 5 * (2 * 20 + 90)
  found = squash_flops(10.0, 6, settings, num_rows=90, num_clusters=5)
  assert found == 20 * fitted + 110 * placed + 2 * 4 * distances
  assert squash_flops(10.0, 6, settings, num_rows=90, num_clusters=0) == 0
  assert squash_flops(10.0, 6, SquashSettings(clusters="random"), num_rows=90, num_clusters=5) == 0


def test_distances_on_two_levels_by_hand():
  # 1,600 centres in 40 cells of 40 each; a point is looked for among the cells and in 8 of them.
  looked_for = 40 + 8 * 40
  assert num_distances(1600, 20_000, 50_000, 2) == (
      (2 * 256 * 40 + 20_000) * 40 + 2 * 20_000 * 40 + (3 * 20_000 + 50_000) * looked_for)


def test_outer_steps_and_gate_by_hand():
  # Sixteen slots in two epochs, an outer batch of 8 rows.
  assert outer_step_flops(PROXY.row, 12.0, 32, 8) == 12 * 12 * 32 + 3 * 10 * 8
  # Where the steps are made again on the way back, a training forwards more.
  assert outer_step_flops(PROXY.row, 12.0, 32, 8, made_again=True) == 15 * 12 * 32 + 3 * 10 * 8
  # Two members from three seeds on candidates of 32 and 16 slots' passes, judged on 40 rows.
  assert gate_flops([(12.0, 10.0), (6.0, 5.0)], 3, [32, 16], 40) == 3 * (
      3 * 12 * 48 + 2 * 10 * 40 + 3 * 6 * 48 + 2 * 5 * 40)


def slots(num_slots=8, num_fields=3, max_ids=2):
  random = np.random.default_rng(0)
  return small_slots(random.integers(1, 5, size=(num_slots, num_fields, max_ids)),
                     np.full((num_slots, num_fields, max_ids), 1 / max_ids), spec=SPEC)


def test_a_stage_by_its_parts(monkeypatch):
  settings = StageSettings(
      teacher=TeacherSettings(members=("lr",), num_checkpoints=1), squash=SquashSettings(clusters="random"),
      distill=DistillSettings(inner=InnerSettings(batch_size=8, epochs=2), proxies=("fm", "lr"), outer_batch_size=16,
                              replay_rows=20), gate=GateSettings(members=("lr",), num_seeds=1))
  work = StageWork(num_rows=100, num_held_back=10, num_scored=90, num_old_slots=4, num_added=4, slots=slots(),
                   proxies=("fm", "lr", "fm"), slot_passes=[16, 16], num_judged=10, num_influences=40)
  found = stage_flops(work, SPEC, settings)
  lr, fm = (forward_flops(name, SPEC.names) for name in ("lr", "fm"))
  on_slot = {one: one.slot((2, 2, 2), 2) for one in (lr, fm)}
  assert found == {
      "teacher and scores": (3 * lr.row * 100 + 2 * (lr.row * 50 + 2 * 4 * on_slot[lr]) + 90 * lr.row
                             + 2 * 4 * on_slot[lr]),
      "addressing": 0.0,
      "refinement": 20 * lr.row + sum(12 * on_slot[one] * 16 + 3 * one.row * 16 for one in (fm, lr, fm)),
      "gate": 3 * on_slot[lr] * 32 + 2 * lr.row * 10}
  # Where no weights are kept, each inner training is made once more.
  monkeypatch.setattr("diet_tf.distillation.cost.KEPT_BYTES", 0)
  more = stage_flops(work, SPEC, settings)["refinement"] - found["refinement"]
  assert more == sum(3 * on_slot[one] * 16 for one in (fm, lr, fm))
  first = StageWork(100, 10, 90, 0, 8, slots(), (), [16, 16], 10)
  assert stage_flops(first, SPEC, settings)["refinement"] == 0.0


def test_candidates_that_are_equal_are_trained_on_once():
  start, recipe = slots(), Recipe(batch_size=8, epochs=2)
  refined = Candidate(start.replace(labels=np.float32(start.labels / 2)), recipe)
  assert slot_passes([refined, Candidate(start, recipe)]) == [16, 16]
  # What was not refined is its start.
  assert slot_passes([Candidate(start, recipe), Candidate(start.replace(labels=start.labels.copy()), recipe)]) == [16]


@pytest.mark.parametrize("name", ["dnn", "dcn_v2"])
def test_an_outer_step_is_what_the_profiler_counts_of_its_graph(name):
  """One inner step forwards and backwards, and the outer batch; Adam's part, which is left out, is small beside."""
  batch = 128
  inner = InnerSettings(batch_size=batch, epochs=1)
  some = slots(num_slots=batch)
  compact = CompactIds.of(SPEC, some)
  training = DifferentiableTraining(build_with_form(name, compact.spec).model, inner, parameter_group)
  inputs = recipe_inputs(compact.slots(some), Recipe(batch_size=batch, epochs=1))
  # One step of all slots: with one there is no loop, whose body would count once, and all shapes are known.
  training._batch = lambda given, step: (given.ids, [given.weights, given.labels, given.sample_weights])

  def one_inner_step():
    prepared = training._prepared(inputs)
    training._forward_step(prepared, tf.constant(0))
    zeros = training._zeros()
    return training._reverse_step(prepared, tf.constant(0), _Pulled(zeros, [], zeros, zeros, zeros, zeros))[0]

  def outer_batch(ids, targets, importances):
    return training._outer_gradients({"ids": ids}, targets, importances)

  counted = graph_flops(one_inner_step) + graph_flops(
      outer_batch, tf.TensorSpec([batch, 3], tf.int32), tf.TensorSpec([batch]), tf.TensorSpec([batch]))
  forward = forward_flops(name, SPEC.names)
  expected = outer_step_flops(forward.row, forward.slot((2, 2, 2), 2), batch, batch)
  np.testing.assert_allclose(expected, counted, rtol=0.1)
