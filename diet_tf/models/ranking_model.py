"""What all panel models share: inputs, the split into embed, hidden and head, and the settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_layout import missing_rows
from diet_tf.models.bag_embedding import PACKED_FIELDS, PACKED_IDS, PACKED_WEIGHTS, BagEmbedding
from diet_tf.models.input_fields import InputFields
from diet_tf.models.tower import Head, Tower


@dataclasses.dataclass(frozen=True)
class ModelSettings:
  """The settings that every family takes; one without embeddings or tower has no use for theirs.

  Attributes:
    embedding_dim: D, the width of an embedding.
    hidden_units: widths of the tower's layers; one number is one layer.
    dropout: rate of dropout after each hidden layer in training, in [0, 1).
    l2: factor of the penalty on dense kernels. Tables carry none: its gradient would be as large as the id space.
    seed: seed of all initial weights.
    embedding_stddev: standard deviation of the initial embeddings.
    without: names of fields that the model does not read; one text joins them by `+`.
  """

  embedding_dim: int = 8
  hidden_units: tuple[int, ...] = (64, 32)
  dropout: float = 0.0
  l2: float = 0.0
  seed: int = 0
  embedding_stddev: float = 0.01
  without: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    units = self.hidden_units
    names = self.without.split("+") if isinstance(self.without, str) else self.without
    object.__setattr__(self, "without", tuple(filter(None, names)))
    object.__setattr__(self, "hidden_units", (units,) if isinstance(units, int) else tuple(units))
    _require(self.embedding_dim >= 1, "embedding_dim", "it is at least 1.", self.embedding_dim)
    _require(all(units >= 1 for units in self.hidden_units), "hidden_units", "every width is at least 1.",
             self.hidden_units)
    _require(0.0 <= self.dropout < 1.0, "dropout", "the rate lies in [0, 1).", self.dropout)
    _require(self.l2 >= 0.0, "l2", "it is not negative.", self.l2)
    _require(self.embedding_stddev >= 0.0, "embedding_stddev", "it is not negative.", self.embedding_stddev)


class TableReads(NamedTuple):
  """Which rows of its tables a model reads for a batch.

  Attributes:
    rows: `[B, F, K]` int64, F the fields that the model reads; of encoded rows with multi-valued fields `[B, C, 1]`, C
      their columns.
    weights: of the same shape, the weight of what is read.
    fields: `[C]` int64, the field of each column, by its number among those that the model reads; None where axis 1 is
      the fields.
  """

  rows: tf.Tensor
  weights: tf.Tensor
  fields: tf.Tensor | None = None


def _require(holds: bool, name: str, rule: str, received: Any) -> None:
  if not holds:
    raise ConfigError(f"model setting {name!r}", rule=rule, received=repr(received), remedy=f"change {name}.")


class RankingModel(tf.keras.Model):
  """A click model over weighted bags of ids: `logits = head(hidden(embed(features)))`, `[B]`.

  A family overrides `hidden`, makes its own layers in `__init__` and ends that with `complete`. All variables exist
  from then on. Logits, not probabilities, are returned: use `from_logits=True` in losses and metrics.

  Args:
    spec: feature spec, which names the fields and sizes their id spaces.
    dtype: dtype of all variables and computations; None takes Keras' floatx at the time of the call.
    others: settings that all families share, see `ModelSettings`.
  """

  from_logits = True
  family: ClassVar[str] = "ranking_model"
  has_embeddings: ClassVar[bool] = True
  has_linear: ClassVar[bool] = False

  head: Head

  def __init__(self, spec: FeatureSpec, *, embedding_dim: int = 8, hidden_units: tuple[int, ...] = (64, 32),
               dropout: float = 0.0, l2: float = 0.0, seed: int = 0, embedding_stddev: float = 0.01,
               without: str | Sequence[str] = (), name: str | None = None, dtype: Any = None) -> None:
    super().__init__(name=name or self.family, dtype=dtype or tf.keras.backend.floatx())
    self.settings = ModelSettings(embedding_dim, hidden_units, dropout, l2, seed, embedding_stddev,
                                  without)  # type: ignore[arg-type]  # Brought to a tuple there.
    self.spec = spec
    self.input_fields = InputFields(spec, self.settings.without)
    self.embedding = BagEmbedding(self.input_fields.spec, embedding_dim if self.has_embeddings else 0,
                                  linear=self.has_linear, embedding_stddev=embedding_stddev, seed=seed,
                                  dtype=self.dtype)

  def complete(self, fixed_columns: int | None = 0) -> None:
    """Adds the head (see `Head` for `fixed_columns`) and creates all variables, by one call on a row of missing ids."""
    self.head = Head(fixed_columns, l2=self.settings.l2, seed=self.settings.seed, dtype=self.dtype)
    with tf.init_scope():
      embeddings, linear = self.embed({PACKED_IDS: tf.constant(missing_rows(self.spec, 1), tf.int64)})
      self.logits_from(embeddings, linear)
    self.built = True

  def tower(self) -> Tower:
    """A new tower with this model's settings."""
    return Tower(self.settings.hidden_units, dropout=self.settings.dropout, l2=self.settings.l2,
                 seed=self.settings.seed, dtype=self.dtype)

  def let_sizes_vary(self) -> None:
    """Gives the model tables of any number of rows, which `take_sizes` fits to feature specs of the same fields."""
    self.embedding.let_sizes_vary()

  def take_sizes(self, spec: FeatureSpec) -> int:
    """Has packed ids read as those of another feature spec; returns how many rows its tables have, to be assigned."""
    return self.embedding.take_sizes(self.input_fields.of(spec))

  def call(self, features: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
    """`[B]` logits of features in any form of `BagEmbedding`."""
    embeddings, linear = self.embed(features)
    return self.logits_from(embeddings, linear, training)

  def embed(self, features: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """`(embeddings [B, F, D], linear [B])`; D is 0 without embeddings, `linear` 0 without linear weights."""
    return self.embedding(self.input_fields(features))

  def table_reads(self, features: Mapping[str, tf.Tensor]) -> TableReads:
    """The rows of the tables that are read for features, with their weights."""
    features = self.embedding.unfolded(self.input_fields(features))
    if PACKED_FIELDS in features:
      fields = features[PACKED_FIELDS]
      rows = self.embedding.column_rows(features[PACKED_IDS], fields)
      return TableReads(rows[..., tf.newaxis], features[PACKED_WEIGHTS][..., tf.newaxis], fields)
    ids, weights = self.embedding.pack(features)
    if weights is None:
      ids, weights = ids[..., tf.newaxis], tf.ones(tf.shape(ids), self.compute_dtype)[..., tf.newaxis]
    return TableReads(self.embedding.rows(ids), weights)

  def hidden(self, embeddings: tf.Tensor, linear: tf.Tensor, training: bool = False) -> tf.Tensor:
    """`[B, H]`, the inputs of the head; the fixed columns come last."""
    raise NotImplementedError

  def logits_from(self, embeddings: tf.Tensor, linear: tf.Tensor, training: bool = False) -> tf.Tensor:
    """`[B]` logits of rows that are embedded already."""
    return tf.squeeze(self.head(self.hidden(embeddings, linear, training)), axis=-1)

  def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None) -> tf.Tensor:
    """Keras' compiled loss, with labels and logits as columns.

    Keras averages a loss over the last axis before it applies sample weights: with `[B]` logits that axis is the
    batch, and each row would weigh the same whatever its weight.
    """
    if y is not None and y_pred.shape.rank == 1:
      y_pred = y_pred[:, tf.newaxis]
      y = tf.reshape(y, [-1, 1])
    return super().compute_loss(x, y, y_pred, sample_weight)

  def get_config(self) -> dict[str, Any]:
    """The constructor's arguments, the spec as a dict."""
    settings = dataclasses.asdict(self.settings)
    return {"spec": self.spec.to_dict(), **settings, "name": self.name, "dtype": self.dtype}

  @classmethod
  def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> RankingModel:
    """A new model of that configuration, with the initial weights of its seed."""
    del custom_objects
    return cls(**{**config, "spec": FeatureSpec.from_dict(config["spec"])})


def flatten(embeddings: tf.Tensor) -> tf.Tensor:
  """`[B, F, D] -> [B, F * D]`."""
  return tf.reshape(embeddings, [-1, embeddings.shape[1] * embeddings.shape[2]])


def beside(parts: list[tf.Tensor], linear: tf.Tensor) -> tf.Tensor:
  """`[B, N_i]` parts and, as the last column, `linear` `[B]`."""
  return tf.concat([*parts, linear[:, tf.newaxis]], axis=1)
