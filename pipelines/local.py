"""Running the pipeline on this machine, one run per span."""

from __future__ import annotations

import contextlib
import datetime
import errno
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from tfx.dsl.compiler.constants import PIPELINE_RUN_ID_PARAMETER_NAME
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner, PipelineNodeAsDoFn
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable.runtime_parameter_utils import substitute_runtime_parameter
from tfx.orchestration.portable.tfx_runner import IrBasedRunner

from diet_tf.config.config import Config
from diet_tf.errors import ConfigError, diet_error_in
from diet_tf.io import files
from pipelines.pipeline import create_pipeline
from pipelines.run_metadata import RunMetadata
from pipelines.runs import living_run
from pipelines.workspace import SpanRecord, Workspace

RUNNERS = ("beam", "local")
_REPORTING_LOGGERS = ("absl", "apache_beam", "root")

# What a node raised in the Beam runner, by the run's id: Beam hands on its own errors with the text alone.
_raised: dict[str, BaseException] = {}


class _NodeKeepingErrors(PipelineNodeAsDoFn):
  """Runs a node, and keeps what it raises for `run_pipeline`."""

  def _run_node(self) -> None:
    try:
      super()._run_node()
    except BaseException as error:
      _raised.setdefault(self._pipeline_runtime_spec.pipeline_run_id.field_value.string_value, error)
      raise


class _NamedRuns(IrBasedRunner):
  """A runner whose run has a name of ours: TFX's own is a time, by which nobody finds the run again.

  Attributes:
    run_id: name of the run; set after the constructor, whose arguments would make TFX's older Beam runner.
  """

  run_id: str

  def run_with_ir(self, pipeline: Any, run_options: Any = None, **options: Any) -> None:
    """Runs a compiled pipeline to its end."""
    substitute_runtime_parameter(pipeline, {PIPELINE_RUN_ID_PARAMETER_NAME: self.run_id})
    super().run_with_ir(pipeline, run_options, **options)


class _BeamRunner(_NamedRuns, BeamDagRunner):
  _PIPELINE_NODE_DO_FN_CLS = _NodeKeepingErrors


class _LocalRunner(_NamedRuns, LocalDagRunner):
  pass


def run_pipeline(pipeline: Pipeline, runner: str = "beam", *, run_id: str | None = None) -> None:
  """Runs a pipeline to its end.

  Args:
    pipeline: the pipeline, made with a local metadata connection.
    runner: name of the TFX runner: "beam" for its BeamDagRunner, "local" for its LocalDagRunner.
    run_id: name of the run in ML Metadata, which no other run has; None, the default, makes one.

  Raises:
    DietError: what a component raised, as it raised it.
  """
  if runner not in RUNNERS:
    raise ConfigError("runner", rule=f"it is one of {', '.join(RUNNERS)}.", received=repr(runner),
                      remedy="choose one of them.")
  run_id = run_id or uuid.uuid4().hex
  runs: _NamedRuns = _LocalRunner() if runner == "local" else _BeamRunner()
  runs.run_id = run_id
  try:
    with _errors_reported_once():
      runs.run(pipeline)
  except Exception as error:
    cause = _raised.get(run_id, error)
    diet_error = diet_error_in(cause)
    if diet_error is not None:
      raise diet_error from cause
    if cause is error:
      raise
    raise cause from error
  finally:
    _raised.pop(run_id, None)


@contextlib.contextmanager
def _errors_reported_once() -> Iterator[None]:
  """For the block, silences the log of errors where warnings are silenced: they reach the user as what is raised."""
  loggers = [logging.getLogger(None if name == "root" else name) for name in _REPORTING_LOGGERS]
  silenced = [(logger, logger.level) for logger in loggers if logger.level == logging.ERROR]
  for logger, _ in silenced:
    logger.setLevel(logging.CRITICAL)
  try:
    yield
  finally:
    for logger, level in silenced:
      logger.setLevel(level)


def run_span(config: Config, span: int, workspace: Workspace, *, store_uri: str, runner: str = "beam",
             replace: bool = False, accept_changes: bool = False,
             beam_pipeline_args: Sequence[str] = (), started: float | None = None) -> SpanRecord:
  """Runs the pipeline of one span and remembers where its artifacts are.

  Args:
    config: the config of the run, whose paths can be opened from the current folder.
    span: number of the span.
    workspace: the folder that everything but the store is written to.
    store_uri: folder or URI of the store's root.
    runner: name of the TFX runner, "beam" or "local" (`RUNNERS`).
    replace: whether a commit of the span is replaced; otherwise other content is refused.
    accept_changes: whether the memory that the span grows from may have been made with another config.
    beam_pipeline_args: options of Beam for the components that run on it.
    started: when the run began by `time.monotonic`, for one who counts the start-up of TFX too; None for now.

  Raises:
    DietError: what a component raised; the store is then as it was.
  """
  start = time.monotonic() if started is None else started
  now = datetime.datetime.now(datetime.timezone.utc)
  # Two runs may begin in one second.
  run_id = f"{config.name}-{span}-{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
  with files.writing(workspace.output):
    files.make_folders(workspace.pipeline_root)
  connection = sqlite_metadata_connection_config(workspace.metadata_path)
  pipeline = create_pipeline(
      name=config.name, root=workspace.pipeline_root, store_uri=store_uri, span=str(span), log=config.log,
      features=config.features, settings=config.stage_settings(), validation=config.validation, seed=config.seed,
      strategy=config.strategy, replace=int(replace), accept_changes=int(accept_changes), run_id=run_id,
      beam_pipeline_args=beam_pipeline_args, metadata_connection_config=connection)
  with _full_disk_explained(workspace.output), living_run(workspace, run_id):
    run_pipeline(pipeline, runner, run_id=run_id)
    metadata = RunMetadata(workspace.metadata_path)
    record = SpanRecord(
        span=span, run_id=run_id, feature_spec_digest=config.features.digest(),
        examples=metadata.output_uri(run_id, "Examples"),
        verdict=metadata.output_uri(run_id, "tfx_components.FidelityReport"),
        seconds=round(time.monotonic() - start, 1))
    workspace.write_record(record)
  return record


@contextlib.contextmanager
def _full_disk_explained(folder: str) -> Iterator[None]:
  """Turns the error of a full disk, wherever in the pipeline it was met, into a StoreError."""
  try:
    yield
  except OSError as error:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
      raise
    with files.writing(folder):
      raise
  except RuntimeError as error:
    # ML Metadata tells of it in the words of SQLite.
    if "disk is full" not in str(error):
      raise
    with files.writing(folder):
      raise OSError(errno.ENOSPC, "ML Metadata's database cannot grow") from error
