"""The MemoryAddresser component: which old slots a stage keeps, and the new ones that it begins with."""

from __future__ import annotations

from tfx.dsl.components.base import base_component
from tfx.types import BaseChannel
from tfx.types.standard_artifacts import Examples

from diet_tf.distillation.settings import StageSettings
from diet_tf.log.features import FeatureSpec
from tfx_components.artifacts import Addressing, InfluenceScores, StoreCommit, TeacherState
from tfx_components.decorators import component
from tfx_components.memory_addresser import executor


@component(executor.Executor, outputs={"start": Addressing})
class MemoryAddresser(base_component.BaseComponent):
  """Freezes, updates and replaces old slots, and squashes the span into new ones, under the budget.

  Args:
    examples: the span's examples, from `LogGen`.
    scores: scores of those examples and of the old slots, from `InfluenceScorer`.
    teacher: the teacher after its pass over the span, from `InfluenceScorer`.
    parent: the commit before the span, from `MemoryLoader`, with its memory.
    features: feature spec, or its JSON.
    settings: settings of the stage, or their JSON.
    seed: seed of the run, mixed with the span's number for what the stage draws.
    span: number of the span, or `auto` for that of `examples`.
    budget_fraction: budget as a share of the records, in place of the one in `settings`; 0 keeps that one.
  """

  def __init__(self, examples: BaseChannel[Examples], scores: BaseChannel[InfluenceScores],
               teacher: BaseChannel[TeacherState], parent: BaseChannel[StoreCommit], features: FeatureSpec | str,
               settings: StageSettings | str, seed: int, span: int | str, budget_fraction: float = 0.0) -> None: ...
