"""The one `create_pipeline`, compiled for Kubeflow Pipelines 2: schema 2.1 in YAML, our container entry point."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import yaml
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig
from tfx.orchestration.pipeline import Pipeline

import diet_tf
from diet_tf.config.config import Config
from diet_tf.io import files
from diet_tf.log.settings import AUTO_SPAN
from pipelines.kubeflow.checks import require_runnable, require_valid
from pipelines.kubeflow.deployment import ENCODING_NODES, SECRET_KEYS, TRAINING_NODES, Deployment
from pipelines.kubeflow.early_checks import check_config
from pipelines.kubeflow.entrypoint import CONSOLE_TYPES
from pipelines.kubeflow.parameters import default_values
from pipelines.pipeline import create_pipeline

ENTRY_POINT = ("python", "-m", "pipelines.kubeflow.entrypoint")
# The driver puts the run's id in the place of this constant.
RUN_ID = "{{$.pipeline_job_uuid}}"

_SPEC_KEYS = ("components", "defaultPipelineRoot", "deploymentSpec", "pipelineInfo", "root", "schemaVersion",
              "sdkVersion")


@dataclasses.dataclass(frozen=True)
class Package:
  """A compiled pipeline.

  Attributes:
    spec: the PipelineSpec, as JSON values.
    platform: what Kubernetes alone knows: secrets, volumes, node selectors, tolerations; empty for nothing.
    unseen_members: members of the config whose modules are not here; the first node of a run looks at them.
  """

  spec: dict[str, Any]
  platform: dict[str, Any]
  unseen_members: tuple[str, ...] = ()

  def to_yaml(self) -> str:
    """The package as the YAML documents that client and server read."""
    documents = [self.spec, *([self.platform] if self.platform else [])]
    head = (f"# Pipeline {self.spec['pipelineInfo']['name']}, compiled by diet-tf {diet_tf.__version__}: "
            "upload it, or see diet kubeflow submit.\n")
    return head + yaml.safe_dump_all(documents, sort_keys=True, width=100)

  def write(self, path: str) -> None:
    """Writes the YAML; a reader sees all of it or nothing."""
    with files.writing(path):
      files.write_atomically(path, self.to_yaml().encode())

  def parameters(self) -> dict[str, Any]:
    """The parameters of a run with their defaults."""
    return default_values(self.spec)


def compile_config(config: Config, deployment: Deployment, *, beam_pipeline_args: tuple[str, ...] = ()) -> Package:
  """The pipeline of a config, for a deployment.

  Runs can set `span` (`auto` for the next one), `store_uri`, `log_pattern`, `budget_fraction`, `seed`, `replace` and
  `accept_changes`.

  Args:
    config: the config that the pipeline is made from, with paths as the containers see them.
    deployment: deployment, which says how the containers run.
    beam_pipeline_args: options of Beam for the components that run on it.

  Raises:
    ConfigError: the pipeline has something that Kubeflow Pipelines cannot run, ids are hashed with a salt and the
      deployment has no secret for it, or the config has what no run of it could compute with.
  """
  deployment = deployment.with_salt(config.features.salt)
  unseen = check_config(config, deployment)
  defaults: dict[str, Any] = {
      "span": AUTO_SPAN, "store_uri": deployment.store_uri, "log_pattern": config.log.pattern,
      "budget_fraction": config.budget.fraction, "seed": config.seed, "replace": 0, "accept_changes": 0}
  parameters = {name: RuntimeParameter(name=name, ptype=type(value), default=value)
                for name, value in defaults.items()}
  pipeline = create_pipeline(
      name=config.name, root=deployment.pipeline_root, log=config.log, features=config.features,
      settings=config.stage_settings(), validation=config.validation, strategy=config.strategy, run_id=RUN_ID,
      store_spans=config.retention.store_spans or 0, beam_pipeline_args=beam_pipeline_args, **parameters)
  return dataclasses.replace(compile_pipeline(pipeline, deployment, defaults), unseen_members=tuple(unseen))


def compile_pipeline(pipeline: Pipeline, deployment: Deployment, defaults: dict[str, Any]) -> Package:
  """A TFX pipeline for a deployment.

  Args:
    pipeline: the TFX pipeline, made of components and importers.
    deployment: deployment, which says how the containers run.
    defaults: default values of its runtime parameters by name, which TFX leaves out of what it compiles.

  Raises:
    ConfigError: the pipeline has something that Kubeflow Pipelines cannot run.
  """
  require_runnable(pipeline)
  runner = KubeflowV2DagRunner(KubeflowV2DagRunnerConfig(
      default_image=deployment.image, default_commands=list(ENTRY_POINT), use_pipeline_spec_2_1=True))
  job = json.loads(json.dumps(runner.run(pipeline, write_out=False)))
  spec = {key: job["pipelineSpec"][key] for key in _SPEC_KEYS if key in job["pipelineSpec"]}
  if deployment.pipeline_root:
    spec["defaultPipelineRoot"] = deployment.pipeline_root
  for name, parameter in spec["root"].get("inputDefinitions", {}).get("parameters", {}).items():
    if name in defaults:
      parameter["defaultValue"] = defaults[name]
  for node in spec["root"]["dag"]["tasks"].values():
    # Said aloud, since some versions of the client take silence for yes.
    node["cachingOptions"] = {"enableCache": False}
  _name_for_the_console(spec)
  _place(spec, deployment)
  require_valid(spec)
  return Package(spec, _platform(spec, deployment))


def _name_for_the_console(spec: dict[str, Any]) -> None:
  """Gives outputs that the console can show the types by which it knows them; TFX knows these types not."""
  console_types = {ours: theirs for theirs, ours in CONSOLE_TYPES.items()}
  for component in spec["components"].values():
    for output in component.get("outputDefinitions", {}).get("artifacts", {}).values():
      schema = yaml.safe_load(output["artifactType"].get("instanceSchema", "")) or {}
      if schema.get("title") in console_types:
        output["artifactType"] = {"schemaTitle": console_types[schema["title"]], "schemaVersion": "0.0.1"}


def _place(spec: dict[str, Any], deployment: Deployment) -> None:
  """Sets resources and environment of all containers."""
  environment = [{"name": name, "value": value} for name, value in sorted(deployment.environment().items())]
  for label, executor in spec["deploymentSpec"]["executors"].items():
    if "container" not in executor:
      continue
    resources = deployment.training_resources if _trains(label) else deployment.resources
    executor["container"]["resources"] = resources.to_dict(deployment.gpu_resource)
    if environment:
      executor["container"]["env"] = environment


def _platform(spec: dict[str, Any], deployment: Deployment) -> dict[str, Any]:
  """The document of what Kubernetes alone knows; empty for nothing."""
  executors = {}
  for label, executor in spec["deploymentSpec"]["executors"].items():
    settings = _kubernetes_settings(deployment, label) if "container" in executor else {}
    if settings:
      executors[label] = settings
  return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}} if executors else {}


def _kubernetes_settings(deployment: Deployment, label: str) -> dict[str, Any]:
  settings: dict[str, Any] = {}
  trains = _trains(label)
  secrets: list[tuple[str, tuple[str, ...]]] = []
  if deployment.s3_secret:
    secrets.append((deployment.s3_secret, SECRET_KEYS))
  if deployment.salt_secret and label.removesuffix("_executor") in ENCODING_NODES:
    secrets.append((deployment.salt_secret, (deployment.salt_variable,)))
  if secrets:
    settings["secretAsEnv"] = [{"secretName": name, "keyToEnv": [{"secretKey": key, "envVar": key} for key in keys]}
                               for name, keys in secrets]
  if deployment.volumes:
    settings["pvcMount"] = [{"constant": volume.claim, "mountPath": volume.path} for volume in deployment.volumes]
  if deployment.image_pull_secret:
    settings["imagePullSecret"] = [{"secretName": deployment.image_pull_secret}]
  if trains and deployment.node_selector:
    settings["nodeSelector"] = {"labels": dict(deployment.node_selector)}
  if trains and deployment.tolerations:
    settings["tolerations"] = [toleration.to_dict() for toleration in deployment.tolerations]
  return settings


def _trains(label: str) -> bool:
  return label.removesuffix("_executor") in TRAINING_NODES
