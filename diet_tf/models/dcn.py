"""DCN-v2: explicit crosses of bounded degree beside a tower."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from diet_tf.log.features import FeatureSpec
from diet_tf.models.initialisation import SeededGlorotUniform, derive_seed
from diet_tf.models.ranking_model import RankingModel, flatten


@tf.keras.utils.register_keras_serializable("diet_tf")
class DCNv2(RankingModel):
  """`logit = b + <w, [x_L, tower(x_0)]>`, `x_{l+1} = x_0 * (U_l V_l x_l + c_l) + x_l`, x_0 the joined embeddings.

  Wang et al., "DCN V2", 2021, the parallel form with low-rank crosses, by `tfrs.layers.dcn.Cross`.

  Args:
    num_cross_layers: number of cross layers, L.
    projection_dim: rank of the kernel of a cross layer; None for full rank.
    others: settings that all families share, see `RankingModel`.
  """

  family = "dcn_v2"

  def __init__(self, spec: FeatureSpec, *, num_cross_layers: int = 2, projection_dim: int | None = 16,
               **settings: Any) -> None:
    super().__init__(spec, **settings)
    self.num_cross_layers = num_cross_layers
    self.projection_dim = projection_dim
    self.crosses = [self._cross(index) for index in range(num_cross_layers)]
    self.deep = self.tower()
    self.complete()

  def _cross(self, index: int) -> tf.keras.layers.Layer:
    l2 = self.settings.l2
    return tfrs.layers.dcn.Cross(
        projection_dim=self.projection_dim, name=f"cross_{index}", dtype=self.dtype,
        kernel_initializer=SeededGlorotUniform(derive_seed(self.settings.seed, f"cross_{index}")),
        kernel_regularizer=tf.keras.regularizers.L2(l2) if l2 else None)

  def hidden(self, embeddings: tf.Tensor, linear: tf.Tensor, training: bool = False) -> tf.Tensor:
    """`[B, F * D + hidden_units[-1]]`."""
    del linear
    inputs = flatten(embeddings)
    crossed = inputs
    for cross in self.crosses:
      crossed = cross(inputs, crossed)
    return tf.concat([crossed, self.deep(inputs, training=training)], axis=1)

  def get_config(self) -> dict[str, Any]:
    """The constructor's arguments, the spec as a dict."""
    return {**super().get_config(), "num_cross_layers": self.num_cross_layers, "projection_dim": self.projection_dim}
