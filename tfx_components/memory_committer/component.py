"""The MemoryCommitter component: what the gate chose becomes the span's commit."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from diet_tf.features import FeatureSpec
from diet_tf.stage_settings import StageSettings
from tfx_components.artifacts import Addressing, DistilledMemory, FidelityReport, StoreCommit, TeacherState
from tfx_components.memory_committer import executor
from tfx_components.parameters import features_text, settings_text, span_text


class MemoryCommitterSpec(ComponentSpec):
  """Inputs, outputs and parameters of `MemoryCommitter`."""

  PARAMETERS = {
      "store_uri": ExecutionParameter(type=str),
      "features": ExecutionParameter(type=str),
      "settings": ExecutionParameter(type=str),
      "budget_fraction": ExecutionParameter(type=float, optional=True),
      "seed": ExecutionParameter(type=int),
      "span": ExecutionParameter(type=str),
      "run_id": ExecutionParameter(type=str),
      "replace": ExecutionParameter(type=int),
  }
  INPUTS = {
      "memory": ChannelParameter(type=DistilledMemory),
      "start": ChannelParameter(type=Addressing),
      "parent": ChannelParameter(type=StoreCommit),
      "teacher": ChannelParameter(type=TeacherState),
      "verdict": ChannelParameter(type=FidelityReport),
      "examples": ChannelParameter(type=standard_artifacts.Examples),
      "schema": ChannelParameter(type=standard_artifacts.Schema),
      "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
  }
  OUTPUTS = {
      "commit": ChannelParameter(type=StoreCommit),
  }


class MemoryCommitter(base_component.BaseComponent):
  """Commits the memory that the gate chose, with what the next span needs beside it, to a memory store.

  Committing the same content again changes nothing; other content for a committed span is refused unless `replace` is
  set. Its result depends on the store: leave its caching off.

  Args:
    memory: of `DistillTrainer`.
    start: of `MemoryAddresser`.
    parent: of `MemoryLoader`.
    teacher: of `InfluenceScorer`.
    verdict: of `FidelityEvaluator`.
    examples: of the span, with its vocabularies.
    schema: of `SpanValidator`.
    statistics: of `StatisticsGen`.
    store_uri: root of the store; made by the first commit.
    features: the feature spec, or its JSON.
    settings: of the stage, or their JSON; they are kept in the commit.
    budget_fraction: takes the place of the settings' own, where a run is to set it; 0 keeps that.
    seed: of the run.
    span: the span's number, or `auto`.
    run_id: names the run; empty takes the pipeline's own.
    replace: 1 to replace other content of a committed span, which is then kept aside.
  """

  SPEC_CLASS = MemoryCommitterSpec
  EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

  def __init__(self, memory: types.BaseChannel, start: types.BaseChannel, parent: types.BaseChannel,
               teacher: types.BaseChannel, verdict: types.BaseChannel, examples: types.BaseChannel,
               schema: types.BaseChannel, statistics: types.BaseChannel, store_uri: str,
               features: FeatureSpec | str, settings: StageSettings | str, seed: int, span: int | str,
               run_id: str = "", replace: int = 0, budget_fraction: float = 0.0) -> None:
    super().__init__(spec=self.SPEC_CLASS(**{
        "store_uri": store_uri,
        "features": features_text(features),
        "settings": settings_text(settings),
        "budget_fraction": budget_fraction,
        "seed": seed,
        "span": span_text(span),
        "run_id": run_id,
        "replace": replace,
        "memory": memory,
        "start": start,
        "parent": parent,
        "teacher": teacher,
        "verdict": verdict,
        "examples": examples,
        "schema": schema,
        "statistics": statistics,
        "commit": types.Channel(type=StoreCommit),
    }))
