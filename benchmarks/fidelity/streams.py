"""Distilling the spans of a log one after the other, in one process and from arrays."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence

from benchmarks.fidelity.folds import Targets, relabelled
from diet_tf.distillation.cost import GATE_PART, REFINEMENT_PART, StageWork, stage_flops
from diet_tf.distillation.revision import revise
from diet_tf.distillation.settings import Stage, StageSettings
from diet_tf.distillation.span import Span
from diet_tf.distillation.stage import StageOutcome, run_stage, slot_passes
from diet_tf.distillation.teacher import Teacher
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.memory import Memory


def distil(rows: EncodedRows, groups: Sequence[Sequence[int]], spec: FeatureSpec, settings: StageSettings, *,
           seed: int, targets: Targets = "teacher") -> tuple[list[StageOutcome], Teacher]:
  """The stages of a stream, and the teacher after them.

  Args:
    rows: rows of the log in the order of time, with labels, example ids and spans.
    groups: the spans of each stage: one span each for a stream, all spans at once for distillation from scratch.
    spec: feature spec of the rows.
    settings: settings of every stage.
    seed: seed of the run.
    targets: whose probabilities new slots and outer batches are labelled with; others than the teacher's for one stage
      alone.

  Raises:
    ValueError: there are several stages with other targets than the teacher's.
  """
  if targets != "teacher" and len(groups) > 1:
    raise ValueError(f"targets {targets!r} are for a single stage; received {len(groups)} stages.")
  teacher = Teacher(spec, settings.teacher, seed=seed)
  outcomes: list[StageOutcome] = []
  for spans in groups:
    previous, carried = (outcomes[-1].memory, outcomes[-1].carried) if outcomes else (None, None)
    span = Span(max(spans), rows.of_spans(spans))
    relabel = None if targets == "teacher" else functools.partial(relabelled, rows=span.rows, teacher=teacher,
                                                                  targets=targets)
    outcomes.append(run_stage(previous, span, teacher, settings, seed=seed, relabel=relabel, carried=carried))
  return outcomes, teacher


@dataclasses.dataclass(frozen=True)
class RefinedForSearch:
  """The newest memory of a stream as `diet refine` leaves it before a search.

  Attributes:
    memory: the refined memory, or the one that it began with where that is better.
    chosen: what the gate chose, "refined" or "start".
    outer_steps: number of outer steps.
    seconds: wall time of refinement and gate together, by the name of the former.
    flops: their floating-point operations.
  """

  memory: Memory
  chosen: str
  outer_steps: int
  seconds: Mapping[str, float]
  flops: Mapping[str, float]


def refine_for_search(outcome: StageOutcome, teacher: Teacher, settings: StageSettings, *, span: int,
                      seed: int) -> RefinedForSearch | None:
  """What a search begins with: the newest memory refined once more if its stage was light; None where it was not.

  Args:
    outcome: outcome of the newest stage.
    teacher: the teacher after it.
    settings: settings of the stage; without outer steps nothing is refined.
    span: number of the newest span.
    seed: seed of the run.
  """
  if outcome.light is None or outcome.carried is None or not settings.distill.by_effort.outer_steps:
    return None
  started = time.perf_counter()
  revision = revise(Stage(teacher.spec, settings, seed, span), outcome.memory, outcome.carried, teacher)
  seconds = time.perf_counter() - started
  num_labelled = len(outcome.carried) + (settings.distill.replay_rows if outcome.carried.after_span is not None else 0)
  work = StageWork(
      num_rows=0, num_held_back=0, num_scored=0, num_old_slots=0, num_added=0, slots=outcome.memory.slots,
      proxies=revision.proxies, slot_passes=slot_passes([revision.memory, outcome.memory]),
      num_judged=revision.num_judged, num_carried=num_labelled)
  flops = stage_flops(work, teacher.spec, settings)
  return RefinedForSearch(
      revision.memory if revision.is_better else outcome.memory, revision.verdict.chosen, len(revision.proxies),
      {REFINEMENT_PART: seconds}, {part: flops[part] for part in (REFINEMENT_PART, GATE_PART)})
