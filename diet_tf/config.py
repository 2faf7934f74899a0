"""The config of a run: one YAML file, read into frozen dataclasses with every key and type checked.

Each section is a dataclass that lives with the code it configures; it is imported only when a config is loaded, since
some of that code imports TensorFlow.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import difflib
import hashlib
import importlib
import json
import types
import typing
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, Union

from diet_tf.budget import BudgetSettings
from diet_tf.config_file import Where, apply_overrides, parse_overrides, read_config_file
from diet_tf.errors import ConfigError
from diet_tf.features import NUM_RESERVED_VOCABULARY_IDS, FeatureSpec, Field, Label
from diet_tf.privacy import PrivacySettings
from diet_tf.validation import ValidationSettings

if TYPE_CHECKING:
  from diet_tf.addressing import AddressingSettings
  from diet_tf.distill import DistillSettings
  from diet_tf.fidelity import PanelSettings
  from diet_tf.gate import GateSettings
  from diet_tf.influence import InfluenceSettings
  from diet_tf.log_settings import LogSettings
  from diet_tf.squash import SquashSettings
  from diet_tf.teacher import TeacherSettings

Settings = TypeVar("Settings")
Strategy = Literal["auto", "cpu", "gpu", "mirrored"]

# Sections whose settings live in modules that may import TensorFlow.
SECTIONS = {
    "log": ("diet_tf.log_settings", "LogSettings"),
    "teacher": ("diet_tf.teacher", "TeacherSettings"),
    "influence": ("diet_tf.influence", "InfluenceSettings"),
    "addressing": ("diet_tf.addressing", "AddressingSettings"),
    "squash": ("diet_tf.squash", "SquashSettings"),
    "distill": ("diet_tf.distill", "DistillSettings"),
    "gate": ("diet_tf.gate", "GateSettings"),
    "panel": ("diet_tf.fidelity", "PanelSettings"),
}
# These say where things are and run, not what is computed: a memory does not depend on them.
KEYS_OUTSIDE_DIGEST = ("name", "output", "strategy", "test_spans")


@dataclasses.dataclass(frozen=True)
class Config:
  """All settings of a run.

  Attributes:
    name: of the run, in reports and as the name of the pipeline.
    log: where the log is and how its spans are read.
    features: the fields, label and time column.
    budget: how many slots the memory may have.
    teacher: the streaming reference model.
    influence: how examples are scored.
    addressing: how slots are frozen, updated, replaced and added.
    squash: how the clusters of a span become slots.
    distill: the bi-level refinement.
    gate: when a new memory is committed.
    panel: the architectures that fidelity is judged on.
    validation: which anomalies of a span stop the run.
    privacy: what slots may reveal of single users, and how ids are hashed.
    test_spans: the newest so many spans of the log are kept for the test, not distilled.
    seed: of everything that is drawn.
    strategy: where models are trained: "auto", "cpu", "gpu" or "mirrored"; see `diet_tf.devices`.
    output: folder or URI for the store, the reports and the pipeline's own files.
  """

  name: str
  log: LogSettings
  features: FeatureSpec
  budget: BudgetSettings
  teacher: TeacherSettings
  influence: InfluenceSettings
  addressing: AddressingSettings
  squash: SquashSettings
  distill: DistillSettings
  gate: GateSettings
  panel: PanelSettings
  validation: ValidationSettings
  privacy: PrivacySettings
  test_spans: int
  seed: int
  strategy: Strategy
  output: str

  def to_dict(self) -> dict[str, Any]:
    """The settings as JSON types, defaults included."""
    return json.loads(json.dumps(dataclasses.asdict(self)))

  def digest(self) -> str:
    """The SHA-256 of all settings that a memory depends on."""
    value = {key: entry for key, entry in self.to_dict().items() if key not in KEYS_OUTSIDE_DIGEST}
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class FieldForm:
  """A field as a config writes it.

  Attributes:
    name: the field's name.
    column: the column of the joined log; the field's name if it is left out.
    hash: size of the id space of a hashed field.
    vocabulary: size of the id space of a growing vocabulary, or the list of values of a closed one.
    boundaries: bucket boundaries of a number.
    ids_per_slot: the most ids that a slot keeps for this field.
  """

  name: str
  column: str | None = None
  hash: int | None = None
  vocabulary: int | tuple[str | int | float | bool, ...] | None = None
  boundaries: tuple[float, ...] = ()
  ids_per_slot: int | None = None

  def to_field(self) -> Field:
    """The field of the feature spec."""
    closed: tuple[str, ...] = ()
    vocabulary_ids = self.vocabulary
    if isinstance(self.vocabulary, tuple):
      closed = tuple(_canonical_text(value) for value in self.vocabulary)
      vocabulary_ids = len(closed) + NUM_RESERVED_VOCABULARY_IDS
    return Field(name=self.name, column=self.column or self.name, hash_ids=self.hash,
                 vocabulary_ids=typing.cast("int | None", vocabulary_ids), vocabulary=closed,
                 boundaries=self.boundaries, ids_per_slot=self.ids_per_slot)


@dataclasses.dataclass(frozen=True)
class FeaturesForm:
  """The section `features` as a config writes it.

  Attributes:
    label: the label's column, alone or with `positive_from`.
    fields: the fields, in order.
    time: the column that orders the examples of a span.
  """

  label: str | Label
  fields: tuple[FieldForm, ...]
  time: str | None = None


def load_config(path: str, overrides: Mapping[str, Any] | Sequence[str] = ()) -> Config:
  """The config in a YAML file.

  Args:
    path: of the file; a path or URI that `tf.io.gfile` reads.
    overrides: values that replace those of the file, as `{"budget.fraction": 0.02}` or `["budget.fraction=0.02"]`.

  Raises:
    ConfigError: the file is missing or not YAML, a key is unknown, missing or given twice, or a value is not usable;
      the message names the file, the line and the key.
  """
  values, where = read_config_file(path)
  where = apply_overrides(values, where, parse_overrides(overrides))
  return build_config(values, where)


def build_config(values: Mapping[str, Any], where: Where | str = "config") -> Config:
  """The config of a mapping of sections, as `load_config` reads it from a file."""
  where = Where(where) if isinstance(where, str) else where
  known = [field.name for field in dataclasses.fields(Config)]
  check_keys(values, known, ("name", "log", "features"), where)
  sections: dict[str, Any] = {
      "name": _convert(values["name"], str, where.child("name")),
      "features": build_features(values["features"], where.child("features")),
      "budget": build(BudgetSettings, _section(values, "budget"), where.child("budget")),
      "validation": build(ValidationSettings, _section(values, "validation"), where.child("validation")),
      "privacy": build(PrivacySettings, _section(values, "privacy"), where.child("privacy")),
      "test_spans": _convert(values.get("test_spans", 1), int, where.child("test_spans")),
      "seed": _convert(values.get("seed", 0), int, where.child("seed")),
      "strategy": _convert(values.get("strategy", "auto"), Strategy, where.child("strategy")),
  }
  with _located(where):
    sections["privacy"].require_fitting(sections["features"])
  sections["features"] = sections["features"].with_salt(sections["privacy"].salt())
  default_output = f"diet_runs/{sections['name']}"
  sections["output"] = _convert(values.get("output") or default_output, str, where.child("output"))
  for key, holds in (("name", sections["name"]), ("seed", sections["seed"] >= 0),
                     ("test_spans", sections["test_spans"] >= 0)):
    if not holds:
      _refuse(where.child(key), "it is not empty." if key == "name" else "it is not negative.", repr(sections[key]),
              f"correct {key}.")
  for name, (module, cls) in SECTIONS.items():
    settings = getattr(importlib.import_module(module), cls)
    sections[name] = build(settings, _section(values, name), where.child(name))
  return Config(**sections)


def build_features(values: Mapping[str, Any], where: Where | str = "features") -> FeatureSpec:
  """The feature spec of a config's compact form (`FeaturesForm`)."""
  where = Where(where) if isinstance(where, str) else where
  form = build(FeaturesForm, values, where)
  label = form.label if isinstance(form.label, Label) else Label(form.label)
  fields = []
  for index, field in enumerate(form.fields):
    with _located(where.child("fields").child(index)):
      fields.append(field.to_field())
  with _located(where):
    return FeatureSpec(fields=tuple(fields), label=label, time_column=form.time)


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
    _refuse(where, "it is a section with keys.", _described(values), "write its keys below it, indented.")
  fields = [field for field in dataclasses.fields(typing.cast(Any, cls)) if field.init]
  required = [field.name for field in fields
              if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING]
  check_keys(values, [field.name for field in fields], required, where)
  annotations = typing.get_type_hints(cls)
  arguments = {key: _convert(value, annotations[key], where.child(key)) for key, value in values.items()}
  with _located(where):
    return cls(**arguments)


