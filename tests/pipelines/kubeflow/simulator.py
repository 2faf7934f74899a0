"""Kubeflow Pipelines 2 in small: reads a compiled pipeline and runs each node as driver and launcher would.

What they do, as far as a component can see it: the driver resolves parameters, and hands on the artifacts of finished
nodes with a numeric name, their properties as numbers and texts, and an empty type; the launcher fetches them from the
object store into local folders, puts the invocation into the command, runs it, and takes URI and properties of outputs
from the file that the command has written, and their content from the local folders.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCHEMES = {"s3://": "s3", "minio://": "minio", "gs://": "gcs"}


class PodFailed(Exception):
  """A container ended with another exit code than 0."""

  def __init__(self, node: str, code: int, log: str) -> None:
    super().__init__(f"{node} ended with {code}:\n{log[-3000:]}")
    self.node = node
    self.code = code
    self.log = log


class Pods:
  """Runs container commands; see `pods.py`."""

  def __init__(self) -> None:
    # By its path, not as a module, so that it is found from every folder.
    self._process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(pathlib.Path(__file__).with_name("pods.py"))], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert self._process.stdout.readline() == "ready\n"

  def run(self, arguments: list[str], environment: Mapping[str, str], log: pathlib.Path,
          kill: str | float | None = None) -> int:
    """Runs one command to its end; returns its exit code."""
    request = {"arguments": arguments, "environment": dict(environment), "log": str(log), "kill": kill}
    self._process.stdin.write(json.dumps(request) + "\n")
    self._process.stdin.flush()
    return int(self._process.stdout.readline())

  def close(self) -> None:
    self._process.stdin.close()
    self._process.wait(timeout=30)


@dataclasses.dataclass
class Attempt:
  """A container's end, and where it wrote."""

  node: str
  code: int
  log: pathlib.Path


class Simulator:
  """A cluster.

  Args:
    package_path: the compiled pipeline.
    folder: of everything that the cluster keeps.
    pods: that run containers.
    secrets: per secret, its values by key.
  """

  def __init__(self, package_path: str, folder: pathlib.Path, pods: Pods,
               secrets: Mapping[str, Mapping[str, str]] | None = None) -> None:
    documents = list(yaml.safe_load_all(pathlib.Path(package_path).read_text()))
    self.spec = documents[0]
    self.platform = documents[1] if len(documents) > 1 else {}
    self.folder = folder
    self._pods = pods
    self._secrets = secrets or {}
    self._numbers = itertools.count(1)

  def run(self, parameters: Mapping[str, Any], *, root: str, on_node: Callable[[str, Run], None] | None = None
          ) -> Run:
    """Runs the pipeline to its end.

    Args:
      parameters: that differ from their defaults.
      root: the pipeline root, a URI.
      on_node: is called before each node with its name and the run.
    """
    declared = self.spec["root"]["inputDefinitions"]["parameters"]
    assert set(parameters) <= set(declared)
    values = {name: parameters.get(name, parameter["defaultValue"]) for name, parameter in declared.items()}
    run = Run(self, values, root)
    for node in self.order():
      if on_node is not None:
        on_node(node, run)
      run.node(node)
    return run

  def order(self) -> list[str]:
    """The nodes, each after those that it depends on."""
    tasks = self.spec["root"]["dag"]["tasks"]
    done: list[str] = []
    while len(done) < len(tasks):
      ready = sorted(name for name, task in tasks.items()
                     if name not in done and set(task.get("dependentTasks", [])) <= set(done))
      assert ready, "the nodes wait for each other"
      done += ready
    return done

  def stored(self, uri: str) -> pathlib.Path:
    """Where the object store keeps a URI."""
    scheme, _, path = uri.partition("://")
    return self.folder / "objects" / scheme / path

  def environment(self, label: str, container: Mapping[str, Any]) -> dict[str, str]:
    """What a container finds in its environment, secrets included."""
    environment = {entry["name"]: entry["value"] for entry in container.get("env", [])}
    executors = self.platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    for secret in executors.get(label, {}).get("secretAsEnv", []):
      for entry in secret["keyToEnv"]:
        environment[entry["envVar"]] = self._secrets[secret["secretName"]][entry["secretKey"]]
    return environment


