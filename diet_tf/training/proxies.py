"""Proxies: models of the pool that take turns in the inner loop, on compact id spaces."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf

from diet_tf.log.features import FeatureSpec
from diet_tf.memory.slots import Slots
from diet_tf.models.inputs import features_in_form
from diet_tf.training.bilevel import DifferentiableTraining
from diet_tf.training.inner_settings import InnerSettings
from diet_tf.training.slot_features import Features
from diet_tf.training.traced import TracedTraining, give_back, initial_weights, traced_training


@dataclasses.dataclass(frozen=True)
class Proxy:
  """One model on one device, with initial weights to start from.

  Attributes:
    traced: the model's training and its gradient.
    initial_weights: a few initial weights to start from, each in the order of `training.variables`.
    device: name of the device where its variables lie.
    spec: compact feature spec that it was made for.
  """

  traced: TracedTraining
  initial_weights: list[list[tf.Tensor]]
  device: str
  spec: FeatureSpec

  @property
  def training(self) -> DifferentiableTraining:
    """Differentiable training of the model."""
    return self.traced.training

  def outer_features(self, ids: tf.Tensor) -> Features:
    """The model's input for `[batch_size, num_fields]` single ids."""
    return features_in_form(self.traced.form, self.spec, ids, None)


def make_proxies(names: Sequence[str], spec: FeatureSpec, inner: InnerSettings, slots: Slots, *,
                 num_initialisations: int, seed: int, devices: Sequence[str]) -> dict[str, list[Proxy]]:
  """Per name, one proxy on each device; all devices share the initial weights."""
  proxies: dict[str, list[Proxy]] = {}
  for name in dict.fromkeys(names):
    trainings = [traced_training(name, spec, inner, slots, seed=seed, draws_anew=True, device=device)
                 for device in devices]
    starts = [initial_weights(name, spec, seed + 1000 + index, trainings[0].form)
              for index in range(num_initialisations)]
    proxies[name] = [Proxy(training, starts, device, spec) for training, device in zip(trainings, devices)]
  return proxies


def give_back_proxies(proxies: Mapping[str, Iterable[Proxy]]) -> None:
  """Lets the next refinement have the proxies' traced trainings; they must not be used any more."""
  for proxy in [proxy for of_name in proxies.values() for proxy in of_name]:
    give_back(proxy.traced)
