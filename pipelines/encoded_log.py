"""The log of a store for Keras: the examples that its memory stands for, and those that it has not seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from diet_tf.config.config import Config, load_config
from diet_tf.io import files
from diet_tf.memory.manifest import read_manifest
from diet_tf.progress import Progress, silent
from diet_tf.store.store import Store, memory_folder
from diet_tf.training.log_examples import LogExamples
from pipelines import unseen_rows
from pipelines.data_folder import with_data_dir
from pipelines.encoded_spans import committed_shards
from pipelines.workspace import Workspace


@dataclasses.dataclass(frozen=True)
class EncodedLog:
  """The two parts of a log, as seen from a memory.

  Attributes:
    seen: the examples of the spans that the memory stands for, to train on the log what was trained on the memory.
    held_out: the examples of later spans, to judge both on.
  """

  seen: LogExamples
  held_out: LogExamples


def open_log(config: Config | str, store_uri: str, *, data_dir: str = ".", output: str | None = None,
             test_spans: Sequence[int] = (), progress: Progress = silent) -> EncodedLog:
  """The log that the newest memory of a store was made from, encoded.

  What a run has left beside the store is read as it is; a span that is not there is encoded once, and kept.

  Args:
    config: the config of the run, or the path of its file.
    store_uri: folder or URI of the store's root.
    data_dir: the folder that paths in the config are relative to; the current one by default.
    output: the local folder of the run; None, the default, takes the one that the store lies in, or that of the config
      where the store is remote.
    test_spans: numbers of the spans to judge on; empty, the default, takes the newest span of the log.
    progress: callback that is told about finished pieces of work.

  Raises:
    ConfigError: the config, or what is passed, is not usable.
    DataError: the log lacks a span, or the memory has seen a span to judge on.
    FormatError: the store is of another feature spec.
    StoreError: the store has no memory.
  """
  config = with_data_dir(load_config(config) if isinstance(config, str) else config, data_dir)
  beside = None if files.is_remote(store_uri) else files.parent(store_uri)
  workspace = Workspace(output or beside or config.output)
  manifest = read_manifest(memory_folder(store_uri))
  # One call a span, so that each keeps its files; without a number it is the newest span.
  later = [unseen_rows.from_log(config.log, config.features, manifest, store_uri, workspace.output, spans=spans,
                             progress=progress) for spans in ([[span] for span in test_spans] or [[]])]
  store = Store(store_uri)
  seen = {span: committed_shards(config.log, config.features, span, store, workspace, progress=progress)
          for span in store.known_spans() if span <= manifest.span}
  return EncodedLog(LogExamples(seen, config.features),
                    LogExamples({part.spans[0]: part.shards for part in later}, config.features))
