"""Patterns for the files of a log, from the paths of some."""

from __future__ import annotations

import pytest

from diet_tf.errors import ConfigError
from pipelines.init.pattern_guess import guess_patterns

DRAWN = ("1fa85f64-5717-4562-b3fc-2c963f66afa6", "3fa85f64-5717-4562-b3fc-2c963f66afa7")


@pytest.mark.parametrize(("paths", "pattern"), [
    (["log/span-0.csv", "log/span-10.csv"], "log/span-{SPAN}.csv"),
    (["v1/day=20240101/part-0.csv", "v1/day=20240101/part-1.csv", "v1/day=20240102/part-0.csv"],
     "v1/day={SPAN}/part-*.csv"),
    (["x/1/20240101.csv", "x/2/20240102.csv"], "x/*/{SPAN}.csv"),
    # All numbers of a date are marks, whichever of them vary.
    (["2024-01-30.csv", "2024-01-31.csv"], "{YYYY}-{MM}-{DD}.csv"),
    (["c-202401-01.csv", "c-202401-02.csv"], "c-{YYYY}{MM}-{DD}.csv"),
    (["l/2024/01/05/x.csv", "l/2024/01/06/x.csv"], "l/{YYYY}/{MM}/{DD}/x.csv"),
    (["y=2024/m=1/d=5/x.csv", "y=2024/m=1/d=6/x.csv"], "y={YYYY}/m={MM}/d={DD}/x.csv"),
    (["x-2024-01.csv", "x-2024-02.csv"], "x-{YYYY}-{MM}.csv"),
    # One day in parts: the days after are the next spans.
    (["c-20240101-0.csv", "c-20240101-1.csv"], "c-{SPAN}-*.csv"),
    ([f"day-1/part-0-{DRAWN[0]}.parquet", f"day-2/part-0-{DRAWN[1]}.parquet"], "day-{SPAN}/part-0-*.parquet"),
    (["a[1]/day-1.csv", "a[1]/day-2.csv"], "a[[]1]/day-{SPAN}.csv"),
    (["logs-2024/day-1.csv", "logs-2024/day-2.csv"], "logs-2024/day-{SPAN}.csv"),
])
def test_where_the_span_stands_in_paths(paths, pattern):
  assert guess_patterns(paths)[0] == pattern


def test_a_folder_that_was_given_is_no_name_that_a_writer_drew():
  """Of two folders named by a hash, as those of commits are, only the one that was given is read."""
  drawn = "4bb7f62397ad4bee9051d682d1b7a3c5"
  paths = [f"{drawn}/day-0.csv", f"{drawn}/day-1.csv"]
  assert guess_patterns(paths) == (f"{drawn}/day-{{SPAN}}.csv", f"{drawn}/day-*.csv")
  assert guess_patterns([f"day-0/part-{drawn}.csv", f"day-1/part-{drawn[::-1]}.csv"])[0] == "day-{SPAN}/part-*.csv"


def test_hours_may_be_joined_to_days_and_these_to_months():
  assert guess_patterns(["dt=2024-01-30/hour=3/a.csv", "dt=2024-01-30/hour=14/a.csv"]) == (
      "dt={YYYY}-{MM}-{DD}/hour={HH}/a.csv", "dt={YYYY}-{MM}-{DD}/hour=*/a.csv", "dt={YYYY}-{MM}-*/hour=*/a.csv",
      "dt=*-*-*/hour=*/a.csv")


def test_files_of_several_kinds_are_no_log(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ("train.csv", "test.csv", "clicks_a.csv", "clicks_b.csv"):
    (tmp_path / name).write_text("")
  assert guess_patterns(["clicks_a.csv", "clicks_b.csv"]) == ("clicks_*.csv",)
  # All that begins and ends as they do is there, and more.
  with pytest.raises(ConfigError, match="numbers alone"):
    guess_patterns(["test.csv", "train.csv"])
