"""The command `diet init`: what it guesses, why, and that its config runs."""

from __future__ import annotations

import json
import pathlib
import shlex

import numpy as np
import pytest

from diet_tf.config.config import load_config
from diet_tf.errors import ConfigError, DataError
from diet_tf.store.store import Store
from pipelines import command_line
from pipelines.data_folder import with_data_dir
from pipelines.init.command import init
from tfx_components.log_gen import available_spans

NUM_ROWS = 3000
# A training of seconds.
QUICK = ["--set", "teacher.members=[\"dnn(embedding_dim=4,hidden_units=16-8)\"]", "--set", "distill.proxies=[lr]",
         "--set", "distill.outer_steps=2", "--set", "distill.outer_batch_size=64", "--set",
         "distill.num_initialisations=1", "--set", "gate.members=[lr]", "--set", "gate.num_seeds=1", "--set",
         "squash.num_components=4", "--set", "squash.num_iterations=2"]


def write_rows(path: pathlib.Path, seed: int, start: int = 1_700_000_000, step: int = 20) -> None:
  """A log with a leak, an id of each row, a constant, and what models can use."""
  random = np.random.default_rng(seed)
  user = random.integers(0, 200, NUM_ROWS)
  click = (random.random(NUM_ROWS) < 1 / (1 + np.exp(1 - (user % 5)))).astype(int)
  price = np.round(random.lognormal(2, 1, NUM_ROWS), 2)
  watched = np.where(click, random.integers(1, 60_000, NUM_ROWS), 0)
  lines = ["request,time,day,user_id,city,price,age,plan,site,watched_ms,click,is_like"]
  for i in range(NUM_ROWS):
    lines.append(f"r{seed}-{i},{start + step * i},{seed},{user[i]},{['Rome', 'Oslo', '', 'Bonn'][i % 4]},{price[i]},"
                 f"{18 + i % 50},{1000 + 7 * user[i]},shop,{watched[i]},{click[i]},{int(i % 7 == 0)}")
  path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def shop(tmp_path):
  folder = tmp_path / "shop"
  folder.mkdir()
  for span in (1, 2):
    write_rows(folder / f"day-{span}.csv", span)
  return folder


def guessed(capsys, *arguments):
  assert init([*arguments, "--json"]) == 0
  return json.loads(capsys.readouterr().out)


def test_a_leak_a_row_id_and_a_constant_are_left_out(shop, tmp_path, capsys):
  path = str(tmp_path / "shop.yaml")
  value = guessed(capsys, str(shop), "--output", path)
  assert (value["label"], value["positive_from"], value["time"]) == ("click", None, "time")
  assert value["pattern"] == f"{shop}/day-{{SPAN}}.csv"
  fields = {field["column"]: field for field in value["fields"]}
  assert {name for name, field in fields.items() if not field["kept"]} == {
      "request", "day", "site", "watched_ms", "is_like"}
  assert "names rows" in fields["request"]["reason"] and "constant, 'shop'" in fields["site"]["reason"]
  assert fields["watched_ms"]["auc"] == 1.0 and "leak" in fields["watched_ms"]["reason"]
  assert "outcome" in fields["is_like"]["reason"] and "names the span" in fields["day"]["reason"]
  # 200 users: a vocabulary of twice as many, and of that the next power of two. Three cities and missing ones.
  assert fields["user_id"]["vocabulary"] == 512 and fields["city"]["vocabulary"] == 8
  assert 0.6 < fields["user_id"]["auc"] < 0.95 and fields["city"]["auc"] < 0.55
  # A number by its look that says who, and not how much.
  assert fields["plan"]["hash"] == 2048 and "names, hashed" in fields["plan"]["reason"]
  # 50 ages are a number; a price in cents too, in sixteen buckets of equal size.
  assert len(fields["price"]["boundaries"]) == 15 and len(fields["age"]["boundaries"]) == 15

  config = load_config(path)
  assert config.features.names == ("user_id", "city", "price", "age", "plan")
  assert config.features.time_column == "time" and config.name == "shop" and config.test_spans == 1
  assert available_spans(config.log) == [1, 2]
  # 256 slots of 3,000 rows.
  assert config.budget.fraction == 0.09
  text = pathlib.Path(path).read_text()
  assert "\n    # - {name: watched_ms, boundaries: [" in text and "a leak: by itself" in text
  assert max(map(len, text.splitlines())) <= 120


