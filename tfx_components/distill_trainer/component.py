"""The DistillTrainer component: bi-level refinement of a stage's start."""

from __future__ import annotations

from tfx.dsl.components.base import base_component
from tfx.types import BaseChannel
from tfx.types.standard_artifacts import Examples

from diet_tf.distillation.settings import StageSettings
from diet_tf.log.features import FeatureSpec
from tfx_components.artifacts import Addressing, DistilledMemory, InfluenceScores, StoreCommit, TeacherState
from tfx_components.decorators import component
from tfx_components.distill_trainer import executor


@component(executor.Executor, outputs={"memory": DistilledMemory})
class DistillTrainer(base_component.BaseComponent):
  """Refines the start's slots and recipe so that proxies trained on them do well on the span.

  Args:
    examples: the span's examples, from `LogGen`.
    scores: scores of those examples, from `InfluenceScorer`.
    teacher: the teacher after its pass over the span, from `InfluenceScorer`.
    parent: the commit before the span, from `MemoryLoader`, with its memory.
    start: slots and recipe that the stage begins with, from `MemoryAddresser`.
    features: feature spec, or its JSON.
    settings: settings of the stage, or their JSON.
    seed: seed of the run, mixed with the span's number for what the stage draws.
    span: number of the span, or `auto` for that of `examples`.
    strategy: where proxies are trained, see `diet_tf.training.devices`.
    budget_fraction: budget as a share of the records, in place of the one in `settings`; 0 keeps that one.
    store_uri: root of the store, in whose folder `unfinished` the refinement keeps checkpoints, from which another
      attempt goes on wherever it writes its output; empty keeps them beside the output.
  """

  def __init__(self, examples: BaseChannel[Examples], scores: BaseChannel[InfluenceScores],
               teacher: BaseChannel[TeacherState], parent: BaseChannel[StoreCommit], start: BaseChannel[Addressing],
               features: FeatureSpec | str, settings: StageSettings | str, seed: int, span: int | str,
               strategy: str = "auto", budget_fraction: float = 0.0, store_uri: str = "") -> None: ...
