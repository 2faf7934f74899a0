from __future__ import annotations

import pathlib
import time

import pytest

from diet_tf.config.yaml_file import apply_overrides, parse_config, parse_overrides, read_config_file
from diet_tf.errors import ConfigError
from diet_tf.settings import Where


@pytest.mark.parametrize(("text", "value"), [
    ("1", 1), ("-3", -3), ("1e-3", 1e-3), ("2.5", 2.5), (".5", 0.5), ("1.", 1.0), ("-.inf", float("-inf")),
    ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
    # What YAML 1.1 would turn into a Boolean, an octal, a date, a base-60 number.
    ("no", "no"), ("010", "010"), ("2022-04-08", "2022-04-08"), ("12:30", "12:30"),
    ("'1'", "1"), ('"true"', "true"), ("[1, a]", [1, "a"]),
])
def test_scalars(text: str, value: object):
  parsed, _ = parse_config(f"key: {text}", "c.yaml")
  assert parsed == {"key": value}
  assert type(parsed["key"]) is type(value)


def test_places_know_their_lines():
  _, where = parse_config("name: x\nlog:\n  joins:\n  - on: a\n  - on: b\n", "c.yaml")
  assert str(where.child("log").child("joins").child(1).child("on")) == "c.yaml:5: log.joins.1.on"
  # What is not there is placed where its section is.
  assert str(where.child("log").child("other")) == "c.yaml:2: log.other"


@pytest.mark.parametrize(("text", "line", "received"), [
    ("a: 1\nb: 2\na: 3\n", 3, "c.yaml:1"),
    ("s:\n  a: 1\n  a: 2\n", 3, "c.yaml:2"),
    ("a: !!python/object/apply:os.system ['true']\n", 1, "tag"),
    ("a: 1\nb: !custom 2\n", 2, "!custom"),
    ("a: &x 1\n", 1, "an anchor"),
    ("a: {<<: 1}\n", 1, "merge key"),
    ("a: 1\nb: [1, 2\n", 3, ""),
    ("a: 1\n b: 2\n", 2, ""),
    ("a: .nan\n", 1, ".nan"),
])
def test_refused_with_the_line(text: str, line: int, received: str):
  with pytest.raises(ConfigError) as caught:
    parse_config(text, "c.yaml")
  assert caught.value.subject.startswith(f"c.yaml:{line}")
  assert received in caught.value.received


def test_a_list_is_no_config():
  with pytest.raises(ConfigError, match="mapping of sections"):
    parse_config("- a\n", "c.yaml")


def test_missing_file_folder_and_encoding(tmp_path: pathlib.Path):
  with pytest.raises(ConfigError, match="no such file"):
    read_config_file(str(tmp_path / "none.yaml"))
  with pytest.raises(ConfigError, match="a folder"):
    read_config_file(str(tmp_path))
  latin = tmp_path / "latin.yaml"
  latin.write_bytes("name: é".encode("latin-1"))
  with pytest.raises(ConfigError, match="UTF-8"):
    read_config_file(str(latin))


def test_overrides_replace_add_and_reach_into_lists():
  values, where = parse_config("budget: {fraction: 0.01}\nfields:\n- {hash: 1}\n", "c.yaml")
  overrides = parse_overrides(["budget.fraction=2e-2", "fields.0.hash=7", "gate.metric=auc", "seed="])
  where = apply_overrides(values, where, overrides)
  assert values == {"budget": {"fraction": 0.02}, "fields": [{"hash": 7}], "gate": {"metric": "auc"}, "seed": None}
  assert str(where.child("budget").child("fraction")) == "override of budget.fraction: budget.fraction"


@pytest.mark.parametrize(("override", "message"), [
    ("log", "override 'log'.*no equals sign.*write log=VALUE"),
    ("=1", "override '=1'.*nothing before the equals sign.*budget.fraction=0.02"),
    ("a..b=1", "override of a..b.*a dot without a name.*did you mean 'a.b'"),
    (".a=1", "did you mean 'a'"), ("a.=1", "did you mean 'a'"), (" . =1", "like budget.fraction"),
    ("name.x=1", "'x' below name, which is the text 'n'"),
    ("fields.1.hash=1", "fields is a list.*it has 0 to 0.*position '1'.*fields=\\[...\\]"),
    ("fields.hash.name=1", "fields is a list.*position 'hash'"), ("fields.-1.hash=1", "position '-1'"),
    ("fields.\u00b2.hash=1", "position '\u00b2'"), ("fields." + "9" * 5000 + "=1", "is a list"),
    ("fields.0.hash.x=1", "'x' below fields.0.hash, which is the number 1"),
    ("empty.0=1", "it has none"), ("a=[1", "a config is YAML")])