@pytest.mark.slow
def test_the_config_runs_on_the_log_it_was_made_from(shop, tmp_path, capsys):
  path = str(tmp_path / "shop.yaml")
  assert init([str(shop / "day-*.csv"), "--output", path]) == 0
  assert f"diet run --config {path}" in capsys.readouterr().out
  assert command_line.run(["--config", path, "--output", str(tmp_path / "out"), "--no-evaluate", *QUICK]) == 0
  assert Store(str(tmp_path / "out" / "store")).spans() == [1]


@pytest.mark.slow
def test_the_simulated_log_is_understood_and_runs(tiny_log, tmp_path, capsys):
  path = str(tmp_path / "tiny.yaml")
  value = guessed(capsys, f"{tiny_log.folder}/span-0.csv", "--output", path)
  # One file was named; the others beside it are spans too.
  assert value["pattern"] == f"{tiny_log.folder}/span-{{SPAN}}.csv" and "3 of them (0 to 2)" in value["spans"]
  assert (value["label"], value["time"]) == ("click", "time_ms")
  kept = {field["column"] for field in value["fields"] if field["kept"]}
  assert {"user_id", "item_id", "category", "price", "tab", "hour"} <= kept
  assert command_line.run(["--config", path, "--output", str(tmp_path / "out"), "--no-evaluate", "--span", "0",
                           *QUICK]) == 0
  assert Store(str(tmp_path / "out" / "store")).spans() == [0]


def test_spans_by_time_where_paths_do_not_tell(tmp_path, capsys):
  # 3,000 rows, one each 200 s: about 7 days from noon UTC of 14 November 2023.
  write_rows(tmp_path / "log.csv", 1, start=1_699_963_200, step=200)
  value = guessed(capsys, str(tmp_path / "log.csv"), "--output", str(tmp_path / "c.yaml"))
  assert value["pattern"] == str(tmp_path / "log.csv") and "8 of them, each a day" in value["spans"]
  log = load_config(str(tmp_path / "c.yaml")).log
  assert (log.span_column, log.span_seconds, log.span_origin) == ("time", 86_400, 1_699_920_000)
  assert available_spans(log) == list(range(8))


def test_without_spans_of_any_kind_it_says_what_to_do(tmp_path):
  (tmp_path / "log.csv").write_text("user,click\n1,0\n2,1\n1,1\n")
  with pytest.raises(ConfigError, match="by rows span 0 with about 1 rows.*longer log.*--time"):
    init([str(tmp_path / "log.csv"), "--output", str(tmp_path / "c.yaml")])
  assert not (tmp_path / "c.yaml").exists()


def test_other_formats_and_delimiters(tmp_path, capsys):
  pa = pytest.importorskip("pyarrow")
  import pyarrow.parquet as pq

  random = np.random.default_rng(0)
  columns = {"user": random.integers(0, 9, 200), "label": random.integers(0, 2, 200),
             "tags": [[1, 2]] * 200, "when": 1_700_000_000_000 + np.arange(200)}
  for name in ("parquet", "jsonl", "csv"):
    (tmp_path / name).mkdir()
  for day in (20240101, 20240102):
    for part in (0, 1):
      pq.write_table(pa.table(columns), tmp_path / "parquet" / f"day={day}-part-{part}.parquet")
    rows = [{"user": int(user), "label": int(label), "tags": tags, "when": int(when)}
            for user, label, tags, when in zip(*columns.values())]
    (tmp_path / "jsonl" / f"{day}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "csv" / f"{day}.txt").write_text(
        "user;label;when\n" + "\n".join(f"{row['user']};{row['label']};{row['when']}" for row in rows))
  value = guessed(capsys, f"{tmp_path}/parquet", "--output", str(tmp_path / "p.yaml"))
  assert value["pattern"] == f"{tmp_path}/parquet/day={{SPAN}}-part-*.parquet"
  assert {field["column"]: field["kept"] for field in value["fields"]} == {"user": True, "tags": False}
  assert value["time"] == "when" and available_spans(load_config(str(tmp_path / "p.yaml")).log) == [20240101, 20240102]
  value = guessed(capsys, f"{tmp_path}/jsonl/*.jsonl", "--output", str(tmp_path / "j.yaml"))
  assert {field["column"]: field["kept"] for field in value["fields"]} == {"user": True, "tags": False}
  guessed(capsys, f"{tmp_path}/csv/*.txt", "--format", "csv", "--output", str(tmp_path / "s.yaml"))
  log = load_config(str(tmp_path / "s.yaml")).log
  assert (log.format, log.delimiter) == ("csv", ";")


