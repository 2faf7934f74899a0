"""Spans of the log as examples: those of pipeline runs, and spans that are encoded outside the pipeline.

The latter are the spans that models are judged on, and committed ones whose examples are gone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence

from diet_tf.io import files
from diet_tf.io.documents import canonical_digest
from diet_tf.log import encoding
from diet_tf.log.duplicates import RELEASE_0_1, DuplicateRule
from diet_tf.log.examples import example_shards
from diet_tf.log.features import FeatureSpec
from diet_tf.log.settings import RELEASE_0_1_MISSING_VALUES, LogSettings
from diet_tf.memory.manifest import read_manifest
from diet_tf.progress import Progress, silent
from diet_tf.store.commit import FileInfo
from diet_tf.store.locks import lock_file
from diet_tf.store.store import MEMORY_PART, Store
from pipelines.workspace import Workspace
from tfx_components.log_gen.file_names import SPLIT_FOLDER, SUMMARY_NAME, VOCABULARIES_NAME
from tfx_components.log_gen.summary import LogSummary

# Stands behind the name of a folder in that of the file which is locked by the process that fills the folder.
LOCK_SUFFIX = ".lock"


def encoded_shards(log: LogSettings, features: FeatureSpec, span: int, store: Store, folder: str, *,
                 beam_pipeline_args: Sequence[str] = (), progress: Progress = silent) -> list[str]:
  """The paths of a span's example shards, encoded with the vocabularies of the newest commit below the span.

  A span that was committed with another feature spec knew other fields, or fewer values: it is encoded with the
  vocabularies of the newest commit of all, and its own values are not added, so that an id means one value. Which rows
  stand for each other is what a committed span says, and for another one the config, or else the commit below. What was
  encoded before is taken as it is.

  Args:
    log: settings of the log, whose paths can be opened from the current folder.
    features: the feature spec of the store.
    span: number of the span.
    store: the store of the memories.
    folder: folder for the examples of this span; those of each log, spec and parent get a folder of their own in it.
    beam_pipeline_args: options of Beam for the reader of the log.
    progress: callback that is told about finished pieces of work.
  """
  own = store.read(span) if span in store.spans() else None
  grows = own is None or own.feature_spec_digest in (None, features.digest())
  below = store.newest(below=span) if grows else store.newest()
  if features.salt is not None and store.newest() is not None:
    features = features.bound_to(_salt_check(store))
  rule = (DuplicateRule.of(log, None if below is None else below.settings) if own is None
          else DuplicateRule.of_commit(own.settings))
  continued = (log.continued(None if below is None else below.settings) if own is None
               else dataclasses.replace(log, missing_values=None).continued(own.settings))
  origin = canonical_digest({
      "log": log.identity(), "features": features.to_dict(), "grows": grows,
      "parent": None if below is None else below.data,
      # What release 0.1 encoded stands under a name without it.
      **({} if rule == RELEASE_0_1 else {"rule": rule.to_dict()}),
      **({} if continued.missing_values == RELEASE_0_1_MISSING_VALUES else {"missing": continued.missing_values})})
  target = files.join(folder, origin[:16])
  with _encoded_by_one(target):
    # The summary is written last: with it, the folder is whole.
    if not files.exists(files.join(target, SUMMARY_NAME)):
      from tfx_components.log_gen import generate_examples

      files.remove_if_there(target)
      known = {} if below is None else encoding.read_vocabularies(store.path(below, VOCABULARIES_NAME))
      generate_examples(continued, features if grows else encoding.closed(features, known), span, target,
                        vocabularies=known if grows else {}, rule=rule, beam_pipeline_args=beam_pipeline_args,
                        progress=progress)
  return shards_in_folder(target)


@contextlib.contextmanager
def _encoded_by_one(target: str) -> Iterator[None]:
  """Lets one process at a time encode into a local folder: the others wait, and then find what it left."""
  if files.is_remote(target):
    yield
    return
  with files.writing(target):
    files.make_folders(files.parent(target))
    lock = lock_file(f"{target}{LOCK_SUFFIX}", wait=True, create=True)
  try:
    yield
  finally:
    if lock is not None:
      os.close(lock)


def committed_shards(log: LogSettings, features: FeatureSpec, span: int, store: Store, workspace: Workspace, *,
                   beam_pipeline_args: Sequence[str] = (), progress: Progress = silent) -> list[str]:
  """The paths of a committed span's example shards: those of its pipeline run, or else of the span encoded again.

  Args:
    log: settings of the log, whose paths can be opened from the current folder.
    features: the feature spec of the store.
    span: number of the span.
    store: the store of the memories.
    workspace: the folder of the run, where examples are looked for, and written if there are none.
    beam_pipeline_args: options of Beam for the reader of the log.
    progress: callback that is told about finished pieces of work.
  """
  record = workspace.read_record(span)
  if (record is not None and record.feature_spec_digest == features.digest()
      and _are_of_commit(record.examples, span, store)):
    shards = shards_in_folder(record.examples)
    if shards:
      return shards
  return encoded_shards(log, features, span, store, workspace.examples_folder(span),
                      beam_pipeline_args=beam_pipeline_args, progress=progress)


def _are_of_commit(folder: str, span: int, store: Store) -> bool:
  """Whether the examples in a folder of LogGen are of a span, and their ids those of its commit.

  What is remembered of a span may be wrong: earlier releases took a neighbouring run's examples for its own, and a span
  may have been run again without being committed.
  """
  summary = LogSummary.read(folder)
  if summary is None or summary.span != span or summary.salt_check != _salt_check(store):
    return False
  commit = store.read_if_there(span)
  vocabularies = None if commit is None else commit.files.get(VOCABULARIES_NAME)
  path = files.join(folder, VOCABULARIES_NAME)
  return vocabularies is None or (files.exists(path) and FileInfo(*files.digest(path)) == vocabularies)


def _salt_check(store: Store) -> str | None:
  """The check value of the secret that the store's ids are hashed with."""
  newest = store.newest()
  return None if newest is None else read_manifest(store.path(newest, MEMORY_PART)).salt_check


def shards_in_folder(folder: str) -> list[str]:
  """The paths of the example shards in an Examples folder; empty if it has none."""
  split = files.join(folder, SPLIT_FOLDER)
  return example_shards(split) if files.is_folder(split) else []
