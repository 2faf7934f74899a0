"""The settings of a stage as one value, and as the JSON text in which they travel between processes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from diet_tf.distillation.addressing import AddressingSettings
from diet_tf.distillation.budget import BudgetSettings
from diet_tf.distillation.gate import GateSettings
from diet_tf.distillation.influence import InfluenceSettings
from diet_tf.distillation.refinement import DEFAULT_CHECKPOINT_SECONDS, DistillSettings
from diet_tf.distillation.squash import SquashSettings
from diet_tf.distillation.teacher import TeacherSettings
from diet_tf.errors import ConfigError
from diet_tf.io.documents import canonical_digest
from diet_tf.log.features import FeatureSpec
from diet_tf.log.hashing import mix
from diet_tf.memory.last_refinement import LastRefinement
from diet_tf.memory.memory import Memory
from diet_tf.memory.privacy import NO_RULES, SCORED_ROWS, PrivacySettings, users_by_span
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.scored_sample import ScoredSample
from diet_tf.memory.slots import Slots
from diet_tf.settings import from_json, to_json

# What `StageSettings.to_json` has always written of the section, among others; a text by hand rarely has all of it.
_DISTILL_KEYS = frozenset((
    "inner", "proxies", "outer_steps", "outer_batch_size", "outer_learning_rate", "rate_learning_rate", "learned",
    "learn_recipe", "num_initialisations", "clip_ratio", "averaged_fraction", "max_pool_rows", "replay_rows"))


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

  def __post_init__(self) -> None:
    most, batch_size = self.budget.max_slots, self.distill.inner.least_batch_size
    if most is not None and most < batch_size:
      raise ConfigError("budget.max_slots", rule=f"it is at least distill.inner.batch_size, {batch_size}: slots fill "
                        "whole batches.", received=str(most),
                        remedy="raise it, or lower distill.inner.batch_size.")

  def members(self) -> dict[str, tuple[str, ...]]:
    """The names of the architectures that a stage trains, by the config's key that names them."""
    return {"teacher.members": self.teacher.members, "distill.proxies": self.distill.proxies,
            "gate.members": self.gate.members}

  @property
  def reads_example_influences(self) -> bool:
    """Whether a rule reads the influence of every example, so that it has to be computed."""
    return self.squash.influence_exponent > 0 and self.squash.clusters == "teacher"

  def to_json(self) -> str:
    """The settings as JSON text, defaults included, with what the effort decides in place of its name.

    So a commit, a compiled pipeline or a digest says what is computed, also where a later release knows other efforts.
    What came later, such as the section `privacy`, `distill.refine_growth` and `addressing.labels_follow_teacher`,
    stands in it where it asks for what was not known before.
    """
    value = json.loads(to_json(self))
    value["distill"] = {**value["distill"], **dataclasses.asdict(self.distill.by_effort)}
    del value["distill"]["effort"]
    if not self.distill.by_effort.refine_growth:
      del value["distill"]["refine_growth"]
    if not self.addressing.labels_follow_teacher:
      del value["addressing"]["labels_follow_teacher"]
    # What was made before these came has the digest of what is made without them.
    if self.privacy == NO_RULES:
      del value["privacy"]
    elif self.privacy.scored_rows == SCORED_ROWS:
      del value["privacy"]["scored_rows"]
    if self.distill.checkpoint_seconds == DEFAULT_CHECKPOINT_SECONDS:
      del value["distill"]["checkpoint_seconds"]
    return json.dumps(value, sort_keys=True)

  @classmethod
  def from_json(cls, text: str) -> StageSettings:
    """The settings in a JSON text; sections and keys that it leaves out take their defaults.

    A text of `to_json` without `distill.refine_growth`, such as of release 0.1, refines the memory at every span, and
    one without `addressing.labels_follow_teacher` leaves the labels of old slots.
    """
    settings = from_json(cls, text, "settings")
    sections = json.loads(text or "{}")
    distill, addressing = ((sections.get(name) or {}).keys() for name in ("distill", "addressing"))
    is_written = distill >= _DISTILL_KEYS
    if is_written and "refine_growth" not in distill:
      settings = dataclasses.replace(settings, distill=dataclasses.replace(settings.distill, refine_growth=0.0))
    if is_written and "labels_follow_teacher" not in addressing:
      settings = dataclasses.replace(
          settings, addressing=dataclasses.replace(settings.addressing, labels_follow_teacher=False))
    return settings

  def digest(self, spec: FeatureSpec, seed: int) -> str:
    """The SHA-256 of all that a memory depends on beside the data."""
    neutral = dataclasses.replace(self.distill, checkpoint_seconds=DEFAULT_CHECKPOINT_SECONDS)
    settings = json.loads(dataclasses.replace(self, distill=neutral).to_json())
    if self.budget.max_slots is None:
      # Without a cap it decides nothing, and memories of before there was a rule keep their digest.
      del settings["addressing"]["at_cap"]
    return canonical_digest({"settings": settings, "feature_spec": spec.to_dict(), "seed": seed})


@dataclasses.dataclass(frozen=True)
class Stage:
  """What the parts of one stage have in common.

  Attributes:
    spec: feature spec of the span's rows.
    settings: settings of the stage.
    seed: seed of the run.
    span: number of the stage's span.
  """

  spec: FeatureSpec
  settings: StageSettings
  seed: int
  span: int

  @property
  def stage_seed(self) -> int:
    """The seed of what this stage draws."""
    return stage_seed(self.seed, self.span)

  def memory(self, slots: Slots, recipe: Recipe, previous: Memory | None, num_examples_seen: int,
             scored_sample: ScoredSample | None = None,
             last_refinement: LastRefinement | None = None) -> Memory:
    """A memory of this stage, not saved yet; nothing in its manifest depends on when or where it is made.

    Args:
      slots: slots of the memory, in the order of training.
      recipe: recipe to train on them with.
      previous: the memory before the stage; None in the first. Its lineage names memories by the digests that they were
        saved with: one that was not saved is not named.
      num_examples_seen: number of examples of all spans so far.
      scored_sample: the sample of the stage's start, which all its memories have in common; None without one.
      last_refinement: what is noted of the last refinement; None where this stage refined it.
    """
    lineage: tuple[Mapping[str, Any], ...] = ()
    users: tuple[Mapping[str, Any], ...] = ()
    if previous is not None:
      lineage = previous.manifest.grown_lineage() if previous.manifest.shards else previous.manifest.lineage
      users = previous.manifest.users_per_id
    return Memory.create(slots, self.spec, recipe, span=self.span, num_examples_seen=num_examples_seen,
                         budget=dataclasses.asdict(self.settings.budget), lineage=lineage,
                         settings_digest=self.settings.digest(self.spec, self.seed),
                         ids_per_slot=self.settings.squash.ids_per_slot,
                         users_per_id=users_by_span(slots.born_spans, self.settings.privacy, self.span, users),
                         scored_sample=scored_sample, last_refinement=last_refinement)


def stage_seed(seed: int, span: int) -> int:
  """A seed for a stage: a fixed function of the run's seed and the span's number."""
  mixed = int(mix(np.asarray([span]), seed)[0])
  return mixed % (1 << 31)
