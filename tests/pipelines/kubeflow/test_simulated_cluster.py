"""The compiled pipeline, run node by node as Kubeflow Pipelines would run it."""

from __future__ import annotations

import hashlib
import pathlib
import subprocess
import sys

import pytest

from diet_tf.store.memories import load_memory
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from tests.pipelines.kubeflow.simulator import PodFailed, Simulator

NODES = ["MemoryLoader", "LogGen", "StatisticsGen", "SchemaGen", "SpanValidator", "InfluenceScorer", "MemoryAddresser",
         "DistillTrainer", "FidelityEvaluator", "MemoryCommitter"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def content(folder: pathlib.Path) -> dict[str, str]:
  return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
          for path in sorted(folder.rglob("*")) if path.is_file()}


def test_two_spans_give_the_local_runner_s_memory_byte_for_byte(cluster: Simulator, local_store: pathlib.Path,
                                                                tmp_path: pathlib.Path):
  store = Store(str(tmp_path / "memory" / "store"))
  # `auto` twice: the first span of the log, then the one after the first commit.
  first = cluster.run({}, root="minio://mlpipeline/v2/artifacts")
  assert store.spans() == [0]
  second = cluster.run({}, root="s3://artifacts/runs")
  assert store.spans() == [0, 1]
  check_store(store).require_sound()
  assert sorted(first.cluster.order()) == sorted(NODES)
  for run, commit in ((first, store.read(0)), (second, store.read(1))):
    assert commit.run_id == run.run_id
  other = Store(str(local_store))
  assert [commit.data for commit in store.commits()] == [commit.data for commit in other.commits()]
  assert content(tmp_path / "memory" / "store" / "data") == content(local_store / "data")
  assert len(load_memory(store.path(store.read(1), "memory")).slots) == 56

  # A third time there is no later span that is not kept for the test: span 2 is there, and is run, then none is left.
  cluster.run({}, root="s3://artifacts/runs")
  with pytest.raises(PodFailed) as caught:
    cluster.run({}, root="s3://artifacts/runs")
  assert caught.value.node == "LogGen" and caught.value.code == 3
  assert store.spans() == [0, 1, 2]


def test_a_run_sets_its_parameters(cluster: Simulator, tmp_path: pathlib.Path, tiny_log):
  elsewhere = tmp_path / "memory" / "other"
  moved = tmp_path / "moved"
  moved.mkdir()
  (moved / "day-7.csv").write_bytes((tiny_log.folder / "span-1.csv").read_bytes())
  run = cluster.run({"span": "7", "store_uri": str(elsewhere), "log_pattern": str(moved / "day-{SPAN}.csv"),
                     "budget_fraction": 0.04, "seed": 3.0}, root="gs://bucket/root")
  store = Store(str(elsewhere))
  assert store.spans() == [7]
  commit = store.read(7)
  assert commit.settings["budget"]["fraction"] == 0.04 and commit.settings["seed"] == 3
  # 4 % of 1,500 examples, in batches of 8.
  assert len(load_memory(store.path(commit, "memory")).slots) in (56, 64)
  # The console shows what lies at the URI of an artifact of type system.HTML itself.
  page, verdict = (cluster.stored(run.artifacts["FidelityEvaluator", key]["uri"]) for key in ("report", "verdict"))
  assert page.is_file() and page.read_bytes() == (verdict / "report.html").read_bytes()
  assert page.read_text().startswith("<!DOCTYPE html>")


def test_one_node_in_a_process_of_its_own_as_the_yaml_says(compiled, tmp_path: pathlib.Path):
  """The others are forked from a process that has imported TFX, which a container is not."""

  class Processes:
    def run(self, arguments, environment, log, kill=None):
      with open(log, "wb") as output:
        return subprocess.run([sys.executable, *arguments[1:]], stdout=output, stderr=output, check=False,
                              env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **environment}).returncode

  cluster = Simulator(compiled(), tmp_path / "cluster", Processes())
  run_parameters = {name: parameter["defaultValue"]
                    for name, parameter in cluster.spec["root"]["inputDefinitions"]["parameters"].items()}
  from tests.pipelines.kubeflow.simulator import Run

  run = Run(cluster, run_parameters, "s3://artifacts")
  run.node("MemoryLoader")
  assert run.artifacts["MemoryLoader", "parent"]["metadata"] == {
      **run.artifacts["MemoryLoader", "parent"]["metadata"], "is_empty": 1.0}
  stored = cluster.stored(run.artifacts["MemoryLoader", "parent"]["uri"])
  assert sorted(path.name for path in stored.iterdir()) == ["EMPTY"]
  # What it cannot do is told in one line, with the exit code of its kind.
  run_parameters["span"] = "tomorrow"
  with pytest.raises(PodFailed) as caught:
    Run(cluster, run_parameters, "s3://artifacts").node("MemoryLoader")
  assert caught.value.code == 2
  assert "span: it is a whole number or 'auto'. Received: 'tomorrow'" in caught.value.log
