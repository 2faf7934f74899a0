"""Rows that a memory has not seen, to judge architectures on: encoded already, or spans of the raw log encoded for it.

What users read calls them held-out rows. They are of later spans than the memory, and not the held-back part of a span,
which the span's stage leaves out of distillation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from diet_tf.errors import ConfigError, DataError, FormatError
from diet_tf.io import files
from diet_tf.log import encoding
from diet_tf.log.examples import example_shards
from diet_tf.log.features import FeatureSpec
from diet_tf.log.settings import LogSettings
from diet_tf.memory.manifest import MANIFEST_NAME, Manifest
from diet_tf.progress import Progress, silent
from diet_tf.store.store import Store
from pipelines.encoded_spans import encoded_shards, shards_in_folder
from tfx_components.log_gen.file_names import VOCABULARIES_NAME
from tfx_components.log_gen.summary import LogSummary

EXAMPLES_FOLDER = "examples"


@dataclasses.dataclass(frozen=True)
class UnseenRows:
  """Encoded rows that a memory has not seen.

  Attributes:
    shards: paths of the TFRecord files that hold them.
    spans: numbers of the spans that they are of, ascending; empty where nothing says it.
    source: the folder or the log's pattern that they come from, to be shown.
  """

  shards: tuple[str, ...]
  spans: tuple[int, ...]
  source: str


def from_folder(folder: str, manifest: Manifest) -> UnseenRows:
  """The examples in a folder that LogGen wrote (or in a folder of TFRecord shards).

  Args:
    folder: path or URI of an Examples folder with `Split-train`, or of the folder of the shards.
    manifest: manifest of the memory.

  Raises:
    DataError: there are no examples, or the memory has seen them.
    FormatError: they are of another feature spec.
  """
  summary = LogSummary.read(folder)
  if summary is not None:
    if summary.feature_spec_digest != manifest.feature_spec_digest:
      raise FormatError(folder, rule=f"the examples are of the memory's feature spec "
                        f"{manifest.feature_spec_digest[:12]}.", received=summary.feature_spec_digest[:12],
                        remedy="encode the span with the config of the memory: pass --config instead.")
    if summary.salt_check != manifest.salt_check:
      raise FormatError(folder, rule=f"the ids of the examples are hashed with the memory's secret, of the check value "
                        f"{manifest.salt_check}.", received=str(summary.salt_check),
                        remedy="encode the span again with the secret of the memory: pass --config instead.")
    _require_later([summary.span], manifest)
  shards = shards_in_folder(folder) or example_shards(folder)
  return UnseenRows(tuple(shards), () if summary is None else (summary.span,), folder)


def from_workspace(store_uri: str, manifest: Manifest) -> UnseenRows | None:
  """The examples of the newest span, later than the memory, that a run has left beside a local store.

  Args:
    store_uri: folder or URI of the store's root.
    manifest: manifest of the memory.

  Returns:
    The rows; None where there are none, or where the store is remote.
  """
  if files.is_remote(store_uri):
    return None
  root = files.join(files.parent(store_uri), EXAMPLES_FOLDER)
  known = _vocabularies(store_uri)
  later = sorted((int(name) for name in files.names_in(root) if name.isdecimal() and int(name) > manifest.span),
                 reverse=True)
  for span in later:
    for name in files.names_in(files.join(root, str(span))):
      folder = files.join(root, str(span), name)
      summary = LogSummary.read(folder)
      if (summary is not None and summary.feature_spec_digest == manifest.feature_spec_digest
          and summary.salt_check == manifest.salt_check and _continue(folder, known)):
        return from_folder(folder, manifest)
  return None


def _vocabularies(store_uri: str) -> dict[str, list[str]]:
  """The vocabularies of a store's newest commit; empty where it has none, or is no store but one memory."""
  if files.exists(files.join(store_uri, MANIFEST_NAME)):
    return {}
  store = Store(store_uri)
  newest = store.newest()
  path = None if newest is None else store.path(newest, VOCABULARIES_NAME)
  return encoding.read_vocabularies(path) if path is not None and files.exists(path) else {}


def _continue(folder: str, known: Mapping[str, Sequence[str]]) -> bool:
  """Whether the ids of the examples in a folder mean what they do in a store.

  A span that was encoded before the commit below it was replaced, say, or for another store beside this one, may have
  grown other values.

  Args:
    folder: folder of LogGen's output.
    known: per field, the values that the store knows, in the order of their ids.
  """
  path = files.join(folder, VOCABULARIES_NAME)
  grown = encoding.read_vocabularies(path) if files.exists(path) else {}
  return all(list(grown.get(field, ()))[:len(values)] == list(values) for field, values in known.items())


def from_log(log: LogSettings, features: FeatureSpec, manifest: Manifest, store_uri: str, output: str, *,
             spans: Sequence[int] = (), progress: Progress = silent) -> UnseenRows:
  """Spans of the raw log, encoded as the next span of the store would be.

  Args:
    log: settings of the log, whose paths can be opened from the current folder.
    features: the feature spec that rows are encoded with, which has to be the memory's.
    manifest: manifest of the memory.
    store_uri: folder or URI of the root of its store, which has the vocabularies.
    output: folder for the encoded spans; they are kept, so that the next comparison starts at once.
    spans: numbers of the spans; empty, the default, takes the newest of the log.
    progress: callback that is told about finished pieces of work.

  Raises:
    ConfigError: the memory does not lie in a store, though its vocabularies have to be known.
    DataError: the log has no such span, or the memory has seen it.
    FormatError: the feature spec is not that of the memory.
  """
  from tfx_components.log_gen import available_spans

  manifest.require_spec(features, subject=store_uri)
  if files.exists(files.join(store_uri, MANIFEST_NAME)):
    raise ConfigError("--store", rule="rows of the log are encoded with the vocabularies of a store.",
                      received=f"{store_uri}, the folder of one memory.",
                      remedy="pass the root of the store, or encoded rows with --examples.")
  if not spans:
    available = available_spans(log)
    if not available:
      raise DataError(log.pattern, rule="it matches the files of at least one span.", received="none.",
                      remedy="check the pattern, and --data-dir.")
    spans = available[-1:]
  _require_later(spans, manifest)
  store = Store(store_uri)
  shards = [shard for span in spans for shard in encoded_shards(
      log, features, span, store, files.join(output, EXAMPLES_FOLDER, str(span)), progress=progress)]
  return UnseenRows(tuple(shards), tuple(spans), log.pattern)


def _require_later(spans: Sequence[int], manifest: Manifest) -> None:
  seen = [span for span in spans if span <= manifest.span]
  if seen:
    raise DataError(f"span {', '.join(map(str, seen))}", rule="held-out rows are of a later span than the memory, "
                    "which has seen what came before.", received=f"a memory of span {manifest.span}.",
                    remedy="name a later span with --test-span, or keep one back with test_spans of the config.")
