"""A memory of one span that was never refined, with all that a commit keeps of it."""

from __future__ import annotations

import dataclasses
import functools

from diet_tf.distillation.budget import BudgetSettings
from diet_tf.distillation.gate import GateSettings
from diet_tf.distillation.influence import InfluenceSettings
from diet_tf.distillation.refinement import DistillSettings
from diet_tf.distillation.settings import Stage, StageSettings
from diet_tf.distillation.span import Span
from diet_tf.distillation.squash import SquashSettings
from diet_tf.distillation.stage import StageOutcome, run_stage
from diet_tf.distillation.teacher import Teacher
from diet_tf.training.inner_settings import InnerSettings
from tests.diet_tf.small_log import SPEC, TEACHER, draw

SETTINGS = StageSettings(
    teacher=TEACHER, influence=InfluenceSettings(64, 0.1), budget=BudgetSettings(fraction=0.06),
    squash=SquashSettings(ids_per_slot=3, num_components=3, num_iterations=4, sample_rows_per_slot=8),
    distill=DistillSettings(inner=InnerSettings(batch_size=8, epochs=1), proxies=("lr",), effort="draft",
                            outer_batch_size=32, num_initialisations=1, replay_rows=64),
    gate=GateSettings(members=("lr",), num_seeds=1))
NUM_ROWS = 600


@functools.cache
def draft() -> tuple[StageOutcome, Teacher]:
  """What the stage of span 1 made, and the teacher after it."""
  teacher = Teacher(SPEC, TEACHER, seed=1)
  return run_stage(None, Span.of_arrays(1, SPEC, *draw(NUM_ROWS, seed=1)), teacher, SETTINGS, seed=3), teacher


def stage(**distill: object) -> Stage:
  """The stage of that span with other settings of the refinement."""
  settings = dataclasses.replace(SETTINGS, distill=dataclasses.replace(SETTINGS.distill, **distill))
  return Stage(SPEC, settings, 3, 1)
