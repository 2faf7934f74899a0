"""The manifest of a memory: plain JSON, read without TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from diet_tf.errors import DietError, FormatError, StoreError
from diet_tf.io import files
from diet_tf.io.documents import (
  DocumentFormat,
  canonical_digest,
  damaged,
  is_count,
  is_sha256,
  read_document,
)
from diet_tf.io.record_frames import ShardInfo
from diet_tf.io.shapes import Absentable, ListOf, fields_of
from diet_tf.log.features import FEATURE_SPEC_SHAPE, MAX_FIELDS, MAX_IDS_PER_SLOT, FeatureSpec, require_known
from diet_tf.memory.last_refinement import LastRefinement
from diet_tf.memory.privacy import MAX_SCORED_ROWS, Claim
from diet_tf.memory.recipe import MAX_STEPS, Recipe
from diet_tf.printable import printable

MANIFEST_NAME = "manifest.json"
_VERSION_1 = {
    "feature_spec": FEATURE_SPEC_SHAPE, "feature_spec_digest": str, "span": Any, "num_slots": Any,
    "num_examples_seen": Any, "max_ids": Mapping[str, Any], "budget": Mapping[str, Any], "recipe": fields_of(Recipe),
    "lineage": list[Mapping[str, Any]], "shards": ListOf(dict.fromkeys(fields_of(ShardInfo), Any)),
    "settings_digest": str, "versions": Mapping[str, str], "digest": str}
_VERSION_2 = {**_VERSION_1, "users_per_id": list[Mapping[str, Any]]}
_SCORED_SAMPLE = {"num_examples": Any, "shard": dict.fromkeys(fields_of(ShardInfo), Any)}
# Version 1 is written where nothing of version 2 is set (a salt of the feature spec, or `users_per_id`), version 3
# where there is a scored sample, version 4 where `last_refinement` is set, and version 5 where the feature spec is of
# version 2.
MANIFEST = DocumentFormat("diet_tf.memory", {
    1: _VERSION_1, 2: _VERSION_2, 3: {**_VERSION_2, "scored_sample": _SCORED_SAMPLE},
    4: {**_VERSION_2, "scored_sample": Absentable(_SCORED_SAMPLE), "last_refinement": Mapping[str, Any]},
    5: {**_VERSION_2, "scored_sample": Absentable(_SCORED_SAMPLE), "last_refinement": Absentable(Mapping[str, Any])}})

# A span adds one entry to the lineage: this many are hourly spans for eleven years.
MAX_LINEAGE = 100_000
MAX_SHARDS = 100_000
MAX_USER_RULES = 100_000
MAX_VERSIONS = 1000
_MAX_SHOWN_CHARACTERS = 200
_SHARD_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True)
class ScoredSampleInfo:
  """What is known of a memory's scored sample without reading it, see `diet_tf.memory.scored_sample`.

  Attributes:
    num_examples: number of rows of the log that it was drawn from.
    shard: its file.
  """

  num_examples: int
  shard: ShardInfo


@dataclasses.dataclass(frozen=True)
class Manifest:
  """All that is known of a memory without reading its slots.

  Attributes:
    feature_spec: the `FeatureSpec` as a dict.
    feature_spec_digest: digest of the feature spec.
    span: the last span that the memory has seen.
    num_slots: number of slots.
    num_examples_seen: number of examples in all spans up to `span`.
    max_ids: per field name, the most ids that a slot keeps (K).
    budget: how the number of slots was set.
    recipe: how to train on it.
    lineage: the memories that it grew from, oldest first, each `{"span": int, "digest": str}`.
    shards: its TFRecord files, in the order of the slots.
    settings_digest: digest of the settings that made it.
    versions: versions of the packages that made it, by the package's name.
    users_per_id: per span that slots were born in (`born_span`), how many distinct users (`min_users`) of which field
      (`user_field`) stand behind each of their id weights; empty where no slot was made under such a rule.
    scored_sample: the scored sample beside the slots; None without one.
    last_refinement: when the memory was last refined as a whole, by the names of `LastRefinement`; None where the stage
      of `span` itself refined it.
  """

  feature_spec: Mapping[str, Any]
  feature_spec_digest: str
  span: int
  num_slots: int
  num_examples_seen: int
  max_ids: Mapping[str, int]
  budget: Mapping[str, Any]
  recipe: Recipe
  lineage: tuple[Mapping[str, Any], ...] = ()
  shards: tuple[ShardInfo, ...] = ()
  settings_digest: str = ""
  versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
  users_per_id: tuple[Mapping[str, Any], ...] = ()
  scored_sample: ScoredSampleInfo | None = None
  last_refinement: Mapping[str, Any] | None = None
  format_name: str = MANIFEST.name
  format_version: int = 1

  def __post_init__(self) -> None:
    object.__setattr__(self, "lineage", tuple(dict(entry) for entry in self.lineage))
    object.__setattr__(self, "shards", tuple(self.shards))
    object.__setattr__(self, "users_per_id", tuple(dict(entry) for entry in self.users_per_id))
    if self.last_refinement is not None:
      object.__setattr__(self, "last_refinement", dict(self.last_refinement))
    if self.feature_spec.get("version", 1) > 1:
      # An earlier release does not know what its fields are.
      object.__setattr__(self, "format_version", 5)
    elif self.last_refinement is not None:
      # An earlier release would go on from it as from a memory that was refined.
      object.__setattr__(self, "format_version", 4)
    elif self.scored_sample is not None:
      object.__setattr__(self, "format_version", 3)
    elif self.users_per_id or self.feature_spec.get("salt"):
      # An earlier release would take the ids for unkeyed ones.
      object.__setattr__(self, "format_version", 2)

  @property
  def digest(self) -> str:
    """SHA-256 of the canonical JSON of all the rest, shard digests included: it names the memory's content."""
    return canonical_digest(self._content())

  @property
  def num_bytes(self) -> int:
    """Size of the shards as they lie on the disk."""
    return sum(shard.num_bytes for shard in self.shards)

  @property
  def num_raw_bytes(self) -> int:
    """Size of the shards without compression."""
    return sum(shard.num_raw_bytes for shard in self.shards)

  def spec(self) -> FeatureSpec:
    """The feature spec as an object."""
    return FeatureSpec.from_dict(self.feature_spec)

  @property
  def salt_check(self) -> str | None:
    """The check value of the secret that ids are hashed with; None without one."""
    salt = self.spec().salt
    return None if salt is None else salt.check

  def refinement(self) -> LastRefinement:
    """When the memory was last refined as a whole, and how it has grown since."""
    if self.last_refinement is None:
      return LastRefinement(self.span, self.num_slots, self.num_examples_seen, 0)
    return LastRefinement(**self.last_refinement)

  def claim(self) -> Claim:
    """What holds for all slots of the people behind them."""
    return Claim.of(self.users_per_id, self.spec())

  def grown_lineage(self) -> tuple[Mapping[str, Any], ...]:
    """The lineage of a memory that grows from this one: its own, and itself.

    A copy of a committed memory that was migrated to another feature spec is no commit of its own: its own lineage ends
    with that memory, of the same span, which stands for it.
    """
    if self.lineage and self.lineage[-1]["span"] == self.span:
      return self.lineage
    return (*self.lineage, {"span": self.span, "digest": self.digest})

  def require_spec(self, spec: FeatureSpec, subject: str = "memory") -> None:
    """Raises FormatError if the memory was made with another feature spec than `spec`, or with another secret."""
    if spec.digest() == self.feature_spec_digest:
      self.require_secret(spec, subject)
      return
    raise FormatError(subject, rule=f"the memory must be of the feature spec {spec.digest()[:12]} in use.",
                      received=f"feature spec {self.feature_spec_digest[:12]}, which differs in "
                      f"{_difference(self.feature_spec, spec.to_dict())}.",
                      remedy="use the config that made the memory, or start a new store.")

  def require_secret(self, spec: FeatureSpec, subject: str = "memory") -> None:
    """Raises FormatError if the ids of `spec` are known to be hashed with another secret than the memory's."""
    known = None if spec.salt is None else spec.salt.check
    if known is not None and self.salt_check is not None and known != self.salt_check:
      raise FormatError(subject, rule=f"its ids are hashed with the secret in use, of the check value {known}.",
                        received=f"check value {self.salt_check}.",
                        remedy="encode rows with the secret of the store; another secret needs a new store.")

  def to_dict(self) -> dict[str, Any]:
    """The manifest as JSON values, with its digest."""
    return {**self._content(), "digest": self.digest}

  def _content(self) -> dict[str, Any]:
    value = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    value["recipe"] = self.recipe.to_dict()
    value["shards"] = [dataclasses.asdict(shard) for shard in self.shards]
    value["lineage"] = [dict(entry) for entry in self.lineage]
    if self.format_version < 2:
      del value["users_per_id"]
    del value["scored_sample"]
    if self.scored_sample is not None:
      value["scored_sample"] = dataclasses.asdict(self.scored_sample)
    if self.last_refinement is None:
      del value["last_refinement"]
    return json.loads(json.dumps(value, default=dict))

  @classmethod
  def from_dict(cls, value: Mapping[str, Any], subject: str = "manifest") -> Manifest:
    """The manifest that `to_dict` wrote, after every check that needs no shard.

    Raises:
      FormatError: unknown format name, newer version, missing or unknown keys, a digest that does not fit, a shard
        name that is no plain file name, or counts that contradict each other.
    """
    _require_short_lists(value, subject)
    _require_known_fields(value, subject)
    content = MANIFEST.check(value, subject)
    del content["digest"]
    try:
      content["recipe"] = Recipe.from_dict(content["recipe"])
      content["shards"] = tuple(ShardInfo(**shard) for shard in content["shards"])
      if "scored_sample" in content:
        sample = content["scored_sample"]
        content["scored_sample"] = ScoredSampleInfo(sample["num_examples"], ShardInfo(**sample["shard"]))
      manifest = cls(**content, format_version=value["format_version"])
      spec = manifest.spec()
      spec_digest = spec.digest()
      digest = manifest.digest
    except (DietError, TypeError, KeyError, ValueError, AttributeError, ArithmeticError) as error:
      raise damaged(subject, "its parts are as the writer made them.", f"{type(error).__name__}: {error}") from error
    if spec_digest != manifest.feature_spec_digest:
      raise damaged(subject, "feature_spec_digest is the digest of feature_spec.",
                    f"{manifest.feature_spec_digest} for {spec_digest}.")
    if digest != value["digest"]:
      raise damaged(subject, "digest is the digest of the rest of the manifest.", f"{value['digest']} for {digest}.")
    manifest._check(subject, frozenset(spec.names))
    return manifest

  def _check(self, subject: str, names: frozenset[str]) -> None:
    user_fields = {None, *names}
    for entry in self.lineage:
      if not (set(entry) == {"span", "digest"} and is_count(entry["span"]) and is_sha256(entry["digest"])):
        raise damaged(subject, "lineage names memories by span and digest.", _shown(entry))
    for entry in self.users_per_id:
      if not (set(entry) == {"born_span", "user_field", "min_users"} and is_count(entry["born_span"])
              and is_count(entry["min_users"]) and entry["min_users"] >= 1
              and isinstance(entry["user_field"], str | None) and entry["user_field"] in user_fields):
        raise damaged(subject, "users_per_id names spans, fields and numbers of users.", _shown(entry))
    if self.last_refinement is not None and not LastRefinement.is_note(self.last_refinement, self.span):
      raise damaged(subject, "last_refinement has a span up to its own, and counts.", _shown(self.last_refinement))
    if set(self.max_ids) != names:
      raise damaged(subject, "max_ids has one entry per field.", _shown(sorted(self.max_ids)))
    for name, count in self.max_ids.items():
      if not (is_count(count) and 1 <= count <= MAX_IDS_PER_SLOT):
        raise damaged(subject, f"max_ids of a field lies in [1, {MAX_IDS_PER_SLOT:,}].", _shown({name: count}))
    self._check_shards(subject)

  @property
  def all_files(self) -> tuple[ShardInfo, ...]:
    """All files beside the manifest: the shards, and that of the scored sample."""
    return self.shards if self.scored_sample is None else (*self.shards, self.scored_sample.shard)

  def _check_shards(self, subject: str) -> None:
    for shard in self.all_files:
      if not isinstance(shard.name, str) or not _SHARD_NAME.fullmatch(shard.name):
        raise damaged(subject, "a shard is a plain file name in the manifest's own folder.", repr(shard.name))
      if not is_sha256(shard.sha256):
        raise damaged(subject, f"shard {shard.name} has a SHA-256 in hex.", repr(shard.sha256))
    names = [shard.name for shard in self.all_files]
    if len(set(names)) != len(names):
      raise damaged(subject, "shard names are distinct.", _shown(names))
    counts = [self.span, self.num_slots, self.num_examples_seen]
    counts += [] if self.scored_sample is None else [self.scored_sample.num_examples]
    for shard in self.all_files:
      counts += [shard.num_bytes, shard.num_raw_bytes, shard.num_records]
    for count in counts:
      if not is_count(count):
        raise damaged(subject, "counts and spans are integers of at least 0, in 63 bits.", _shown(count))
    num_records = sum(shard.num_records for shard in self.shards)
    if num_records != self.num_slots:
      raise damaged(subject, "num_slots is the sum of the shards' records.", f"{self.num_slots} for {num_records}.")
    if self.scored_sample is not None and self.scored_sample.shard.num_records > MAX_SCORED_ROWS:
      raise damaged(subject, f"a scored sample has at most {MAX_SCORED_ROWS:,} rows.",
                    f"{self.scored_sample.shard.num_records:,}.")


