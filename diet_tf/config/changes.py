"""What differs between the config that a commit was made with and the one in use: every key, with both values."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from diet_tf.errors import ConfigError
from diet_tf.log.duplicates import RULE_KEY
from diet_tf.log.features import NUM_RESERVED_VOCABULARY_IDS, FeatureSpec, Field
from diet_tf.log.settings import MISSING_KEY
from diet_tf.memory.privacy import NO_RULES
from diet_tf.printable import printable

# What is learned does not depend on these: they may differ without a word.
NEUTRAL_KEYS = ("influence.batch_size", "privacy.salt_environment_variable", "privacy.scored_rows",
                "distill.checkpoint_seconds")
# The teacher's weights are of these architectures; the spans that they were trained on are not read again.
FIXED_KEYS = ("teacher.members",)
# Of a commit's settings, what is no setting of a stage: the feature spec is compared by its fields, and how rows are
# told apart may change without a word, since rows of earlier spans are not read again.
_OTHER_KEYS = ("feature_spec", "feature_spec_digest", "migrated_from", "revision", RULE_KEY, MISSING_KEY)
_ABSENT = "not set"
# Sections that settings leave out where they are the default.
_LEFT_OUT = {"privacy": dataclasses.asdict(NO_RULES)}
# What a memory at its cap did before a setting came that says so. Others are not asked: nothing changes for them.
_BEFORE_AT_CAP = {"addressing.at_cap": "keep"}
# Keys that settings leave out where they ask for what was computed before the key was known.
_LEFT_OUT_KEYS: Mapping[str, Mapping[str, Any]] = {
    "distill": {"refine_growth": 0.0}, "addressing": {"labels_follow_teacher": False}}
# Of a value in a message; a closed vocabulary may be as long as it likes.
MAX_SHOWN_CHARACTERS = 400


@dataclasses.dataclass(frozen=True)
class Change:
  """A key with two values.

  Attributes:
    key: dotted path of what changed, in a config's words.
    committed: JSON of the value that the commit was made with, its beginning if it is long; "not set" for none.
    now: JSON of the value in use, cut in the same way; "not set" for none.
  """

  key: str
  committed: str
  now: str

  def __str__(self) -> str:
    return f"{self.key}: {self.committed} committed, {self.now} now"


def settings_changes(committed: Mapping[str, Any], now: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[Change]:
  """The settings that differ, by key; those of `NEUTRAL_KEYS` are left out.

  Args:
    committed: settings of a commit. A section that it does not have is not compared; a key that its section does not
      have was not known yet, and had its default.
    now: settings in use, in the same form, with every key.
    defaults: default settings of all sections.
  """
  if committed:
    committed, now = _filled(committed), _filled(now)
  before: dict[str, Any] = {}
  for section, value in committed.items():
    if section not in _OTHER_KEYS:
      before.update({**_flat(section, defaults.get(section, value)), **_flat(section, value)})
  if committed and committed.get("budget", {}).get("max_slots") is not None:
    before.update({key: value for key, value in _BEFORE_AT_CAP.items()
                   if key in before and key not in _flat("addressing", committed["addressing"])})
  after = {key: value for section in committed if section in now and section not in _OTHER_KEYS
           for key, value in _flat(section, now[section]).items()}
  return _changes(before, after)


def _filled(settings: Mapping[str, Any]) -> dict[str, Any]:
  """The settings with what they leave out."""
  keys = {section: {**values, **settings[section]} for section, values in _LEFT_OUT_KEYS.items() if section in settings}
  return {**_LEFT_OUT, **settings, **keys}


def feature_changes(committed: FeatureSpec, now: FeatureSpec) -> list[Change]:
  """The keys of the section `features` that differ, in the order of the fields."""
  if committed.digest() == now.digest():
    return []
  changes = _changes(_spec_keys(committed), _spec_keys(now))
  # The names alone; a field that is new or gone has a line of its own.
  old_order, new_order = (tuple(name for name in one.names if name in other.names)
                          for one, other in ((committed, now), (now, committed)))
  if old_order != new_order:
    changes.append(Change("features.fields (order)", json.dumps(old_order), json.dumps(new_order)))
  return changes


def require_acceptable(changes: Sequence[Change], subject: str) -> None:
  """Raises ConfigError if a key of `FIXED_KEYS` differs: such a change cannot be declared."""
  if any(change.key in FIXED_KEYS for change in changes):
    raise ConfigError(subject, rule="the carried teacher is of the members in use; others would have to pass over all "
                      "the spans before, which are not read again.", received=listed(changes),
                      remedy=f"restore {', '.join(FIXED_KEYS)}, or begin a new store.")


def listed(changes: Sequence[Change]) -> str:
  """All changes as one sentence."""
  return "; ".join(map(str, changes)) + "."


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
  texts = [{key: json.dumps(value, sort_keys=True) for key, value in values.items()} for values in (before, after)]
  found = [(key, texts[0].get(key, _ABSENT), texts[1].get(key, _ABSENT)) for key in {**texts[0], **texts[1]}]
  return [Change(key, *(printable(text, MAX_SHOWN_CHARACTERS) for text in (committed, now)))
          for key, committed, now in found if key not in NEUTRAL_KEYS and committed != now]


def _flat(key: str, value: Any) -> dict[str, Any]:
  """Values by dotted path; lists and empty sections are values."""
  if not isinstance(value, Mapping) or not value:
    return {key: value}
  found: dict[str, Any] = {}
  for name, entry in value.items():
    found.update(_flat(f"{key}.{name}", entry))
  return found


def _spec_keys(spec: FeatureSpec) -> dict[str, Any]:
  keys: dict[str, Any] = {}
  for field in spec.fields:
    keys.update({f"features.fields.{field.name}.{name}": value for name, value in configured(field).items()})
  keys["features.label"] = spec.label.column
  rules = {name: value for name, value in spec.label.to_dict().items() if name != "column" and value is not None}
  keys.update({f"features.label.{name}": value for name, value in rules.items()})
  if spec.time_column is not None:
    keys["features.time"] = spec.time_column
  if spec.salt is not None:
    # Under its own key it may differ: another variable can hold the same secret.
    keys["features.fields (hashed with a salt)"] = True
  return keys


def configured(field: Field) -> dict[str, Any]:
  """A field as a config writes it, without its name and what is not set."""
  form: dict[str, Any] = {
      "column": field.column, "hash": field.hash_ids, "vocabulary": list(field.vocabulary) or field.vocabulary_ids,
      "boundaries": list(field.boundaries) or None, "ids_per_slot": field.ids_per_slot,
      "max_values": field.max_values, "separator": field.separator, "weights": field.weights}
  if field.vocabulary and field.vocabulary_ids != len(field.vocabulary) + NUM_RESERVED_VOCABULARY_IDS:
    form["vocabulary_ids"] = field.vocabulary_ids  # A config cannot say this, but a spec can.
  return {name: value for name, value in form.items() if value is not None}
