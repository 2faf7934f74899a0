"""Scoring a span: the teacher's logit and the influence of every example, shard by shard.

Scores of a shard are a `.npz` file beside it in name, row for row in the shard's order, so that shards can be scored
anywhere and in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from diet_tf.distillation.influence import InfluenceScorer, InfluenceSettings, score_at_checkpoints, slot_features
from diet_tf.distillation.teacher import Teacher
from diet_tf.errors import FormatError
from diet_tf.io import arrays, files
from diet_tf.log.encoded_rows import EncodedRows, RowStream
from diet_tf.log.examples import is_held_back, read_examples
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.slots import Slots
from diet_tf.progress import Progress, silent

# A score file has one row per example.
SCORES = arrays.ArrayFormat("diet_tf.scores", 1, {
    "example_ids": np.int64, "influences": np.float32, "gradient_norms": np.float32, "teacher_logits": np.float32},
    remedy="score the span again with this version of diet-tf.")
_REFERENCE = ("kernel", "bias", "embedding", "linear")


class SpanScorer:
  """Scores examples and slots of a stage at all checkpoints of the teacher.

  Args:
    teacher: the teacher after its pass over the span, with the checkpoints of that pass.
    settings: settings of how influence is measured.
  """

  def __init__(self, teacher: Teacher, settings: InfluenceSettings) -> None:
    self._teacher = teacher
    self._settings = settings
    self._scorers = [InfluenceScorer(teacher.load_checkpoint(checkpoint), teacher.settings.learning_rate)
                     for checkpoint in teacher.checkpoints]

  def fit_reference(self, held_back: Iterable, slots: Slots | None) -> None:
    """Measures the reference gradients on the held-back examples and, weighing as much, on the old slots.

    Args:
      held_back: batches of `(ids, labels, example_ids)`; iterated once per checkpoint.
      slots: the memory before the stage, or None in the first stage.
    """

    def batches() -> Iterator[tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]]:
      total = 0
      for ids, labels, _ in held_back:
        total += len(labels)
        features = {"ids": ids[..., None], "weights": tf.ones_like(ids, tf.float32)[..., None]}
        yield features, labels, tf.ones_like(labels)
      if slots is not None and len(slots):
        share = slots.sample_weights * ((total or len(slots)) / slots.sample_weights.sum())
        yield slot_features(slots), tf.constant(slots.labels), tf.constant(share.astype(np.float32))

    for scorer in self._scorers:
      scorer.fit_reference(batches())

  def save(self, directory: str) -> None:
    """Writes the reference gradients, for scorers elsewhere."""
    files.make_folders(directory)
    arrays.write_arrays(f"{directory}/reference.npz", {
        f"{number}/{name}": value for number, scorer in enumerate(self._scorers)
        for name, value in zip(_REFERENCE, scorer.reference_arrays())})

  def load(self, directory: str) -> None:
    """Reads the reference gradients that `save` wrote.

    Raises:
      FormatError: if the file is damaged or another teacher's.
    """
    saved = arrays.read_arrays(f"{directory}/reference.npz")
    expected = {f"{number}/{name}" for number in range(len(self._scorers)) for name in _REFERENCE}
    if set(saved) != expected:
      raise FormatError(f"{directory}/reference.npz", rule="holds a reference gradient per checkpoint of the teacher.",
                        received=f"arrays {sorted(saved)}.", remedy="score the span again.")
    for number, scorer in enumerate(self._scorers):
      scorer.set_reference([saved[f"{number}/{name}"] for name in _REFERENCE])

  def score_examples(self, ids: tf.Tensor, labels: tf.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Influences, gradient norms and the teacher's logits of a batch, each `[batch_size]` float32.

    Args:
      ids: `[batch_size, num_fields]`.
      labels: `[batch_size]`.
    """
    influences, norms = score_at_checkpoints(self._scorers, {"ids": ids}, labels)
    return influences, norms, self._teacher.logits(ids).numpy()

  def score_shard(self, shard: str, spec: FeatureSpec, output: str) -> int:
    """Scores the examples of a shard into a file; returns their number."""
    parts: list[tuple[np.ndarray, ...]] = []
    for ids, labels, example_ids in read_examples([shard], spec, self._settings.batch_size):
      parts.append((example_ids, *self.score_examples(tf.constant(ids), tf.constant(labels))))
    # A shard may be empty: its file has empty columns.
    columns = {name: np.concatenate([np.zeros(0, dtype), *(part[number] for part in parts)])
               for number, (name, dtype) in enumerate(SCORES.columns.items())}
    SCORES.write(output, columns)
    return len(columns["example_ids"])

  def score_slots(self, slots: Slots) -> np.ndarray:
    """`[num_slots]` float32 influences of slots, with their soft labels as targets."""
    parts = []
    for start in range(0, len(slots), self._settings.batch_size):
      part = slots.take(np.arange(start, min(start + self._settings.batch_size, len(slots))))
      parts.append(score_at_checkpoints(self._scorers, slot_features(part), tf.constant(part.labels))[0])
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def score_file(directory: str, shard: str) -> str:
  """Where the scores of a shard lie."""
  return f"{directory}/{shard.rsplit('/', 1)[-1]}.scores.npz"


def read_scores(path: str) -> dict[str, np.ndarray]:
  """The columns of a score file, each `[num_examples]`: `example_ids`, `influences` and others of `SCORES`.

  Raises:
    FormatError: the file is damaged, or of another format.
  """
  return SCORES.read(path)


def scored_stream(shards: Sequence[str], directory: str, spec: FeatureSpec, holdback_fraction: float) -> RowStream:
  """A stream of a span's rows with their scores, without those held back, one shard at a time.

  A pass raises FormatError if a score file is damaged, or was made of other examples than its shard's.
  """

  def one_pass() -> Iterable[EncodedRows]:
    for shard in shards:
      scores = read_scores(score_file(directory, shard))
      batches = [(ids, example_ids) for ids, _, example_ids in read_examples([shard], spec, 1 << 14)]
      example_ids = np.concatenate([np.zeros(0, np.int64), *(batch[1] for batch in batches)])
      if not np.array_equal(example_ids, scores["example_ids"]):
        raise FormatError(score_file(directory, shard), rule="has one row per example of its shard, in its order.",
                          received=f"{len(scores['example_ids'])} rows for {len(example_ids)} examples, or others.",
                          remedy="score the span again.")
      kept = ~np.asarray(is_held_back(example_ids, holdback_fraction))
      if kept.any():
        ids = np.concatenate([batch[0] for batch in batches])
        yield EncodedRows(ids[kept], example_ids=example_ids[kept], teacher_logits=scores["teacher_logits"][kept],
                          influences=scores["influences"][kept])

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
