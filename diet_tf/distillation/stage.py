"""One stage: (memory, span, teacher) -> memory. Its parts are what the pipeline's components call one each.

No part reads a span before: what a refinement needs of the spans since the one before it is carried from stage to
stage as a bounded sample of their rows. `refine_start` and the gate train on all slots, once the memory has grown by a
share. docs/method.md, "What grows with the spans before", has a table of all parts, for time and memory.
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
from diet_tf.distillation.carried_rows import CarriedRows, carried_on
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
from diet_tf.log.row_layout import RowLayout
from diet_tf.memory.last_refinement import LastRefinement
from diet_tf.memory.memory import Memory
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.progress import Progress, silent
from diet_tf.training.replayable import require_replayable_members
from diet_tf.training.slot_trainer import Candidate

# A light stage takes in its new slots whatever they are worth today: nothing reads their span again.
NO_GATE = Verdict(START, {}, {}, {})


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
    verdict: the gate's verdict; of a light stage, which has no gate, the start's without losses.
    seconds: wall time of each part of the stage.
    work: how much of everything the stage has computed on; None where that was not noted.
    settings: settings of the stage; None likewise.
    carried: rows since the memory was last refined, which the next stage takes.
    light: why the stage did not refine the memory, as a sentence; None where it did.
  """

  memory: Memory
  start: Memory
  actions: Mapping[str, int]
  verdict: Verdict
  seconds: Mapping[str, float]
  work: StageWork | None = None
  settings: StageSettings | None = None
  carried: CarriedRows | None = None
  light: str | None = None

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
              relabel: Callable[[ScoredSpan], ScoredSpan] | None = None,
              carried: CarriedRows | None = None) -> StageOutcome:
  """One whole stage: the teacher's pass and scores, addressing and squash, refinement, gate, memory.

  The memory is refined, and judged by the gate, once it has grown by `distill.refine_growth`; a stage in between is
  light, and takes in the span's slots as they were squashed.

  Example:

  ```python
  teacher, memory, carried = Teacher(spec, settings.teacher), None, None
  for number, (ids, labels) in enumerate(days):
    outcome = run_stage(memory, Span.of_arrays(number, spec, ids, labels), teacher, settings, carried=carried)
    memory, carried = outcome.memory, outcome.carried
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
    carried: what the stage before carried on; None where there was none, or where the rows since the last refinement
      are to be left out of the next, but for those of the span.

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
  carried = carry(stage, memory, carried, scored.rows)
  relabelled = None if relabel is None else outer_examples(scored.rows, settings.distill.max_pool_rows,
                                                          stage.stage_seed)
  refined = refine_start(stage, start, memory, carried, teacher, strategy=strategy, progress=progress,
                         outer_rows=relabelled)
  clock.note(REFINEMENT_PART)
  light, candidates = start.growth.light, candidates_of(refined, start, memory)
  verdict = NO_GATE if light else judge_stage(stage, refined, start, memory, gate_rows(stage, held_back), progress)
  clock.note(GATE_PART)
  made = {name: stage.memory(candidates[name].slots, candidates[name].recipe, memory, start.num_examples_seen,
                             start.scored_sample, refinement_of(name, start, memory))
          for name in {verdict.chosen, START}}
  work = StageWork(
      num_rows=len(span.rows), num_held_back=len(held_back), num_scored=len(span.rows) - len(held_back),
      num_old_slots=0 if memory is None else len(memory), num_added=start.counts["add"], slots=start.slots,
      proxies=refined.proxies, slot_passes=() if light else slot_passes(candidates.values()),
      num_judged=min(len(held_back), settings.gate.max_examples), num_carried=len(carried),
      num_devices=len(devices_of(strategy)),
      num_influences=len(span.rows) - len(held_back) if settings.reads_example_influences else 0,
      num_weighed=num_weighed(settings, 0 if memory is None else len(memory), start))
  return StageOutcome(made[verdict.chosen], made[START], dict(start.counts), verdict, clock.seconds, work, settings,
                      carried, light)


def slot_passes(candidates: Iterable[Trainable]) -> list[int]:
  """The slots that one training on each candidate goes through, all epochs together; the gate trains once on equals."""
  distinct: list[Candidate] = []
  for one in candidates:
    candidate = Candidate(one.slots, one.recipe)
    if not any(are_equal(candidate, other) for other in distinct):
      distinct.append(candidate)
  return [len(one.slots) * one.recipe.epochs for one in distinct]


def refinement_of(candidate: str, start: Start, previous: Memory | None) -> LastRefinement | None:
  """What a memory that is made of a candidate of the gate notes of its last refinement; None for this stage's own.

  Args:
    candidate: name of the candidate.
    start: what the stage began with.
    previous: the memory before the stage; None in the first.
  """
  if start.growth.unrefined is None or (candidate == REFINED and start.growth.light is None):
    return None
  return previous.manifest.refinement() if candidate == PREVIOUS and previous is not None else start.growth.unrefined


def carry(stage: Stage, previous: Memory | None, carried: CarriedRows | None, rows: RowStream) -> CarriedRows:
  """The rows that the stage's outer batches are drawn from, if it refines, and that are carried on.

  Args:
    stage: the stage's settings, seed and span.
    previous: the memory before the stage; None in the first.
    carried: the rows that the stage before left; None where it left none.
    rows: stream of the span's rows that are not held back.
  """
  # Under a rule on users no row is carried from one span to another.
  kept = None if stage.settings.privacy.counts_users else carried
  return carried_on(previous, kept, rows(), stage.settings.distill.max_pool_rows)


def refine_start(stage: Stage, start: Start, previous: Memory | None, carried: CarriedRows, teacher: Teacher, *,
                 strategy: tf.distribute.Strategy | None = None, progress: Progress = silent,
                 checkpoints: Checkpoints | None = None, outer_rows: EncodedRows | None = None) -> Refined:
  """The start after bi-level refinement; frozen slots keep ids, id weights and labels.

  In a light stage it is the start as it is, after no outer step.

  Args:
    stage: the stage's settings, seed and span.
    start: the start.
    previous: the memory before the stage; None in the first.
    carried: the rows since the memory was last refined, those of the span included.
    teacher: the teacher after the span.
    strategy: strategy whose devices each train a proxy of their own; None takes one device.
    progress: callback that is told of each outer step.
    checkpoints: where the refinement keeps its state, to go on from; None keeps none.
    outer_rows: rows with labels that the outer batches take in the place of the carried ones; None labels these with
      the teacher's probabilities.
  """
  if start.growth.light is not None:
    return unrefined(start)
  settings, seed = stage.settings.distill, stage.stage_seed
  if not len(carried):
    raise DataError("span", rule="holds at least one example that is not held back.", received="none.",
                    remedy="check the span's log, or lower influence.holdback_fraction.")
  new = labelled(carried.rows.ids, teacher) if outer_rows is None else outer_rows
  old = None
  if previous is not None and settings.replay_rows and carried.after_span is not None:
    old = replayed_examples(previous, teacher, settings.replay_rows, seed, up_to_span=carried.after_span)
  old_share = 0.0 if old is None else carried.num_examples_before / start.num_examples_seen
  if old is not None and stage.settings.budget.is_capped(start.num_examples_seen):
    # What the slots stood for that have left is no longer kept up.
    old_share = min(old_share, float((start.slots.born_spans <= carried.after_span).mean()))
  return refine(start.slots, start.actions != Action.FREEZE, new, old, old_share, teacher.spec, start.recipe, settings,
                seed=seed, strategy=strategy, progress=progress, checkpoints=checkpoints)


def unrefined(start: Start) -> Refined:
  """The start as it is, after no outer step."""
  return Refined(start.slots, start.recipe, np.zeros(0, np.float32), (), 0)


def labelled(ids: np.ndarray, teacher: Teacher) -> EncodedRows:
  """Encoded rows `[num_rows, num_places]`, labelled with the teacher's probabilities."""
  return EncodedRows(ids, teacher.probabilities(ids))


def replayed_examples(previous: Memory, teacher: Teacher, num_rows: int, seed: int, *,
                      up_to_span: int) -> EncodedRows | None:
  """Rows drawn from the old slots, labelled by the teacher.

  Args:
    previous: the memory with the slots.
    teacher: the teacher.
    num_rows: number of rows that are drawn.
    seed: seed of the draws.
    up_to_span: slots that were added by later spans are left out; where there are no others, there are no rows: None.
  """
  slots = previous.slots.take(np.flatnonzero(previous.slots.born_spans <= up_to_span))
  if not len(slots):
    return None
  return labelled(RowLayout.of(teacher.spec).of_single_ids(replay(slots, num_rows, seed)), teacher)


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
