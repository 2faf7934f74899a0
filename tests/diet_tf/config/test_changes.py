import dataclasses
import json

import pytest

from diet_tf.config.changes import feature_changes, require_acceptable, settings_changes
from diet_tf.distillation.settings import StageSettings
from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.salt import Salt

SPEC = FeatureSpec((Field("user", "user_id", hash_ids=257), Field("kind", "kind", vocabulary_ids=9),
                    Field("day", "day", vocabulary_ids=4, vocabulary=("mo", "tu"))), Label("click"), "time_ms")
DEFAULTS = json.loads(StageSettings().to_json())
COMMITTED = {**DEFAULTS, "seed": 0, "feature_spec": SPEC.to_dict(), "migrated_from": "ab"}


def changed(section, **values):
  return {**COMMITTED, section: {**COMMITTED[section], **values}}


def texts(changes):
  return [str(change) for change in changes]


def test_the_same_settings_do_not_differ():
  assert settings_changes(COMMITTED, {**DEFAULTS, "seed": 0, "feature_spec": {}}, DEFAULTS) == []


def test_every_key_is_named_with_both_values():
  now = {**changed("squash", ids_per_slot=9), "seed": 7}
  now["distill"] = {**now["distill"], "inner": {**now["distill"]["inner"], "epochs": 5}}
  assert sorted(texts(settings_changes(COMMITTED, now, DEFAULTS))) == [
      "distill.inner.epochs: 1 committed, 5 now", "seed: 0 committed, 7 now",
      "squash.ids_per_slot: 4 committed, 9 now"]


def test_a_key_that_was_not_known_yet_had_its_default():
  committed = {**COMMITTED, "gate": {key: value for key, value in DEFAULTS["gate"].items() if key != "z"}}
  assert settings_changes(committed, COMMITTED, DEFAULTS) == []
  assert texts(settings_changes(committed, changed("gate", z=2.5), DEFAULTS)) == ["gate.z: 1.645 committed, 2.5 now"]


def test_a_memory_at_its_cap_kept_its_slots_before_there_was_a_rule():
  """Only where there is a cap the rule changes anything, and has to be declared."""
  addressing = {key: value for key, value in DEFAULTS["addressing"].items() if key != "at_cap"}
  committed = {**COMMITTED, "addressing": addressing}
  assert settings_changes(committed, COMMITTED, DEFAULTS) == []
  capped = {"budget": {**DEFAULTS["budget"], "max_slots": 64}}
  assert texts(settings_changes({**committed, **capped}, {**COMMITTED, **capped}, DEFAULTS)) == [
      'addressing.at_cap: "keep" committed, "removal" now']
  assert settings_changes({**COMMITTED, **capped}, {**COMMITTED, **capped}, DEFAULTS) == []


def test_a_commit_of_the_first_release_was_refined_at_every_span():
  """It does not say so: the key, whose default is another, came later."""
  now = {**DEFAULTS["distill"]}
  committed = {**COMMITTED, "distill": {key: value for key, value in now.items() if key != "refine_growth"}}
  assert texts(settings_changes(committed, COMMITTED, DEFAULTS)) == ["distill.refine_growth: 0.0 committed, 1.0 now"]
  assert settings_changes(committed, committed, DEFAULTS) == []
  assert texts(settings_changes(COMMITTED, committed, DEFAULTS)) == ["distill.refine_growth: 1.0 committed, 0.0 now"]


def test_a_commit_of_the_first_release_left_the_labels_of_old_slots():
  committed = {**COMMITTED, "addressing": {key: value for key, value in DEFAULTS["addressing"].items()
                                           if key != "labels_follow_teacher"}}
  assert texts(settings_changes(committed, COMMITTED, DEFAULTS)) == [
      "addressing.labels_follow_teacher: false committed, true now"]
  assert settings_changes(committed, committed, DEFAULTS) == []


def test_a_key_that_is_no_longer_known_is_named():
  committed = changed("gate", patience=3)
  assert texts(settings_changes(committed, COMMITTED, DEFAULTS)) == ["gate.patience: 3 committed, not set now"]


def test_a_commit_without_settings_says_nothing():
  assert settings_changes({}, COMMITTED, DEFAULTS) == []


def test_what_is_learned_does_not_depend_on_how_many_are_scored_at_once():
  assert settings_changes(COMMITTED, changed("influence", batch_size=8), DEFAULTS) == []


def test_other_members_of_the_teacher_cannot_be_declared():
  changes = settings_changes(COMMITTED, changed("teacher", members=["lr"]), DEFAULTS)
  with pytest.raises(ConfigError, match=r'teacher.members: \["dnn", "deepfm"\] committed, \["lr"\] now'):
    require_acceptable(changes, "config")
  require_acceptable(settings_changes(COMMITTED, changed("teacher", batch_size=9), DEFAULTS), "config")


