"""What a file of a log is: its format and compression by its name, its first bytes, and the data files of a folder."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Collection, Iterable, Iterator
from typing import BinaryIO, cast

import pyarrow as pa

from diet_tf.errors import DataError
from diet_tf.io import files
from diet_tf.io.path_patterns import is_hidden
from diet_tf.log.settings import FORMATS, UTF_8

SUFFIXES = {".csv": "csv", ".tsv": "csv", ".tab": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl",
            ".ndjson": "jsonl", ".json": "jsonl", ".tfrecord": "tfrecord", ".tfrecords": "tfrecord"}
CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".zstd": "zstd", ".xz": "xz", ".lz4": "lz4"}
_TAB_SUFFIXES = (".tsv", ".tab")
# What is no log as it lies there, and what to do about it.
_PARQUET = "write it as Parquet first."
_UNPACK = "unpack it, or compress the file inside alone, with gzip or zstd."
_REFUSED = {
    ".orc": ("ORC", f"{_PARQUET} pyarrow.orc.read_table reads it."), ".avro": ("Avro", f"{_PARQUET} Spark reads it."),
    ".arrow": ("Arrow IPC", f"{_PARQUET} pyarrow.ipc.open_file reads it."),
    ".feather": ("Feather", f"{_PARQUET} pyarrow.feather.read_table reads it."),
    ".xlsx": ("an Excel book", "save the sheet as CSV."), ".xls": ("an Excel book", "save the sheet as CSV."),
    ".pkl": ("a Python pickle", _PARQUET), ".pickle": ("a Python pickle", _PARQUET), ".npz": ("NumPy arrays", _PARQUET),
    ".npy": ("a NumPy array", _PARQUET), ".h5": ("HDF5", _PARQUET), ".hdf5": ("HDF5", _PARQUET),
    ".sqlite": ("a database", "export the table as CSV."), ".db": ("a database", "export the table as CSV."),
    ".zip": ("a zip archive", _UNPACK), ".tar": ("a tar archive", _UNPACK), ".tgz": ("a tar archive", _UNPACK),
    ".7z": ("a 7z archive", _UNPACK), ".rar": ("a rar archive", _UNPACK),
    ".snappy": ("compressed with snappy", "compress it with gzip or zstd."),
    ".lzo": ("compressed with lzo", "compress it with gzip or zstd."),
    ".br": ("compressed with brotli", "compress it with gzip or zstd."),
    ".z": ("compressed with compress", "compress it with gzip or zstd.")}
# First bytes that say more than a name: what they are the beginning of, and what to do about it.
_UTF_REMEDY = "set log.encoding (or log.joins.encoding) to {}, or write it in UTF-8."
_ENCODING_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (codecs.BOM_UTF32_LE, "text in UTF-32", _UTF_REMEDY.format("utf-32")),
    (codecs.BOM_UTF32_BE, "text in UTF-32", _UTF_REMEDY.format("utf-32")),
    (codecs.BOM_UTF16_LE, "text in UTF-16", _UTF_REMEDY.format("utf-16")),
    (codecs.BOM_UTF16_BE, "text in UTF-16", _UTF_REMEDY.format("utf-16")))
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "compressed with gzip", "let its name end in .gz."),
    (b"BZh", "compressed with bzip2", "let its name end in .bz2."),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "let its name end in .zst."),
    (b"\xfd7zXZ\x00", "compressed with xz", "let its name end in .xz."),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "let its name end in .lz4."),
    (b"PAR1", "Parquet", "let its name end in .parquet, or set format: parquet."),
    (b"PK\x03\x04", "a zip archive or an Excel book", _UNPACK), (b"ORC", "ORC", _PARQUET),
    (b"Obj\x01", "Avro", _PARQUET), (b"ARROW1", "Arrow IPC", _PARQUET), (b"SQLite format 3", "a database", _PARQUET))
# What tables that are more than their files keep beside them; a file there may belong to no row that is still listed.
_TABLE_LOGS = {"_delta_log": "Delta Lake", ".hoodie": "Apache Hudi"}
# How far above a file such a log is looked for: below it lie the folders of partitions.
_MAX_DEPTH = 4
_DECOMPRESSION_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError)
_BUFFER_BYTES = 1 << 20


def format_of(path: str, declared: str | None) -> str:
  """The declared format, or the one that the name of the file, or of a folder around it, ends with.

  Raises:
    DataError: if neither says, or the name says that the file is of a kind that is not read.
  """
  codec = codec_of(path)
  name = _bare_name(path)
  kind = declared or next((known for suffix, known in SUFFIXES.items() if name.endswith(suffix)), None)
  refused = next((what for suffix, what in _REFUSED.items() if name.endswith(suffix)), None) if kind is None else None
  if refused is not None:
    raise DataError(path, rule=f"a log is one of {', '.join(FORMATS)}; " + _suffixes_rule(),
                    received=f"{refused[0]}, by its name.", remedy=refused[1])
  if kind is None:
    # A part of a table that is a folder, such as day-1.parquet/000000_0.
    kind = next((known for part in reversed(path.split("/")[:-1]) for suffix, known in SUFFIXES.items()
                 if part.lower().endswith(suffix)), None)
  if kind is None:
    raise DataError(path, rule=f"the format is declared, or {_suffixes_rule()}",
                    received=f"the name {path.rpartition('/')[2]!r} and no format.",
                    remedy=f"set log.format (or the join's format) to one of {', '.join(FORMATS)}.")
  if codec is not None and (kind == "parquet" or kind == "tfrecord" and codec != "gzip"):
    how = "compresses its columns itself" if kind == "parquet" else "is compressed with gzip"
    raise DataError(path, rule=f"a {kind} file {how}.", received=f"a file compressed with {codec}, by its name.",
                    remedy="decompress it." if kind == "parquet" else "compress it with gzip, or not at all.")
  return kind


def _suffixes_rule() -> str:
  return f"the suffix is one of {', '.join(SUFFIXES)} ({', '.join(CODECS)} may follow)."


def codec_of(path: str) -> str | None:
  """What a file is compressed with, by its name; None where it is not."""
  lower = path.lower()
  return next((codec for suffix, codec in CODECS.items() if lower.endswith(suffix)), None)


def is_compressed(path: str) -> bool:
  """Whether the file is decompressed when it is read, and therefore read as a whole."""
  return codec_of(path) is not None


def delimiter_of(path: str, declared: str | None) -> str:
  """The declared delimiter of a CSV file, or the one of its name: a tab for .tsv, else a comma."""
  return declared if declared is not None else "\t" if _bare_name(path).endswith(_TAB_SUFFIXES) else ","


def _bare_name(path: str) -> str:
  name = path.rpartition("/")[2].lower()
  for suffix in CODECS:
    name = name.removesuffix(suffix)
  return name


def data_files(path: str) -> list[str]:
  """The sorted files of data at a path: itself, or where it is a folder, as Spark and others write, those below it.

  What begins with `_` or `.`, or ends with `.crc`, is no data, and neither are files of no bytes among others: a writer
  leaves one where it has no rows.

  Raises:
    DataError: a folder has no file, or is a table whose log alone says which of its files are part of it.
  """
  with readable(path):
    if not files.is_folder(path):
      return [path]
    below = files.files_below(path)
    _check_no_table(path, {part for name in below for part in name.split("/")})
    paths = [files.join(path, name) for name in below if not any(map(is_hidden, name.split("/")))]
    paths = [name for name in paths if files.num_bytes(name)]
  if not paths:
    raise DataError(path, rule="a folder that stands for a file holds at least one file of rows.",
                    received=f"{', '.join(below[:8]) or 'an empty folder'}.",
                    remedy="wait until it is written, or remove it.")
  return sorted(paths)


def check_no_table(path: str) -> None:
  """Refuses a file that lies in a table whose log alone says which of its files are part of it.

  Raises:
    DataError: it does; the table's folder is named.
  """
  for _ in range(_MAX_DEPTH):
    path = files.parent(path)
    if path in ("/", ".") or path.endswith(":/"):
      return
    _check_no_table(path, [marker for marker in _TABLE_LOGS if files.is_folder(files.join(path, marker))])


def _check_no_table(folder: str, names: Collection[str]) -> None:
  for marker, table in _TABLE_LOGS.items():
    if marker in names:
      raise DataError(folder, rule="a folder holds files of rows, all of which count.",
                      received=f"a table of {table}, in which files of removed rows stay.",
                      remedy="export what the table holds now as Parquet, and name that.")


def check_content(path: str, kind: str, encoding: str = UTF_8) -> None:
  """Refuses a text file whose first bytes say that it is something else than its name or the settings say.

  Args:
    path: the file.
    kind: its format.
    encoding: encoding of its texts; the marks of others are looked for where it is UTF-8.

  Raises:
    DataError: it has no byte, or is of another kind.
  """
  with readable(path), files.open_to_read(path) as stream:
    start = stream.read(64)
    if start and is_compressed(path):
      with _decompression_explained(path), open_lines(path) as lines:
        start = lines.read(64)
  if not start:
    raise DataError(path, rule="a file has at least one line.", received="no byte: the file is empty.",
                    remedy="wait until it is written, or remove it.")
  signatures = (*_ENCODING_SIGNATURES, *_SIGNATURES) if encoding == UTF_8 else _SIGNATURES
  found = next(((what, remedy) for signature, what, remedy in signatures if start.startswith(signature)), None)
  if found is None and kind == "jsonl" and start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
    found = "a list, as one JSON value", "write one object a line, as `jq -c '.[]'` does."
  if found is not None:
    raise DataError(path, rule=f"it is {kind} in {encoding.upper()}.", received=f"{found[0]}, by its first bytes.",
                    remedy=found[1])


def open_lines(path: str) -> BinaryIO:
  """A binary stream over the lines of a file, decompressed."""
  codec = codec_of(path)
  stream = files.open_to_read(path)
  if codec is None:
    return stream
  if codec == "gzip":
    return cast(BinaryIO, _Decompressed(gzip.GzipFile(fileobj=stream), stream))
  if codec == "bz2":
    return cast(BinaryIO, _Decompressed(bz2.BZ2File(stream), stream))
  if codec == "xz":
    return cast(BinaryIO, _Decompressed(lzma.LZMAFile(stream), stream))
  return cast(BinaryIO, _Decompressed(pa.CompressedInputStream(stream, codec), stream))


class _Decompressed(io.BufferedReader):
  """A decompressed stream that closes the file below it, which the stream above leaves open."""

  def __init__(self, raw: object, below: BinaryIO) -> None:
    super().__init__(cast(io.RawIOBase, raw), _BUFFER_BYTES)
    self._below = below

  def close(self) -> None:
    super().close()
    self._below.close()


def damaged(path: str, kind: str, error: Exception) -> DataError:
  """The error for a file that is not what its name or the settings say."""
  received = (str(error).splitlines() or [type(error).__name__])[0][:300]
  return DataError(path, rule=f"it is a complete {kind} file.", received=received,
                   remedy="write the file again, or declare the right format.")


@contextlib.contextmanager
def readable(path: str) -> Iterator[None]:
  """Turns a failure to read a file of the log within the block into a DataError that names it and what to do."""
  try:
    yield
  except FileNotFoundError as error:
    raise _gone(path) from error
  except PermissionError as error:
    raise DataError(path, rule="it can be read.", received=f"{error.strerror}.",
                    remedy="give the user of this process the right to read it.") from error
  except OSError as error:
    raise DataError(path, rule="it can be read.", received=f"{error}.",
                    remedy="check the disk or the network that it lies on, and run again.") from error
  except Exception as error:
    # TensorFlow's, of a remote file system.
    if type(error).__name__ != "NotFoundError":
      raise
    raise _gone(path) from error


def _gone(path: str) -> DataError:
  return DataError(path, rule="a file of the span is there until the span has been read.", received="it is gone.",
                   remedy="bring it back, or run the span again, which reads the files that are there then.")


@contextlib.contextmanager
def decompressing(path: str) -> Iterator[None]:
  """As `readable`, for lines that may be compressed: what cannot be decompressed is a damaged file."""
  with readable(path), _decompression_explained(path):
    yield


@contextlib.contextmanager
def _decompression_explained(path: str) -> Iterator[None]:
  codec = codec_of(path)
  try:
    yield
  except _DECOMPRESSION_ERRORS as error:
    # An error of the file system has a number; one of a decompressor has none.
    if codec is None or getattr(error, "errno", None) is not None:
      raise
    raise damaged(path, codec, error) from error


def with_known_suffix(names: Iterable[str]) -> list[str]:
  """The names of files, of those given, whose suffix says their format."""
  return [name for name in names if _bare_name(name).endswith(tuple(SUFFIXES))]
