import pytest

from diet_tf.errors import ConfigError, DataError
from diet_tf.log import span_patterns


def touch(folder, *names):
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("")


@pytest.mark.parametrize(("pattern", "spans"), [
    ("date={SPAN}/*.csv", [20240101, 20240130]), ("date={YYYY}-{MM}-{DD}/*", [20240101, 20240130]),
    ("date={YYYY}-{MM}-*/*", [202401]), ("year={YYYY}/month={MM}/day={DD}/*", [20240305, 20241231]),
    ("dt={SPAN}/hour=*/*.csv", [20240130]), ("dt={YYYY}-{MM}-{DD}/hour={HH}/*", [2024013003, 2024013014]),
    ("log-{YYYY}{MM}{DD}.csv", [20240229]), ("log-{SPAN}.csv", [20240229]), ("{DD}.{MM}.{YYYY}.csv", [20240131]),
    ("h-{SPAN}.csv", [2024013003]), ("m-{SPAN}-*.csv", [2024])])
def test_dates_in_paths_are_spans(tmp_path, pattern, spans):
  touch(tmp_path, "date=2024-01-30/a.csv", "date=2024-01-01/a.csv", "date=latest/a.csv", "log-20240229.csv",
        "year=2024/month=3/day=5/a.csv", "year=2024/month=12/day=31/a.csv", "dt=2024-01-30/hour=3/a.csv",
        "dt=2024-01-30/hour=14/a.csv", "31.01.2024.csv", "h-2024-01-30T03.csv", "m-2024-01.csv")
  assert sorted(span_patterns.paths_by_span(f"{tmp_path}/{pattern}")) == spans


def test_a_number_is_read_as_before(tmp_path):
  touch(tmp_path, "7-a.csv", "007-b.csv", "2024-01-30.csv")
  found = span_patterns.paths_by_span(f"{tmp_path}/{{SPAN}}-*.csv")
  assert {span: [path.rpartition("/")[2] for path in paths] for span, paths in found.items()} == {
      7: ["007-b.csv", "7-a.csv"], 2024: ["2024-01-30.csv"]}


@pytest.mark.parametrize(("pattern", "names", "received"), [
    ("d={SPAN}", ["d=2024-13-01"], "2024-13-01: month"), ("d={YYYY}{MM}{DD}", ["d=20230229"], "2023-02-29: day"),
    ("d={YYYY}/{HH}", [], None), ("d={SPAN}", ["d=2024-01", "d=2024-01-02"], "d=2024-01, .*d=2024-01-02")])
def test_what_is_no_date_is_named(tmp_path, pattern, names, received):
  touch(tmp_path, *names)
  if received is None:
    with pytest.raises(ConfigError, match="larger parts"):
      span_patterns.check_pattern("log.pattern", pattern)
    return
  with pytest.raises(DataError, match=received):
    span_patterns.paths_by_span(f"{tmp_path}/{pattern}")


@pytest.mark.parametrize(("pattern", "message"), [
    ("{SPAN}/{YYYY}", "or the parts of a date"), ("{DATE}.csv", "{DATE}.*written"), ("{MM}.csv", "larger parts")])
def test_marks_that_make_no_span_are_refused(pattern, message):
  with pytest.raises(ConfigError, match=message):
    span_patterns.check_pattern("log.pattern", pattern)
  span_patterns.check_pattern("log.pattern", "a/{YYYY}/{MM}/{YYYY}-{MM}-*.csv")


def test_rows_of_a_partition_without_a_value_are_of_no_span(tmp_path):
  touch(tmp_path, "date=2024-01-30/a.csv", "date=__HIVE_DEFAULT_PARTITION__/a.csv")
  for pattern in ("date={SPAN}/*.csv", "date={YYYY}-{MM}-{DD}/*.csv"):
    assert span_patterns.paths_without_span(f"{tmp_path}/{pattern}") == [
        f"{tmp_path}/date=__HIVE_DEFAULT_PARTITION__/a.csv"]


def test_folders_give_columns():
  assert span_patterns.partition_values("/x=y/dt=2024-01-30 03%3A00/hour=03/a=b/name=part=0.csv") == {
      "x": "y", "dt": "2024-01-30 03:00", "hour": "03", "a": "b"}
  assert span_patterns.partition_values("s3://b/c=__HIVE_DEFAULT_PARTITION__/d/e.csv") == {"c": ""}
