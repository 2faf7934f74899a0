"""What can be said of a panel member before it is trained: how many weights it has, and whether it takes every id.

Several steps of one process ask it of the same members, each of which is made once for all of them.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from diet_tf.errors import ConfigError, said_by_model
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_layout import RowLayout
from diet_tf.models.inputs import INPUT_FORMS, build_with_form, create_variables, features_in_form
from diet_tf.models.ranking_model import RankingModel
from diet_tf.models.registry import build_model


@functools.lru_cache(maxsize=256)
def num_weights(member: str, spec: FeatureSpec) -> int | None:
  """How many numbers the variables of a member hold; none of them is allocated.

  The model is made in a graph of its own that never runs, so that tables larger than the machine can be counted.

  Args:
    member: name of a panel family or a user's `module:Class`, see `diet_tf.models.build_model`.
    spec: feature spec, which sizes the id spaces.

  Returns:
    The number; None for a model of a user's that cannot be made in a graph.

  Raises:
    ConfigError: there is no such member, or it does not take its settings.
  """
  with tf.Graph().as_default():
    try:
      model = build_model(member, spec)
      if not isinstance(model, RankingModel):
        _call_in_some_form(model, spec)
    except ConfigError:
      raise
    except Exception:  # Whatever a user's own code raises where nothing has a value; called for real, it is told.
      return None
    return sum(variable.shape.num_elements() for variable in model.weights)


def _call_in_some_form(model: tf.keras.Model, spec: FeatureSpec) -> None:
  """Calls a model of a user's, so that it has its variables, in the first form of input that it takes."""
  declared = getattr(model, "diet_inputs", None)
  forms = [declared] if declared in INPUT_FORMS else [form for form in INPUT_FORMS if form != "averaged"]
  for number, form in enumerate(forms, 1):
    try:
      create_variables(model, spec, form)
      return
    except Exception:
      if number == len(forms):
        raise


@functools.lru_cache(maxsize=256)
def check_member(member: str, spec: FeatureSpec) -> None:
  """Builds a member on a feature spec and calls it, also in training and on the highest id of each field.

  Raises:
    ConfigError: there is no such member, it does not take its settings or any form of input, its call fails, or a
      table of it is shorter than a field's id space; the message names the field.
  """
  # On a GPU a lookup beyond the end of a table gives zeros, and no error.
  with tf.device("/CPU:0"):
    try:
      model, form, _ = build_with_form(member, spec)
    except ConfigError:
      raise
    except Exception as error:  # Whatever a user's own code raises.
      raise ConfigError(f"panel member {member!r}", rule="it can be made with the declared fields.",
                        received=f"{said_by_model(error)}.", remedy="mend what its constructor runs into.") from error
    if isinstance(model, RankingModel):
      return
    if _failure(model, form, spec, spec.names):
      for name in spec.names:
        failure = _failure(model, form, spec, (name,))
        if failure:
          size = spec.num_ids[spec.names.index(name)]
          raise ConfigError(f"panel member {member!r}", rule=f"it takes every id of field {name!r}, 0 to {size - 1:,}.",
                            received=f"with id {size - 1:,}, {failure}.",
                            remedy="size its tables by spec.num_ids, in the order of spec.names.")
    failure = _failure(model, form, spec, (), training=True)
    if failure:
      raise ConfigError(f"panel member {member!r}", rule="it can be called with training=True, which a training does.",
                        received=f"{failure}.", remedy="mend its call.")


def _failure(model: tf.keras.Model, form: str, spec: FeatureSpec, highest: tuple[str, ...], *,
             training: bool = False) -> str:
  """Why a call on single ids fails, or ""; the ids are 0, but in the fields named the highest."""
  row = [size - 1 if name in highest else 0 for name, size in zip(spec.names, spec.num_ids, strict=True)]
  ids = tf.constant(RowLayout.of(spec).of_single_ids(np.array([row, row])))
  try:
    outputs = model(features_in_form(form, spec, ids, None), training=training)
  except Exception as error:
    return said_by_model(error)
  return "" if tuple(outputs.shape) in ((2,), (2, 1)) else f"output {tuple(outputs.shape)} for 2 rows"
