"""What every test needs before TensorFlow is imported."""

from __future__ import annotations

import collections
import logging
import os
import warnings
from collections.abc import Iterator

import pytest

# TensorFlow reads these once, when it is first imported; pytest imports this file before any test.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Tests run in two processes on few cores: more threads than that in each only get in each other's way.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")


@pytest.fixture(autouse=True)
def third_parties_are_heard() -> Iterator[None]:
  """A command that a test calls in this process silences other packages; each test hears them again.

  Said before a test and not after it: fixtures of a whole module call commands too, ahead of any test's own.
  """
  from diet_tf.cli.terminal import NOISY_LOGGERS

  for name in NOISY_LOGGERS:
    logger = logging.getLogger(None if name == "root" else name)
    if logger.level == logging.ERROR:
      logger.setLevel(logging.WARNING if name == "root" else logging.NOTSET)
  with warnings.catch_warnings():
    yield


# What a test takes that is marked as slow without saying how long: `slow(seconds=60)` says so.
SLOW_SECONDS = 30


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Files that take longest first: a worker that begins one at the end leaves the other without work.

  pytest-xdist keeps to this order with --no-loadscope-reorder alone; by itself it begins with the files of most tests.
  """
  seconds: collections.Counter[object] = collections.Counter()
  for item in items:
    if mark := item.get_closest_marker("slow"):
      seconds[item.path] += mark.kwargs.get("seconds", SLOW_SECONDS)
  items.sort(key=lambda item: -seconds[item.path])
