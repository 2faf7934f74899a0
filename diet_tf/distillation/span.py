"""A span as a stage takes it: its rows, the teacher's pass over them, and what that pass says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
import tensorflow as tf

from diet_tf.distillation.influence import InfluenceSettings
from diet_tf.distillation.scoring import SpanScorer
from diet_tf.distillation.settings import StageSettings
from diet_tf.distillation.teacher import Teacher
from diet_tf.errors import DataError
from diet_tf.log.encoded_rows import EncodedRows, RowStream
from diet_tf.log.examples import Holdback, is_held_back, rows_dataset
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_layout import RowLayout, rows_of_fields
from diet_tf.memory.slots import Slots
from diet_tf.progress import Progress, silent

# Rows that a stream over arrays gives at a time.
_STREAM_ROWS = 8192


class SpanExamples(Protocol):
  """The examples of a span, wherever they lie, in two parts: those that a stage distils, and those held back."""

  def count(self, part: Holdback) -> int:
    """The number of examples of a part: "without" those held back, or "only" them."""

  def dataset(self, batch_size: int, part: Holdback) -> tf.data.Dataset:
    """Batches of `(rows [B, num_places] int32, labels [B] float32, example_ids [B] int64)` of a part, in order."""


@dataclasses.dataclass(frozen=True)
class Span:
  """A span whose rows lie in memory.

  Attributes:
    number: number of the span; later spans have greater ones.
    rows: its rows in the order of time, with labels of 0 or 1 and example ids.
  """

  number: int
  rows: EncodedRows

  @classmethod
  def of_arrays(cls, number: int, spec: FeatureSpec, ids: np.ndarray, labels: np.ndarray,
                example_ids: np.ndarray | None = None) -> Span:
    """A span of arrays, checked against the feature spec.

    Args:
      number: number of the span, at least 0.
      spec: feature spec that the ids are of.
      ids: `[num_rows, num_places]` integers in the order of time: the id of each field or, where some have several
        values a row, encoded rows (`diet_tf.log.row_layout`).
      labels: `[num_rows]` clicks, 0 or 1.
      example_ids: `[num_rows]` distinct integers that the rows are known by, in all spans; None numbers them by span
        and row, which serves spans of up to 2^32 rows.

    Raises:
      DataError: the arrays do not fit each other or the spec, ids are no integers, all labels are alike, or an example
        id stands twice.
    """
    ids, labels = np.asarray(ids), np.asarray(labels)
    if example_ids is None:
      example_ids = (np.int64(number) << 32) + np.arange(len(ids), dtype=np.int64)
    example_ids = np.asarray(example_ids)
    for name, column, remedy in (("ids", ids, "encode the values, see diet_tf.log.encoding.encode."),
                                 ("example ids", example_ids, "number the rows, or leave them out.")):
      if column.dtype.kind not in "iu":
        raise DataError(f"span {number}", rule=f"its {name} are integers.", received=f"an array of {column.dtype}.",
                        remedy=remedy)
    rows = EncodedRows(ids.astype(np.int32), labels.astype(np.float32), example_ids.astype(np.int64))
    _check_rows(number, rows, ids, spec)
    return cls(number, rows)

  @classmethod
  def of_dataset(cls, number: int, spec: FeatureSpec, dataset: tf.data.Dataset) -> Span:
    """The same of a dataset, which is read into memory.

    Args:
      number: number of the span, at least 0.
      spec: feature spec that the ids are of.
      dataset: batches of `(ids, labels)` or `(ids, labels, example_ids)`, as `of_arrays` takes them, in the order of
        time; ids may also come as `{field: [B] ids}`, of a multi-valued field as `{field: [B, n] ids}` that ascend in
        each row before padding of -1, with `{field + "/weights": [B, n]}` where its values have weights.

    Raises:
      DataError: the dataset is empty, or its rows do not fit the spec.
    """
    batches = [tuple(batch) for batch in dataset.as_numpy_iterator()]
    if not batches:
      raise DataError(f"span {number}", rule="its dataset has rows.", received="no batch.",
                      remedy="check the dataset's source; a generator can be read once only.")
    ids = [rows_of_fields(part, spec) if isinstance(part, dict) else part for part, *_ in batches]
    columns = [np.concatenate(parts) for parts in zip(*(batch[1:] for batch in batches), strict=True)]
    return cls.of_arrays(number, spec, np.concatenate(ids), *columns)

  def part(self, part: Holdback, fraction: float) -> EncodedRows:
    """The rows that are held back ("only"), or the others ("without"); `fraction` is the share held back."""
    held = np.asarray(is_held_back(self.rows.example_ids, fraction))
    return self.rows.take(held if part == "only" else ~held)


def _check_rows(number: int, rows: EncodedRows, ids: np.ndarray, spec: FeatureSpec) -> None:
  subject = f"span {number}"
  if number < 0:
    raise DataError(subject, rule="a span's number is at least 0.", received=str(number),
                    remedy="number spans from 0 upwards.")
  RowLayout.of(spec).check(ids, spec, subject)
  labels = rows.labels
  if not np.isin(labels, (0, 1)).all():
    raise DataError(subject, rule="a label is 0 or 1.", received=f"{labels[~np.isin(labels, (0, 1))][0]:g}.",
                    remedy="turn the outcome into clicks before.")
  if not 0 < labels.sum() < len(labels):
    raise DataError(subject, rule="a span has rows of both labels, or there is nothing to learn.",
                    received=f"{len(labels)} rows, {int(labels.sum())} of them clicks.",
                    remedy="check the labels, or join spans into longer ones.")
  if len(np.unique(rows.example_ids)) != len(rows):
    raise DataError(subject, rule="an example id stands for one row.", received="an id that stands twice.",
                    remedy="give each row an id of its own, or leave them out.")


class RowsInParts:
  """The rows of a span in memory as `SpanExamples`.

  Args:
    span: the span.
    fraction: share of the rows that is held back.

  Raises:
    DataError: none of the rows are held back, or all of them.
  """

  def __init__(self, span: Span, fraction: float) -> None:
    self._parts: dict[Literal["only", "without"], EncodedRows] = {
        "without": span.part("without", fraction), "only": span.part("only", fraction)}
    if not all(map(len, self._parts.values())):
      raise DataError(f"span {span.number}", rule="some of its examples are held back, and some are not.",
                      received=f"{len(self._parts['only'])} of {len(span.rows)} held back.",
                      remedy="begin with a longer span, or change influence.holdback_fraction.")

  def rows(self, part: Holdback) -> EncodedRows:
    """The rows of a part."""
    return self._parts[part]

  def count(self, part: Holdback) -> int:
    """See `SpanExamples`."""
    return len(self._parts[part])

  def dataset(self, batch_size: int, part: Holdback) -> tf.data.Dataset:
    """See `SpanExamples`."""
    return rows_dataset(self._parts[part], batch_size)


@dataclasses.dataclass(frozen=True)
class ScoredSpan:
  """A span after the teacher's pass.

  Attributes:
    rows: stream of the rows that are not held back, with example ids and the teacher's logits, and with influences
      where a rule reads these.
    slot_influences: `[num_slots]` float32, influences of the slots before the span; empty in the first stage.
    num_examples: number of examples of the span, those held back included.
    slot_drifts: `[num_slots]` float32, by how much the pass raised the teacher's logit of each of these slots; None
      where that was not measured.
  """

  rows: RowStream
  slot_influences: np.ndarray
  num_examples: int
  slot_drifts: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class TeacherPass:
  """What a teacher's pass over a span gave, beside the scores of its examples.

  Attributes:
    loss: mean training loss over the examples that are not held back.
    slot_influences: see `ScoredSpan`.
    slot_drifts: see `ScoredSpan`.
  """

  loss: float
  slot_influences: np.ndarray
  slot_drifts: np.ndarray


def teacher_pass(teacher: Teacher, examples: SpanExamples, slots: Slots | None, influence: InfluenceSettings,
                 score: Callable[[SpanScorer], None], progress: Progress = silent, *,
                 share: float = 1.0) -> TeacherPass:
  """Advances the teacher over a span and scores the span's examples and the old slots.

  The teacher learns from the held-back examples last, after everything was scored: their scores come from a teacher
  that has not seen them.

  Args:
    teacher: the teacher before the span; it is advanced.
    examples: the span's examples.
    slots: slots of the memory before the span; None in the first stage.
    influence: how examples are scored.
    score: function that scores the examples with the scorer that it is given and keeps the scores wherever they are
      wanted; it is called once, before the teacher learns from the held-back examples.
    progress: callback that is told of each block of the teacher's steps.
    share: share of the examples whose influence is computed.

  Raises:
    NumericsError: a loss or a score is not finite.
  """
  batch_size = teacher.settings.batch_size
  # A teacher that has learned nothing yet gave the slots no labels, which it could change its mind about.
  before = None if slots is None or not teacher.num_examples_seen else teacher.slot_logits(slots)
  loss = teacher.advance(examples.dataset(batch_size, "without"), examples.count("without"), progress=progress)
  scorer = SpanScorer(teacher, influence, share)
  scorer.fit_reference(examples.dataset(influence.batch_size, "only"), slots)
  score(scorer)
  influences = scorer.score_slots(slots) if slots is not None else np.zeros(0, np.float32)
  teacher.advance(examples.dataset(batch_size, "only"), examples.count("only"), keep_checkpoints=False,
                  progress=progress)
  drifts = np.zeros_like(influences)
  if before is not None and slots is not None:
    drifts = teacher.slot_logits(slots) - before
  return TeacherPass(loss, influences, drifts)


def score_span(span: Span, slots: Slots | None, teacher: Teacher, settings: StageSettings,
               progress: Progress = silent) -> tuple[ScoredSpan, EncodedRows]:
  """A span in memory after the teacher's pass, and its held-back rows.

  Args:
    span: the span.
    slots: slots of the memory before the span; None in the first stage.
    teacher: the teacher before the span; it is advanced.
    settings: settings of the stage.
    progress: callback that is told of each block of the teacher's steps.

  Raises:
    DataError: none of the rows are held back, or all of them.
    NumericsError: a loss or a score is not finite.
  """
  parts = RowsInParts(span, settings.influence.holdback_fraction)
  columns: dict[str, np.ndarray] = {}

  def score(scorer: SpanScorer) -> None:
    columns.update(scorer.score_examples(parts.rows("without")))

  # Nothing else reads the influences of the examples of a stage without a report.
  every = settings.reads_example_influences
  done = teacher_pass(teacher, parts, slots, settings.influence, score, progress, share=float(every))
  known = ("teacher_logits", "influences") if every else ("teacher_logits",)
  kept = parts.rows("without").with_columns(**{name: columns[name] for name in known})
  scored = ScoredSpan(lambda: kept.batches(_STREAM_ROWS), done.slot_influences, len(span.rows), done.slot_drifts)
  return scored, parts.rows("only")
