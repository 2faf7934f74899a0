import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diet_tf.errors import DataError
from diet_tf.log.features import FeatureSpec, Field, Label
from tests.tfx_components.log_gen.conftest import write_csv, write_jsonl
from tfx_components.log_gen import plan

SPEC = FeatureSpec((Field("user", "user", hash_ids=50),), Label("click"), "t")
DAY = 86_400
# Midnight of 1997-12-04 and of 2024-01-30, in days since 1970.
DAYS = (10_199, 19_752)
# Six hours into the first day, and so on: the order of rows and the spans that they make, whatever the way of writing.
SECONDS = [DAYS[0] * DAY + 6 * 3600, DAYS[0] * DAY + 5 * 3600, DAYS[1] * DAY, DAYS[1] * DAY + 1]
ORDER = [5 * 3600, 6 * 3600]


def moments():
  return [datetime.datetime.fromtimestamp(second, datetime.timezone.utc) for second in SECONDS]


WAYS = {
    "s": [str(second) for second in SECONDS], "ms": [f"{second}000" for second in SECONDS],
    "us": [f"{second}000000" for second in SECONDS], "ns": [f"{second}000000000" for second in SECONDS],
    "float": [f"{second}.25" for second in SECONDS],
    "iso": [moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in moments()],
    "blank": [moment.strftime("%Y-%m-%d %H:%M:%S.%f") for moment in moments()],
    "offset": [moment.astimezone(datetime.timezone(datetime.timedelta(hours=-8))).isoformat() for moment in moments()],
    "digits": [moment.strftime("%Y%m%d%H%M%S") for moment in moments()]}


def write(log, kind, times):
  rows = [{"user": user, "click": user % 2, "t": time} for user, time in enumerate(times)]
  (write_csv if kind == "csv" else write_jsonl)(log.folder / f"all.{kind}", rows)


def settings(log, name, **kwargs):
  return log.settings(name, span_column="t", span_seconds=DAY, **kwargs)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_times_of_any_year_make_spans(log, way):
  for kind in ("csv", "jsonl"):
    write(log, kind, WAYS[way])
    assert plan.available_spans(settings(log, f"all.{kind}")) == list(DAYS)


@pytest.mark.parametrize("way", ["s", "iso", "offset"])
def test_times_order_the_rows_of_a_span(log, way):
  write(log, "csv", WAYS[way])
  log.generate(settings(log, "all.csv"), SPEC, span=DAYS[0])
  per_second = 1 if way == "s" else 1_000_000
  assert log.examples(SPEC)[3] == [(DAYS[0] * DAY + second) * per_second for second in ORDER]


def timestamps(kind):
  seconds = pa.array(SECONDS, pa.int64())
  if pa.types.is_date(kind):
    return pa.array([moment.date() for moment in moments()], kind)
  per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
  return pa.array([second * per_second for second in seconds.to_pylist()], pa.int64()).cast(kind)


