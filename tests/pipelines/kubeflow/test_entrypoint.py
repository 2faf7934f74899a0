"""What the container's entry point makes of an invocation, without running a component."""

import json

import pytest

from pipelines.kubeflow import entrypoint

EXECUTOR = "tfx_components.memory_loader.executor.Executor"


@pytest.mark.parametrize("uri, path", [
    ("s3://bucket/a/b", "/s3/bucket/a/b"), ("minio://bucket/a", "/minio/bucket/a"), ("gs://bucket/a", "/gcs/bucket/a"),
    ("/mnt/data/a", "/mnt/data/a"), ("", ""), ("https://host/a", "https://host/a")])
def test_artifacts_lie_where_the_launcher_keeps_them(monkeypatch, uri, path):
  monkeypatch.delenv(entrypoint.ROOT_VARIABLE, raising=False)
  assert entrypoint.local_path(uri) == path
  assert entrypoint.remote_uri(path) == uri


def test_another_root(monkeypatch):
  monkeypatch.setenv(entrypoint.ROOT_VARIABLE, "/pods/1")
  assert entrypoint.local_path("s3://bucket/a") == "/pods/1/s3/bucket/a"
  assert entrypoint.remote_uri("/pods/1/s3/bucket/a") == "s3://bucket/a"


def test_types_uris_and_unknown_placeholders(monkeypatch):
  monkeypatch.delenv(entrypoint.ROOT_VARIABLE, raising=False)
  kind = {"instanceSchema": "title: tfx_components.StoreCommit\ntype: object\n"}
  invocation = {
      "inputs": {"parameterValues": {"run_id": "{{$.pipeline_job_uuid}}", "span": "auto", "seed": 3},
                 "artifacts": {"parent": {"artifacts": [{"name": "7", "uri": "s3://b/p",
                                                         "type": {"instanceSchema": ""}}]},
                               "other": {"artifacts": [{"uri": "gs://b/o", "type": {"schemaTitle": "kept"}}]}}},
      "outputs": {"artifacts": {"out": {"artifacts": [{"uri": "minio://b/o", "type": kind}]}}, "outputFile": "/tmp/o"}}
  before = json.dumps(invocation)
  made = entrypoint.prepared(invocation, {"artifacts": {"parent": {"artifactType": kind}}})
  assert json.dumps(invocation) == before
  assert made["inputs"]["artifacts"]["parent"]["artifacts"] == [{"name": "7", "uri": "/s3/b/p", "type": kind}]
  assert made["inputs"]["artifacts"]["other"]["artifacts"] == [{"uri": "/gcs/b/o", "type": {"schemaTitle": "kept"}}]
  assert made["inputs"]["parameterValues"] == {"run_id": "", "span": "auto", "seed": 3}
  assert made["outputs"] == {"artifacts": {"out": {"artifacts": [{"uri": "/minio/b/o", "type": kind}]}},
                             "outputFile": "/tmp/o"}


def test_a_node_without_inputs():
  assert entrypoint.prepared({"outputs": {}}, {}) == {"outputs": {}, "inputs": {"parameterValues": {}}}


@pytest.mark.parametrize("text", ["", "{", "[1]", "{{$}}"])
def test_an_invocation_that_was_not_substituted_is_told_in_one_line(capsys, text):
  code = entrypoint.main(["--executor_class_path", EXECUTOR, "--json_serialized_invocation_args", text])
  shown = capsys.readouterr().err
  assert code == 2 and shown.count("\n") == 1 and "diet kubeflow compile" in shown
