"""Proxies: models of the pool that take turns in the inner loop, on compact id spaces."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from diet_tf.log.features import FeatureSpec
from diet_tf.memory.slots import Slots
from diet_tf.models import build_model, parameter_group
from diet_tf.models.inputs import build_with_form, create_variables, features_in_form
from diet_tf.training.bilevel import DifferentiableTraining, InnerSettings, binary_cross_entropy
from diet_tf.training.slot_features import (
  FeatureMaker,
  Features,
  PackedColumns,
  bag_features,
  drawn_features,
  is_narrow,
  packed_features,
)


@dataclasses.dataclass(frozen=True)
class Proxy:
  """One model on one device, with initial weights to start from.

  Attributes:
    training: differentiable training of the model.
    initial_weights: a few initial weights to start from, each in the order of `training.variables`.
    device: name of the device where its variables lie.
    spec: compact feature spec that it was built for.
    draw_seed: scalar int64, the seed of all that is drawn in a training (masks of dropout, the ids of a model of single
      ids); set anew for each outer step.
  """

  training: DifferentiableTraining
  initial_weights: list[list[tf.Tensor]]
  device: str
  spec: FeatureSpec
  draw_seed: tf.Variable

  def outer_features(self, ids: tf.Tensor) -> Features:
    """The model's input for `[batch_size, num_fields]` single ids."""
    return features_in_form(self.training.form, self.spec, ids, None)


def loss_of_probabilities(targets: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
  """`[batch_size]` cross-entropy for a model that returns probabilities."""
  clipped = tf.clip_by_value(tf.reshape(probabilities, tf.shape(targets)), 1e-6, 1 - 1e-6)
  return -(targets * tf.math.log(clipped) + (1 - targets) * tf.math.log(1 - clipped))


def make_training(name: str, spec: FeatureSpec, inner: InnerSettings, slots: Slots, *, seed: int,
                  draw_seed: tf.Variable | None = None) -> DifferentiableTraining:
  """Differentiable training of a new model by name, with every variable created.

  Args:
    name: name of a panel member, or a user's own `module:Class`.
    spec: compact feature spec.
    inner: settings of the inner loop.
    slots: slots that it will be trained on; how many they are decides the batch size where the settings leave it open,
      and how many ids their fields have shapes the model's input.
    seed: seed of the model's weights.
    draw_seed: seed of all that is drawn in a training; None, the default, draws the same in every training, and the
      ids of a model of single ids by `seed`.
  """
  model, form, _ = build_with_form(name, spec, seed=seed)
  loss = binary_cross_entropy if getattr(model, "from_logits", True) else loss_of_probabilities
  if form == "packed":
    max_ids = slots.max_ids_per_field
    narrow = is_narrow(max_ids, slots.max_ids)
    features: FeatureMaker = PackedColumns(max_ids, slots.max_ids) if narrow else packed_features
  else:
    features = bag_features(spec) if form in ("weighted", "averaged") else drawn_features(
        spec, seed if draw_seed is None else draw_seed)
  return DifferentiableTraining(model, inner.for_slots(len(slots)), parameter_group, features, loss, form, name,
                                draw_seed)


def initial_weights(name: str, spec: FeatureSpec, seed: int, form: str | None = None) -> list[tf.Tensor]:
  """The initial weights of a model by name, in the order of its trainable variables.

  Args:
    name: name of a panel member, or a user's own `module:Class`.
    spec: compact feature spec.
    seed: seed of the weights.
    form: form in which the model takes its input; None, the default, finds out, which builds the model and tries it
      several times.
  """
  if form is None:
    form = build_with_form(name, spec, seed=seed).form
  model = build_model(name, spec, seed=seed)
  create_variables(model, spec, form)
  return [tf.constant(variable.numpy()) for variable in model.trainable_variables]


def make_proxies(names: Sequence[str], spec: FeatureSpec, inner: InnerSettings, slots: Slots, *,
                 num_initialisations: int, seed: int, devices: Sequence[str]) -> dict[str, list[Proxy]]:
  """Per name, one proxy on each device; all devices share the initial weights."""
  proxies: dict[str, list[Proxy]] = {}
  for name in dict.fromkeys(names):
    form = build_with_form(name, spec, seed=seed).form
    starts = [initial_weights(name, spec, seed + 1000 + index, form) for index in range(num_initialisations)]
    proxies[name] = []
    for device in devices:
      with tf.device(device):
        draw_seed = tf.Variable(seed, trainable=False, dtype=tf.int64)
        training = make_training(name, spec, inner, slots, seed=seed, draw_seed=draw_seed)
        proxies[name].append(Proxy(training, starts, device, spec, draw_seed))
  return proxies
