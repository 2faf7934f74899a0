"""Settings as dataclasses, built from plain mappings with every key and type checked, and the places in messages."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NoReturn, TypeVar, Union

from diet_tf.errors import ConfigError

Settings = TypeVar("Settings")
Scalar = str | int | float | bool | None
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
Path = tuple[str | int, ...]
# Counts are held in 32 bits somewhere on their way; what goes through JSON as a number of 64 bits is exact up to this.
_MAX_COUNT, _MAX_INTEGER = (1 << 31) - 1, (1 << 53) - 1
# Seeds, and keys with this ending, are no counts.
_SEEDS, _BYTES = ("seed", "seeds"), "_bytes"
# In the metadata of a dataclass' field, another name by which its key is read.
OTHER_NAME = "other name"


@dataclasses.dataclass(frozen=True)
class Where:
  """A place in a config, for error messages.

  Attributes:
    source: the file, or what else the values came from.
    path: the keys that lead to the place.
    locations: origins of the values whose origin is known, by the keys that lead to them: "file:line", or the override
      that set them.
    texts: texts by which values were written that are no texts, where `plain_text` does not say it.
  """

  source: str
  path: Path = ()
  locations: Mapping[Path, str] = dataclasses.field(default_factory=dict)
  texts: Mapping[Path, str] = dataclasses.field(default_factory=dict)

  def child(self, key: str | int) -> Where:
    """The place of an entry."""
    return dataclasses.replace(self, path=(*self.path, key))

  @property
  def key(self) -> str:
    """The place as a dotted key, as overrides write it; empty for the whole config."""
    return ".".join(map(str, self.path))

  @property
  def location(self) -> str:
    """File and line of the place, or of the nearest section around it that has one."""
    known = (self.locations.get(self.path[:size]) for size in range(len(self.path), -1, -1))
    return next((location for location in known if location), self.source)

  def locate(self, key: str) -> str | None:
    """File and line of the entry with this dotted key, if it has one."""
    return next((location for path, location in self.locations.items() if ".".join(map(str, path)) == key), None)

  def text_of(self, value: Scalar) -> str:
    """The text by which the value of the place was written."""
    return self.texts.get(self.path, plain_text(value))

  def __str__(self) -> str:
    return f"{self.location}: {self.key}" if self.path else self.location


@dataclasses.dataclass(frozen=True)
class Spelled:
  """A single value of a config and the text by which it was written.

  Attributes:
    value: the value; of which kind it is says the config.
    text: its text, such as `1.10` of the number 1.1.
  """

  value: Scalar
  text: str


def plain_text(value: Scalar) -> str:
  """A single value as a config writes it, if nobody has written it otherwise."""
  return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)


def build(cls: type[Settings], values: Mapping[str, Any], where: Where | str) -> Settings:
  """A dataclass from a mapping, with nested dataclasses, checking every key and type; only int becomes float.

  Args:
    cls: a dataclass whose fields are annotated with bool, int, float, str, None, Any, Literal, a union, a dataclass,
      or a tuple, sequence or mapping of these.
    values: one entry for each field that is set; a field without a default must be.
    where: the place of the mapping, for messages.

  Raises:
    ConfigError: an unknown key (naming the nearest known one), a missing key, a wrong type, or what `cls` itself
      refuses; the message names the place.
  """
  where = Where(where) if isinstance(where, str) else where
  if not isinstance(values, collections.abc.Mapping):
    refuse(where, "it is a section with keys.", described(values), "write its keys below it, indented.")
  fields = [field for field in dataclasses.fields(typing.cast(Any, cls)) if field.init]
  values = _renamed(values, fields, where)
  required = [field.name for field in fields
              if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING]
  check_keys(values, [field.name for field in fields], required, where)
  annotations = typing.get_type_hints(cls)
  arguments = {key: convert(value, annotations[key], where.child(key)) for key, value in values.items()}
  with located(where):
    return cls(**arguments)


def _renamed(values: Mapping[str, Any], fields: Sequence[dataclasses.Field[Any]], where: Where) -> dict[str, Any]:
  """The values with the other names of keys replaced by those of the fields."""
  renamed = dict(values)
  for field in fields:
    other = field.metadata.get(OTHER_NAME)
    if other in renamed:
      if field.name in renamed:
        refuse(where.child(other), f"it stands once; {field.name} is the same key.", "both names.", f"remove {other}.")
      renamed[field.name] = renamed.pop(other)
  return renamed


def check_keys(values: Mapping[str, Any], known: Sequence[str], required: Sequence[str], where: Where) -> None:
  """Raises ConfigError for the first key that is not known, or the first required one that is missing."""
  for key in values:
    if key not in known:
      close = difflib.get_close_matches(str(key), known, 1)
      remedy = f"did you mean {close[0]!r}?" if close else "remove it."
      refuse(where.child(key), f"the keys here are {', '.join(known)}.", repr(key), remedy)
  for key in required:
    if values.get(key) is None:
      place = where.child(key).key
      refuse(where, f"{place} is set.", f"keys {sorted(map(str, values))}.", f"add {place}.")


def convert(value: Any, annotation: Any, where: Where) -> Any:
  """The value as the annotation wants it."""
  origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
  if annotation is Any:
    return value
  if origin in (Union, types.UnionType):
    return _convert_union(value, arguments, where)
  if annotation is Spelled:
    if not _is_scalar(value):
      refuse(where, "it is a single value.", described(value), "write one value.")
    return Spelled(value, where.text_of(value))
  if origin is Literal:
    if not _may_fit(value, annotation):
      refuse(where, f"it is one of {', '.join(map(repr, arguments))}.", described(value), "choose one of them.")
    return value
  if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
    return build(annotation, value, where)
  if origin is tuple or origin in (list, collections.abc.Sequence):
    return _convert_sequence(value, annotation, where)
  if origin in (dict, collections.abc.Mapping):
    if not isinstance(value, collections.abc.Mapping):
      refuse(where, "it is a section of key: value.", described(value), "write its keys below it, indented.")
    return {convert(key, arguments[0], where): convert(entry, arguments[1], where.child(key))
            for key, entry in value.items()}
  return _convert_scalar(value, annotation, where)


def _convert_sequence(value: Any, annotation: Any, where: Where) -> Any:
  arguments = typing.get_args(annotation)
  if not isinstance(value, (list, tuple)):
    refuse(where, "it is a list.", described(value), "write it like [a, b], or as lines that begin with '- '.")
  fixed = typing.get_origin(annotation) is tuple and arguments[-1] is not Ellipsis
  if fixed and len(value) != len(arguments):
    refuse(where, f"it is a list of {len(arguments)}.", f"{len(value)}.", "give exactly as many.")
  kinds = arguments if fixed else [arguments[0]] * len(value)
  items = [convert(item, kind, where.child(index))
           for index, (item, kind) in enumerate(zip(value, kinds, strict=True))]
  return items if typing.get_origin(annotation) is list else tuple(items)


def _convert_union(value: Any, choices: Sequence[Any], where: Where) -> Any:
  if value is None and type(None) in choices:
    return None
  choices = [choice for choice in choices if choice is not type(None)]
  fitting = [choice for choice in choices if _may_fit(value, choice)]
  if not fitting and str in choices and _is_scalar(value):
    return where.text_of(value)
  if not fitting:
    refuse(where, f"it is {' or '.join(map(_named, choices))}.", described(value), "give one of these.")
  # Of int and float, a whole number is an int; the annotation's order decides otherwise.
  return convert(value, next((choice for choice in fitting if choice is type(value)), fitting[0]), where)


def _may_fit(value: Any, annotation: Any) -> bool:
  origin = typing.get_origin(annotation)
  if annotation is Any:
    return True
  if origin is Literal:
    # Python takes True for 1; a config does not.
    return any(value == choice and type(value) is type(choice) for choice in typing.get_args(annotation))
  if dataclasses.is_dataclass(annotation) or origin in (dict, collections.abc.Mapping):
    return isinstance(value, collections.abc.Mapping)
  if origin in (tuple, list, collections.abc.Sequence):
    return isinstance(value, (list, tuple))
  if isinstance(value, bool) or annotation is bool:
    return isinstance(value, bool) and annotation is bool
  return isinstance(value, (int, float) if annotation is float else annotation)


def _is_scalar(value: Any) -> bool:
  return value is None or isinstance(value, (str, int, float))


def _convert_scalar(value: Any, annotation: Any, where: Where) -> Any:
  in_list = bool(where.path) and isinstance(where.path[-1], int)
  # Where a text is wanted, what was written is one, whatever else it could be; but a key without a value is not set.
  if annotation is str and _is_scalar(value) and (value is not None or in_list):
    return value if isinstance(value, str) else where.text_of(value)
  if not _may_fit(value, annotation):
    refuse(where, f"it is {_named(annotation)}.", described(value), "correct the value.")
  _check_size(value, where)
  return float(value) if annotation is float else value


def _check_size(value: Any, where: Where) -> None:
  """Refuses a number that no part of a run could hold."""
  if isinstance(value, float) and not math.isfinite(value):
    refuse(where, "it is a finite number.", described(value), "give one.")
  if isinstance(value, int) and not isinstance(value, bool):
    key = next((str(name) for name in reversed(where.path) if not isinstance(name, int)), "")
    most = _MAX_INTEGER if key in _SEEDS or key.endswith(_BYTES) else _MAX_COUNT
    if abs(value) > most:
      refuse(where, f"it is at most {most:,}.", described(value), "use a smaller number.")


def _named(annotation: Any) -> str:
  if annotation in _NAMES:
    return _NAMES[annotation]
  if dataclasses.is_dataclass(annotation) or typing.get_origin(annotation) in (dict, collections.abc.Mapping):
    return "a section"
  if typing.get_origin(annotation) in (tuple, list, collections.abc.Sequence):
    return "a list"
  return str(annotation)


def described(value: Any) -> str:
  """A value as messages show what was received: its kind and the value, as a sentence."""
  kinds: dict[type, str] = {dict: "a section", list: "a list", str: "the text", bool: "the truth value",
                            int: "the number", float: "the number"}
  return "nothing." if value is None else f"{kinds.get(type(value), type(value).__name__)} {value!r}."


def refuse(where: Where, rule: str, received: str, remedy: str) -> NoReturn:
  """Raises ConfigError about the value at a place."""
  raise ConfigError(str(where), rule=rule, received=received, remedy=remedy)


@contextlib.contextmanager
def located(where: Where) -> Iterator[None]:
  """Puts the file and line before the subject of a ConfigError that a dataclass raises about its own values."""
  try:
    yield
  except ConfigError as error:
    if error.subject.startswith(f"{where.source}:"):
      raise
    location = where.locate(error.subject) or where.location
    raise ConfigError(f"{location}: {error.subject}", rule=error.rule, received=error.received,
                      remedy=error.remedy) from error


def to_json(settings: Any) -> str:
  """A dataclass of settings as JSON text with sorted keys: equal settings give equal texts."""
  return json.dumps(dataclasses.asdict(settings), sort_keys=True, default=dict)


def from_json(cls: type[Settings], text: str, subject: str) -> Settings:
  """The dataclass in a JSON text, checked like the sections of a config file.

  Args:
    cls: the dataclass.
    text: a JSON object; empty for all defaults.
    subject: name of the text in messages.

  Raises:
    ConfigError: the text is no JSON object, a key is unknown or missing, or a value is not usable.
  """
  try:
    values = json.loads(text or "{}")
  except ValueError as error:
    raise ConfigError(subject, rule="it is a JSON object.", received=f"{text[:80]!r} ({error}).",
                      remedy="write it with diet_tf.settings.to_json.") from error
  return build(cls, values, subject)
