from __future__ import annotations

import dataclasses
import json
import pathlib
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from diet_tf.config import config as config_module
from diet_tf.config.config import Config, build_config, build_features, load_config
from diet_tf.config.yaml_file import parse_config
from diet_tf.distillation.budget import BudgetSettings
from diet_tf.errors import ConfigError
from diet_tf.log.encoding import canonical_text
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.settings import build
from diet_tf.training import devices

MINIMAL = """\
name: tiny
log:
  pattern: data/{SPAN}.csv
features:
  label: click
  time: time_ms
  fields:
  - {name: user, column: user_id, hash: 1000, ids_per_slot: 8}
  - {name: tab, vocabulary: 16}
  - {name: hour, boundaries: [6, 12.5, 18]}
"""


@dataclasses.dataclass(frozen=True)
class Inner:
  rate: float
  mode: Literal["a", "b", 1] = "a"


@dataclasses.dataclass(frozen=True)
class Outer:
  size: int
  inner: Inner = Inner(0.5)
  others: tuple[Inner, ...] = ()
  pair: tuple[int, str] = (0, "")
  rates: Mapping[str, float] = dataclasses.field(default_factory=dict)
  names: Sequence[str] = ()
  both: int | tuple[int, ...] | None = None
  number: int | float = 0
  flag: bool = False
  text: str | None = None
  anything: Any = None


def test_build_reads_every_kind():
  outer = build(Outer, {"size": 3, "inner": {"rate": 1, "mode": "b"}, "others": [{"rate": 0.25}], "pair": [1, "x"],
                        "rates": {"dense": 1}, "names": ["n"], "both": [1, 2], "number": 2, "flag": True, "text": "t",
                        "anything": {"k": [1]}}, "here")
  assert outer == Outer(size=3, inner=Inner(1.0, "b"), others=(Inner(0.25),), pair=(1, "x"), rates={"dense": 1.0},
                        names=("n",), both=(1, 2), number=2, flag=True, text="t", anything={"k": [1]})
  assert isinstance(outer.inner.rate, float)
  assert isinstance(outer.number, int)
  assert build(Outer, {"size": 3, "both": 4, "text": None, "number": 0.5}, "here") == Outer(3, both=4, number=0.5)


@pytest.mark.parametrize(("values", "where", "rule"), [
    ({"size": "3"}, "size", "a whole number"),
    ({"size": 3.0}, "size", "a whole number"),
    ({"size": True}, "size", "a whole number"),
    ({"size": 3, "flag": 1}, "flag", "true or false"),
    ({"size": 3, "text": [1]}, "text", "a text"),
    ({"size": 3, "inner": 1}, "inner", "a section"),
    ({"size": 3, "inner": {"rate": "fast"}}, "inner.rate", "a number"),
    ({"size": 3, "inner": {"rate": True}}, "inner.rate", "a number"),
    ({"size": 3, "inner": {"rate": 1, "mode": "c"}}, "inner.mode", "'a', 'b', 1"),
    ({"size": 3, "inner": {"rate": 1, "mode": True}}, "inner.mode", "'a', 'b', 1"),
    ({"size": 3, "others": {"rate": 1}}, "others", "a list"),
    ({"size": 3, "others": [{"rate": 1}, {"rat": 1}]}, "others.1.rat", "the keys here are rate, mode"),
    ({"size": 3, "pair": [1]}, "pair", "a list of 2"),
    ({"size": 3, "rates": [1]}, "rates", "a section of key"),
    ({"size": 3, "rates": {"dense": "1"}}, "rates.dense", "a number"),
    ({"size": 3, "names": "n"}, "names", "a list"),
    ({"size": 3, "both": "x"}, "both", "a whole number or a list"),
    ({"size": 3, "both": [1.5]}, "both.0", "a whole number"),
    ({}, "", "size is set"),
    ({"size": None}, "", "size is set"),
    ([1], "", "a section with keys"),
])
def test_build_refuses(values: Any, where: str, rule: str):
  with pytest.raises(ConfigError) as caught:
    build(Outer, values, "here")
  assert caught.value.subject == (f"here: {where}" if where else "here")
  assert rule in caught.value.rule


