"""Files of `tf.io.gfile` as Python streams, which they are not quite."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

from diet_tf.errors import StoreError
from diet_tf.io import s3


class RemoteReader(io.RawIOBase):
  """A seekable stream over a file, never read at its end: on S3 that is a segmentation fault (`diet_tf.io.s3`).

  Args:
    path: a URI whose file system is registered.

  Raises:
    StoreError: here and in reading, the place cannot be read; a missing file is TensorFlow's NotFoundError.
  """

  def __init__(self, path: str) -> None:
    import tensorflow as tf
    self._path = path
    with _explained(path):
      self._size = int(tf.io.gfile.stat(path).length)
      self._file = tf.io.gfile.GFile(path, "rb")
    self._position = 0

  def readable(self) -> bool:
    """True."""
    return True

  def seekable(self) -> bool:
    """True."""
    return True

  def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
    """Goes to a byte, and returns its number."""
    base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
    self._position = base + offset
    if self._position < self._size:
      self._file.seek(self._position)
    return self._position

  def tell(self) -> int:
    """The number of the next byte."""
    return self._position

  def readall(self) -> bytes:
    """What is left of the file."""
    wanted = max(0, self._size - self._position)
    return self._read(wanted) if wanted else b""

  def readinto(self, buffer: Any) -> int:
    """Fills the buffer as far as the file goes, and returns the number of bytes."""
    wanted = min(len(buffer), self._size - self._position)
    if wanted <= 0:
      return 0
    buffer[:wanted] = self._read(wanted)
    return wanted

  def _read(self, num_bytes: int) -> bytes:
    """So many bytes, which the file has: fewer are no end of it, but a fault of the network."""
    with _explained(self._path):
      data: bytes = self._file.read(num_bytes)
    if len(data) != num_bytes:
      raise StoreError(self._path, rule=f"it gives the {num_bytes} bytes from byte {self._position} on.",
                       received=f"{len(data)} bytes.", remedy="check the network, and run again.")
    self._position += num_bytes
    return data

  def close(self) -> None:
    """Closes the file."""
    if not self.closed:
      self._file.close()
    super().close()


class RemoteWriter(io.RawIOBase):
  """A stream that writes a file.

  Args:
    path: a URI whose file system is registered.
  """

  def __init__(self, path: str) -> None:
    import tensorflow as tf
    self._file = tf.io.gfile.GFile(path, "wb")
    self._file.write(b"")  # A file that is never written to would not be made.

  def writable(self) -> bool:
    """True."""
    return True

  def write(self, data: Any) -> int:
    """Writes all of the data, and returns the number of bytes."""
    self._file.write(bytes(data))
    return len(data)

  def close(self) -> None:
    """Closes the file; on an object store this is what makes it visible."""
    if not self.closed:
      self._file.close()
    super().close()


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
  """Says of what TensorFlow's file systems raise in the block which place cannot be read, and what to do."""
  import tensorflow as tf
  try:
    yield
  except tf.errors.NotFoundError:
    raise
  except tf.errors.OpError as error:
    raise s3.read_error(path, error) from error
