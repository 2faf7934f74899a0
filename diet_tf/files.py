"""Files by one interface: local paths through the operating system, URIs (`gs://`, `s3://`, ...) through `tf.io.gfile`.

Local paths never import TensorFlow, so that a command line that only inspects a memory answers at once, and they are
flushed to the disk before a rename makes them visible, which `tf.io.gfile` cannot promise.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from typing import IO, Any

from diet_tf.errors import ConfigError, FormatError, StoreError

# A put of one object is atomic there, and a rename is a copy and a delete: writing in place is the safer of the two.
OBJECT_STORE_SCHEMES = ("gs", "s3", "s3a", "az", "azfs", "oss")
# File systems that TensorFlow alone does not have.
EXTRA_SCHEMES = ("s3", "az", "oss", "hdfs", "viewfs", "har", "http", "https")
PARTIAL_SUFFIX = ".partial"

_CHUNK_BYTES = 1 << 20
# Backslashes part folders elsewhere; control characters and halves of characters stand in no name of ours.
_UNUSABLE = re.compile("[\\\\\x00-\x1f\x7f\ud800-\udfff]")
_FULL_DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_remote(path: str) -> bool:
  """Whether `path` is a URI, to be read and written by `tf.io.gfile`."""
  return "://" in path


def is_object_store(path: str) -> bool:
  """Whether `path` lies in an object store, where a single put is atomic and a rename is not."""
  return is_remote(path) and path.split("://", 1)[0] in OBJECT_STORE_SCHEMES


def join(path: str, *parts: str) -> str:
  """The path of `parts` below `path`, with '/' between them."""
  return "/".join([path.rstrip("/") or "/", *parts]) if parts else path


def exists(path: str) -> bool:
  """Whether a file or folder is there."""
  return bool(_gfile(path).exists(path)) if is_remote(path) else os.path.exists(path)


def is_folder(path: str) -> bool:
  """Whether `path` is a folder (in an object store: whether anything lies below it)."""
  return bool(_gfile(path).isdir(path)) if is_remote(path) else os.path.isdir(path)


def names_in(folder: str) -> list[str]:
  """The sorted names of what lies directly in `folder`; empty if there is no such folder."""
  if not is_folder(folder):
    return []
  names = _gfile(folder).listdir(folder) if is_remote(folder) else os.listdir(folder)
  return sorted({name.rstrip("/") for name in names} - {"", "."})


def files_below(folder: str) -> list[str]:
  """The sorted paths, relative to `folder`, of all files at any depth below it."""
  found: list[str] = []
  for name in names_in(folder):
    path = join(folder, name)
    found += [join(name, below) for below in files_below(path)] if is_folder(path) else [name]
  return sorted(found)


def read_bytes(path: str) -> bytes:
  """The content of a file; raises FileNotFoundError if a local one is missing."""
  with open_to_read(path) as stream:
    return stream.read()


def open_to_read(path: str) -> IO[bytes]:
  """A binary stream over the file."""
  if is_remote(path):
    stream: IO[bytes] = _gfile(path).GFile(path, "rb")
    return stream
  return open(path, "rb")


def digest(path: str) -> tuple[str, int]:
  """The SHA-256 (hex) of a file and its size in bytes."""
  hasher, size = hashlib.sha256(), 0
  with open_to_read(path) as stream:
    while chunk := stream.read(_CHUNK_BYTES):
      hasher.update(chunk)
      size += len(chunk)
  return hasher.hexdigest(), size


def num_bytes(path: str) -> int:
  """The size of a file."""
  return int(_gfile(path).stat(path).length) if is_remote(path) else os.path.getsize(path)


def num_bytes_below(path: str) -> int:
  """The size of a file, or of all files below a folder."""
  return sum(num_bytes(join(path, below)) for below in files_below(path)) if is_folder(path) else num_bytes(path)


def is_plain_path(path: str) -> bool:
  """Whether a path that a document names stays below the folder of the document on any file system."""
  return all(part not in ("", ".", "..") and not _UNUSABLE.search(part) for part in path.split("/"))


def leads_outside(folder: str, path: str) -> bool:
  """Whether the file `path` below a local `folder` lies elsewhere, as symbolic links can make it."""
  if is_remote(folder):
    return False
  root = os.path.realpath(folder)
  return os.path.commonpath([root, os.path.realpath(join(folder, path))]) != root


def copy(source: str, target: str) -> tuple[str, int]:
  """Copies a file, makes the folders above it, and returns the SHA-256 (hex) and size of what was copied."""
  make_folders(parent(target))
  hasher, size = hashlib.sha256(), 0
  with open_to_read(source) as stream, _open_to_write(target) as output:
    while chunk := stream.read(_CHUNK_BYTES):
      hasher.update(chunk)
      size += len(chunk)
      output.write(chunk)
    _flush_to_disk(output, target)
  return hasher.hexdigest(), size


def write_atomically(path: str, content: bytes) -> None:
  """Writes a file so that readers see either all of it or what was there before."""
  if is_object_store(path):
    with _open_to_write(path) as output:
      output.write(content)
    return
  partial = f"{path}.{uuid.uuid4().hex[:12]}{PARTIAL_SUFFIX}"
  try:
    with _open_to_write(partial) as output:
      output.write(content)
      _flush_to_disk(output, partial)
    rename(partial, path)
  except BaseException:
    remove_if_there(partial)
    raise


def rename(source: str, target: str) -> None:
  """Renames a file over `target`, or a local folder to a name that is free."""
  if is_remote(target):
    _gfile(target).rename(source, target, overwrite=True)
    return
  os.replace(source, target)
  flush_folder(parent(target))


def make_folders(path: str) -> None:
  """Makes a folder and those above it."""
  if is_remote(path):
    _gfile(path).makedirs(path)
  else:
    os.makedirs(path, exist_ok=True)


def remove_if_there(path: str) -> None:
  """Removes a file, or a folder with all below it; does nothing if there is none."""
  if not exists(path):
    return
  if is_remote(path):
    _gfile(path).rmtree(path) if is_folder(path) else _gfile(path).remove(path)
  elif os.path.isdir(path) and not os.path.islink(path):
    shutil.rmtree(path)
  else:
    os.remove(path)


def parent(path: str) -> str:
  """The folder that holds `path`."""
  return path.rstrip("/").rpartition("/")[0] or ("/" if path.startswith("/") else ".")


def modified_seconds(path: str) -> float:
  """When the file was last written, in seconds since 1970."""
  return float(_gfile(path).stat(path).mtime_nsec) / 1e9 if is_remote(path) else os.stat(path).st_mtime


def flush_folder(path: str) -> None:
  """Makes the names in a local folder survive a power failure."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  except OSError as error:
    # Some network file systems have no fsync of folders; they order renames themselves.
    if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
      raise
  finally:
    os.close(descriptor)