def read_manifest(path: str) -> Manifest:
  """The manifest of a memory, from its folder or from the path of the manifest itself.

  Raises:
    StoreError: there is no manifest.
    FormatError: it is damaged, of another format, or newer than this version reads.
  """
  if not path.endswith(".json"):
    path = files.join(path, MANIFEST_NAME)
  if not files.exists(path):
    raise StoreError(path, rule=f"a memory is a folder with a {MANIFEST_NAME}.", received="no such file.",
                     remedy="give the folder of a memory, or the root of a store with a commit.")
  return Manifest.from_dict(read_document(path), subject=path)


def write_manifest(directory: str, manifest: Manifest) -> None:
  """Writes the manifest into the memory's folder, atomically; the same manifest always gives the same bytes."""
  MANIFEST.write(files.join(directory, MANIFEST_NAME), manifest.to_dict())


def _require_short_lists(value: Mapping[str, Any], subject: str) -> None:
  """Refuses lists that no writer makes so long, before anything in them is looked at."""
  spec, recipe = (part if isinstance(part, Mapping) else {} for part in map(value.get, ("feature_spec", "recipe")))
  lists = {**value, "fields": spec.get("fields"), "step_multipliers": recipe.get("step_multipliers")}
  for key, most in (("lineage", MAX_LINEAGE), ("shards", MAX_SHARDS), ("users_per_id", MAX_USER_RULES),
                    ("fields", MAX_FIELDS), ("step_multipliers", MAX_STEPS), ("versions", MAX_VERSIONS),
                    ("budget", MAX_VERSIONS)):
    if isinstance(lists.get(key), (list, Mapping)) and len(lists[key]) > most:
      raise damaged(subject, f"{key} has at most {most:,} entries.", f"{len(lists[key]):,}.")


