"""The commands `diet kubeflow compile`, `submit` and `schedule`. TFX and kfp are imported once they are needed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from diet_tf.cli.help import ExamplesHelp, add_user_code, path_text
from diet_tf.cli.terminal import without_native_chatter
from diet_tf.errors import ConfigError
from diet_tf.io import files
from diet_tf.io.write_access import require_writable_file
from diet_tf.printable import printable
from pipelines.kubeflow.deployment import TRAINING_NODES, Deployment, Resources, Toleration, Volume

if TYPE_CHECKING:
  from pipelines.kubeflow.client import Server

DEFAULT_EXPERIMENT = "diet-tf"
_COMPILE_EXAMPLE = """example:
  diet kubeflow compile --config examples/kuairand.yaml --data-dir s3://logs/kuairand --store s3://diet/memory \\
    --image registry.example.com/diet-tf:0.1.0 --s3-secret diet-s3 --s3-endpoint http://minio.kubeflow:9000 \\
    --gpus 1 --output pipeline.yaml"""
_SUBMIT_EXAMPLE = """example:
  diet kubeflow submit --package pipeline.yaml --host http://localhost:8080 --parameter span=20220425 --wait"""
_SCHEDULE_EXAMPLE = """example:
  diet kubeflow schedule --package pipeline.yaml --host http://localhost:8080 --cron "0 0 5 * * *" """


def kubeflow_parser() -> argparse.ArgumentParser:
  """The arguments of `diet kubeflow`."""
  examples = "\n".join(example.removeprefix("example:\n") for example in (_COMPILE_EXAMPLE, _SUBMIT_EXAMPLE,
                                                                          _SCHEDULE_EXAMPLE))
  parser = argparse.ArgumentParser(prog="diet kubeflow", description="Compile the pipeline for Kubeflow Pipelines 2, "
                                   "and run it there, once or for each new span.", epilog=f"examples:\n{examples}",
                                   formatter_class=ExamplesHelp)
  actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
  _add_compile(actions)
  _add_submit(actions)
  _add_schedule(actions)
  return parser


def kubeflow(arguments: Sequence[str]) -> int:
  """`diet kubeflow ACTION`; returns the exit code."""
  options = kubeflow_parser().parse_args(arguments)
  run: Callable[[argparse.Namespace], int] = options.run
  return run(options)


def _action(actions: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str,
            example: str) -> argparse.ArgumentParser:
  parser = actions.add_parser(name, help=summary, description=summary.capitalize() + ".", epilog=example,
                              formatter_class=ExamplesHelp)
  parser.set_defaults(run=run)
  parser.add_argument("--json", action="store_true", help="print the result as JSON")
  return parser


def _add_compile(actions: Any) -> None:
  parser = _action(actions, "compile", _compile, "write the pipeline of a config as YAML", _COMPILE_EXAMPLE)
  parser.add_argument("--config", type=path_text, required=True, metavar="FILE", help="the config, see examples/*.yaml")
  parser.add_argument("--image", required=True, help="image of every container, with a tag")
  parser.add_argument("--output", type=path_text, default="pipeline.yaml", metavar="FILE",
                      help="the YAML (default: pipeline.yaml)")
  parser.add_argument("--data-dir", type=path_text, default=".", metavar="URI",
                      help="what paths in the config are relative to, as the "
                      "containers see it")
  parser.add_argument("--store", type=path_text, metavar="URI",
                      help="the store of memories, as the containers see it (default: the "
                      "folder store of the first --pvc)")
  parser.add_argument("--pipeline-root", default="", metavar="URI", help="where artifacts are kept (default: the "
                      "cluster's)")
  parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                      help="override a setting of the config; may be repeated")
  add_user_code(parser)
  parser.add_argument("--beam-arg", action="append", default=[], metavar="ARG",
                      help="an option of Beam for the components that run on it; may be repeated")
  _add_resources(parser)
  _add_access(parser)


