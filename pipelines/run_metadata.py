"""What ML Metadata knows of the runs in an output folder, which several may write to at once.

Whatever is asked for is asked for by the run: the newest artifact of a type may be a neighbour's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from ml_metadata.errors import StatusError
from ml_metadata.metadata_store import ListOptions, MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from diet_tf.errors import FormatError

# What ML Metadata raises of a database that is damaged, full or held by a neighbour.
UNREADABLE = (StatusError, RuntimeError)
_RUN_TYPE = "pipeline_run"
_UNFINISHED = "last_known_state = NEW OR last_known_state = RUNNING"
# SQLite lets one process write at a time; it is asked again while a neighbour does.
_NUM_RETRIES = 10


@dataclasses.dataclass(frozen=True)
class Execution:
  """One execution of a node.

  Attributes:
    number: number of the execution in ML Metadata, by which TFX names the folders of its outputs.
    run_id: name of the pipeline run that it is of; empty where none is known.
    changed_seconds: when it was last heard of, in seconds since 1970.
  """

  number: int
  run_id: str
  changed_seconds: float


class RunMetadata:
  """The runs in ML Metadata's database of an output folder.

  Args:
    path: path of the SQLite file, which is made if it is not there.
  """

  def __init__(self, path: str) -> None:
    connection = sqlite_metadata_connection_config(path)
    connection.retry_options.max_num_retries = _NUM_RETRIES
    self._path = path
    self._store = MetadataStore(connection)

  def output_uri(self, run_id: str, type_name: str) -> str:
    """The folder of the one artifact of a type that a run has made.

    Args:
      run_id: name of the pipeline run.
      type_name: name of the artifact's type in ML Metadata.

    Raises:
      FormatError: the run has made none, or several.
    """
    run = self._store.get_context_by_type_and_name(_RUN_TYPE, run_id)
    executions = [] if run is None else self._store.get_executions_by_context(run.id)
    events = self._store.get_events_by_execution_ids([execution.id for execution in executions]) if executions else []
    made = {event.artifact_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT}
    uris = [artifact.uri for artifact in self._store.get_artifacts_by_id(sorted(made)) if artifact.type == type_name]
    if len(uris) != 1:
      raise FormatError(self._path, rule=f"the run {run_id} has made one artifact of the type {type_name}.",
                        received=f"{len(uris)}.", remedy="run the span again, in another output folder.")
    return uris[0]

  def unfinished(self) -> list[Execution]:
    """The executions that have neither ended nor failed: those that are at work, and those whose process was killed."""
    found = self._store.get_executions(list_options=ListOptions(filter_query=_UNFINISHED))
    return [self._described(execution) for execution in found]

  def spans_of(self, numbers: Iterable[int]) -> dict[int, int]:
    """By the number of an execution, the span of its run; executions whose run names no span are left out.

    Args:
      numbers: numbers of executions, which need not be known.
    """
    wanted, found = set(numbers), {}
    for run in self._store.get_contexts_by_type(_RUN_TYPE):
      executions = self._store.get_executions_by_context(run.id)
      of_run = wanted & {execution.id for execution in executions}
      spans = {span for execution in executions if (span := _span_of(execution)) is not None}
      if of_run and len(spans) == 1:
        found.update(dict.fromkeys(of_run, spans.pop()))
    return found

  def note_removal(self, numbers: Iterable[int], folders: Iterable[str]) -> None:
    """Notes of artifacts that they are deleted.

    Args:
      numbers: numbers of the executions that made them.
      folders: where they lay, with all below it.
    """
    gone = tuple(f"{folder}/" for folder in folders)
    events = self._store.get_events_by_execution_ids(sorted(set(numbers)))
    made = {event.artifact_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT}
    found = [artifact for artifact in self._store.get_artifacts_by_id(sorted(made))
             if f"{artifact.uri.rstrip('/')}/".startswith(gone)]
    for artifact in found:
      artifact.state = metadata_store_pb2.Artifact.DELETED
    if found:
      self._store.put_artifacts(found)

  def end(self, executions: Iterable[Execution]) -> None:
    """Notes that executions have failed."""
    found = self._store.get_executions_by_id([execution.number for execution in executions])
    for execution in found:
      execution.last_known_state = metadata_store_pb2.Execution.FAILED
    if found:
      self._store.put_executions(found)

  def _described(self, execution: metadata_store_pb2.Execution) -> Execution:
    contexts = self._store.get_contexts_by_execution(execution.id)
    return Execution(execution.id, next((context.name for context in contexts if context.type == _RUN_TYPE), ""),
                     execution.last_update_time_since_epoch / 1000)


def _span_of(execution: metadata_store_pb2.Execution) -> int | None:
  """The number of the span that a node was given; None if it was given none."""
  properties = execution.custom_properties
  text = properties["span"].string_value if "span" in properties else ""
  return int(text) if text.isdecimal() else None
