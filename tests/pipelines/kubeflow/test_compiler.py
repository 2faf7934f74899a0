"""What `diet kubeflow compile` writes, and what it refuses.

The golden file holds the whole YAML. Where a change to it is meant:
UPDATE_GOLDEN=1 make test ARGS="-k golden tests/pipelines/kubeflow"
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import subprocess

import pytest
import yaml
from tfx import types
from tfx.components import CsvExampleGen
from tfx.dsl.components.base import base_component, base_driver, base_executor, executor_spec
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec

from diet_tf.config.config import build_config
from diet_tf.errors import ConfigError
from pipelines.kubeflow.checks import require_runnable, require_valid
from pipelines.kubeflow.compiler import Package, compile_config, compile_pipeline
from pipelines.kubeflow.deployment import Deployment, Resources, Toleration, Volume

ROOT = pathlib.Path(__file__).resolve().parents[3]
GOLDEN = pathlib.Path(__file__).with_name("golden") / "pipeline.yaml"
CONTRACT_PYTHON = ROOT / ".venv" / "contract" / "bin" / "python"
VALUES = {
    "name": "shop",
    "log": {"pattern": "s3://logs/{SPAN}.parquet"},
    "features": {"label": "click", "fields": [{"name": "user", "hash": 64}, {"name": "kind", "vocabulary": 8}]},
}
# Every option that reaches the YAML.
DEPLOYMENT = Deployment(
    image="registry.example.com/diet-tf:0.1.0", store_uri="s3://diet/memory", pipeline_root="s3://artifacts/root",
    resources=Resources(1.5, 6.0), training_resources=Resources(4, 16, num_gpus=2),
    node_selector={"cloud.example.com/gpu": "a100"},
    tolerations=(Toleration("nvidia.com/gpu", effect="NoSchedule"), Toleration("team", "ads")), s3_secret="diet-s3",
    s3_endpoint="http://minio.kubeflow:9000", volumes=(Volume("logs", "/logs"),), image_pull_secret="registry")


@pytest.fixture(scope="module")
def package() -> Package:
  return compile_config(build_config(VALUES), DEPLOYMENT, beam_pipeline_args=("--direct_num_workers=2",))


def without_versions(text: str) -> str:
  text = re.sub(r"sdkVersion: tfx-\S+", "sdkVersion: tfx-N", text)
  return re.sub(r"compiled by diet-tf \S+:", "compiled by diet-tf N:", text)


def test_golden(package: Package):
  text = without_versions(package.to_yaml())
  if os.environ.get("UPDATE_GOLDEN"):
    GOLDEN.write_text(text)
  assert text == GOLDEN.read_text(), "where the change is meant, see the head of this file"


def test_parameters_of_a_run_have_the_defaults_of_the_config(package: Package):
  assert package.parameters() == {
      "accept_changes": 0, "budget_fraction": 0.02, "log_pattern": "s3://logs/{SPAN}.parquet", "replace": 0, "seed": 0,
      "span": "auto", "store_uri": "s3://diet/memory"}
  kinds = {name: parameter["parameterType"]
           for name, parameter in package.spec["root"]["inputDefinitions"]["parameters"].items()}
  assert kinds == {"accept_changes": "NUMBER_INTEGER", "budget_fraction": "NUMBER_DOUBLE", "log_pattern": "STRING",
                   "replace": "NUMBER_INTEGER", "seed": "NUMBER_INTEGER", "span": "STRING", "store_uri": "STRING"}


def test_every_parameter_is_read_by_a_node(package: Package):
  read = {source["componentInputParameter"] for task in package.spec["root"]["dag"]["tasks"].values()
          for source in task["inputs"].get("parameters", {}).values() if "componentInputParameter" in source}
  assert read == set(package.parameters())


def test_only_training_nodes_ask_for_gpus(package: Package):
  executors = package.spec["deploymentSpec"]["executors"]
  with_gpus = {label for label, executor in executors.items() if "accelerator" in executor["container"]["resources"]}
  assert with_gpus == {"InfluenceScorer_executor", "DistillTrainer_executor"}
  assert executors["DistillTrainer_executor"]["container"]["resources"] == {
      "cpuLimit": 4, "cpuRequest": 4, "memoryLimit": 16, "memoryRequest": 16,
      "accelerator": {"type": "nvidia.com/gpu", "count": "2"}}
  assert executors["LogGen_executor"]["container"]["resources"]["memoryLimit"] == 6.0
  kubernetes = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
  assert {label for label, settings in kubernetes.items() if "tolerations" in settings} == with_gpus
  assert kubernetes["DistillTrainer_executor"]["tolerations"] == [
      {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
      {"key": "team", "operator": "Equal", "value": "ads"}]


def test_the_report_is_of_a_type_that_the_console_shows(package: Package):
  outputs = package.spec["components"]["FidelityEvaluator"]["outputDefinitions"]["artifacts"]
  assert outputs["report"]["artifactType"] == {"schemaTitle": "system.HTML", "schemaVersion": "0.0.1"}
  assert "tfx_components.FidelityReport" in outputs["verdict"]["artifactType"]["instanceSchema"]


def test_nothing_is_cached(package: Package):
  assert [task["cachingOptions"] for task in package.spec["root"]["dag"]["tasks"].values()] == 10 * [
      {"enableCache": False}]


def test_secrets_are_named_and_never_written(tmp_path, monkeypatch):
  monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAVERYSECRET")
  monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
  text = compile_config(build_config(VALUES), DEPLOYMENT).to_yaml()
  assert "AKIAVERYSECRET" not in text and "hunter2" not in text
  entries = yaml.safe_load_all(text)
  next(entries)
  for settings in next(entries)["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
    assert settings["secretAsEnv"] == [{"secretName": "diet-s3", "keyToEnv": [
        {"secretKey": key, "envVar": key} for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]}]


def test_the_salt_is_named_for_log_gen_alone_and_never_written(monkeypatch):
  monkeypatch.setenv("SHOP_SALT", "a-salt-that-nobody-may-see")
  config = build_config({**VALUES, "privacy": {"salt_environment_variable": "SHOP_SALT"}})
  package = compile_config(config, Deployment("a/b:1", "gs://diet/memory", salt_secret="shop-salt"))
  assert "nobody-may-see" not in package.to_yaml()
  executors = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
  assert executors == {"LogGen_executor": {"secretAsEnv": [
      {"secretName": "shop-salt", "keyToEnv": [{"secretKey": "SHOP_SALT", "envVar": "SHOP_SALT"}]}]}}
  both = compile_config(config, dataclasses.replace(DEPLOYMENT, salt_secret="shop-salt"))
  executors = both.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
  assert [len(settings["secretAsEnv"]) for label, settings in sorted(executors.items())
          if label in ("LogGen_executor", "DistillTrainer_executor")] == [1, 2]


def test_a_salt_needs_its_secret_and_compiling_needs_neither_value(monkeypatch):
  monkeypatch.delenv("SHOP_SALT", raising=False)
  config = build_config({**VALUES, "privacy": {"salt_environment_variable": "SHOP_SALT"}})
  with pytest.raises(ConfigError, match="--salt-secret.*key SHOP_SALT"):
    compile_config(config, Deployment("a/b:1", "gs://diet/memory"))
  with pytest.raises(ConfigError, match="--salt-secret.*privacy.salt_environment_variable"):
    compile_config(build_config(VALUES), Deployment("a/b:1", "gs://diet/memory", salt_secret="shop-salt"))
  compile_config(config, Deployment("a/b:1", "gs://diet/memory", salt_secret="shop-salt"))


def test_a_plain_deployment_needs_no_second_document():
  package = compile_config(build_config(VALUES), Deployment("a/b:1", "gs://diet/memory"))
  assert package.platform == {} and len(list(yaml.safe_load_all(package.to_yaml()))) == 1
  assert all("env" not in executor["container"] for executor in package.spec["deploymentSpec"]["executors"].values())


def test_contract_with_the_newest_schemas(package: Package, tmp_path):
  """Strictly: an unknown key, or a value of another type, is an error."""
  path = tmp_path / "pipeline.yaml"
  path.write_text(package.to_yaml())
  documents = tmp_path / "documents.json"
  documents.write_text(json.dumps(list(yaml.safe_load_all(path.read_text()))))
  script = """
