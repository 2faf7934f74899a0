import json

import pytest

from diet_tf.config.config import build_config
from diet_tf.config.validation import ValidationSettings
from diet_tf.distillation.budget import BudgetSettings
from diet_tf.distillation.gate import GateSettings
from diet_tf.distillation.refinement import DistillSettings
from diet_tf.distillation.settings import StageSettings
from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec, Field, Label, features_from_json
from diet_tf.memory.privacy import PrivacySettings
from diet_tf.settings import from_json, to_json
from diet_tf.training.inner_settings import InnerSettings
from tests.diet_tf.small_log import SPEC as SMALL_SPEC

SPEC = FeatureSpec((Field("user", "user", hash_ids=10),), Label("click"))


def test_json_round_trip():
  settings = StageSettings(budget=BudgetSettings(0.02, 100), gate=GateSettings(members=("lr",)))
  assert StageSettings.from_json(settings.to_json()) == settings
  assert StageSettings.from_json("") == StageSettings() == StageSettings.from_json("{}")
  validation = ValidationSettings(drift_thresholds={"user": 0.5})
  assert from_json(ValidationSettings, to_json(validation), "validation") == validation


@pytest.mark.parametrize(("text", "message"), [
    ("{", "JSON object"), ("[1]", "section"), ('{"budgets": {}}', "did you mean 'budget'"),
    ('{"distill": {"inner": {"batch_sizes": 1}}}', "batch_sizes"), ('{"gate": {"num_seeds": 0}}', "num_seeds")])
def test_what_is_not_usable_is_refused(text, message):
  with pytest.raises(ConfigError, match=message):
    StageSettings.from_json(text)


def test_the_stages_part_of_a_config():
  config = build_config({"name": "x", "log": {"pattern": "log-{SPAN}.csv"},
                         "features": {"label": "click", "fields": [{"name": "user", "hash": 10}]},
                         "budget": {"fraction": 0.02}, "distill": {"outer_steps": 7}})
  settings = config.stage_settings()
  assert settings.budget.fraction == 0.02 and settings.distill.outer_steps == 7
  assert settings.teacher == config.teacher


def test_the_digest_names_everything_that_a_memory_depends_on():
  settings = StageSettings()
  digests = {settings.digest(SPEC, 0), settings.digest(SPEC, 1),
             StageSettings(budget=BudgetSettings(0.5)).digest(SPEC, 0),
             settings.digest(FeatureSpec(SPEC.fields, Label("like")), 0)}
  assert len(digests) == 4
  assert settings.digest(SPEC, 0) == StageSettings.from_json(settings.to_json()).digest(SPEC, 0)


def test_features_from_json():
  assert features_from_json(json.dumps(SPEC.to_dict())) == SPEC
  for text in ("{}", "", "[]"):
    with pytest.raises(ConfigError, match="FeatureSpec.to_dict"):
      features_from_json(text)


def test_settings_without_privacy_are_what_they_were_before_it():
  assert "privacy" not in json.loads(StageSettings().to_json())
  # The digest of the release before: memories made without these settings must not change by a byte.
  before = StageSettings(distill=DistillSettings(inner=InnerSettings(batch_size=32)))
  assert before.digest(SMALL_SPEC, 0) == "42704b73d2aa6bc022d1ee5479a8b867060e2c91f487b6664d9c28db9390a28d"
  assert SMALL_SPEC.digest() == "b8c8dc3ec5f72aaec4b47321ae89b0d0231dbb94abd3fed11391c9bc3109fb95"


def test_privacy_travels_with_the_settings():
  settings = StageSettings(privacy=PrivacySettings("user", 5))
  assert StageSettings.from_json(settings.to_json()) == settings
  assert settings.digest(SPEC, 0) != StageSettings().digest(SPEC, 0)
