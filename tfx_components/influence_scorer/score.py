"""The teacher's pass over a span and its scores: the function behind InfluenceScorer, callable without artifacts.

The teacher is trained where this runs; shards are counted and scored on Beam, one by one. A shard's rows are
scored in their order and written as one file, so that the scores do not depend on how the work was spread.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from apache_beam.utils.shared import Shared

from diet_tf.distillation.influence import InfluenceSettings, share_of_examples
from diet_tf.distillation.scoring import SpanScorer, score_file
from diet_tf.distillation.span import teacher_pass
from diet_tf.distillation.teacher import Teacher, TeacherSettings
from diet_tf.errors import DataError, FormatError
from diet_tf.io import files
from diet_tf.io.arrays import ArrayFormat
from diet_tf.io.documents import DocumentFormat
from diet_tf.log.examples import Holdback, example_dataset, is_held_back, read_examples
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.memory import Memory
from diet_tf.memory.slots import Slots
from diet_tf.progress import Progress, silent
from tfx_components.beam_graph import TOTALS, Graph, GraphRunner, Work, total
from tfx_components.training import make_deterministic

SLOT_INFLUENCES_NAME = "slot_influences.npz"
SUMMARY_NAME = "scores.json"
# Before version 2 it was not measured how the teacher's opinion of a slot changes.
SLOT_INFLUENCES = ArrayFormat("diet_tf.slot_influences", 2, {
    "slot_ids": np.int64, "influences": np.float32, "drifts": np.float32},
                              remedy="score the span again with this version of diet-tf.", earlier={1: {
                                  "slot_ids": np.int64, "influences": np.float32}})

_COUNTS = "counts"


@dataclasses.dataclass(frozen=True)
class ScoresSummary:
  """What is known of a span's scores.

  Attributes:
    span: number of the span.
    num_examples: number of examples of the span, held-back ones included.
    num_held_back: number of those examples that are held back, so kept from distillation.
    teacher_loss: mean training loss of the teacher's pass over the examples that are not held back.
    feature_spec_digest: digest of the feature spec that the examples are encoded by.
  """

  span: int
  num_examples: int
  num_held_back: int
  teacher_loss: float
  feature_spec_digest: str

  def write(self, directory: str) -> None:
    """Writes the summary into the folder of the scores."""
    SUMMARY.write(files.join(directory, SUMMARY_NAME), SUMMARY.document(dataclasses.asdict(self)))

  @classmethod
  def read(cls, directory: str) -> ScoresSummary:
    """The summary in the folder of the scores.

    Raises:
      FormatError: it is damaged, or of a newer version.
    """
    return cls(**SUMMARY.read(files.join(directory, SUMMARY_NAME)))


SUMMARY = DocumentFormat("diet_tf.scores_summary", {1: typing.get_type_hints(ScoresSummary)}, indent=1)


@dataclasses.dataclass(frozen=True)
class ExampleCounts:
  """Counts of examples; those of parts add up with `+`.

  Attributes:
    num_examples: number of all examples.
    num_held_back: number of those that are held back, so kept from distillation.
  """

  num_examples: int = 0
  num_held_back: int = 0

  @classmethod
  def of(cls, example_ids: np.ndarray, holdback_fraction: float) -> ExampleCounts:
    """The counts of `[n]` int64 example ids, of which about `holdback_fraction` is held back."""
    return cls(len(example_ids), int(np.sum(is_held_back(example_ids, holdback_fraction))))

  def __add__(self, other: ExampleCounts) -> ExampleCounts:
    return ExampleCounts(self.num_examples + other.num_examples, self.num_held_back + other.num_held_back)


@dataclasses.dataclass(frozen=True)
class CountShard:
  """Counts the examples of a shard, and those that are held back; every example is parsed, before any is learned from.

  Attributes:
    spec: the feature spec.
    holdback_fraction: share of examples that is held back.
  """

  spec: FeatureSpec
  holdback_fraction: float

  def run(self, number: int, shards: Iterable[str], side_input: None) -> Iterator[Any]:
    """The total of the counts."""
    for _, _, example_ids in read_examples(list(shards), self.spec, 1 << 14):
      yield total(_COUNTS, ExampleCounts.of(example_ids, self.holdback_fraction))


@dataclasses.dataclass(frozen=True)
class ScoreShard:
  """Scores a shard of examples with the teacher and the reference gradients saved in a folder.

  Attributes:
    directory: folder that gets a score file per shard.
    scorer: folder of the saved scorer.
    spec: the feature spec.
    teacher_settings: settings of the teacher.
    influence: how examples are scored.
    share: share of the examples whose influence is computed.
    seed: seed of the run, which makes TensorFlow's operations deterministic.
    shared: holds the scorer once for all shards of a worker.
  """

  directory: str
  scorer: str
  spec: FeatureSpec
  teacher_settings: TeacherSettings
  influence: InfluenceSettings
  share: float
  seed: int
  shared: Shared

  def run(self, number: int, shards: Iterable[str], side_input: None) -> Iterator[Any]:
    """Writes the scores; there is nothing to hand on."""
    scorer = self.shared.acquire(self._load)
    for shard in shards:
      scorer.score_shard(shard, self.spec, score_file(self.directory, shard))
    yield from ()

  def _load(self) -> SpanScorer:
    make_deterministic(self.seed)
    scorer = SpanScorer(Teacher.load(self.scorer, self.spec, self.teacher_settings), self.influence,
                        self.share)
    scorer.load(self.scorer)
    return scorer


class _Nothing:
  """What takes the place of a shared scorer that is needed no more."""


@dataclasses.dataclass(frozen=True)
class SpanScoring:
  """One call of `score_span`: its arguments, see there."""

  shards: Sequence[str]
  spec: FeatureSpec
  settings: TeacherSettings
  influence: InfluenceSettings
  span: int
  seed: int
  runner: GraphRunner
  progress: Progress = silent
  every_example: bool = True

  @functools.cached_property
  def counts(self) -> ExampleCounts:
    """Examples of the span, and those held back.

    Raises:
      DataError: none of the examples are held back, or all of them.
    """
    work = CountShard(self.spec, self.influence.holdback_fraction)
    counts = self._over_shards("count", work, "counting examples (shards)").get(_COUNTS, ExampleCounts())
    if not 0 < counts.num_held_back < counts.num_examples:
      raise DataError(f"span {self.span}", rule="some of its examples are held back, and some are not.",
                      received=f"{counts.num_held_back} of {counts.num_examples} held back.",
                      remedy="begin with a longer span, or change influence.holdback_fraction.")
    return counts

  @property
  def share(self) -> float:
    """The share of the examples whose influence is computed."""
    return share_of_examples(self.counts.num_examples, self.every_example)

  def count(self, part: Holdback) -> int:
    """See `diet_tf.distillation.span.SpanExamples`."""
    held_back = self.counts.num_held_back
    return held_back if part == "only" else self.counts.num_examples - held_back

  def dataset(self, batch_size: int, part: Holdback) -> tf.data.Dataset:
    """See `diet_tf.distillation.span.SpanExamples`."""
    return example_dataset(self.shards, self.spec, batch_size, holdback=part,
                           holdback_fraction=self.influence.holdback_fraction)

  def score(self, scorer: SpanScorer, teacher: Teacher, directory: str) -> None:
    """Scores all shards on Beam."""
    folder = files.join(self.runner.folder, "scorer")
    teacher.save(folder)
    scorer.save(folder)
    work = ScoreShard(directory, folder, self.spec, self.settings, self.influence, self.share, self.seed, Shared())
    self._over_shards("score", work, f"scoring span {self.span} (shards)")
    # Beam keeps what was shared last in a process, a second teacher, until something else is.
    Shared().acquire(_Nothing)

  def _over_shards(self, name: str, work: Work, description: str) -> dict[str, Any]:
    """Runs a graph of one step over the shards, and returns its totals."""
    def build(graph: Graph) -> None:
      done = graph.create("Shards", self.shards) | "Step" >> graph.step(work, description, len(self.shards))
      graph.hand_back([done[TOTALS]])

    return self.runner.run(name, build)


def score_span(scoring: SpanScoring, teacher: Teacher, previous: Memory | None, teacher_dir: str,
               scores_dir: str) -> ScoresSummary:
  """Advances the teacher over a span and scores the span's examples and the old slots.

  See `diet_tf.distillation.span.teacher_pass` for the order.

  Args:
    scoring: the span's shards and how they are scored; `scoring.seed` is the run's.
    teacher: the teacher before the span; it is advanced.
    previous: the memory before the span, or None.
    teacher_dir: folder that gets the teacher after the span.
    scores_dir: folder that gets a score file per shard, `slot_influences.npz` and `scores.json`.

  Raises:
    DataError: none of the examples are held back, or all of them.
    NumericsError: a loss or a score is not finite.
  """
  counts = scoring.counts
  slots = previous.slots if previous is not None else None
  files.make_folders(scores_dir)
  done = teacher_pass(teacher, scoring, slots, scoring.influence,
                      lambda scorer: scoring.score(scorer, teacher, scores_dir), scoring.progress, share=scoring.share)
  SlotScores(done.slot_influences, done.slot_drifts).write(scores_dir, slots)
  teacher.save(teacher_dir)
  summary = ScoresSummary(scoring.span, counts.num_examples, counts.num_held_back, done.loss, scoring.spec.digest())
  summary.write(scores_dir)
  return summary


class SlotScores(NamedTuple):
  """What a span says of the slots of the memory before, in their order; empty where there is no memory yet.

  Attributes:
    influences: `[num_slots]` float32 influences of the slots.
    drifts: `[num_slots]` float32, by how much the teacher's logit of each slot rose; None in files of before that was
      measured.
  """

  influences: np.ndarray
  drifts: np.ndarray | None

  def write(self, directory: str, slots: Slots | None) -> None:
    """Writes them with the ids of the slots; drifts that were not measured are written as 0."""
    drifts = np.zeros_like(self.influences) if self.drifts is None else self.drifts
    SLOT_INFLUENCES.write(files.join(directory, SLOT_INFLUENCES_NAME), {
        "slot_ids": _slot_ids(slots), "influences": self.influences, "drifts": drifts})

  @classmethod
  def read(cls, directory: str, slots: Slots | None) -> SlotScores:
    """The scores that `write` wrote.

    Raises:
      FormatError: the file is damaged, or not of these slots.
    """
    path = files.join(directory, SLOT_INFLUENCES_NAME)
    columns = SLOT_INFLUENCES.read(path)
    if not np.array_equal(columns["slot_ids"], _slot_ids(slots)):
      raise FormatError(path, rule="it has the slots of the memory before the span, in their order.",
                        received=f"{len(columns['slot_ids'])} slots for {len(_slot_ids(slots))}, or others.",
                        remedy="score the span again with the same parent.")
    return cls(columns["influences"], columns.get("drifts"))


def _slot_ids(slots: Slots | None) -> np.ndarray:
  return np.zeros(0, np.int64) if slots is None else slots.slot_ids
