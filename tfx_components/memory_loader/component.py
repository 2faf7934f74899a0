"""The MemoryLoader component: what the store holds of the spans before."""

from __future__ import annotations

from tfx.dsl.components.base import base_component

from diet_tf.distillation.settings import StageSettings
from diet_tf.log.features import FeatureSpec
from tfx_components.artifacts import StoreCommit
from tfx_components.decorators import component
from tfx_components.memory_loader import executor


@component(executor.Executor, outputs={"parent": StoreCommit})
class MemoryLoader(base_component.BaseComponent):
  """Copies the newest commit *below* a span out of a memory store, or says that there is none.

  It never takes the newest commit as such, so that a span that is run again, or filled in later, starts where it
  started the first time. Its result depends on the store: leave its caching off.

  With `features` and `settings` it is the first step of a stage, and stops where the stage cannot come to its end:
  where that commit was made with another config, each key that differs being named; where a member is not known or does
  not take the fields; where the store cannot be written to; and, if `replace` is 0, where the span is committed. Where
  the change is declared by `accept_changes`, the copy is brought to the config
  in use, see `diet_tf.migration.memory`.

  Args:
    store_uri: root of the store; it need not exist yet.
    span: number of the span that is to be run, or `auto` for the newest commit of all.
    features: feature spec in use, or its JSON; empty compares no config.
    settings: settings of the stage in use, or their JSON; empty compares no config.
    seed: seed of the run, compared with the commit's too.
    budget_fraction: budget as a share of the records, in place of the one in `settings`; 0 keeps that one.
    accept_changes: 1 goes on where the config differs, 0 stops.
    replace: 1 goes on where the span is committed already, 0 stops; as of the `MemoryCommitter` of the pipeline.
  """

  def __init__(self, store_uri: str, span: int | str, features: FeatureSpec | str = "",
               settings: StageSettings | str = "", seed: int = 0, budget_fraction: float = 0.0,
               accept_changes: int = 0, replace: int = 1) -> None: ...
