"""What Kubeflow Pipelines cannot run is refused when the pipeline is compiled, not when it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.dsl.components.base import base_driver
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.pipeline import Pipeline
from tfx.types.artifact import Artifact

from diet_tf.config.config import MAX_NAME_CHARACTERS
from diet_tf.errors import ConfigError

SCHEMA_VERSION = "2.1.0"
# Argo names its tasks after the nodes, and those of their drivers with 7 characters more: of at most 128 in all.
MAX_NODE_ID_CHARACTERS = 128 - len("-driver")
_NODE_ID = re.compile(rf"[a-zA-Z0-9][-a-zA-Z0-9]{{0,{MAX_NODE_ID_CHARACTERS - 1}}}")
_PIPELINE_NAME = re.compile(rf"[a-z0-9][-a-z0-9]{{0,{MAX_NAME_CHARACTERS - 1}}}")


def require_runnable(pipeline: Pipeline) -> None:
  """Raises ConfigError for the first thing in a TFX pipeline that Kubeflow Pipelines 2 cannot run."""
  name = pipeline.pipeline_info.pipeline_name
  if not _PIPELINE_NAME.fullmatch(name):
    _refuse(f"pipeline {name!r}", f"its name has lower-case letters, digits and '-' alone, at most "
            f"{MAX_NAME_CHARACTERS}, as the workflow that Argo makes of it.", f"{name!r}, {len(name)} characters",
            "change name in the config, or pass --name.")
  for node in pipeline.components:
    _require_runnable_node(node)


def _require_runnable_node(node: BaseNode) -> None:
  subject = f"node {node.id}"
  if not _NODE_ID.fullmatch(node.id):
    _refuse(subject, f"the id of a node has letters, digits and '-' alone, at most {MAX_NODE_ID_CHARACTERS}.",
            f"{node.id!r}, {len(node.id)} characters", "choose another id.")
  if isinstance(node, Resolver):
    _refuse(subject, "every node is a component or an importer.", "a resolver, which only Vertex AI runs",
            "read what it resolved in a component of your own, as MemoryLoader does.")
  if not isinstance(node, (BaseComponent, Importer)):
    _refuse(subject, "every node is a component or an importer.", type(node).__name__, "leave it out.")
  if isinstance(node, Importer):
    return
  # Kubeflow Pipelines runs no driver: what one would have looked up stays unset, without a word.
  if node.driver_class is not base_driver.BaseDriver:
    _refuse(subject, "it has no driver of its own, which would run as a lifecycle hook.", node.driver_class.__name__,
            "read the log with LogGen in place of an ExampleGen.")
  if node.executor_spec.executor_class.__module__ == "__main__":
    _refuse(subject, "its executor can be imported in the container.", "an executor defined in __main__",
            "define it in an installed package.")
  for channels in (node.inputs, node.outputs):
    for key, channel in channels.items():
      _require_compilable(f"{subject}, {key}", channel.type)


def _require_compilable(subject: str, kind: type[Artifact]) -> None:
  if not kind.__module__.startswith("tfx.") and kind.PROPERTIES:
    _refuse(subject, "the types of artifacts that are not TFX's own declare no properties.",
            f"{kind.TYPE_NAME} with {sorted(kind.PROPERTIES)}", "use custom properties.")


def require_valid(spec: Mapping[str, Any]) -> None:
  """Raises ConfigError for the first thing in a compiled spec that Kubeflow Pipelines 2 would refuse or ignore."""
  name = spec.get("pipelineInfo", {}).get("name", "?")
  subject = f"pipeline {name}"
  if spec.get("schemaVersion") != SCHEMA_VERSION:
    _refuse(subject, f"its schema is {SCHEMA_VERSION}.", repr(spec.get("schemaVersion")), "compile it anew.")
  try:
    json_format.ParseDict(dict(spec), pipeline_spec_pb2.PipelineSpec())
    deployment = json_format.ParseDict(spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
  except (json_format.ParseError, KeyError) as error:
    raise _refusal(subject, "it is a PipelineSpec.", str(error)[:300], "compile it anew.") from error
  for label, executor in deployment.executors.items():
    kind = executor.WhichOneof("spec")
    if kind not in ("container", "importer"):
      _refuse(f"{subject}, {label}", "every executor is a container or an importer.", repr(kind), "leave the node out.")
    if executor.container.HasField("lifecycle"):
      _refuse(f"{subject}, {label}", "no container has a lifecycle hook, which would be ignored.", "one.",
              "leave the node out.")
  for key, parameter in spec["root"].get("inputDefinitions", {}).get("parameters", {}).items():
    if "defaultValue" not in parameter:
      _refuse(f"{subject}, parameter {key}", "every parameter of a run has a default.", "none.", "give it one.")


def _refuse(subject: str, rule: str, received: str, remedy: str) -> None:
  raise _refusal(subject, rule, received, remedy)


def _refusal(subject: str, rule: str, received: str, remedy: str) -> ConfigError:
  return ConfigError(subject, rule=rule, received=received if received.endswith(".") else f"{received}.", remedy=remedy)
