"""Submitting and scheduling, against a server that checks requests as the API documents them."""

from __future__ import annotations

import json
import socket

import pytest

from diet_tf.config.config import build_config
from diet_tf.errors import ConfigError, ServiceError
from pipelines.kubeflow import command_line
from pipelines.kubeflow.compiler import compile_config
from pipelines.kubeflow.deployment import Deployment
from tests.pipelines.kubeflow.api_stub import ApiStub

VALUES = {"name": "shop", "log": {"pattern": "s3://logs/{SPAN}.parquet"},
          "features": {"label": "click", "fields": [{"name": "user", "hash": 64}]}}


@pytest.fixture(scope="module")
def package_path(tmp_path_factory) -> str:
  path = tmp_path_factory.mktemp("package") / "shop.yaml"
  compile_config(build_config(VALUES), Deployment("a/b:1", "s3://diet/memory", s3_secret="keys")).write(str(path))
  return str(path)


@pytest.fixture
def stub():
  running = ApiStub()
  yield running
  running.close()


def kubeflow(action: str, stub: ApiStub, package_path: str, *arguments: str) -> int:
  return command_line.kubeflow([action, "--package", package_path, "--host", stub.url, *arguments])


def test_submit_sends_spec_platform_and_parameters_and_prints_the_url(stub, package_path, capsys):
  assert kubeflow("submit", stub, package_path, "--parameter", "span=20220425", "--parameter", "budget_fraction=0.02",
                  "--parameter", "seed=3", "--experiment", "ads", "--pipeline-root", "s3://elsewhere") == 0
  assert capsys.readouterr().out == f"{stub.url}/#/runs/details/run-1\n"
  (run,) = stub.runs.values()
  assert run["display_name"] == "shop span 20220425" and run["experiment_id"] == "experiment-1"
  assert stub.experiments["experiment-1"]["display_name"] == "ads"
  assert run["runtime_config"] == {"parameters": {"span": "20220425", "budget_fraction": 0.02, "seed": 3},
                                   "pipeline_root": "s3://elsewhere"}
  executors = run["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
  assert executors["MemoryLoader_executor"]["secretAsEnv"][0]["secretName"] == "keys"


def test_an_experiment_is_made_once(stub, package_path):
  for _ in range(2):
    kubeflow("submit", stub, package_path)
  assert [run["experiment_id"] for run in stub.runs.values()] == ["experiment-1", "experiment-1"]
  assert stub.runs["run-1"]["display_name"] == "shop span auto"


def test_submit_as_json(stub, package_path, capsys):
  assert kubeflow("submit", stub, package_path, "--json") == 0
  assert json.loads(capsys.readouterr().out) == {"run_id": "run-1", "url": f"{stub.url}/#/runs/details/run-1"}


def test_wait_tells_of_each_node_once(stub, package_path, capsys):
  stub.states = ["PENDING", "RUNNING", "RUNNING", "SUCCEEDED"]
  stub.tasks = {"RUNNING": {"LogGen": "RUNNING"}, "SUCCEEDED": {"LogGen": "SUCCEEDED", "MemoryLoader": "SUCCEEDED"}}
  assert kubeflow("submit", stub, package_path, "--wait", "--poll", "0.01") == 0
  assert capsys.readouterr().err.splitlines() == ["LogGen: running", "LogGen: succeeded", "MemoryLoader: succeeded"]


@pytest.mark.parametrize("state", ["FAILED", "CANCELED", "ERROR"])
def test_wait_names_failed_nodes_and_the_page(stub, package_path, state):
  stub.states = ["RUNNING", state]
  stub.tasks = {state: {"LogGen": "SUCCEEDED", "DistillTrainer": "FAILED"}}
  with pytest.raises(ServiceError) as caught:
    kubeflow("submit", stub, package_path, "--wait", "--poll", "0.01")
  assert caught.value.exit_code == 7
  assert caught.value.received == f"state {state}; failed nodes: DistillTrainer."
  assert f"{stub.url}/#/runs/details/run-1" in caught.value.remedy


def test_wait_ends_in_time(stub, package_path):
  stub.states = ["RUNNING"]
  with pytest.raises(ServiceError, match="it ends within 0 s"):
    kubeflow("submit", stub, package_path, "--wait", "--poll", "0.01", "--timeout", "0.05")


def test_schedule_runs_one_at_a_time_and_catches_up(stub, package_path, capsys):
  assert kubeflow("schedule", stub, package_path, "--cron", "0 0 5 * * *") == 0
  assert capsys.readouterr().out == f"{stub.url}/#/recurringrun/details/recurring_run-1\n"
  (run,) = stub.recurring_runs.values()
  assert (run["display_name"], run["max_concurrency"], run["no_catchup"]) == ("shop", 1, False)
  assert run["trigger"]["cron_schedule"]["cron"] == "0 0 5 * * *"
  assert run["mode"] == "ENABLE"


def test_schedule_by_an_interval_without_catching_up(stub, package_path):
  assert kubeflow("schedule", stub, package_path, "--every", "3600", "--no-catch-up") == 0
  (run,) = stub.recurring_runs.values()
  assert run["no_catchup"] is True and run["trigger"]["periodic_schedule"]["interval_second"] == 3600


def test_two_recurring_runs_of_one_name_are_refused_or_the_older_replaced(stub, package_path):
  kubeflow("schedule", stub, package_path, "--every", "60", "--name", "other")
  kubeflow("schedule", stub, package_path, "--every", "60")
  with pytest.raises(ConfigError, match="would commit to one store"):
    kubeflow("schedule", stub, package_path, "--every", "60")
  assert kubeflow("schedule", stub, package_path, "--every", "90", "--replace") == 0
  assert {run["display_name"]: run["trigger"]["periodic_schedule"]["interval_second"]
          for run in stub.recurring_runs.values()} == {"other": 60, "shop": 90}


def test_a_refused_schedule_leaves_the_older_one_at_work(stub, package_path):
  kubeflow("schedule", stub, package_path, "--every", "60")
  with pytest.raises(ServiceError, match="six fields"):
    kubeflow("schedule", stub, package_path, "--cron", "0 5 * * *", "--replace")
  assert [run["trigger"]["periodic_schedule"]["interval_second"] for run in stub.recurring_runs.values()] == [60]


@pytest.mark.parametrize("arguments", [[], ["--cron", "0 0 5 * * *", "--every", "60"]])
def test_a_schedule_has_one_time(stub, package_path, arguments):
  with pytest.raises(ConfigError, match="--cron, --every"):
    kubeflow("schedule", stub, package_path, *arguments)


@pytest.mark.parametrize("text, rule", [("span", "NAME=VALUE"), ("sapn=1", "budget_fraction, log_pattern, replace"),
                                        ("seed=one", "seed is a whole number"), ("budget_fraction=x", "is a number")])
def test_parameters_are_checked_before_anything_is_sent(stub, package_path, text, rule):
  with pytest.raises(ConfigError, match=rule):
    kubeflow("submit", stub, package_path, "--parameter", text)
  assert stub.requests == []


def test_a_token_is_read_from_a_file_and_never_shown(stub, package_path, tmp_path, capsys):
  stub.token = "s3cr3t-t0ken"
  wrong = tmp_path / "wrong"
  wrong.write_text("an0ther-t0ken\n")
  with pytest.raises(ServiceError, match="401.*--token-file") as caught:
    kubeflow("submit", stub, package_path, "--namespace", "ads", "--token-file", str(wrong))
  right = tmp_path / "right"
  right.write_text("s3cr3t-t0ken\n")
  assert kubeflow("submit", stub, package_path, "--token-file", str(right)) == 0
  shown = capsys.readouterr()
  assert "t0ken" not in shown.out + shown.err + str(caught.value)
  with pytest.raises(ConfigError, match="--token-file"):
    kubeflow("submit", stub, package_path, "--token-file", str(tmp_path / "none"))


def test_a_server_that_is_not_there_is_told_with_the_remedy(package_path):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{free.getsockname()[1]}"
  with pytest.raises(ServiceError, match="port-forward"):
    command_line.kubeflow(["submit", "--package", package_path, "--host", url])


@pytest.mark.parametrize("host", ["localhost:8080", "http://user:pw@localhost"])
def test_other_hosts_are_refused(package_path, host):
  with pytest.raises(ConfigError, match="--host"):
    command_line.kubeflow(["submit", "--package", package_path, "--host", host])


@pytest.mark.parametrize("content", ["", "a: 1", "[", "root: 3"])
def test_other_packages_are_refused(stub, tmp_path, content):
  path = tmp_path / "other.yaml"
  path.write_text(content)
  with pytest.raises(ConfigError, match="compiled pipeline"):
    kubeflow("submit", stub, str(path))
  with pytest.raises(ConfigError, match="compiled pipeline"):
    kubeflow("submit", stub, str(tmp_path / "none.yaml"))
