"""A network that is slow, or cuts connections, before the S3 server: content is read whole, or the reason told."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator

import pytest

from diet_tf.errors import StoreError
from tests.s3.object_store import SECRET_KEY
from tests.s3.test_store import commit, write_content

pytestmark = [pytest.mark.slow]
_CHUNK_BYTES = 64 << 10


@contextlib.contextmanager
def relay(endpoint: str, *, delay_seconds: float = 0.0, cut_connections: int = 0,
          cut_after_bytes: int = 0) -> Iterator[str]:
  """The endpoint of a relay to another one.

  Args:
    endpoint: of the server.
    delay_seconds: before each piece of an answer.
    cut_connections: so many first connections are cut, after
    cut_after_bytes: bytes of the answer.
  """
  parts = urllib.parse.urlsplit(endpoint)
  numbers = itertools.count()

  def answer(client: socket.socket, server: socket.socket, number: int) -> None:
    passed = 0
    with contextlib.suppress(OSError):
      while data := server.recv(_CHUNK_BYTES):
        time.sleep(delay_seconds)
        if number < cut_connections and passed + len(data) > cut_after_bytes:
          client.sendall(data[:max(0, cut_after_bytes - passed)])
          break
        client.sendall(data)
        passed += len(data)
    for side in (client, server):
      with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)

  def ask(client: socket.socket, server: socket.socket) -> None:
    with contextlib.suppress(OSError):
      while data := client.recv(_CHUNK_BYTES):
        server.sendall(data)

  def serve(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):
      while True:
        client, _ = listening.accept()
        server = socket.create_connection((parts.hostname, parts.port))
        threading.Thread(target=answer, args=(client, server, next(numbers)), daemon=True).start()
        threading.Thread(target=ask, args=(client, server), daemon=True).start()

  with socket.create_server(("127.0.0.1", 0)) as listening:
    threading.Thread(target=serve, args=(listening,), daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def stored(elsewhere, uri, tmp_path: pathlib.Path) -> str:
  elsewhere(commit, uri, 1, write_content(tmp_path, "content"))
  return uri


def verify(uri: str, environment: dict[str, str], endpoint: str) -> tuple[int, str]:
  done = subprocess.run([sys.executable, "-m", "diet_tf.cli", "store", "verify", uri], text=True, capture_output=True,
                        timeout=300, check=False, env={**environment, "S3_ENDPOINT": endpoint,
                                                       "S3_REQUEST_TIMEOUT_MSEC": "5000"})
  return done.returncode, done.stdout + done.stderr


def test_a_slow_server_is_waited_for(stored: str, environment):
  # Six megabytes in a hundred pieces.
  with relay(environment["S3_ENDPOINT"], delay_seconds=0.03) as endpoint:
    code, output = verify(stored, environment, endpoint)
  assert code == 0, output


@pytest.mark.parametrize("after_bytes", [0, 100, 1 << 20])
def test_connections_that_are_cut_are_tried_again(stored: str, environment, after_bytes: int):
  with relay(environment["S3_ENDPOINT"], cut_connections=2, cut_after_bytes=after_bytes) as endpoint:
    code, output = verify(stored, environment, endpoint)
  assert code == 0, output


def test_connections_that_are_always_cut_are_told_and_not_taken_for_damage(stored: str, environment):
  for after_bytes in (0, 100_000):
    with relay(environment["S3_ENDPOINT"], cut_connections=1 << 30, cut_after_bytes=after_bytes) as endpoint:
      code, output = verify(stored, environment, endpoint)
    assert code == StoreError.exit_code, output
    assert SECRET_KEY not in output and "Traceback" not in output
