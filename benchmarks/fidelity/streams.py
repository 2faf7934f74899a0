"""Distilling the spans of a log one after the other, in one process and from arrays, by the code of the components."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from benchmarks.fidelity.rows import LogRows
from diet_tf.distillation.gate import PREVIOUS, REFINED, START, judge
from diet_tf.distillation.refinement import Refined
from diet_tf.distillation.scored_examples import Passes, ScoredExamples
from diet_tf.distillation.scoring import SpanScorer
from diet_tf.distillation.settings import StageSettings
from diet_tf.distillation.stage import Start, begin, refine_start, stage_seed
from diet_tf.distillation.teacher import Teacher
from diet_tf.log.examples import is_held_back
from diet_tf.log.features import FeatureSpec
from diet_tf.log.hashing import mix
from diet_tf.memory.memory import Memory
from diet_tf.memory.privacy import users_by_span
from diet_tf.training.slot_trainer import Candidate

_BATCH = 8192


@dataclasses.dataclass(frozen=True)
class StageOutcome:
  """What a stage made of a span.

  Attributes:
    memory: what the gate chose to commit.
    start: the memory before refinement.
    chosen: the gate's choice: "refined", "start" or "previous".
    actions: slots per action.
    seconds: wall time per step of the stage.
  """

  memory: Memory
  start: Memory
  chosen: str
  actions: dict[str, int]
  seconds: dict[str, float]


class _Clock:
  """Wall time per step."""

  def __init__(self) -> None:
    self.seconds: dict[str, float] = {}
    self._since = time.perf_counter()

  def note(self, step: str) -> None:
    now = time.perf_counter()
    self.seconds[step] = now - self._since
    self._since = now


def example_batches(rows: LogRows, batch_size: int) -> tf.data.Dataset:
  """Batches of `(ids, labels, example_ids)`, as `diet_tf.log.examples.example_dataset` gives them."""
  return tf.data.Dataset.from_tensor_slices((rows.ids, rows.labels, rows.example_ids)).batch(batch_size)


def passes_over(rows: LogRows, logits: np.ndarray, influences: np.ndarray) -> Passes:
  """Passes over scored rows."""
  examples = ScoredExamples(rows.ids, rows.example_ids, logits, influences)

  def one_pass() -> Iterator[ScoredExamples]:
    for start in range(0, len(examples), _BATCH):
      yield examples.take(np.arange(start, min(start + _BATCH, len(examples))))

  return one_pass


@dataclasses.dataclass(frozen=True)
class ScoredSpan:
  """A span after the teacher's pass.

  Attributes:
    passes: over the examples that are not held back.
    held_back: the others.
    slot_influences: of the slots before the span.
    num_examples: of the span.
  """

  passes: Passes
  held_back: LogRows
  slot_influences: np.ndarray
  num_examples: int


def score_span(rows: LogRows, previous: Memory | None, teacher: Teacher, settings: StageSettings) -> ScoredSpan:
  """Advances the teacher over a span and scores it, in the order of the component InfluenceScorer."""
  held = np.asarray(is_held_back(rows.example_ids, settings.influence.holdback_fraction))
  kept, held_back = rows.take(~held), rows.take(held)
  teacher.advance(example_batches(kept, settings.teacher.batch_size), len(kept))
  scorer = SpanScorer(teacher, settings.influence)
  slots = previous.slots if previous is not None else None
  scorer.fit_reference(example_batches(held_back, settings.influence.batch_size), slots)
  scores = [scorer.score_examples(ids, labels)
            for ids, labels, _ in example_batches(kept, settings.influence.batch_size)]
  influences, _, logits = (np.concatenate(parts) for parts in zip(*scores, strict=True))
  slot_influences = scorer.score_slots(slots) if slots is not None else np.zeros(0, np.float32)
  teacher.advance(example_batches(held_back, settings.teacher.batch_size), len(held_back), keep_checkpoints=False)
  return ScoredSpan(passes_over(kept, logits, influences), held_back, slot_influences, len(rows))


def run_stage(rows: LogRows, previous: Memory | None, teacher: Teacher, spec: FeatureSpec, settings: StageSettings, *,
              span: int, seed: int) -> StageOutcome:
  """One stage: the teacher's pass, scores, addressing, refinement and gate.

  Args:
    rows: the span's examples.
    previous: the memory before the span, or None.
    teacher: is advanced over the span.
    spec: the feature spec, with the K of each field.
    settings: of the stage.
    span: its number.
    seed: of the run.
  """
  clock, drawn = _Clock(), stage_seed(seed, span)
  scored = score_span(rows, previous, teacher, settings)
  clock.note("teacher and scores")
  start = begin(previous, scored.slot_influences, scored.passes, scored.num_examples, teacher, settings.budget,
                settings.addressing, settings.squash, settings.distill, span=span, seed=drawn,
                privacy=settings.privacy)
  clock.note("addressing")
  refined = refine_start(start, previous, scored.passes, teacher, settings.distill, seed=drawn)
  clock.note("refinement")
  chosen = _gate(start, refined, previous, scored.held_back, spec, settings, drawn)
  clock.note("gate")
  candidates = [(REFINED, refined.slots, refined.recipe), (START, start.slots, start.recipe),
                *([] if previous is None else [(PREVIOUS, previous.slots, previous.recipe)])]
  before = previous.manifest.users_per_id if previous is not None else ()
  whole = {name: Memory.create(slots, spec, recipe, span=span, num_examples_seen=start.num_examples_seen,
                               budget=dataclasses.asdict(settings.budget), ids_per_slot=settings.squash.ids_per_slot,
                               users_per_id=users_by_span(slots.born_spans, settings.privacy, span, before))
           for name, slots, recipe in candidates}
  return StageOutcome(whole[chosen], whole[START], chosen, dict(start.counts), clock.seconds)


def _gate(start: Start, refined: Refined, previous: Memory | None, held_back: LogRows, spec: FeatureSpec,
          settings: StageSettings, seed: int) -> str:
  candidates = {REFINED: Candidate(refined.slots, refined.recipe), START: Candidate(start.slots, start.recipe)}
  if previous is not None:
    candidates[PREVIOUS] = Candidate(previous.slots, previous.recipe)
  if len(held_back) > settings.gate.max_examples:
    held_back = held_back.take(np.sort(np.argsort(mix(held_back.example_ids, seed))[:settings.gate.max_examples]))
  return judge(candidates, spec, held_back.ids, held_back.labels, settings.gate, seed=seed).chosen


def distil(rows: LogRows, groups: Sequence[Sequence[int]], spec: FeatureSpec, settings: StageSettings, *,
           seed: int) -> tuple[list[StageOutcome], Teacher]:
  """The stages of a stream, and the teacher after them.

  Args:
    rows: of the log.
    groups: the spans of each stage: one span each for a stream, all spans at once for distillation from scratch.
    spec: the feature spec.
    settings: of every stage.
    seed: of the run.
  """
  teacher = Teacher(spec, settings.teacher, seed=seed)
  outcomes: list[StageOutcome] = []
  for spans in groups:
    previous = outcomes[-1].memory if outcomes else None
    outcomes.append(run_stage(rows.of_spans(spans), previous, teacher, spec, settings, span=max(spans), seed=seed))
  return outcomes, teacher
