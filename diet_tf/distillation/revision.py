"""A revision: the newest memory refined once more, on demand and by more steps than its stage took, before a search.

The rows are those that its commit carries; an eighth of them is kept from the outer batches, and the revision is judged
on it against the memory that it revises, by the gate's rule and against the teacher's probabilities. What a stage does
with its start, `refine_start`, is done with the memory here; there is no other way to refine.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from diet_tf.distillation.addressing import ACTION_NAMES, Action
from diet_tf.distillation.carried_rows import CarriedRows
from diet_tf.distillation.gate import REFINED, START, Verdict, judge
from diet_tf.distillation.refinement import initial_recipe
from diet_tf.distillation.refinement_checkpoints import Checkpoints
from diet_tf.distillation.settings import Stage
from diet_tf.distillation.stage import labelled, refine_start
from diet_tf.distillation.start import Start
from diet_tf.distillation.teacher import Teacher
from diet_tf.errors import ConfigError, DataError
from diet_tf.log.hashing import salted_mix
from diet_tf.memory.memory import Memory
from diet_tf.progress import Progress, silent
from diet_tf.training.slot_trainer import Candidate

# Of the carried rows, one of so many is judged on.
JUDGED_SHARE = 8


@dataclasses.dataclass(frozen=True)
class Revision:
  """What a refinement on demand made.

  Attributes:
    memory: the refined memory, not saved yet; of the span, lineage and number of examples of the one that it revises.
    verdict: the gate's verdict on it; `START` is the memory as it was.
    losses: `[outer_steps]`, the outer loss before each update.
    num_judged: number of the carried rows that it was judged on.
    proxies: per outer step, the proxy that took its turn.
  """

  memory: Memory
  verdict: Verdict
  losses: np.ndarray
  num_judged: int
  proxies: tuple[str, ...] = ()

  @property
  def is_better(self) -> bool:
    """Whether the memory as it was is not better by more than noise."""
    return self.verdict.chosen == REFINED


def revise(stage: Stage, memory: Memory, carried: CarriedRows, teacher: Teacher, *,
           strategy: tf.distribute.Strategy | None = None, progress: Progress = silent,
           checkpoints: Checkpoints | None = None) -> Revision:
  """The memory refined once more, all its slots, and how it compares.

  Args:
    stage: settings to refine by, and the span of the memory.
    memory: the memory, of that span.
    carried: the rows that its commit carries.
    teacher: the teacher of its commit.
    strategy: strategy whose devices each train a proxy of their own; None takes one device.
    progress: callback that is told of each outer step, and of each training of the gate.
    checkpoints: where the refinement keeps its state, to go on from; None keeps none.

  Raises:
    ConfigError: no outer steps are asked for.
    DataError: there are too few rows to refine on and to judge by.
  """
  distill = stage.settings.distill
  if not distill.by_effort.outer_steps:
    raise ConfigError("distill.outer_steps", rule="a refinement takes at least one outer step.", received="0.",
                      remedy="name an effort that takes some, ranking or fidelity.")
  judged_on, learned_from = _parts(carried)
  if not len(judged_on) or not len(learned_from):
    raise DataError(f"span {stage.span}", rule="its commit carries rows, some to refine on and others to judge by.",
                    received=f"{len(carried)} rows.", remedy="a rule on users lets no rows be carried, and commits of "
                    "earlier releases have none: there the memory is refined with the next span alone.")
  start = _start(stage, memory)
  refined = refine_start(stage, start, memory, learned_from, teacher, strategy=strategy, progress=progress,
                         checkpoints=checkpoints)
  rows = labelled(judged_on.rows.ids[:stage.settings.gate.max_examples], teacher)
  verdict = judge({REFINED: Candidate(refined.slots, refined.recipe), START: Candidate(memory.slots, memory.recipe)},
                  stage.spec, rows.ids, rows.labels, stage.settings.gate, seed=stage.stage_seed, progress=progress)
  manifest = memory.manifest
  made = Memory.create(refined.slots, memory.spec, refined.recipe, span=manifest.span,
                       num_examples_seen=manifest.num_examples_seen, budget=manifest.budget, lineage=manifest.lineage,
                       settings_digest=stage.settings.digest(stage.spec, stage.seed),
                       ids_per_slot=stage.settings.squash.ids_per_slot, users_per_id=manifest.users_per_id,
                       scored_sample=memory.scored_sample)
  return Revision(made, verdict, refined.losses, len(rows), refined.proxies)


def _start(stage: Stage, memory: Memory) -> Start:
  count = len(memory.slots)
  slots = memory.slots.replace(updated_spans=np.full(count, stage.span))
  recipe = initial_recipe(stage.settings.distill, count, memory.recipe)
  return Start(slots, np.full(count, Action.UPDATE, np.int8), recipe,
               {**dict.fromkeys(ACTION_NAMES, 0), Action.UPDATE.name.lower(): count}, memory.manifest.num_examples_seen)


def _parts(carried: CarriedRows) -> tuple[CarriedRows, CarriedRows]:
  """The rows that are judged on, and those that outer batches are drawn from."""
  judged = salted_mix(carried.rows.example_ids, 0) % np.uint64(JUDGED_SHARE) == 0
  first, second = (dataclasses.replace(carried, rows=carried.rows.take(which)) for which in (judged, ~judged))
  return first, second
