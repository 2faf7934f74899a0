"""The InfluenceScorer component: the teacher's pass over a span, its logits, and the influence of what is asked for."""

from __future__ import annotations

from tfx.dsl.components.base import base_beam_component
from tfx.types import BaseChannel
from tfx.types.standard_artifacts import Examples, Schema

from diet_tf.distillation.influence import InfluenceSettings
from diet_tf.distillation.teacher import TeacherSettings
from diet_tf.log.features import FeatureSpec
from tfx_components.artifacts import InfluenceScores, StoreCommit, TeacherState
from tfx_components.decorators import component
from tfx_components.influence_scorer import executor


@component(executor.Executor, outputs={"teacher": TeacherState, "scores": InfluenceScores})
class InfluenceScorer(base_beam_component.BaseBeamComponent):
  """Advances the teacher by one pass over a span, then scores its examples and the old slots on Beam.

  Args:
    examples: the span's examples, from `LogGen`.
    parent: the commit before the span, from `MemoryLoader`, with its teacher and memory.
    features: feature spec, or its JSON.
    teacher_settings: settings of the teacher, or their JSON.
    influence: how examples are scored and which are held back, or the JSON of that.
    seed: seed of the run, which the teacher's weights are drawn from.
    span: number of the span, or `auto` for that of `examples`.
    strategy: where the teacher is trained, see `diet_tf.training.devices`.
    schema: the span's schema, from `SpanValidator`: nothing is trained on a span that it has not passed.
    score_every_example: 1 computes the influence of every example, which `squash.influence_exponent` above 0 reads; 0
      that of about 4,096 of them, for the report.
  """

  def __init__(self, examples: BaseChannel[Examples], parent: BaseChannel[StoreCommit], features: FeatureSpec | str,
               teacher_settings: TeacherSettings | str, influence: InfluenceSettings | str, seed: int,
               span: int | str, strategy: str = "auto", schema: BaseChannel[Schema] | None = None,
               score_every_example: int = 0) -> None: ...
