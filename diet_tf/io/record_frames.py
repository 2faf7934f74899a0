"""The framing of TFRecord files, read without TensorFlow: how many records there are, and whether a file is whole."""

from __future__ import annotations

import dataclasses
import gzip
import zlib

from diet_tf.errors import FormatError
from diet_tf.io import files

# Before each record its length (8 bytes) and a checksum of that (4), after it a checksum (4).
HEADER_BYTES = 12
FOOTER_BYTES = 4

_CHUNK_BYTES = 1 << 20
_GZIP_WINDOW = 31
_REMEDY = "restore the file from a copy, or make it again from the spans."


def count_records(path: str, most_raw_bytes: int, record_bytes: tuple[int, int] | None = None) -> tuple[int, int]:
  """The number of records in a GZIP TFRecord file, and the bytes of the uncompressed stream.

  Args:
    path: path or URI of the file.
    most_raw_bytes: number of uncompressed bytes beyond which the file is given up, so that a small file cannot keep its
      reader busy for hours.
    record_bytes: numbers of bytes that the shortest and the longest record may have; another one is refused by its
      header, before it is read. None takes records of any length.

  Raises:
    FormatError: the file is damaged, cut off, holds a longer stream, or a record of another length.
  """
  num_records = num_raw_bytes = 0
  try:
    if not files.num_bytes(path):
      raise _damaged(path, "an empty file.")
    with files.open_to_read(path) as below, gzip.GzipFile(fileobj=below) as stream:
      while header := stream.read(HEADER_BYTES):
        length = int.from_bytes(header[:8], "little")
        if record_bytes is not None and not record_bytes[0] <= length <= record_bytes[1]:
          raise _damaged(path, f"a record of {length:,} bytes, where each has from {record_bytes[0]:,} to "
                         f"{record_bytes[1]:,}.")
        num_bytes = len(header) + length + FOOTER_BYTES
        num_raw_bytes += num_bytes
        if num_raw_bytes > most_raw_bytes:
          raise _damaged(path, f"more than {most_raw_bytes:,} bytes uncompressed.")
        _skip(stream, num_bytes - len(header), path)
        num_records += 1
  except (OSError, EOFError, zlib.error) as error:
    raise _damaged(path, f"{error}.") from error
  return num_records, num_raw_bytes


def require_whole(path: str) -> None:
  """Raises FormatError unless a `.gz` file ends where its writer ended it.

  TensorFlow takes a GZIP stream that was cut off between two records for one that ends there.
  """
  if not path.endswith(".gz"):
    return
  try:
    with files.open_to_read(path) as stream:
      ended, data = True, stream.read(_CHUNK_BYTES)
      if not data:
        raise _damaged(path, "an empty file.")
      decoder = zlib.decompressobj(_GZIP_WINDOW)
      while data:
        decoder.decompress(data, _CHUNK_BYTES)
        data, ended = decoder.unconsumed_tail, decoder.eof
        if ended:
          data, decoder = decoder.unused_data, zlib.decompressobj(_GZIP_WINDOW)
        data = data or stream.read(_CHUNK_BYTES)
      if not ended:
        # What the last call had no room for.
        decoder.flush()
        ended = decoder.eof
  except (OSError, zlib.error) as error:
    raise _damaged(path, f"{error}.") from error
  if not ended:
    raise _damaged(path, "a stream that was cut off.")


def _skip(stream: gzip.GzipFile, num_bytes: int, path: str) -> None:
  while num_bytes:
    chunk = stream.read(min(num_bytes, _CHUNK_BYTES))
    if not chunk:
      raise _damaged(path, "a record that was cut off.")
    num_bytes -= len(chunk)


def _damaged(path: str, received: str) -> FormatError:
  return FormatError(path, rule="a shard is a whole GZIP TFRecord file.", received=received, remedy=_REMEDY)


@dataclasses.dataclass(frozen=True)
class ShardInfo:
  """One TFRecord file of a memory or a span.

  Attributes:
    name: name of the file within its folder.
    sha256: hex digest of the file.
    num_bytes: size of the compressed file, in bytes.
    num_raw_bytes: size of the uncompressed TFRecord stream in bytes, framing included.
    num_records: number of records.
  """

  name: str
  sha256: str
  num_bytes: int
  num_raw_bytes: int
  num_records: int
