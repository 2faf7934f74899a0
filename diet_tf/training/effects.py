"""What a traced call does beside computing its outputs from its inputs: which resources it writes, where it draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

# Operations that run functions, and how many inputs come before those that they hand to these.
_CALLS = {"PartitionedCall": 0, "StatefulPartitionedCall": 0, "While": 0, "StatelessWhile": 0, "If": 1,
          "StatelessIf": 1, "Case": 1, "StatelessCase": 1}
_READS = frozenset(("ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape", "VarIsInitializedOp",
                    "LookupTableFindV2", "LookupTableSizeV2", "LookupTableExportV2"))
# They compute no number.
_HARMLESS = frozenset(("Assert", "PrintV2", "Print", "CheckNumerics", "CheckNumericsV2", "StatelessRandomGetAlg",
                       "DebugIdentityV2", "Placeholder"))
# They run code that TensorFlow does not see: nobody knows what it keeps, and the last one, which keeps nothing by its
# declaration, has no gradient.
_FOREIGN = frozenset(("PyFunc", "EagerPyFunc", "PyFuncStateless"))


@dataclasses.dataclass(frozen=True)
class Effect:
  """An operation that does more than compute, or that computes from more than its inputs.

  Attributes:
    operation: type of the operation, such as "RandomUniform" or "AssignAddVariableOp".
    place: name of the operation in its graph, which begins with the names of layers.
    resource: what it writes, as the tensor that the graph captured; None where it writes none that is known.
  """

  operation: str
  place: str
  resource: tf.Tensor | None


@dataclasses.dataclass
class _Walk:
  graph: Any
  functions: Mapping[str, Any]

  def effects(self, nodes: Sequence[Any], resources: dict[str, tf.Tensor], path: str) -> Iterator[Effect]:
    """The effects of the nodes of a graph or function, whose resources are known by the names of its inputs."""
    for node in nodes:
      inputs = [name for name in node.input if not name.startswith("^")]
      given = [resources.get(name.removesuffix(":0")) for name in inputs]
      if node.op in _CALLS:
        for name in _functions_of(node):
          function = self.functions[name]
          arguments = [argument.name for argument in function.signature.input_arg]
          inner = dict(zip(arguments, given[_CALLS[node.op]:]))
          yield from self.effects(function.node_def, {key: one for key, one in inner.items() if one is not None},
                                  f"{path}{node.name}/")
      elif node.op == "Identity" and given[0] is not None:
        resources[node.name] = given[0]
        resources[f"{node.name}:output"] = given[0]
      elif self._has_effect(node.op):
        known = [one for one in given if one is not None]
        yield Effect(node.op, path + node.name, known[0] if known else None)

  def _has_effect(self, operation: str) -> bool:
    if operation in _READS or operation in _HARMLESS:
      return False
    return operation in _FOREIGN or self.graph.op_def_for_type(operation).is_stateful


def _functions_of(node: Any) -> list[str]:
  found = []
  for attribute in node.attr.values():
    found.extend([attribute.func.name] if attribute.HasField("func") else
                 [one.name for one in attribute.list.func])
  return found


def effects_of(graph: Any) -> list[Effect]:
  """The effects of a `FuncGraph`, and of the functions that it calls, in the order of their operations.

  Reads of variables and of tables, assertions and prints are none.
  """
  definition = graph.as_graph_def()
  functions = {function.signature.name: function for function in definition.library.function}
  captured = {inner.op.name: outer for outer, inner in graph.captures if inner.dtype == tf.resource}
  return list(_Walk(graph, functions).effects(definition.node, captured, ""))
