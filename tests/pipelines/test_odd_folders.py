"""Runs in folders whose names could be patterns: what a config declares is one, and a name is none."""

import os
import shutil

import pytest

from diet_tf.store.store import Store
from pipelines import command_line
from tfx_components.log_gen.summary import LogSummary

NAMES = ("we[1]rd ?*", "logs[1]")


@pytest.mark.slow(seconds=45)
def test_a_run_in_and_of_folders_whose_names_could_be_patterns(tiny_log, tmp_path, monkeypatch):
  here, there = (tmp_path / name for name in NAMES)
  here.mkdir()
  shutil.copytree(tiny_log.folder, there)
  # What the names would match as patterns holds other rows.
  for decoy in ("we1rd xyz", "logs1"):
    shutil.copytree(tiny_log.folder, tmp_path / decoy)
    for span in range(3):
      tiny_log.with_one_class(span)
      shutil.copy(tiny_log.folder / f"span-{span}.csv", tmp_path / decoy / f"span-{span}.csv")
  monkeypatch.chdir(here)
  assert command_line.run(["--config", str(there / "config.yaml"), "--data-dir", f"../{NAMES[1]}", "--span", "0",
                           "--output", "out [?]"]) == 0
  assert Store(str(here / "out [?]" / "store")).spans() == [0]
  (folder,) = [path for path in (here / "out [?]" / "pipeline" / "LogGen" / "examples").iterdir() if path.is_dir()]
  summary = LogSummary.read(str(folder))
  assert summary.num_examples == 1500 and summary.num_positives > 0
  assert [os.path.realpath(path) for path in summary.files] == [str(there / "span-0.csv")]
  # Nothing was written beside them.
  assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["log", "we1rd xyz", "logs1", *NAMES])
