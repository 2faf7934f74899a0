"""Standard output and standard error of a command: their reader may leave before it has seen everything."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any, TextIO, cast

from diet_tf.errors import StoreError
from diet_tf.printable import printable


class _Forgiving(io.FileIO):
  """A stream of bytes that takes what it is given once it cannot be written any more, and drops it.

  A command that is cut by the end of its reader, as `| head` ends, would leave undone what it was started for, and
  Python's own flush at the end of the process would turn an output that nobody wanted into an error.

  Attributes:
    error: why nothing is written any more, where that is an error, as on a full disk; None otherwise.
  """

  error: OSError | None = None

  def write(self, content: Any) -> int:
    """Writes bytes; returns how many were written, or dropped."""
    try:
      return super().write(content)
    except OSError as error:
      if not isinstance(error, BrokenPipeError):
        self.error = error
      nowhere = os.open(os.devnull, os.O_WRONLY)
      os.dup2(nowhere, self.fileno())
      os.close(nowhere)
      return memoryview(content).nbytes


def text_stream(descriptor: int, like: TextIO | None, *, closes: bool = False) -> TextIO:
  """A text stream on a descriptor that may lose its reader.

  Args:
    descriptor: an open file descriptor.
    like: the stream whose encoding and buffering are taken; None takes the locale's, and writes each line at once.
    closes: whether the descriptor is closed with the stream.
  """
  buffered = io.BufferedWriter(cast(io.RawIOBase, _Forgiving(descriptor, "wb", closefd=closes)))
  return io.TextIOWrapper(buffered, encoding=getattr(like, "encoding", None),
                          errors=getattr(like, "errors", None), line_buffering=getattr(like, "line_buffering", True))


def byte_stream(descriptor: int) -> io.RawIOBase:
  """An unbuffered stream on a descriptor that may lose its reader, and that is closed with the stream."""
  return cast(io.RawIOBase, _Forgiving(descriptor, "wb"))


def let_readers_leave() -> None:
  """Makes the end of their reader no error to the standard streams of this process."""
  for name in ("stdout", "stderr"):
    stream = getattr(sys, name)
    # A process may be started without them, or with what is no file.
    with contextlib.suppress(AttributeError, OSError, ValueError):
      stream.flush()
      setattr(sys, name, text_stream(stream.fileno(), stream))


def flushed(code: int) -> int:
  """The exit code of a command whose output is to be seen: its own, or that of an output that cannot be written."""
  if sys.stdout is None:
    return code
  sys.stdout.flush()
  error = getattr(getattr(getattr(sys.stdout, "buffer", None), "raw", None), "error", None)
  if error is None:
    return code
  print(f"diet: the output cannot be written: {printable(str(error))}", file=sys.stderr)
  return code or StoreError.exit_code
