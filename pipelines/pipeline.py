"""The pipeline of one span: a new span and the newest memory below it in, a new commit out.

Every choice is an argument, and the runners only choose values. Where an orchestrator can override a value when a run
starts (the span, say), a TFX runtime parameter is passed in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components import SchemaGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.pipeline import Pipeline
from tfx.types.channel import OutputChannel

from diet_tf.config.validation import ValidationSettings
from diet_tf.distillation.settings import StageSettings
from diet_tf.log.features import FeatureSpec
from diet_tf.log.settings import LogSettings
from tfx_components import (
  DistillTrainer,
  FidelityEvaluator,
  InfluenceScorer,
  LogGen,
  MemoryAddresser,
  MemoryCommitter,
  MemoryLoader,
  SpanValidator,
)
from tfx_components.span_statistics import StatisticsGen

# A text or a number, or a `tfx.dsl` runtime parameter for it.
Value = Any


def create_pipeline(*, name: str, root: str, store_uri: Value, span: Value, log: LogSettings | Value,
                    features: FeatureSpec, settings: StageSettings, validation: ValidationSettings, seed: Value = 0,
                    strategy: Value = "auto", replace: Value = 0, run_id: Value = "", log_pattern: Value = "",
                    budget_fraction: Value = 0.0, accept_changes: Value = 0, store_spans: Value = 0,
                    beam_pipeline_args: Sequence[str] = (), metadata_connection_config: Any = None) -> Pipeline:
  """The TFX pipeline that distils one span, from the rows of its log to its commit in the store.

  Args:
    name: name of the pipeline.
    root: folder or URI below which every run's artifacts are written.
    store_uri: root of the store of memories.
    span: number of the span as a text, or `auto` for the next one.
    log: where the log is and how it is read, or the JSON of that.
    features: feature spec, how rows become examples.
    settings: settings of the stage, from the teacher to the gate.
    validation: which anomalies of the span stop the run before the memory changes.
    seed: seed of everything that is drawn.
    strategy: where models are trained; see `diet_tf.training.devices`.
    replace: 1 replaces the commit of a span that has one, 0 refuses other content.
    run_id: name of the run, kept in the commit; empty takes the pipeline's own.
    log_pattern: path of the log in place of the one in `log`; empty keeps that one.
    budget_fraction: budget as a share of the records, in place of the one in `settings`; 0 keeps that one.
    accept_changes: 1 goes on where the memory before was made with another config, 0 refuses that.
    store_spans: number of the newest spans whose commits stay in the store, beside the pinned ones; 0 keeps all.
    beam_pipeline_args: options of Beam for LogGen, StatisticsGen and InfluenceScorer.
    metadata_connection_config: connection to ML Metadata; None where the orchestrator has its own.
  """
  nodes: list[BaseNode] = []

  def add(node: BaseNode) -> dict[str, OutputChannel]:
    nodes.append(node)
    return node.outputs

  parent = add(MemoryLoader(store_uri=store_uri, span=span, features=features, settings=settings, seed=seed,
                            budget_fraction=budget_fraction, accept_changes=accept_changes, replace=replace))["parent"]
  examples = add(LogGen(log=log, features=features, span=span, parent=parent, pattern=log_pattern, settings=settings,
                        budget_fraction=budget_fraction))["examples"]
  statistics = add(StatisticsGen(examples=examples, stats_options=statistics_options(features)))["statistics"]
  inferred = add(SchemaGen(statistics=statistics, infer_feature_shape=False))["schema"]
  schema = add(SpanValidator(statistics=statistics, schema=inferred, parent=parent, features=features,
                             validation=validation, span=span, examples=examples))["schema"]
  scored = add(InfluenceScorer(examples=examples, parent=parent, schema=schema, features=features,
                               teacher_settings=settings.teacher, influence=settings.influence, seed=seed, span=span,
                               strategy=strategy, score_every_example=int(settings.reads_example_influences)))
  teacher, scores = scored["teacher"], scored["scores"]
  start = add(MemoryAddresser(examples=examples, scores=scores, teacher=teacher, parent=parent, features=features,
                              settings=settings, seed=seed, span=span,
                              budget_fraction=budget_fraction))["start"]
  memory = add(DistillTrainer(examples=examples, scores=scores, teacher=teacher, parent=parent, start=start,
                              features=features, settings=settings, seed=seed, span=span, strategy=strategy,
                              budget_fraction=budget_fraction, store_uri=store_uri))["memory"]
  verdict = add(FidelityEvaluator(examples=examples, memory=memory, start=start, parent=parent, scores=scores,
                                  features=features, settings=settings, seed=seed, span=span,
                                  budget_fraction=budget_fraction))["verdict"]
  add(MemoryCommitter(memory=memory, start=start, parent=parent, teacher=teacher, verdict=verdict, examples=examples,
                      schema=schema, statistics=statistics, store_uri=store_uri, features=features,
                      settings=settings, seed=seed, span=span, run_id=run_id, replace=replace,
                      budget_fraction=budget_fraction, store_spans=store_spans))
  # A cache does not see the store, which is outside the orchestrator: no node may be skipped because of it.
  return Pipeline(pipeline_name=name, pipeline_root=root, components=nodes, enable_cache=False,
                  metadata_connection_config=metadata_connection_config, beam_pipeline_args=list(beam_pipeline_args))


def statistics_options(features: FeatureSpec) -> tfdv.StatsOptions:
  """Statistics of the fields and the label, ids counted as categories: only then can drift be seen in them."""
  schema = schema_pb2.Schema()
  for name in features.names:
    feature = schema.feature.add(name=name, type=schema_pb2.INT)
    feature.int_domain.is_categorical = True
  schema.feature.add(name="label", type=schema_pb2.FLOAT)
  return tfdv.StatsOptions(schema=schema, infer_type_from_schema=True, feature_allowlist=[*features.names, "label"])
