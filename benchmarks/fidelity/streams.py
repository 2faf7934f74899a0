"""Distilling the spans of a log one after the other, in one process and from arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from benchmarks.fidelity.folds import Targets, relabelled
from diet_tf.distillation.settings import StageSettings
from diet_tf.distillation.span import Span
from diet_tf.distillation.stage import StageOutcome, run_stage
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
    previous, carried = (outcomes[-1].memory, outcomes[-1].carried) if outcomes else (None, None)
    span = Span(max(spans), rows.of_spans(spans))
    relabel = None if targets == "teacher" else functools.partial(relabelled, rows=span.rows, teacher=teacher,
                                                                  targets=targets)
    outcomes.append(run_stage(previous, span, teacher, settings, seed=seed, relabel=relabel, carried=carried))
  return outcomes, teacher
