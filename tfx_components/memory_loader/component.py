"""The MemoryLoader component: what the store holds of the spans before."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from diet_tf.features import FeatureSpec
from diet_tf.stage_settings import StageSettings
from tfx_components.artifacts import StoreCommit
from tfx_components.memory_loader import executor
from tfx_components.parameters import features_text, settings_text, span_text


class MemoryLoaderSpec(ComponentSpec):
  """Inputs, outputs and parameters of `MemoryLoader`."""

  PARAMETERS = {
      "store_uri": ExecutionParameter(type=str),
      "span": ExecutionParameter(type=str),
      "features": ExecutionParameter(type=str, optional=True),
      "settings": ExecutionParameter(type=str, optional=True),
      "budget_fraction": ExecutionParameter(type=float, optional=True),
      "seed": ExecutionParameter(type=int, optional=True),
      "accept_changes": ExecutionParameter(type=int, optional=True),
  }
  INPUTS: dict[str, ChannelParameter] = {}
  OUTPUTS = {
      "parent": ChannelParameter(type=StoreCommit),
  }


class MemoryLoader(base_component.BaseComponent):
  """Copies the newest commit *below* a span out of a memory store, or says that there is none.

  It never takes the newest commit as such, so that a span that is run again, or filled in later, starts where it
  started the first time. Its result depends on the store: leave its caching off.

  With `features` and `settings` it stops where that commit was made with another config, before anything is computed,
  and names every key that differs. Where the change is declared by `accept_changes`, the copy is brought to the config
  in use, see `diet_tf.migration`.

  Args:
    store_uri: root of the store; it need not exist yet.
    span: the span that is to be run, or `auto` for the newest commit of all.
    features: the feature spec, or its JSON; empty compares no config.
    settings: of the stage, or their JSON; empty compares no config.
    seed: of the run.
    budget_fraction: takes the place of the settings' own, where a run is to set it; 0 keeps that.
    accept_changes: 1 to go on where the config differs.
  """

  SPEC_CLASS = MemoryLoaderSpec
  EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

  def __init__(self, store_uri: str, span: int | str, features: FeatureSpec | str = "",
               settings: StageSettings | str = "", seed: int = 0, budget_fraction: float = 0.0,
               accept_changes: int = 0) -> None:
    super().__init__(spec=self.SPEC_CLASS(**{
        "store_uri": store_uri,
        "span": span_text(span),
        "features": features_text(features),
        "settings": settings_text(settings),
        "budget_fraction": budget_fraction,
        "seed": seed,
        "accept_changes": accept_changes,
        "parent": types.Channel(type=StoreCommit),
    }))
