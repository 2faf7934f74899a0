"""Whether the config is the one that the store's newest commit was made with, and what becomes of it if it is not."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from diet_tf.config.changes import Change, feature_changes, listed, require_acceptable, settings_changes
from diet_tf.distillation.carried_rows import CARRIED_PART, CarriedRows
from diet_tf.distillation.settings import Stage, StageSettings
from diet_tf.errors import ConfigError
from diet_tf.io import files
from diet_tf.log import encoding
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.examples import weights_key
from diet_tf.log.features import FeatureSpec, features_from_json
from diet_tf.log.hashing import mix
from diet_tf.memory.manifest import MANIFEST_NAME, read_manifest
from diet_tf.memory.memory import save_memory
from diet_tf.migration.memory import Migration, migrate_memory, plan_migration
from diet_tf.migration.teacher import migrate_teacher
from diet_tf.store.commit import Commit
from diet_tf.store.memories import load_memory
from diet_tf.store.store import MEMORY_PART, Store
from tfx_components import inputs
from tfx_components.span_validator import validate
from tfx_components.stage_files import stage_settings


def committed_spec(store: Store, commit: Commit) -> FeatureSpec | None:
  """The feature spec of a commit; None if it does not say."""
  manifest = f"{MEMORY_PART}/{MANIFEST_NAME}"
  if manifest in commit.files:
    return read_manifest(store.path(commit, MEMORY_PART)).spec()
  return features_from_json(json.dumps(commit.settings["feature_spec"])) if "feature_spec" in commit.settings else None


def config_changes(commit: Commit, spec: FeatureSpec | None, stage: Stage) -> list[Change]:
  """All keys in which a stage's config differs from the one that a commit was made with.

  Args:
    commit: what the stage begins with.
    spec: feature spec of the commit; None compares no fields.
    stage: the feature spec, settings and seed in use.
  """
  defaults = json.loads(StageSettings().to_json())
  return [*(feature_changes(spec, stage.spec) if spec is not None else ()),
          *settings_changes(commit.settings, stage_settings(stage), defaults)]


def require_declared(changes: list[Change], store: Store, commit: Commit, spec: FeatureSpec | None, stage: Stage,
                     accept_changes: bool) -> None:
  """Raises ConfigError, naming every key with both values, if the config changed and this is not accepted.

  Args:
    changes: the keys that differ, see `config_changes`.
    store: the store that has the commit.
    commit: what the stage begins with.
    spec: feature spec of the commit; None where it does not say.
    stage: the config in use.
    accept_changes: whether changes were declared; those that cannot be carried out are refused nevertheless.
  """
  if not changes:
    return
  subject = "config"
  require_acceptable(changes, subject)
  refusal = _refusal(spec, stage.spec)
  if accept_changes and refusal is not None:
    raise refusal
  if accept_changes:
    return
  remedy = ("restore the config, or declare the change: diet run --accept-changes, parameter accept_changes=1."
            if refusal is None else f"restore the config, or begin a new store; it cannot be declared: {refusal}")
  raise ConfigError(subject, rule=f"it is the one that span {commit.span} in {store.uri} was made with.",
                    received=listed(changes), remedy=remedy)


def _refusal(old: FeatureSpec | None, new: FeatureSpec) -> ConfigError | None:
  """Why the feature spec cannot change so; None if it can."""
  try:
    plan_migration(old or new, new)
  except ConfigError as error:
    return error
  return None


def migrate_copy(store: Store, commit: Commit, spec: FeatureSpec | None, stage: Stage, changes: list[Change],
                 target: str) -> None:
  """Brings the copy of a commit to the feature spec and the teacher settings of a stage.

  Args:
    store: the store that has the commit.
    commit: the commit that was copied.
    spec: feature spec of the commit; None where it does not say: then nothing in it depends on one.
    stage: the config in use.
    changes: the keys that differ, see `config_changes`; all of them can be declared.
    target: folder of the copy, which has no `commit.json` yet.

  Raises:
    ConfigError: a member of the teacher cannot be carried into the new spec.
  """
  if spec is None:
    return
  migration = plan_migration(spec, stage.spec)
  parts = {path.split("/", 1)[0] for path in commit.files}
  teacher_changed = not migration.is_empty or any(change.key.startswith("teacher.") for change in changes)
  if not teacher_changed:
    return
  memory = load_memory(store.path(commit, MEMORY_PART))
  if inputs.TEACHER_PART in parts:
    migrate_teacher(store.path(commit, inputs.TEACHER_PART), files.join(target, inputs.TEACHER_PART), migration,
                    stage.settings.teacher, memory.slots)
  if migration.is_empty:
    return
  with files.writing(target):
    files.remove_if_there(files.join(target, MEMORY_PART))
  save_memory(files.join(target, MEMORY_PART), migrate_memory(memory, migration))
  if CARRIED_PART in parts:
    carried = files.join(target, CARRIED_PART)
    migrated_rows(CarriedRows.read(carried, spec), migration).write(carried, migration.new)
  _migrate_checks(parts, migration, target)


def _migrate_checks(parts: set[str], migration: Migration, target: str) -> None:
  """Schema, statistics and vocabularies of the copy."""
  schema, statistics, vocabularies = (files.join(target, name) for name in (
      inputs.SCHEMA_PART, inputs.STATISTICS_PART, inputs.VOCABULARIES_PART))
  if inputs.SCHEMA_PART in parts:
    validate.write_schema(schema, migrated_schema(validate.read_schema(schema), migration))
  if inputs.STATISTICS_PART in parts:
    validate.write_statistics(statistics, migrated_statistics(validate.read_statistics(statistics), migration))
  if inputs.VOCABULARIES_PART in parts:
    known = encoding.read_vocabularies(vocabularies)
    encoding.write_vocabularies(vocabularies, encoding.check_vocabularies(migration.new, known))


def migrated_rows(carried: CarriedRows, migration: Migration) -> CarriedRows:
  """The carried rows with ids of the new spec: of those that one id becomes, a row has one, by its example id."""
  copies = (mix(carried.rows.example_ids, 0) >> np.uint64(1)).astype(np.int64)
  return dataclasses.replace(carried, rows=EncodedRows(migration.ids(carried.rows.ids, copies),
                                                       example_ids=carried.rows.example_ids))


def migrated_schema(schema: schema_pb2.Schema, migration: Migration) -> schema_pb2.Schema:
  """The schema with the new fields: as in every field, each example has an id in them."""
  migrated = schema_pb2.Schema()
  migrated.CopyFrom(schema)
  known = {feature.name: feature for feature in schema.feature}
  pattern = next((known[name] for name in migration.old.names if name in known), None)
  for name in migration.added:
    if name in known:
      continue
    feature = migrated.feature.add()
    if pattern is not None:
      feature.CopyFrom(pattern)
    feature.name, feature.type = name, schema_pb2.INT
    validate.set_number_of_values(feature, name in migration.new.multi_valued)
    feature.int_domain.is_categorical = True
    feature.ClearField("drift_comparator")
  for name in (weights_key(field.name) for field in migration.new.fields if field.weights is not None):
    if name not in known:
      feature = migrated.feature.add(name=name, type=schema_pb2.FLOAT)
      if pattern is not None:
        feature.presence.CopyFrom(pattern.presence)
      validate.set_number_of_values(feature, True)
  return migrated


def migrated_statistics(statistics: statistics_pb2.DatasetFeatureStatisticsList,
                        migration: Migration) -> statistics_pb2.DatasetFeatureStatisticsList:
  """The statistics without the fields whose ids changed: their frequencies cannot be compared with the span's."""
  migrated = statistics_pb2.DatasetFeatureStatisticsList()
  migrated.CopyFrom(statistics)
  for dataset in migrated.datasets:
    kept = [feature for feature in dataset.features if validate.name_of(feature) not in migration.regrown]
    del dataset.features[:]
    dataset.features.extend(kept)
  return migrated
