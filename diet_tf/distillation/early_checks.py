"""What can be known of a stage before its log is read: each member built once on the declared fields, and its memory.

A misspelt architecture, a table shorter than its field, or one larger than the machine would otherwise be found after
the log was read and the teacher trained.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf

from diet_tf.distillation.refinement_needs import PROCESS_BYTES
from diet_tf.distillation.settings import StageSettings
from diet_tf.distillation.teacher import TeacherSettings
from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_layout import missing_rows
from diet_tf.models import RankingModel, build_model
from diet_tf.models.member_checks import check_member, num_weights
from diet_tf.models.registry import parse_member
from diet_tf.training.memory_needs import BYTES_PER_NUMBER, MemoryNeed
from diet_tf.training.replayable import require_replayable_members


def check_members(key: str, members: Sequence[str], spec: FeatureSpec, *, limit_bytes: int | None = None,
                  elsewhere: bool = False) -> list[str]:
  """Builds each member once on the declared fields.

  Args:
    key: the config's key that lists them, for messages.
    members: names of panel families or users' `module:Class`.
    spec: feature spec of the log.
    limit_bytes: the memory that there is: a user's model of more is not called; None takes it for enough.
    elsewhere: whether they are trained on another machine, so that a user's module need not be found here.

  Returns:
    The members that could not be looked at, since their modules are not here; empty unless `elsewhere`.

  Raises:
    ConfigError: a member is not known, or does not take the fields.
  """
  unseen = []
  for member in dict.fromkeys(members):
    with _named(key):
      try:
        count = num_weights(member, spec)
      except ConfigError as error:
        if not (elsewhere and isinstance(error.__cause__, ModuleNotFoundError)):
          raise
        unseen.append(member)
        continue
      # What a graph has made of one of ours is what any size gives; a user's is called for real. Proxies and the
      # gate train on the ids that occur: a model that is too large with all ids need not be so with these.
      fits = count is None or limit_bytes is None or BYTES_PER_NUMBER * count < limit_bytes
      if fits and (count is None or ":" in parse_member(member).model):
        check_member(member, spec)
  return unseen


def check_teacher(spec: FeatureSpec, settings: TeacherSettings) -> None:
  """Raises ConfigError unless influence can be measured on the first member, and the others give a logit a row."""
  for number, member in enumerate(settings.members):
    with tf.Graph().as_default():
      model = build_model(member, spec)
      if isinstance(model, RankingModel):
        continue
      if number:
        shape = model({"ids": tf.constant(missing_rows(spec, 2))}, training=True).shape
        if tuple(shape) == (2,):
          continue
    raise ConfigError("teacher.members", rule="a teacher is made of families of the panel, or of subclasses of "
                      "diet_tf.models.RankingModel.", received=repr(member), remedy="use [dnn, deepfm].")


def teacher_need(spec: FeatureSpec, settings: TeacherSettings) -> MemoryNeed | None:
  """What the teacher's pass over a span holds while the span is scored; None where a member cannot be counted.

  Each member has weights and two moments. Of the first, each checkpoint is kept as an array, and there is one model to
  load them into. The scorer holds all that a second time, as a worker of Beam does anywhere, with two copies of a
  member on the way. Gradients are of the rows that the reference set reads, which are few beside large tables.
  """
  counts = _weights_of_members(spec, settings)
  if counts is None:
    return None
  all_weights, reference = sum(counts), counts[0]
  device = 2 * (3 * all_weights + reference)
  host = 2 * settings.num_checkpoints * reference + 2 * max(counts)
  return MemoryNeed(f"training the teacher ({', '.join(settings.members)}) and scoring with it",
                    BYTES_PER_NUMBER * device, PROCESS_BYTES + BYTES_PER_NUMBER * host)


def loaded_teacher_need(spec: FeatureSpec, settings: TeacherSettings) -> MemoryNeed | None:
  """What a teacher that is read from files takes, with a model of its last checkpoint; None as in `teacher_need`."""
  counts = _weights_of_members(spec, settings)
  if counts is None:
    return None
  device, host = 3 * sum(counts) + counts[0], (settings.num_checkpoints + 1) * counts[0] + 2 * max(counts)
  return MemoryNeed(f"reading the teacher ({', '.join(settings.members)})", BYTES_PER_NUMBER * device,
                    PROCESS_BYTES + BYTES_PER_NUMBER * host)


def _weights_of_members(spec: FeatureSpec, settings: TeacherSettings) -> list[int] | None:
  counts = [count for member in settings.members if (count := num_weights(member, spec)) is not None]
  return counts if len(counts) == len(settings.members) else None


def check_stage(spec: FeatureSpec, settings: StageSettings, *, limit_bytes: int | None = None,
                elsewhere: bool = False) -> list[str]:
  """Checks the members that a stage trains, before its log is read.

  Args:
    spec: feature spec of the log.
    settings: settings of the stage.
    limit_bytes: the memory that there is, see `check_members`.
    elsewhere: whether the stage runs on another machine, so that a user's module need not be found here.

  Returns:
    The members that could not be looked at, see `check_members`.

  Raises:
    ConfigError: a member is not known, does not take the fields, or cannot be trained again step by step.
  """
  unseen = []
  for key, members in settings.members().items():
    unseen += check_members(key, members, spec, limit_bytes=limit_bytes, elsewhere=elsewhere)
  if not set(settings.teacher.members) & set(unseen):
    check_teacher(spec, settings.teacher)
  proxies, gate_members = ([member for member in members if member not in unseen]
                           for members in (settings.distill.proxies, settings.gate.members))
  require_replayable_members(proxies, gate_members, spec)
  return list(dict.fromkeys(unseen))


@contextlib.contextmanager
def _named(key: str) -> Iterator[None]:
  """Puts the config's key before the subject of an error about a member."""
  try:
    yield
  except ConfigError as error:
    raise ConfigError(f"{key}: {error.subject}", rule=error.rule, received=error.received, remedy=error.remedy
                      ) from error.__cause__
