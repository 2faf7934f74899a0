"""What a command can know before it reads the log: what it computes with, and the places that it writes to."""

from __future__ import annotations

from collections.abc import Sequence

from tensorflow_metadata.proto.v0 import anomalies_pb2

from diet_tf.config.changes import listed
from diet_tf.config.config import Config
from diet_tf.config.early_checks import check_config
from diet_tf.distillation.settings import Stage
from diet_tf.io.write_access import LEAST_FREE_BYTES, free_bytes, require_writable_file, require_writable_folder
from diet_tf.store.store import Store
from pipelines.workspace import Workspace
from tfx_components.memory_loader import migrate


def check_run(config: Config, workspace: Workspace, store: Store | None, *, json_path: str | None,
              evaluates: bool) -> list[str]:
  """Checks a run of spans, or a report, before the log is read.

  Args:
    config: config of the run.
    workspace: the folder that everything but the store is written to.
    store: the store that spans are committed to; None where nothing is distilled.
    json_path: where the results are written as well; None for nowhere.
    evaluates: whether the panel is trained.

  Returns:
    Sentences for the user about what may go wrong later.

  Raises:
    StoreError: the output folder or the store cannot be written to.
    ConfigError: a member, an anomaly, a device or a secret is not there, or the tables do not fit into memory.
  """
  places = [workspace.output, workspace.pipeline_root, *(() if store is None else (store.uri,))]
  for place in (workspace.output, workspace.pipeline_root):
    require_writable_folder(place)
  if store is not None:
    store.require_writable()
  for path in (workspace.metadata_path, workspace.results_path, workspace.report_path, json_path):
    if path is not None:
      require_writable_file(path)
  config.validation.require_known(anomalies_pb2.AnomalyInfo.Type.keys(), config.features.names)
  check_config(config, distils=store is not None, evaluates=evaluates)
  return _little_room(places)


def committed_otherwise(config: Config, store: Store, spans: Sequence[int]) -> list[str]:
  """A sentence where the newest of some committed spans was made with another config than the one in use."""
  commit = store.read_if_there(max(spans)) if spans else None
  if commit is None:
    return []
  stage = Stage(config.features, config.stage_settings(), config.seed, commit.span)
  changes = migrate.config_changes(commit, migrate.committed_spec(store, commit), stage)
  return [f"Span {commit.span} was committed with other settings, which its memory is of: {listed(changes)}"
          ] if changes else []


def _little_room(places: Sequence[str]) -> list[str]:
  room = {free: place for place in reversed(places) if (free := free_bytes(place)) is not None}
  return [f"There is little room: {free / 1e9:,.1f} GB free for {place}." for free, place in room.items()
          if free < LEAST_FREE_BYTES]