def _add_resources(parser: argparse.ArgumentParser) -> None:
  group = parser.add_argument_group("resources")
  plain, training = Resources(), Deployment.training_resources
  trains = " and ".join(TRAINING_NODES)
  group.add_argument("--cpus", type=float, default=plain.num_cpus, help="cores of a container (default: %(default)g)")
  group.add_argument("--memory", type=float, default=plain.memory_gigabytes, metavar="GB",
                     help="memory of a container in 10^9 bytes (default: %(default)g)")
  group.add_argument("--training-cpus", type=float, default=training.num_cpus,
                     help=f"cores of {trains} (default: %(default)g)")
  group.add_argument("--training-memory", type=float, default=training.memory_gigabytes, metavar="GB",
                     help=f"memory of {trains} in 10^9 bytes (default: %(default)g)")
  group.add_argument("--gpus", type=int, default=training.num_gpus, help=f"GPUs of {trains} (default: %(default)d)")
  group.add_argument("--gpu-resource", default=Deployment.gpu_resource, metavar="NAME",
                     help="what Kubernetes calls a GPU (default: %(default)s)")
  group.add_argument("--node-selector", action="append", default=[], metavar="KEY=VALUE",
                     help=f"a label of the nodes that {trains} may run on; may be repeated")
  group.add_argument("--toleration", action="append", default=[], metavar="KEY[=VALUE][:EFFECT]",
                     help=f"a taint that {trains} put up with; may be repeated")


def _add_access(parser: argparse.ArgumentParser) -> None:
  group = parser.add_argument_group("access")
  group.add_argument("--s3-secret", default="", metavar="NAME", help="a Kubernetes secret with the keys "
                     "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; its values never enter the YAML")
  group.add_argument("--salt-secret", default="", metavar="NAME", help="a Kubernetes secret with the salt of hashed "
                     "ids, under the key that privacy.salt_environment_variable names; LogGen alone gets it")
  group.add_argument("--s3-endpoint", default="", metavar="URL", help="of an S3 server such as MinIO")
  group.add_argument("--s3-region", default=Deployment.s3_region, metavar="NAME", help="(default: %(default)s)")
  group.add_argument("--pvc", action="append", default=[], metavar="CLAIM:PATH",
                     help="mount a persistent volume claim into every container; may be repeated")
  group.add_argument("--image-pull-secret", default="", metavar="NAME", help="a Kubernetes secret for the registry")


@without_native_chatter()
def _compile(options: argparse.Namespace) -> int:
  deployment = _deployment(options)
  require_writable_file(options.output)
  from diet_tf.config.config import load_config
  from pipelines.data_folder import with_data_dir
  from pipelines.kubeflow.compiler import compile_config

  config = with_data_dir(load_config(options.config, options.set, user_code=options.user_code), options.data_dir)
  package = compile_config(config, deployment, beam_pipeline_args=tuple(options.beam_arg))
  package.write(options.output)
  for member in package.unseen_members:
    print(printable(f"{member} is not here to be looked at: the first node of a run does."), file=sys.stderr)
  if options.json:
    print(json.dumps({"package": options.output, "pipeline": config.name, "image": deployment.image,
                      "parameters": package.parameters()}, indent=2))
    return 0
  print(f"Pipeline {config.name}: {options.output}")
  for name, value in package.parameters().items():
    print(f"  {name} = {value}")
  return 0


def _deployment(options: argparse.Namespace) -> Deployment:
  volumes = tuple(map(Volume.parse, options.pvc))
  store_uri = options.store or (files.join(volumes[0].path, "store") if volumes else "")
  if not store_uri:
    raise ConfigError("--store", rule="it says where memories are kept.", received="neither it nor --pvc.",
                      remedy="pass --store s3://BUCKET/PATH, or mount a volume with --pvc CLAIM:PATH.")
  return Deployment(
      image=options.image, store_uri=store_uri, pipeline_root=options.pipeline_root,
      resources=Resources(options.cpus, options.memory),
      training_resources=Resources(options.training_cpus, options.training_memory, options.gpus),
      gpu_resource=options.gpu_resource, node_selector=dict(map(_parse_label, options.node_selector)),
      tolerations=tuple(map(Toleration.parse, options.toleration)), s3_secret=options.s3_secret,
      s3_endpoint=options.s3_endpoint, s3_region=options.s3_region, volumes=volumes,
      image_pull_secret=options.image_pull_secret, salt_secret=options.salt_secret)


def _parse_label(text: str) -> tuple[str, str]:
  key, found, value = text.partition("=")
  if not found:
    raise ConfigError("--node-selector", rule="it is KEY=VALUE.", received=repr(text),
                      remedy="write it like cloud.example.com/gpu=a100.")
  return key, value


