"""One stage: (memory, span, teacher) -> memory. Its parts are what the pipeline's components call one each.

No part reads a span before. But `refine_start` and the gate train on all slots, and their work grows with these, at
most up to the square: with the spans before, until `budget.max_slots` is reached. docs/method.md, "What grows with the
spans before", has a table of all parts, for time and memory.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np
import tensorflow as tf

from diet_tf.distillation.addressing import Action
from diet_tf.distillation.cost import (
  ADDRESSING_PART,
  GATE_PART,
  REFINEMENT_PART,
  SCORES_PART,
  StageWork,
  stage_flops,
)
from diet_tf.distillation.gate import PREVIOUS, REFINED, START, Verdict, are_equal, judge
from diet_tf.distillation.refinement import Refined, devices_of, refine, replay
from diet_tf.distillation.refinement_checkpoints import Checkpoints
from diet_tf.distillation.settings import Stage, StageSettings
from diet_tf.distillation.span import ScoredSpan, Span, score_span
from diet_tf.distillation.start import Start, begin, num_weighed, outer_examples
from diet_tf.distillation.teacher import Teacher
from diet_tf.errors import DataError
from diet_tf.log.encoded_rows import BoundedSample, EncodedRows, RowStream
from diet_tf.log.hashing import mix
from diet_tf.memory.memory import Memory
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.progress import Progress, silent
from diet_tf.training.replayable import require_replayable_members
from diet_tf.training.slot_trainer import Candidate


class Trainable(Protocol):
  """Slots with the recipe to train on them: a memory, a start, a refinement."""

  @property
  def slots(self) -> Slots:
    """The slots."""

  @property
  def recipe(self) -> Recipe:
    """The recipe."""


@dataclasses.dataclass(frozen=True)
class StageOutcome:
  """What a stage made of a span.

  Attributes:
    memory: what the gate chose to commit.
    start: the memory before refinement.
    actions: number of slots per action.
    verdict: the gate's verdict.
    seconds: wall time of each part of the stage.
    work: how much of everything the stage has computed on; None where that was not noted.
    settings: settings of the stage; None likewise.
  """

  memory: Memory
  start: Memory
  actions: Mapping[str, int]
  verdict: Verdict
  seconds: Mapping[str, float]
  work: StageWork | None = None
  settings: StageSettings | None = None

  @property
  def chosen(self) -> str:
    """The gate's choice: "refined", "start" or "previous"."""
    return self.verdict.chosen

  @functools.cached_property
  def flops(self) -> Mapping[str, float]:
    """Floating-point operations of each part of the stage, by the names of `seconds`; counted when they are asked for.

    Empty where the work was not noted. See `diet_tf.distillation.cost`.
    """
    if self.work is None or self.settings is None:
      return {}
    return stage_flops(self.work, self.memory.spec, self.settings)


class _Clock:
  """Wall time by part."""

  def __init__(self) -> None:
    self.seconds: dict[str, float] = {}
    self._since = time.perf_counter()

  def note(self, part: str) -> None:
    now = time.perf_counter()
    self.seconds[part] = now - self._since
    self._since = now


def run_stage(memory: Memory | None, span: Span, teacher: Teacher, settings: StageSettings, *, seed: int = 0,
              strategy: tf.distribute.Strategy | None = None, progress: Progress = silent,
              relabel: Callable[[ScoredSpan], ScoredSpan] | None = None) -> StageOutcome:
  """One whole stage: the teacher's pass and scores, addressing and squash, refinement, gate, memory.

  Example:

  ```python
  teacher, memory = Teacher(spec, settings.teacher), None
  for number, (ids, labels) in enumerate(days):
    memory = run_stage(memory, Span.of_arrays(number, spec, ids, labels), teacher, settings).memory
  ```

  Args:
    memory: the memory before the span; None in the first stage.
    span: the span's rows; its number is greater than that of the memory's last span.
    teacher: the teacher before the span; it is advanced over it.
    settings: settings of the stage.
    seed: seed of the run, mixed with the span's number for what the stage draws.
    strategy: strategy whose devices each train a proxy of their own; None takes one device.
    progress: callback that is told of each unit of the stage's long steps: the teacher's pass, squash, refinement and
      gate.
    relabel: function that gives the scored rows other logits than the teacher's, for experiments with other labels and
      targets; None leaves them.

  Raises:
    ConfigError: a proxy or a member of the gate cannot be trained again step by step.
    DataError: the span is too small for the settings, or no later than what the memory has seen.
    FormatError: the memory is of another feature spec than the teacher's.
    NumericsError: something that is learned is not finite.
  """
  stage, clock = Stage(teacher.spec, settings, seed, span.number), _Clock()
  if memory is not None:
    memory.manifest.require_spec(teacher.spec)
    if span.number <= memory.manifest.span:
      raise DataError(f"span {span.number}", rule="it comes after the spans that the memory has seen.",
                      received=f"a memory that has seen span {memory.manifest.span}.",
                      remedy="number spans upwards; to run a span again, begin with the memory before it.")
  require_replayable_members(settings.distill.proxies, settings.gate.members, teacher.spec)
  scored, held_back = score_span(span, None if memory is None else memory.slots, teacher, settings, progress)
  scored = scored if relabel is None else relabel(scored)
  clock.note(SCORES_PART)
  start = begin(stage, memory, scored, teacher, progress)
  clock.note(ADDRESSING_PART)
  refined = refine_start(stage, start, memory, scored.rows, teacher, strategy=strategy, progress=progress)
  clock.note(REFINEMENT_PART)
  verdict = judge_stage(stage, refined, start, memory, gate_rows(stage, held_back), progress)
  clock.note(GATE_PART)
  candidates = candidates_of(refined, start, memory)
  made = {name: stage.memory(candidates[name].slots, candidates[name].recipe, memory, start.num_examples_seen,
                             start.scored_sample)
          for name in {verdict.chosen, START}}
  work = StageWork(
      num_rows=len(span.rows), num_held_back=len(held_back), num_scored=len(span.rows) - len(held_back),
      num_old_slots=0 if memory is None else len(memory), num_added=start.counts["add"], slots=start.slots,
      proxies=refined.proxies, slot_passes=slot_passes(candidates.values()),
      num_judged=min(len(held_back), settings.gate.max_examples), num_devices=len(devices_of(strategy)),
      num_influences=len(span.rows) - len(held_back) if settings.reads_example_influences else 0,
      num_weighed=num_weighed(settings, 0 if memory is None else len(memory), start))
  return StageOutcome(made[verdict.chosen], made[START], dict(start.counts), verdict, clock.seconds, work, settings)


