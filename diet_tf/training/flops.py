"""Floating-point operations of a model's calls, as TensorFlow's profiler counts them in a traced graph.

Nothing is computed: a graph is traced for one example, and its operations are summed up. Look-ups in tables count
nothing, and neither do optimisers and input pipelines. What a training takes follows from the forward pass alone, by
the factors below.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.row_layout import RowLayout
from diet_tf.models import RankingModel
from diet_tf.models.inputs import build_with_form, features_in_form
from diet_tf.training.slot_features import is_narrow

# Of a forward pass. Going back takes a product for the gradient by the weights, and one for that by the inputs.
TRAINING_FACTOR = 3.0
# A forward pass, and a way back to the embeddings that leaves out the gradients by the weights.
INPUT_GRADIENT_FACTOR = 2.0


def graph_flops(function: Callable[..., Any], *signature: Any) -> float:
  """Operations of the graph of a function; those whose shapes are not known count nothing, a loop's body counts once.

  Args:
    function: function of tensors, which is traced.
    *signature: the specs that it is traced with; None where an argument is None.
  """
  graph = tf.function(function).get_concrete_function(*signature).graph
  builder = tf.compat.v1.profiler.ProfileOptionBuilder
  options = builder(builder.float_operation()).with_empty_output().build()
  logger = tf.get_logger()
  level = logger.level
  logger.setLevel("ERROR")  # The profiler warns of its own use of TensorFlow 1.
  try:
    return float(tf.compat.v1.profiler.profile(graph, options=options).total_float_ops)
  finally:
    logger.setLevel(level)


@dataclasses.dataclass(frozen=True)
class ForwardFlops:
  """Operations of one forward pass of an architecture.

  Attributes:
    row: operations on a row of the log, which has one id a field.
    bag: operations on a slot with one place a field.
    place: operations that a further place of every field adds; 0 for a model that is trained on drawn ids.
    is_packed: whether fields of fewer places are left narrow where slots are trained on differentiably.
    num_coordinates: fields times the width of an embedding; 0 for a model without embeddings, or one of a user's own.
  """

  row: float
  bag: float
  place: float
  is_packed: bool
  num_coordinates: int = 0

  def of_rows(self, layout: RowLayout) -> float:
    """Operations on a row of the log, whose multi-valued fields are read as wide as their padding.

    Args:
      layout: layout of the rows.
    """
    return self.row if layout.is_plain else self.bag + self.place * (layout.num_ids / len(layout.widths) - 1)

  def slot(self, max_ids: Sequence[int], width: int) -> float:
    """Operations on a slot as refinement and gate train on it.

    Args:
      max_ids: places of each field that are used.
      width: places of a field in the slots.
    """
    places = sum(max_ids) if self.is_packed and is_narrow(max_ids, width) else len(max_ids) * width
    return self.bag + self.place * (places / len(max_ids) - 1)


@functools.lru_cache(maxsize=256)
def forward_flops(member: str, fields: tuple[str, ...]) -> ForwardFlops:
  """The operations of an architecture, built on tables of two ids a field: their sizes count nothing.

  Args:
    member: name of a panel family or a user's `module:Class`, see `diet_tf.models.build_model`.
    fields: names of the fields.
  """
  spec = FeatureSpec(tuple(Field(name, name, hash_ids=2) for name in fields), Label("label"))
  model, form, _ = build_with_form(member, spec)

  def call(ids: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    return model(features_in_form(form, spec, ids, weights), training=False)

  def on_bags(width: int) -> float:
    shape = [1, len(fields), width]
    return graph_flops(call, tf.TensorSpec(shape, tf.int32), tf.TensorSpec(shape, tf.float32))

  row = graph_flops(call, tf.TensorSpec([1, len(fields)], tf.int32))
  if form == "sampled":
    return ForwardFlops(row, row, 0.0, False)
  bag = on_bags(1)
  width = model.embedding.embedding_dim if isinstance(model, RankingModel) else 0
  return ForwardFlops(row, bag, on_bags(2) - bag, form == "packed", len(fields) * width)
