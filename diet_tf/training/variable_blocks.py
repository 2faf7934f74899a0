"""The variables of a model as the reverse pass through a training sees them: the small ones joined."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# As `tf.gradients` is called: with targets, sources, and the gradients of the targets.
Derivative = Callable[..., list[Any]]


def dense_gradient(gradient: Any, variable: tf.Variable) -> tf.Tensor:
  """A gradient, which may be absent or sparse, as a tensor of the variable's shape."""
  if gradient is None:
    return tf.zeros_like(variable)
  if isinstance(gradient, tf.IndexedSlices):
    num_rows = tf.shape(variable)[0] if variable.shape[0] is None else variable.shape[0]
    return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, num_rows)
  return gradient


def dense_gradients(gradients: Sequence[Any], variables: Sequence[Any]) -> list[tf.Tensor]:
  """Gradients, which may be absent or sparse, as tensors in the shapes of their variables or tensors."""
  return [dense_gradient(gradient, variable) for gradient, variable in zip(gradients, variables)]


def products(derivative: Derivative, gradients: Sequence[Any], adjoints: Sequence[tf.Tensor],
              sources: list[tf.Tensor]) -> list[Any]:
  """The derivative of `sum_i <gradients[i], adjoints[i]>` by each source, sparse gradients left sparse."""
  targets, output_gradients = [], []
  for gradient, adjoint in zip(gradients, adjoints):
    if isinstance(gradient, tf.IndexedSlices):
      targets.append(gradient.values)
      output_gradients.append(tf.gather(adjoint, gradient.indices))
    elif gradient is not None:
      targets.append(gradient)
      output_gradients.append(adjoint)
  return derivative(targets, sources, output_gradients)


class VariableBlocks:
  """Variables as the reverse pass sees them: the small ones of a parameter group joined to one vector.

  A step backwards takes some twenty operations a block, which for a bias are all overhead.

  Args:
    variables: trainable variables, in the order of all sequences below.
    groups: parameter group of each variable, as an index of `PARAMETER_GROUPS`.
  """

  MAX_JOINED_ENTRIES = 1 << 16

  def __init__(self, variables: Sequence[tf.Variable], groups: Sequence[int]) -> None:
    self._variables = variables
    # A table of any number of rows is a block of its own.
    self._sizes = [math.inf if None in variable.shape else int(np.prod(variable.shape)) for variable in variables]
    joined: dict[int, list[int]] = {}
    self._members: list[list[int]] = []
    for index, (size, group) in enumerate(zip(self._sizes, groups)):
      if size > self.MAX_JOINED_ENTRIES:
        self._members.append([index])
      else:
        joined.setdefault(group, []).append(index)
    self._members.extend(joined.values())
    self.groups = [groups[members[0]] for members in self._members]

  def join(self, values: Sequence[Any]) -> list[tf.Tensor]:
    """The blocks of values or gradients, absent or sparse ones too; a variable on its own keeps its shape."""
    dense = dense_gradients(values, self._variables)
    return [dense[members[0]] if len(members) == 1 else
            tf.concat([tf.reshape(dense[index], [-1]) for index in members], axis=0) for members in self._members]

  def part(self, blocks: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The inverse of `join`."""
    values: dict[int, tf.Tensor] = {}
    for members, block in zip(self._members, blocks):
      parts = [block] if len(members) == 1 else tf.split(block, [self._sizes[index] for index in members])
      values.update((index, part if len(members) == 1 else tf.reshape(part, self._variables[index].shape))
                    for index, part in zip(members, parts))
    return [values[index] for index in range(len(self._variables))]
