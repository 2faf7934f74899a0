"""What runs have written and the config does not keep: artifacts in the output folder, and commits in the store."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping

from diet_tf.config.retention import RetentionSettings
from diet_tf.io import files
from diet_tf.store.garbage import collect_garbage
from diet_tf.store.store import Store
from pipelines.run_metadata import UNREADABLE, RunMetadata
from pipelines.runs import while_nobody_runs
from pipelines.workspace import Workspace

_SYSTEM = ".system"
# Small, and what the report of a run tells of its earlier spans.
_KEPT_OUTPUTS = (("FidelityEvaluator", "verdict"),)


@dataclasses.dataclass(frozen=True)
class Removed:
  """What was removed.

  Attributes:
    num_commits: number of the store's commits that went.
    num_folders: number of folders of artifacts that went.
    num_bytes: size of all of it together.
  """

  num_commits: int
  num_folders: int
  num_bytes: int


def apply_retention(settings: RetentionSettings, workspace: Workspace, store: Store) -> Removed:
  """What was removed of old spans, as the settings say.

  Artifacts are left alone while another run is at work in the output folder, which may read them; the next run removes
  them.

  Args:
    settings: how many spans are kept.
    workspace: the output folder.
    store: the store of the memories.

  Raises:
    FormatError: a commit or pin of the store is damaged, or content that is kept; the store is then as it was.
    StoreError: a folder cannot be written.
  """
  num_commits = num_bytes = 0
  if settings.store_spans is not None and len(store.spans()) > settings.store_spans:
    garbage = collect_garbage(store, settings.store_spans, keep_replaced=True)
    num_commits, num_bytes = len(garbage.commit_files), garbage.num_bytes
  folders: list[str] = []
  if settings.output_spans is not None:
    with files.writing(workspace.output), while_nobody_runs(workspace) as alone:
      old = _old_folders(workspace, settings.output_spans) if alone else {}
      folders = [folder for found in old.values() for folder in found]
      num_bytes += sum(map(files.num_bytes_below, folders))
      for folder in folders:
        files.remove_if_there(folder)
      _note(workspace, {number: found for number, found in old.items() if number is not None})
  return Removed(num_commits, len(folders), num_bytes)


def _old_folders(workspace: Workspace, num_spans: int) -> dict[int | None, list[str]]:
  """The folders of artifacts of all spans but the newest, by the number of the execution; under None, encoded spans."""
  by_execution = _output_folders(workspace)
  spans: dict[int, int] = {}
  # A database that cannot be read leaves everything as it is.
  if files.exists(workspace.metadata_path):
    with contextlib.suppress(*UNREADABLE):
      spans = RunMetadata(workspace.metadata_path).spans_of(by_execution)
  newest = sorted({*spans.values(), *workspace.recorded_spans()})[-num_spans:]
  if not newest:
    return {}
  old: dict[int | None, list[str]] = {
      number: by_execution[number] for number, span in spans.items() if span < newest[0]}
  encoded = [files.join(workspace.encodings_folder, name) for name in files.names_in(workspace.encodings_folder)
             if name.isdecimal() and int(name) < newest[0]]
  return {**old, None: encoded}


def _note(workspace: Workspace, removed: Mapping[int, list[str]]) -> None:
  """Notes in ML Metadata which artifacts are gone, where it can be written: nothing of ours reads it there."""
  with contextlib.suppress(*UNREADABLE):
    if removed:
      folders = [folder for found in removed.values() for folder in found]
      RunMetadata(workspace.metadata_path).note_removal(removed, folders)


def _output_folders(workspace: Workspace) -> dict[int, list[str]]:
  """The folders of outputs that may go, by the number of the execution that wrote them."""
  found: dict[int, list[str]] = {}
  for node in files.names_in(workspace.pipeline_root):
    folder = files.join(workspace.pipeline_root, node)
    for output in files.names_in(folder):
      if output == _SYSTEM or (node, output) in _KEPT_OUTPUTS:
        continue
      for name in files.names_in(files.join(folder, output)):
        if name.isdecimal():
          found.setdefault(int(name), []).append(files.join(folder, output, name))
  return found
