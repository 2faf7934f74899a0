"""What a person is told of an S3 server that cannot be used: soon, clearly, and without the secret."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from diet_tf.errors import ConfigError, StoreError
from diet_tf.io import s3
from tests.s3.object_store import ACCESS_KEY, SECRET_KEY, free_ports

# A person waits no longer for the word that a place does not answer.
PATIENCE_SECONDS = 60


def show(uri: str, environment: dict[str, str]) -> tuple[int, str, float]:
  """Exit code, output and seconds of `diet memory show`."""
  start = time.monotonic()
  shown = subprocess.run([sys.executable, "-m", "diet_tf.cli", "memory", "show", uri], env=environment, text=True,
                         capture_output=True, timeout=4 * PATIENCE_SECONDS, check=False)
  return shown.returncode, shown.stdout + shown.stderr, time.monotonic() - start


WRONG = {
    "a missing bucket": ("s3://no-such-bucket/store", {}, 5, "bucket 'no-such-bucket' exists.*make the bucket"),
    "a wrong secret": (None, {"AWS_SECRET_ACCESS_KEY": f"{SECRET_KEY}-but-wrong"}, 5,
                       "credentials.*SignatureDoesNotMatch.*AWS_SECRET_ACCESS_KEY"),
    "an unknown key": (None, {"AWS_ACCESS_KEY_ID": "nobody"}, 5, "credentials.*InvalidAccessKeyId.*AWS_ACCESS_KEY_ID"),
    "nobody there": (None, {"S3_ENDPOINT": "http://127.0.0.1:{free}"}, 5, "S3_ENDPOINT.*server listens.*refused"),
    "no scheme": (None, {"S3_ENDPOINT": "127.0.0.1:{free}"}, 2, "S3_ENDPOINT.*begin it with http://"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_named_soon_and_without_the_secret(environment, uri, wrong):
  place, variables, exit_code, message = WRONG[wrong]
  free = free_ports(1)[0]
  variables = {name: value.format(free=free) for name, value in variables.items()}
  code, output, seconds = show(place or f"{uri}/store", {**environment, **variables})
  assert code == exit_code, output
  assert re.search(message, output, re.DOTALL) and "remedy:" in output, output
  assert "Traceback" not in output and SECRET_KEY not in output and ACCESS_KEY not in output
  assert seconds < PATIENCE_SECONDS


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
  """The endpoint of a server that takes connections and never answers."""
  with socket.socket() as listening:
    listening.bind(("127.0.0.1", 0))
    listening.listen(64)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up(environment, uri):
  with silent_server() as endpoint:
    code, output, seconds = show(f"{uri}/store", {**environment, "S3_ENDPOINT": endpoint,
                                                  "S3_REQUEST_TIMEOUT_MSEC": "1000"})
  assert code == StoreError.exit_code and "Timeout" in output and SECRET_KEY not in output
  assert seconds < PATIENCE_SECONDS


@pytest.mark.parametrize("endpoint", ["localhost:9000", "//host:9000", "s3://bucket", "http://", "https://user:word@host"])
def test_an_endpoint_that_is_no_url(monkeypatch, endpoint):
  monkeypatch.setenv("S3_ENDPOINT", endpoint)
  with pytest.raises(ConfigError, match="S3_ENDPOINT") as caught:
    s3.check_endpoint()
  assert "word" not in str(caught.value)


def test_no_endpoint_means_that_of_the_provider(monkeypatch):
  monkeypatch.delenv("S3_ENDPOINT", raising=False)
  s3.check_endpoint()


def test_an_endpoint_that_listens(monkeypatch):
  with silent_server() as endpoint:
    monkeypatch.setenv("S3_ENDPOINT", endpoint)
    s3.check_endpoint()


def test_settings_of_the_user_are_kept_but_for_the_one_that_corrupts(monkeypatch):
  environment = {"AWS_MAX_ATTEMPTS": "7", "S3_DISABLE_MULTI_PART_DOWNLOAD": "0"}
  monkeypatch.setattr(os, "environ", environment)
  monkeypatch.setattr("importlib.import_module", lambda name: None)
  s3.prepare.__wrapped__()
  assert environment["AWS_MAX_ATTEMPTS"] == "7" and environment["S3_DISABLE_MULTI_PART_DOWNLOAD"] == "1"
  assert environment["S3_REQUEST_TIMEOUT_MSEC"] == "30000"