import importlib.util, json, pathlib, sys
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as schemas
import kfp.pipeline_spec
folder = pathlib.Path(kfp.pipeline_spec.__file__).parents[1] / "kubernetes"
module = importlib.util.spec_from_file_location("config", folder / "kubernetes_executor_config_pb2.py")
kubernetes = importlib.util.module_from_spec(module)
module.loader.exec_module(kubernetes)
spec, platform = json.load(open(sys.argv[1]))
json_format.ParseDict(spec, schemas.PipelineSpec())
deployment = json_format.ParseDict(spec["deploymentSpec"], schemas.PipelineDeploymentConfig())
json_format.ParseDict(platform, schemas.PlatformSpec())
for settings in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
  json_format.ParseDict(settings, kubernetes.KubernetesExecutorConfig())
print(len(deployment.executors))
"""
  result = subprocess.run([str(CONTRACT_PYTHON), "-c", script, str(documents)], capture_output=True, text=True,
                          check=False)
  assert result.returncode == 0, result.stderr
  assert result.stdout == "10\n"


class _Kind(types.Artifact):
  TYPE_NAME = "tests.Kind"


class _KindWithProperties(types.Artifact):
  TYPE_NAME = "tests.KindWithProperties"
  PROPERTIES = {"span": types.artifact.Property(type=types.artifact.PropertyType.INT)}


class _Executor(base_executor.BaseExecutor):
  def Do(self, input_dict, output_dict, exec_properties):
    raise NotImplementedError


class _Driver(base_driver.BaseDriver):
  pass


def node(kind: type[types.Artifact] = _Kind, driver: type[base_driver.BaseDriver] = base_driver.BaseDriver,
         executor: type[base_executor.BaseExecutor] = _Executor) -> base_component.BaseComponent:
  class Spec(ComponentSpec):
    PARAMETERS = {}
    INPUTS = {}
    OUTPUTS = {"out": ChannelParameter(type=kind)}

  class Node(base_component.BaseComponent):
    SPEC_CLASS = Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor)
    DRIVER_CLASS = driver

  return Node(spec=Spec(out=types.Channel(type=kind)))


def in_main() -> type[base_executor.BaseExecutor]:
  return type("Executor", (_Executor,), {"__module__": "__main__"})


@pytest.mark.parametrize("make, rule", [
    (lambda: Resolver(LatestArtifactStrategy, examples=types.Channel(type=standard_artifacts.Examples)).with_id("Last"),
     "node Last: every node is a component or an importer. Received: a resolver"),
    (lambda: CsvExampleGen(input_base="logs"), "node CsvExampleGen: it has no driver of its own"),
    (lambda: node(driver=_Driver), "node Node: it has no driver of its own"),
    (lambda: node().with_id("bad_id"), "node bad_id: the id of a node has letters, digits and '-' alone"),
    (lambda: node(kind=_KindWithProperties), r"node Node, out: .* declare no properties.*\['span'\]"),
    (lambda: node(executor=in_main()), "node Node: its executor can be imported"),
])
def test_what_kubeflow_cannot_run_is_refused_with_the_reason(make, rule):
  pipeline = Pipeline(pipeline_name="shop", pipeline_root="", components=[make()])
  with pytest.raises(ConfigError, match=rule):
    compile_pipeline(pipeline, DEPLOYMENT, {})


def test_a_name_that_kubeflow_does_not_take_is_refused():
  with pytest.raises(ConfigError, match="lower-case letters"):
    compile_config(build_config({**VALUES, "name": "My Shop"}), DEPLOYMENT)


def test_names_as_long_as_tfx_and_argo_take_them():
  # Longer names of pipelines are refused with the config.
  require_runnable(Pipeline(pipeline_name="s" * 63, pipeline_root="", components=[node()]))
  for length in (121, 122):
    with pytest.raises(ConfigError, match="at most 121") if length > 121 else contextlib.nullcontext():
      require_runnable(Pipeline(pipeline_name="shop", pipeline_root="", components=[node().with_id("n" * length)]))


MANY = {"features": {**VALUES["features"], "fields": [{"name": "user", "hash": 30_000_000}]}}


@pytest.mark.parametrize(("sections", "deployment", "message"), [
    ({"gate": {"members": ["dmn"]}}, {}, "gate.members: panel member 'dmn'"),
    ({"validation": {"fatal": ["NO_SUCH_ANOMALY"]}}, {}, "validation.fatal.*NO_SUCH_ANOMALY"),
    ({"strategy": "gpu"}, {"training_resources": Resources()}, "strategy.*--gpus"),
    (MANY, {}, "field 'user'.*a container of --training-memory 16 has 16.0 GB.*raise --training-memory"),
    (MANY, {"training_resources": Resources(memory_gigabytes=64)}, "reading the teacher.*--memory 8 has 8.0 GB")])
def test_what_no_run_could_compute_is_refused(sections, deployment, message):
  with pytest.raises(ConfigError, match=message):
    compile_config(build_config({**VALUES, **sections}), Deployment(
        image=DEPLOYMENT.image, store_uri=DEPLOYMENT.store_uri, **deployment))


def test_a_model_that_is_in_the_image_alone_is_named():
  package = compile_config(build_config({**VALUES, "distill": {"proxies": ["no_such_module:Model", "fm"]}}), DEPLOYMENT)
  assert package.unseen_members == ("no_such_module:Model",)


@pytest.mark.parametrize("change, rule", [
    (lambda spec: spec.update(schemaVersion="2.0.0"), "its schema is 2.1.0"),
    (lambda spec: spec.pop("schemaVersion"), "its schema is 2.1.0"),
    (lambda spec: spec.update(unknown=1), "it is a PipelineSpec"),
    (lambda spec: spec.pop("deploymentSpec"), "it is a PipelineSpec"),
    (lambda spec: spec["deploymentSpec"]["executors"].update(A={"resolver": {}}), "A: every executor is a container"),
    (lambda spec: spec["deploymentSpec"]["executors"]["LogGen_executor"]["container"].update(
        lifecycle={"preCacheCheck": {"command": ["x"]}}), "LogGen_executor: no container has a lifecycle hook"),
    (lambda spec: spec["root"]["inputDefinitions"]["parameters"]["span"].pop("defaultValue"),
     "parameter span: every parameter of a run has a default"),
])
def test_a_wrong_spec_is_refused(package: Package, change, rule):
  spec = json.loads(json.dumps(package.spec))
  require_valid(spec)
  change(spec)
  with pytest.raises(ConfigError, match=rule):
    require_valid(spec)


def test_a_reader_of_the_file_sees_all_of_it_or_nothing(package: Package, tmp_path):
  path = tmp_path / "pipeline.yaml"
  package.write(str(path))
  assert path.read_text() == package.to_yaml()
  assert [entry.name for entry in tmp_path.iterdir()] == ["pipeline.yaml"]
