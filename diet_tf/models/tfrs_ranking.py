"""A panel model as a TensorFlow Recommenders model with the Ranking task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from diet_tf.log.features import FeatureSpec
from diet_tf.models.registry import build_model


class TfrsRanking(tfrs.models.Model):
  """A `tfrs.models.Model` around a panel model; trains by `tfrs.tasks.Ranking` on (features, labels, sample weights).

  It shows how a TFRS model joins the panel: `diet_tf.models:TfrsRanking(member=dcn_v2)`.

  Args:
    spec: feature spec, which names the fields and sizes their id spaces.
    member: the panel model inside.
    seed: seed of all initial weights.
    **settings: further arguments of the panel model.
  """

  from_logits = True

  def __init__(self, spec: FeatureSpec, *, member: str = "dnn", seed: int = 0, **settings: Any) -> None:
    super().__init__(name="tfrs_ranking")
    self.ranking_model = build_model(member, spec, seed=seed, **settings)
    # Unreduced, because a custom training step under a tf.distribute strategy has to average over replicas itself.
    loss = tf.keras.losses.BinaryCrossentropy(from_logits=True, reduction=tf.keras.losses.Reduction.NONE)
    self.task = tfrs.tasks.Ranking(loss=loss, metrics=[tf.keras.metrics.AUC(name="auc", from_logits=True)])

  def call(self, features: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
    """`[B, 1]` logits."""
    return self.ranking_model(features, training=training)[:, tf.newaxis]

  def compute_loss(self, inputs: Any, training: bool = False) -> tf.Tensor:
    """The mean of `sample_weight * cross entropy` over a batch; TFRS gives this Keras method another signature."""
    features, labels, weights = tf.keras.utils.unpack_x_y_sample_weight(inputs)
    losses = self.task(labels=tf.reshape(labels, [-1, 1]), predictions=self(features, training=training),
                       sample_weight=weights)
    return tf.nn.compute_average_loss(losses)
