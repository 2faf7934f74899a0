"""The config of a run: one YAML file, read into frozen dataclasses with every key and type checked.

Each section is a dataclass that lives with the code it configures; it is imported only when a config is loaded, since
some of that code imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from diet_tf.config.not_yet import refuse_what_is_not_yet
from diet_tf.config.retention import RetentionSettings
from diet_tf.config.user_code import refuse_user_code
from diet_tf.config.validation import ValidationSettings
from diet_tf.config.yaml_file import apply_overrides, parse_overrides, read_config_file
from diet_tf.distillation.budget import BudgetSettings
from diet_tf.errors import ConfigError
from diet_tf.io import files
from diet_tf.log.canonical import listed_text
from diet_tf.log.features import NUM_RESERVED_VOCABULARY_IDS, FeatureSpec, Field, Label
from diet_tf.memory.privacy import PrivacySettings
from diet_tf.settings import OTHER_NAME, Spelled, Where, build, check_keys, convert, located, refuse

if TYPE_CHECKING:
  from diet_tf.distillation.addressing import AddressingSettings
  from diet_tf.distillation.gate import GateSettings
  from diet_tf.distillation.influence import InfluenceSettings
  from diet_tf.distillation.refinement import DistillSettings
  from diet_tf.distillation.settings import StageSettings
  from diet_tf.distillation.squash import SquashSettings
  from diet_tf.distillation.teacher import TeacherSettings
  from diet_tf.fidelity.panel_settings import PanelSettings
  from diet_tf.log.settings import LogSettings

Strategy = Literal["auto", "cpu", "gpu", "mirrored"]

# TFX and Argo take no longer name of a pipeline: workflows carry it in labels of Kubernetes.
MAX_NAME_CHARACTERS = 63

# Sections whose settings live in modules that may import TensorFlow.
SECTIONS = {
    "log": ("diet_tf.log.settings", "LogSettings"),
    "teacher": ("diet_tf.distillation.teacher", "TeacherSettings"),
    "influence": ("diet_tf.distillation.influence", "InfluenceSettings"),
    "addressing": ("diet_tf.distillation.addressing", "AddressingSettings"),
    "squash": ("diet_tf.distillation.squash", "SquashSettings"),
    "distill": ("diet_tf.distillation.refinement", "DistillSettings"),
    "gate": ("diet_tf.distillation.gate", "GateSettings"),
    "panel": ("diet_tf.fidelity.panel_settings", "PanelSettings"),
}
# These say where things are and run, not what is computed: a memory does not depend on them.
KEYS_OUTSIDE_DIGEST = ("name", "output", "strategy", "test_spans", "retention")


@dataclasses.dataclass(frozen=True)
class Config:
  """All settings of a run.

  Attributes:
    name: name of the run, in reports and as the name of the pipeline.
    log: where the log is and how its spans are read.
    features: the fields, the label and the time column.
    budget: how many slots the memory may have.
    teacher: the streaming reference model.
    influence: how examples are scored.
    addressing: how slots are frozen, updated, replaced and added.
    squash: how the clusters of a span become slots.
    distill: the bi-level refinement.
    gate: when a new memory is committed.
    panel: the architectures that fidelity is judged on.
    validation: which anomalies of a span stop the run.
    retention: how many spans are kept of what runs write.
    privacy: what slots may reveal of single users, and how ids are hashed.
    test_spans: number of the log's newest spans that are kept for the test and not distilled.
    seed: seed of everything that is drawn.
    strategy: where models are trained: "auto", "cpu", "gpu" or "mirrored"; see `diet_tf.training.devices`.
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
  retention: RetentionSettings
  privacy: PrivacySettings
  test_spans: int
  seed: int
  strategy: Strategy
  output: str

  def to_dict(self) -> dict[str, Any]:
    """The settings as JSON types, defaults and what the effort decides included."""
    value = json.loads(json.dumps(dataclasses.asdict(self)))
    value["distill"].update(dataclasses.asdict(self.distill.by_effort))
    return value

  def stage_settings(self) -> StageSettings:
    """The part of the config that a stage computes with."""
    from diet_tf.distillation.settings import StageSettings
    return StageSettings(**{field.name: getattr(self, field.name) for field in dataclasses.fields(StageSettings)})

  def members(self) -> dict[str, tuple[str, ...]]:
    """The names of architectures, by the key that names them."""
    return {**self.stage_settings().members(), "panel.members": self.panel.members}

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
    max_values: the most values that are kept of a row; setting it makes the field multi-valued.
    separator: text between the values of a multi-valued field, where they are one text; without it they are a list.
    values: another word for column, of a multi-valued field.
    weights: the column with the weights of the values of a multi-valued field, written as these are.
  """

  name: str
  column: str | None = None
  hash: int | None = None
  vocabulary: int | tuple[Spelled, ...] | None = None
  boundaries: tuple[float, ...] = ()
  ids_per_slot: int | None = None
  max_values: int | None = None
  separator: str | None = None
  values: str | None = None
  weights: str | None = None

  def to_field(self) -> Field:
    """The field of the feature spec.

    Raises:
      ConfigError: keys of the field contradict each other.
    """
    if self.values is not None and (self.column is not None or self.max_values is None):
      raise ConfigError(f"field {self.name!r}", rule="values names the column of a field with max_values, and column "
                        "does not name it too.",
                        received="column and values." if self.column is not None else "values without max_values.",
                        remedy="write column, or values and max_values.")
    closed: tuple[str, ...] = ()
    vocabulary_ids = self.vocabulary
    if isinstance(self.vocabulary, tuple):
      closed = _listed(self.vocabulary)
      vocabulary_ids = len(closed) + NUM_RESERVED_VOCABULARY_IDS
    return Field(name=self.name, column=self.column or self.values or self.name, hash_ids=self.hash,
                 vocabulary_ids=typing.cast("int | None", vocabulary_ids), vocabulary=closed,
                 boundaries=self.boundaries, ids_per_slot=self.ids_per_slot, max_values=self.max_values,
                 separator=self.separator, weights=self.weights)


@dataclasses.dataclass(frozen=True)
class LabelForm:
  """The label as a config writes it.

  Attributes:
    column: the column of the log.
    positive_from: the least number that counts as 1, all below it count as 0. A config may name it `at_least` too.
    positive: the values that count as 1, such as names of events.
    negative: the values that count as 0, so that a row with any other is set aside; empty takes all but those that
      count as 1. A missing label is none in any case.
  """

  column: str
  positive_from: float | None = dataclasses.field(default=None, metadata={OTHER_NAME: "at_least"})
  positive: tuple[Spelled, ...] = ()
  negative: tuple[Spelled, ...] = ()

  def to_label(self) -> Label:
    """The label of the feature spec."""
    return Label(self.column, self.positive_from, _listed(self.positive), _listed(self.negative))


def _listed(values: tuple[Spelled, ...]) -> tuple[str, ...]:
  """Values of a config as columns have them."""
  return tuple(listed_text(entry.value, entry.text) for entry in values)


@dataclasses.dataclass(frozen=True)
class FeaturesForm:
  """The section `features` as a config writes it.

  Attributes:
    label: the label's column, alone or with what counts as 1.
    fields: the fields, in order.
    time: the column that orders the examples of a span: numbers, dates, or texts in ISO 8601.
  """

  label: str | LabelForm
  fields: tuple[FieldForm, ...]
  time: str | None = None


def load_config(path: str, overrides: Mapping[str, Any] | Sequence[str] = (), *, user_code: bool = True) -> Config:
  """The config in a YAML file.

  Args:
    path: path of the file, or a URI that `tf.io.gfile` reads.
    overrides: values that replace those of the file, as `{"budget.fraction": 0.02}` or `["budget.fraction=0.02"]`.
    user_code: whether it may name members as `module:Class`, whose modules are imported when they are built: such a
      config is code, and to be trusted as code is.

  Raises:
    ConfigError: the file is missing or not YAML, a key is unknown, missing or given twice, or a value is not usable;
      the message names the file, the line and the key. Or it names code that is not wanted.
  """
  values, where = read_config_file(path)
  where = apply_overrides(values, where, parse_overrides(overrides))
  config = build_config(values, where)
  if not user_code:
    refuse_user_code(config.members())
  return config


def build_config(values: Mapping[str, Any], where: Where | str = "config") -> Config:
  """The config of a mapping of sections, as `load_config` reads it from a file."""
  where = Where(where) if isinstance(where, str) else where
  refuse_what_is_not_yet(values, where)
  known = [field.name for field in dataclasses.fields(Config)]
  check_keys(values, known, ("name", "log", "features"), where)
  sections: dict[str, Any] = {
      "name": convert(values["name"], str, where.child("name")),
      "features": build_features(values["features"], where.child("features")),
      "budget": build(BudgetSettings, _section(values, "budget"), where.child("budget")),
      "validation": build(ValidationSettings, _section(values, "validation"), where.child("validation")),
      "retention": build(RetentionSettings, _section(values, "retention"), where.child("retention")),
      "privacy": build(PrivacySettings, _section(values, "privacy"), where.child("privacy")),
      "test_spans": convert(values.get("test_spans", 1), int, where.child("test_spans")),
      "seed": convert(values.get("seed", 0), int, where.child("seed")),
      "strategy": convert(values.get("strategy", "auto"), Strategy, where.child("strategy")),
  }
  with located(where):
    sections["privacy"].require_fitting(sections["features"])
  sections["features"] = sections["features"].with_salt(sections["privacy"].salt())
  _check_name(sections["name"], where.child("name"))
  default_output = f"diet_runs/{sections['name']}"
  output = values.get("output")
  sections["output"] = convert(default_output if output is None else output, str, where.child("output"))
  for key, holds in (("output", sections["output"]), ("seed", sections["seed"] >= 0),
                     ("test_spans", sections["test_spans"] >= 0)):
    if not holds:
      rule = "it is not empty." if key == "output" else "it is not negative."
      refuse(where.child(key), rule, repr(sections[key]), f"correct {key}.")
  for name, (module, cls) in SECTIONS.items():
    settings = getattr(importlib.import_module(module), cls)
    sections[name] = build(settings, _section(values, name), where.child(name))
  config = Config(**sections)
  with located(where):
    # What sections say of each other.
    config.log.check_listed_texts(config.features)
    config.log.check_list_columns(config.features)
    config.panel.require_fitting(config.features)
    config.stage_settings()
  return config


def _check_name(name: str, where: Where) -> None:
  """Refuses a name that is no name of one folder: the pipeline and its default output are called by it."""
  if not files.is_plain_path(name) or "/" in name or name.startswith("."):
    refuse(where, "it is a plain name: not empty, without slashes and control characters, and no dot in front.",
           repr(name), "give the run a name of its own; output names the folder.")
  if len(name) > MAX_NAME_CHARACTERS:
    refuse(where, f"it has at most {MAX_NAME_CHARACTERS} characters.", f"{name!r}, {len(name)} characters.",
           "shorten it.")


def build_features(values: Mapping[str, Any], where: Where | str = "features") -> FeatureSpec:
  """The feature spec of a config's compact form (`FeaturesForm`)."""
  where = Where(where) if isinstance(where, str) else where
  form = build(FeaturesForm, values, where)
  with located(where.child("label")):
    label = form.label.to_label() if isinstance(form.label, LabelForm) else Label(form.label)
  fields = []
  for index, field in enumerate(form.fields):
    with located(where.child("fields").child(index)):
      fields.append(field.to_field())
  with located(where):
    return FeatureSpec(fields=tuple(fields), label=label, time_column=form.time)


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
  section = values.get(name)
  return {} if section is None else section
