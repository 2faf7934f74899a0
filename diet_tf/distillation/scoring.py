"""Scoring a span: the teacher's logit of every example, and the influence of those that are drawn, shard by shard.

Scores of a shard are a `.npz` file beside it in name, row for row in the shard's order, so that shards can be scored
anywhere and in any order.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from diet_tf.distillation.influence import (
  MAX_REFERENCE_EXAMPLES,
  InfluenceScorer,
  InfluenceSettings,
  is_drawn,
  slot_features,
)
from diet_tf.distillation.teacher import Teacher
from diet_tf.errors import FormatError
from diet_tf.io import arrays, files
from diet_tf.log.encoded_rows import EncodedRows, RowStream, sample_of
from diet_tf.log.examples import is_held_back, read_examples
from diet_tf.log.features import FeatureSpec
from diet_tf.log.hashing import mix
from diet_tf.log.row_layout import RowLayout, missing_rows
from diet_tf.memory.slots import Slots
from diet_tf.progress import Progress, silent

# A score file has one row per example; its influence is 0 unless `is_scored`. Before version 2 all were scored.
SCORES = arrays.ArrayFormat("diet_tf.scores", 2, {
    "example_ids": np.int64, "labels": np.float32, "teacher_logits": np.float32, "influences": np.float32,
    "is_scored": np.bool_}, remedy="score the span again with this version of diet-tf.", earlier={1: {
        "example_ids": np.int64, "influences": np.float32, "gradient_norms": np.float32,
        "teacher_logits": np.float32}})
_REFERENCE = ("kernel", "bias", "rows", "embedding", "linear")


class SpanScorer:
  """Scores examples and slots of a stage at all checkpoints of the teacher.

  Args:
    teacher: the teacher after its pass over the span, with the checkpoints of that pass.
    settings: settings of how influence is measured.
    share: share of the examples whose influence is computed, drawn by example id with the teacher's seed.
  """

  def __init__(self, teacher: Teacher, settings: InfluenceSettings, share: float = 1.0) -> None:
    self._teacher = teacher
    self._settings = settings
    self._share = share
    self._references: list[list[np.ndarray]] = []
    # The teacher lends one model for all checkpoints, and shards may be scored by several threads.
    self._lock = threading.Lock()

  def fit_reference(self, held_back: Iterable, slots: Slots | None) -> None:
    """Measures the reference gradients on the held-back examples and, weighing as much, on the old slots.

    Args:
      held_back: batches of `(ids, labels, example_ids)`, of which at most `MAX_REFERENCE_EXAMPLES` examples are drawn.
      slots: the memory before the stage, or None in the first stage.
    """
    drawn = sample_of((EncodedRows(*map(np.asarray, batch)) for batch in held_back), MAX_REFERENCE_EXAMPLES,
                      functools.partial(mix, seed=self._teacher.seed))

    def batches() -> Iterator[tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]]:
      for rows in () if drawn is None else drawn.batches(self._settings.batch_size):
        yield self._reference_features(rows.ids), tf.constant(rows.labels), tf.ones(len(rows))
      if slots is not None and len(slots):
        total = len(slots) if drawn is None else len(drawn)
        share = slots.sample_weights * (total / slots.sample_weights.sum())
        yield slot_features(slots), tf.constant(slots.labels), tf.constant(share.astype(np.float32))

    def fitted(scorer: InfluenceScorer) -> list[np.ndarray]:
      scorer.fit_reference(batches())
      return scorer.reference_arrays()

    self._references = [[] for _ in self._teacher.checkpoints]
    self._references = self._at_checkpoints(fitted)

  def _reference_features(self, rows: np.ndarray) -> dict[str, tf.Tensor]:
    """Encoded rows as a model takes them, as bags of one id where that is all that they have."""
    ids = tf.constant(rows)
    if not RowLayout.of(self._teacher.spec).is_plain:
      return {"ids": ids}
    return {"ids": ids[..., None], "weights": tf.ones([*ids.shape, 1], tf.float32)}

  def save(self, directory: str) -> None:
    """Writes the reference gradients, for scorers elsewhere."""
    files.make_folders(directory)
    arrays.write_arrays(f"{directory}/reference.npz", {
        f"{number}/{name}": value for number, reference in enumerate(self._references)
        for name, value in zip(_REFERENCE, reference)})

  def load(self, directory: str) -> None:
    """Reads the reference gradients that `save` wrote.

    Raises:
      FormatError: if the file is damaged or another teacher's.
    """
    saved, count = arrays.read_arrays(f"{directory}/reference.npz"), len(self._teacher.checkpoints)
    expected = {f"{number}/{name}" for number in range(count) for name in _REFERENCE}
    if set(saved) != expected:
      raise FormatError(f"{directory}/reference.npz", rule="holds a reference gradient per checkpoint of the teacher.",
                        received=f"arrays {sorted(saved)}.", remedy="score the span again.")
    self._references = [[saved[f"{number}/{name}"] for name in _REFERENCE] for number in range(count)]

  def _at_checkpoints(self, work: Callable[[InfluenceScorer], Any]) -> list[Any]:
    """What the work makes of the scorer at each checkpoint, in their order."""
    made: dict[int, Any] = {}
    with self._lock:
      # The one that is loaded comes first, so that each call loads the others only.
      order = sorted(range(len(self._teacher.checkpoints)),
                     key=lambda number: not self._teacher.is_loaded(self._teacher.checkpoints[number]))
      for number in order:
        scorer = InfluenceScorer(self._teacher.load_checkpoint(self._teacher.checkpoints[number]),
                                 self._teacher.settings.learning_rate)
        if self._references[number]:
          scorer.set_reference(self._references[number])
        made[number] = work(scorer)
    return [made[number] for number in sorted(made)]

  def influences(self, features: dict[str, np.ndarray], targets: np.ndarray) -> np.ndarray:
    """`[n]` float32 influences, summed over the checkpoints.

    Args:
      features: arrays of n rows, as the teacher's models take them.
      targets: `[n]` labels.
    """
    size = self._settings.batch_size
    blocks = [slice(start, start + size) for start in range(0, len(targets), size)]

    def scored(scorer: InfluenceScorer) -> np.ndarray:
      return np.concatenate([scorer.score({name: tf.constant(value[rows]) for name, value in features.items()},
                                          tf.constant(targets[rows]))[0] for rows in blocks])

    return np.sum(self._at_checkpoints(scored), axis=0, dtype=np.float32) if blocks else np.zeros(0, np.float32)

  def score_examples(self, rows: EncodedRows) -> dict[str, np.ndarray]:
    """The columns of `SCORES` of rows that have labels and example ids."""
    drawn = is_drawn(rows.example_ids, self._share, self._teacher.seed)
    influences = np.zeros(len(rows), np.float32)
    influences[drawn] = self.influences({"ids": rows.ids[drawn]}, rows.labels[drawn])
    logits = [self._teacher.logits(batch.ids).numpy() for batch in rows.batches(self._settings.batch_size)]
    return {"example_ids": rows.example_ids, "labels": rows.labels, "influences": influences, "is_scored": drawn,
            "teacher_logits": np.concatenate([np.zeros(0, np.float32), *logits])}

  def score_shard(self, shard: str, spec: FeatureSpec, output: str) -> int:
    """Scores the examples of a shard into a file; returns their number."""
    parts = [(missing_rows(spec, 0), np.zeros(0, np.float32), np.zeros(0, np.int64)),
             *read_examples([shard], spec, self._settings.batch_size)]
    # A shard may be empty: its file has empty columns.
    rows = EncodedRows(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    SCORES.write(output, self.score_examples(rows))
    return len(rows)

  def score_slots(self, slots: Slots) -> np.ndarray:
    """`[num_slots]` float32 influences of slots, with their soft labels as targets."""
    return self.influences({"ids": slots.ids, "weights": slots.weights}, slots.labels)


def score_file(directory: str, shard: str) -> str:
  """Where the scores of a shard lie."""
  return f"{directory}/{shard.rsplit('/', 1)[-1]}.scores.npz"


def read_scores(path: str) -> dict[str, np.ndarray]:
  """The columns of a score file, each `[num_examples]`: those of `SCORES`, without labels where they are not known.

  Raises:
    FormatError: the file is damaged, or of another format.
  """
  columns = SCORES.read(path)
  columns.pop("gradient_norms", None)
  return {"is_scored": np.full(len(columns["example_ids"]), True), **columns}


def scored_stream(shards: Sequence[str], directory: str, spec: FeatureSpec, holdback_fraction: float, *,
                  with_influences: bool = False) -> RowStream:
  """A stream of a span's rows with their scores, without those held back, one shard at a time.

  A pass raises FormatError if a score file is damaged, was made of other examples than its shard's, or lacks influences
  that are asked for.

  Args:
    shards: the TFRecord files of the span.
    directory: folder of their scores.
    spec: feature spec of the examples.
    holdback_fraction: share of the examples that is held back.
    with_influences: whether the rows have influences, which have to be those of every example.
  """

  def one_pass() -> Iterable[EncodedRows]:
    for shard in shards:
      path = score_file(directory, shard)
      scores = read_scores(path)
      batches = [(ids, example_ids) for ids, _, example_ids in read_examples([shard], spec, 1 << 14)]
      example_ids = np.concatenate([np.zeros(0, np.int64), *(batch[1] for batch in batches)])
      if not np.array_equal(example_ids, scores["example_ids"]):
        raise FormatError(path, rule="has one row per example of its shard, in its order.",
                          received=f"{len(scores['example_ids'])} rows for {len(example_ids)} examples, or others.",
                          remedy="score the span again.")
      if with_influences and not scores["is_scored"].all():
        raise FormatError(path, rule="has the influence of every example, where squash.influence_exponent is above 0.",
                          received=f"that of {int(scores['is_scored'].sum())} of {len(example_ids)}.",
                          remedy="score the span again, with score_every_example=1 of InfluenceScorer.")
      kept = ~np.asarray(is_held_back(example_ids, holdback_fraction))
      if kept.any():
        ids = np.concatenate([batch[0] for batch in batches])
        yield EncodedRows(ids[kept], example_ids=example_ids[kept], teacher_logits=scores["teacher_logits"][kept],
                          influences=scores["influences"][kept] if with_influences else None)

  return one_pass


def score_shards(scorer: SpanScorer, shards: Sequence[str], spec: FeatureSpec, directory: str,
               progress: Progress = silent) -> int:
  """Scores all shards of a span in this process; returns the number of examples."""
  files.make_folders(directory)
  done = 0
  for number, shard in enumerate(shards):
    done += scorer.score_shard(shard, spec, score_file(directory, shard))
    progress("scoring (shards)", number + 1, len(shards))
  return done
