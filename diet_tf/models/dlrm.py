"""DLRM: a tower over the pairwise products of embeddings."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from diet_tf.log.features import FeatureSpec
from diet_tf.models.ranking_model import RankingModel, beside


@tf.keras.utils.register_keras_serializable("diet_tf")
class DLRM(RankingModel):
  """`logit = b + <w, tower((<v_i, v_j>)_{i>j})> + linear` (Naumov et al., "DLRM", 2019).

  DLRM joins the products with a bottom tower's output over numeric inputs. Here numbers are fields like all others,
  so there is no bottom tower, and the first-order terms enter the logit as linear weights. The products are those of
  `tfrs.layers.feature_interaction.DotInteraction`.
  """

  family = "dlrm"
  has_linear = True

  def __init__(self, spec: FeatureSpec, **settings: Any) -> None:
    super().__init__(spec, **settings)
    self.interaction = tfrs.layers.feature_interaction.DotInteraction(name="dot_interaction", dtype=self.dtype)
    self.top = self.tower()
    self.complete(fixed_columns=1)

  def hidden(self, embeddings: tf.Tensor, linear: tf.Tensor, training: bool = False) -> tf.Tensor:
    """`[B, hidden_units[-1] + 1]`."""
    products = self.interaction(tf.unstack(embeddings, axis=1))
    return beside([self.top(products, training=training)], linear)
