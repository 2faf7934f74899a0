"""S3 through tensorflow-io: its settings, its errors, and what it gets wrong.

tensorflow-io 0.37 answers "not there" whenever it cannot look, for want of a network, a right or a bucket: a store that
cannot be reached looks like an empty one. Only a read tells why it fails, so that a negative answer is believed once a
read of the same place has been answered. Two more faults are avoided by `SETTINGS` and by `diet_tf.io.remote_file`:
reading in parts gives zeros instead of content, and reading at the end of a file is a segmentation fault.
"""

from __future__ import annotations

import functools
import importlib
import os
import socket
import sys
import urllib.parse
from typing import Any

from diet_tf.errors import ConfigError, DietError, StoreError

ENDPOINT_VARIABLE = "S3_ENDPOINT"
CREDENTIAL_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
# Without it, a read of more than tensorflow-io has buffered gives zeros.
SETTINGS = {"S3_DISABLE_MULTI_PART_DOWNLOAD": "1"}
# A place that does not answer is given up after about a minute and a half, rather than after many of them.
DEFAULT_SETTINGS = {"AWS_RETRY_MODE": "standard", "AWS_MAX_ATTEMPTS": "3", "S3_CONNECT_TIMEOUT_MSEC": "10000",
                    "S3_REQUEST_TIMEOUT_MSEC": "30000"}
CONNECT_SECONDS = 10.0

_MISSING_OBJECT = "NoSuchKey"
_MISSING_BUCKET = "NoSuchBucket"
_PROBE_NAME = ".diet-probe"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@functools.cache
def prepare() -> None:
  """Makes `tf.io.gfile` read and write `s3://`, once per process.

  Raises:
    ConfigError: the endpoint is no URL, or the extra is missing.
    StoreError: nobody listens at the endpoint.
  """
  check_endpoint()
  os.environ.update(SETTINGS)
  for name, value in DEFAULT_SETTINGS.items():
    os.environ.setdefault(name, value)
  importlib.import_module("tensorflow_io")


def check_endpoint() -> None:
  """Refuses an endpoint that tensorflow-io would wait for without end.

  Raises:
    ConfigError: it is no URL.
    StoreError: nobody listens there.
  """
  endpoint = os.environ.get(ENDPOINT_VARIABLE)
  if not endpoint:
    return
  url = urllib.parse.urlsplit(endpoint)
  if url.scheme not in _DEFAULT_PORTS or not url.hostname or url.username is not None:
    # A URL may carry a password, and what stands before the host is not repeated.
    raise ConfigError(ENDPOINT_VARIABLE, rule="it is the URL of an S3 server, without credentials.",
                      received=repr(endpoint.rpartition("@")[2]),
                      remedy="begin it with http:// or https://, as in http://HOST:PORT.")
  try:
    port = url.port or _DEFAULT_PORTS[url.scheme]
    socket.create_connection((url.hostname, port), CONNECT_SECONDS).close()
  except (OSError, ValueError) as error:
    raise StoreError(f"{ENDPOINT_VARIABLE} {endpoint}", rule="an S3 server listens there.", received=f"{error}.",
                     remedy="check the address, and that it can be reached from here.") from error


def check_answered(path: str, *, is_folder: bool) -> bool:
  """Whether there is an object, asked by a read: no reason to fail is taken for its absence.

  Args:
    path: an `s3://` URI that `tf.io.gfile` says is not there.
    is_folder: whether a folder was looked for, so that what is read is a name that nobody gives.

  Raises:
    StoreError: the place cannot be read.
  """
  import tensorflow as tf
  name = f"{path.rstrip('/')}/{_PROBE_NAME}" if is_folder else path
  try:
    tf.io.gfile.GFile(name, "rb").read(1)
    return True
  except tf.errors.NotFoundError as error:
    if _MISSING_OBJECT in error.message:
      return False
    raise read_error(path, error) from error
  except tf.errors.OpError as error:
    raise read_error(path, error) from error


def read_error(path: str, error: Any) -> DietError:
  """What an error of TensorFlow's says of a place that was to be read or written."""
  message = error.message.splitlines()[0] if error.message else type(error).__name__
  kind = type(error).__name__
  rule, remedy = "the place can be read.", f"check {ENDPOINT_VARIABLE} and the network, and run again."
  if _MISSING_BUCKET in message:
    bucket = urllib.parse.urlsplit(path).netloc
    rule, remedy = f"the bucket {bucket!r} exists.", "make the bucket, or correct its name."
  elif kind in ("PermissionDeniedError", "UnauthenticatedError"):
    unset = [name for name in CREDENTIAL_VARIABLES if not os.environ.get(name)]
    rule = "the credentials allow to list the bucket and to read and write its objects."
    remedy = f"set {' and '.join(unset or CREDENTIAL_VARIABLES)} to those of an account with these rights."
  return StoreError(path, rule=rule, received=message.lstrip(": ").rstrip(".") + ".", remedy=remedy)


def is_in_use() -> bool:
  """Whether this process has loaded tensorflow-io, whose threads end a process that returns from Python (code 134)."""
  return "tensorflow_io" in sys.modules
