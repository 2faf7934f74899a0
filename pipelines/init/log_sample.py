"""A sample of a raw log: rows from all over its files, in runs of neighbours, and about how many rows there are.

What is read is bounded by the rows asked for, whatever the log's size: at most `MAX_FILES` files, a few places in each.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from diet_tf.errors import DataError
from diet_tf.io import files
from diet_tf.log import encoding, span_patterns
from pipelines.init.log_files import LogFiles
from tfx_components.log_gen import columns, plan, sources, text_encodings

# Of more files than this, so many are sampled, evenly over the log, the first and the last among them.
MAX_FILES = 100
_RUNS = 200
_MAX_RUNS_OF_FILE = 10
# Of compressed files no more than this is decompressed, all together.
_MAX_DECOMPRESSED_BYTES = 256 << 20
# Of a log of more files than this, the size of so many stands for all.
_MAX_FILES_WEIGHED = 2000
_PEEKED_BYTES = 1 << 16
_TEXT_RATIO = 5


@dataclasses.dataclass(frozen=True)
class Run:
  """Neighbouring rows of a file.

  Attributes:
    file: place of the file in the sample's `paths`.
    block: the rows, as readers of logs hand them on.
  """

  file: int
  block: sources.Block


@dataclasses.dataclass(frozen=True)
class LogSample:
  """Some rows of a log, in order.

  Attributes:
    paths: paths of the files that the rows come from.
    runs: the rows.
    rows_of_path: about how many rows each file of the log has.
    whole: whether the sample is the log.
  """

  paths: tuple[str, ...]
  runs: tuple[Run, ...]
  rows_of_path: Mapping[str, float]
  whole: bool

  @functools.cached_property
  def texts(self) -> Mapping[str, np.ndarray]:
    """Per column's name, `[num_rows]` object array of canonical texts; a missing value is an empty text."""
    names = list(dict.fromkeys(name for run in self.runs for name in run.block.columns))
    return {name: np.concatenate([run.block.columns[name].row_texts() if name in run.block.columns
                                  else _missing_values(len(run.block)) for run in self.runs]) for name in names}

  @functools.cached_property
  def file_numbers(self) -> np.ndarray:
    """`[num_rows]` integers, per row the place of its file in `paths`."""
    return np.repeat([run.file for run in self.runs], [len(run.block) for run in self.runs])

  @functools.cached_property
  def run_numbers(self) -> np.ndarray:
    """`[num_rows]` integers, per row the place of its run in `runs`."""
    return np.repeat(np.arange(len(self.runs)), [len(run.block) for run in self.runs])

  @property
  def num_rows(self) -> int:
    """How many rows the sample has."""
    return sum(len(run.block) for run in self.runs)

  @property
  def num_log_rows(self) -> float:
    """About how many rows the log has."""
    return sum(self.rows_of_path.values())

  @functools.cached_property
  def flaws(self) -> Mapping[str, int]:
    """The flaw of the columns that have values with one, by name: `NESTED`, `UNDECODABLE`, ..."""
    found: dict[str, int] = {}
    for run in self.runs:
      for name, column in run.block.columns.items():
        flawed = column.flaws[np.unique(column.codes)]
        if flawed.any():
          found.setdefault(name, int(flawed[flawed != columns.SOUND][0]))
    return found

  def is_of_folders(self, name: str) -> bool:
    """Whether a column is given by the names of folders."""
    return all(name in span_patterns.partition_values(path) for path in self.paths)

  @functools.cached_property
  def unread(self) -> frozenset[str]:
    """Names of the columns that are there and cannot be read, or are several of one name."""
    return frozenset(name for run in self.runs for name in run.block.names if name not in self.texts)

  def columns_of_some_files(self) -> dict[str, int]:
    """The columns that some of the sampled files lack, each with the number of files that have it."""
    in_files: dict[str, set[int]] = {name: set() for name in self.texts}
    for run in self.runs:
      for name in run.block.columns:
        in_files[name].add(run.file)
    num_files = len({run.file for run in self.runs if len(run.block)})
    return {name: len(found) for name, found in in_files.items() if len(found) < num_files}

  def columns_that_name_files(self) -> list[str]:
    """Names of the columns whose value is the same throughout a file, and another in every other of several files."""
    numbers = np.unique(self.file_numbers)
    if len(numbers) < 2:
      return []
    firsts = np.searchsorted(self.file_numbers, numbers)
    places = np.searchsorted(numbers, self.file_numbers)
    return [name for name, values in self.texts.items()
            if (values == values[firsts][places]).all() and len(set(values[firsts])) == len(firsts)]

  def counts_up(self, name: str) -> bool:
    """Whether the values of a column are whole numbers that go up by one from row to row, within each file."""
    numbers, unreadable = encoding.numbers(self.texts[name])
    same_run = self.run_numbers[1:] == self.run_numbers[:-1]
    if unreadable.any() or not np.isfinite(numbers).all() or not same_run.any():
      return False
    steps = np.diff(numbers)
    same_file = self.file_numbers[1:] == self.file_numbers[:-1]
    # A row that was left out before, by a filter say, leaves a gap.
    return bool(np.mean(steps[same_run] == 1) >= 0.9 and (steps[same_file] > 0).all())


