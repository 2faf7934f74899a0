"""Distilling the spans of a log one after the other, in one process and from arrays."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.fidelity.folds import Targets, relabelled
from diet_tf.distillation.gate import START
from diet_tf.distillation.settings import Stage, StageSettings
from diet_tf.distillation.span import Span, score_span
from diet_tf.distillation.stage import StageOutcome, candidates_of, gate_rows, judge_stage, refine_start, run_stage
from diet_tf.distillation.start import begin
from diet_tf.distillation.teacher import Teacher
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import FeatureSpec


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
    previous = outcomes[-1].memory if outcomes else None
    span = Span(max(spans), rows.of_spans(spans))
    outcomes.append(run_stage(previous, span, teacher, settings, seed=seed) if targets == "teacher" else
                    _first_stage(span, teacher, settings, seed, targets))
  return outcomes, teacher


def _first_stage(span: Span, teacher: Teacher, settings: StageSettings, seed: int, targets: Targets) -> StageOutcome:
  """The parts of `run_stage` for the first stage, with other labels between scores and start; it is not timed."""
  stage = Stage(teacher.spec, settings, seed, span.number)
  scored, held_back = score_span(span, None, teacher, settings)
  scored = relabelled(scored, span.rows, teacher, targets)
  start = begin(stage, None, scored, teacher)
  refined = refine_start(stage, start, None, scored.rows, teacher)
  verdict = judge_stage(stage, refined, start, None, gate_rows(stage, held_back))
  made = {name: stage.memory(candidate.slots, candidate.recipe, None, start.num_examples_seen)
          for name, candidate in candidates_of(refined, start, None).items()}
  return StageOutcome(made[verdict.chosen], made[START], dict(start.counts), verdict, {})
