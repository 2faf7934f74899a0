"""The feature spec: which columns of the log become fields, and how a value becomes an id.

An id is local to its field and lies in `[0, num_ids)`. Id 0 means "missing" in every field. The same value maps to
the same id in every span: hashing is a fixed function, a closed vocabulary is part of the spec, and a grown
vocabulary only ever appends (its values are carried from span to span in the memory store).
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from diet_tf.errors import ConfigError
from diet_tf.io.shapes import Absentable, ListOf, fields_of
from diet_tf.log.salt import Salt
from diet_tf.settings import OTHER_NAME

MISSING_ID = 0
OUT_OF_VOCABULARY_ID = 1
# Ids 0 and 1 of a vocabulary field are taken by "missing" and "out of vocabulary".
NUM_RESERVED_VOCABULARY_IDS = 2
# Ids are kept as int32.
MAX_NUM_IDS = (1 << 31) - 1
# A slot's arrays are as wide as its widest field: more than this is a fault rather than a wish.
MAX_IDS_PER_SLOT = 4096
MAX_FIELDS = 10_000
# An encoded row has a place for each value that a multi-valued field may have.
MAX_VALUES = 1024
# What a feature spec is written as: version 1 has fields of one value a row, version 2 multi-valued ones too, and
# labels of listed values.
FEATURE_SPEC_VERSIONS = (1, 2)
# Keys of a field that version 1 does not have; they are left out where they are not set.
_KEYS_OF_VERSION_2 = ("max_values", "separator", "weights")


@dataclasses.dataclass(frozen=True)
class Field:
  """One categorical input of a model.

  Exactly one of `hash_ids`, `vocabulary_ids` and `boundaries` says how values become ids:

  - `hash_ids`: `id = 1 + FarmHashFingerprint64(canonical value) mod (hash_ids - 1)`; with a salt, the fingerprint is
    BLAKE2b keyed by its secret.
  - `vocabulary_ids`: at most that many ids; `vocabulary` lists the values if it is closed, else it grows by the values
    of each span, most frequent first. A value that is not listed gets id 1.
  - `boundaries`: `id = 1 + number of boundaries <= value`.

  A field with `max_values` is multi-valued: a row has a set of values in it, whose order and repetition do not matter,
  and a model reads the mean of their embeddings, weighted where values have weights. A row without any is missing.

  Attributes:
    name: the field's name in examples, models and memories.
    column: the column of the joined log that it is read from.
    hash_ids: size of the id space of a hashed field, from 2 to 2^31 - 1.
    vocabulary_ids: size of the id space of a vocabulary field, from 2 to 2^31 - 1.
    vocabulary: the closed list of values, in canonical form; empty if the vocabulary grows.
    boundaries: strictly increasing bucket boundaries.
    ids_per_slot: the most ids that a slot keeps for this field (K), from 1 to 4,096; None takes the memory's default.
    salt: the secret that a hashed field's ids are keyed with; None hashes without one.
    max_values: the most values that are kept of a row, from 1 to 1,024; of more, those of the greatest weight, and of
      equal ones those first in a fixed order. None is a field of one value a row.
    separator: text between the values, where they are one text of the log; None takes a list of them.
    weights: the column with the weights of the values, written as these are; None weighs them alike.
  """

  name: str
  column: str
  hash_ids: int | None = None
  vocabulary_ids: int | None = None
  vocabulary: tuple[str, ...] = ()
  boundaries: tuple[float, ...] = ()
  ids_per_slot: int | None = None
  salt: Salt | None = None
  max_values: int | None = None
  separator: str | None = None
  weights: str | None = None

  def __post_init__(self) -> None:
    subject = f"field {self.name!r}"
    if not isinstance(self.name, str) or not isinstance(self.column, str):
      raise ConfigError(subject, rule="name and column of a field are texts.",
                        received=f"{self.name!r}, {self.column!r}.", remedy="put them in quotes.")
    if not self.name or "/" in self.name:
      raise ConfigError(subject, rule="a field's name is a non-empty string without '/'.", received=repr(self.name),
                        remedy="rename the field.")
    ways = [self.hash_ids is not None, self.vocabulary_ids is not None, bool(self.boundaries)]
    if sum(ways) != 1:
      raise ConfigError(subject, rule="exactly one of hash_ids, vocabulary_ids and boundaries must be set.",
                        received=f"{sum(ways)} of them.", remedy="keep one.")
    sizes = (self.hash_ids, self.vocabulary_ids, self.ids_per_slot)
    if not all(size is None or type(size) is int for size in sizes):
      raise ConfigError(subject, rule="hash_ids, vocabulary_ids and ids_per_slot are integers.", received=f"{sizes}.",
                        remedy="write whole numbers.")
    if not 2 <= self.num_ids <= MAX_NUM_IDS:
      raise ConfigError(subject, rule=f"the id space has from 2 to {MAX_NUM_IDS:,} ids.", received=f"{self.num_ids:,}.",
                        remedy="set hash_ids or vocabulary_ids within that.")
    if len(self.vocabulary) + NUM_RESERVED_VOCABULARY_IDS > (self.vocabulary_ids or 1 << 62):
      raise ConfigError(subject, rule="a closed vocabulary and its two reserved ids must fit in vocabulary_ids.",
                        received=f"{len(self.vocabulary)} values for {self.vocabulary_ids} ids.",
                        remedy="raise vocabulary_ids.")
    if len(set(self.vocabulary)) != len(self.vocabulary):
      raise ConfigError(subject, rule="the values of a vocabulary are distinct.", received="a repeated value.",
                        remedy="remove the repetition.")
    if not all(-math.inf < boundary < math.inf for boundary in self.boundaries):
      raise ConfigError(subject, rule="boundaries are finite numbers.", received=str(list(self.boundaries)),
                        remedy="remove what is no number; the outermost buckets are open anyway.")
    if any(a >= b for a, b in zip(self.boundaries, self.boundaries[1:])):
      raise ConfigError(subject, rule="boundaries are strictly increasing.", received=str(list(self.boundaries)),
                        remedy="sort them and drop repetitions.")
    if self.salt is not None and self.hash_ids is None:
      raise ConfigError(subject, rule="a salt is for hashed fields.", received="a salt without hash_ids.",
                        remedy="hash the field, or leave the salt out.")
    if self.ids_per_slot is not None and not 1 <= self.ids_per_slot <= MAX_IDS_PER_SLOT:
      raise ConfigError(subject, rule=f"ids_per_slot lies in [1, {MAX_IDS_PER_SLOT:,}].",
                        received=str(self.ids_per_slot), remedy="set it within that.")
    self._check_values(subject)

  def _check_values(self, subject: str) -> None:
    """Checks what says that a field has several values a row."""
    if self.max_values is None:
      given = [name for name in ("separator", "weights") if getattr(self, name) is not None]
      if given:
        raise ConfigError(subject, rule=f"a field with {' and '.join(given)} has several values a row, and says by "
                          "max_values how many are kept.", received="no max_values.", remedy="set max_values, like 8.")
      return
    if type(self.max_values) is not int or not 1 <= self.max_values <= MAX_VALUES:
      raise ConfigError(subject, rule=f"max_values is a whole number from 1 to {MAX_VALUES:,}.",
                        received=repr(self.max_values), remedy="set it within that.")
    if self.separator is not None and (not isinstance(self.separator, str) or not self.separator
                                       or set(self.separator) & set("\r\n")):
      raise ConfigError(subject, rule="separator is a text that stands between values, without line breaks.",
                        received=repr(self.separator), remedy='write it like "|".')
    if self.weights is not None and (not isinstance(self.weights, str) or self.weights in ("", self.column)):
      raise ConfigError(subject, rule="weights names another column than that of the values.",
                        received=repr(self.weights), remedy="name the column of the weights, or leave it out.")

  @property
  def is_multi_valued(self) -> bool:
    """Whether a row may have several values in the field."""
    return self.max_values is not None

  @property
  def columns(self) -> tuple[str, ...]:
    """The columns of the joined log that the field is read from."""
    return (self.column,) if self.weights is None else (self.column, self.weights)

  @property
  def list_columns(self) -> tuple[str, ...]:
    """Those of its columns that are read as lists of values: all of a multi-valued field without a separator."""
    return self.columns if self.is_multi_valued and self.separator is None else ()

  @property
  def num_ids(self) -> int:
    """Size of the field's id space, id 0 ("missing") included."""
    if self.hash_ids is not None:
      return self.hash_ids
    if self.vocabulary_ids is not None:
      return self.vocabulary_ids
    return len(self.boundaries) + 2


