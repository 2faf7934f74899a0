import os

import pytest

from diet_tf.errors import ConfigError, DataError
from diet_tf.io import path_patterns


def touch(folder, *names):
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("")


def names(folder, pattern, **kwargs):
  return [match.path[len(str(folder)) + 1:] for match in path_patterns.matching(f"{folder}/{pattern}", **kwargs)]


@pytest.mark.parametrize(("pattern", "expected"), [
    ("a.csv", ["a.csv"]), ("b.csv", []), ("*.csv", ["a.csv"]), ("day=?/*", ["day=1/x.csv", "day=2/x.csv"]),
    ("day=[!1]/x.csv", ["day=2/x.csv"]), ("day=[1-2]/x.csv", ["day=1/x.csv", "day=2/x.csv"]),
    ("day=[^1]/x.csv", ["day=1/x.csv"]), ("*", ["a.csv", "day=1", "day=2", "day=22"]),
    ("_*", ["_temporary"]), ("_temporary/y.csv", ["_temporary/y.csv"]), (".part.crc", [".part.crc"]),
    ("nothing/*", []), ("*//x.csv", ["day=1/x.csv", "day=2/x.csv", "day=22/x.csv"]), ("day=[", [])])
def test_what_a_pattern_matches(tmp_path, pattern, expected):
  touch(tmp_path, "a.csv", "day=1/x.csv", "day=2/x.csv", "day=22/x.csv", "_temporary/y.csv", ".part.crc", "p.crc")
  assert names(tmp_path, pattern) == expected


@pytest.mark.parametrize("folder", ["logs[1]", "we[1]rd ?*", "a*b", "x{SPAN}", "back\\slash[!q]", "[", "[]"])
def test_an_escaped_folder_stands_for_itself(tmp_path, monkeypatch, folder):
  touch(tmp_path, f"{folder}/span-1.csv", "logs1/span-2.csv", "we1rd xyz/span-3.csv", "ab/span-4.csv", "x5/span-5.csv")
  marks = {"{SPAN}": r"\d+"}
  match, = path_patterns.matching(path_patterns.escaped(f"{tmp_path}/{folder}") + "/span-{SPAN}.csv", marks)
  assert (match.path, match.values) == (f"{tmp_path}/{folder}/span-1.csv", {"{SPAN}": "1"})
  monkeypatch.chdir(tmp_path)
  assert path_patterns.glob(path_patterns.escaped(folder) + "/*") == [f"{folder}/span-1.csv"]
  monkeypatch.chdir(tmp_path / folder)
  assert path_patterns.glob("span-*") == ["span-1.csv"]


def test_brackets_that_are_there_as_they_are_written_are_no_pattern(tmp_path):
  touch(tmp_path, "logs[1]/a.csv", "logs1/b.csv", "logs2/c.csv")
  assert names(tmp_path, "logs[1]/*") == ["logs[1]/a.csv"]
  assert names(tmp_path, "logs[2]/*") == ["logs2/c.csv"]


def test_a_mark_stands_for_one_text_throughout_a_path(tmp_path):
  touch(tmp_path, "1/log-1-1.csv", "1/log-1-2.csv", "2/log-1-1.csv")
  found, = path_patterns.matching(f"{tmp_path}/{{SPAN}}/log-{{SPAN}}-{{SPAN}}.csv", {"{SPAN}": r"\d+"})
  assert found.path.endswith("1/log-1-1.csv")


def test_brackets_that_list_nothing_are_refused(tmp_path):
  touch(tmp_path, "a")
  with pytest.raises(ConfigError, match=r"\[z-a\].*list characters"):
    path_patterns.glob(f"{tmp_path}/[z-a]")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_listed_is_named(tmp_path):
  (tmp_path / "closed").mkdir(mode=0)
  with pytest.raises(DataError, match="closed.*can be listed"):
    path_patterns.glob(f"{tmp_path}/closed/*")