def slot_passes(candidates: Iterable[Trainable]) -> list[int]:
  """The slots that one training on each candidate goes through, all epochs together; the gate trains once on equals."""
  distinct: list[Candidate] = []
  for one in candidates:
    candidate = Candidate(one.slots, one.recipe)
    if not any(are_equal(candidate, other) for other in distinct):
      distinct.append(candidate)
  return [len(one.slots) * one.recipe.epochs for one in distinct]


def refine_start(stage: Stage, start: Start, previous: Memory | None, rows: RowStream, teacher: Teacher, *,
                 strategy: tf.distribute.Strategy | None = None, progress: Progress = silent,
                 checkpoints: Checkpoints | None = None) -> Refined:
  """The start after bi-level refinement; frozen slots keep ids, id weights and labels.

  Args:
    stage: the stage's settings, seed and span.
    start: the start.
    previous: the memory before the stage; None in the first.
    rows: stream of the span's scored rows.
    teacher: the teacher after the span.
    strategy: strategy whose devices each train a proxy of their own; None takes one device.
    progress: callback that is told of each outer step.
    checkpoints: where the refinement keeps its state, to go on from; None keeps none.
  """
  settings, seed = stage.settings.distill, stage.stage_seed
  new = outer_examples(rows, settings.max_pool_rows, seed)
  old, old_share = None, 0.0
  if previous is not None and settings.replay_rows:
    old = replayed_examples(previous, teacher, settings.replay_rows, seed)
    old_share = previous.manifest.num_examples_seen / start.num_examples_seen
    if stage.settings.budget.is_capped(start.num_examples_seen):
      # What the slots stood for that have left is no longer kept up.
      old_share = min(old_share, float((start.actions != Action.ADD).mean()))
  return refine(start.slots, start.actions != Action.FREEZE, new, old, old_share, teacher.spec, start.recipe, settings,
                seed=seed, strategy=strategy, progress=progress, checkpoints=checkpoints)


def replayed_examples(previous: Memory, teacher: Teacher, num_rows: int, seed: int) -> EncodedRows:
  """Rows drawn from the old slots, labelled by the teacher."""
  ids = replay(previous.slots, num_rows, seed)
  parts = [tf.sigmoid(teacher.logits(ids[start:start + 8192])).numpy() for start in range(0, num_rows, 8192)]
  return EncodedRows(ids, np.concatenate(parts))


def candidates_of(refined: Trainable, start: Trainable, previous: Trainable | None) -> dict[str, Candidate]:
  """What the gate chooses among, by name."""
  named = {REFINED: refined, START: start, **({} if previous is None else {PREVIOUS: previous})}
  return {name: Candidate(one.slots, one.recipe) for name, one in named.items()}


def gate_rows(stage: Stage, held_back: EncodedRows) -> EncodedRows:
  """The held-back rows that the gate judges on, at most `gate.max_examples` of them."""
  sample = BoundedSample(stage.settings.gate.max_examples, functools.partial(mix, seed=stage.stage_seed))
  sample.add(held_back)
  return sample.rows()


def judge_stage(stage: Stage, refined: Trainable, start: Trainable, previous: Trainable | None, rows: EncodedRows,
                progress: Progress = silent) -> Verdict:
  """The gate's verdict on what a stage made.

  Args:
    stage: the stage's settings, seed and span.
    refined: the refined memory.
    start: the start that it was refined from.
    previous: the memory before the stage; None in the first.
    rows: held-back rows of the span, with their clicks.
    progress: callback that is told when an architecture has been trained on a candidate with all seeds.
  """
  return judge(candidates_of(refined, start, previous), stage.spec, rows.ids, rows.labels,
               stage.settings.gate, seed=stage.stage_seed, progress=progress)


def learning_curve(refined: Refined, num_points: int = 200) -> list[tuple[int, float]]:
  """The outer loss along the refinement, averaged over `num_points` stretches of outer steps."""
  if not len(refined.losses):
    return []
  stretches = np.array_split(np.arange(len(refined.losses)), min(num_points, len(refined.losses)))
  return [(int(stretch[-1]) + 1, float(refined.losses[stretch].mean())) for stretch in stretches
          if math.isfinite(float(refined.losses[stretch].mean()))]
