import json

import pytest

from diet_tf import stage_settings
from diet_tf.budget import BudgetSettings
from diet_tf.config import build_config
from diet_tf.errors import ConfigError
from diet_tf.features import FeatureSpec, Field, Label
from diet_tf.gate import GateSettings
from diet_tf.stage_settings import StageSettings
from diet_tf.validation import ValidationSettings

SPEC = FeatureSpec((Field("user", "user", hash_ids=10),), Label("click"))


def test_json_round_trip():
  settings = StageSettings(budget=BudgetSettings(0.02, 100), gate=GateSettings(members=("lr",)))
  assert StageSettings.from_json(settings.to_json()) == settings
  assert StageSettings.from_json("") == StageSettings() == StageSettings.from_json("{}")
  validation = ValidationSettings(drift_thresholds={"user": 0.5})
  assert stage_settings.from_json(ValidationSettings, stage_settings.to_json(validation), "validation") == validation


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
  settings = StageSettings.of(config)
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
  assert stage_settings.features_from_json(json.dumps(SPEC.to_dict())) == SPEC
  for text in ("{}", "", "[]"):
    with pytest.raises(ConfigError, match="FeatureSpec.to_dict"):
      stage_settings.features_from_json(text)
