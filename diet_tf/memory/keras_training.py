"""Training Keras models on a memory by its recipe: loss, metric, compile and fit."""

from __future__ import annotations

import sys
from typing import Any

import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.memory.recipe import Recipe
from diet_tf.models.autograph import leave_keras_unconverted
from diet_tf.models.optimizers import GroupedAdam


class PointwiseCrossEntropy(tf.keras.losses.Loss):
  """Binary cross-entropy of each slot or example, for models that return `[B]` or `[B, 1]`.

  Keras's own averages over the last axis, which for `[B]` outputs is the batch, and so drops the sample weights.
  """

  def __init__(self, from_logits: bool = True, name: str = "pointwise_cross_entropy", **kwargs: Any) -> None:
    super().__init__(name=name, **kwargs)
    self.from_logits = from_logits

  def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """The loss per row, `[B]`."""
    y_pred = tf.reshape(y_pred, [-1, 1])
    y_true = tf.cast(tf.reshape(y_true, [-1, 1]), y_pred.dtype)
    return tf.keras.losses.binary_crossentropy(y_true, y_pred, from_logits=self.from_logits)

  def get_config(self) -> dict[str, Any]:
    """The arguments that rebuild the loss."""
    return {**super().get_config(), "from_logits": self.from_logits}


class SoftLabelAUC(tf.keras.metrics.AUC):
  """AUC where a row of label p counts as p of a positive and 1 - p of a negative; on 0/1 labels, Keras's AUC.

  Keras's own takes every label above 0 for a positive, and so is 0 throughout on soft labels.
  """

  def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> Any:
    """Counts a batch: labels in [0, 1], outputs and weights, each `[B]` or `[B, 1]`."""
    y_pred = tf.reshape(y_pred, [-1])
    share = tf.cast(tf.reshape(y_true, [-1]), y_pred.dtype)
    weight = 1.0 if sample_weight is None else tf.cast(tf.reshape(sample_weight, [-1]), y_pred.dtype)
    hard_labels = tf.concat([tf.ones_like(share), tf.zeros_like(share)], axis=0)
    return super().update_state(hard_labels, tf.concat([y_pred, y_pred], axis=0),
                                tf.concat([share * weight, (1 - share) * weight], axis=0))


def recipe_optimizer(recipe: Recipe) -> tf.keras.optimizers.Optimizer:
  """A new Adam with the recipe's learning rate for each group of variables."""
  return GroupedAdam(learning_rates=dict(recipe.learning_rates), step_multipliers=recipe.step_multipliers,
                     beta_1=recipe.beta_1, beta_2=recipe.beta_2, epsilon=recipe.epsilon, lazy=False)


def compile_with(recipe: Recipe, model: tf.keras.Model, *, from_logits: bool | None, **kwargs: Any) -> tf.keras.Model:
  """The work of `Memory.compile`, which documents it, by any recipe."""
  leave_keras_unconverted()
  # A TFRS model can only come from a TFRS that is loaded already.
  recommenders = sys.modules.get("tensorflow_recommenders")
  if "optimizer" not in kwargs:
    kwargs["optimizer"] = recipe_optimizer(recipe)
  if recommenders is None or not isinstance(model, recommenders.models.Model):
    if from_logits is None:
      from_logits = getattr(model, "from_logits", None)
    if from_logits is None and "loss" not in kwargs:
      raise ConfigError("memory.compile", rule="it must be known whether the model returns logits or probabilities.",
                        received=f"a {type(model).__name__} without an attribute from_logits.",
                        remedy="pass from_logits=True (no sigmoid at the end) or from_logits=False.")
    kwargs.setdefault("loss", PointwiseCrossEntropy(from_logits=bool(from_logits)))
    kwargs.setdefault("metrics", [SoftLabelAUC(from_logits=bool(from_logits), name="auc")])
  model.compile(**kwargs)
  return model
