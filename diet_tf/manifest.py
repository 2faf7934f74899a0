"""The manifest of a memory and the recipe that it ships: plain JSON, read without TensorFlow."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from diet_tf import files
from diet_tf.errors import ConfigError, DietError, FormatError, StoreError
from diet_tf.features import FeatureSpec
from diet_tf.json_files import read_json
from diet_tf.privacy import Claim

if TYPE_CHECKING:
  import tensorflow as tf

  from diet_tf.memory import Memory

MANIFEST_NAME = "manifest.json"
FORMAT_NAME = "diet_tf.memory"
# Version 1 is written where nothing of version 2 is set: a salt of the feature spec, or `users_per_id`.
FORMAT_VERSION = 2
# The groups of variables that have a learning rate of their own; see `diet_tf.optimizers`.
PARAMETER_GROUPS = ("embedding", "linear", "dense")

_REMEDY = "restore the file from a copy, or make it again from the spans; do not edit it by hand."
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHARD_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True)
class ShardInfo:
  """One TFRecord file of a memory or a span.

  Attributes:
    name: file name within its folder.
    sha256: hex digest of the file.
    num_bytes: size of the file, compressed.
    num_raw_bytes: size of the uncompressed TFRecord stream, framing included.
    num_records: number of records.
  """

  name: str
  sha256: str
  num_bytes: int
  num_raw_bytes: int
  num_records: int


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How to train on a memory: learned together with the slots, for their stored order.

  Attributes:
    batch_size: slots per training step.
    epochs: passes over the memory.
    beta_1: Adam's decay of the first moment.
    beta_2: Adam's decay of the second moment.
    epsilon: Adam's denominator offset.
    learning_rates: one for each group of variables in `PARAMETER_GROUPS`.
    step_multipliers: multiplies the learning rates, one entry per training step; the last one holds beyond its end,
      and none means 1 throughout.
    order: "as_stored": slots are never shuffled, since they were learned in this order.
  """

  batch_size: int = 64
  epochs: int = 2
  beta_1: float = 0.9
  beta_2: float = 0.999
  epsilon: float = 1e-7
  learning_rates: Mapping[str, float] = dataclasses.field(
      default_factory=lambda: {"embedding": 1e-2, "linear": 1e-2, "dense": 3e-3})
  step_multipliers: tuple[float, ...] = ()
  order: str = "as_stored"

  def __post_init__(self) -> None:
    object.__setattr__(self, "learning_rates", {name: float(rate) for name, rate in self.learning_rates.items()})
    object.__setattr__(self, "step_multipliers", tuple(float(value) for value in self.step_multipliers))
    for name in ("batch_size", "epochs"):
      self._require(name, "is an integer of at least 1.", is_count(getattr(self, name)) and getattr(self, name) >= 1)
    for name in ("beta_1", "beta_2"):
      self._require(name, "lies in [0, 1).", 0 <= getattr(self, name) < 1)
    self._require("epsilon", "is positive.", self.epsilon > 0)
    self._require("learning_rates", f"has one positive rate for each of {list(PARAMETER_GROUPS)}.",
                  set(self.learning_rates) == set(PARAMETER_GROUPS)
                  and all(math.isfinite(rate) and rate > 0 for rate in self.learning_rates.values()))
    self._require("step_multipliers", "are finite and not negative.",
                  all(math.isfinite(value) and value >= 0 for value in self.step_multipliers))
    self._require("order", "is 'as_stored': slots are learned in their order.", self.order == "as_stored")

  def _require(self, name: str, rule: str, holds: bool) -> None:
    if not holds:
      raise ConfigError(f"recipe.{name}", rule=f"{name} {rule}", received=repr(getattr(self, name)),
                        remedy=f"correct {name}.")

  def steps_per_epoch(self, num_slots: int) -> int:
    """Training steps in one pass over that many slots, the last of which may be a smaller batch."""
    return -(-num_slots // self.batch_size)

  def optimizer(self) -> tf.keras.optimizers.Optimizer:
    """A new Adam with the recipe's learning rate for each group of variables."""
    from diet_tf.optimizers import GroupedAdam
    return GroupedAdam(learning_rates=dict(self.learning_rates), step_multipliers=self.step_multipliers,
                       beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon, lazy=False)

  def compile(self, model: tf.keras.Model, *, from_logits: bool | None = None, **kwargs: Any) -> tf.keras.Model:
    """The model, compiled with the recipe's optimiser, binary cross-entropy per slot, and AUC.

    Args:
      model: any Keras model of one output; a TFRS model keeps its own loss and metrics.
      from_logits: whether the model returns logits rather than probabilities; None asks the model's attribute
        `from_logits`, which `diet_tf`'s models have.
      **kwargs: passed to `model.compile`, before which they win over the recipe's choice.

    Raises:
      ConfigError: neither the argument nor the model says whether it returns logits.
    """
    from diet_tf import memory
    return memory.compile_with(self, model, from_logits=from_logits, **kwargs)

  def fit(self, model: tf.keras.Model, memory: Memory, mode: Literal["weighted", "sampled"] = "weighted", *,
          seed: int = 0, **kwargs: Any) -> tf.keras.callbacks.History:
    """The history of training `model` on `memory` by the recipe; compiles the model if that was not done.

    Args:
      model: a Keras model that takes the features of `Memory.dataset(mode=mode)`.
      memory: the memory to train on.
      mode: "weighted" or "sampled".
      seed: of the draws of mode "sampled".
      **kwargs: passed to `model.fit`, for example `validation_data` or `callbacks`.

    Raises:
      ConfigError: the training failed, and the model takes the features of the other mode. A model of single ids takes
        those of "weighted" in a `diet_tf.BagModel`.
    """
    from diet_tf import memory as memory_module
    return memory_module.fit_with(self, model, memory, mode, seed=seed, **kwargs)

  def to_dict(self) -> dict[str, Any]:
    """The recipe as JSON values."""
    value = dataclasses.asdict(self)
    return {**value, "step_multipliers": list(self.step_multipliers)}

  @classmethod
  def from_dict(cls, value: Mapping[str, Any]) -> Recipe:
    """The recipe that `to_dict` wrote.

    Raises:
      ConfigError: a key is unknown or a value is out of range.
    """
    known = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(value) - known)
    if unknown:
      raise ConfigError("recipe", rule=f"its keys are among {sorted(known)}.", received=f"unknown: {unknown}.",
                        remedy="remove them, or read it with the version that wrote it.")
    return cls(**value)


