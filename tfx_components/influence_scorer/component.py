"""The InfluenceScorer component: the teacher's pass over a span, and the influence of every example."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from diet_tf.features import FeatureSpec
from diet_tf.influence import InfluenceSettings
from diet_tf.teacher import TeacherSettings
from tfx_components.artifacts import InfluenceScores, StoreCommit, TeacherState
from tfx_components.influence_scorer import executor
from tfx_components.parameters import features_text, settings_text, span_text


class InfluenceScorerSpec(ComponentSpec):
  """Inputs, outputs and parameters of `InfluenceScorer`."""

  PARAMETERS = {
      "features": ExecutionParameter(type=str),
      "teacher_settings": ExecutionParameter(type=str),
      "influence": ExecutionParameter(type=str),
      "seed": ExecutionParameter(type=int),
      "span": ExecutionParameter(type=str),
      "strategy": ExecutionParameter(type=str),
  }
  INPUTS = {
      "examples": ChannelParameter(type=standard_artifacts.Examples),
      "parent": ChannelParameter(type=StoreCommit),
      "schema": ChannelParameter(type=standard_artifacts.Schema, optional=True),
  }
  OUTPUTS = {
      "teacher": ChannelParameter(type=TeacherState),
      "scores": ChannelParameter(type=InfluenceScores),
  }


class InfluenceScorer(base_beam_component.BaseBeamComponent):
  """Advances the teacher by one pass over a span, then scores its examples and the old slots on Beam.

  Args:
    examples: of the span.
    parent: of `MemoryLoader`, with the teacher and memory of the span before.
    features: the feature spec, or its JSON.
    teacher_settings: of the teacher, or their JSON.
    influence: how examples are scored and held back, or its JSON.
    seed: of the run.
    span: the span's number, or `auto`.
    strategy: where the teacher is trained, see `diet_tf.devices`.
    schema: of `SpanValidator`: nothing is trained on a span that it has not passed.
  """

  SPEC_CLASS = InfluenceScorerSpec
  EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

  def __init__(self, examples: types.BaseChannel, parent: types.BaseChannel, features: FeatureSpec | str,
               teacher_settings: TeacherSettings | str, influence: InfluenceSettings | str, seed: int,
               span: int | str, strategy: str = "auto", schema: types.BaseChannel | None = None) -> None:
    super().__init__(spec=self.SPEC_CLASS(**{
        "features": features_text(features),
        "teacher_settings": settings_text(teacher_settings),
        "influence": settings_text(influence),
        "seed": seed,
        "span": span_text(span),
        "strategy": strategy,
        "examples": examples,
        "parent": parent,
        "schema": schema,
        "teacher": types.Channel(type=TeacherState),
        "scores": types.Channel(type=InfluenceScores),
    }))
