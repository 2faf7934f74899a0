"""What a feature spec is written as, and which fields of several values it takes."""

import dataclasses
import json

import pytest

from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory.privacy import PrivacySettings
from tests.diet_tf.small_sets import SPEC


def spec_of(*fields):
  return FeatureSpec(fields, Label("click"))


def test_a_spec_of_single_values_is_written_as_before():
  spec = spec_of(Field("user", "user", hash_ids=9))
  assert json.loads(json.dumps(spec.to_dict())) == {
      "fields": [{"name": "user", "column": "user", "hash_ids": 9, "vocabulary_ids": None, "vocabulary": [],
                  "boundaries": [], "ids_per_slot": None}],
      "label": {"column": "click", "positive_from": None}, "time_column": None}
  assert spec.version == 1
  assert spec.digest() == "4e9950d289747107fab401794be96d3e8c54794ec03c83fc318482e4eb5babd6"  # As of release 0.1.


def test_a_spec_of_several_values_says_its_version_and_comes_back():
  value = json.loads(json.dumps(SPEC.to_dict()))
  assert value["version"] == SPEC.version == 2
  assert {key: value["fields"][2][key] for key in ("max_values", "weights")} == {"max_values": 2, "weights": "scores"}
  assert "max_values" not in value["fields"][0] and "separator" not in value["fields"][2]
  assert FeatureSpec.from_dict(value) == SPEC and SPEC.multi_valued == ("genres", "tags")
  assert [field.columns for field in SPEC.fields[1:3]] == [("genres",), ("tags", "scores")]


@pytest.mark.parametrize("change, message", [
    (lambda value: value.update(version=3), "version 1 or 2.*Received: version 3.*release of diet-tf that wrote it"),
    (lambda value: value["fields"][1].update(history_of="user"), "Received: field 'genres' with 'history_of'")])
def test_what_a_later_release_writes_is_refused_by_name(change, message):
  value = json.loads(json.dumps(SPEC.to_dict()))
  change(value)
  with pytest.raises(ConfigError, match=message):
    FeatureSpec.from_dict(value)


@pytest.mark.parametrize("changes, message", [
    ({"max_values": 0}, "from 1 to 1,024. Received: 0"), ({"max_values": 1025}, "Received: 1025"),
    ({"max_values": True}, "Received: True"), ({"max_values": None}, "with separator has several values.*max_values"),
    ({"max_values": None, "separator": None, "weights": "w"}, "with weights has several"),
    ({"separator": ""}, "separator is a text"), ({"separator": "a\nb"}, "without line breaks"),
    ({"weights": "genres"}, "another column than that of the values"), ({"weights": ""}, "another column")])
def test_a_field_of_several_values_is_checked(changes, message):
  with pytest.raises(ConfigError, match=f"field 'genres'.*{message}"):
    dataclasses.replace(SPEC.fields[1], **changes)


def test_users_are_counted_by_a_field_of_one_value():
  with pytest.raises(ConfigError, match="a row is of one user.*'genres'"):
    PrivacySettings(user_field="genres", min_users_per_id=2).require_fitting(SPEC)


@pytest.mark.parametrize("least", [float("nan"), float("inf")])
def test_a_label_counts_from_a_finite_number_on(least):
  with pytest.raises(ConfigError, match="positive_from.*it is a finite number"):
    Label("rating", positive_from=least)