def test_ratings_become_a_label_at_the_value_that_parts_them_evenly(tmp_path, capsys):
  for span in (0, 1):
    rows = [f"{i % 5},{[1, 2, 4, 5][i % 4]}" for i in range(400)]
    (tmp_path / f"{span}.csv").write_text("user,rating\n" + "\n".join(rows))
  value = guessed(capsys, f"{tmp_path}/{{SPAN}}.csv", "--output", str(tmp_path / "c.yaml"))
  assert (value["label"], value["positive_from"]) == ("rating", 4)
  assert load_config(str(tmp_path / "c.yaml")).features.label.positive_from == 4


def test_names_that_yaml_or_examples_would_take_for_something_else(tmp_path, capsys):
  names = ["label", "time", "null", "a/b", "1", "x: y #", "line\\u2028", "user"]
  for span in (0, 1):
    rows = [",".join([str(i % 2), *(str(i % 3) for _ in names[1:])]) for i in range(480)]
    (tmp_path / f"{span}.csv").write_text(",".join(f'"{name}"' for name in names) + "\n" + "\n".join(rows))
  guessed(capsys, f"{tmp_path}/{{SPAN}}.csv", "--output", str(tmp_path / "c.yaml"), "--label", "label")
  fields = load_config(str(tmp_path / "c.yaml")).features.fields
  assert {field.name: field.column for field in fields if field.name != field.column} == {
      "time_column": "time", "a_b": "a/b"}
  assert [field.column for field in fields] == names[1:]


@pytest.mark.parametrize(("text", "arguments", "message"), [
    ("user,kind\n1,a\n2,b\n", (), "--label"), ("user,click\n1,0\n2,1\n", ("--label", "clicked"), "--label"),
    ("a,b,user\n0,1,3\n1,0,4\n1,1,5\n", (), "columns of 0 and 1: a, b"),
    ("click,site\n" + "0,x\n1,x\n" * 100, (), "at least one column"),
    ("click,user\n0,x\n1,y\n", ("--time", "user"), "--time")])
def test_what_cannot_be_guessed_is_asked_for(tmp_path, text, arguments, message):
  for span in (0, 1):
    (tmp_path / f"{span}.csv").write_text(text)
  with pytest.raises(ConfigError, match=message):
    init([f"{tmp_path}/{{SPAN}}.csv", "--output", str(tmp_path / "c.yaml"), *arguments])


def test_nothing_is_overwritten_and_nothing_made_of_nothing(shop, tmp_path):
  (tmp_path / "c.yaml").write_text("name: mine\n")
  with pytest.raises(ConfigError, match="--replace"):
    init([str(shop), "--output", str(tmp_path / "c.yaml")])
  assert (tmp_path / "c.yaml").read_text() == "name: mine\n"
  assert init([str(shop), "--output", str(tmp_path / "c.yaml"), "--replace"]) == 0
  with pytest.raises(DataError, match="at least one file"):
    init([f"{tmp_path}/nowhere/*.csv", "--output", str(tmp_path / "d.yaml")])
  (tmp_path / "empty-0.csv").write_text("click,user\n")
  with pytest.raises(DataError, match="at least one row"):
    init([f"{tmp_path}/empty-{{SPAN}}.csv", "--output", str(tmp_path / "d.yaml")])


def test_a_config_is_read_with_its_own_paths(shop, tmp_path, capsys):
  init([str(shop), "--output", str(tmp_path / "c.yaml")])
  config = with_data_dir(load_config(str(tmp_path / "c.yaml")), ".")
  assert available_spans(config.log) == [1, 2]


@pytest.mark.parametrize("name", ["exp #3.yaml", "20240101", "null", "it's [old]", "two\nlines"])
def test_the_command_that_runs_a_config_can_be_pasted_whatever_the_file_s_name(shop, tmp_path, capsys, name):
  path = str(tmp_path / name)
  assert init([str(shop), "--output", path]) == 0
  said = capsys.readouterr().out.split("then:\n  ")[1]
  assert shlex.split(said)[:4] == ["diet", "run", "--config", path]
  # In the config it is a comment of one line.
  assert load_config(path).features.names == ("user_id", "city", "price", "age", "plan")
