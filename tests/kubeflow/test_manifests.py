"""The manifests: what Kubernetes' own models make of them, and whether they agree with each other and the README."""

from __future__ import annotations

import pathlib
import re
import shlex
from typing import Any

import pytest
import yaml
from kubernetes import client

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "kubeflow"
MODELS = {"PersistentVolumeClaim": "V1PersistentVolumeClaim", "Secret": "V1Secret", "Job": "V1Job",
          "CronJob": "V1CronJob"}
FILLED = {"STEP": "log", "IMAGE": "registry.example.com/diet-tf:0.1.0", "PLACE": "s3://bucket/smoke",
          "S3_ENDPOINT": "http://minio:9000", "S3_REGION": "us-east-1"}


class Answer:
  """What the client's deserialiser reads."""

  def __init__(self, text: str) -> None:
    self.data = text


def documents(name: str) -> list[dict[str, Any]]:
  text = (FOLDER / "manifests" / name).read_text()
  for placeholder, value in FILLED.items():
    text = text.replace(f"@{placeholder}@", value)
  return [document for document in yaml.safe_load_all(text) if document]


def objects() -> list[dict[str, Any]]:
  names = sorted(path.name for path in (FOLDER / "manifests").glob("*.yaml") if path.name != "kustomization.yaml")
  return [document for name in names for document in documents(name)]


def named(kind: str) -> list[str]:
  return [document["metadata"]["name"] for document in objects() if document["kind"] == kind]


def commands() -> list[list[str]]:
  """The words of every command in the README's blocks, and of the script."""
  blocks = re.findall(r"```sh\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
  lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
  return [shlex.split(line, comments=True) for line in lines if line.strip()]


@pytest.mark.parametrize("kind", MODELS)
def test_every_key_is_one_that_kubernetes_knows(kind):
  import json

  api = client.ApiClient()
  found = [document for document in objects() if document["kind"] == kind]
  assert found
  for document in found:
    model = api.deserialize(Answer(json.dumps(document)), MODELS[kind])
    assert api.sanitize_for_serialization(model) == document


def test_kinds_and_namespaces():
  assert {document["kind"] for document in objects()} == set(MODELS)
  assert not [document for document in objects() if "namespace" in document["metadata"]]


def test_the_kustomization_names_files_that_are_there_and_no_secret():
  kustomization = documents("kustomization.yaml")[0]
  assert kustomization["kind"] == "Kustomization" and kustomization["resources"] == ["volume.yaml"]
  assert all((FOLDER / "manifests" / name).is_file() for name in kustomization["resources"])


def test_the_secret_has_placeholders_alone_and_the_keys_that_jobs_read():
  secret = documents("s3-secret.example.yaml")[0]
  assert set(secret["stringData"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
  assert set(secret["stringData"].values()) == {"REPLACE_ME"}
  container = documents("smoke-job.yaml")[0]["spec"]["template"]["spec"]["containers"][0]
  references = [entry["valueFrom"]["secretKeyRef"] for entry in container["env"] if "valueFrom" in entry]
  assert [reference["name"] for reference in references] == named("Secret") * 2
  assert {reference["key"] for reference in references} == set(secret["stringData"])


def test_the_job_may_not_run_as_root():
  pod = documents("smoke-job.yaml")[0]["spec"]["template"]["spec"]
  assert pod["securityContext"]["runAsNonRoot"] is True and pod["restartPolicy"] == "Never"
  assert pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_recurring_run_is_a_command_of_ours_and_one_at_a_time():
  from pipelines.kubeflow.command_line import kubeflow_parser

  job = documents("recurring-run.yaml")[0]["spec"]
  assert job["concurrencyPolicy"] == "Forbid"
  pod = job["jobTemplate"]["spec"]["template"]["spec"]
  assert pod["securityContext"]["runAsNonRoot"] is True and pod["restartPolicy"] == "Never"
  container = pod["containers"][0]
  assert container["command"][:2] == ["diet", "kubeflow"]
  options = kubeflow_parser().parse_args(container["command"][2:])
  assert options.action == "submit" and options.wait
  assert options.package.startswith(container["volumeMounts"][0]["mountPath"])
  maps = [volume["configMap"]["name"] for volume in pod["volumes"]]
  assert [f"create configmap {name} " in (FOLDER / "README.md").read_text() for name in maps] == [True]


def test_the_readme_and_the_script_use_the_names_of_the_manifests():
  words = [word for command in commands() for word in command]
  assert {words[index + 1] for index, word in enumerate(words) if word == "--s3-secret"} == set(named("Secret"))
  claims = {words[index + 1].split(":")[0] for index, word in enumerate(words) if word == "--pvc"}
  assert claims == set(named("PersistentVolumeClaim"))
  script = (FOLDER / "smoke.sh").read_text()
  assert re.findall(r"^SECRET=(\S+)$", script, re.MULTILINE) == named("Secret")
  assert set(re.findall(r"kubeflow/[\w./-]+\.(?:yaml|sh)", (FOLDER / "README.md").read_text() + script)) <= {
      f"kubeflow/{path.relative_to(FOLDER)}" for path in FOLDER.rglob("*")}


def test_every_placeholder_is_filled_by_the_script():
  used = set(re.findall(r"@(\w+)@", (FOLDER / "manifests" / "smoke-job.yaml").read_text()))
  filled = set(re.findall(r"s\|@(\w+)@\|", (FOLDER / "smoke.sh").read_text()))
  assert used == filled == set(FILLED)
