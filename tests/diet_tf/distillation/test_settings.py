import json

import pytest

from diet_tf.config.config import build_config
from diet_tf.config.validation import ValidationSettings
from diet_tf.distillation.addressing import AddressingSettings
from diet_tf.distillation.budget import BudgetSettings
from diet_tf.distillation.effort import EFFORTS, Effort
from diet_tf.distillation.gate import GateSettings
from diet_tf.distillation.refinement import DistillSettings
from diet_tf.distillation.settings import StageSettings
from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec, Field, Label, features_from_json
from diet_tf.memory.privacy import PrivacySettings
from diet_tf.settings import from_json, to_json
from diet_tf.training.inner_settings import InnerSettings
from tests.diet_tf.small_log import SPEC as SMALL_SPEC

# What DistillSettings were by default.
FIRST_RELEASE = DistillSettings(inner=InnerSettings(batch_size=32, epochs=2), outer_steps=400, refine_growth=0.0,
                                rate_learning_rate=0.01, max_pool_rows=1 << 18)
SPEC = FeatureSpec((Field("user", "user", hash_ids=10),), Label("click"))


def test_json_round_trip():
  settings = StageSettings(budget=BudgetSettings(0.02, 100), gate=GateSettings(members=("lr",)))
  read = StageSettings.from_json(settings.to_json())
  assert read.to_json() == settings.to_json() and read.distill.by_effort == settings.distill.by_effort
  assert StageSettings.from_json(read.to_json()) == read
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


def test_a_text_of_before_labels_followed_the_teacher_leaves_them():
  settings = StageSettings()
  written = json.loads(settings.to_json())
  del written["addressing"]["labels_follow_teacher"]
  before = StageSettings.from_json(json.dumps(written))
  assert not before.addressing.labels_follow_teacher and settings.addressing.labels_follow_teacher
  assert StageSettings.from_json(before.to_json()) == before
  # A text by hand that leaves most of the section out has the default.
  assert StageSettings.from_json('{"addressing": {"update_fraction": 0.5}}').addressing.labels_follow_teacher


def test_features_from_json():
  assert features_from_json(json.dumps(SPEC.to_dict())) == SPEC
  for text in ("{}", "", "[]"):
    with pytest.raises(ConfigError, match="FeatureSpec.to_dict"):
      features_from_json(text)


def test_what_the_first_release_computed_has_its_digest():
  settings = StageSettings(distill=FIRST_RELEASE, budget=BudgetSettings(fraction=0.01),
                           addressing=AddressingSettings(labels_follow_teacher=False))
  assert "privacy" not in json.loads(settings.to_json())
  # Memories made without what came later must not change by a byte.
  assert settings.digest(SMALL_SPEC, 0) == "42704b73d2aa6bc022d1ee5479a8b867060e2c91f487b6664d9c28db9390a28d"
  assert SMALL_SPEC.digest() == "b8c8dc3ec5f72aaec4b47321ae89b0d0231dbb94abd3fed11391c9bc3109fb95"


def test_privacy_travels_with_the_settings():
  settings = StageSettings(privacy=PrivacySettings("user", 5))
  assert StageSettings.from_json(settings.to_json()).privacy == settings.privacy
  assert settings.digest(SPEC, 0) != StageSettings().digest(SPEC, 0)


def test_a_text_says_what_is_computed_and_not_by_which_effort():
  written = json.loads(StageSettings(distill=DistillSettings(effort="fidelity", outer_steps=9)).to_json())["distill"]
  assert "effort" not in written
  assert (written["outer_steps"], written["refine_growth"]) == (9, EFFORTS["fidelity"].refine_growth)


def test_a_text_of_the_first_release_refines_at_every_span_as_it_did():
  text = StageSettings(distill=FIRST_RELEASE).to_json()
  assert "refine_growth" not in json.loads(text)["distill"]
  assert StageSettings.from_json(text).distill == FIRST_RELEASE
  # By hand, what is left out is the default.
  by_hand = StageSettings.from_json('{"distill": {"outer_steps": 9}}').distill.by_effort
  assert by_hand == Effort(9, EFFORTS["ranking"].refine_growth, EFFORTS["ranking"].rate_learning_rate)
