"""Which fields of a feature spec a model reads: variants of a model leave some of them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_layout import RowLayout
from diet_tf.models.bag_embedding import PACKED_FIELDS, PACKED_IDS, PACKED_WEIGHTS


class InputFields:
  """The fields of a feature spec but for some, and packed features narrowed to them.

  Args:
    spec: feature spec of the ids that come in.
    without: names of the fields that are left out.

  Raises:
    ConfigError: a name is not a field's, or no field is left.
  """

  def __init__(self, spec: FeatureSpec, without: tuple[str, ...]) -> None:
    unknown = sorted(set(without) - set(spec.names))
    kept = [index for index, name in enumerate(spec.names) if name not in without]
    if unknown or not kept:
      raise ConfigError("model setting 'without'", rule="it names fields of the feature spec, and leaves at least one.",
                        received=f"no field {unknown}." if unknown else "all fields.",
                        remedy=f"the fields are {', '.join(spec.names)}; join names by '+'.")
    self._all_kept = len(kept) == len(spec.names)
    self._kept = np.asarray(kept)
    self._is_kept = np.isin(np.arange(len(spec.names)), kept)
    # Of a field that is left out, that of the last one before it which is kept: positions ascend as the fields do.
    self._position = np.maximum(np.cumsum(self._is_kept) - 1, 0)
    layout = RowLayout.of(spec)
    # Of encoded rows with multi-valued fields, the places that are kept; None where a place is a field.
    self._places = None if layout.is_plain else layout.places_of(kept)
    self.spec = self.of(spec)

  def of(self, spec: FeatureSpec) -> FeatureSpec:
    """What is kept of a feature spec of the same fields."""
    return dataclasses.replace(spec, fields=tuple(spec.fields[index] for index in self._kept))

  def __call__(self, features: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
    """The features, packed ones narrowed; from a dict by field name, the embedding layer reads what it needs."""
    if self._all_kept or PACKED_IDS not in features:
      return features
    if self._places is not None and PACKED_WEIGHTS not in features:
      return {PACKED_IDS: tf.gather(features[PACKED_IDS], self._places, axis=1)}
    if PACKED_FIELDS not in features:
      return {key: tf.gather(value, self._kept, axis=1) for key, value in features.items()}
    fields = features[PACKED_FIELDS]
    inside = tf.gather(tf.constant(self._is_kept), fields)  # [C]
    # How many columns are left is not known to the graph: those left out stay, as id 0 with weight 0.
    weights = features[PACKED_WEIGHTS]
    return {PACKED_IDS: tf.where(inside, features[PACKED_IDS], tf.zeros_like(features[PACKED_IDS])),
            PACKED_WEIGHTS: weights * tf.cast(inside, weights.dtype),
            PACKED_FIELDS: tf.gather(tf.constant(self._position, tf.int64), fields)}
