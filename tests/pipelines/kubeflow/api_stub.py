"""An API server of Kubeflow Pipelines (v2beta1) that knows experiments, runs and recurring runs.

It refuses what the API documents as wrong: bodies with unknown keys, specs that do not parse, parameters that the
pipeline does not declare, references to what is not there.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
import urllib.parse
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

# The keys that requests may have, as the API's reference lists them.
EXPERIMENT_KEYS = {"display_name", "description", "namespace"}
RUN_KEYS = {"experiment_id", "display_name", "description", "pipeline_spec", "pipeline_version_reference",
            "runtime_config", "service_account"}
RECURRING_RUN_KEYS = {*RUN_KEYS, "max_concurrency", "trigger", "mode", "no_catchup"}


class Refused(Exception):
  """A request that the API refuses."""

  def __init__(self, status: int, message: str) -> None:
    super().__init__(message)
    self.status = status


class ApiStub:
  """The server, on a free port.

  Attributes:
    requests: method, path and body of each.
    states: that a run goes through, one a request; the last stays.
    tasks: per state, the states of nodes.
    token: that is asked for; None for none.
  """

  def __init__(self) -> None:
    self.requests: list[tuple[str, str, Any]] = []
    self.experiments: dict[str, dict[str, Any]] = {}
    self.runs: dict[str, dict[str, Any]] = {}
    self.recurring_runs: dict[str, dict[str, Any]] = {}
    self.states = ["PENDING", "RUNNING", "SUCCEEDED"]
    self.tasks: dict[str, dict[str, str]] = {}
    self.token: str | None = None
    self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
    threading.Thread(target=self._server.serve_forever, daemon=True).start()

  @property
  def url(self) -> str:
    return f"http://127.0.0.1:{self._server.server_port}"

  def close(self) -> None:
    self._server.shutdown()
    self._server.server_close()

  def answer(self, method: str, url: str, body: Any, token: str | None) -> Any:
    """The answer to a request; raises Refused."""
    parts = urllib.parse.urlsplit(url)
    self.requests.append((method, parts.path, body))
    if self.token is not None and token != f"Bearer {self.token}":
      raise Refused(401, "no valid token")
    query = dict(urllib.parse.parse_qsl(parts.query))
    found = re.fullmatch(r"/apis/v2beta1/(healthz|experiments|runs|recurringruns)(?:/([^/]+))?", parts.path)
    if not found:
      raise Refused(404, f"no {parts.path}")
    kind, name = found[1], found[2]
    if kind == "healthz":
      return {"multi_user": False}
    return getattr(self, f"_{method.lower()}_{kind}")(name, query, body)

  def _get_experiments(self, name: str | None, query: dict[str, str], body: Any) -> Any:
    wanted = json.loads(query.get("filter", "{}")).get("predicates", [])
    names = [predicate.get("stringValue", predicate.get("string_value")) for predicate in wanted]
    return {"experiments": [experiment for experiment in self.experiments.values()
                            if not names or experiment["display_name"] in names]}

  def _post_experiments(self, name: str | None, query: dict[str, str], body: Any) -> Any:
    _check_keys(body, EXPERIMENT_KEYS)
    return _add(self.experiments, "experiment", body)

  def _post_runs(self, name: str | None, query: dict[str, str], body: Any) -> Any:
    _check_keys(body, RUN_KEYS)
    self._check_run(body)
    return _add(self.runs, "run", {**body, "state": "PENDING", "asked": 0})

  def _get_runs(self, name: str | None, query: dict[str, str], body: Any) -> Any:
    if name not in self.runs:
      raise Refused(404, f"run {name} not found")
    run = self.runs[name]
    state = self.states[min(run["asked"], len(self.states) - 1)]
    run["asked"] += 1
    tasks = [{"display_name": node, "state": node_state} for node, node_state in self.tasks.get(state, {}).items()]
    return {"run_id": name, "display_name": run["display_name"], "state": state,
            "run_details": {"task_details": tasks}}

  def _post_recurringruns(self, name: str | None, query: dict[str, str], body: Any) -> Any:
    _check_keys(body, RECURRING_RUN_KEYS)
    self._check_run(body)
    trigger = body.get("trigger", {})
    if len([key for key in ("cron_schedule", "periodic_schedule") if trigger.get(key)]) != 1:
      raise Refused(400, "a trigger has one schedule")
    cron = trigger.get("cron_schedule", {}).get("cron", "* * * * * *")
    if len(cron.split()) != 6:
      raise Refused(400, f"cron {cron!r} has not six fields")
    if not 1 <= int(body["max_concurrency"]) <= 10:
      raise Refused(400, "max_concurrency lies in 1 ... 10")
    return _add(self.recurring_runs, "recurring_run", body)

  def _get_recurringruns(self, name: str | None, query: dict[str, str], body: Any) -> Any:
    listed = [run for run in self.recurring_runs.values() if run["experiment_id"] == query.get("experiment_id")]
    # Pages of one, so that a client that reads the first alone is found out.
    start = int(query.get("page_token") or 0)
    page: dict[str, Any] = {"recurringRuns": listed[start:start + 1], "total_size": len(listed)}
    return {**page, "next_page_token": str(start + 1)} if start + 1 < len(listed) else page

  def _delete_recurringruns(self, name: str | None, query: dict[str, str], body: Any) -> Any:
    if self.recurring_runs.pop(name, None) is None:
      raise Refused(404, f"recurring run {name} not found")
    return {}

  def _check_run(self, body: Any) -> None:
    if body.get("experiment_id") not in self.experiments:
      raise Refused(404, f"experiment {body.get('experiment_id')} not found")
    document = body.get("pipeline_spec") or {}
    spec = document.get("pipeline_spec", document)
    try:
      parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    except json_format.ParseError as error:
      raise Refused(400, f"pipeline_spec: {error}") from error
    declared = parsed.root.input_definitions.parameters
    for key, value in body.get("runtime_config", {}).get("parameters", {}).items():
      if key not in declared:
        raise Refused(400, f"parameter {key} is not one of the pipeline's")
      is_text = declared[key].parameter_type == pipeline_spec_pb2.ParameterType.STRING
      if is_text != isinstance(value, str):
        raise Refused(400, f"parameter {key} has the wrong type")


def _add(kept: dict[str, dict[str, Any]], kind: str, body: dict[str, Any]) -> dict[str, Any]:
  key = f"{kind}-{len(kept) + 1}"
  kept[key] = {**body, f"{kind}_id": key}
  return {name: value for name, value in kept[key].items() if name != "asked"}


def _check_keys(body: Any, known: set[str]) -> None:
  unknown = set(body) - known
  if unknown:
    raise Refused(400, f"unknown fields {sorted(unknown)}")


def _handler(stub: ApiStub) -> type[http.server.BaseHTTPRequestHandler]:
  class Handler(http.server.BaseHTTPRequestHandler):
    def _serve(self) -> None:
      length = int(self.headers.get("Content-Length") or 0)
      content = self.rfile.read(length)
      try:
        status, answer = 200, stub.answer(self.command, self.path, json.loads(content) if content else None,
                                          self.headers.get("authorization"))
      except Refused as error:
        status, answer = error.status, {"error": str(error), "code": 3, "message": str(error)}
      data = json.dumps(answer).encode()
      self.send_response(status)
      self.send_header("Content-Type", "application/json")
      self.send_header("Content-Length", str(len(data)))
      self.end_headers()
      self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _serve

    def log_message(self, *arguments: Any) -> None:
      pass

  return Handler
