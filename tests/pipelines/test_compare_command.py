"""The command `diet compare`, on a store with a memory made by hand."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from diet_tf.config.config import load_config
from diet_tf.errors import ConfigError, DataError, FormatError
from diet_tf.log import encoding
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.recipe import Recipe
from diet_tf.store.store import Store
from pipelines.compare_command import _judged_by, compare, compare_parser
from tests.diet_tf.small_slots import small_slots

OWN_MODEL = '''
import tensorflow as tf


class Bias(tf.keras.Model):
  def __init__(self, spec, seed=0):
    super().__init__()
    self.bias = self.add_weight(name="bias", shape=[], initializer="zeros")

  def call(self, features, training=False):
    return self.bias + tf.zeros(tf.shape(features["ids"])[0])
'''


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
  monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def store(tiny_log, tmp_path):
  """A store whose memory of span 1 has the fields of the tiny log, and the values that vocabularies had by then."""
  spec = load_config(tiny_log.config_path).features
  random = np.random.default_rng(0)
  ids = np.stack([random.integers(0, num_ids, 32) for num_ids in spec.num_ids], axis=1)
  slots = small_slots(ids, labels=random.random(32), spec=spec)
  memory = Memory.create(slots, spec, Recipe(batch_size=8), span=1, num_examples_seen=3000, budget={})
  save_memory(str(tmp_path / "memory"), memory)
  vocabularies = tmp_path / "vocabularies.json"
  encoding.write_vocabularies(str(vocabularies), {"category": [], "tab": ["home", "search"]})
  store = Store(str(tmp_path / "out" / "store"))
  store.commit(1, {"memory": str(tmp_path / "memory"), "vocabularies.json": str(vocabularies)}, parent=None,
               settings={}, run_id="test")
  return store


def test_newest_span_of_the_log_then_again_without_reading_it(tiny_log, store, tmp_path, capsys, monkeypatch):
  (tmp_path / "own_bias.py").write_text(OWN_MODEL)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  log = ["--config", tiny_log.config_path, "--data-dir", str(tiny_log.folder), "--output", str(tmp_path / "out")]
  assert compare(["own_bias:Bias", "lr", "--store", store.uri, "--seeds", "2", "--json", *log]) == 0
  value = json.loads(capsys.readouterr().out)
  assert {member["name"] for member in value["members"]} == {"own_bias:Bias", "lr"}
  assert value["seeds"] == [0, 1] and value["memory"]["span"] == 1 and value["num_examples"] > 1400
  assert [len(member["aucs"]) for member in value["members"]] == [2, 2]

  # What was encoded lies beside the store: it is found by itself, and the figures are the same.
  for path in tiny_log.folder.glob("span-*.csv"):
    path.unlink()
  assert compare(["own_bias:Bias", "lr", "--store", store.uri, "--seeds", "2", "--json"]) == 0
  again = json.loads(capsys.readouterr().out)
  for member in [*value["members"], *again["members"]]:
    del member["seconds"], member["start_seconds"]
  assert again == value

  assert compare(["lr", "fm", "--store", store.uri, "--seeds", "1"]) == 0
  shown = capsys.readouterr().out
  assert "architecture" in shown and "held-out rows" in shown and "Held-out rows: span 2 of" in shown


def test_a_log_without_a_config_and_a_span_by_its_number(tiny_log, store, capsys):
  log = ["--log", f"{tiny_log.folder}/span-{{SPAN}}.csv"]
  assert compare(["lr", "--store", store.uri, "--seeds", "1", "--test-span", "2", "--json", *log]) == 0
  assert json.loads(capsys.readouterr().out)["num_examples"] > 1400
  # A span that the memory has seen is no test.
  with pytest.raises(DataError, match="later span"):
    compare(["lr", "--store", store.uri, "--test-span", "1", *log])


def test_a_metric_within_users_ranks(tiny_log, store, tmp_path, capsys):
  log = ["--log", f"{tiny_log.folder}/span-{{SPAN}}.csv", "--output", str(tmp_path / "out")]
  judged = ["--metric", "gauc", "--metric", "log_loss"]
  assert compare(["lr", "fm", "--store", store.uri, "--seeds", "1", *judged, "--group", "user_id", "--json", *log]) == 0
  value = json.loads(capsys.readouterr().out)
  assert [metric["name"] for metric in value["metrics"]] == ["gauc", "log_loss"]
  assert value["grouping"]["field"] == "user_id" and value["metrics"][0]["num_units"] > 1
  gaucs = [member["by_metric"]["gauc"]["mean"] for member in value["members"]]
  assert gaucs == sorted(gaucs, reverse=True)

  # The config's own metric and group are taken where the command names none.
  config = ["--config", tiny_log.config_path, "--data-dir", str(tiny_log.folder), "--output", str(tmp_path / "out"),
            "--set", "panel.metric=gauc", "--set", "panel.group=user_id"]
  assert compare(["lr", "--store", store.uri, "--seeds", "1", *config]) == 0
  shown = capsys.readouterr().out
  assert "GAUC" in shown and "The rows are grouped by user_id" in shown and "of its values share one" in shown


@pytest.mark.parametrize(("arguments", "message"), [
    (["--metric", "map"], "--metric: it is one of auc"), (["--metric", "gauc"], "--group: .*users or requests"),
    (["--group", "user_id"], "--group: .*'user_id', and auc alone"),
    (["--metric", "gauc", "--group", "nobody"], "--group: it is one of the fields: .*user_id")])
def test_what_is_no_metric_is_refused(store, arguments, message):
  with pytest.raises(ConfigError, match=message):
    compare(["lr", "--store", store.uri, *arguments])


def test_another_feature_spec_is_refused(tiny_log, store):
  with pytest.raises(FormatError, match="user_id"):
    compare(["lr", "--store", store.uri, "--config", tiny_log.config_path, "--data-dir", str(tiny_log.folder), "--set",
             "features.fields.0.hash=512"])


def test_a_memory_alone_has_no_vocabularies(tiny_log, store):
  with pytest.raises(ConfigError, match="root of the store"):
    compare(["lr", "--store", store.path(store.read(1), "memory"), "--log", f"{tiny_log.folder}/span-{{SPAN}}.csv"])


@pytest.mark.parametrize(("arguments", "message"), [
    ((), "beside the store"), (("--examples", "x", "--log", "{SPAN}.csv"), "one place"),
    (("--test-span", "2"), "--test-span"), (("--set", "seed=1"), "--set")])
def test_what_does_not_say_which_rows_is_refused(store, arguments, message):
  with pytest.raises(ConfigError, match=message):
    compare(["lr", "--store", store.uri, *arguments])


def test_a_model_that_cannot_be_imported_is_named(store, tmp_path, tiny_log, monkeypatch):
  (tmp_path / "own_faulty.py").write_text("1 / 0\n")
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  log = ["--log", f"{tiny_log.folder}/span-{{SPAN}}.csv"]
  with pytest.raises(ConfigError, match="ZeroDivisionError"):
    compare(["own_faulty:Model", "--store", store.uri, *log])
  with pytest.raises(ConfigError, match="own_nowhere.*PYTHONPATH"):
    compare(["own_nowhere:Model", "--store", store.uri, *log])


def test_the_group_of_a_config_is_for_metrics_that_need_one(tiny_log):
  config = ["--config", tiny_log.config_path, "--set", "panel.metric=gauc", "--set", "panel.group=user_id"]
  for named, expected in (([], (("gauc",), "user_id")), (["--metric", "rmse"], (("rmse",), None)),
                          (["--metric", "ndcg@3"], (("ndcg@3",), "user_id"))):
    options = compare_parser().parse_args(["lr", "--store", "store", *config, *named])
    assert _judged_by(options) == expected