def test_unknown_key_names_the_nearest_and_the_line():
  values, where = parse_config("size: 3\nbudget:\n  fractoin: 0.1\n", "c.yaml")
  with pytest.raises(ConfigError) as caught:
    build(BudgetSettings, values["budget"], where.child("budget"))
  assert caught.value.subject == "c.yaml:3: budget.fractoin"
  assert caught.value.remedy == "did you mean 'fraction'?"


def test_a_value_that_a_section_refuses_is_placed():
  values, where = parse_config("budget:\n  max_slots: 5\n  fraction: 3\n", "c.yaml")
  with pytest.raises(ConfigError) as caught:
    build(BudgetSettings, values["budget"], where.child("budget"))
  assert caught.value.subject == "c.yaml:3: budget.fraction"


def test_features_compact_form():
  values, where = parse_config(MINIMAL, "c.yaml")
  assert build_features(values["features"], where.child("features")) == FeatureSpec(
      fields=(Field("user", "user_id", hash_ids=1000, ids_per_slot=8), Field("tab", "tab", vocabulary_ids=16),
              Field("hour", "hour", boundaries=(6.0, 12.5, 18.0))),
      label=Label("click"), time_column="time_ms")


def test_features_label_with_threshold_and_closed_vocabulary():
  values = [3, "a", 2.0, 0.5, True, "e\u0301"]
  spec = build_features({"label": {"column": "rating", "positive_from": 4},
                         "fields": [{"name": "f", "vocabulary": values}]})
  assert spec.label == Label("rating", 4.0)
  assert spec.time_column is None
  # Two ids are reserved; the values are in the form that the encoder compares.
  assert spec.fields[0].vocabulary_ids == len(values) + 2
  assert spec.fields[0].vocabulary == tuple(canonical_text(value) for value in values)


@pytest.mark.parametrize(("label", "expected"), [
    ("{column: watch_ratio, at_least: 0.7}", Label("watch_ratio", 0.7)),
    ("{column: event, positive: [cart, buy]}", Label("event", positive=("cart", "buy"))),
    # As columns have them: a truth value is 1 or 0, and what was written is a text.
    ("{column: y, positive: [true, 1.10], negative: [-1, n]}", Label("y", positive=("1", "1.10"), negative=("-1", "n")))
])
def test_labels_that_say_what_counts(label, expected):
  values, where = parse_config(f"label: {label}\nfields: [{{name: a, hash: 10}}]\n", "c.yaml")
  spec = build_features(values, where)
  assert spec.label == expected
  assert FeatureSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
  # Earlier releases know no listed values, and say so.
  assert spec.to_dict().get("version") == (2 if spec.label.positive else None)


@pytest.mark.parametrize(("label", "message"), [
    ("{column: r, at_least: 4, positive_from: 4}", "is the same key"),
    ("{column: r, at_least: 4, positive: [a]}", "keep one of them"), ("{column: r, negative: [a]}", "beside positive"),
    ("{column: r, positive: [a, a]}", "distinct"), ("{column: r, positive: [a], negative: [a]}", "distinct"),
    ("{column: r, positive: [null, '']}", "list each value once"), ("{column: r, positive: buy}", "it is a list")])
def test_labels_that_say_nothing_clear_are_refused_with_the_line(label, message):
  values, where = parse_config(f"label: {label}\nfields: [{{name: a, hash: 10}}]\n", "c.yaml")
  with pytest.raises(ConfigError, match=message) as caught:
    build_features(values, where)
  assert caught.value.subject.startswith("c.yaml:1")


def test_a_label_of_before_has_the_keys_of_before():
  assert Label("click").to_dict() == {"column": "click", "positive_from": None}


@pytest.mark.parametrize(("fields", "message"), [
    ("[]", "at least one field"),
    ("[{name: a}]", "exactly one of"),
    ("[{name: a, hash: 10, vocabulary: 3}]", "exactly one of"),
    ("[{name: a, hash: 10}, {name: a, hash: 10}]", "distinct"),
    ("[{name: a, vocabulary: [x, x]}]", "distinct"),
    ("[{name: a, hash: many}]", "features.fields.0.hash"),
    ("[{name: a, hsh: 10}]", "did you mean 'hash'"),
])
def test_features_refused_with_the_line(fields: str, message: str):
  values, where = parse_config(f"name: n\nfeatures:\n  label: click\n  fields: {fields}\n", "c.yaml")
  with pytest.raises(ConfigError, match=message) as caught:
    build_features(values["features"], where.child("features"))
  assert caught.value.subject.startswith(("c.yaml:4", "c.yaml:2"))


