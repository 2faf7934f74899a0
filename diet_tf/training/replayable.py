"""Whether a user's model can be trained on slots again and again, step by step, known before there are any slots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diet_tf.errors import ConfigError, said_by_model
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.models.parameter_groups import PARAMETER_GROUPS
from diet_tf.models.registry import parse_member
from diet_tf.training.compact import CompactIds
from diet_tf.training.inner_settings import InnerSettings
from diet_tf.training.slot_trainer import recipe_inputs
from diet_tf.training.traced import make_training

_BATCH_SIZE = 2
_BATCH = InnerSettings(_BATCH_SIZE, epochs=1)


def require_replayable_members(proxies: Sequence[str], gate_members: Sequence[str], spec: FeatureSpec) -> None:
  """`require_replayable` for all that a stage trains on slots: for proxies with gradients through the training.

  Raises:
    ConfigError: a member is refused; the message begins with the config's key that names it.
  """
  for key, members, differentiated in (("distill.proxies", proxies, True), ("gate.members", gate_members, False)):
    for member in dict.fromkeys(members):
      try:
        require_replayable(member, spec, differentiated=differentiated)
      except ConfigError as error:
        raise ConfigError(f"{key}: {error.subject}", rule=error.rule, received=error.received, remedy=error.remedy
                          ) from error


def require_replayable(member: str, spec: FeatureSpec, *, differentiated: bool) -> None:
  """Refuses a member whose training calls do what no later call could repeat; they are traced, and nothing is trained.

  Args:
    member: name of a panel family, which all pass, or a user's `module:Class`; see `diet_tf.models.build_model`.
    spec: feature spec of the log; the model is built with its fields and a few ids.
    differentiated: whether gradients are taken through a training, as for a proxy, or not, as for the gate.

  Raises:
    ConfigError: a call draws by stateful operations, runs foreign code, or changes what is not the model's own; or one
      of its operations has no second derivative.
  """
  if ":" not in parse_member(member).model:
    return
  slots = _two_slots(len(spec.fields))
  compact = CompactIds.of(spec, slots)
  training = make_training(member, compact.spec, _BATCH, slots, seed=0)
  inputs = recipe_inputs(slots, Recipe(_BATCH_SIZE, _BATCH.epochs, _BATCH.beta_1, _BATCH.beta_2, _BATCH.epsilon,
                                       dict.fromkeys(PARAMETER_GROUPS, 0.1)))
  training.require_replayable(inputs)
  if not differentiated:
    return
  try:
    training.trace_step_backwards(inputs)
  except Exception as error:  # Whatever TensorFlow says of an operation without a gradient.
    raise ConfigError(f"model {member!r}", rule="a training of it can be differentiated, its gradients included.",
                      received=f"{said_by_model(error)}.", remedy="call operations that have second derivatives, or "
                      "name another architecture in distill.proxies.") from error


def _two_slots(num_fields: int) -> Slots:
  """A batch of slots with two ids in each field."""
  ids = np.tile(np.array([1, 2], np.int32), (_BATCH_SIZE, num_fields, 1))
  per_slot = np.zeros(_BATCH_SIZE)
  return Slots(ids, np.full(ids.shape, 0.5), per_slot + 0.5, per_slot + 1, np.arange(_BATCH_SIZE), per_slot,
               per_slot, per_slot)
