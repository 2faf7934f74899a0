"""The SpanValidator component: a new span against the schema and the span before."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from diet_tf.features import FeatureSpec
from diet_tf.validation import ValidationSettings
from tfx_components.artifacts import StoreCommit
from tfx_components.parameters import features_text, settings_text, span_text
from tfx_components.span_validator import executor


class SpanValidatorSpec(ComponentSpec):
  """Inputs, outputs and parameters of `SpanValidator`."""

  PARAMETERS = {
      "features": ExecutionParameter(type=str),
      "validation": ExecutionParameter(type=str),
      "span": ExecutionParameter(type=str),
  }
  INPUTS = {
      "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
      "inferred_schema": ChannelParameter(type=standard_artifacts.Schema),
      "parent": ChannelParameter(type=StoreCommit),
      "examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
  }
  OUTPUTS = {
      "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
      "schema": ChannelParameter(type=standard_artifacts.Schema),
  }


class SpanValidator(base_component.BaseComponent):
  """Checks a span's statistics against the schema and the statistics of the span before; stops at fatal anomalies.

  The first span's schema becomes the store's, with its fields marked categorical. Drift is compared on the frequencies
  of ids, which `StatisticsGen` counts where the schema in its `stats_options` marks the fields as categorical.

  Args:
    statistics: of the span's examples.
    schema: inferred from them; it counts in the first span alone.
    parent: of `MemoryLoader`, with the schema and statistics of the span before.
    features: the feature spec, or its JSON.
    validation: which anomalies are fatal and what drift is; or its JSON.
    span: the span's number, or `auto`.
    examples: of `LogGen`, which say what span `auto` was; statistics keep that only with some orchestrators.
  """

  SPEC_CLASS = SpanValidatorSpec
  EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

  def __init__(self, statistics: types.BaseChannel, schema: types.BaseChannel, parent: types.BaseChannel,
               features: FeatureSpec | str, validation: ValidationSettings | str, span: int | str,
               examples: types.BaseChannel | None = None) -> None:
    super().__init__(spec=self.SPEC_CLASS(**{
        "features": features_text(features),
        "validation": settings_text(validation),
        "span": span_text(span),
        "statistics": statistics,
        "inferred_schema": schema,
        "parent": parent,
        "examples": examples,
        "anomalies": types.Channel(type=standard_artifacts.ExampleAnomalies),
        "schema": types.Channel(type=standard_artifacts.Schema),
    }))
