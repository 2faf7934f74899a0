"""The MemoryAddresser component: which old slots a stage keeps, and the new ones that it begins with."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from diet_tf.features import FeatureSpec
from diet_tf.stage_settings import StageSettings
from tfx_components.artifacts import Addressing, InfluenceScores, StoreCommit, TeacherState
from tfx_components.memory_addresser import executor
from tfx_components.parameters import features_text, settings_text, span_text


class MemoryAddresserSpec(ComponentSpec):
  """Inputs, outputs and parameters of `MemoryAddresser`."""

  PARAMETERS = {
      "features": ExecutionParameter(type=str),
      "settings": ExecutionParameter(type=str),
      "budget_fraction": ExecutionParameter(type=float, optional=True),
      "seed": ExecutionParameter(type=int),
      "span": ExecutionParameter(type=str),
  }
  INPUTS = {
      "examples": ChannelParameter(type=standard_artifacts.Examples),
      "scores": ChannelParameter(type=InfluenceScores),
      "teacher": ChannelParameter(type=TeacherState),
      "parent": ChannelParameter(type=StoreCommit),
  }
  OUTPUTS = {
      "start": ChannelParameter(type=Addressing),
  }


class MemoryAddresser(base_component.BaseComponent):
  """Freezes, updates and replaces old slots, and squashes the span into new ones, under the budget.

  Args:
    examples: of the span.
    scores: of `InfluenceScorer`.
    teacher: of `InfluenceScorer`.
    parent: of `MemoryLoader`.
    features: the feature spec, or its JSON.
    settings: of the stage, or their JSON.
    budget_fraction: takes the place of the settings' own, where a run is to set it; 0 keeps that.
    seed: of the run.
    span: the span's number, or `auto`.
  """

  SPEC_CLASS = MemoryAddresserSpec
  EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

  def __init__(self, examples: types.BaseChannel, scores: types.BaseChannel, teacher: types.BaseChannel,
               parent: types.BaseChannel, features: FeatureSpec | str, settings: StageSettings | str,
               seed: int, span: int | str, budget_fraction: float = 0.0) -> None:
    super().__init__(spec=self.SPEC_CLASS(**{
        "features": features_text(features),
        "settings": settings_text(settings),
        "budget_fraction": budget_fraction,
        "seed": seed,
        "span": span_text(span),
        "examples": examples,
        "scores": scores,
        "teacher": teacher,
        "parent": parent,
        "start": types.Channel(type=Addressing),
    }))
