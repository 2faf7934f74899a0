"""`diet init` on logs of many kinds: what it writes is taken by the functions with which `diet run` reads the log."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from diet_tf.config.config import Config, load_config
from diet_tf.errors import ConfigError, DietError
from diet_tf.store.store import Store
from pipelines import command_line
from pipelines.init.command import init
from pipelines.spans import plan_spans
from tests.pipelines.init import small_logs
from tests.pipelines.init.small_logs import START, STYLES, at, clicks, styled, write_csv, write_jsonl, write_parquet
from tfx_components.log_gen import available_spans, plan, sources

# A training of seconds.
QUICK = ("teacher.members=[\"dnn(embedding_dim=4,hidden_units=16-8)\"]", "distill.proxies=[lr]",
         "distill.outer_steps=2", "distill.outer_batch_size=64", "distill.num_initialisations=1", "gate.members=[lr]",
         "gate.num_seeds=1", "squash.num_components=4", "squash.num_iterations=2")


@pytest.fixture
def guess(tmp_path, capsys):
  """Runs `diet init` on a log; gives what it says, and the config, which was read as `diet run` reads it."""

  def run(log: pathlib.Path | str, *flags: str) -> tuple[dict[str, Any], Config]:
    path = tmp_path / "config.yaml"
    assert init([str(log), "--output", str(path), "--replace", "--json", *flags]) == 0
    told = json.loads(capsys.readouterr().out)
    config = load_config(str(path))
    spans = available_spans(config.log)
    assert len(spans) >= 2 and plan_spans(spans, (), test_spans=config.test_spans).spans == tuple(spans[:-1])
    # All that needs to be looked at stands in the file too.
    text = " ".join(path.read_text().replace("#", " ").split())
    assert all(" ".join(check.partition(": ")[2].split())[:40] in text for check in told["checks"])
    return told, config

  return run


def kept(told: dict[str, Any]) -> set[str]:
  return {field["column"] for field in told["fields"] if field["kept"]}


def checks_of(told: dict[str, Any], column: str) -> str:
  return next((check for check in told["checks"] if check.startswith(f"{column}: ")), "")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("user", "item", "label", "time"), [
    ("user id", "item id", "is click", "event time"), ("visitor id", "ad id", "clicked", "ts"),
    ("member", "video id", "label", "created at"), ("device id", "campaign", "converted", "timestamp")])
def test_ids_and_times_are_told_apart_in_any_case_style(style, user, item, label, time, tmp_path, guess):
  rows = clicks()
  names = [styled(words, style) for words in (user, item, label, time)]
  # Ids of ten digits, which would be seconds of the years 2002 to 2008.
  ids = 1_034_000_102 + 1_000_585 * rows["user"]
  write_csv(tmp_path / "log.csv", dict(zip(names, (ids, rows["item"], rows["click"], 1000 * rows["seconds"]))))
  told, config = guess(tmp_path / "log.csv")
  assert (told["label"], told["time"], kept(told)) == (names[2], names[3], set(names[:2]))
  assert config.log.span_column == names[3] and not any(field.boundaries for field in config.features.fields)
  assert [field.num_ids for field in config.features.fields] == [512, 256]


@pytest.mark.parametrize("columns", [
    {"userId": lambda rows: 1_034_000_102 + 1_000_585 * rows["user"]},
    {"u": lambda rows: 1_034_000_102 + 1_000_585 * rows["user"]},
    {"account_code": lambda rows: 20_110_101 + rows["user"]}])
def test_what_looks_like_a_time_is_an_id_by_its_name_or_its_order(columns, tmp_path, guess):
  rows = clicks()
  (name, values), = columns.items()
  write_csv(tmp_path / "log.csv", {name: values(rows), "item": rows["item"], "click": rows["click"],
                                   "when": rows["seconds"]})
  told, config = guess(tmp_path / "log.csv")
  assert told["time"] == "when" and name in kept(told)
  assert not config.features.fields[0].boundaries


TIMES = {
    "seconds": lambda seconds: seconds, "seconds of 1997": lambda seconds: seconds - START + small_logs.START_1997,
    "milliseconds": lambda seconds: 1000 * seconds, "microseconds": lambda seconds: 10**6 * seconds,
    "nanoseconds": lambda seconds: 10**9 * seconds, "fractions": lambda seconds: seconds + 0.25,
    "ISO 8601 in UTC": lambda seconds: at(seconds, "%Y-%m-%dT%H:%M:%SZ"),
    "with fractions and an offset": lambda seconds: at(seconds + 7200, "%Y-%m-%dT%H:%M:%S.250+02:00"),
    "without a zone": lambda seconds: at(seconds, "%Y-%m-%d %H:%M:%S"),
    "dates": lambda seconds: at(seconds, "%Y-%m-%d"),
    "digits of dates": lambda seconds: at(seconds, "%Y%m%d"), "digits": lambda seconds: at(seconds, "%Y%m%d%H%M%S")}


@pytest.mark.parametrize("kind", TIMES)
def test_times_order_rows_and_make_spans(kind, tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "item": rows["item"], "click": rows["click"],
                                   "time": TIMES[kind](rows["seconds"])})
  told, config = guess(tmp_path / "log.csv")
  assert told["time"] == "time" and kept(told) == {"user", "item"}
  # From noon to noon: six days of the calendar, of 300 rows each but for the first and the last.
  assert (config.log.span_seconds, available_spans(config.log)) == (86_400, list(range(6)))


@pytest.mark.parametrize(("form", "message"), [
    ("%m/%d/%Y %H:%M", "Column 'ts' holds times in a form that is not read; ISO 8601"),
    ("%d.%m.%Y", "form that is not read"),
    ("%a %b %d %H:%M:%S +0000 %Y", "form that is not read"), ("%H:%M:%S", "times of a day without the day")])
def test_times_that_a_run_does_not_read_are_named(form, message, tmp_path):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "click": rows["click"], "ts": at(rows["seconds"], form)})
  with pytest.raises(ConfigError, match=message):
    init([str(tmp_path / "log.csv"), "--output", str(tmp_path / "config.yaml")])


def test_dates_with_hours_in_digits_order_rows_and_make_spans_of_days(tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"click": rows["click"], "hour": at(rows["seconds"], "%y%m%d%H"), "C1": rows["item"]})
  told, config = guess(tmp_path / "log.csv")
  assert told["time"] == "hour" and "YYMMDDHH" in checks_of(told, "time") and kept(told) == {"C1"}
  assert available_spans(config.log) == [240114, 240115, 240116, 240117, 240118, 240119]
  # With a date beside it that is the time, and the hour is no field either.
  write_csv(tmp_path / "two.csv", {"click": rows["click"], "hour": at(rows["seconds"], "%y%m%d%H"), "C1": rows["item"],
                                   "date": at(rows["seconds"], "%Y%m%d")})
  told, config = guess(tmp_path / "two.csv")
  assert told["time"] == "date" and kept(told) == {"C1"}


def test_times_in_folders_make_spans_and_their_other_columns_are_fields(tmp_path, guess):
  for day in range(3):
    for country in ("no", "se"):
      rows = clicks(300, days=1, seed=day)
      folder = f"dt={at(np.array([START + 86_400 * day]), '%Y-%m-%d')[0]}"
      write_csv(tmp_path / "log" / folder / f"country={country}" / "part-0.csv",
                {"user": rows["user"], "click": rows["click"]})
  told, config = guess(tmp_path / "log")
  assert told["pattern"].endswith("/log/dt={YYYY}-{MM}-{DD}/country=*/part-0.csv") and told["time"] is None
  assert kept(told) == {"user", "country"} and available_spans(config.log) == [20240114, 20240115, 20240116]


def test_another_time_is_no_field(tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"userId": rows["user"], "clicked": rows["click"], "eventTime": rows["seconds"],
                                   "loadedAt": rows["seconds"] + 7_200, "item": rows["item"]})
  told, _ = guess(tmp_path / "log.csv")
  assert told["time"] == "eventTime" and kept(told) == {"userId", "item"}


@pytest.mark.parametrize(("days", "num_rows"), [(0.02, 600), (0.3, 900), (4, 1_500), (9, 1_000), (40, 1_200)])
def test_spans_have_rows_enough_for_a_batch_however_long_the_log_is(days, num_rows, tmp_path, guess):
  rows = clicks(num_rows, days=days)
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "item": rows["item"], "click": rows["click"],
                                   "ts": rows["seconds"]})
  told, config = guess(tmp_path / "log.csv")
  numbers = np.floor((rows["seconds"] - config.log.span_origin) / config.log.span_seconds)
  _, counts = np.unique(numbers, return_counts=True)
  # The least that a batch of slots and a tenth held back take.
  assert len(counts) >= 2 and counts.min() >= 80
  assert config.budget.fraction * counts[0] >= config.distill.inner.least_batch_size


def test_a_log_too_short_for_two_spans_is_refused(tmp_path):
  rows = clicks(100)
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "click": rows["click"], "ts": rows["seconds"]})
  with pytest.raises(ConfigError, match="at least two, each with rows enough.*at least"):
    init([str(tmp_path / "log.csv"), "--output", str(tmp_path / "config.yaml")])
  assert not (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize("write", [write_csv, write_jsonl, write_parquet])
def test_a_log_without_a_time_has_spans_of_so_many_rows(write, tmp_path, guess):
  rows = clicks(1_502)
  path = tmp_path / f"log.{write.__name__.removeprefix('write_')}"
  write(path, {"user": rows["user"], "item": rows["item"], "click": rows["click"]})
  told, config = guess(path)
  assert (config.log.span_rows, available_spans(config.log)) == (300, [0, 1, 2, 3, 4])
  assert "first rows are the oldest" in checks_of(told, "spans")
  # A sample of few rows counts all of them.
  told, config = guess(path, "--rows", "700")
  assert config.log.span_rows == 300


def test_the_budget_follows_the_log_and_not_a_file(tmp_path, guess):
  # Eleven spans of 400 rows, ten of which are distilled: 256 slots of 4,000 rows, and 40 for a batch of the first 400.
  for span in range(11):
    rows = clicks(400, seed=span)
    write_csv(tmp_path / f"day-{span}.csv", {"user": rows["user"], "item": rows["item"], "click": rows["click"]})
  _, config = guess(tmp_path / "day-*.csv")
  assert config.budget.fraction == 0.1
  # One file of the same rows in two parts a span: the same budget.
  for span in range(11):
    rows = clicks(400, seed=span)
    for part in (0, 1):
      half = {name: rows[name][part::2] for name in ("user", "item", "click")}
      write_csv(tmp_path / "parts" / f"day={span}" / f"part-{part}.csv", half)
  told, config = guess(tmp_path / "parts")
  assert told["pattern"].endswith("/day={SPAN}/part-*.csv") and config.budget.fraction == 0.1


def test_the_sample_is_of_all_files_and_of_all_of_a_file(tmp_path, guess):
  # A value of the last file alone, and of the last rows of each alone.
  for span in range(5):
    rows = clicks(1_000, seed=span)
    shop = np.where(rows["seconds"] > rows["seconds"][900], f"late-{span}", "early")
    write_csv(tmp_path / f"{span}.csv", {"user": rows["user"], "click": rows["click"], "shop": shop})
  told, _ = guess(tmp_path / "*.csv", "--rows", "1000")
  field = next(field for field in told["fields"] if field["column"] == "shop")
  assert "6 values" in field["reason"] and "of 5 of 5 files" in told["sampled"]


@pytest.mark.parametrize(("column", "values", "expected"), [
    # An encoder's numbers by a name that says nothing, by one that says id, and by one that says quantity.
    ("f3", lambda random: random.permutation(np.arange(1_500) % 300), "vocabulary"),
    ("category", lambda random: random.integers(1, 200, 1_500), "vocabulary"),
    ("sku", lambda random: 1_000 + 37 * random.integers(0, 90, 1_500), "vocabulary"),
    ("age", lambda random: random.integers(0, 90, 1_500), "boundaries"),
    ("num_items", lambda random: random.integers(0, 90, 1_500), "boundaries"),
    ("price", lambda random: np.round(random.lognormal(2, 1, 1_500), 2), "boundaries"),
    ("x", lambda random: np.round(random.normal(size=1_500), 3), "boundaries"),
    ("weekday", lambda random: random.integers(0, 7, 1_500), "vocabulary")])
def test_numbers_are_ids_or_quantities(column, values, expected, tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "click": rows["click"], "ts": rows["seconds"],
                                   column: values(np.random.default_rng(3))})
  told, _ = guess(tmp_path / "log.csv")
  field = next(field for field in told["fields"] if field["column"] == column)
  assert field["kept"] and bool(field["boundaries"]) == (expected == "boundaries")
  # Of the nameless one it is not sure.
  assert ("taken for ids" in checks_of(told, column)) == (column == "f3")


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index", "__index_level_0__"])
@pytest.mark.parametrize("first", [0, 1])
def test_the_index_of_a_data_frame_is_no_field(name, first, tmp_path, guess):
  for span in range(2):
    rows = clicks(seed=span)
    write_csv(tmp_path / f"day-{span}.csv", {name: np.arange(first, first + small_logs.NUM_ROWS), "user": rows["user"],
                                             "item": rows["item"], "click": rows["click"]})
  told, _ = guess(tmp_path / "day-*.csv")
  assert kept(told) == {"user", "item"}
  assert "counts the rows" in told["fields"][0]["reason"]


OUTCOMES = ("label2", "isLiked", "is_followed", "playTime", "watch_ms", "dwell_time_s", "purchased", "revenue",
            "target_2")


@pytest.mark.parametrize("name", [*OUTCOMES, *map(str.upper, OUTCOMES)])
def test_outcomes_are_left_out_and_asked_about(name, tmp_path, guess):
  rows = clicks()
  random = np.random.default_rng(1)
  values = random.integers(0, 2, 1_500) if name.lower() in ("label2", "isliked", "is_followed", "purchased",
                                                            "target_2") else random.random(1_500).round(3)
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "label": rows["click"], "ts": rows["seconds"], name: values})
  told, _ = guess(tmp_path / "log.csv")
  assert told["label"] == "label" and kept(told) == {"user"}
  assert "outcome" in checks_of(told, name)


@pytest.mark.parametrize("name", ["weight", "sample_weight", "sampleWeight", "propensity", "IPS", "importance.weight"])
def test_weights_are_left_out_and_asked_about(name, tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "click": rows["click"], "ts": rows["seconds"],
                                   name: np.where(rows["click"], 1, 10)})
  told, _ = guess(tmp_path / "log.csv")
  assert kept(told) == {"user"} and "weight of a row" in checks_of(told, name)


def test_figures_of_the_past_are_kept_and_asked_about(tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "click": rows["click"], "ts": rows["seconds"],
                                   "user_click_count": np.random.default_rng(2).integers(0, 60, 1_500)})
  told, _ = guess(tmp_path / "log.csv")
  assert kept(told) == {"user", "user_click_count"} and "before the impression" in checks_of(told, "user_click_count")


@pytest.mark.parametrize(("one", "zero", "positive_from"), [
    ("1", "0", None), ("1.0", "0.0", None), ("true", "false", None), ("True", "False", None), ("1", "-1", 1.0),
    ("Y", "N", None), ("yes", "no", None)])
def test_labels_of_two_values_that_a_run_reads(one, zero, positive_from, tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "clicked": np.where(rows["click"], one, zero),
                                   "ts": rows["seconds"]})
  told, config = guess(tmp_path / "log.csv")
  assert (told["label"], config.features.label.positive_from) == ("clicked", positive_from)


@pytest.mark.parametrize(("one", "zero", "message"), [
    ("more", "less", "values less, more.*--positive"),
    ("1", "1", "in every row: positives only.*negatives are not sampled"), ("0", "0", "0 in every row")])
def test_labels_that_a_run_does_not_read_are_named_with_what_is_missing(one, zero, message, tmp_path):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "clicked": np.where(rows["click"], one, zero),
                                   "ts": rows["seconds"]})
  with pytest.raises(ConfigError, match=message) as error:
    init([str(tmp_path / "log.csv"), "--output", str(tmp_path / "config.yaml")])
  assert "--label" in str(error.value) or "negatives" in str(error.value)


@pytest.mark.parametrize(("name", "values", "positive"), [
    ("event", ["view", "cart", "view", "purchase"], ["cart", "purchase"]),
    ("event_type", ["view", "click", "view", "view"], ["click"]), ("behavior", ["pv", "buy", "fav", "cart"],
                                                                   ["buy", "cart", "fav"]),
    # Where none is shown alone, the strongest counts.
    ("action", ["cart", "buy", "fav", "fav"], ["buy"]), ("clicked", ["click", "skip", "skip"], ["click"])])
def test_events_are_recognised_and_asked_about(name, values, positive, tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "ts": rows["seconds"], name: np.resize(values, 1_500),
                                   "is_mobile": rows["click"]})
  told, config = guess(tmp_path / "log.csv")
  assert (told["label"], sorted(told["positive"])) == (name, positive) and "--positive" in checks_of(told, "label")
  assert sorted(config.features.label.positive) == positive and name not in kept(told)
  told, config = guess(tmp_path / "log.csv", "--label", name, "--positive", values[1])
  assert config.features.label.positive == (values[1],) and not checks_of(told, "label")
  with pytest.raises(ConfigError, match="--positive: it names values of.*never"):
    init([str(tmp_path / "log.csv"), "--output", str(tmp_path / "c.yaml"), "--label", name, "--positive", "never"])


def test_a_share_of_what_was_watched_is_a_label_from_a_number_on(tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "ts": rows["seconds"],
                                   "watch_ratio": np.random.default_rng(6).random(1_500).round(2)})
  told, config = guess(tmp_path / "log.csv")
  assert told["label"] == "watch_ratio" and abs(config.features.label.positive_from - 0.5) < 0.05
  assert "set what fits your purpose" in checks_of(told, "label")
  told, config = guess(tmp_path / "log.csv", "--label", "watch_ratio", "--at-least", "0.7")
  assert config.features.label.positive_from == 0.7 and not checks_of(told, "label")
  with pytest.raises(ConfigError, match="^--at-least: it says what of a column counts as 1.*--label"):
    init([str(tmp_path / "log.csv"), "--output", str(tmp_path / "c.yaml"), "--at-least", "0.7"])
  with pytest.raises(ConfigError, match="^--at-least: --positive or --at-least says what counts as 1.*both"):
    init([str(tmp_path / "log.csv"), "--output", str(tmp_path / "c.yaml"), "--label", "watch_ratio", "--at-least",
          "0.7", "--positive", "1.0"])


@pytest.mark.parametrize(("columns", "message"), [
    ({"event": ["a", "b", "c", "d"]}, "'event' holds events: a, b, c, d.*--positive"),
    ({}, "each row is a positive: .*negatives are not sampled yet.*drawn at random"),
    ({"gender": [0, 1, 1, 0], "is_mobile": [1, 0, 1, 0]}, "columns of 0 and 1: gender, is_mobile.*--label"),
    ({"a": [0, 1, 1, 0], "b": [1, 0, 1, 0]}, "--label: a or b")])
def test_without_a_label_it_is_said_what_to_do(columns, message, tmp_path):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "item": rows["item"], "ts": rows["seconds"],
                                   **{name: np.resize(values, 1_500) for name, values in columns.items()}})
  with pytest.raises(ConfigError, match=message):
    init([str(tmp_path / "log.csv"), "--output", str(tmp_path / "config.yaml")])


@pytest.mark.parametrize(("name", "texts", "separator"), [
    ("genres", ["War", "Action|Comedy", "Comedy|War", "Drama|War|Action"], "|"),
    ("tags", ["1,2,3", "2,7", "3", "9,1,2,2"], ","), ("pair", ["3|5", "5|3", "5|8", "8|3"], "|"),
    ("last_items", ["12 7 9", "7 9", "9 3 3", "12"], " ")])
def test_lists_in_a_text_are_parted(name, texts, separator, tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "click": rows["click"], "ts": rows["seconds"],
                                   name: np.resize(texts, 1_500)}, delimiter=";")
  told, config = guess(tmp_path / "log.csv")
  field = config.features.fields[-1]
  assert (field.name, field.separator, field.max_values) == (name, separator, 4) and config.log.delimiter == ";"
  # A bar is hardly part of a value; others may be.
  assert bool(checks_of(told, name)) == (separator != "|")


@pytest.mark.parametrize(("name", "texts"), [
    ("history", ["[1, 2]", "[3]", "[]", "[2, 5]"]), ("attributes", ['{"a": 1}', '{"b": 2}', '{"a": 3}', '{"c": 1}'])])
def test_lists_and_objects_in_brackets_in_a_text_are_left_out(name, texts, tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "click": rows["click"], "ts": rows["seconds"],
                                   name: np.resize(texts, 1_500)}, delimiter=";")
  told, config = guess(tmp_path / "log.csv")
  assert kept(told) == {"user"} and "with a character between" in checks_of(told, name)


def test_lists_of_a_file_are_fields_of_several_values(tmp_path, guess):
  rows = clicks()
  columns = {"user": rows["user"], "click": rows["click"], "ts": rows["seconds"],
             "ids": [list(range(number % 7)) for number in range(1_500)], "deep": [[[1]], [[2]], []] * 500}
  write_jsonl(tmp_path / "log.jsonl", columns)
  told, config = guess(tmp_path / "log.jsonl")
  field = config.features.fields[config.features.names.index("ids")]
  assert (field.separator, field.max_values, field.vocabulary_ids) == (None, 8, 16)
  assert kept(told) == {"user", "ids"} and "lists within lists" in checks_of(told, "deep")


@pytest.mark.parametrize("texts", [["Oslo, Norway", "Rome, Italy", "Bonn, Germany"], ["a-b", "b-c", "c-d"],
                                   ["The Hague", "New York", "Rome"], ["v1.2", "v1.3", "v2.0"]])
def test_texts_that_are_no_lists_are_fields(texts, tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "click": rows["click"], "ts": rows["seconds"],
                                   "place": np.resize(texts, 1_500)})
  told, _ = guess(tmp_path / "log.csv")
  assert kept(told) == {"user", "place"}


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_nested_values_are_columns_by_their_keys(write, tmp_path, guess):
  rows = clicks()
  user, item, context = ([{"id": int(value)} for value in rows["user"]],
                         [{"id": int(value), "genre": f"g{value % 5}"} for value in rows["item"]],
                         [{"os": {"name": "a"}}, {"os": {"name": "b"}}, {}] * 500)
  event = [{"ts": int(time), "clicked": int(click), "ids": [1, 2]} for time, click in zip(rows["seconds"],
                                                                                          rows["click"])]
  suffix = write.__name__.removeprefix("write_")
  write(tmp_path / f"log.{suffix}", {"user": user, "item": item, "event": event, "context": context})
  told, config = guess(tmp_path / f"log.{suffix}")
  assert (told["label"], told["time"]) == ("event.clicked", "event.ts")
  assert kept(told) == {"user.id", "item.id", "item.genre", "context.os.name"}
  assert config.log.span_column == "event.ts" and config.features.names[0] in kept(told)


@pytest.mark.parametrize(("delimiter", "flag"), [("\t", r"\t"), ("\t", "tab"), (";", "semicolon"), ("|", "pipe"),
                                                 ("|", "|"), (",", "comma"), ("\t", None), (";", None), ("|", None)])
def test_delimiters_are_recognised_or_named(delimiter, flag, tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "click": rows["click"], "ts": rows["seconds"],
                                   "note": np.resize(["a, b", "c"], 1_500)}, delimiter=delimiter)
  told, config = guess(tmp_path / "log.csv", *([] if flag is None else ["--delimiter", flag]))
  (piece,) = plan.log_pieces(config.log, [str(tmp_path / "log.csv")], None)
  assert piece.delimiter == delimiter and "user" in kept(told)


def test_a_wrong_delimiter_is_told_by_its_flag(tmp_path):
  write_csv(tmp_path / "log.csv", {"user": [1], "click": [0]})
  with pytest.raises(DietError, match="^--delimiter: ") as error:
    init([str(tmp_path / "log.csv"), "--delimiter", "::", "--output", str(tmp_path / "config.yaml")])
  assert "log.delimiter" not in str(error.value)


@pytest.mark.parametrize(("encoding", "text"), [("utf-8-sig", "Tromsø"), ("utf-16", "Tromsø"), ("utf-16-le", "Århus"),
                                                ("latin-1", "Århus"), ("cp1252", "100 €")])
def test_encodings_are_recognised(encoding, text, tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "click": rows["click"], "ts": rows["seconds"],
                                   "city": np.resize([text, "Oslo"], 1_500)}, encoding=encoding)
  told, config = guess(tmp_path / "log.csv")
  assert kept(told) == {"user", "city"}
  (block,) = sources.read_blocks(*plan.log_pieces(config.log, [str(tmp_path / "log.csv")], None))
  assert set(block.columns["city"].row_texts()) == {text, "Oslo"}
  # A byte order mark leaves no doubt.
  assert any("no UTF-8" in check for check in told["checks"]) == (encoding in ("latin-1", "cp1252"))
  named, config = guess(tmp_path / "log.csv", "--encoding", encoding)
  assert config.log.encoding == encoding and not any("no UTF-8" in check for check in named["checks"])


def test_missing_values_have_the_usual_tokens_and_others_by_name(tmp_path, guess):
  rows = clicks()
  ages = np.random.default_rng(4).integers(18, 80, 1_500).astype(str).astype(object)
  columns = {"user": rows["user"], "click": rows["click"], "ts": rows["seconds"]}
  for token in ("NA", "N/A", "null", "\\N", "", "nan", "unknown"):
    ages[::7] = token
    columns[f"age of {token}"] = ages.copy()
  write_csv(tmp_path / "log.csv", columns)
  told, _ = guess(tmp_path / "log.csv")
  assert kept(told) == {name for name in columns if name.startswith("age") and "unknown" not in name} | {"user"}
  assert "--missing-values 'unknown'" in checks_of(told, "age of unknown")
  told, config = guess(tmp_path / "log.csv", "--missing-values", "unknown,NA,N/A,null,\\N,nan")
  assert "age of unknown" in kept(told) and config.features.fields[-1].boundaries


@pytest.mark.parametrize("separator", [",", " ", "'"])
def test_thousands_are_read_as_numbers(separator, tmp_path, guess):
  rows = clicks()
  price = [f"{value:,.2f}".replace(",", separator) for value in np.random.default_rng(5).lognormal(7, 1, 1_500)]
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "click": rows["click"], "ts": rows["seconds"], "price": price})
  told, config = guess(tmp_path / "log.csv")
  assert config.log.thousands == separator and "price" in kept(told)
  boundaries = config.features.fields[-1].boundaries
  # The median of a lognormal is e to its mean.
  assert len(boundaries) == 15 and 1_000 < boundaries[7] < 1_200
  assert any("thousands apart" in check for check in told["checks"])


@pytest.mark.parametrize("columns", [
    {"a": lambda rows: rows["user"], "b": lambda rows: rows["item"], "c": lambda rows: rows["click"],
     "d": lambda rows: rows["seconds"]},
    {"a": lambda rows: np.char.add("u", rows["user"].astype(str)), "b": lambda rows: np.resize(["web", "app"], 1_500),
     "c": lambda rows: rows["click"]},
    {"a": lambda rows: at(rows["seconds"], "%Y-%m-%dT%H:%M:%SZ"), "b": lambda rows: rows["user"],
     "c": lambda rows: rows["click"]}])
def test_a_file_without_a_header_is_refused(columns, tmp_path):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {name: values(rows) for name, values in columns.items()}, header=False)
  with pytest.raises(ConfigError, match=r"names its columns.*--columns name_1,name_2,name_3"):
    init([str(tmp_path / "log.csv"), "--output", str(tmp_path / "config.yaml")])


def test_columns_without_a_header_are_named_by_a_flag(tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"a": rows["click"], "b": rows["user"], "c": rows["seconds"]}, header=False)
  told, config = guess(tmp_path / "log.csv", "--columns", "click,userId,ts")
  assert (told["label"], told["time"], kept(told)) == ("click", "ts", {"userId"})
  assert config.log.columns == ("click", "userId", "ts")


@pytest.mark.parametrize("text", ["0", "1", "2024", "x"])
def test_a_header_may_have_a_number_among_its_names(text, tmp_path, guess):
  rows = clicks()
  write_csv(tmp_path / "log.csv", {"user": rows["user"], "click": rows["click"], "ts": rows["seconds"],
                                   text: rows["item"]})
  told, _ = guess(tmp_path / "log.csv")
  assert kept(told) == {"user", text}


def test_a_column_that_some_files_lack_is_left_out(tmp_path, guess):
  for span in range(2):
    rows = clicks(seed=span)
    write_csv(tmp_path / f"{span}.csv", {"user": rows["user"], "click": rows["click"], **(
        {"item": rows["item"]} if span else {})})
  told, _ = guess(tmp_path / "*.csv")
  assert kept(told) == {"user"} and "1 of 2 files" in checks_of(told, "item")


def test_line_breaks_in_values_are_recognised(tmp_path, guess):
  rows = clicks()
  lines = [f'{user},{click},{time},"a\nb"' for user, click, time in zip(rows["user"], rows["click"], rows["seconds"])]
  (tmp_path / "log.csv").write_text("\n".join(["user,click,ts,note", *lines]) + "\n")
  told, config = guess(tmp_path / "log.csv")
  assert config.log.newlines_in_values and kept(told) == {"user"} and told["sampled"].startswith("1,500 rows")


def test_files_of_other_columns_are_no_part_of_the_log(tmp_path):
  rows = clicks()
  write_csv(tmp_path / "clicks.csv", {"user": rows["user"], "click": rows["click"], "ts": rows["seconds"]})
  write_csv(tmp_path / "items.csv", {"item": range(9), "category": range(9)})
  with pytest.raises(ConfigError, match="same columns.*user, click, ts.*item, category"):
    init([str(tmp_path), "--output", str(tmp_path / "config.yaml")])


FILES = {
    "day=2024-01-14/part-0.csv": "day={YYYY}-{MM}-{DD}/part-0.csv", "20240114.csv": "{SPAN}.csv",
    "clicks-202401-14.csv": "clicks-{YYYY}{MM}-{DD}.csv", "clicks_2024_01_14.csv": "clicks_{YYYY}_{MM}_{DD}.csv",
    "year=2024/month=01/day=14/x.csv": "year={YYYY}/month={MM}/day={DD}/x.csv",
    "dt=20240114/hour=00/a.csv": "dt={YYYY}{MM}{DD}/hour=*/a.csv"}


@pytest.mark.parametrize("first", FILES)
def test_patterns_match_the_month_after(first, tmp_path, guess):
  days = [first, first.replace("14", "15", 1), first.replace("14", "16", 1)]
  for number, name in enumerate(days):
    rows = clicks(300, days=1, start=START + 86_400 * number, seed=number)
    write_csv(tmp_path / name, {"user": rows["user"], "item": rows["item"], "click": rows["click"]})
  told, config = guess(tmp_path)
  assert told["pattern"] == f"{tmp_path}/{FILES[first]}"
  assert available_spans(config.log) == [20240114, 20240115, 20240116]
  later = first.replace("01", "02", 1).replace("14", "03", 1)
  write_csv(tmp_path / later, {"user": rows["user"], "item": rows["item"], "click": rows["click"]})
  assert available_spans(config.log)[-1] == 20240203


def test_files_of_other_names_make_one_log_by_time(tmp_path, guess):
  for number, name in enumerate(("january", "february")):
    rows = clicks(start=START + 31 * 86_400 * number, seed=number, days=28)
    write_csv(tmp_path / f"clicks_{name}.csv", {"userId": rows["user"], "clicked": rows["click"],
                                                "eventTime": rows["seconds"]})
  told, config = guess(tmp_path)
  assert told["pattern"] == f"{tmp_path}/clicks_*.csv" and config.log.span_seconds == 604_800


def test_a_folder_with_brackets_is_read_and_not_the_one_beside_it(tmp_path, guess):
  for folder in ("logs[1]", "logs1"):
    for span in (1, 2):
      rows = clicks(seed=span)
      name = "user" if folder == "logs[1]" else "other"
      write_csv(tmp_path / folder / f"day-{span}.csv", {name: rows["user"], "click": rows["click"]})
  told, config = guess(tmp_path / "logs[1]")
  assert kept(told) == {"user"} and [path.split("/")[-2] for path in plan.span_paths(config.log.pattern, 1)] == [
      "logs[1]"]


@pytest.mark.parametrize("write", [write_csv, write_jsonl, write_parquet])
def test_formats(write, tmp_path, guess):
  suffix = write.__name__.removeprefix("write_")
  for span in (1, 2):
    rows = clicks(seed=span)
    write(tmp_path / f"day-{span}.{suffix}", {"userId": rows["user"], "itemId": rows["item"],
                                              "isClick": rows["click"], "eventTime": 1000 * rows["seconds"]})
  told, config = guess(tmp_path / f"day-*.{suffix}")
  assert (told["label"], told["time"], kept(told)) == ("isClick", "eventTime", {"userId", "itemId"})
  assert sources.format_of(config.log.pattern, config.log.format) == suffix


@pytest.mark.slow
def test_what_is_written_runs_from_its_first_span_to_the_panel(tmp_path, monkeypatch, guess):
  monkeypatch.chdir(tmp_path)
  rows = clicks(2_000, days=3)
  hours = np.array(at(rows["seconds"], "logs/dt=%Y-%m-%d/hour=%H/events.jsonl"))
  for name in np.unique(hours):
    hour = {key: values[hours == name] for key, values in rows.items()}
    write_jsonl(tmp_path / name, {
        "user": [{"id": f"u{user}"} for user in hour["user"]],
        "item": [{"id": int(item), "tags": [f"t{item % 3}", f"t{item % 5}"][:item % 3]} for item in hour["item"]],
        "event": [{"type": "buy" if click else "view", "at": time} for click, time in zip(
            hour["click"], at(hour["seconds"], "%Y-%m-%dT%H:%M:%SZ"))]})
  told, config = guess("logs")
  assert told["pattern"] == "logs/dt={YYYY}-{MM}-{DD}/hour=*/events.jsonl"
  assert (told["label"], told["positive"], told["time"]) == ("event.type", ["buy"], "event.at")
  assert kept(told) == {"user.id", "item.id", "item.tags", "hour"} and config.features.multi_valued == ("item.tags",)
  quick = [*QUICK, "panel.members=[lr]", "panel.seeds=[0]", "panel.learning_rates=[0.01]", "panel.row_epochs=[2]"]
  settings = [word for setting in quick for word in ("--set", setting)]
  assert command_line.run(["--config", str(tmp_path / "config.yaml"), "--output", "out", *settings]) == 0
  assert Store("out/store").spans() == available_spans(config.log)[:-1]
