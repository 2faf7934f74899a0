"""The executor of MemoryLoader."""

from __future__ import annotations

from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor

from diet_tf.config.changes import Change, listed
from diet_tf.distillation.early_checks import check_stage
from diet_tf.distillation.settings import Stage
from diet_tf.errors import FormatError, StoreError
from diet_tf.io import files
from diet_tf.io.json_files import write_json
from diet_tf.log.settings import AUTO_SPAN
from diet_tf.store.commit import Commit
from diet_tf.store.store import Store
from diet_tf.training.memory_needs import machine_memory_bytes
from tfx_components import inputs
from tfx_components.memory_loader import migrate
from tfx_components.progress import report
from tfx_components.stage_files import stage_of


class Executor(base_executor.BaseExecutor):
  """Runs MemoryLoader."""

  def Do(self, input_dict: dict[str, list[types.Artifact]], output_dict: dict[str, list[types.Artifact]],
         exec_properties: dict[str, Any]) -> None:
    """Copies the newest commit below a span.

    Args:
      input_dict: nothing.
      output_dict: `parent`: one StoreCommit artifact.
      exec_properties: `store_uri`; `span` as a number, its text, or `auto`; and, to compare the config with that of the
        commit, `features` and `settings` as JSON, `budget_fraction`, `seed` and `accept_changes`; and `replace`, which
        pipelines that were compiled before do not have.

    Raises:
      FormatError: the commit is damaged.
      ConfigError: the commit was made with another config, which was not declared or cannot be; or a member of the
        stage is not known, or does not take the fields.
      StoreError: the span is committed and is not to be replaced, or the store cannot be written to.
    """
    self._log_startup(input_dict, output_dict, exec_properties)
    text = str(exec_properties["span"])
    parent = inputs.single(output_dict, "parent")
    span = None if text == AUTO_SPAN else inputs.parse_span(text)
    stage = None
    if exec_properties.get("features") and exec_properties.get("settings"):
      # The number is not known yet where it is `auto`, and nothing here depends on it.
      stage = stage_of({"seed": 0, **exec_properties}, span or 0)
      store = Store(exec_properties["store_uri"])
      if span is not None and not int(exec_properties.get("replace", 1)):
        require_uncommitted(store, stage)
      store.require_writable()
      check_stage(stage.spec, stage.settings, limit_bytes=machine_memory_bytes())
    commit = load_newest(exec_properties["store_uri"], span, parent.uri, stage,
                         accept_changes=bool(int(exec_properties.get("accept_changes") or 0)))
    parent.set_int_custom_property("is_empty", int(commit is None))
    if commit is None:
      logging.info("The store %s has no commit before span %s.", exec_properties["store_uri"], text)
      return
    parent.set_int_custom_property("span", commit.span)
    parent.set_string_custom_property("digest", commit.data)


def require_uncommitted(store: Store, stage: Stage) -> None:
  """Raises StoreError if the span of a stage has a commit, unless files of it are damaged.

  The stage would compute for hours what is there, or what may not take its place.
  """
  commit = store.read_if_there(stage.span)
  if commit is None or store.data_problems(commit):
    return
  changes = migrate.config_changes(commit, migrate.committed_spec(store, commit), stage)
  difference = f"with other settings: {listed(changes)}" if changes else "with the settings in use."
  raise StoreError(f"span {stage.span} in {store.uri}", rule="a span that is committed is not run again.",
                   received=f"data {commit.data[:12]}, committed by run {commit.run_id!r} {difference}",
                   remedy="nothing is to be done to keep it; to run it again, pass --replace, or replace=1.")


def load_newest(store_uri: str, below: int | None, target: str, stage: Stage | None = None, *,
                accept_changes: bool = False) -> Commit | None:
  """Copies the parts of the newest commit below a span, checked against their digests, and `commit.json` last.

  Args:
    store_uri: root of the store.
    below: number of the span that is to be run; None takes the newest commit of all.
    target: folder of the copy; where there is no such commit, it gets the file `EMPTY` alone.
    stage: the config in use, which the commit must have been made with; None compares nothing.
    accept_changes: whether another config is declared; the copy is then brought to it, and `commit.json` stays as
      committed.

  Raises:
    FormatError: the commit, or a file of it, is damaged.
    ConfigError: the commit was made with another config, which was not declared or cannot be.
  """
  store = Store(store_uri)
  commit = store.newest(below=below)
  if commit is None:
    with files.writing(target):
      files.make_folders(target)
      files.write_atomically(files.join(target, inputs.EMPTY_NAME), b"nothing was committed before this span\n")
    return None
  changes: list[Change] = []
  spec = None
  if stage is not None:
    spec = migrate.committed_spec(store, commit)
    changes = migrate.config_changes(commit, spec, stage)
    migrate.require_declared(changes, store, commit, spec, stage, accept_changes)
  with files.writing(target):
    copy_parts(store, commit, target)
  if stage is not None and changes:
    logging.warning("The config changed since span %d: %s", commit.span, listed(changes))
    migrate.migrate_copy(store, commit, spec, stage, changes, target)
  write_json(files.join(target, inputs.COMMIT_NAME), commit.to_dict())
  return commit


def copy_parts(store: Store, commit: Commit, target: str) -> None:
  """Copies the files of a commit.

  Raises:
    FormatError: one is not as it was committed.
  """
  files.make_folders(target)
  for number, (path, info) in enumerate(commit.files.items()):
    source = files.join(store.path(commit), path)
    if files.leads_outside(store.path(commit), path):
      raise FormatError(source, rule="a commit's files lie in its folder.", received="a link that leads out of it.",
                        remedy="restore the file from a copy, or run its span again with --replace.")
    sha256, num_bytes = files.copy(source, files.join(target, path))
    if (sha256, num_bytes) != (info.sha256, info.num_bytes):
      raise FormatError(source, rule=f"it is as it was committed: digest {info.sha256[:12]}, {info.num_bytes} bytes.",
                        received=f"digest {sha256[:12]}, {num_bytes} bytes.",
                        remedy="restore the file from a copy, or run its span again with --replace.")
    report(f"copying the memory of span {commit.span} (files)", number + 1, len(commit.files))
