"""A cluster to run compiled pipelines on."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from pipelines import command_line
from pipelines.kubeflow import command_line as kubeflow_command_line
from tests.pipelines.kubeflow.simulator import Pods, Simulator

IMAGE = "registry.example.com/diet-tf:0.1.0"


@pytest.fixture(scope="session")
def pods() -> Iterator[Pods]:
  running = Pods()
  yield running
  running.close()


@pytest.fixture
def compiled(tiny_log, tmp_path):
  """Compiles the tiny log's pipeline; its log and its store lie on volumes that are folders here."""

  def compile_package(*arguments: str) -> str:
    (tmp_path / "memory").mkdir(exist_ok=True)
    package = str(tmp_path / "pipeline.yaml")
    assert kubeflow_command_line.kubeflow([
        "compile", "--config", tiny_log.config_path, "--data-dir", str(tiny_log.folder), "--image", IMAGE,
        "--pvc", f"memory:{tmp_path / 'memory'}", "--output", package, *arguments]) == 0
    return package

  return compile_package


@pytest.fixture
def cluster(compiled, tmp_path, pods) -> Simulator:
  return Simulator(compiled(), tmp_path / "cluster", pods)


@pytest.fixture
def local_store(tiny_log, tmp_path) -> pathlib.Path:
  """The store that the local runner makes of the first two spans."""
  assert command_line.run(["--config", tiny_log.config_path, "--data-dir", str(tiny_log.folder),
                           "--output", str(tmp_path / "local"), "--no-evaluate"]) == 0
  return tmp_path / "local" / "store"
