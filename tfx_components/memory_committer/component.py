"""The MemoryCommitter component: what the gate chose becomes the span's commit."""

from __future__ import annotations

from tfx.dsl.components.base import base_component
from tfx.types import BaseChannel
from tfx.types.standard_artifacts import Examples, ExampleStatistics, Schema

from diet_tf.distillation.settings import StageSettings
from diet_tf.log.features import FeatureSpec
from tfx_components.artifacts import Addressing, DistilledMemory, FidelityReport, StoreCommit, TeacherState
from tfx_components.decorators import component
from tfx_components.memory_committer import executor


@component(executor.Executor, outputs={"commit": StoreCommit})
class MemoryCommitter(base_component.BaseComponent):
  """Commits the memory that the gate chose, with what the next span needs beside it, to a memory store.

  Committing the same content again changes nothing; other content for a committed span is refused unless `replace` is
  set. Its result depends on the store: leave its caching off.

  Args:
    memory: the refined memory, from `DistillTrainer`.
    start: slots and recipe that the stage began with, from `MemoryAddresser`.
    parent: the commit before the span, from `MemoryLoader`.
    teacher: the teacher after its pass over the span, from `InfluenceScorer`.
    verdict: the gate's choice, from `FidelityEvaluator`.
    examples: the span's examples, from `LogGen`, with their vocabularies.
    schema: the span's schema, from `SpanValidator`.
    statistics: statistics of the span's examples, from `StatisticsGen`.
    store_uri: root of the store; made by the first commit.
    features: feature spec, or its JSON.
    settings: settings of the stage, or their JSON; they are kept in the commit.
    seed: seed of the run; it is kept in the commit.
    span: number of the span, or `auto` for that of `examples`.
    run_id: name of the run, kept in the commit; empty takes the pipeline's own.
    replace: 1 replaces other content of a committed span, which is then kept aside, 0 refuses it.
    budget_fraction: budget as a share of the records, in place of the one in `settings`; 0 keeps that one.
    store_spans: number of the newest spans whose commits stay in the store, beside the pinned ones; older ones are
      removed after the commit. 0 keeps all.
  """

  def __init__(self, memory: BaseChannel[DistilledMemory], start: BaseChannel[Addressing],
               parent: BaseChannel[StoreCommit], teacher: BaseChannel[TeacherState],
               verdict: BaseChannel[FidelityReport], examples: BaseChannel[Examples], schema: BaseChannel[Schema],
               statistics: BaseChannel[ExampleStatistics], store_uri: str, features: FeatureSpec | str,
               settings: StageSettings | str, seed: int, span: int | str, run_id: str = "", replace: int = 0,
               budget_fraction: float = 0.0, store_spans: int = 0) -> None: ...
