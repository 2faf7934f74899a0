import pytest

from diet_tf.errors import ConfigError
from diet_tf.log.settings import Join, LogSettings
from diet_tf.settings import build


def test_json_round_trip():
  join = Join("users.csv", on="user", key="id", columns=("age",), prefix="u_")
  settings = LogSettings("log/{SPAN}.csv", joins=(join,), rows_per_shard=7)
  assert LogSettings.from_json(settings.to_json()) == settings
  assert hash(settings) == hash(LogSettings.from_json(settings.to_json()))


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
