"""AutoInt: fields attend to each other, beside a tower."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from diet_tf.log.features import FeatureSpec
from diet_tf.models.initialisation import derive_seed
from diet_tf.models.interactions import SelfAttention
from diet_tf.models.ranking_model import RankingModel, flatten


@tf.keras.utils.register_keras_serializable("diet_tf")
class AutoInt(RankingModel):
  """`logit = b + <w, [attended fields, tower(v)]>` (Song et al., "AutoInt", 2019; the form with a tower, AutoInt+).

  Args:
    num_attention_layers: how many interacting layers follow one another.
    num_heads: heads of each.
    head_dim: width of a head.
    others: settings that all families share, see `RankingModel`.
  """

  family = "autoint"

  def __init__(self, spec: FeatureSpec, *, num_attention_layers: int = 2, num_heads: int = 2, head_dim: int = 8,
               **settings: Any) -> None:
    super().__init__(spec, **settings)
    self.num_attention_layers = num_attention_layers
    self.num_heads = num_heads
    self.head_dim = head_dim
    self.attention = [self._attention(index) for index in range(num_attention_layers)]
    self.deep = self.tower()
    self.complete()

  def _attention(self, index: int) -> SelfAttention:
    name = f"attention_{index}"
    return SelfAttention(self.num_heads, self.head_dim, seed=derive_seed(self.settings.seed, name),
                         l2=self.settings.l2, name=name, dtype=self.dtype)

  def hidden(self, embeddings: tf.Tensor, linear: tf.Tensor, training: bool = False) -> tf.Tensor:
    """`[B, F * num_heads * head_dim + hidden_units[-1]]`."""
    del linear
    attended = embeddings
    for layer in self.attention:
      attended = layer(attended)
    return tf.concat([flatten(attended), self.deep(flatten(embeddings), training=training)], axis=1)

  def get_config(self) -> dict[str, Any]:
    """The constructor's arguments, the spec as a dict."""
    return {**super().get_config(), "num_attention_layers": self.num_attention_layers, "num_heads": self.num_heads,
            "head_dim": self.head_dim}