@pytest.mark.parametrize("kind", [
    *(pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC", "Asia/Kolkata")),
    pa.date32(), pa.date64()], ids=str)
def test_a_timestamp_of_a_file_has_its_unit(log, kind):
  table = pa.table({"user": range(4), "click": [0, 1, 0, 1], "t": timestamps(kind)})
  pq.write_table(table, log.folder / "all.parquet", row_group_size=1, version="2.6")
  # A declared unit is that of numbers.
  for declared in (None, "s"):
    found = settings(log, "all.parquet", span_time_unit=declared)
    assert plan.available_spans(found) == list(DAYS)
  if kind not in (pa.timestamp("ns", "UTC"), pa.date32()):
    return
  summary = log.generate(found, SPEC, span=DAYS[0])
  hours = [0, 0] if pa.types.is_date(kind) else ORDER
  assert log.examples(SPEC)[3] == [(DAYS[0] * DAY + second) * 1_000_000 for second in hours]
  assert summary.num_rows == summary.num_examples == 2


def test_a_timestamp_beyond_what_microseconds_hold_is_set_aside(log):
  table = pa.table({"user": range(3), "click": [0, 1, 0], "t": pa.array([9, 10**9, 10**17], pa.int64()).cast(
      pa.timestamp("s"))})
  pq.write_table(table, log.folder / "log-1.parquet", version="2.6")
  summary = log.generate(log.settings("log-{SPAN}.parquet", max_quarantine_share=0.5), SPEC)
  assert summary.quarantine_reasons == {"time 't' is a day or an hour that does not exist, or after the year 2199": 1}


def test_what_is_no_time_is_set_aside_by_its_reason(log):
  good = WAYS["iso"][:2]
  bad = {"NaT": "is missing", "": "is missing", "-3": "is negative, or before 1970",
         "1969-12-31T23:59:59Z": "is negative, or before 1970", "20240-01-01T00:00:00Z": "does not exist, or after",
         "2024-02-30T00:00:00Z": "does not exist", "0": "unit cannot be told",
         "soon": "neither a number nor a time"}
  write(log, "csv", [*good, *bad])
  spec = FeatureSpec(SPEC.fields, SPEC.label)
  summary = log.generate(settings(log, "all.csv", max_quarantine_share=0.9), spec, span=DAYS[0])
  assert summary.num_examples == 2 and summary.num_quarantined == len(bad)
  reasons = {row["values"].get("t", ""): row["reason"] for row in log.quarantined()}
  for text, reason in bad.items():
    shown = reasons["" if text == "" else text]
    assert shown.startswith("column 't', which gives the span, is") and reason in shown


@pytest.mark.parametrize(("times", "received"), [
    (["1706583845", "1706583846", "1706583845000"],
     r"2 seconds since 1970 \(1706583845\); 1 milliseconds .*span_time_unit"),
    (["1706583845", "2024-01-30"], "1 seconds since 1970.*; 1 times without a zone"),
    (["2024-01-30T00:00:00", "2024-01-30T00:00:00Z"], "without a zone.*; 1 times with a zone.*UTC")])
def test_times_written_in_several_ways_are_refused(log, times, received):
  write(log, "csv", times)
  with pytest.raises(DataError, match=f"column 't'.*{received}"):
    plan.available_spans(settings(log, "all.csv"))
  with pytest.raises(DataError, match=rf"column 't' \(log.span_column\) of span 19752: .*{received}"):
    log.generate(settings(log, "all.csv"), SPEC, span=19752)
  (log.folder / "all.csv").rename(log.folder / "log-1.csv")
  with pytest.raises(DataError, match=r"column 't' \(features.time\) of span 1: "):
    log.generate(log.settings("log-{SPAN}.csv"), SPEC)


def test_a_declared_unit_sets_others_aside(log):
  write(log, "csv", ["1706583845", "1706583846", "1706583845000"])
  found = settings(log, "all.csv", span_time_unit="s", max_quarantine_share=0.5)
  spec = FeatureSpec(SPEC.fields, SPEC.label)
  assert plan.available_spans(found) == [19752] and log.generate(found, spec, span=19752).num_quarantined == 1


def test_numbers_that_count_since_another_year_make_spans_of_their_own_count(log):
  # Seconds since 2001 and since the first row: with a unit, spans count alike.
  for start in (0, 31 * DAY, 800_000_000 // DAY * DAY):
    write(log, "csv", [str(start + second) for second in (5, DAY - 1, DAY, 3 * DAY)])
    assert plan.available_spans(settings(log, "all.csv", span_time_unit="s", span_origin=start)) == [0, 1, 3]


@pytest.mark.parametrize(("times", "received"), [
    (["24010100", "24010101"], r"2 is a number whose unit cannot be told \(24010100\).*set log.span_time_unit"),
    (["tomorrow"], "neither a number"), (["2024013003"], "unit cannot be told")])
def test_a_column_without_a_time_is_told(log, times, received):
  write(log, "csv", times)
  with pytest.raises(DataError, match=received):
    plan.available_spans(settings(log, "all.csv"))


def test_a_span_column_that_is_not_there_is_told(log):
  write(log, "csv", WAYS["s"])
  with pytest.raises(DataError, match="column 'when' of .*span_column.*'user'"):
    plan.available_spans(log.settings("all.csv", span_column="when", span_seconds=DAY))


def partitioned(log, kind):
  for day in ("2024-01-30", "2024-01-31"):
    folder = log.folder / f"dt={day}" / "country=D%20E"
    folder.mkdir(parents=True)
    rows = [{"user": user, "click": user % 2} for user in range(4)]
    if kind == "parquet":
      pq.write_table(pa.Table.from_pylist(rows), folder / "part-0.parquet")
    else:
      (write_csv if kind == "csv" else write_jsonl)(folder / f"part-0.{kind}", rows)
  return log.settings(f"dt=*/country=*/part-*.{kind}", span_column="dt", span_seconds=DAY)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_folders_give_spans_fields_and_times(log, kind, monkeypatch):
  found = partitioned(log, kind)
  spec = FeatureSpec((*SPEC.fields, Field("country", "country", vocabulary_ids=8)), SPEC.label, "dt")
  assert plan.available_spans(found) == [DAYS[1], DAYS[1] + 1]
  summary = log.generate(found, spec, span=DAYS[1] + 1)
  assert summary.num_examples == 4 and log.vocabularies() == {"country": ["D E"]}
  assert set(log.examples(spec)[3]) == {(DAYS[1] + 1) * DAY * 1_000_000}
  if kind != "jsonl":
    # Files of other spans are not opened.
    assert len(summary.files) == 1


def test_a_column_of_the_file_wins_over_the_folder(log):
  folder = log.folder / "user=9"
  folder.mkdir()
  lines = [{"user": 1, "click": 0}, {"click": 1}, {"user": None, "click": 1}]
  (folder / "log-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  (folder / "log-1.csv").write_text("user,click\n1,0\n,1\n,1\n")
  spec = FeatureSpec((Field("user", "user", vocabulary_ids=8),), SPEC.label)
  for kind, known in (("jsonl", {"1", "9"}), ("csv", {"1"})):
    log.generate(log.settings(f"user=9/log-{{SPAN}}.{kind}"), spec)
    assert set(log.vocabularies()["user"]) == known