@dataclasses.dataclass(frozen=True)
class Manifest:
  """All that is known of a memory without reading its slots.

  Attributes:
    feature_spec: the `FeatureSpec` as a dict.
    feature_spec_digest: its digest.
    span: the last span that the memory has seen.
    num_slots: number of slots.
    num_examples_seen: number of examples in all spans up to `span`.
    max_ids: per field name, the most ids that a slot keeps (K).
    budget: how the number of slots was set.
    recipe: how to train on it.
    lineage: the memories that it grew from, oldest first, each `{"span": int, "digest": str}`.
    shards: its TFRecord files, in the order of the slots.
    settings_digest: digest of the settings that made it.
    versions: of the packages that made it.
    users_per_id: per span that slots were born in (`born_span`), how many distinct users (`min_users`) of which field
      (`user_field`) stand behind each of their id weights; empty where no slot was made under such a rule.
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
  format_name: str = FORMAT_NAME
  format_version: int = 1

  def __post_init__(self) -> None:
    object.__setattr__(self, "lineage", tuple(dict(entry) for entry in self.lineage))
    object.__setattr__(self, "shards", tuple(self.shards))
    object.__setattr__(self, "users_per_id", tuple(dict(entry) for entry in self.users_per_id))
    if self.users_per_id or self.feature_spec.get("salt"):
      # An earlier release would take the ids for unkeyed ones.
      object.__setattr__(self, "format_version", FORMAT_VERSION)

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
    return json.loads(json.dumps(value, default=dict))

  @classmethod
  def from_dict(cls, value: Mapping[str, Any], subject: str = "manifest") -> Manifest:
    """The manifest that `to_dict` wrote, after every check that needs no shard.

    Raises:
      FormatError: unknown format name, newer version, missing or unknown keys, a digest that does not fit, a shard
        name that is no plain file name, or counts that contradict each other.
    """
    fields = {field.name for field in dataclasses.fields(cls)}
    if value.get("format_version") == 1:
      fields -= {"users_per_id"}
    check_document(value, subject, FORMAT_NAME, FORMAT_VERSION, fields | {"digest"})
    try:
      content = {name: value[name] for name in fields}
      content["recipe"] = Recipe.from_dict(value["recipe"])
      content["shards"] = tuple(ShardInfo(**shard) for shard in value["shards"])
      manifest = cls(**content)
      spec_digest = manifest.spec().digest()
      digest = manifest.digest
    except (DietError, TypeError, KeyError, ValueError, AttributeError, ArithmeticError) as error:
      raise _damaged(subject, "its parts are as the writer made them.", f"{type(error).__name__}: {error}") from error
    if spec_digest != manifest.feature_spec_digest:
      raise _damaged(subject, "feature_spec_digest is the digest of feature_spec.",
                     f"{manifest.feature_spec_digest} for {spec_digest}.")
    if digest != value["digest"]:
      raise _damaged(subject, "digest is the digest of the rest of the manifest.", f"{value['digest']} for {digest}.")
    manifest._check(subject)
    return manifest

  def _check(self, subject: str) -> None:
    mappings = (self.feature_spec, self.max_ids, self.budget, self.versions, *self.lineage)
    if not all(isinstance(value, dict) for value in mappings) or not isinstance(self.settings_digest, str):
      raise _damaged(subject, "every value is of the kind that its writer sets.", "a value of another kind.")
    if not all(set(entry) == {"span", "digest"} and is_count(entry["span"]) and is_sha256(entry["digest"])
               for entry in self.lineage):
      raise _damaged(subject, "lineage names memories by span and digest.", str(self.lineage))
    if not all(set(entry) == {"born_span", "user_field", "min_users"} and is_count(entry["born_span"])
               and is_count(entry["min_users"]) and entry["min_users"] >= 1
               and (entry["user_field"] is None or entry["user_field"] in self.spec().names)
               for entry in self.users_per_id):
      raise _damaged(subject, "users_per_id names spans, fields and numbers of users.", str(self.users_per_id))
    for shard in self.shards:
      if not isinstance(shard.name, str) or not _SHARD_NAME.fullmatch(shard.name):
        raise _damaged(subject, "a shard is a plain file name in the manifest's own folder.", repr(shard.name))
      if not is_sha256(shard.sha256):
        raise _damaged(subject, f"shard {shard.name} has a SHA-256 in hex.", repr(shard.sha256))
    names = [shard.name for shard in self.shards]
    if len(set(names)) != len(names):
      raise _damaged(subject, "shard names are distinct.", str(names))
    counts = [self.span, self.num_slots, self.num_examples_seen, *self.max_ids.values()]
    for shard in self.shards:
      counts += [shard.num_bytes, shard.num_raw_bytes, shard.num_records]
    if not all(is_count(count) for count in counts):
      raise _damaged(subject, "counts and spans are integers of at least 0.", str(counts))
    num_records = sum(shard.num_records for shard in self.shards)
    if num_records != self.num_slots:
      raise _damaged(subject, "num_slots is the sum of the shards' records.", f"{self.num_slots} for {num_records}.")
    if tuple(self.max_ids) != self.spec().names and set(self.max_ids) != set(self.spec().names):
      raise _damaged(subject, "max_ids has one entry per field.", str(sorted(self.max_ids)))


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
  files.write_atomically(files.join(directory, MANIFEST_NAME), document_bytes(manifest.to_dict()))


def read_document(path: str) -> dict[str, Any]:
  """The JSON object in a file.

  Raises:
    FormatError: the file is not a JSON object.
  """
  value = read_json(path, _REMEDY)
  if not isinstance(value, dict):
    raise _damaged(path, "the file is a JSON object.", f"{type(value).__name__}.")
  return value


def document_bytes(value: Mapping[str, Any]) -> bytes:
  """The JSON of a document, sorted and indented, ending with a newline."""
  return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def canonical_digest(value: Any) -> str:
  """The SHA-256 (hex) of a value's JSON with sorted keys and no spaces."""
  return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict).encode()).hexdigest()


