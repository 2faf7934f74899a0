"""The executor of MemoryLoader."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor


class Executor(base_executor.BaseExecutor):
  """Runs MemoryLoader."""

  def Do(self, input_dict: dict[str, list[types.Artifact]], output_dict: dict[str, list[types.Artifact]],
         exec_properties: dict[str, Any]) -> None:
    """Runs the component."""
    raise NotImplementedError
