import dataclasses

import pytest

from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.settings import Join, LogSettings
from diet_tf.settings import build


def test_json_round_trip():
  join = Join("users.csv", on="user", key="id", columns=("age",), prefix="u_")
  settings = LogSettings("log/{SPAN}.csv", joins=(join,), rows_per_shard=7)
  assert LogSettings.from_json(settings.to_json()) == settings
  assert hash(settings) == hash(LogSettings.from_json(settings.to_json()))


def test_a_share_has_two_names_and_is_given_once():
  settings = build(LogSettings, {"pattern": "{SPAN}", "max_quarantined_fraction": 0.25}, "log")
  assert settings.max_quarantine_share == 0.25 and settings == LogSettings("{SPAN}", max_quarantine_share=0.25)
  with pytest.raises(ConfigError, match="max_quarantined_fraction.*max_quarantine_share is the same key"):
    build(LogSettings, {"pattern": "{SPAN}", "max_quarantined_fraction": 0.25, "max_quarantine_share": 0.25}, "log")


def test_a_key_of_rows_is_one_column_or_several():
  for given, columns in (("id", ("id",)), (["id", "t"], ("id", "t")), ([], ())):
    assert build(LogSettings, {"pattern": "{SPAN}", "unique": given}, "log").unique == columns


def test_what_release_0_1_could_say_has_its_digests():
  settings = LogSettings("{SPAN}.csv", joins=(Join("users.csv", on="user"),))
  assert settings.identity() == {
      "pattern": "{SPAN}.csv", "format": None, "delimiter": ",", "newlines_in_values": False, "span_column": None,
      "span_seconds": None, "span_origin": 0.0, "span_time_unit": "s", "broadcast_limit_bytes": 64 << 20,
      "joins": [{"pattern": "users.csv", "on": "user", "key": None, "columns": [], "prefix": "", "format": None}],
      "max_quarantine_share": 0.01, "max_quarantine_rows": 1000, "rows_per_shard": 100_000, "piece_bytes": 64 << 20}
  assert LogSettings("{SPAN}.csv", drop_duplicates=False).identity()["drop_duplicates"] is False


def test_the_key_of_a_join_defaults_to_the_columns_name():
  assert Join("users.csv", on="user").key_column == "user"
  assert Join("users.csv", on="user", key="id").key_column == "id"


@pytest.mark.parametrize(("value", "message"), [
    ({"pattern": "log.csv"}, "SPAN.*span_column"),
    ({"pattern": "{SPAN}.csv", "span_column": "t", "span_seconds": 1}, "SPAN.*span_column"),
    ({"pattern": "log.csv", "span_column": "t"}, "log.span_seconds.*together"),
    ({"pattern": "log.csv", "span_column": "t", "span_seconds": 0}, "log.span_seconds.*positive"),
    ({"pattern": "log.csv", "span_column": "t", "span_seconds": 1, "span_time_unit": "h"}, "span_time_unit"),
    ({"pattern": "{SPAN}", "format": "avro"}, "csv, parquet, jsonl, tfrecord.*'avro'"),
    ({"pattern": "{SPAN}", "max_quarantine_share": 1.5}, "share in"),
    ({"pattern": "{SPAN}", "max_dropped_fraction": -0.1}, "log.max_dropped_fraction.*share in"),
    ({"pattern": "{SPAN}", "max_duplicate_fraction": 2}, "log.max_duplicate_fraction.*share in"),
    ({"pattern": "{SPAN}", "unique": ["id", "id"]}, "log.unique.*distinct"),
    ({"pattern": "{SPAN}", "unique": ""}, "log.unique.*name"),
    ({"pattern": "{SPAN}", "rows_per_shard": 0}, "at least 1"),
    ({"pattern": "{SPAN}", "delimiter": "||"}, "one character"),
    ({"pattern": "{SPAN}", "broadcast_limit": 3}, "did you mean 'broadcast_limit_bytes'"),
    ({"pattern": "{SPAN}", "joins": [{"pattern": "x.csv", "on": "u", "colums": ["a"]}]}, "joins.0.colums.*'columns'"),
    ({"pattern": "{SPAN}", "joins": [{"pattern": "x.csv"}]}, "joins.0.*on is set"),
    ({"pattern": "{SPAN}", "joins": [{"pattern": "x.csv", "on": "u", "format": "xls"}]}, "'xls'"),
    ({}, "pattern is set")])
def test_refused(value, message):
  with pytest.raises(ConfigError, match=message):
    build(LogSettings, value, "log")


def test_a_store_goes_on_with_the_texts_that_were_missing_in_it():
  log = LogSettings("{SPAN}.csv")
  # A store of release 0.1 does not say; one of later says which, or that they were the usual ones.
  old = log.continued({})
  assert old.missing_texts_in("csv") == {"nan", "NaN"} and old.missing_texts_in("jsonl") == frozenset()
  assert log.continued({"missing_values": None}) == log.continued(None) == log
  assert log.continued({"missing_values": ["-"]}).missing_texts_in("jsonl") == {"-"}
  assert "NA" in log.missing_texts_in("csv") and "NA" in log.missing_texts_in("parquet")
  # What the config says holds.
  own = dataclasses.replace(log, missing_values=("?",))
  assert own.continued({}) == own


TAGS = Field("tags", "tags", hash_ids=9, max_values=2, weights="scores")


@pytest.mark.parametrize(("fields", "label", "changes", "message"), [
    ((Field("tag", "tags", hash_ids=9),), "click", {}, "column 'tags'.*field 'tag' does not"),
    ((Field("split", "tags", hash_ids=9, max_values=2, separator="|"),), "click", {}, "'tags'.*field 'split' does not"),
    ((Field("a", "a", hash_ids=9, max_values=2, separator="|", weights="scores"),), "click", {}, "column 'scores'"),
    ((), "tags", {}, "the label does not"),
    ((), "click", {"unique": ("day", "scores")}, "column 'scores'.*log.unique does not"),
    ((), "click", {"span_column": "tags", "span_seconds": 60}, "log.span_column does not"),
    ((), "click", {"joins": (Join("items.csv", on="tags"),)}, "the join with items.csv does not"),
    ((), "click", {"joins": (Join("items.csv", on="id", key="gs", columns=("gs",), prefix="ta"),)}, "column 'tags'")])
def test_a_column_of_lists_is_read_as_such_alone(fields, label, changes, message):
  spec = FeatureSpec((TAGS, *fields), Label(label), "t")
  pattern = "log.csv" if "span_column" in changes else "log-{SPAN}.csv"
  with pytest.raises(ConfigError, match=f"field 'tags'.*lists of values, or as single ones.*{message}"):
    LogSettings(pattern, **changes).check_list_columns(spec)


def test_lists_of_a_column_are_read_by_several_fields():
  spec = FeatureSpec((TAGS, Field("more", "more", hash_ids=9, max_values=1, weights="scores"),
                      Field("one", "one", hash_ids=9)), Label("click"), "t")
  LogSettings("log-{SPAN}.csv", unique=("one",)).check_list_columns(spec)