@dataclasses.dataclass(frozen=True)
class Label:
  """How the 0/1 label is read.

  Without a rule the column is 0 or 1, true or false, yes or no, or 1 and -1 in a span where none is 0.

  Attributes:
    column: the column of the log.
    positive_from: the least number that counts as 1, all below it count as 0. A config may name it `at_least` too.
    positive: the values that count as 1, such as names of events, in canonical form.
    negative: the values that count as 0; empty takes all but those that count as 1.
  """

  column: str
  positive_from: float | None = dataclasses.field(default=None, metadata={OTHER_NAME: "at_least"})
  positive: tuple[str, ...] = ()
  negative: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    if self.positive_from is not None and self.positive:
      raise ConfigError("features.label", rule="positive_from (at_least) or positive says what counts as 1.",
                        received="both.", remedy="keep one of them.")
    if self.positive_from is not None and not math.isfinite(self.positive_from):
      raise ConfigError("features.label.positive_from", rule="it is a finite number, also named at_least.",
                        received=f"{self.positive_from}.", remedy="set the least number that counts as 1.")
    if self.negative and not self.positive:
      raise ConfigError("features.label.negative", rule="it stands beside positive, the values that count as 1.",
                        received=f"{list(self.negative)} alone.", remedy="list those in features.label.positive.")
    listed = [*self.positive, *self.negative]
    if len(set(listed)) != len(listed) or "" in listed:
      raise ConfigError("features.label.positive", rule="its values, and those of negative, are there and distinct.",
                        received=f"{list(self.positive)} and {list(self.negative)}.",
                        remedy="list each value once; a missing label cannot be one.")

  def to_dict(self) -> dict[str, Any]:
    """The label as JSON types, without what release 0.1 did not have, unless it is set."""
    value = {"column": self.column, "positive_from": self.positive_from}
    lists = {"positive": list(self.positive), "negative": list(self.negative)}
    return value | {name: values for name, values in lists.items() if values}


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
  """The fields, label and time column of a log; all that is needed to read an example or a slot.

  Attributes:
    fields: the fields, in the order of axis 1 of every `[num_examples, num_fields]` array.
    label: how the label is read.
    time_column: a column of numbers, dates or times that orders the examples of a span; None keeps them in hash order.
  """

  fields: tuple[Field, ...]
  label: Label
  time_column: str | None = None

  def __post_init__(self) -> None:
    names = [field.name for field in self.fields]
    if not names:
      raise ConfigError("feature spec", rule="at least one field is declared.", received="none.",
                        remedy="declare the categorical inputs of your models under features.fields.")
    if len(names) > MAX_FIELDS:
      raise ConfigError("feature spec", rule=f"it has at most {MAX_FIELDS:,} fields.", received=f"{len(names):,}.",
                        remedy="declare fewer of them.")
    repeated = sorted(name for name, count in collections.Counter(names).items() if count > 1)
    if repeated:
      raise ConfigError("feature spec", rule="field names are distinct.", received=f"repeated: {repeated}.",
                        remedy="rename one of them.")
    if len({field.salt for field in self.fields if field.hash_ids is not None}) > 1:
      raise ConfigError("feature spec", rule="all hashed fields have one salt, or none has.", received="several.",
                        remedy="set it with FeatureSpec.with_salt.")

  @property
  def names(self) -> tuple[str, ...]:
    """The fields' names, in order."""
    return tuple(field.name for field in self.fields)

  @property
  def num_ids(self) -> tuple[int, ...]:
    """Per field, the size of its id space."""
    return tuple(field.num_ids for field in self.fields)

  @property
  def multi_valued(self) -> tuple[str, ...]:
    """The names of the multi-valued fields, in order."""
    return tuple(field.name for field in self.fields if field.is_multi_valued)

  @property
  def version(self) -> int:
    """The version that the spec is written as: the least that has all that it declares."""
    return 2 if self.multi_valued or self.label.positive else 1

  @property
  def salt(self) -> Salt | None:
    """What the ids of hashed fields are keyed with; None without a secret."""
    return next((field.salt for field in self.fields if field.salt is not None), None)

  def with_salt(self, salt: Salt | None) -> FeatureSpec:
    """The spec whose hashed fields have this salt."""
    fields = tuple(field if field.hash_ids is None else dataclasses.replace(field, salt=salt) for field in self.fields)
    return dataclasses.replace(self, fields=fields)

  def bound_to(self, check: str | None) -> FeatureSpec:
    """The spec whose secret has to be the one with this check value; the spec itself without a salt or a value."""
    if self.salt is None or check is None:
      return self
    return self.with_salt(dataclasses.replace(self.salt, check=check))

  def ids_per_slot(self, default: int) -> tuple[int, ...]:
    """Per field, the most ids that a slot keeps: never more than the field has."""
    return tuple(min(field.num_ids, field.ids_per_slot or default) for field in self.fields)

  def to_dict(self) -> dict[str, Any]:
    """The spec as a dict, which `from_dict` reads; the salt, which all hashed fields share, stands in it once."""
    value = {**dataclasses.asdict(self), "label": self.label.to_dict()}
    for field in value["fields"]:
      for name in ("salt", *(key for key in _KEYS_OF_VERSION_2 if field[key] is None)):
        del field[name]
    if self.version > 1:
      value["version"] = self.version
    return value if self.salt is None else {**value, "salt": dataclasses.asdict(self.salt)}

  @classmethod
  def from_dict(cls, value: Mapping[str, Any]) -> FeatureSpec:
    """The spec that `to_dict` gave.

    Raises:
      ConfigError: it is of a version, or has a key of a field, that this release does not know.
    """
    require_known(value)
    fields = tuple(
        Field(**{**field, "vocabulary": tuple(field.get("vocabulary", ())),
                 "boundaries": tuple(field.get("boundaries", ()))}) for field in value["fields"])
    lists = {name: tuple(value["label"].get(name, ())) for name in ("positive", "negative")}
    spec = cls(fields=fields, label=Label(**{**value["label"], **lists}), time_column=value.get("time_column"))
    return spec.with_salt(Salt(**value["salt"])) if value.get("salt") else spec

  def digest(self) -> str:
    """The SHA-256 of the spec's canonical JSON: two specs with one digest read a log alike, given one secret.

    Of a salt it says only that there is one: where the secret comes from makes no difference, and which it is, nobody
    knows before the first span is encoded.
    """
    salted = {} if self.salt is None else {"salt": True}
    canonical = json.dumps({**self.to_dict(), **salted}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def require_known(value: Mapping[str, Any]) -> None:
  """Refuses what a later release has written of fields, by its name: passed over, rows would be read wrong.

  Args:
    value: what `FeatureSpec.to_dict` gave.

  Raises:
    ConfigError: the version, or a key of a field, is not known.
  """
  known = {field.name for field in dataclasses.fields(Field)} - {"salt"}
  unknown = [(field.get("name"), key) for field in value["fields"] for key in field if key not in known]
  version = value.get("version", 1)
  if version not in FEATURE_SPEC_VERSIONS or unknown:
    received = f"version {version}" if not unknown else f"field {unknown[0][0]!r} with {unknown[0][1]!r}"
    raise ConfigError("feature spec", rule=f"it is of version {' or '.join(map(str, FEATURE_SPEC_VERSIONS))}, whose "
                      f"fields have {', '.join(sorted(known))}.", received=f"{received}.",
                      remedy="use the release of diet-tf that wrote it.")


# What `FeatureSpec.to_dict` gives, for the formats in which a spec stands.
FEATURE_SPEC_SHAPE = {
    "fields": ListOf({"name": str, "column": str, "hash_ids": int | None, "vocabulary_ids": int | None,
                      "vocabulary": list[str], "boundaries": list[float], "ids_per_slot": int | None,
                      "max_values": Absentable(int), "separator": Absentable(str), "weights": Absentable(str)}),
    "version": Absentable(int),
    "label": {"column": str, "positive_from": float | None, "positive": Absentable(list[str]),
              "negative": Absentable(list[str])}, "time_column": str | None,
    "salt": Absentable(fields_of(Salt))}


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
