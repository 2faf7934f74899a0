"""Derivatives through stopped gradients, for what is differentiated a second time.

`tf.stop_gradient` says what the gradient of a training step leaves out. How that gradient moves with the weights is
another question, and its answer leaves nothing out: a tape that respects the stop a second time does not see that
`tf.nn.moments` (batch and layer normalisation) takes a mean that moves with the weights, and returns a wrong product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

_STOP = "StopGradient"


def stops_gradients(graph: Any) -> bool:
  """Whether a `FuncGraph`, or a function that it calls, has a stopped gradient."""
  return any(node.op == _STOP for node in _nodes(graph.as_graph_def()))


def unstopped(function: Callable[..., Any], *inputs: tf.Tensor) -> Any:
  """What a function returns, as operations of the current graph that `tf.gradients` passes without a stop.

  What the function differentiates itself is differentiated with its stops.

  Args:
    function: maps tensors to a structure of tensors; it is traced, and may read and write variables.
    inputs: arguments, tensors of the current graph.
  """
  signature = [tf.TensorSpec(one.shape, one.dtype) for one in inputs]
  traced = tf.function(function, autograph=False).get_concrete_function(*signature)
  definition = traced.graph.as_graph_def()
  for node in _nodes(definition):
    if node.op == _STOP:
      node.op = "Identity"
  current = tf.compat.v1.get_default_graph()
  given = {inner.name: one for inner, one in zip(traced.graph.inputs, inputs)}
  given.update({inner.name: current.capture(outer) for outer, inner in traced.graph.captures})
  outputs = tf.graph_util.import_graph_def(definition, given, [one.name for one in traced.graph.outputs], "unstopped")
  return tf.nest.pack_sequence_as(traced.structured_outputs, outputs, expand_composites=True)


def _nodes(definition: Any) -> list[Any]:
  return [node for nodes in (definition.node, *(function.node_def for function in definition.library.function))
          for node in nodes]
