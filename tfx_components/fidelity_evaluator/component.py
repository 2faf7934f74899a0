"""The FidelityEvaluator component: the gate of a stage, and its report."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from diet_tf.features import FeatureSpec
from diet_tf.stage_settings import StageSettings
from tfx_components.artifacts import (
  Addressing,
  DistilledMemory,
  FidelityReport,
  HtmlPage,
  InfluenceScores,
  StoreCommit,
)
from tfx_components.fidelity_evaluator import executor
from tfx_components.parameters import features_text, settings_text, span_text


class FidelityEvaluatorSpec(ComponentSpec):
  """Inputs, outputs and parameters of `FidelityEvaluator`."""

  PARAMETERS = {
      "features": ExecutionParameter(type=str),
      "settings": ExecutionParameter(type=str),
      "budget_fraction": ExecutionParameter(type=float, optional=True),
      "seed": ExecutionParameter(type=int),
      "span": ExecutionParameter(type=str),
  }
  INPUTS = {
      "examples": ChannelParameter(type=standard_artifacts.Examples),
      "memory": ChannelParameter(type=DistilledMemory),
      "start": ChannelParameter(type=Addressing),
      "parent": ChannelParameter(type=StoreCommit),
      "scores": ChannelParameter(type=InfluenceScores, optional=True),
  }
  OUTPUTS = {
      "verdict": ChannelParameter(type=FidelityReport),
      "report": ChannelParameter(type=HtmlPage),
  }


class FidelityEvaluator(base_component.BaseComponent):
  """Judges the refined memory against its start and the memory before, on the held-back part of the span.

  Args:
    examples: of the span.
    memory: of `DistillTrainer`.
    start: of `MemoryAddresser`.
    parent: of `MemoryLoader`.
    features: the feature spec, or its JSON.
    settings: of the stage, or their JSON.
    budget_fraction: takes the place of the settings' own, where a run is to set it; 0 keeps that.
    seed: of the run.
    span: the span's number, or `auto`.
    scores: of `InfluenceScorer`: the teacher's own loss, before it saw the held-back part, is then reported beside
      the candidates'.
  """

  SPEC_CLASS = FidelityEvaluatorSpec
  EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

  def __init__(self, examples: types.BaseChannel, memory: types.BaseChannel, start: types.BaseChannel,
               parent: types.BaseChannel, features: FeatureSpec | str, settings: StageSettings | str,
               seed: int, span: int | str, scores: types.BaseChannel | None = None,
               budget_fraction: float = 0.0) -> None:
    super().__init__(spec=self.SPEC_CLASS(**{
        "features": features_text(features),
        "settings": settings_text(settings),
        "budget_fraction": budget_fraction,
        "seed": seed,
        "span": span_text(span),
        "examples": examples,
        "memory": memory,
        "start": start,
        "parent": parent,
        "scores": scores,
        "verdict": types.Channel(type=FidelityReport),
        "report": types.Channel(type=HtmlPage),
    }))
