"""What runs in a container of Kubeflow Pipelines: TFX's own entry point, with what it lacks there.

The launcher of Kubeflow Pipelines 2 substitutes the invocation, has fetched input artifacts to local folders and will
fetch outputs from there. TFX's entry point expects types on input artifacts, which the driver leaves empty
(tensorflow/tfx#7768), and opens the URIs themselves. So the types are copied from the component's interface, and URIs
become those folders, and URIs again in the output.

Usage: python -m pipelines.kubeflow.entrypoint --executor_class_path C --json_serialized_invocation_args I
  --json_serialized_inputs_spec_args S [options of Beam]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from diet_tf.cli.main import EXIT_UNEXPECTED
from diet_tf.errors import ConfigError, DietError, diet_error_in
from diet_tf.io import files

# Where the launcher keeps the artifacts of a URI's scheme, below the root of the container's file system.
LOCAL_FOLDERS = {"gs://": "gcs", "minio://": "minio", "s3://": "s3"}
# Types by which the console of Kubeflow Pipelines knows what to show, and the artifacts of ours that are of them.
CONSOLE_TYPES = {"system.HTML": "tfx_components.HtmlPage"}
# Names another root, for a launcher that is not root in a container.
ROOT_VARIABLE = "DIET_TF_LAUNCHER_ROOT"
_PLACEHOLDER = "{{$."


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs one component; returns the exit code."""
  options, beam_pipeline_args = _parser().parse_known_args(arguments)
  try:
    invocation = _read_json("the invocation", options.json_serialized_invocation_args)
    interface = _read_json("the interface", options.json_serialized_inputs_spec_args or "{}")
    _run(options, prepared(invocation, interface), beam_pipeline_args)
    return 0
  except DietError as error:
    print(f"{options.executor_class_path}: {error}", file=sys.stderr)
    return error.exit_code
  except Exception as error:
    import traceback

    traceback.print_exc()
    print(f"{options.executor_class_path}: {type(error).__name__}: {error}", file=sys.stderr)
    return EXIT_UNEXPECTED


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog="pipelines.kubeflow.entrypoint", allow_abbrev=False,
                                   description="Run one component in a container of Kubeflow Pipelines 2.")
  parser.add_argument("--executor_class_path", required=True, help="the executor, as MODULE.CLASS")
  parser.add_argument("--json_serialized_invocation_args", required=True, help="the ExecutorInput")
  parser.add_argument("--json_serialized_inputs_spec_args", help="the ComponentInputsSpec")
  return parser


def _read_json(subject: str, text: str) -> dict[str, Any]:
  value, fault = None, ""
  try:
    value = json.loads(text)
  except ValueError as error:
    fault = f" ({error})"
  if not isinstance(value, dict):
    raise ConfigError(subject, rule="it is a JSON object.", received=f"{text[:80]!r}{fault}.",
                      remedy="compile the pipeline for Kubeflow Pipelines 2 with diet kubeflow compile.")
  return value


def prepared(invocation: dict[str, Any], interface: dict[str, Any]) -> dict[str, Any]:
  """An ExecutorInput with the types and local folders that TFX needs.

  Args:
    invocation: the ExecutorInput as the launcher gives it.
    interface: the ComponentInputsSpec of the component.
  """
  invocation = json.loads(json.dumps(invocation))
  inputs = invocation.setdefault("inputs", {})
  declared = interface.get("artifacts", {})
  for name, artifacts in inputs.get("artifacts", {}).items():
    for artifact in artifacts.get("artifacts", []):
      if name in declared:
        artifact["type"] = declared[name]["artifactType"]
      artifact["uri"] = local_path(artifact.get("uri", ""))
  for artifacts in invocation.get("outputs", {}).get("artifacts", {}).values():
    for artifact in artifacts.get("artifacts", []):
      artifact["uri"] = local_path(artifact.get("uri", ""))
      ours = CONSOLE_TYPES.get(artifact.get("type", {}).get("schemaTitle"))
      if ours is not None:
        artifact["type"] = {"instanceSchema": f"title: {ours}\ntype: object\n"}
  # A constant that a driver did not know how to substitute says nothing.
  values = inputs.get("parameterValues", {})
  inputs["parameterValues"] = {name: "" if isinstance(value, str) and value.startswith(_PLACEHOLDER) else value
                               for name, value in values.items()}
  return invocation


def local_path(uri: str) -> str:
  """The folder in which the launcher keeps an artifact; other paths stay as they are."""
  for scheme, folder in LOCAL_FOLDERS.items():
    if uri.startswith(scheme):
      return _launcher_folder(folder) + uri[len(scheme):]
  return uri


def remote_uri(path: str) -> str:
  """The URI of an artifact that the launcher keeps in a folder; other paths stay as they are."""
  for scheme, folder in LOCAL_FOLDERS.items():
    if path.startswith(_launcher_folder(folder)):
      return scheme + path[len(_launcher_folder(folder)):]
  return path


def _launcher_folder(name: str) -> str:
  return os.path.join(os.environ.get(ROOT_VARIABLE, "/"), name, "")


def _run(options: argparse.Namespace, invocation: dict[str, Any], beam_pipeline_args: list[str]) -> None:
  # Imported here, so that a wrong invocation is told at once.
  from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

  options.json_serialized_invocation_args = json.dumps(invocation)
  with _diet_errors_as_raised():
    kubeflow_v2_run_executor.main((options, beam_pipeline_args))
  _restore_uris(invocation["outputs"]["outputFile"])


@contextlib.contextmanager
def _diet_errors_as_raised() -> Iterator[None]:
  """Raises the DietError behind another error, as the local runners do."""
  try:
    yield
  except Exception as error:
    cause = diet_error_in(error)
    if cause is None or cause is error:
      raise
    raise cause from error


def _restore_uris(output_file: str) -> None:
  """Puts the URIs back into the ExecutorOutput that TFX has written."""
  output = json.loads(files.read_bytes(output_file))
  for artifacts in output.get("artifacts", {}).values():
    for artifact in artifacts.get("artifacts", []):
      artifact["uri"] = remote_uri(artifact.get("uri", ""))
  files.write_atomically(output_file, json.dumps(output).encode())


def leave(code: int) -> None:
  """Ends the process without native destructors, which abort once tensorflow-io has used S3 (tensorflow/io#2039)."""
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


if __name__ == "__main__":
  leave(main())
