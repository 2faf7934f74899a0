"""File systems that an extra adds are asked for only where a path needs one."""

from __future__ import annotations

import importlib
import sys

import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.io import files, s3


@pytest.fixture(autouse=True)
def nothing_prepared():
  """As in a new process, before and after: what is registered once is remembered."""
  s3.prepare.cache_clear()
  yield
  s3.prepare.cache_clear()


def test_extra_file_systems_are_registered_on_first_use(monkeypatch: pytest.MonkeyPatch):
  imported: list[str] = []
  monkeypatch.setattr(tf.io.gfile, "exists", lambda path: True)
  monkeypatch.setattr(importlib, "import_module", imported.append)
  assert files.exists("gs://bucket/x")
  assert imported == []
  assert files.exists("s3://bucket/x")
  assert imported == ["tensorflow_io"]


def test_missing_extra(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setitem(sys.modules, "tensorflow_io", None)
  with pytest.raises(ConfigError, match=r"diet-tf\[s3\]"):
    files.exists("s3://bucket/x")


@pytest.mark.parametrize("path, parts, joined", [
    ("a", ("b", "c"), "a/b/c"), ("a/", ("b",), "a/b"), ("/", ("b",), "/b"), ("", ("b", "c"), "b/c"), ("a/", (), "a/"),
    ("s3://bucket", ("b",), "s3://bucket/b")])
def test_join(path: str, parts: tuple[str, ...], joined: str):
  assert files.join(path, *parts) == joined
