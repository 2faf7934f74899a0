"""The runs at work in an output folder, and what is cleared away of those that were killed.

A run keeps a file in `runs/` locked for as long as it lives. The operating system drops the lock with the process,
however that ends, so that a file that can be locked is of a dead run; a process id would say less, since by then it may
be that of another process, or of one on another machine. What a dead run left is cleared by the next one, under the
lock of the folder: its executions in ML Metadata, which would run for ever, with their temporary folders and
unfinished outputs.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Collection, Iterator

from diet_tf.io import files
from diet_tf.store.locks import lock_file
from pipelines.encoded_spans import LOCK_SUFFIX
from pipelines.run_metadata import UNREADABLE, Execution, RunMetadata
from pipelines.workspace import Workspace
from tfx_components.log_gen.file_names import SUMMARY_NAME

_LOCK_NAME = ".lock"
_RUN_SUFFIX = ".run"
# Runs of a release without these files, of which nothing was heard for so long, are taken for dead.
GRACE_SECONDS = 24 * 3600.0
# No file is written for so long.
_PARTIAL_GRACE_SECONDS = 3600.0
_SYSTEM = ".system"


@contextlib.contextmanager
def living_run(workspace: Workspace, run_id: str) -> Iterator[None]:
  """Lets a run be known to be alive within the block, and clears what dead ones left before it, and its own after it.

  Args:
    workspace: the output folder.
    run_id: name of the run, as ML Metadata will know it.

  Raises:
    StoreError: the folder cannot be written.
  """
  path = files.join(workspace.runs_folder, f"{uuid.uuid4().hex}{_RUN_SUFFIX}")
  with files.writing(workspace.output), _folder_lock(workspace):
    _clear_dead_runs(workspace)
    files.write_atomically(path, f"{run_id}\n".encode())
    lock = lock_file(path, wait=False)
  try:
    yield
  finally:
    # What kept the run from its end is told, and not that this could not be tidied: the next run does it.
    with contextlib.suppress(OSError), _folder_lock(workspace):
      _clear(workspace, {run_id}, known=None)
      files.remove_if_there(path)
    if lock is not None:
      os.close(lock)


def living_runs(workspace: Workspace) -> set[str]:
  """The names of the runs that are at work in an output folder; on a file system without locks, of all that may be."""
  return {run_id for run_id, is_dead in _registered(workspace).values() if not is_dead}


@contextlib.contextmanager
def while_nobody_runs(workspace: Workspace) -> Iterator[bool]:
  """Whether no run is at work in an output folder; if so, none begins within the block."""
  with _folder_lock(workspace):
    yield not living_runs(workspace)


@contextlib.contextmanager
def _folder_lock(workspace: Workspace) -> Iterator[None]:
  """Keeps other runs from coming and going within the block."""
  files.make_folders(workspace.runs_folder)
  lock = lock_file(files.join(workspace.runs_folder, _LOCK_NAME), wait=True, create=True)
  try:
    yield
  finally:
    if lock is not None:
      os.close(lock)


def _registered(workspace: Workspace) -> dict[str, tuple[str, bool]]:
  """By the path of its file, the name of each run that has one, and whether it is dead."""
  found = {}
  for name in files.names_in(workspace.runs_folder):
    path = files.join(workspace.runs_folder, name)
    if not name.endswith(_RUN_SUFFIX):
      continue
    lock = lock_file(path, wait=False)
    with contextlib.suppress(FileNotFoundError):
      found[path] = (files.read_bytes(path).decode(errors="replace").strip(), lock is not None)
    if lock is not None:
      os.close(lock)
  return found


def _clear_dead_runs(workspace: Workspace) -> None:
  """Clears what dead runs left in an output folder; its lock is held."""
  registered = _registered(workspace)
  dead = {path: run_id for path, (run_id, is_dead) in registered.items() if is_dead}
  _clear(workspace, set(dead.values()), known={run_id for run_id, _ in registered.values()})
  for path in dead:
    files.remove_if_there(path)
  if len(dead) == len(registered):
    _clear_working_folders(workspace)
  _clear_encodings(workspace)
  _clear_partial_files(workspace)


def _clear(workspace: Workspace, dead: Collection[str], known: Collection[str] | None) -> None:
  """Ends the executions of dead runs, and removes their temporary folders and unfinished outputs.

  Args:
    workspace: the output folder.
    dead: names of the runs that are known to be dead.
    known: names of all runs that have a file; of others, those are dead that were not heard of for long. None clears
      none of those.
  """
  if not files.exists(workspace.metadata_path):
    return
  # A neighbour may be writing, or the database be damaged: the run itself says so where it matters.
  with contextlib.suppress(*UNREADABLE):
    metadata = RunMetadata(workspace.metadata_path)
    oldest = time.time() - GRACE_SECONDS
    ended = [execution for execution in metadata.unfinished()
             if execution.run_id in dead or (known is not None and execution.run_id not in known
                                             and execution.changed_seconds < oldest)]
    for execution in ended:
      _remove_folders(workspace, execution)
    metadata.end(ended)


def _remove_folders(workspace: Workspace, execution: Execution) -> None:
  for node in files.names_in(workspace.pipeline_root):
    folder = files.join(workspace.pipeline_root, node)
    number = str(execution.number)
    outputs = [files.join(folder, output, number) for output in files.names_in(folder) if output != _SYSTEM]
    for path in [files.join(folder, _SYSTEM, "executor_execution", number), *outputs]:
      files.remove_if_there(path)


def _clear_working_folders(workspace: Workspace) -> None:
  """Removes the folders in which nodes could keep what they go on with; they name no run, so none may be alive."""
  for node in files.names_in(workspace.pipeline_root):
    folder = files.join(workspace.pipeline_root, node, _SYSTEM, "stateful_working_dir")
    for name in files.names_in(folder):
      files.remove_if_there(files.join(folder, name))


def _clear_encodings(workspace: Workspace) -> None:
  """Removes spans that a dead process was encoding beside the pipeline."""
  for span in files.names_in(workspace.encodings_folder):
    folder = files.join(workspace.encodings_folder, span)
    for name in files.names_in(folder):
      path = files.join(folder, name)
      if not files.is_folder(path) or files.exists(files.join(path, SUMMARY_NAME)):
        continue
      lock = lock_file(f"{path}{LOCK_SUFFIX}", wait=False)
      if lock is not None:
        files.remove_if_there(path)
        os.close(lock)


def _clear_partial_files(workspace: Workspace) -> None:
  """Removes files that a process died in while it wrote them."""
  for folder in (workspace.output, workspace.records_folder, workspace.results_folder, workspace.runs_folder):
    for name in files.names_in(folder):
      path = files.join(folder, name)
      with contextlib.suppress(FileNotFoundError):
        if name.endswith(files.PARTIAL_SUFFIX) and time.time() - files.modified_seconds(path) > _PARTIAL_GRACE_SECONDS:
          files.remove_if_there(path)
