"""The groups of variables that have a learning rate each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

PARAMETER_GROUPS = ("embedding", "linear", "dense")
"""Names of the groups; a recipe has a learning rate for each."""


def parameter_group(variable: Any, shape: Sequence[int] | None = None) -> str:
  """The group of a variable: "embedding", "linear" or "dense".

  A table is a matrix whose own name (the last part of its path) contains "embedding", as that of
  `tf.keras.layers.Embedding` does, or is `linear_table`. A table of width 1 holds linear weights.

  Args:
    variable: the variable, or its name.
    shape: the variable's shape, where only the name is given; unknown is taken for a table of embeddings.
  """
  name = variable if isinstance(variable, str) else variable.name
  if shape is None and not isinstance(variable, str):
    shape = variable.shape
  parts = [part for part in name.split(":")[0].split("/") if not part.startswith("replica_")]
  own = parts[-1]
  if own == "linear_table":
    return "linear"
  if "embedding" not in own or (shape is not None and len(shape) != 2):
    return "dense"
  return "linear" if shape is not None and shape[-1] == 1 else "embedding"


def has_both_tables(variables: Iterable[Any]) -> bool:
  """Whether some variables are linear weights and others are embeddings, so that a rate for each makes a difference."""
  return {"linear", "embedding"} <= set(map(parameter_group, variables))
