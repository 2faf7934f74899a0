"""The parameters of a run, as a compiled pipeline declares them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def default_values(spec: Mapping[str, Any]) -> dict[str, Any]:
  """The defaults of a pipeline spec's parameters, by name."""
  parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
  return {name: parameter.get("defaultValue") for name, parameter in sorted(parameters.items())}
