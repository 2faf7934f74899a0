"""An output folder whose ML Metadata is filled by hand."""

import pathlib

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from pipelines.workspace import Workspace

RUNNING = metadata_store_pb2.Execution.RUNNING
FAILED = metadata_store_pb2.Execution.FAILED
COMPLETE = metadata_store_pb2.Execution.COMPLETE


class OutputFolder:
  """An output folder whose ML Metadata is filled by hand."""

  def __init__(self, folder: pathlib.Path) -> None:
    self.workspace = Workspace(str(folder))
    folder.mkdir()
    self.folder = folder
    self.metadata = MetadataStore(sqlite_metadata_connection_config(self.workspace.metadata_path))

  def execute(self, run_id: str, node: str, state: int = COMPLETE, outputs: tuple[str, ...] = (),
              span: int | None = None) -> int:
    """Notes an execution of a node with an output of each type, makes its folders, and returns its number."""
    run_type = self.metadata.put_context_type(metadata_store_pb2.ContextType(name="pipeline_run"))
    node_type = self.metadata.put_execution_type(metadata_store_pb2.ExecutionType(name=node))
    run = metadata_store_pb2.Context(type_id=run_type, name=run_id)
    execution = metadata_store_pb2.Execution(type_id=node_type, last_known_state=state)
    if span is not None:
      execution.custom_properties["span"].string_value = str(span)
    artifacts = []
    for name in outputs:
      kind = self.metadata.put_artifact_type(metadata_store_pb2.ArtifactType(name=name))
      artifact = metadata_store_pb2.Artifact(type_id=kind, uri=str(self.folder / "pipeline" / node / run_id / name))
      artifacts.append((artifact, metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)))
    number, _, _ = self.metadata.put_execution(execution, artifacts, [run], reuse_context_if_already_exist=True)
    for path in self.folders(node, number):
      path.mkdir(parents=True)
      (path / "content").write_text("x")
    return number

  def folders(self, node: str, number: int) -> list[pathlib.Path]:
    root = self.folder / "pipeline" / node
    return [root / ".system" / "executor_execution" / str(number) / ".temp", root / "examples" / str(number)]

  def state(self, number: int) -> int:
    [execution] = self.metadata.get_executions_by_id([number])
    return execution.last_known_state

  def are_there(self, node: str, number: int) -> bool:
    [first, *others] = {path.exists() for path in self.folders(node, number)}
    assert not others
    return first
