"""The executor of MemoryCommitter."""

from __future__ import annotations

from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor

from diet_tf.distillation.carried_rows import CARRIED_PART
from diet_tf.distillation.gate import PREVIOUS, REFINED
from diet_tf.distillation.settings import Stage
from diet_tf.distillation.stage import refinement_of
from diet_tf.errors import DataError, StoreError
from diet_tf.io import files
from diet_tf.io.json_files import write_json
from diet_tf.log.duplicates import RULE_KEY
from diet_tf.log.settings import MISSING_KEY
from diet_tf.memory.manifest import read_manifest
from diet_tf.store.commit import Commit
from diet_tf.store.garbage import collect_garbage
from diet_tf.store.store import MEMORY_PART, MIGRATED_FROM_KEY, Store
from tfx_components import inputs
from tfx_components.log_gen.file_names import VOCABULARIES_NAME
from tfx_components.span_validator import validate
from tfx_components.stage_files import (
  MEMORY_FOLDER,
  StageInputs,
  duplicate_rule_of,
  missing_values_of,
  read_verdict,
  save_stage_memory,
  stage_settings,
)

LOCATION_NAME = "location.json"


class Executor(base_executor.BaseExecutor):
  """Runs MemoryCommitter."""

  def Do(self, input_dict: dict[str, list[types.Artifact]], output_dict: dict[str, list[types.Artifact]],
         exec_properties: dict[str, Any]) -> None:
    """Commits what the gate chose.

    Args:
      input_dict: `memory`, `start`, `parent`, `teacher`, `verdict`, `examples`, `schema` and `statistics` of the stage.
      output_dict: `commit`: one StoreCommit artifact.
      exec_properties: `store_uri`; `features` and `settings` as JSON; `budget_fraction`; `seed`; `span`; `run_id`;
        `replace`; `store_spans`, which compiled pipelines of earlier releases do not have.

    Raises:
      StoreError: the span has other content already, or the store has moved on below it since the stage began.
      FormatError: old commits are to be removed, and what would be kept is damaged; the span is committed.
    """
    self._log_startup(input_dict, output_dict, exec_properties)
    given = StageInputs.of(input_dict, exec_properties)
    stage, parent = given.stage, given.parent
    artifact = inputs.single(output_dict, "commit")
    chosen = chosen_candidate(given.uri("verdict"), stage.span)
    parts = collect_parts(given, chosen, artifact.uri)
    store = Store(exec_properties["store_uri"])
    require_unmoved(store, stage.span, parent.commit)
    require_one_secret(store, stage)
    context_id = self._context.pipeline_run_id if self._context is not None else None
    # How the rows were read, too, so that the store goes on so.
    examples_uri = given.uri("examples")
    settings = {**commit_settings(stage, parent), RULE_KEY: duplicate_rule_of(examples_uri).to_dict(),
                MISSING_KEY: missing_values_of(examples_uri)}
    commit = store.commit(stage.span, parts, parent=parent.commit, settings=settings,
                          run_id=exec_properties.get("run_id") or context_id or "",
                          replace=bool(int(exec_properties.get("replace") or 0)))
    memory_uri = store.path(commit, MEMORY_PART)
    write_json(files.join(artifact.uri, inputs.COMMIT_NAME), commit.to_dict())
    write_json(files.join(artifact.uri, LOCATION_NAME), {
        "store_uri": store.uri, "data_uri": store.path(commit), "memory_uri": memory_uri})
    describe(artifact, commit, store.uri, memory_uri, chosen)
    logging.info("Span %d is committed: the memory %s is at %s.", commit.span, chosen, memory_uri)
    remove_old_commits(store, int(exec_properties.get("store_spans") or 0))


def remove_old_commits(store: Store, store_spans: int) -> None:
  """Removes commits of old spans that are not pinned.

  Args:
    store: the store.
    store_spans: number of the newest spans whose commits stay; 0 keeps all.
  """
  if store_spans and len(store.spans()) > store_spans:
    garbage = collect_garbage(store, store_spans, keep_replaced=True)
    logging.info("%d old commits are removed, %d bytes.", len(garbage.commit_files), garbage.num_bytes)


def chosen_candidate(verdict_dir: str, span: int) -> str:
  """The name of the candidate that the gate chose.

  Raises:
    DataError: the verdict is of another span.
  """
  verdict, judged = read_verdict(verdict_dir)
  if judged != span:
    raise DataError(verdict_dir, rule=f"the verdict is of span {span}, which is committed.",
                    received=f"span {judged}.", remedy="connect the artifacts of one run.")
  return verdict.chosen


