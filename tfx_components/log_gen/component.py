"""The LogGen component: one span of a raw log in, encoded Examples out."""

from __future__ import annotations

import json

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from diet_tf.features import FeatureSpec
from diet_tf.log_settings import LogSettings
from tfx_components.artifacts import StoreCommit
from tfx_components.log_gen import executor

LOG_KEY = "log"
FEATURES_KEY = "features"
SPAN_KEY = "span"
PATTERN_KEY = "pattern"
PARENT_KEY = "parent"
EXAMPLES_KEY = "examples"


class LogGenSpec(ComponentSpec):
  """Inputs, outputs and parameters of `LogGen`."""

  PARAMETERS = {
      LOG_KEY: ExecutionParameter(type=str),
      FEATURES_KEY: ExecutionParameter(type=str),
      SPAN_KEY: ExecutionParameter(type=str),
      PATTERN_KEY: ExecutionParameter(type=str, optional=True),
  }
  INPUTS = {PARENT_KEY: ChannelParameter(type=StoreCommit, optional=True)}
  OUTPUTS = {EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples)}


class LogGen(base_beam_component.BaseBeamComponent):
  """Reads one span of a log and writes it as encoded TFX Examples with the span property.

  Example:

  ```python
  log_gen = LogGen(log=LogSettings("logs/{SPAN}/*.parquet"), features=feature_spec, span=7)
  statistics_gen = StatisticsGen(examples=log_gen.outputs["examples"])
  ```

  Beside the split `train` the artifact holds `vocabularies.json`, `quarantine.jsonl` and `log_summary.json`.

  Args:
    log: where the log is, or its JSON (`LogSettings.to_json`), or a runtime parameter for it.
    features: how rows become examples, or the JSON of `FeatureSpec.to_dict`, or a runtime parameter for it.
    span: the span's number, or a text of it, or `auto` for the first span later than that of `parent`; or a runtime
      parameter.
    parent: of `MemoryLoader`, the commit before this span, whose `vocabularies.json` gives the values known so far;
      needed only where a vocabulary grows.
    pattern: takes the place of the log's own, where a run is to set it; empty keeps that.
  """

  SPEC_CLASS = LogGenSpec
  EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

  def __init__(self, log: LogSettings | str, features: FeatureSpec | str, span: int | str,
               parent: types.BaseChannel | None = None, pattern: str = "") -> None:
    spec = LogGenSpec(**{
        LOG_KEY: log.to_json() if isinstance(log, LogSettings) else log,
        FEATURES_KEY: json.dumps(features.to_dict()) if isinstance(features, FeatureSpec) else features,
        SPAN_KEY: str(span) if isinstance(span, int) else span,
        PATTERN_KEY: pattern,
        PARENT_KEY: parent,
        EXAMPLES_KEY: types.Channel(type=standard_artifacts.Examples),
    })
    super().__init__(spec=spec)
