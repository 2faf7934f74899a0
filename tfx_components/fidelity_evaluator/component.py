"""The FidelityEvaluator component: the gate of a stage, and its report."""

from __future__ import annotations

from tfx.dsl.components.base import base_component
from tfx.types import BaseChannel
from tfx.types.standard_artifacts import Examples

from diet_tf.distillation.settings import StageSettings
from diet_tf.log.features import FeatureSpec
from tfx_components.artifacts import (
  Addressing,
  DistilledMemory,
  FidelityReport,
  HtmlPage,
  InfluenceScores,
  StoreCommit,
)
from tfx_components.decorators import component
from tfx_components.fidelity_evaluator import executor


@component(executor.Executor, outputs={"verdict": FidelityReport, "report": HtmlPage})
class FidelityEvaluator(base_component.BaseComponent):
  """Judges the refined memory against its start and the memory before, on the held-back part of the span.

  Args:
    examples: the span's examples, from `LogGen`.
    memory: the refined memory, from `DistillTrainer`.
    start: slots and recipe that the stage began with, from `MemoryAddresser`.
    parent: the commit before the span, from `MemoryLoader`, with its memory.
    features: feature spec, or its JSON.
    settings: settings of the stage, or their JSON.
    seed: seed of the run, mixed with the span's number for what the stage draws.
    span: number of the span, or `auto` for that of `examples`.
    scores: scores of the examples, from `InfluenceScorer`: the teacher's own loss, before it saw the held-back part, is
      then reported beside the candidates'.
    budget_fraction: budget as a share of the records, in place of the one in `settings`; 0 keeps that one.
  """

  def __init__(self, examples: BaseChannel[Examples], memory: BaseChannel[DistilledMemory],
               start: BaseChannel[Addressing], parent: BaseChannel[StoreCommit], features: FeatureSpec | str,
               settings: StageSettings | str, seed: int, span: int | str,
               scores: BaseChannel[InfluenceScores] | None = None, budget_fraction: float = 0.0) -> None: ...
