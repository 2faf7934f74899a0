"""Runs and recurring runs of a compiled pipeline, through kfp's own client."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import kfp_server_api
import urllib3
import yaml
from kfp import Client

from diet_tf.errors import ConfigError, ServiceError
from diet_tf.io import files
from pipelines.kubeflow.parameters import default_values

SUCCEEDED = "SUCCEEDED"
FINISHED_STATES = (SUCCEEDED, "FAILED", "CANCELED", "SKIPPED", "ERROR")
_PAGE_SIZE = 100


@dataclasses.dataclass(frozen=True)
class Server:
  """An API server of Kubeflow Pipelines.

  Attributes:
    host: URL of the server.
    namespace: namespace of the runs, where the server knows several users; empty otherwise.
    token_path: file with a bearer token; empty for none.
  """

  host: str
  namespace: str = ""
  token_path: str = ""

  def __post_init__(self) -> None:
    if not re.fullmatch(r"https?://[^\s@]+", self.host):
      raise ConfigError("--host", rule="it is a URL that begins with http:// or https://, without credentials.",
                        received=repr(self.host), remedy="write it like http://localhost:8080; see --token-file.")

  def connect(self) -> Client:
    """A client of the server.

    Raises:
      ServiceError: it does not answer.
      ConfigError: the token cannot be read.
    """
    token = None
    if self.token_path:
      if not files.exists(self.token_path):
        raise ConfigError("--token-file", rule="it names a file with a token.", received=repr(self.token_path),
                          remedy="write the token there.")
      token = files.read_bytes(self.token_path).decode().strip()
    with self.answering():
      return Client(host=self.host.rstrip("/"), namespace=self.namespace or "kubeflow", existing_token=token)

  def run_url(self, run_id: str) -> str:
    """Where the console shows a run."""
    return f"{self.host.rstrip('/')}/#/runs/details/{run_id}"

  def recurring_run_url(self, recurring_run_id: str) -> str:
    """Where the console shows a recurring run."""
    return f"{self.host.rstrip('/')}/#/recurringrun/details/{recurring_run_id}"

  @contextlib.contextmanager
  def answering(self) -> Iterator[None]:
    """Turns errors of the client into ServiceErrors, and keeps what it prints from standard output."""
    try:
      with contextlib.redirect_stdout(io.StringIO()):
        yield
    except kfp_server_api.ApiException as error:
      raise _service_error(self.host, f"{error.status} {error.reason}: {_message(error)}",
                           _REMEDIES.get(error.status, "see the logs of the API server.")) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
      raise _service_error(self.host, f"{type(error).__name__}: {str(error)[:200]}",
                           "check the URL, the token, and that the port is forwarded: kubectl "
                           "port-forward -n kubeflow svc/ml-pipeline-ui 8080:80") from error


_REMEDIES = {
    400: "check the parameters and the namespace.",
    401: "pass a valid token with --token-file.",
    403: "pass the token of an account that may do this in the namespace.",
    404: "check the URL and the namespace.",
}


def _service_error(host: str, received: str, remedy: str) -> ServiceError:
  return ServiceError(f"Kubeflow Pipelines at {host}", rule="it answers and accepts the request.",
                      received=f"{received.rstrip('.')}.", remedy=remedy)


def _message(error: kfp_server_api.ApiException) -> str:
  """What the server says of a refusal."""
  try:
    value = json.loads(error.body or "")
    return str(value.get("error_message") or value.get("message") or value.get("error") or "")[:300]
  except (ValueError, AttributeError):
    return str(error.body or "")[:200]


def read_parameters(package_path: str) -> dict[str, Any]:
  """The parameters of a compiled pipeline with their defaults.

  Raises:
    ConfigError: the file is no compiled pipeline.
  """
  if not files.exists(package_path):
    raise ConfigError("--package", rule="it names a compiled pipeline.", received=repr(package_path),
                      remedy="make it with diet kubeflow compile.")
  try:
    return default_values(next(yaml.safe_load_all(files.read_bytes(package_path))))
  except (yaml.YAMLError, StopIteration, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
    raise ConfigError(package_path, rule="it is a compiled pipeline.", received=f"{type(error).__name__}.",
                      remedy="make it with diet kubeflow compile.") from error


def parse_parameters(texts: list[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
  """The values in `NAME=VALUE` texts, in the types of their defaults.

  Raises:
    ConfigError: a name is not one of the pipeline's, or a value not of its type.
  """
  values = {}
  for text in texts:
    name, found, value = text.partition("=")
    if not found or name not in defaults:
      _refuse_parameter(text, f"it is NAME=VALUE, with a name of {', '.join(sorted(defaults))}.")
    kind = type(defaults[name])
    try:
      values[name] = kind(value)
    except ValueError:
      _refuse_parameter(text, f"{name} is a {'whole number' if kind is int else 'number'}.")
  return values


def _refuse_parameter(text: str, rule: str) -> NoReturn:
  raise ConfigError("--parameter", rule=rule, received=repr(text), remedy="correct it.")


def submit(server: Server, package_path: str, parameters: Mapping[str, Any], *, experiment: str, run_name: str,
           pipeline_root: str = "", service_account: str = "") -> str:
  """Starts a run; returns its id.

  Args:
    server: the API server that the run is started on.
    package_path: the compiled pipeline.
    parameters: values of the pipeline's runtime parameters that differ from their defaults, by name.
    experiment: name of the experiment, which is made if it is not there.
    run_name: name of the run that the console shows.
    pipeline_root: URI below which this run keeps its artifacts; empty keeps that of the pipeline, or the cluster's.
    service_account: Kubernetes service account of the run's containers; empty takes the cluster's default.
  """
  client = server.connect()
  with server.answering():
    made = client.create_experiment(experiment, namespace=server.namespace or None)
    run = client.run_pipeline(made.experiment_id, run_name, pipeline_package_path=package_path,
                              params=dict(parameters), pipeline_root=pipeline_root or None,
                              service_account=service_account or None)
  return run.run_id


def wait(server: Server, run_id: str, *, timeout_seconds: float, poll_seconds: float = 10.0,
         report: Callable[[str], None] = lambda line: None) -> None:
  """Waits for the end of a run, and reports each change of state of a node.

  Raises:
    ServiceError: the run ends in another state than success, or not in time; failed nodes are named.
  """
  client, deadline = server.connect(), time.monotonic() + timeout_seconds
  shown: dict[str, str] = {}
  while True:
    with server.answering():
      run = client.get_run(run_id)
    for node, state in _node_states(run).items():
      if state and shown.get(node) != state:
        report(f"{node}: {state.lower()}")
        shown[node] = state
    if run.state in FINISHED_STATES:
      break
    if time.monotonic() >= deadline:
      raise ServiceError(f"run {run_id}", rule=f"it ends within {timeout_seconds:.0f} s.",
                         received=f"state {run.state}.", remedy="it goes on; see its page, or wait longer.")
    time.sleep(poll_seconds)
  if run.state != SUCCEEDED:
    failed = sorted(node for node, state in shown.items() if state in ("FAILED", "ERROR"))
    raise ServiceError(f"run {run_id}", rule="it succeeds.",
                       received=f"state {run.state}; failed nodes: {', '.join(failed) or 'none named'}.",
                       remedy=f"read the log of the node at {server.run_url(run_id)}")


def _node_states(run: Any) -> dict[str, str]:
  details = run.run_details.task_details if run.run_details is not None else None
  return {task.display_name: task.state for task in details or [] if task.display_name}


def schedule(server: Server, package_path: str, parameters: Mapping[str, Any], *, name: str, experiment: str,
             cron: str = "", every_seconds: int = 0, catch_up: bool = True, replace: bool = False,
             pipeline_root: str = "", service_account: str = "") -> str:
  """Makes a recurring run, of which one runs at a time; returns its id.

  Args:
    server: the API server that the runs are started on.
    package_path: the compiled pipeline.
    parameters: values of the pipeline's runtime parameters that differ from their defaults, by name.
    name: name of the recurring run; two of one name would commit to one store at the same time, so that it is refused.
    experiment: name of the experiment, which is made if it is not there.
    cron: schedule of the runs in six fields from seconds on; empty where `every_seconds` is given.
    every_seconds: time between the starts of two runs, in seconds; 0 where `cron` is given.
    catch_up: whether times that were missed are made up for, each by a run.
    replace: whether an older recurring run of that name is deleted.
    pipeline_root: URI below which its runs keep their artifacts; empty keeps that of the pipeline, or the cluster's.
    service_account: Kubernetes service account of the runs' containers; empty takes the cluster's default.

  Raises:
    ConfigError: neither or both times are given, or the name is taken.
  """
  if bool(cron) == bool(every_seconds):
    raise ConfigError("--cron, --every", rule="one of them says when it runs.",
                      received="both." if cron else "neither.",
                      remedy='pass --cron "0 0 5 * * *" for five in the morning, or --every 3600.')
  client = server.connect()
  with server.answering():
    made = client.create_experiment(experiment, namespace=server.namespace or None)
    older = _recurring_runs(client, made.experiment_id, name)
  if older and not replace:
    raise ConfigError(f"recurring run {name!r}", rule="there is one of a name, since two would commit to one store.",
                      received=f"{len(older)} in the experiment {experiment!r}.",
                      remedy="pass --replace to delete it, or another --name.")
  with server.answering():
    recurring = client.create_recurring_run(
        made.experiment_id, name, cron_expression=cron or None, interval_second=every_seconds or None,
        max_concurrency=1, no_catchup=not catch_up, params=dict(parameters), pipeline_package_path=package_path,
        pipeline_root=pipeline_root or None, service_account=service_account or None)
    # Last, so that a refusal leaves the old one at work.
    for recurring_run_id in older:
      client.delete_recurring_run(recurring_run_id)
  return recurring.recurring_run_id


def _recurring_runs(client: Client, experiment_id: str, name: str) -> list[str]:
  """The ids of the recurring runs of a name in an experiment."""
  ids, token = [], ""
  while True:
    page = client.list_recurring_runs(page_token=token, page_size=_PAGE_SIZE, experiment_id=experiment_id)
    ids += [run.recurring_run_id for run in page.recurring_runs or [] if run.display_name == name]
    token = page.next_page_token or ""
    if not token:
      return ids