def _add_server(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("--package", type=path_text, required=True, metavar="FILE",
                      help="the YAML of diet kubeflow compile")
  parser.add_argument("--host", required=True, metavar="URL", help="of Kubeflow Pipelines")
  parser.add_argument("--namespace", default="", metavar="NAME", help="of the run, where there are several users")
  parser.add_argument("--token-file", default="", metavar="FILE", help="file with a bearer token")
  parser.add_argument("--experiment", default=DEFAULT_EXPERIMENT, metavar="NAME", help="(default: %(default)s)")
  parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE",
                      help="a parameter of the run, such as span=20220425; may be repeated")
  parser.add_argument("--pipeline-root", default="", metavar="URI", help="where artifacts of the run are kept")
  parser.add_argument("--service-account", default="", metavar="NAME", help="of the run's containers")


def _add_submit(actions: Any) -> None:
  parser = _action(actions, "submit", _submit, "run the pipeline once", _SUBMIT_EXAMPLE)
  _add_server(parser)
  parser.add_argument("--name", metavar="TEXT", help="of the run (default: the pipeline's file and the span)")
  parser.add_argument("--wait", action="store_true", help="wait for its end, and tell of each node")
  parser.add_argument("--timeout", type=float, default=24 * 3600.0, metavar="SECONDS",
                      help="how long to wait (default: a day)")
  parser.add_argument("--poll", type=float, default=10.0, metavar="SECONDS",
                      help="how often to ask (default: %(default)g)")


def _submit(options: argparse.Namespace) -> int:
  server, parameters = _server(options), _parameters(options)
  from pipelines.kubeflow import client

  span = parameters.get("span", client.read_parameters(options.package).get("span", ""))
  run_id = client.submit(
      server, options.package, parameters, experiment=options.experiment,
      run_name=options.name or f"{_stem(options.package)} span {span}", pipeline_root=options.pipeline_root,
      service_account=options.service_account)
  _print_made(options, {"run_id": run_id, "url": server.run_url(run_id)})
  if options.wait:
    client.wait(server, run_id, timeout_seconds=options.timeout, poll_seconds=options.poll,
                report=lambda line: print(line, file=sys.stderr, flush=True))
  return 0


def _add_schedule(actions: Any) -> None:
  parser = _action(actions, "schedule", _schedule, "run the pipeline for each new span, one run at a time",
                   _SCHEDULE_EXAMPLE)
  _add_server(parser)
  parser.add_argument("--name", metavar="TEXT", help="of the recurring run (default: the pipeline's file)")
  parser.add_argument("--cron", default="", metavar="FIELDS", help="when: second minute hour day month weekday")
  parser.add_argument("--every", type=int, default=0, metavar="SECONDS", help="or how often")
  parser.add_argument("--catch-up", action=argparse.BooleanOptionalAction, default=True,
                      help="make up for times that were missed, each by a run of the next span (default: yes)")
  parser.add_argument("--replace", action="store_true", help="delete an older recurring run of that name")


def _schedule(options: argparse.Namespace) -> int:
  server, parameters = _server(options), _parameters(options)
  from pipelines.kubeflow import client

  recurring_run_id = client.schedule(
      server, options.package, parameters, name=options.name or _stem(options.package), experiment=options.experiment,
      cron=options.cron, every_seconds=options.every, catch_up=options.catch_up, replace=options.replace,
      pipeline_root=options.pipeline_root, service_account=options.service_account)
  _print_made(options, {"recurring_run_id": recurring_run_id, "url": server.recurring_run_url(recurring_run_id)})
  return 0


def _server(options: argparse.Namespace) -> Server:
  from pipelines.kubeflow.client import Server

  return Server(options.host, options.namespace, options.token_file)


def _parameters(options: argparse.Namespace) -> dict[str, Any]:
  from pipelines.kubeflow.client import parse_parameters, read_parameters

  return parse_parameters(options.parameter, read_parameters(options.package))


def _stem(path: str) -> str:
  return path.rpartition("/")[2].rpartition(".")[0] or "pipeline"


def _print_made(options: argparse.Namespace, made: dict[str, str]) -> None:
  if options.json:
    print(json.dumps(made, indent=2), flush=True)
  else:
    print(made["url"], flush=True)