def check_document(value: Mapping[str, Any], subject: str, format_name: str, format_version: int,
                   keys: set[str]) -> None:
  """Raises FormatError unless the document is of this format, of a version that is read here, with exactly `keys`."""
  if value.get("format_name") != format_name:
    raise FormatError(subject, rule=f"format_name is {format_name!r}.", received=repr(value.get("format_name")),
                      remedy="give a file that DIET-TF wrote.")
  version = value.get("format_version")
  if not isinstance(version, int) or isinstance(version, bool) or version < 1:
    raise _damaged(subject, "format_version is an integer of at least 1.", repr(version))
  if version > format_version:
    raise FormatError(subject, rule=f"this version of DIET-TF reads {format_name} up to format version "
                      f"{format_version}.", received=f"format version {version}.",
                      remedy="upgrade DIET-TF, or make the file again with this version.")
  if set(value) != keys:
    raise _damaged(subject, f"version {version} has exactly the keys that its writer sets.",
                   f"missing: {sorted(keys - set(value))}, unknown: {sorted(set(value) - keys)}.")


def _damaged(subject: str, rule: str, received: str) -> FormatError:
  return FormatError(subject, rule=rule, received=received, remedy=_REMEDY)


def is_count(value: Any) -> bool:
  """Whether a value of a document is an integer of at least 0."""
  return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_sha256(value: Any) -> bool:
  """Whether a value of a document is a SHA-256 in hex."""
  return isinstance(value, str) and _SHA256.fullmatch(value) is not None


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