def with_field(index, **values):
  fields = list(SPEC.fields)
  fields[index] = dataclasses.replace(fields[index], **values)
  return dataclasses.replace(SPEC, fields=tuple(fields))


@pytest.mark.parametrize("spec, expected", [
    (SPEC, []),
    (with_field(0, hash_ids=513), ["features.fields.user.hash: 257 committed, 513 now"]),
    (with_field(1, vocabulary_ids=20, column="sort"), ['features.fields.kind.column: "kind" committed, "sort" now',
                                                       "features.fields.kind.vocabulary: 9 committed, 20 now"]),
    (with_field(2, vocabulary_ids=5, vocabulary=("mo", "tu", "we")),
     ['features.fields.day.vocabulary: ["mo", "tu"] committed, ["mo", "tu", "we"] now']),
    (with_field(2, vocabulary_ids=9), ["features.fields.day.vocabulary_ids: not set committed, 9 now"]),
    (dataclasses.replace(SPEC, label=Label("like", 0.5), time_column=None),
     ['features.label: "click" committed, "like" now', 'features.time: "time_ms" committed, not set now',
      "features.label.positive_from: not set committed, 0.5 now"]),
    (dataclasses.replace(SPEC, fields=(*SPEC.fields, Field("hour", "h", boundaries=(6.0,)))),
     ['features.fields.hour.column: not set committed, "h" now',
      "features.fields.hour.boundaries: not set committed, [6.0] now"]),
    (dataclasses.replace(SPEC, fields=(SPEC.fields[1], SPEC.fields[0], SPEC.fields[2])),
     ['features.fields (order): ["user", "kind", "day"] committed, ["kind", "user", "day"] now']),
])
def test_keys_of_the_features_are_named_as_a_config_writes_them(spec, expected):
  assert texts(feature_changes(SPEC, spec)) == expected


def test_of_a_long_value_the_beginning_is_shown():
  words = tuple(f"{number:04d}" for number in range(1000))
  long, longer = (with_field(2, vocabulary_ids=len(values) + 2, vocabulary=values) for values in (words, (*words, "x")))
  change, = feature_changes(long, longer)
  assert change.committed.startswith('["0000", "0001"') and change.committed.endswith("(8,000 characters in all)")
  assert change.now.endswith("(8,005 characters in all)") and len(str(change)) < 1000


def test_what_reads_alike_in_python_and_not_in_json_is_named():
  first, second = (dataclasses.replace(SPEC, fields=(Field("price", "price", boundaries=(one,)),)) for one in (4, 4.0))
  assert texts(feature_changes(first, second)) == ["features.fields.price.boundaries: [4] committed, [4.0] now"]


PRIVACY = {"user_field": "user", "min_users_per_id": 5, "salt_environment_variable": None}


def test_a_rule_for_users_is_a_change_of_a_store_that_knew_none():
  assert "privacy" not in COMMITTED
  now = {**COMMITTED, "privacy": PRIVACY}
  assert texts(settings_changes(COMMITTED, now, DEFAULTS)) == [
      'privacy.user_field: null committed, "user" now', "privacy.min_users_per_id: 1 committed, 5 now"]
  assert texts(settings_changes(now, COMMITTED, DEFAULTS)) == [
      'privacy.user_field: "user" committed, null now', "privacy.min_users_per_id: 5 committed, 1 now"]
  assert texts(settings_changes(now, {**now, "privacy": {**PRIVACY, "min_users_per_id": 2}}, DEFAULTS)) == [
      "privacy.min_users_per_id: 5 committed, 2 now"]
  require_acceptable(settings_changes(COMMITTED, now, DEFAULTS), "config")


def test_the_variable_of_the_salt_may_have_another_name():
  named = [{**COMMITTED, "privacy": {**PRIVACY, "salt_environment_variable": name}} for name in ("A", "B")]
  assert settings_changes(*named, DEFAULTS) == []
  assert feature_changes(SPEC.with_salt(Salt("A", "ab")), SPEC.with_salt(Salt("B"))) == []


def test_a_salt_that_is_new_or_gone_is_a_change_of_the_fields():
  assert texts(feature_changes(SPEC, SPEC.with_salt(Salt("A")))) == [
      "features.fields (hashed with a salt): not set committed, true now"]
  assert texts(feature_changes(SPEC.with_salt(Salt("A")), SPEC)) == [
      "features.fields (hashed with a salt): true committed, not set now"]
