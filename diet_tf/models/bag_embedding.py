"""The input layer of every panel model: one table of embeddings and one of linear weights over weighted bags of ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_layout import RowLayout
from diet_tf.models.initialisation import SeededNormal, derive_seed
from diet_tf.models.row_columns import row_columns

WEIGHTS_SUFFIX = "/weights"
PACKED_IDS = "ids"
PACKED_WEIGHTS = "weights"
PACKED_FIELDS = "fields"


@tf.keras.utils.register_keras_serializable("diet_tf")
class BagEmbedding(tf.keras.layers.Layer):
  """Per field the weighted sum of its ids' embeddings, and over all fields the weighted sum of linear weights.

  With ids i and weights a of field f in a row: `embeddings[f] = sum_k a[f, k] E[i[f, k]]` and
  `linear = sum_f sum_k a[f, k] w[i[f, k]]`, the "sum" combiner of `tf.nn.embedding_lookup_sparse`. All fields share one
  table each for E and w, in which a field's rows follow those of the fields before it, so a step is one gather a
  table, its gradient is `tf.IndexedSlices`, and no step does work proportional to the id space.

  Features come in one of three forms, with equal results:

  - a dict of single ids: `{field: [B] or [B, 1] integer}`;
  - a dict of weighted bags: `{field: [B, K_f] integer, field + "/weights": [B, K_f] float}`; K_f may differ by field;
  - packed: `{"ids": [B, F] integer}` or `{"ids": [B, F, K] integer, "weights": [B, F, K] float}`, the fast form; where
    fields differ much in K, `{"ids": [B, C], "weights": [B, C], "fields": [C]}` with the field of each column, in
    ascending order and with at least one column for each, saves reading the padding. Where a field of the spec is
    multi-valued, ids alone are encoded rows `{"ids": [B, num_places]}`, see `diet_tf.log.row_layout`.

  Ids are local to their field. The dict forms check that they lie in `[0, num_ids)`; the packed form, which inner
  loops read from checked arrays, does not.

  Args:
    spec: feature spec, which names the fields and sizes their id spaces.
    embedding_dim: D; 0 for a model without embeddings.
    linear: whether there is a linear table; without one, `linear` is 0.
    embedding_stddev: standard deviation of the initial embeddings; linear weights start at 0.
    seed: the initial embeddings are a function of it and of the table's shape alone.
    dtype: dtype of tables and outputs; None takes Keras' floatx.
  """

  def __init__(self, spec: FeatureSpec, embedding_dim: int = 8, *, linear: bool = True, embedding_stddev: float = 0.01,
               seed: int = 0, name: str = "bag_embedding", dtype: Any = None) -> None:
    super().__init__(name=name, dtype=dtype or tf.keras.backend.floatx())
    if isinstance(spec, Mapping):  # As `get_config` wrote it.
      spec = FeatureSpec.from_dict(spec)
    reserved = {PACKED_IDS, PACKED_WEIGHTS} & set(spec.names)
    if reserved:
      raise ConfigError("feature spec", rule="the names 'ids' and 'weights' are kept for packed features.",
                        received=f"fields named {sorted(reserved)}.", remedy="rename these fields.")
    self.spec = spec
    self.embedding_dim = embedding_dim
    self.linear = linear
    self.embedding_stddev = embedding_stddev
    self.seed = seed
    self.layout = RowLayout.of(spec)
    self._num_ids = np.asarray(spec.num_ids, np.int64)
    self._offsets = np.cumsum(self._num_ids) - self._num_ids
    self.embedding_table: tf.Variable | None = None
    self.linear_table: tf.Variable | None = None
    self._varying_offsets: list[tf.Variable] = self._no_dependency([])

  def build(self, input_shape: Any = None) -> None:
    """Creates `embedding_table` `[sum(num_ids), D]` and `linear_table` `[sum(num_ids), 1]`, where asked for."""
    del input_shape
    num_rows = int(self._num_ids.sum())
    if self.embedding_dim:
      initializer = SeededNormal(self.embedding_stddev, derive_seed(self.seed, "embedding_table"))
      self.embedding_table = self.add_weight("embedding_table", (num_rows, self.embedding_dim), initializer=initializer)
    if self.linear:
      self.linear_table = self.add_weight("linear_table", (num_rows, 1), initializer="zeros")
    self.built = True

  def let_sizes_vary(self) -> None:
    """Replaces the tables by variables of any number of rows, which `take_sizes` fits to other feature specs."""
    self._varying_offsets = self._no_dependency([tf.Variable(self._offsets, trainable=False)])
    for name in ("embedding_table", "linear_table"):
      table = getattr(self, name)
      if table is not None:
        setattr(self, name, tf.Variable(table, shape=[None, table.shape[1]], name=table.name.split(":")[0]))

  def take_sizes(self, spec: FeatureSpec) -> int:
    """Has packed ids read as those of another feature spec; returns how many rows its tables have, to be assigned."""
    num_ids = np.asarray(spec.num_ids, np.int64)
    self._varying_offsets[0].assign(np.cumsum(num_ids) - num_ids)
    return int(num_ids.sum())

  def call(self, features: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """`(embeddings [B, F, D], linear [B])`, in the layer's dtype."""
    features = self.unfolded(features)
    if PACKED_FIELDS in features:
      return self._columns(features[PACKED_IDS], features[PACKED_WEIGHTS], features[PACKED_FIELDS])
    ids, weights = self.pack(features)
    rows = self.rows(ids)
    if weights is not None:
      weights = weights[..., tf.newaxis]  # [B, F, K, 1]
    return self._embeddings(rows, weights), self._linear(rows, weights)

  def unfolded(self, features: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
    """Encoded rows with multi-valued fields as columns; other features as they are.

    Raises:
      ConfigError: the rows have another number of places than the feature spec gives them.
    """
    if self.layout.is_plain or PACKED_IDS not in features or PACKED_WEIGHTS in features:
      return features
    rows = tf.convert_to_tensor(features[PACKED_IDS])
    if rows.shape.rank != 2 or rows.shape[1] != self.layout.num_places:
      raise _refused("packed features", rule=f"'ids' alone are encoded rows, [batch, {self.layout.num_places} places], "
                     f"since {', '.join(self.spec.multi_valued)} may have several values.",
                     received=f"shape {rows.shape}.",
                     remedy="pass rows of diet_tf.log.row_layout, or bags with weights.")
    columns = row_columns(rows, self.layout, self.compute_dtype)
    return {PACKED_IDS: columns.ids, PACKED_WEIGHTS: columns.weights, PACKED_FIELDS: columns.fields}

  def pack(self, features: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor | None]:
    """The features' packed form: `(ids [B, F], None)` or `(ids [B, F, K], weights [B, F, K])`.

    Raises:
      ConfigError: a field is absent, has a shape that is none of the three forms, or has weights of another shape.
    """
    if PACKED_IDS in features:
      return self._packed(features)
    columns = [self._column(features, field.name) for field in self.spec.fields]
    ids, weights = _join([ids for ids, _ in columns], [weights for _, weights in columns], self.compute_dtype)
    self._check_range(ids)
    return ids, weights

  def _packed(self, features: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor | None]:
    ids, weights = tf.convert_to_tensor(features[PACKED_IDS]), features.get(PACKED_WEIGHTS)
    if ids.shape.rank not in (2, 3) or ids.shape[1] != len(self.spec.fields):
      raise _refused("packed features", rule=f"'ids' is [batch, {len(self.spec.fields)} fields] or "
                     f"[batch, {len(self.spec.fields)} fields, K].", received=f"shape {ids.shape}.",
                     remedy="pass the fields in the feature spec's order on axis 1.")
    if weights is None and ids.shape.rank == 3:
      raise _refused("packed features", rule="bags of ids come with 'weights'.",
                     received=f"'ids' of shape {ids.shape} alone.", remedy="pass weights of the same shape.")
    if weights is None:
      return ids, None
    weights = tf.cast(weights, self.compute_dtype)
    if not weights.shape.is_compatible_with(ids.shape):
      raise _refused("packed features", rule="'ids' and 'weights' have one shape.",
                     received=f"{ids.shape} and {weights.shape}.", remedy="pass equal shapes.")
    if ids.shape.rank == 2:
      return ids[..., tf.newaxis], weights[..., tf.newaxis]
    return ids, weights

  def _column(self, features: Mapping[str, tf.Tensor], name: str) -> tuple[tf.Tensor, tf.Tensor | None]:
    """One field's `(ids [B] or [B, K_f], weights or None)`."""
    if name not in features:
      raise _refused(f"features[{name!r}]", rule="every field of the feature spec is an input.",
                     received=f"inputs {sorted(features)}.", remedy="pass the field, with id 0 where it is missing.")
    ids, weights = tf.convert_to_tensor(features[name]), features.get(name + WEIGHTS_SUFFIX)
    if ids.shape.rank not in (1, 2) or (ids.shape.rank == 2 and ids.shape[1] is None):
      raise _refused(f"features[{name!r}]", rule="ids are [batch] or [batch, K] with K known.",
                     received=f"shape {ids.shape}.", remedy="pad the ids to a fixed K with weight 0.")
    if not ids.dtype.is_integer:
      raise _refused(f"features[{name!r}]", rule="ids are integers.", received=f"dtype {ids.dtype.name}.",
                     remedy="encode the log first; raw values are no ids.")
    if weights is None:
      if ids.shape.rank == 2 and ids.shape[1] != 1:
        raise _refused(f"features[{name!r}]", rule=f"bags of ids come with {name + WEIGHTS_SUFFIX!r}.",
                       received=f"ids of shape {ids.shape} alone.", remedy="pass weights of the same shape.")
      return ids, None
    weights = tf.convert_to_tensor(weights)
    if not weights.shape.is_compatible_with(ids.shape):
      raise _refused(f"features[{name + WEIGHTS_SUFFIX!r}]", rule="ids and weights have one shape.",
                     received=f"{ids.shape} and {weights.shape}.", remedy="pass equal shapes.")
    return ids, tf.cast(weights, self.compute_dtype)

  def _check_range(self, ids: tf.Tensor) -> None:
    num_ids = self._num_ids.reshape([-1] + [1] * (ids.shape.rank - 2))
    inside = tf.reduce_all((ids >= 0) & (ids < num_ids))
    # Each field's rows border on the next field's: an id out of range would silently read another field's row.
    tf.debugging.Assert(inside, [f"ids must lie in [0, num_ids) of their field; num_ids {self.spec.num_ids}, received",
                                 ids])

  def rows(self, ids: tf.Tensor) -> tf.Tensor:
    """Table rows (int64) of `[batch_size, num_fields, ...]` ids, of the same shape."""
    # int64 throughout: TensorFlow keeps int32 arithmetic on the host even where the tables are on a GPU.
    offsets = tf.reshape(self._first_rows(), [-1] + [1] * (ids.shape.rank - 2))
    return tf.cast(ids, tf.int64) + offsets

  def column_rows(self, ids: tf.Tensor, fields: tf.Tensor) -> tf.Tensor:
    """Table rows (int64) of `[batch_size, num_columns]` ids, of the same shape, with the field of each column."""
    return tf.cast(ids, tf.int64) + tf.gather(self._first_rows(), fields)

  def _first_rows(self) -> tf.Tensor:
    """`[F]`, the row of each field's id 0."""
    return tf.convert_to_tensor(self._varying_offsets[0] if self._varying_offsets else self._offsets)

  def _embeddings(self, rows: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    if self.embedding_table is None:
      return tf.zeros([tf.shape(rows)[0], rows.shape[1], 0], self.compute_dtype)
    values = tf.gather(self.embedding_table, rows)  # [B, F, D] or [B, F, K, D]
    return values if weights is None else tf.reduce_sum(values * weights, axis=2)

  def _linear(self, rows: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    if self.linear_table is None:
      return tf.zeros([tf.shape(rows)[0]], self.compute_dtype)
    values = tf.gather(self.linear_table, rows)  # [B, F, 1] or [B, F, K, 1]
    values = values if weights is None else values * weights
    return tf.reduce_sum(values, axis=list(range(1, values.shape.rank)))

  def _columns(self, ids: tf.Tensor, weights: tf.Tensor, fields: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`call` for columns, each field's beside one another."""
    weights = tf.cast(weights, self.compute_dtype)
    rows = self.column_rows(ids, fields)
    linear = tf.zeros([tf.shape(ids)[0]], self.compute_dtype)
    if self.linear_table is not None:
      linear = tf.reduce_sum(tf.gather(self.linear_table, rows)[..., 0] * weights, axis=1)
    num_fields = len(self._num_ids)
    if self.embedding_table is None:
      return tf.zeros([tf.shape(ids)[0], num_fields, 0], self.compute_dtype), linear
    # Inner loops spend their time here. A broadcast product takes several times as long as this one and a plain one.
    spread = tf.matmul(tf.reshape(weights, [-1, 1]), tf.ones([1, self.embedding_dim], self.compute_dtype))
    values = tf.gather(self.embedding_table, tf.reshape(rows, [-1])) * spread  # [B * C, D]
    # One segment for each example and field, so that nothing is transposed.
    examples = tf.range(tf.shape(rows, tf.int64)[0])[:, tf.newaxis]
    sums = tf.math.segment_sum(values, tf.reshape(examples * num_fields + fields, [-1]))
    return tf.reshape(sums, [-1, num_fields, self.embedding_dim]), linear

  def get_config(self) -> dict[str, Any]:
    """The constructor's arguments, the spec as a dict."""
    return {"spec": self.spec.to_dict(), "embedding_dim": self.embedding_dim, "linear": self.linear,
            "embedding_stddev": self.embedding_stddev, "seed": self.seed, "name": self.name, "dtype": self.dtype}


def _join(ids: list[tf.Tensor], weights: list[tf.Tensor | None],
          dtype: str) -> tuple[tf.Tensor, tf.Tensor | None]:
  """Columns of single ids or bags as `(ids [B, F], None)` or `(ids [B, F, K], weights [B, F, K])`, K the widest."""
  ids = [tf.cast(column, tf.int64) for column in ids]
  if all(column is None for column in weights):
    if all(column.shape.rank == 1 for column in ids):
      return tf.stack(ids, axis=1), None
    return tf.concat([_as_matrix(column) for column in ids], axis=1), None
  filled = [tf.ones(tf.shape(column), dtype) if weight is None else weight
            for column, weight in zip(ids, weights, strict=True)]
  ids = [_as_matrix(column) for column in ids]
  widths = [int(column.shape[1]) for column in ids]
  flat_ids = tf.concat(ids, axis=1)  # [B, sum K_f]
  flat_weights = tf.concat([_as_matrix(column) for column in filled], axis=1)
  if len(set(widths)) == 1:
    shape = [-1, len(widths), widths[0]]
    return tf.reshape(flat_ids, shape), tf.reshape(flat_weights, shape)
  # Unequal widths: one gather pads every field to the widest; padding reads some column and weighs it 0.
  starts = np.cumsum(widths) - widths
  place = np.arange(max(widths))[None, :]
  inside = place < np.asarray(widths)[:, None]
  columns = np.where(inside, starts[:, None] + place, starts[:, None])  # [F, K]
  mask = tf.constant(inside, dtype)
  return tf.gather(flat_ids, columns, axis=1), tf.gather(flat_weights, columns, axis=1) * mask


def _as_matrix(column: tf.Tensor) -> tf.Tensor:
  return column[:, tf.newaxis] if column.shape.rank == 1 else column


def _refused(subject: str, *, rule: str, received: str, remedy: str) -> ConfigError:
  error = ConfigError(subject, rule=rule, received=received, remedy=remedy)
  # Keras replaces what a layer raises by a RuntimeError with its own text, unless it is marked as explained already.
  error._keras_call_info_injected = True  # type: ignore[attr-defined]
  return error
