"""The log of a benchmark: encoded once by the code of LogGen, then held as arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from diet_tf.config.config import Config
from diet_tf.errors import ConfigError, DataError
from diet_tf.io import files, records
from diet_tf.io.arrays import read_arrays, write_arrays
from diet_tf.log import encoding
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.examples import example_dataset, example_shards
from diet_tf.log.features import FeatureSpec
from diet_tf.progress import Progress, silent

ARRAYS_NAME = "log.npz"
_BATCH = 8192


@dataclasses.dataclass(frozen=True)
class EncodedLog:
  """All spans of a log.

  Attributes:
    rows: rows of all spans, in time order.
    spec: feature spec that they are encoded with.
    train_spans: numbers of the spans that are distilled.
    test_spans: numbers of the newest spans, which are kept for the test.
    span_bytes: size in bytes of each span's TFRecords as stored.
    span_raw_bytes: size in bytes of each span's TFRecords uncompressed.
  """

  rows: EncodedRows
  spec: FeatureSpec
  train_spans: tuple[int, ...]
  test_spans: tuple[int, ...]
  span_bytes: dict[int, int]
  span_raw_bytes: dict[int, int]

  @property
  def train(self) -> EncodedRows:
    """The rows of the spans that are distilled."""
    return self.rows.of_spans(self.train_spans)

  @property
  def test(self) -> EncodedRows:
    """The rows of the test."""
    return self.rows.of_spans(self.test_spans)


def encode_log(config: Config, folder: str, progress: Progress = silent, *, spans: Sequence[int] | None = None) -> None:
  """Encodes the spans of a log into `folder`, each with the vocabularies of the spans before it.

  Args:
    config: config of the log.
    folder: folder that gets the rows; where they are, nothing is done.
    progress: callback that is told of each span.
    spans: numbers of the spans; None takes all that there are.

  Raises:
    DataError: a span is missing, empty or broken, or there are too few.
  """
  from tfx_components.log_gen import available_spans, generate_examples
  from tfx_components.log_gen.generate import SPLIT_FOLDER, VOCABULARIES_NAME

  if files.exists(files.join(folder, ARRAYS_NAME)):
    return
  spans = sorted(available_spans(config.log) if spans is None else spans)
  _require_enough(spans, config)
  known: dict[str, list[str]] = {}
  parts: list[dict[str, np.ndarray]] = []
  for number, span in enumerate(spans):
    target = files.join(folder, "encoded", str(span))
    if not files.exists(f"{target}.npz"):
      files.remove_if_there(target)
      generate_examples(config.log, config.features, span, target, vocabularies=known)
      write_arrays(f"{target}.npz", _columns(span, example_shards(files.join(target, SPLIT_FOLDER)), config.features))
    known = encoding.read_vocabularies(files.join(target, VOCABULARIES_NAME))
    parts.append(read_arrays(f"{target}.npz"))
    progress("encode (spans)", number + 1, len(spans))
  write_arrays(files.join(folder, ARRAYS_NAME),
               {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def development_spans(config: Config) -> list[int]:
  """The numbers of all spans but the newest, which are for the test: as many as `test_spans`."""
  from tfx_components.log_gen import available_spans

  return sorted(available_spans(config.log))[:-config.test_spans]


def _columns(span: int, shards: Sequence[str], spec: FeatureSpec) -> dict[str, np.ndarray]:
  """The rows of a span as arrays, and the bytes of its shards, as stored and uncompressed."""
  batches = [tuple(np.asarray(part) for part in batch) for batch in example_dataset(shards, spec, _BATCH)]
  ids, labels, example_ids = (np.concatenate(parts) for parts in zip(*batches, strict=True))
  return {"ids": ids, "labels": labels, "example_ids": example_ids, "spans": np.full(len(labels), span, np.int64),
          "sizes": np.array([[span, *records.shard_bytes(shards)]], np.int64)}


def _require_enough(spans: Sequence[int], config: Config) -> None:
  if not 0 < config.test_spans < len(spans):
    raise DataError("log", rule="it has at least one span to distil and one for the test.",
                    received=f"{len(spans)} spans, of which --test-spans {config.test_spans} are for the test.",
                    remedy="give a longer log, or another number of test spans.")


def _require_single_values(config: Config) -> None:
  if config.features.multi_valued:
    # Its selections take rows as slots, and tell them apart by the columns of their ids.
    raise ConfigError("benchmark of fidelity", rule="its selections are of rows of one value a field.",
                      received=f"several values in {', '.join(config.features.multi_valued)}.",
                      remedy="leave max_values out of the fields; diet run and diet compare judge a memory with them.")


def read_log(config: Config, folder: str) -> EncodedLog:
  """The log that `encode_log` wrote, cut in time order.

  Raises:
    DataError: it has too few spans to distil some and test on others.
    ConfigError: a field has several values a row.
  """
  with np.load(files.join(folder, ARRAYS_NAME), allow_pickle=False) as arrays:
    rows = EncodedRows(arrays["ids"], arrays["labels"], arrays["example_ids"], arrays["spans"])
    sizes = {int(span): (int(stored), int(raw)) for span, stored, raw in arrays["sizes"]}
  spans = sorted(sizes)
  _require_enough(spans, config)
  _require_single_values(config)
  return EncodedLog(rows, config.features, tuple(spans[:-config.test_spans]), tuple(spans[-config.test_spans:]),
                    {span: sizes[span][0] for span in spans}, {span: sizes[span][1] for span in spans})
