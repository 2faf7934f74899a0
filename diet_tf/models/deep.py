"""The families that are a tower over the joined embeddings, alone or beside another part."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from diet_tf.log.features import FeatureSpec
from diet_tf.models.interactions import bi_interaction
from diet_tf.models.ranking_model import RankingModel, beside, flatten


@tf.keras.utils.register_keras_serializable("diet_tf")
class DNN(RankingModel):
  """`logit = b + <w, tower(v)>`, v the joined embeddings."""

  family = "dnn"

  def __init__(self, spec: FeatureSpec, **settings: Any) -> None:
    super().__init__(spec, **settings)
    self.deep = self.tower()
    self.complete()

  def hidden(self, embeddings: tf.Tensor, linear: tf.Tensor, training: bool = False) -> tf.Tensor:
    """`[B, hidden_units[-1]]`."""
    del linear
    return self.deep(flatten(embeddings), training=training)


@tf.keras.utils.register_keras_serializable("diet_tf")
class WideDeep(RankingModel):
  """`logit = b + <w, tower(v)> + linear` (Cheng et al., "Wide & deep learning", 2016)."""

  family = "wide_deep"
  has_linear = True

  def __init__(self, spec: FeatureSpec, **settings: Any) -> None:
    super().__init__(spec, **settings)
    self.deep = self.tower()
    self.complete(fixed_columns=1)

  def hidden(self, embeddings: tf.Tensor, linear: tf.Tensor, training: bool = False) -> tf.Tensor:
    """`[B, hidden_units[-1] + 1]`."""
    return beside([self.deep(flatten(embeddings), training=training)], linear)


@tf.keras.utils.register_keras_serializable("diet_tf")
class DeepFM(RankingModel):
  """`logit = b + <w, tower(v)> + linear + sum_{i<j} <v_i, v_j>` (Guo et al., "DeepFM", 2017)."""

  family = "deepfm"
  has_linear = True

  def __init__(self, spec: FeatureSpec, **settings: Any) -> None:
    super().__init__(spec, **settings)
    self.deep = self.tower()
    self.complete(fixed_columns=self.settings.embedding_dim + 1)

  def hidden(self, embeddings: tf.Tensor, linear: tf.Tensor, training: bool = False) -> tf.Tensor:
    """`[B, hidden_units[-1] + D + 1]`: tower, pair terms per dimension, linear term."""
    return beside([self.deep(flatten(embeddings), training=training), bi_interaction(embeddings)], linear)


@tf.keras.utils.register_keras_serializable("diet_tf")
class NFM(RankingModel):
  """`logit = b + <w, tower(sum_{i<j} v_i * v_j)> + linear` (He and Chua, "Neural factorization machines", 2017)."""

  family = "nfm"
  has_linear = True

  def __init__(self, spec: FeatureSpec, **settings: Any) -> None:
    super().__init__(spec, **settings)
    self.deep = self.tower()
    self.complete(fixed_columns=1)

  def hidden(self, embeddings: tf.Tensor, linear: tf.Tensor, training: bool = False) -> tf.Tensor:
    """`[B, hidden_units[-1] + 1]`."""
    return beside([self.deep(bi_interaction(embeddings), training=training)], linear)


@tf.keras.utils.register_keras_serializable("diet_tf")
class PNN(RankingModel):
  """`logit = b + <w, tower([v, (<v_i, v_j>)_{i>j}])>` (Qu et al., "Product-based neural networks", 2016, inner)."""

  family = "pnn"

  def __init__(self, spec: FeatureSpec, **settings: Any) -> None:
    super().__init__(spec, **settings)
    self.products = tfrs.layers.feature_interaction.DotInteraction(name="products", dtype=self.dtype)
    self.deep = self.tower()
    self.complete()

  def hidden(self, embeddings: tf.Tensor, linear: tf.Tensor, training: bool = False) -> tf.Tensor:
    """`[B, hidden_units[-1]]`."""
    del linear
    inputs = tf.concat([flatten(embeddings), self.products(tf.unstack(embeddings, axis=1))], axis=1)
    return self.deep(inputs, training=training)
