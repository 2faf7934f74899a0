"""Files of lines in other encodings than UTF-8, as UTF-8.

In most encodings a line feed is the byte that it is in ASCII, and no part of another character: such files are cut into
lines as they are, and blocks of lines are decoded. The others are decoded from their beginning to their end. Bytes that
are not of the encoding stay as they are, and are no UTF-8 either, so that the value that holds them is found out.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import io
from collections.abc import Iterator
from typing import BinaryIO, cast

from tfx_components.log_gen.file_kinds import damaged, decompressing, open_lines

_READ_BYTES = 1 << 20


@functools.cache
def is_utf_8(encoding: str) -> bool:
  """Whether the encoding is UTF-8, with a byte order mark or without one."""
  return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


@functools.cache
def keeps_lines(encoding: str) -> bool:
  """Whether files in the encoding can be cut at line feeds before they are decoded."""
  ascii_bytes = bytes(range(128))
  name = codecs.lookup(encoding).name
  # These switch between sets of characters, and what a byte is depends on those before it.
  stateful = name.startswith("iso2022") or name in ("hz", "utf-7")
  return not stateful and ascii_bytes.decode(encoding, "replace") == ascii_bytes.decode("ascii")


@contextlib.contextmanager
def open_bytes(path: str, encoding: str) -> Iterator[BinaryIO]:
  """The bytes of a file of lines, decompressed; in UTF-8 where the encoding does not keep lines.

  Raises:
    DataError: the file cannot be read, decompressed or, there, decoded.
  """
  with _decoding(path, encoding), decompressing(path), open_lines(path) as stream:
    yield stream if keeps_lines(encoding) else _recoded(stream, encoding)


@contextlib.contextmanager
def open_text(path: str, encoding: str) -> Iterator[BinaryIO]:
  """The text of a file, decompressed and in UTF-8.

  Raises:
    DataError: the file cannot be read, decompressed or, in an encoding that does not keep lines, decoded.
  """
  with _decoding(path, encoding), decompressing(path), open_lines(path) as stream:
    yield stream if is_utf_8(encoding) else _recoded(stream, encoding)


@contextlib.contextmanager
def _decoding(path: str, encoding: str) -> Iterator[None]:
  try:
    yield
  except UnicodeError as error:
    raise damaged(path, encoding.upper(), error) from error


def lines_in_utf_8(data: bytes, encoding: str) -> bytes:
  """Whole lines from `open_bytes` in UTF-8."""
  if is_utf_8(encoding) or not keeps_lines(encoding):
    return data
  return data.decode(encoding, "surrogateescape").encode("utf-8", "surrogateescape")


def _recoded(stream: BinaryIO, encoding: str) -> BinaryIO:
  return cast(BinaryIO, io.BufferedReader(_Recoded(stream, encoding)))


class _Recoded(io.RawIOBase):
  """Text of one encoding as bytes of UTF-8."""

  def __init__(self, below: BinaryIO, encoding: str) -> None:
    self._below = below
    # UTF-16 and UTF-32 have surrogates of their own; either handler leaves bytes that are no UTF-8.
    self._errors = "surrogateescape" if keeps_lines(encoding) else "surrogatepass"
    self._decoder = codecs.getincrementaldecoder(encoding)(self._errors)
    self._left = b""

  def readable(self) -> bool:
    return True

  def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
    while not self._left:
      data = self._below.read(_READ_BYTES)
      self._left = self._decoder.decode(data, final=not data).encode("utf-8", self._errors)
      if not data:
        break
    size = min(len(buffer), len(self._left))
    buffer[:size], self._left = self._left[:size], self._left[size:]
    return size

  def close(self) -> None:
    super().close()
    self._below.close()
