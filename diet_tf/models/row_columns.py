"""Encoded rows of the log as columns of weighted ids, the form in which the input layer reads multi-valued fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from diet_tf.log.row_layout import RowLayout


class RowColumns(NamedTuple):
  """Columns of weighted ids.

  Attributes:
    ids: `[batch_size, num_columns]` integers, local to the field of the column; padding has the row's first id.
    weights: `[batch_size, num_columns]`, which sum to 1 over the columns of a field; 0 in padding.
    fields: `[num_columns]` int64, the field of each column, ascending.
  """

  ids: tf.Tensor
  weights: tf.Tensor
  fields: tf.Tensor


def row_columns(rows: tf.Tensor, layout: RowLayout, dtype: Any) -> RowColumns:
  """The columns of encoded rows.

  Args:
    rows: `[batch_size, num_places]` integers, see `diet_tf.log.row_layout`.
    layout: layout of the rows.
    dtype: dtype of the weights.
  """
  parts = list(_parts(rows, layout, dtype))
  return RowColumns(tf.concat([ids for ids, _ in parts], axis=1), tf.concat([weights for _, weights in parts], axis=1),
                    tf.constant(layout.fields, tf.int64))


def field_bags(rows: tf.Tensor, layout: RowLayout, dtype: Any) -> list[tuple[tf.Tensor, tf.Tensor]]:
  """Per field, the ids and weights `[batch_size, width]` of encoded rows; padding has the row's first id, weight 0."""
  columns = row_columns(rows, layout, dtype)
  places = [layout.ids_at(field) for field in range(len(layout.widths))]
  return [(columns.ids[:, place], columns.weights[:, place]) for place in places]


def _parts(rows: tf.Tensor, layout: RowLayout, dtype: Any) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
  """Ids and weights of neighbouring fields with one value, and of each multi-valued field."""
  field, num_fields = 0, len(layout.widths)
  while field < num_fields:
    first = field
    while field < num_fields and layout.widths[field] == 1:
      field += 1
    if field > first:
      ids = rows[:, layout.ids_at(first).start:layout.ids_at(field - 1).stop]
      yield ids, tf.ones(tf.shape(ids), dtype)
      continue
    ids = rows[:, layout.ids_at(field)]
    present = ids >= 0
    if layout.is_weighted[field]:
      bits = tf.cast(rows[:, layout.weights_at(field)], tf.int32)
      weights = tf.cast(tf.bitcast(bits, tf.float32), dtype)
    else:
      shares = tf.cast(present, dtype)
      weights = shares / tf.reduce_sum(shares, axis=1, keepdims=True)
    # Padding reads what the row reads anyway, so that no other row of a table takes part in the step.
    yield tf.where(present, ids, ids[:, :1]), weights
    field += 1