def _load(tmp_path: pathlib.Path, text: str, overrides: Any = ()) -> Config:
  path = tmp_path / "config.yaml"
  path.write_text(text)
  return load_config(str(path), overrides)


def test_load_config_fills_in_the_defaults(tmp_path: pathlib.Path):
  config = _load(tmp_path, MINIMAL)
  assert (config.name, config.seed, config.strategy, config.output) == ("tiny", 0, "auto", "diet_runs/tiny")
  assert config.budget == BudgetSettings()
  assert config.log.pattern == "data/{SPAN}.csv"
  for name in config_module.SECTIONS:
    assert dataclasses.is_dataclass(getattr(config, name)), name


def test_every_section_has_defaults_but_the_log(tmp_path: pathlib.Path):
  empty = "".join(f"{name}: {{}}\n" for name in ("budget", "validation", *config_module.SECTIONS) if name != "log")
  assert _load(tmp_path, MINIMAL + empty) == _load(tmp_path, MINIMAL)


def test_what_is_kept_changes_nothing_that_is_learned(tmp_path: pathlib.Path):
  config = _load(tmp_path, MINIMAL + "retention: {output_spans: 3, store_spans: 30}\n")
  assert (config.retention.output_spans, config.retention.store_spans) == (3, 30)
  assert config.digest() == _load(tmp_path, MINIMAL).digest()
  with pytest.raises(ConfigError, match="at least the newest span"):
    _load(tmp_path, MINIMAL + "retention: {store_spans: 0}\n")


def test_overrides(tmp_path: pathlib.Path):
  config = _load(tmp_path, MINIMAL, ["budget.fraction=0.02", "seed=7", "features.fields.0.hash=50"])
  assert (config.budget.fraction, config.seed, config.features.fields[0].hash_ids) == (0.02, 7, 50)
  assert _load(tmp_path, MINIMAL, {"budget.fraction": 0.02}).budget.fraction == 0.02
  with pytest.raises(ConfigError) as caught:
    _load(tmp_path, MINIMAL, ["budget.fraction=2"])
  assert caught.value.subject == "override of budget.fraction: budget.fraction"


@pytest.mark.parametrize(("override", "message"), [
    ("budgett.fraction=1", "^override of budgett.fraction: budgett: .*did you mean 'budget'"),
    ("budget.fractoin=1", "^override of budget.fractoin: .*did you mean 'fraction'"),
    ("log=5", "^override of log: .*it is a section"), ("seed.x=1", "^override of seed.x: .*it is a whole number"),
    ("panel.seeds.0=3", "^override of panel.seeds.0: .*it is a list"), ("output=''", "output: it is not empty"),
    ("1=2", "did you mean|remove it"), ("panel={1: 2}", "the keys here are")])
def test_an_override_that_fits_nowhere_is_named_with_what_is_near(tmp_path: pathlib.Path, override: str, message: str):
  with pytest.raises(ConfigError, match=message):
    _load(tmp_path, MINIMAL, [override])


@pytest.mark.parametrize(("text", "message"), [
    ("", "name is set"),
    (MINIMAL + "budgett: {}\n", "did you mean 'budget'"),
    (MINIMAL.replace("name: tiny\n", ""), "name is set"),
    (MINIMAL.replace("name: tiny", "name: [3]"), "it is a text"),
    (MINIMAL + "seed: -1\n", "seed"),
    (MINIMAL + "strategy: tpu\n", "'auto', 'cpu', 'gpu', 'mirrored'"),
    (MINIMAL + "teacher: 3\n", "a section with keys"),
    (MINIMAL + "gate:\n  no_such_key: 1\n", "gate.no_such_key"),
    (MINIMAL + "validation: {fatal: [schema_missing_column]}\n", "SCHEMA_MISSING_COLUMN"),
])
def test_load_config_refuses(tmp_path: pathlib.Path, text: str, message: str):
  with pytest.raises(ConfigError, match=message):
    _load(tmp_path, text)


