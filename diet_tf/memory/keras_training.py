"""Training Keras models on a memory by its recipe: loss, metric, compile and fit."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.tuning import RateFactors, ScoredRows, TunedRates, Tuning, choose_factors
from diet_tf.models.autograph import leave_keras_unconverted
from diet_tf.models.inputs import logits_of
from diet_tf.models.optimizers import GroupedAdam
from diet_tf.models.parameter_groups import has_both_tables


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


def recipe_optimizer(recipe: Recipe, *, all_rows: bool = False) -> tf.keras.optimizers.Optimizer:
  """A new Adam with the recipe's learning rate for each group of variables.

  Args:
    recipe: the recipe of a memory.
    all_rows: whether each step reads all rows of a table, as XLA needs it; the steps are the same.
  """
  return GroupedAdam(learning_rates=dict(recipe.learning_rates), step_multipliers=recipe.step_multipliers,
                     beta_1=recipe.beta_1, beta_2=recipe.beta_2, epsilon=recipe.epsilon, lazy=False, all_rows=all_rows)


def compile_with(recipe: Recipe, model: tf.keras.Model, *, from_logits: bool | None, **kwargs: Any) -> tf.keras.Model:
  """The work of `Memory.compile`, which documents it, by any recipe."""
  leave_keras_unconverted()
  # A TFRS model can only come from a TFRS that is loaded already.
  recommenders = sys.modules.get("tensorflow_recommenders")
  if "optimizer" not in kwargs:
    kwargs["optimizer"] = recipe_optimizer(recipe, all_rows=bool(kwargs.get("jit_compile")))
  if recommenders is None or not isinstance(model, recommenders.models.Model):
    if from_logits is None:
      from_logits = getattr(model, "from_logits", None)
    if from_logits is None and "loss" not in kwargs:
      raise ConfigError("memory.compile", rule="it must be known whether the model returns logits or probabilities.",
                        received=f"a {type(model).__name__} without an attribute from_logits.",
                        remedy="pass from_logits=True (no sigmoid at the end) or from_logits=False.")
    kwargs.setdefault("loss", PointwiseCrossEntropy(from_logits=bool(from_logits)))
    kwargs.setdefault("metrics", [SoftLabelAUC(from_logits=bool(from_logits), name="auc")])
  require_fixed_shapes(kwargs["optimizer"], bool(kwargs.get("jit_compile")))
  model.compile(**kwargs)
  return model


def require_fixed_shapes(optimizer: Any, is_compiled: bool) -> None:
  """Refuses an optimizer of ours that keeps a list of rows, which grows, where XLA compiles the step."""
  if is_compiled and isinstance(optimizer, GroupedAdam) and not optimizer.has_fixed_shapes:
    raise ConfigError("jit_compile", rule="XLA compiles a step whose shapes are known beforehand.",
                      received="GroupedAdam(lazy=False), which keeps a list of the rows that still move.",
                      remedy="leave the optimizer to memory.compile(model, jit_compile=True), or pass all_rows=True.")


def raise_xla_fault(model: tf.keras.Model, error: Exception) -> None:
  """Raises ConfigError with the operation that XLA cannot compile, if a training has failed for that.

  Args:
    model: the model that was trained.
    error: what Keras raised, pages long.
  """
  text = str(error)
  if not getattr(model, "jit_compile", False) or not re.search(r"unsupported operations|\bXLA|tf2xla", text):
    return
  operation = re.search(r"unsupported operations[^:]*: (\w+)|with op (\w+)", text)
  node = re.search(r"Detected at node (\S+)|node `(\S+)`", text)
  named = f"the operation {operation[1] or operation[2]}" if operation else "an operation"
  raise ConfigError(f"memory.fit of {type(model).__name__}",
                    rule="with jit_compile=True, XLA can compile every operation of the model.",
                    received=f"{named}{f' of {node[1] or node[2]}' if node else ''}, which it cannot.",
                    remedy="leave out jit_compile, or do what the operation does before the model.") from error


def tune_model(model: tf.keras.Model, train: Callable[[], Any], recipe: Recipe, features: Mapping[str, tf.Tensor],
               rows: ScoredRows, tuning: Tuning) -> TunedRates:
  """Chooses factors of the recipe's rates for a compiled model, which then has them and its weights of before.

  Args:
    model: a compiled model.
    train: function that trains it by the recipe.
    recipe: recipe that it was compiled by.
    features: the scored rows as the model takes them.
    rows: the scored rows.
    tuning: factors that are tried.

  Raises:
    ConfigError: the model has another optimiser than the recipe's, or does not say whether it returns logits.
    NumericsError: every training diverged.
  """
  subject, optimizer = f"memory.fit of {type(model).__name__}: tune", model.optimizer
  if not isinstance(optimizer, GroupedAdam):
    raise ConfigError(subject, rule="it chooses factors of the rates of the recipe's own optimiser.",
                      received=f"a model that was compiled with {type(optimizer).__name__}.",
                      remedy="compile it by memory.compile without an optimizer, or leave tune out.")
  from_logits = getattr(model, "from_logits", getattr(getattr(model, "loss", None), "from_logits", None))
  if from_logits is None:
    raise ConfigError(subject, rule="it must be known whether the model returns logits or probabilities.",
                      received=f"a {type(model).__name__} without an attribute from_logits.",
                      remedy="give the model one, or leave tune out.")

  def logits() -> np.ndarray:
    with model.distribute_strategy.scope():
      return logits_of(model(features, training=False), bool(from_logits)).numpy()

  logits()  # A model that was not called before gets its variables here.
  with model.distribute_strategy.scope():
    optimizer.build(model.trainable_variables)
  initial = [variable.numpy() for variable in model.weights]

  def start(factors: RateFactors, linear_before: float) -> None:
    for variable, value in zip(model.weights, initial, strict=True):
      variable.assign(value)
    optimizer.reset()
    optimizer.learning_rate = factors.overall
    if factors.linear != linear_before:
      # Rates of groups stand in the graph of a step; their common factor is a variable of it.
      optimizer.set_rates(RateFactors(1.0, factors.linear).of(recipe).learning_rates)
      model.make_train_function(force=True)

  traced = 1.0

  def loss_of(factors: RateFactors) -> float:
    nonlocal traced
    start(factors, traced)
    traced = factors.linear
    train()
    return rows.loss(logits())

  tuned = choose_factors(loss_of, tuning, subject, rows.source,
                         has_linear=has_both_tables(model.trainable_variables))
  start(tuned.factors, traced)
  return tuned
