"""Encoded examples of the log as Keras takes them: to train a model on the log, or to judge it there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import tensorflow as tf

from diet_tf.errors import ConfigError, DataError
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.examples import example_arrays, example_shards, log_dataset
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_layout import missing_rows
from diet_tf.memory.memory import Mode
from diet_tf.models.inputs import features_in_form


@dataclasses.dataclass(frozen=True)
class LogExamples:
  """Examples of some spans of the log.

  Attributes:
    shards: paths of the TFRecord files of each span.
    spec: feature spec that they were encoded with, which is that of the memory.
  """

  shards: Mapping[int, Sequence[str]]
  spec: FeatureSpec

  def __post_init__(self) -> None:
    shards = {int(span): tuple(paths) for span, paths in sorted(self.shards.items()) if paths}
    if not shards:
      raise DataError("log examples", rule="they are of at least one file.",
                      received=f"no file for spans {sorted(self.shards)}.", remedy="name a span that was encoded.")
    object.__setattr__(self, "shards", shards)

  @classmethod
  def in_folder(cls, folder: str, spec: FeatureSpec, *, span: int = 0) -> LogExamples:
    """The examples of one span, from the folder of its TFRecord files.

    Args:
      folder: folder of the files, for instance the `Split-train` of an Examples artifact.
      spec: feature spec that they were encoded with.
      span: number of the span.

    Raises:
      DataError: there are no TFRecord files in it.
    """
    return cls({span: example_shards(folder)}, spec)

  @property
  def spans(self) -> tuple[int, ...]:
    """The numbers of the spans, ascending."""
    return tuple(self.shards)

  def dataset(self, batch_size: int = 256, mode: Mode = "weighted") -> tf.data.Dataset:
    """The examples in the order of the log, as `(features, label [B] float32)`, read from the files as they are used.

    Features by mode, as those of `Memory.dataset`: in "sampled" `{field: [B] int64}`; in "weighted" bags,
    `{field: [B, n] int64, field + "/weights": [B, n] float32}`, n being 1, or `max_values` of a multi-valued field.

    Args:
      batch_size: examples per element.
      mode: form of the features, "weighted" or "sampled".

    Raises:
      ConfigError: the mode is another, or the batch size below 1; or the mode is "sampled", and a field has several
        values a row.
    """
    if mode not in ("weighted", "sampled") or batch_size < 1:
      raise ConfigError("log_examples.dataset", rule="mode is 'weighted' or 'sampled' and batch_size at least 1.",
                        received=f"mode {mode!r}, batch_size {batch_size}.", remedy="correct the argument.")
    if mode == "sampled" and self.spec.multi_valued:
      # Before the dataset is read, whose errors TensorFlow replaces by its own.
      features_in_form(mode, self.spec, tf.constant(missing_rows(self.spec, 1)), None)
    batches = log_dataset(self.shards, self.spec, batch_size)
    return batches.map(lambda ids, labels, _: (features_in_form(mode, self.spec, ids, None), labels),
                       num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

  def arrays(self) -> EncodedRows:
    """All examples as arrays in the same order, for what judges without Keras (`diet_tf.fidelity.comparison.compare`).

    Raises:
      DataError: the files of a span hold no example.
      FormatError: a file is damaged, or of another feature spec.
    """
    return EncodedRows.concatenate([example_arrays(paths, self.spec) for paths in self.shards.values()])