def test_digest_is_of_what_a_memory_depends_on(tmp_path: pathlib.Path):
  config = _load(tmp_path, MINIMAL)
  assert dataclasses.replace(config, output="elsewhere", name="other").digest() == config.digest()
  assert dataclasses.replace(config, seed=1).digest() != config.digest()


def test_strategies_are_those_of_devices():
  assert typing.get_args(config_module.Strategy) == devices.STRATEGIES


def test_build_config_takes_a_plain_mapping():
  values, _ = parse_config(MINIMAL, "c.yaml")
  assert build_config(values).name == "tiny"


def test_where_a_text_is_wanted_what_was_written_is_one(tmp_path):
  path = tmp_path / "c.yaml"
  path.write_text("name: 20240101\n"
                  "log: {pattern: 'log-{SPAN}.csv', missing_values: [null, NA, 1e3, no], columns: [1.10, 2]}\n"
                  "features:\n  label: true\n  time: 1.50\n"
                  "  fields:\n  - {name: 2.0, vocabulary: [true, 1.10, 2024-01-01]}\n")
  config = load_config(str(path), ["output=1e3"])
  assert (config.name, config.output) == ("20240101", "1e3")
  assert config.log.missing_values == ("null", "NA", "1e3", "no") and config.log.columns == ("1.10", "2")
  assert (config.features.label.column, config.features.time_column) == ("true", "1.50")
  field, = config.features.fields
  assert (field.name, field.column, field.vocabulary) == ("2.0", "2.0", ("1", "1.10", "2024-01-01"))


@pytest.mark.parametrize(("override", "message"), [
    ("seed=-1", "seed: it is not negative"), ("seed=9007199254740992", "seed: it is at most 9,007,199,254,740,991"),
    ("panel.seeds=[0, 10000000000000000000]", "panel.seeds.1: it is at most 9,007,199,254,740,991"),
    ("panel.seeds=[-1]", "not negative"),
    ("gate.num_seeds=1000000000000", "gate.num_seeds: it is at most 2,147,483,647"),
    ("test_spans=3000000000", "test_spans: it is at most"), ("log.rows_per_shard=3000000000", "it is at most"),
    ("teacher.batch_size=-5000000000", "it is at most"), ("teacher.learning_rate=.inf", "a finite number"),
    ("gate.z=.inf", "a finite number"), ("distill.rate_learning_rate=-1", "rate_learning_rate.*not negative"),
    ("distill.inner.epochs=10001", "epochs.*at most 10,000"),
    ("squash.ids_per_slot=5000", "ids_per_slot.*at most 4,096"),
    ("distill.num_initialisations=20000", "at most 10,000"), ("budget.max_slots=8", "max_slots.*inner.batch_size, 32"),
    (f"name={'n' * 64}", "name: it has at most 63 characters.*64 characters")])
def test_numbers_and_names_out_of_range_are_told_with_their_key(tmp_path, override, message):
  path = tmp_path / "c.yaml"
  path.write_text("name: shop\nlog: {pattern: 'log-{SPAN}.csv'}\n"
                  "features: {label: click, fields: [{name: user, hash: 10}]}\n")
  with pytest.raises(ConfigError, match=message):
    load_config(str(path), [override])


def test_seeds_and_bytes_may_be_larger_than_counts():
  log = {"pattern": "log-{SPAN}.csv", "piece_bytes": 1 << 40}
  config = build_config({"name": "n" * 63, "log": log, "seed": 1 << 40,
                         "features": {"label": "click", "fields": [{"name": "user", "hash": 10}]}})
  assert config.seed == config.log.piece_bytes == 1 << 40


def test_the_group_of_a_panel_is_a_field():
  text = MINIMAL + "panel: {metric: gauc, group: user, more_metrics: [ndcg@10]}\n"
  panel = build_config(*parse_config(text, "run.yaml")).panel
  assert (panel.metric, panel.group, panel.more_metrics) == ("gauc", "user", ("ndcg@10",))
  with pytest.raises(ConfigError, match=r"panel.group: it is one of the fields: user, tab, hour.*'user_id'"):
    build_config(*parse_config(text.replace("group: user", "group: user_id"), "run.yaml"))
  with pytest.raises(ConfigError, match=r"panel.group: .*no field, and the metric gauc"):
    build_config(*parse_config(text.replace("group: user, ", ""), "run.yaml"))