def collect_parts(given: StageInputs, chosen: str, folder: str) -> dict[str, str]:
  """Per part of the commit, where its content lies; what must be made for it is written into `folder`."""
  files.make_folders(folder)
  statistics = validate.read_statistics(inputs.split_folder(inputs.single(given.artifacts, "statistics")))
  carried = files.join(folder, inputs.STATISTICS_PART)
  validate.write_statistics(carried, validate.carried_statistics(statistics, given.stage.spec))
  parts = {MEMORY_PART: memory_folder(given, chosen, folder), inputs.TEACHER_PART: given.uri("teacher"),
           inputs.SCHEMA_PART: given.uri("schema"), inputs.STATISTICS_PART: carried}
  if not given.stage.settings.privacy.counts_users:
    parts[CARRIED_PART] = files.join(given.uri("start"), CARRIED_PART)
  vocabularies = files.join(given.uri("examples"), VOCABULARIES_NAME)
  if files.exists(vocabularies):
    parts[inputs.VOCABULARIES_PART] = vocabularies
  return parts


def memory_folder(given: StageInputs, chosen: str, folder: str) -> str:
  """The folder of the chosen memory.

  The memory before the span is saved anew: its slots and recipe stay, but it now stands for this span's examples too.
  """
  if chosen != PREVIOUS:
    return files.join(given.uri("memory" if chosen == REFINED else "start"), MEMORY_FOLDER)
  previous = given.previous
  if previous is None:
    raise DataError("verdict", rule=f"{PREVIOUS!r} is chosen only where a memory was committed before.",
                    received="no commit before the span.", remedy="connect the artifacts of one run.")
  start, _ = given.start()
  save_stage_memory(folder, given.stage, previous, previous, start.num_examples_seen,
                    start.scored_sample, refinement_of(PREVIOUS, start, previous))
  return files.join(folder, MEMORY_FOLDER)


def require_unmoved(store: Store, span: int, parent: Commit | None) -> None:
  """Raises StoreError if the newest commit below the span is no longer the one that the stage began with."""
  newest = store.newest(below=span)
  began, now = ((None if commit is None else (commit.span, commit.data)) for commit in (parent, newest))
  if began != now:
    raise StoreError(f"span {span} in {store.uri}", rule="a commit grows from the newest one below it.",
                     received=f"begun from {_named(began)}; the newest is now {_named(now)}.",
                     remedy=f"run span {span} again; run spans one after the other, in order.")


def require_one_secret(store: Store, stage: Stage) -> None:
  """Raises FormatError if later spans of the store have ids that were hashed with another secret.

  Those below the span were compared when its rows were encoded.
  """
  newest = store.newest()
  if stage.spec.salt is not None and newest is not None and newest.span > stage.span:
    folder = store.path(newest, MEMORY_PART)
    read_manifest(folder).require_secret(stage.spec, subject=folder)


def _named(commit: tuple[int, str] | None) -> str:
  return "no commit" if commit is None else f"span {commit[0]} ({commit[1][:12]})"


def commit_settings(stage: Stage, parent: inputs.Parent) -> dict[str, Any]:
  """What the commit keeps of how it was made; where its feature spec is not that of its parent, the parent's digest.

  Raises:
    FormatError: the parent's memory was not migrated to the stage's feature spec.
  """
  settings = stage_settings(stage)
  committed = parent.commit.feature_spec_digest if parent.commit is not None else None
  if committed is None or committed == stage.spec.digest():
    return settings
  folder = files.join(parent.uri, MEMORY_PART)
  read_manifest(folder).require_spec(stage.spec, subject=folder)
  return {**settings, MIGRATED_FROM_KEY: committed}


def describe(artifact: types.Artifact, commit: Commit, store_uri: str, memory_uri: str, chosen: str) -> None:
  """Sets the properties of the artifact."""
  manifest = read_manifest(memory_uri)
  for name, number in (("span", commit.span), ("num_slots", manifest.num_slots), ("is_empty", 0)):
    artifact.set_int_custom_property(name, number)
  for name, text in (("digest", commit.data), ("memory_digest", manifest.digest), ("store_uri", store_uri),
                     ("memory_uri", memory_uri), ("run_id", commit.run_id), ("chosen", chosen)):
    artifact.set_string_custom_property(name, text)