def _require_known_fields(value: Mapping[str, Any], subject: str) -> None:
  """Refuses kinds of fields that a later release has added, which are told from damage by the version of the spec."""
  spec = value.get("feature_spec")
  if not isinstance(spec, Mapping) or "version" not in spec:
    return
  fields = spec.get("fields")
  if isinstance(fields, list) and all(isinstance(field, Mapping) for field in fields):
    try:
      require_known(spec)
    except DietError as error:
      raise FormatError(f"{subject}: {error.subject}", rule=error.rule, received=error.received,
                        remedy=error.remedy) from error


def _shown(value: Any) -> str:
  return f"{printable(repr(value), _MAX_SHOWN_CHARACTERS)}."


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
  """Names the parts in which two feature specs differ."""
  old_fields = {field["name"]: field for field in old["fields"]}
  new_fields = {field["name"]: json.loads(json.dumps(field)) for field in new["fields"]}
  parts = [f"field {name!r}" for name in sorted(old_fields.keys() | new_fields.keys())
           if json.loads(json.dumps(old_fields.get(name))) != new_fields.get(name)]
  parts += [key for key in ("label", "time_column") if old.get(key) != new.get(key)]
  # Which variable holds the secret, and whether it is known yet, is no difference of specs.
  parts += ["salt"] if bool(old.get("salt")) != bool(new.get("salt")) else []
  return ", ".join(parts) or "the order of the fields"
