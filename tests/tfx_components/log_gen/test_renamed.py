import pytest

from diet_tf.errors import ConfigError, DataError
from diet_tf.log.settings import LogSettings
from tests.tfx_components.log_gen.conftest import ROWS, WRITERS
from tfx_components.log_gen import plan

RENAMES = {"userId": "user", "uid": "user", "event.time": "t"}


def renamed(rows, user, time):
  return [{**{name: value for name, value in row.items() if name not in ("user", "t")}, user: row["user"], **time(row)}
          for row in rows]


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_files_that_name_columns_differently_give_the_bytes_of_one_name(log, kind):
  log.write(f"log-1.{kind}", ROWS)
  log.generate(log.settings(f"log-{{SPAN}}.{kind}"))
  expected = log.contents()
  # Values within objects have names too, where a format has objects.
  nested = kind in ("jsonl", "parquet")
  log.write(f"log-2-a.{kind}", renamed(ROWS[:3], "userId", lambda row: (
      {"event": {"time": row["t"]}} if nested else {"event.time": row["t"]})))
  log.write(f"log-2-b.{kind}", renamed(ROWS[3:5], "uid", lambda row: {"event.time": row["t"]}))
  log.write(f"log-2-c.{kind}", ROWS[5:])
  log.generate(log.settings(f"log-{{SPAN}}-*.{kind}", columns=RENAMES), span=2)
  assert log.contents() == expected


def test_renamed_times_make_spans_and_other_columns_of_the_old_names_are_gone(log):
  # The names of two columns changed places: neither statistics of the file nor its names mislead.
  rows = [{**row, "t": 5, "stamp": 1_700_000_000 + row["t"]} for row in ROWS]
  settings = dict(columns={"stamp": "t", "t": "stamp"}, span_column="t", span_seconds=30, span_origin=1_700_000_010)
  for kind in ("parquet", "csv"):
    log.write(f"log.{kind}", rows)
    assert plan.available_spans(log.settings(f"log.{kind}", **settings)) == [0, 1, 2]
    log.generate(log.settings(f"log.{kind}", **settings), span=0)
    assert log.examples()[3] == [1_700_000_010, 1_700_000_020, 1_700_000_030]


def test_of_several_names_in_a_row_the_first_that_has_a_value_holds(log):
  log.write("log-1.csv", ROWS)
  log.generate()
  expected = log.contents()
  rows = [{**row, "user": None if number % 2 else row["user"], "userId": row["user"] if number % 2 else None}
          for number, row in enumerate(ROWS)]
  log.write("log-1.jsonl", rows)
  log.generate(log.settings("log-{SPAN}.jsonl", columns=RENAMES))
  assert log.contents() == expected
  log.write("log-1.parquet", rows)
  with pytest.raises(DataError, match="column 'user'.*it is there once.*2 columns of this name"):
    log.generate(log.settings("log-{SPAN}.parquet", columns=RENAMES))


def test_missing_values_go_by_the_new_name(log, spec):
  log.write("log-1.csv", [{**{name: value for name, value in row.items() if name != "item"}, "article": "NA"}
                          for row in ROWS])
  log.generate(log.settings(columns={"article": "item"}))
  assert {row[1] for row in log.examples()[0]} == {0}


@pytest.mark.parametrize("columns", [{"": "user"}, {"user": ""}])
def test_names_are_there(columns):
  with pytest.raises(ConfigError, match="log.columns: each column has a name"):
    LogSettings("log-{SPAN}.csv", columns=columns)


def test_settings_come_back_from_json():
  settings = LogSettings("log-{SPAN}.csv", columns=RENAMES)
  assert LogSettings.from_json(settings.to_json()) == settings
  assert (settings.header, settings.renames) == ((), RENAMES)
  listed = LogSettings("log-{SPAN}.csv", columns=("a", "b"))
  assert (listed.header, listed.renames) == (("a", "b"), {})
