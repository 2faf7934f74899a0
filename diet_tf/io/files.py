"""Files by one interface: local paths through the operating system, URIs (`gs://`, `s3://`, ...) through `tf.io.gfile`.

Local paths never import TensorFlow, so that a command line that only inspects a memory answers at once, and they are
flushed to the disk before a rename makes them visible, which `tf.io.gfile` cannot promise.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import io
import os
import re
import shutil
import stat
import sys
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from diet_tf.errors import ConfigError, FormatError, StoreError
from diet_tf.io import s3
from diet_tf.io.remote_file import RemoteReader, RemoteWriter

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
  if not parts:
    return path
  return "/".join([path.rstrip("/"), *parts]) if path else "/".join(parts)


def exists(path: str) -> bool:
  """Whether a file or folder is there.

  Raises:
    StoreError: in an object store, if nobody can tell.
  """
  if not is_remote(path):
    return os.path.exists(path)
  gfile = _gfile(path)
  if gfile.exists(path):
    return True
  # The first answer may have been that of a network that failed for a moment; only a file is found by the second.
  return _is_s3(path) and (s3.check_answered(path, is_folder=False) or bool(gfile.exists(path)))


def is_folder(path: str) -> bool:
  """Whether `path` is a folder (in an object store: whether anything lies below it).

  Raises:
    StoreError: in an object store, if nobody can tell.
  """
  if not is_remote(path):
    return os.path.isdir(path)
  gfile = _gfile(path)
  if gfile.isdir(path):
    return True
  if not _is_s3(path):
    return False
  s3.check_answered(path, is_folder=True)
  return bool(gfile.isdir(path))


def prepared(path: str) -> str:
  """The path itself, once TensorFlow's own readers and writers know its file system."""
  if is_remote(path):
    _gfile(path)
  return path


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
  """The content of a file.

  Raises:
    FileNotFoundError: it is missing.
    OSError: it is no file, see `open_to_read`.
    StoreError: on S3, it cannot be read.
  """
  with open_to_read(path) as stream:
    return stream.read()


def open_to_read(path: str) -> BinaryIO:
  """A seekable, buffered binary stream over the file; raises as `read_bytes` does.

  Raises:
    OSError: a local path leads to a pipe, a socket or a device, of which some never answer and others never end.
  """
  if not is_remote(path):
    if not _ends(path):
      raise OSError(errno.EINVAL, "a pipe, a socket or a device, where a file is wanted", path)
    return open(path, "rb", buffering=_CHUNK_BYTES)
  gfile = _gfile(path)
  if _is_s3(path) and not gfile.exists(path) and not s3.check_answered(path, is_folder=False):
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
  return cast(BinaryIO, io.BufferedReader(RemoteReader(path), _CHUNK_BYTES))


def open_to_write(path: str) -> BinaryIO:
  """A buffered binary stream that writes the file."""
  if not is_remote(path):
    return open(path, "wb", buffering=_CHUNK_BYTES)
  _gfile(path)
  return cast(BinaryIO, io.BufferedWriter(RemoteWriter(path), _CHUNK_BYTES))


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


def _ends(path: str) -> bool:
  mode = os.stat(path).st_mode
  return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


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
  with open_to_read(source) as stream, open_to_write(target) as output:
    while chunk := stream.read(_CHUNK_BYTES):
      hasher.update(chunk)
      size += len(chunk)
      output.write(chunk)
    _flush_to_disk(output, target)
  return hasher.hexdigest(), size


def write_atomically(path: str, content: bytes) -> None:
  """Writes a file so that readers see either all of it or what was there before."""
  if is_object_store(path):
    with open_to_write(path) as output:
      output.write(content)
    return
  partial = f"{path}.{uuid.uuid4().hex[:12]}{PARTIAL_SUFFIX}"
  try:
    with open_to_write(partial) as output:
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
    if _is_s3(subject):
      raise s3.read_error(subject, error) from error
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


def _is_s3(path: str) -> bool:
  return path.startswith("s3://")


def _flush_to_disk(output: BinaryIO, path: str) -> None:
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
    if _is_s3(uri):
      s3.prepare()
    else:
      importlib.import_module("tensorflow_io")
  except ImportError as error:
    raise ConfigError(uri, rule="its file system needs the extra [s3].", received=f"{error}.",
                      remedy="pip install 'diet-tf[s3]'.") from error
