"""The settings of a stage as one value, and as the JSON text in which they travel between processes."""

from __future__ import annotations

import dataclasses
import json

from diet_tf.distillation.addressing import AddressingSettings
from diet_tf.distillation.budget import BudgetSettings
from diet_tf.distillation.gate import GateSettings
from diet_tf.distillation.influence import InfluenceSettings
from diet_tf.distillation.refinement import DistillSettings
from diet_tf.distillation.squash import SquashSettings
from diet_tf.distillation.teacher import TeacherSettings
from diet_tf.io.documents import canonical_digest
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.privacy import NO_RULES, PrivacySettings
from diet_tf.settings import from_json, to_json


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
