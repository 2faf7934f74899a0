"""Files of `tf.io.gfile` as Python streams, which they are not quite."""

from __future__ import annotations

import io
from typing import Any


class RemoteReader(io.RawIOBase):
  """A seekable stream over a file, which is never read at its end: on S3 that is a segmentation fault (`diet_tf.s3`).

  Args:
    path: a URI whose file system is registered.
  """

  def __init__(self, path: str) -> None:
    import tensorflow as tf
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
    data: bytes = self._file.read(wanted) if wanted else b""
    self._position += len(data)
    return data

  def readinto(self, buffer: Any) -> int:
    """Fills the buffer as far as the file goes, and returns the number of bytes."""
    wanted = min(len(buffer), self._size - self._position)
    if wanted <= 0:
      return 0
    data = self._file.read(wanted)
    buffer[:len(data)] = data
    self._position += len(data)
    return len(data)

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
