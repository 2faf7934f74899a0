"""The SpanValidator component: a new span against the schema and the span before."""

from __future__ import annotations

from tfx.dsl.components.base import base_component
from tfx.types import BaseChannel
from tfx.types.standard_artifacts import ExampleAnomalies, Examples, ExampleStatistics, Schema

from diet_tf.config.validation import ValidationSettings
from diet_tf.log.features import FeatureSpec
from tfx_components.artifacts import StoreCommit
from tfx_components.decorators import component
from tfx_components.span_validator import executor


@component(executor.Executor, outputs={"anomalies": ExampleAnomalies, "schema": Schema},
           keys={"schema": "inferred_schema"})
class SpanValidator(base_component.BaseComponent):
  """Checks a span's statistics against the schema and the statistics of the span before; stops at fatal anomalies.

  The first span's schema becomes the store's, with its fields marked categorical. Drift is compared on the frequencies
  of ids, which `StatisticsGen` counts where the schema in its `stats_options` marks the fields as categorical.

  Args:
    statistics: statistics of the span's examples.
    schema: schema that was inferred from them, used for the first span alone.
    parent: the commit before the span, from `MemoryLoader`, with its schema and statistics.
    features: feature spec, or its JSON.
    validation: which anomalies are fatal and what counts as drift, or the JSON of that.
    span: number of the span, or `auto` for that of `examples`.
    examples: the span's examples, from `LogGen`, which say what span `auto` was; statistics keep that only with some
      orchestrators.
  """

  def __init__(self, statistics: BaseChannel[ExampleStatistics], schema: BaseChannel[Schema],
               parent: BaseChannel[StoreCommit], features: FeatureSpec | str, validation: ValidationSettings | str,
               span: int | str, examples: BaseChannel[Examples] | None = None) -> None: ...
