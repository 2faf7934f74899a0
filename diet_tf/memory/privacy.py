"""What a memory promises about the people behind it: settings, the record of them by span, and the claim that holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diet_tf.errors import ConfigError
from diet_tf.log.salt import Salt

if TYPE_CHECKING:
  from diet_tf.log.features import FeatureSpec


# Rows of the scored sample by default, and at most.
SCORED_ROWS = 2048
MAX_SCORED_ROWS = 1 << 16


@dataclasses.dataclass(frozen=True)
class PrivacySettings:
  """What a memory may reveal of single users, and how ids are hashed; docs/privacy.md says what this gives, what not.

  Attributes:
    user_field: the field whose distinct ids count as users; null counts none.
    min_users_per_id: an id has weight in a slot only if at least so many distinct users of the slot's rows had it, and
      each slot is of at least so many users; 1 for no such rule. Of 2 or more, slots hold no ids of `user_field`.
    salt_environment_variable: name of the environment variable with a secret of at least 16 bytes that the ids of
      `hash` fields are keyed with; null hashes without a secret. Needed wherever rows are encoded.
    scored_rows: the most rows of the log that are kept beside a memory with the teacher's probabilities, by which
      learning rates can be chosen; 0 keeps none. With `min_users_per_id` of 2 or more there are none.
  """

  user_field: str | None = None
  min_users_per_id: int = 1
  salt_environment_variable: str | None = None
  scored_rows: int = SCORED_ROWS

  def __post_init__(self) -> None:
    if type(self.min_users_per_id) is not int or self.min_users_per_id < 1:
      raise ConfigError("privacy.min_users_per_id", rule="it is a whole number of at least 1.",
                        received=repr(self.min_users_per_id), remedy="use 1 for no rule, or 5.")
    if self.counts_users and self.user_field is None:
      raise ConfigError("privacy.user_field", rule="it names the field whose ids are users, where min_users_per_id is "
                        "more than 1.", received="nothing.", remedy="name it, like user_id.")
    if type(self.scored_rows) is not int or not 0 <= self.scored_rows <= MAX_SCORED_ROWS:
      raise ConfigError("privacy.scored_rows", rule=f"it is a whole number from 0 to {MAX_SCORED_ROWS:,}.",
                        received=repr(self.scored_rows), remedy=f"use {SCORED_ROWS}, or 0 for none.")
    self.salt()

  @property
  def counts_users(self) -> bool:
    """Whether ids need more than one user."""
    return self.min_users_per_id > 1

  @property
  def num_scored_rows(self) -> int:
    """The most rows of the scored sample: none where ids need more than one user, since a row is of one."""
    return 0 if self.counts_users else self.scored_rows

  def salt(self) -> Salt | None:
    """The salt of hashed fields, not bound to a secret yet."""
    return None if self.salt_environment_variable is None else Salt(self.salt_environment_variable)

  def user_column(self, names: Sequence[str]) -> int:
    """The number of the user field among the fields' names.

    Raises:
      ConfigError: it is not one of them.
    """
    if self.user_field is None or self.user_field not in names:
      raise ConfigError("privacy.user_field", rule=f"it is one of the fields: {', '.join(names)}.",
                        received=repr(self.user_field), remedy="name a field, or declare it under features.fields.")
    return list(names).index(self.user_field)

  def require_fitting(self, spec: FeatureSpec) -> None:
    """Raises ConfigError where a setting has nothing in the spec that it could be about."""
    if self.user_field is not None:
      self.user_column(spec.names)
    if self.user_field in spec.multi_valued:
      raise ConfigError("privacy.user_field", rule="a row is of one user: the field has one value a row.",
                        received=f"{self.user_field!r}, a multi-valued field.", remedy="name the field of the users.")
    if self.salt_environment_variable is not None and not any(field.hash_ids for field in spec.fields):
      raise ConfigError("privacy.salt_environment_variable", rule="it is of use to fields with hash alone.",
                        received="no field with hash.", remedy="hash the fields that are to be keyed, or leave it out.")


NO_RULES = PrivacySettings()


def users_by_span(born_spans: Iterable[int], settings: PrivacySettings, span: int,
                  before: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
  """Per span that slots were born in, the rule that they were made under; empty where no slot was made under one.

  Args:
    born_spans: `[num_slots]` spans in which the slots were born.
    settings: privacy settings of the stage.
    span: number of the stage's span; slots born in it were made under the settings.
    before: the record of the memory before the stage; slots of a span that it does not list were made under no rule.
  """
  known = {entry["born_span"]: dict(entry) for entry in before}
  if settings.counts_users:
    known[span] = {"born_span": span, "user_field": settings.user_field, "min_users": settings.min_users_per_id}
  else:
    known.pop(span, None)
  alive = sorted(set(map(int, born_spans)))
  rules = tuple(known.get(born, {"born_span": born, "user_field": None, "min_users": 1}) for born in alive)
  return rules if any(rule["user_field"] is not None for rule in rules) else ()


@dataclasses.dataclass(frozen=True)
class Claim:
  """What holds for all slots of a memory.

  Attributes:
    user_field: name of the field whose distinct ids were counted as users; None if nothing holds for all slots.
    min_users: so many of them stand behind every id weight, and behind every slot; 1 for no claim.
    why_none: why nothing holds for all slots; None where something does.
    salted_fields: fields whose ids are hashed with a secret salt.
    salt_check: check value of that salt; None without one.
    hashed_fields: fields whose ids are hashed without one.
    open_fields: fields whose ids stand for values in the clear, or for ranges of them.
  """

  user_field: str | None
  min_users: int
  why_none: str | None
  salted_fields: tuple[str, ...]
  salt_check: str | None
  hashed_fields: tuple[str, ...]
  open_fields: tuple[str, ...]

  @classmethod
  def of(cls, users_per_id: Sequence[Mapping[str, Any]], spec: FeatureSpec) -> Claim:
    """The claim that a manifest's parts allow: the weakest rule among the spans that its slots were born in."""
    user_fields = sorted({entry["user_field"] for entry in users_per_id if entry["user_field"] is not None})
    why_none = _why_none(users_per_id, user_fields)
    hashed = [field for field in spec.fields if field.hash_ids is not None]
    return cls(
        user_field=user_fields[0] if why_none is None else None,
        min_users=min(entry["min_users"] for entry in users_per_id) if why_none is None else 1, why_none=why_none,
        salted_fields=tuple(field.name for field in hashed if field.salt is not None),
        salt_check=None if spec.salt is None else spec.salt.check,
        hashed_fields=tuple(field.name for field in hashed if field.salt is None),
        open_fields=tuple(field.name for field in spec.fields if field.hash_ids is None))

  def to_dict(self) -> dict[str, Any]:
    """The claim as JSON values."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

  def users_text(self) -> str:
    """What holds of users, as a sentence."""
    if self.why_none is not None:
      return f"none: {self.why_none}"
    return f"at least {self.min_users} users (field {self.user_field}) behind every id weight and every slot"

  def hashing_text(self) -> str:
    """What holds of ids, as a sentence."""
    parts = [f"with a secret salt: {', '.join(self.salted_fields)}" if self.salted_fields else "",
             f"without a salt: {', '.join(self.hashed_fields)}" if self.hashed_fields else "",
             f"in the clear: {', '.join(self.open_fields)}" if self.open_fields else ""]
    return "; ".join(part for part in parts if part)


def _why_none(users_per_id: Sequence[Mapping[str, Any]], user_fields: Sequence[str]) -> str | None:
  if not users_per_id:
    return "rare ids stand in slots by themselves"
  without = [str(entry["born_span"]) for entry in users_per_id if entry["user_field"] is None]
  if without:
    return f"slots of span {', '.join(without)} were made without a minimum of users"
  return f"users were counted by more than one field: {', '.join(user_fields)}" if len(user_fields) > 1 else None
