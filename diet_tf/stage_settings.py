"""The settings of a stage as one value, and as the JSON text in which they travel between processes."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, TypeVar

from diet_tf.addressing import AddressingSettings
from diet_tf.budget import BudgetSettings
from diet_tf.config import build
from diet_tf.distill import DistillSettings
from diet_tf.errors import ConfigError
from diet_tf.features import FeatureSpec
from diet_tf.gate import GateSettings
from diet_tf.influence import InfluenceSettings
from diet_tf.manifest import canonical_digest
from diet_tf.privacy import NO_RULES, PrivacySettings
from diet_tf.squash import SquashSettings
from diet_tf.teacher import TeacherSettings

if TYPE_CHECKING:
  from diet_tf.config import Config

Settings = TypeVar("Settings")


@dataclasses.dataclass(frozen=True)
class StageSettings:
  """All that a stage computes with, beside the feature spec, the seed and the data.

  Attributes:
    teacher: the streaming reference model.
    influence: how examples are scored, and which are held back.
    budget: how many slots the memory may have.
    addressing: how slots are frozen, updated, replaced and added.
    squash: how the clusters of a span become slots.
    distill: the bi-level refinement.
    gate: when the refined memory is committed.
    privacy: what the new slots may reveal of single users.
  """

  teacher: TeacherSettings = TeacherSettings()
  influence: InfluenceSettings = InfluenceSettings()
  budget: BudgetSettings = BudgetSettings()
  addressing: AddressingSettings = AddressingSettings()
  squash: SquashSettings = SquashSettings()
  distill: DistillSettings = DistillSettings()
  gate: GateSettings = GateSettings()
  privacy: PrivacySettings = NO_RULES

  @classmethod
  def of(cls, config: Config) -> StageSettings:
    """The stage's part of a config."""
    return cls(**{field.name: getattr(config, field.name) for field in dataclasses.fields(cls)})

  def to_json(self) -> str:
    """The settings as JSON text, defaults included; the section `privacy` stands in it where it is not the default."""
    value = json.loads(to_json(self))
    if self.privacy == NO_RULES:
      # What was made before this section came has the digest of what is made without it.
      del value["privacy"]
    return json.dumps(value, sort_keys=True)

  @classmethod
  def from_json(cls, text: str) -> StageSettings:
    """The settings in a JSON text; sections and keys that it leaves out take their defaults."""
    return from_json(cls, text, "settings")

  def digest(self, spec: FeatureSpec, seed: int) -> str:
    """The SHA-256 of all that a memory depends on beside the data."""
    return canonical_digest({"settings": json.loads(self.to_json()), "feature_spec": spec.to_dict(), "seed": seed})


def to_json(settings: Any) -> str:
  """A dataclass of settings as JSON text with sorted keys: equal settings give equal texts."""
  return json.dumps(dataclasses.asdict(settings), sort_keys=True, default=dict)


def from_json(cls: type[Settings], text: str, subject: str) -> Settings:
  """The dataclass in a JSON text, checked like the sections of a config file.

  Args:
    cls: the dataclass.
    text: a JSON object; empty for all defaults.
    subject: names the text in messages.

  Raises:
    ConfigError: the text is no JSON object, a key is unknown or missing, or a value is not usable.
  """
  try:
    values = json.loads(text or "{}")
  except ValueError as error:
    raise ConfigError(subject, rule="it is a JSON object.", received=f"{text[:80]!r} ({error}).",
                      remedy="write it with diet_tf.stage_settings.to_json.") from error
  return build(cls, values, subject)


def features_from_json(text: str) -> FeatureSpec:
  """The feature spec in the JSON text of `FeatureSpec.to_dict`.

  Raises:
    ConfigError: the text is not that.
  """
  try:
    return FeatureSpec.from_dict(json.loads(text))
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ConfigError("features", rule="it is the JSON of FeatureSpec.to_dict().",
                      received=f"{text[:80]!r} ({type(error).__name__}: {error}).",
                      remedy="pass json.dumps(spec.to_dict()).") from error