@contextlib.contextmanager
def writing(subject: str) -> Iterator[None]:
  """Turns a failed write within the block into a `StoreError` that names `subject` and what to do."""
  try:
    yield
  except OSError as error:
    raise _write_error(subject, str(error), full=error.errno in _FULL_DISK_ERRNOS) from error
  except Exception as error:
    if not _is_tensorflow_error(error):
      raise
    raise _write_error(subject, str(error), full=type(error).__name__ == "ResourceExhaustedError") from error


@contextlib.contextmanager
def reading(subject: str, remedy: str) -> Iterator[None]:
  """Turns a failed read within the block into a `FormatError` that names `subject` and what to do."""
  try:
    yield
  except Exception as error:
    if not isinstance(error, OSError) and not _is_tensorflow_error(error):
      raise
    raise FormatError(subject, rule="the file can be read.", received=f"{error}.", remedy=remedy) from error


def _write_error(subject: str, received: str, *, full: bool) -> StoreError:
  if full:
    return StoreError(subject, rule="the disk must have room for what is written.", received=received,
                      remedy="free space or raise the quota and run again; what was committed before is unchanged.")
  return StoreError(subject, rule="the place must be writable.", received=received,
                    remedy="check the path and its permissions and run again; what was committed before is unchanged.")


def _is_tensorflow_error(error: Exception) -> bool:
  # An error of TensorFlow's can only come from a TensorFlow that is loaded already.
  tensorflow = sys.modules.get("tensorflow")
  return tensorflow is not None and isinstance(error, tensorflow.errors.OpError)


def _open_to_write(path: str) -> IO[bytes]:
  if is_remote(path):
    stream: IO[bytes] = _gfile(path).GFile(path, "wb")
    return stream
  return open(path, "wb")


def _flush_to_disk(output: IO[bytes], path: str) -> None:
  output.flush()
  if not is_remote(path):
    os.fsync(output.fileno())


def _gfile(uri: str) -> Any:
  import tensorflow as tf
  if uri.split("://", 1)[0] in EXTRA_SCHEMES:
    _register_extra_file_systems(uri)
  return tf.io.gfile


def _register_extra_file_systems(uri: str) -> None:
  """Makes TensorFlow read and write the schemes that only tensorflow-io knows; it registers them once, on import."""
  try:
    importlib.import_module("tensorflow_io")
  except ImportError as error:
    raise ConfigError(uri, rule="its file system needs the extra [s3].", received=f"{error}.",
                      remedy="pip install 'diet-tf[s3]'.") from error
