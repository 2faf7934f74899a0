"""The scored sample: a few rows of the log with the teacher's probabilities, kept beside a memory's slots.

Learning rates are chosen by it (`diet_tf.memory.tuning`): the loss against the teacher's probabilities on some two
thousand rows tells good rates from bad ones, which the clicks of as many rows do not. A stage draws the sample anew
from that of the memory before it and from the rows of its own span, so that it is a uniform sample of the rows of all
spans so far; old spans are not read again.

Of each row it has the ids as they are encoded and the probability: no click, no time, no example id, and no trace of
these, since rows stand in the order of their ids and not in that of the draw.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from diet_tf.errors import DataError, FormatError
from diet_tf.io import files
from diet_tf.io.record_frames import ShardInfo, count_records
from diet_tf.io.records import (
  RECORD_FRAMING_BYTES,
  REMEDY,
  float_entries,
  readable,
  record_dataset,
  serialised_examples,
  write_records,
)
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.examples import field_features, row_entries, rows_of_features
from diet_tf.log.features import FeatureSpec
from diet_tf.log.hashing import mix, salted_mix
from diet_tf.log.row_layout import RowLayout

SCORED_SAMPLE_NAME = "scored-sample.tfrecord.gz"
_COMPRESSION_LEVEL = 9
# Beside its name an id takes up to 10 bytes, and some 20 of keys, lengths and tags.
_FEATURE_BYTES = 64
# Of a further value: its id, and its weight.
_VALUE_BYTES = 14


@dataclasses.dataclass(frozen=True)
class ScoredSample:
  """Rows of the log with the teacher's probabilities, in the order of their ids.

  Attributes:
    ids: `[num_rows, num_places]` int32, encoded rows of ids local to their field (`diet_tf.log.row_layout`).
    probabilities: `[num_rows]` float32 in `[0, 1]`, what the teacher gives the rows.
    num_examples: number of rows of the log that the sample was drawn from, all spans together.
  """

  ids: np.ndarray
  probabilities: np.ndarray
  num_examples: int

  def __post_init__(self) -> None:
    object.__setattr__(self, "ids", np.ascontiguousarray(self.ids, np.int32))
    object.__setattr__(self, "probabilities", np.ascontiguousarray(self.probabilities, np.float32))
    if self.ids.ndim != 2 or self.probabilities.shape != (len(self.ids),):
      raise DataError("scored sample", rule="ids are [num_rows, num_places] and probabilities [num_rows].",
                      received=f"ids {self.ids.shape}, probabilities {self.probabilities.shape}.",
                      remedy="pass one probability for each row.")

  def __len__(self) -> int:
    return len(self.ids)


def merge(previous: ScoredSample | None, new: EncodedRows, num_new: int, num_rows: int, *, seed: int,
          probabilities_of: Callable[[np.ndarray], np.ndarray]) -> ScoredSample:
  """A uniform sample of the rows behind a sample and of those of a new span.

  How many rows come from either side follows the hypergeometric distribution, as if all rows were drawn from together.

  Args:
    previous: sample of the spans before; None where there is none, and then the rows before do not count.
    new: rows of the new span that come first in its draw, at most `num_rows`, in the order of the draw.
    num_new: number of rows of the new span that they were drawn from.
    num_rows: the most rows of the result.
    seed: seed of the stage.
    probabilities_of: function from encoded rows `[n, num_places]` to the present teacher's probabilities `[n]`.
  """
  num_old = 0 if previous is None else previous.num_examples
  num_from_old = 0
  if previous is not None:
    # A smaller sample of the spans before, of another setting, does not suffice for its share of a larger one.
    num_rows = min(num_rows, len(previous) * (num_old + num_new) // num_old if num_old else num_rows)
    num_from_old = min(_drawn_from_first(num_old, num_new, num_rows, seed), len(previous))
  ids = new.ids[:num_rows - num_from_old]
  if previous is not None:
    order = np.argsort(salted_mix(np.arange(len(previous)), seed), kind="stable")
    ids = np.concatenate([previous.ids[order[:num_from_old]], ids])
  ids = ids[np.lexsort(ids.T[::-1])]
  return ScoredSample(ids, probabilities_of(ids), num_old + num_new)


def _drawn_from_first(num_first: int, num_second: int, num_drawn: int, seed: int) -> int:
  """How many of `num_drawn` things come from the first of two heaps, drawn without putting any back."""
  left_first, left, found = num_first, num_first + num_second, 0
  for value in (mix(np.arange(min(num_drawn, left)), seed) / 2.0**64).tolist():
    if value * left < left_first:
      found += 1
      left_first -= 1
    left -= 1
  return found


def check_scored_sample(sample: ScoredSample, spec: FeatureSpec) -> None:
  """Raises DataError if a sample is not of a feature spec, or has a probability that is none."""
  RowLayout.of(spec).check(sample.ids, spec, "scored sample")
  probabilities = sample.probabilities
  if not ((probabilities >= 0) & (probabilities <= 1)).all():
    wrong = probabilities[~((probabilities >= 0) & (probabilities <= 1))][0]
    raise DataError("scored sample", rule="probabilities lie in [0, 1].", received=f"{wrong:g}.",
                    remedy="look for a faulty span: the teacher's loss is not finite.")


def write_scored_sample(directory: str, sample: ScoredSample, spec: FeatureSpec) -> ShardInfo:
  """Writes a sample into the folder of its memory; the same sample always gives the same bytes.

  Args:
    directory: folder of the memory, which exists.
    sample: sample that is written.
    spec: feature spec, which names the fields.

  Raises:
    DataError: the sample is not sound, see `check_scored_sample`.
    StoreError: the disk is full or the place is not writable.
  """
  check_scored_sample(sample, spec)
  columns = row_entries(sample.ids, spec)
  columns["label"] = float_entries("label", sample.probabilities)
  records: Iterable[bytes] = serialised_examples(columns)
  return write_records(files.join(directory, SCORED_SAMPLE_NAME), records, _COMPRESSION_LEVEL)


def read_scored_sample(path: str, num_rows: int, num_examples: int, spec: FeatureSpec) -> ScoredSample:
  """The sample that `write_scored_sample` wrote.

  Args:
    path: path or URI of the file.
    num_rows: number of its rows, as the manifest says.
    num_examples: number of rows that it was drawn from, as the manifest says.
    spec: feature spec that it was made with.

  Raises:
    FormatError: the file is missing or damaged, has another number of rows, or rows that are not sound.
  """
  longest = sum(len(name.encode()) + _FEATURE_BYTES for name in (*spec.names, "label")) + _FEATURE_BYTES
  longest += sum(field.max_values * _VALUE_BYTES + len(field.name.encode()) + _FEATURE_BYTES for field in spec.fields
                 if field.max_values is not None)
  found, _ = count_records(path, num_rows * (longest + RECORD_FRAMING_BYTES), (1, longest))
  if found != num_rows:
    raise FormatError(path, rule=f"it holds the manifest's {num_rows:,} rows.", received=f"{found:,}.", remedy=REMEDY)
  features = {**field_features(spec), "label": tf.io.FixedLenFeature([], tf.float32)}
  with readable(path):
    parsed = tf.io.parse_example(list(record_dataset([path]).as_numpy_iterator()), features)
    # What does not fit into int32 must not come round to a valid id.
    for name in spec.names:
      parsed[name] = tf.clip_by_value(parsed[name], np.iinfo(np.int32).min, np.iinfo(np.int32).max)
    ids = rows_of_features(parsed, spec).numpy()
  try:
    sample = ScoredSample(ids, parsed["label"].numpy(), num_examples)
    check_scored_sample(sample, spec)
  except DataError as error:
    raise FormatError(f"{path}: {error.subject}", rule=error.rule, received=error.received, remedy=REMEDY) from error
  return sample