def check_keys(values: Mapping[str, Any], known: Sequence[str], required: Sequence[str], where: Where) -> None:
  """Raises ConfigError for the first key that is not known, or the first required one that is missing."""
  for key in values:
    if key not in known:
      close = difflib.get_close_matches(str(key), known, 1)
      remedy = f"did you mean {close[0]!r}?" if close else "remove it."
      _refuse(where.child(key), f"the keys here are {', '.join(known)}.", repr(key), remedy)
  for key in required:
    if values.get(key) is None:
      place = where.child(key).key
      _refuse(where, f"{place} is set.", f"keys {sorted(map(str, values))}.", f"add {place}.")


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
  section = values.get(name)
  return {} if section is None else section


def _convert(value: Any, annotation: Any, where: Where) -> Any:
  """The value as the annotation wants it."""
  origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
  if annotation is Any:
    return value
  if origin in (Union, types.UnionType):
    return _convert_union(value, arguments, where)
  if origin is Literal:
    if not _may_fit(value, annotation):
      _refuse(where, f"it is one of {', '.join(map(repr, arguments))}.", _described(value), "choose one of them.")
    return value
  if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
    return build(annotation, value, where)
  if origin is tuple or origin in (list, collections.abc.Sequence):
    return _convert_sequence(value, annotation, where)
  if origin in (dict, collections.abc.Mapping):
    if not isinstance(value, collections.abc.Mapping):
      _refuse(where, "it is a section of key: value.", _described(value), "write its keys below it, indented.")
    return {_convert(key, arguments[0], where): _convert(entry, arguments[1], where.child(key))
            for key, entry in value.items()}
  return _convert_scalar(value, annotation, where)