def read_sample(log_files: LogFiles, num_rows: int) -> LogSample:
  """Rows from all over a log.

  Args:
    log_files: the files of the log.
    num_rows: about how many rows the sample is to have, all files together.

  Raises:
    DataError: the files have no rows, or one is damaged.
  """
  paths = sampled_paths(log_files.paths)
  file_rows, file_runs = -(-num_rows // len(paths)), max(1, min(_MAX_RUNS_OF_FILE, _RUNS // len(paths)))
  readers = [_FileReader(log_files, path, len(paths)) for path in paths]
  runs = [Run(number, block) for number, reader in enumerate(readers)
          for block in reader.read(file_rows, file_runs)]
  if not any(len(run.block) for run in runs):
    raise DataError(", ".join(paths[:3]), rule="the log has at least one row.",
                    received="none that can be read." if any(run.block.rejected for run in runs) else "none.",
                    remedy="name files with rows; --format and --delimiter say how they are read.")
  weighed = dict(zip(paths, (reader.num_rows for reader in readers)))
  whole = len(paths) == len(log_files.paths) and all(reader.read_whole for reader in readers)
  return LogSample(tuple(paths), tuple(run for run in runs if len(run.block) or run.block.rejected),
                   _rows_of_paths(log_files.paths, weighed), whole)


def sampled_paths(paths: Sequence[str]) -> list[str]:
  """The files that a sample is taken from: all, or of many some evenly over the log, first and last among them."""
  places = np.unique(np.linspace(0, len(paths) - 1, MAX_FILES).round().astype(int))
  return [paths[place] for place in places]


def _rows_of_paths(paths: Sequence[str], weighed: Mapping[str, float]) -> dict[str, float]:
  """About how many rows each file has: by those that were looked into, and their sizes."""
  if len(weighed) == len(paths):
    return dict(weighed)
  sizes = {path: files.num_bytes(path) for path in weighed}
  per_byte = sum(weighed.values()) / max(1, sum(sizes.values()))
  if len(paths) > _MAX_FILES_WEIGHED:
    return {path: weighed.get(path, float(np.mean(list(weighed.values())))) for path in paths}
  return {path: weighed[path] if path in weighed else per_byte * files.num_bytes(path) for path in paths}


class _FileReader:
  """Reads runs of rows of one file.

  Args:
    log_files: the files of the log, which say how they are read.
    path: the file.
    num_files: how many files are sampled.

  Attributes:
    num_rows: about how many rows the file has, once some were read.
    read_whole: whether all of its rows were read.
  """

  def __init__(self, log_files: LogFiles, path: str, num_files: int) -> None:
    self._log_files, self._path, self._num_files = log_files, path, num_files
    self.num_rows = 0.0
    self.read_whole = False

  def read(self, num_rows: int, num_runs: int) -> Iterator[sources.Block]:
    """Runs of rows, evenly over the file."""
    pieces = plan.log_pieces(self._log_files.settings(), [self._path], None)
    if not pieces:
      self.read_whole = True
      return iter(())
    kind = pieces[0].format
    if kind == "parquet":
      return self._read_parquet(pieces, num_rows, num_runs)
    if kind == "tfrecord":
      return self._read_records(pieces[0], num_rows)
    return self._read_lines(pieces[0], num_rows, num_runs)

  def _blocks(self, piece: sources.Piece, only: Sequence[str] | None) -> Iterator[sources.Block]:
    """The blocks of a piece, with the columns that the names of its folders give, and objects as what they hold."""
    return sources.read_blocks(piece, only, also=span_patterns.partition_values(self._path), flat=only is None)

  def _read_lines(self, piece: sources.Piece, num_rows: int, num_runs: int) -> Iterator[sources.Block]:
    start, size, total = piece.start, *self._num_bytes(piece)
    row_bytes = self._row_bytes(piece)
    run_bytes = math.ceil(num_rows / num_runs * row_bytes)
    # Runs that would touch are one; so is a file that is not cut into pieces.
    if run_bytes * num_runs >= size - start or piece.newlines_in_values:
      starts, run_bytes = [start], size - start
    else:
      starts = np.linspace(start, size - run_bytes, num_runs).astype(int).tolist()
    taken = taken_bytes = 0
    self.read_whole = len(starts) == 1 and size == total
    for low in starts:
      part = dataclasses.replace(piece, start=low, stop=min(low + run_bytes, size))
      for block in self._blocks(part, _once(piece.names)):
        taken += len(block) + len(block.rejected)
        yield block
        if piece.newlines_in_values and taken >= num_rows:
          self.read_whole = False
          break
      taken_bytes += part.stop - part.start
    self.num_rows = taken * (total - start) / max(1, taken_bytes)
    if piece.newlines_in_values and not self.read_whole:
      self.num_rows = max(float(taken), (total - start) / row_bytes)

  def _num_bytes(self, piece: sources.Piece) -> tuple[int, int]:
    """How many bytes of the lines can be read, and about how many there are."""
    size = files.num_bytes(self._path)
    if not piece.is_whole:
      return size, size
    limit, read = max(1 << 20, _MAX_DECOMPRESSED_BYTES // self._num_files), 0
    with text_encodings.open_bytes(self._path, piece.encoding) as stream:
      while read < limit and (data := stream.read(min(1 << 20, limit - read))):
        read += len(data)
      if not data:
        return read, read
    # The rest is taken to be as compressible as files of text commonly are.
    return read, max(read, size * (_TEXT_RATIO if sources.is_compressed(self._path) else 1))

  def _row_bytes(self, piece: sources.Piece) -> float:
    with text_encodings.open_bytes(self._path, piece.encoding) as stream:
      data = stream.read(piece.start + _PEEKED_BYTES)[piece.start:]
    return len(data) / max(1, data.count(b"\n"))

  def _read_parquet(self, pieces: Sequence[sources.Piece], num_rows: int, num_runs: int) -> Iterator[sources.Block]:
    with sources.open_parquet(self._path) as file:
      metadata = file.metadata
      names = file.schema_arrow.names
    self.num_rows = float(metadata.num_rows)
    counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    self.read_whole = metadata.num_rows <= num_rows
    num_runs = len(counts) if self.read_whole else min(num_runs, len(counts))
    groups = np.unique(np.linspace(0, len(counts) - 1, num_runs).round().astype(int)).tolist()
    for group in groups:
      part = dataclasses.replace(pieces[0], row_groups=(group,), before=sum(counts[:group]))
      left = counts[group] if self.read_whole else -(-num_rows // len(groups))
      yield from _first_rows(self._blocks(part, None if names == _once(names) else _once(names)), left)

  def _read_records(self, piece: sources.Piece, num_rows: int) -> Iterator[sources.Block]:
    taken = 0
    for block in self._blocks(piece, None):
      if taken >= num_rows:
        break
      taken += len(block)
      yield block
    else:
      self.read_whole = True
    self.num_rows = float(taken)


def _once(names: Sequence[str]) -> list[str] | None:
  """The names that stand once; None for no names."""
  return [name for name, number in Counter(names).items() if number == 1] or None


def _first_rows(blocks: Iterator[sources.Block], num_rows: int) -> Iterator[sources.Block]:
  for block in blocks:
    kept = min(num_rows, len(block))
    yield block if kept == len(block) else dataclasses.replace(
        block, columns={name: column.take(np.arange(kept)) for name, column in block.columns.items()},
        records=block.records[:kept])
    num_rows -= kept
    if num_rows <= 0:
      return


def _missing_values(num_rows: int) -> np.ndarray:
  array = np.empty(num_rows, object)
  array[:] = encoding.MISSING_TEXT
  return array
