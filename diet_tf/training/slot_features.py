"""A batch of slots as a model takes it: packed, as weighted bags by field, or as one drawn id per field."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from diet_tf.log.features import FeatureSpec
from diet_tf.memory.slots import Slots
from diet_tf.models.inputs import features_in_form, single_ids

Features = dict[str, tf.Tensor]
# Makes the input that a model is called with from a batch's ids, its id weights and the number of the step.
FeatureMaker = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Features]


def packed_features(ids: tf.Tensor, weights: tf.Tensor, step: tf.Tensor) -> Features:
  """The packed input form of `diet_tf.models.RankingModel`."""
  del step
  return {"ids": ids, "weights": weights}


def is_narrow(max_ids: Sequence[int], width: int) -> bool:
  """Whether slots are trained on without the padding of their narrower fields, as `PackedColumns` cuts it away.

  Args:
    max_ids: places of each field.
    width: places of a field in the slots.
  """
  return sum(max_ids) < 0.8 * len(max_ids) * width


def packed_columns(slots: Slots) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Slots without the places that are padding in all of them: ids and weights `[num_slots, num_columns]`, and fields.

  Args:
    slots: slots in which ids of a field come before its padding.
  """
  max_ids = slots.max_ids_per_field
  fields = np.repeat(np.arange(len(max_ids)), max_ids)
  places = np.concatenate([np.arange(count) for count in max_ids])
  return slots.ids[:, fields, places], slots.weights[:, fields, places], fields


class PackedColumns:
  """The packed form without the places beyond each field's `max_ids`, which are padding in every slot.

  Args:
    max_ids: number of places that are kept, one per field.
    width: number of places of a field in the slots, axis 2 of ids and weights.
  """

  def __init__(self, max_ids: Sequence[int], width: int) -> None:
    self._width = tf.Variable(0, trainable=False, dtype=tf.int64)
    self._fields, self._places = (tf.Variable(tf.zeros([0], tf.int64), trainable=False, shape=[None])
                                  for _ in range(2))
    self._num_fields = len(max_ids)
    self.take(max_ids, width)

  def take(self, max_ids: Sequence[int], width: int) -> None:
    """Has other slots of as many fields narrowed from here on; the arguments are those of the constructor."""
    self._width.assign(width)
    self._fields.assign(np.repeat(np.arange(len(max_ids)), max_ids))
    self._places.assign(np.concatenate([field * width + np.arange(count) for field, count in enumerate(max_ids)]))

  def narrowed(self, values: tf.Tensor) -> tf.Tensor:
    """The columns `[num_slots, num_columns]` of ids or id weights `[num_slots, num_fields, max_ids]`."""
    return tf.gather(tf.reshape(values, [-1, self._num_fields * self._width]), self._places, axis=1)

  def __call__(self, ids: tf.Tensor, weights: tf.Tensor, step: tf.Tensor) -> Features:
    """The features of a batch of narrowed ids and weights."""
    del step
    return {"ids": ids, "weights": weights, "fields": self._fields.read_value()}


def bag_features(spec: FeatureSpec) -> FeatureMaker:
  """Features of weighted bags, by field."""

  def features(ids: tf.Tensor, weights: tf.Tensor, step: tf.Tensor) -> Features:
    del step
    return features_in_form("weighted", spec, ids, weights)

  return features


def drawn_features(spec: FeatureSpec, seed: int | tf.Variable) -> FeatureMaker:
  """Features of one id per field, drawn by id weight; the same draws for one seed and step, forwards and backwards.

  No gradient reaches the id weights through a draw, so that such a proxy moves labels, sample weights and rates alone.
  """

  def features(ids: tf.Tensor, weights: tf.Tensor, step: tf.Tensor) -> Features:
    key = [tf.cast(seed, tf.int64), tf.cast(step, tf.int64)]
    noise = tf.random.stateless_uniform(tf.shape(weights), key, 1e-12, 1.0, dtype=weights.dtype)
    # The Gumbel trick: the largest log(weight) + Gumbel noise is a draw by weight.
    scores = tf.math.log(tf.maximum(tf.stop_gradient(weights), 1e-30)) - tf.math.log(-tf.math.log(noise))
    drawn = tf.gather(ids, tf.argmax(scores, axis=2), batch_dims=2)
    return single_ids(spec, drawn)

  return features