def _convert_sequence(value: Any, annotation: Any, where: Where) -> Any:
  arguments = typing.get_args(annotation)
  if not isinstance(value, (list, tuple)):
    _refuse(where, "it is a list.", _described(value), "write it like [a, b], or as lines that begin with '- '.")
  fixed = typing.get_origin(annotation) is tuple and arguments[-1] is not Ellipsis
  if fixed and len(value) != len(arguments):
    _refuse(where, f"it is a list of {len(arguments)}.", f"{len(value)}.", "give exactly as many.")
  kinds = arguments if fixed else [arguments[0]] * len(value)
  items = [_convert(item, kind, where.child(index))
           for index, (item, kind) in enumerate(zip(value, kinds, strict=True))]
  return items if typing.get_origin(annotation) is list else tuple(items)


def _convert_union(value: Any, choices: Sequence[Any], where: Where) -> Any:
  if value is None and type(None) in choices:
    return None
  choices = [choice for choice in choices if choice is not type(None)]
  fitting = [choice for choice in choices if _may_fit(value, choice)]
  if not fitting:
    _refuse(where, f"it is {' or '.join(map(_named, choices))}.", _described(value), "give one of these.")
  # Of int and float, a whole number is an int; the annotation's order decides otherwise.
  return _convert(value, next((choice for choice in fitting if choice is type(value)), fitting[0]), where)


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


def _convert_scalar(value: Any, annotation: Any, where: Where) -> Any:
  if not _may_fit(value, annotation):
    remedy = "put it in quotes." if annotation is str and not isinstance(value, (dict, list)) else "correct the value."
    _refuse(where, f"it is {_named(annotation)}.", _described(value), remedy)
  return float(value) if annotation is float else value


_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _named(annotation: Any) -> str:
  if annotation in _NAMES:
    return _NAMES[annotation]
  if dataclasses.is_dataclass(annotation) or typing.get_origin(annotation) in (dict, collections.abc.Mapping):
    return "a section"
  if typing.get_origin(annotation) in (tuple, list, collections.abc.Sequence):
    return "a list"
  return str(annotation)


def _described(value: Any) -> str:
  kinds: dict[type, str] = {dict: "a section", list: "a list", str: "the text", bool: "the truth value",
                            int: "the number", float: "the number"}
  return "nothing." if value is None else f"{kinds.get(type(value), type(value).__name__)} {value!r}."


def _canonical_text(value: str | int | float | bool) -> str:
  """As `diet_tf.encoding.canonical_text`, which imports TensorFlow."""
  if isinstance(value, str):
    return unicodedata.normalize("NFC", value)
  return str(int(value)) if value == int(value) else str(value)


def _refuse(where: Where, rule: str, received: str, remedy: str) -> NoReturn:
  raise ConfigError(str(where), rule=rule, received=received, remedy=remedy)


@contextlib.contextmanager
def _located(where: Where) -> Iterator[None]:
  """Puts the file and line before the subject of a ConfigError that a dataclass raises about its own values."""
  try:
    yield
  except ConfigError as error:
    if error.subject.startswith(f"{where.source}:"):
      raise
    location = where.locate(error.subject) or where.location
    raise ConfigError(f"{location}: {error.subject}", rule=error.rule, received=error.received,
                      remedy=error.remedy) from error
