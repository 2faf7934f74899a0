"""The families without a tower: logistic regression and the factorisation machine."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from diet_tf.log.features import FeatureSpec
from diet_tf.models.interactions import bi_interaction
from diet_tf.models.ranking_model import RankingModel, beside


@tf.keras.utils.register_keras_serializable("diet_tf")
class LogisticRegression(RankingModel):
  """`logit = b + linear`; it has neither embeddings nor tower, so their settings do not apply."""

  family = "lr"
  has_embeddings = False
  has_linear = True

  def __init__(self, spec: FeatureSpec, **settings: Any) -> None:
    super().__init__(spec, **settings)
    self.complete(fixed_columns=None)

  def hidden(self, embeddings: tf.Tensor, linear: tf.Tensor, training: bool = False) -> tf.Tensor:
    """`[B, 1]`."""
    del embeddings, training
    return linear[:, tf.newaxis]


@tf.keras.utils.register_keras_serializable("diet_tf")
class FactorizationMachine(RankingModel):
  """`logit = b + linear + sum_{i<j} <v_i, v_j>` (Rendle, 2010); it has no tower, so its settings do not apply."""

  family = "fm"
  has_linear = True

  def __init__(self, spec: FeatureSpec, **settings: Any) -> None:
    super().__init__(spec, **settings)
    self.complete(fixed_columns=None)

  def hidden(self, embeddings: tf.Tensor, linear: tf.Tensor, training: bool = False) -> tf.Tensor:
    """`[B, D + 1]`: the pair terms per dimension, then the linear term."""
    del training
    return beside([bi_interaction(embeddings)], linear)
