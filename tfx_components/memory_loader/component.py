"""The MemoryLoader component: what the store holds of the spans before."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from tfx_components.artifacts import StoreCommit
from tfx_components.memory_loader import executor
from tfx_components.parameters import span_text


class MemoryLoaderSpec(ComponentSpec):
  """Inputs, outputs and parameters of `MemoryLoader`."""

  PARAMETERS = {
      "store_uri": ExecutionParameter(type=str),
      "span": ExecutionParameter(type=str),
  }
  INPUTS: dict[str, ChannelParameter] = {}
  OUTPUTS = {
      "parent": ChannelParameter(type=StoreCommit),
  }


class MemoryLoader(base_component.BaseComponent):
  """Copies the newest commit *below* a span out of a memory store, or says that there is none.

  It never takes the newest commit as such, so that a span that is run again, or filled in later, starts where it
  started the first time. Its result depends on the store: leave its caching off.

  Args:
    store_uri: root of the store; it need not exist yet.
    span: the span that is to be run, or `auto` for the newest commit of all.
  """

  SPEC_CLASS = MemoryLoaderSpec
  EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

  def __init__(self, store_uri: str, span: int | str) -> None:
    super().__init__(spec=self.SPEC_CLASS(**{
        "store_uri": store_uri,
        "span": span_text(span),
        "parent": types.Channel(type=StoreCommit),
    }))