class Run:
  """One run of the pipeline."""

  def __init__(self, cluster: Simulator, parameters: Mapping[str, Any], root: str) -> None:
    self.cluster = cluster
    self.parameters = parameters
    self.run_id = str(uuid.uuid4())
    self.uri = f"{root}/{cluster.spec['pipelineInfo']['name']}/{self.run_id}"
    self.artifacts: dict[tuple[str, str], dict[str, Any]] = {}
    self.attempts: list[Attempt] = []

  def node(self, name: str, kill: str | float | None = None) -> None:
    """Runs one node; its artifacts are those of this attempt alone.

    Raises:
      PodFailed: its container did not end with 0.
    """
    spec = self.cluster.spec
    task = spec["root"]["dag"]["tasks"][name]
    component = spec["components"][task["componentRef"]["name"]]
    label = component["executorLabel"]
    container = spec["deploymentSpec"]["executors"][label]["container"]
    assert not task.get("cachingOptions", {}).get("enableCache")
    pod = self.cluster.folder / "pods" / f"{next(self.cluster._numbers)}-{name}"
    pod.mkdir(parents=True)
    invocation = self._invocation(task, component, name, pod)
    self._fetch(invocation, pod)
    arguments = [argument.replace("{{$}}", json.dumps(invocation))
                 for argument in [*container["command"], *container.get("args", [])]]
    environment = {**self.cluster.environment(label, container), "DIET_TF_LAUNCHER_ROOT": str(pod)}
    log = pod / "log.txt"
    code = self.cluster._pods.run(arguments, environment, log, kill)
    self.attempts.append(Attempt(name, code, log))
    if code:
      raise PodFailed(name, code, log.read_text(errors="replace"))
    self._keep(invocation, name, pod)

  def _invocation(self, task: Mapping[str, Any], component: Mapping[str, Any], name: str,
                  pod: pathlib.Path) -> dict[str, Any]:
    """The driver's part."""
    values = {}
    for key, source in task.get("inputs", {}).get("parameters", {}).items():
      if "componentInputParameter" in source:
        values[key] = self.parameters[source["componentInputParameter"]]
      else:
        constant = source["runtimeValue"]["constant"]
        values[key] = self.run_id if constant == "{{$.pipeline_job_uuid}}" else constant
    assert set(values) == set(component.get("inputDefinitions", {}).get("parameters", {}))
    inputs = {}
    for key, source in task.get("inputs", {}).get("artifacts", {}).items():
      producer = source["taskOutputArtifact"]
      artifact = self.artifacts[producer["producerTask"], producer["outputArtifactKey"]]
      inputs[key] = {"artifacts": [{**artifact, "type": {"instanceSchema": ""}}]}
    outputs = {
        key: {"artifacts": [{"name": key, "uri": f"{self.uri}/{name}/{key}", "metadata": {},
                             "type": declared["artifactType"]}]}
        for key, declared in component.get("outputDefinitions", {}).get("artifacts", {}).items()}
    return {"inputs": {"parameterValues": values, "artifacts": inputs},
            "outputs": {"artifacts": outputs, "outputFile": str(pod / "kfp_outputs" / "output_metadata.json")}}

  def _fetch(self, invocation: Mapping[str, Any], pod: pathlib.Path) -> None:
    """The launcher's part before the command: inputs are there, and folders for outputs."""
    for artifacts in invocation["inputs"]["artifacts"].values():
      for artifact in artifacts["artifacts"]:
        shutil.copytree(self.cluster.stored(artifact["uri"]), launched(pod, artifact["uri"]))
    for artifacts in invocation["outputs"]["artifacts"].values():
      for artifact in artifacts["artifacts"]:
        launched(pod, artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)
    (pod / "kfp_outputs").mkdir()

  def _keep(self, invocation: Mapping[str, Any], name: str, pod: pathlib.Path) -> None:
    """The launcher's part after the command."""
    written = json.loads((pod / "kfp_outputs" / "output_metadata.json").read_text())["artifacts"]
    for key, artifacts in invocation["outputs"]["artifacts"].items():
      artifact, output = artifacts["artifacts"][0], written[key]["artifacts"][0]
      assert output["uri"] == artifact["uri"], "the launcher would look for the output elsewhere"
      stored = self.cluster.stored(artifact["uri"])
      shutil.rmtree(stored, ignore_errors=True)  # Of an attempt that failed.
      made = launched(pod, artifact["uri"])
      if made.is_file():
        stored.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, stored)
      else:
        shutil.copytree(made, stored)
      self.artifacts[name, key] = {"name": str(next(self.cluster._numbers)), "uri": artifact["uri"],
                                   "metadata": numbers_as_floats(output.get("metadata", {}))}


def launched(pod: pathlib.Path, uri: str) -> pathlib.Path:
  """Where the launcher keeps a URI in a container whose file system begins at `pod`."""
  for scheme, folder in SCHEMES.items():
    if uri.startswith(scheme):
      return pod / folder / uri.removeprefix(scheme)
  raise AssertionError(uri)


def numbers_as_floats(value: Any) -> Any:
  """JSON values as they come out of a protobuf Struct."""
  if isinstance(value, dict):
    return {key: numbers_as_floats(entry) for key, entry in value.items()}
  return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