def test_an_odd_key_says_what_is_wrong_with_it(override: str, message: str):
  values, where = parse_config("name: n\nfields:\n- {hash: 1}\nempty: []\n", "c.yaml")
  with pytest.raises(ConfigError, match=message):
    apply_overrides(values, where, parse_overrides([override]))


@pytest.mark.parametrize("key", [1, None, ("a", "b"), b"a"])
def test_a_key_that_is_no_text_is_refused(key: object):
  with pytest.raises(ConfigError, match="a key is made of names"):
    apply_overrides({}, Where("c.yaml"), parse_overrides({key: 1}))  # type: ignore[dict-item]


def test_a_number_is_a_position_in_a_list_and_a_name_in_a_section():
  values: dict = {"counts": {"7": 1}, "sizes": [1, 2]}
  apply_overrides(values, Where("c.yaml"), {"counts.7": 5, "counts. 8": 6, "sizes.1": 9, "new.0.x": 3})
  assert values == {"counts": {"7": 5, "8": 6}, "sizes": [1, 9], "new": {"0": {"x": 3}}}


@pytest.mark.parametrize("value", ["exp #3", "#3", "[a, b] # c"])
def test_what_yaml_takes_for_a_comment_is_not_dropped_without_a_word(value: str):
  with pytest.raises(ConfigError, match="takes.* for a comment.*would be dropped"):
    parse_overrides([f"output={value}"])
  assert parse_overrides(["output='exp #3'", "name=a#b", "seed= 3 "]) == {"output": "exp #3", "name": "a#b", "seed": 3}


LAUGHS = "a: &a [x, x]\n" + "".join(f"{name}: &{name} [*{before}, *{before}]\n"
                                    for before, name in zip("abcdefghijklmnopqrstuvwxy", "bcdefghijklmnopqrstuvwxyz"))


@pytest.mark.parametrize("text", [
    LAUGHS, "a: !!python/object/apply:os.system ['touch hacked']\n", "a: !!python/name:os.system\n",
    "!!python/object/new:os.system ['touch hacked']\n", "a: !!binary aGk=\n", "a: *a\n", "<<: {a: 1}\n",
    "a: !<tag:yaml.org,2002:python/object/apply:os.system> ['touch hacked']\n", "? [a]\n: 1\n", "a: 1\n'a': 2\n",
    "%TAG ! tag:yaml.org,2002:python/\n--- !object/apply:os.system ['touch hacked']\n", "a: 1\n---\nb: 2\n",
    "a: \x00\n", "a: \x1b[31m\n", "[" * 100_000, "a: {" * 100_000, "- " * 100_000, "{a: " * 21 + "1" + "}" * 21])
def test_hostile_configs_run_nothing_and_are_refused(text: str, tmp_path: pathlib.Path,
                                                     monkeypatch: pytest.MonkeyPatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "c.yaml").write_text(text)
  started = time.monotonic()
  with pytest.raises(ConfigError) as caught:
    read_config_file("c.yaml")
  assert time.monotonic() - started < 10
  assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]
  assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 5000


def test_hostile_overrides_are_refused():
  for value in ("!!python/object/apply:os.system [x]", "&a [*a]", "[" * 10_000):
    with pytest.raises(ConfigError):
      parse_overrides([f"name={value}"])


def test_numbers_of_many_digits_are_no_integers():
  assert parse_config(f"a: {'9' * 100}", "c.yaml")[0] == {"a": 10**100 - 1}
  assert parse_config(f"a: {'9' * 10_000}", "c.yaml")[0] == {"a": float("inf")}


def test_huge_config_is_not_read(tmp_path: pathlib.Path):
  with (tmp_path / "c.yaml").open("wb") as output:
    output.truncate(100 << 20)
  with pytest.raises(ConfigError, match="at most 4,194,304 bytes"):
    read_config_file(str(tmp_path / "c.yaml"))


def test_the_text_of_a_value_is_kept_beside_it():
  values, where = parse_config("a: [1.10, 1e5, 7, 'x', true, True, null, ~]\nb: 010\n", "c.yaml")
  entry = where.child("a")
  assert [entry.child(index).text_of(value) for index, value in enumerate(values["a"])] == [
      "1.10", "1e5", "7", "x", "true", "True", "null", "~"]
  where = apply_overrides(values, where, parse_overrides(["a=[2.50, x]", "c.d=1e3"]))
  assert [where.child("a").child(index).text_of(value) for index, value in enumerate(values["a"])] == ["2.50", "x"]
  assert where.child("c").child("d").text_of(values["c"]["d"]) == "1e3" and values["c"]["d"] == 1000.0
  # A value that Python gives has no text of its own, and not that of the value before.
  where = apply_overrides(values, where, {"a": [1.5, True, None]})
  assert [where.child("a").child(index).text_of(value) for index, value in enumerate(values["a"])] == [
      "1.5", "true", "null"]
