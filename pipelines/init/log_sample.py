"""A sample of a raw log: which files it has, where a span's number stands in their paths, and some of their rows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from diet_tf.errors import ConfigError, DataError
from diet_tf.io import files, path_patterns
from diet_tf.io.path_patterns import escaped
from diet_tf.log import encoding, span_patterns
from diet_tf.log.settings import LogSettings
from diet_tf.log.span_patterns import SPAN_MARK
from tfx_components.log_gen import columns, file_kinds, pieces, plan, sources

DELIMITERS = (",", "\t", ";", "|")
# How many files are sampled: of the first, the middle and the last span.
_MAX_FILES = 3
_DIGITS = re.compile(r"\d+")
_DATE = re.compile(r"\d{4}-\d{2}(-\d{2})?(?!\d)")
# Words before a number that say that it counts spans.
_SPAN_WORDS = re.compile(r"(span|day|date|dt|ds|hour|week|month|period)[^a-zA-Z0-9]*$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class LogFiles:
  """The files of a log.

  Attributes:
    paths: paths or URIs of the files, sorted.
    pattern: a pattern that matches all of them, with `{SPAN}` where their paths tell spans apart.
    format: format of the files, one of `FORMATS` of the log's settings.
    declared_format: the format where the suffix does not say it; None elsewhere.
    delimiter: character between the values of a CSV line.
  """

  paths: tuple[str, ...]
  pattern: str
  format: str
  declared_format: str | None
  delimiter: str

  @property
  def has_spans(self) -> bool:
    """Whether the paths tell spans apart."""
    return SPAN_MARK in self.pattern

  def settings(self) -> LogSettings:
    """Settings for readers of the files, to whom it does not matter which spans these are of."""
    return LogSettings(self.pattern if self.has_spans else SPAN_MARK, format=self.declared_format,
                       delimiter=self.delimiter)


@dataclasses.dataclass(frozen=True)
class LogSample:
  """Some rows of a log, in order.

  Attributes:
    texts: per column's name, `[num_rows]` object array of the rows' canonical texts; a missing value is an empty text.
    nested: names of the columns that hold lists or objects.
    undecodable: names of the columns that hold bytes that are no UTF-8.
    paths: paths of the files that the rows come from.
    file_numbers: `[num_rows]` integers, per row the place of its file in `paths`.
    rows_per_file: about how many rows a file of the log has; None where it is not known.
  """

  texts: Mapping[str, np.ndarray]
  nested: frozenset[str]
  undecodable: frozenset[str]
  paths: tuple[str, ...]
  file_numbers: np.ndarray
  rows_per_file: float | None

  @property
  def num_rows(self) -> int:
    """How many rows the sample has."""
    return len(self.file_numbers)

  def columns_that_name_files(self) -> list[str]:
    """Names of the columns whose value is the same throughout a file, and another in every other of several files."""
    if len(self.paths) < 2:
      return []
    firsts = np.unique(self.file_numbers, return_index=True)[1]
    return [name for name, values in self.texts.items()
            if (values == values[firsts][np.searchsorted(firsts, np.arange(len(values)), side="right") - 1]).all()
            and len(set(values[firsts])) == len(firsts) > 1]


def find_files(log: Sequence[str], *, declared_format: str | None = None, delimiter: str | None = None) -> LogFiles:
  """The files that paths, globs, folders or a pattern with `{SPAN}` name.

  Args:
    log: paths, globs, folders or a pattern as the user gave them; a shell may have expanded a glob.
    declared_format: format of the files; None, the default, goes by the suffix.
    delimiter: character between the values of a CSV line; None, the default, goes by the header.

  Raises:
    DataError: there are none, or nothing says their format.
  """
  paths = sorted({path for entry in log for path in _matching_paths(entry)})
  if not paths:
    raise DataError(" ".join(log), rule="it names at least one file.", received="none.",
                    remedy="check the path; put a glob in quotes.")
  marked = [entry for entry in log if SPAN_MARK in entry]
  pattern = marked[0] if marked else guess_pattern(paths)
  file_format = sources.format_of(paths[0], declared_format)
  if file_format == "csv" and delimiter is None:
    delimiter = guess_delimiter(paths[0])
  return LogFiles(tuple(paths), pattern, file_format, declared_format, delimiter or ",")


def guess_delimiter(path: str) -> str:
  """The delimiter that parts the header of a CSV file into the most columns; of equals, the first in `DELIMITERS`."""

  def num_columns(delimiter: str) -> int:
    try:
      return len(sources.csv_header(path, delimiter)[0])
    except DataError:
      return 0  # Quotes that end where this one expects a value to go on, for one.

  return max(DELIMITERS, key=num_columns)


def _matching_paths(entry: str) -> list[str]:
  if files.is_folder(entry):
    names = [name for name in files.files_below(entry)
             if not any(part.startswith((".", "_")) for part in name.split("/"))]
    return [files.join(entry, name) for name in file_kinds.with_known_suffix(names)]
  # A shell hands on the names of files, in which nothing is a pattern.
  found = [entry] if files.exists(entry) else span_patterns.all_paths(entry)
  return [path for match in found for path in file_kinds.data_files(match)]


def guess_pattern(paths: Sequence[str]) -> str:
  """A pattern that matches the paths: `{SPAN}` in the place of the number that tells spans apart, if there is one.

  Other numbers that vary become `*`. A date with dashes is no number, and gives no `{SPAN}`.

  Args:
    paths: paths of a log's files; a single one is taken for one of those beside it that differ in its last number.

  Raises:
    ConfigError: the paths have nothing in common.
  """
  skeletons = {_DIGITS.sub("0", path) for path in paths}
  if len(skeletons) > 1:
    raise ConfigError("log", rule="the files of a log differ in numbers alone, as in day=20220408/part-0.csv.",
                      received=", ".join(sorted(skeletons)[:3]), remedy="name the files of one kind, as a glob.")
  if len(paths) == 1:
    return _pattern_of_one(paths[0])
  numbers = [_DIGITS.findall(path) for path in paths]
  varying = [place for place in range(len(numbers[0])) if len({row[place] for row in numbers}) > 1]
  if any(_DATE.search(path) for path in paths):
    return _with_marks(paths[0], dict.fromkeys(varying, "*"))
  span = _span_place(paths[0], varying)
  return _with_marks(paths[0], {place: SPAN_MARK if place == span else "*" for place in varying})


def _pattern_of_one(path: str) -> str:
  name_start = len(path) - len(path.rpartition("/")[2])
  found = [match for match in _DIGITS.finditer(path) if match.start() >= name_start]
  if not found or _DATE.search(path):
    return escaped(path)
  before, after = escaped(path[:found[-1].start()]), escaped(path[found[-1].end():])
  beside = path_patterns.glob(f"{before}*{after}")
  is_one_of_many = sum(_DIGITS.sub("0", other) == _DIGITS.sub("0", path) for other in beside) > 1
  return before + SPAN_MARK + after if is_one_of_many else escaped(path)


def _span_place(path: str, varying: Sequence[int]) -> int:
  """Which of the varying numbers counts spans: one that a word says, or one as long as a date, or the first."""
  matches = list(_DIGITS.finditer(path))
  told = [place for place in varying if _SPAN_WORDS.search(path[:matches[place].start()])]
  dated = [place for place in varying if len(matches[place].group()) in (8, 10)]
  return (told or dated or list(varying))[0]


def _with_marks(path: str, marks: Mapping[int, str]) -> str:
  texts, numbers = _DIGITS.split(path), _DIGITS.findall(path)
  filled = [marks.get(place, number) for place, number in enumerate(numbers)]
  return "".join(escaped(text) + number for text, number in zip(texts, [*filled, ""]))


def sampled_paths(log_files: LogFiles) -> list[str]:
  """The files that a sample is taken from: evenly over the log, the first and the last among them."""
  places = np.unique(np.linspace(0, len(log_files.paths) - 1, _MAX_FILES).round().astype(int))
  return [log_files.paths[place] for place in places]


def read_sample(log_files: LogFiles, num_rows: int) -> LogSample:
  """The first rows of a few files.

  Args:
    log_files: the files of the log.
    num_rows: about how many rows the sample is to have, all files together.

  Raises:
    DataError: the files have no rows, or one is damaged.
  """
  paths = sampled_paths(log_files)
  parts: list[dict[str, np.ndarray]] = []
  nested: set[str] = set()
  undecodable: set[str] = set()
  sizes, numbers = [], []
  for number, path in enumerate(paths):
    taken, size = _read_file(log_files, path, -(-num_rows // len(paths)), parts, nested, undecodable)
    sizes += [size] if size is not None and taken else []
    numbers += [number] * taken
  total = sum(_num_rows(part) for part in parts)
  if not total:
    raise DataError(", ".join(paths), rule="the log has at least one row.", received="none.",
                    remedy="name files with rows.")
  names = list(dict.fromkeys(name for part in parts for name in part))
  texts = {name: np.concatenate([part[name] if name in part else _missing_values(_num_rows(part)) for part in parts])
           for name in names}
  return LogSample(texts, frozenset(nested), frozenset(undecodable), tuple(paths),
                   np.array(numbers), float(np.mean(sizes)) if sizes else None)


def _read_file(log_files: LogFiles, path: str, num_rows: int, parts: list[dict[str, np.ndarray]], nested: set[str],
               undecodable: set[str]) -> tuple[int, float | None]:
  """Adds the first rows of a file to the parts; returns how many, and about how many the file has."""
  taken = 0
  for piece in plan.log_pieces(log_files.settings(), [path], None):
    for block in sources.read_blocks(piece):
      rows = slice(0, num_rows - taken)
      parts.append({name: column.row_texts()[rows] for name, column in block.columns.items()})
      nested.update(_flawed_columns(block, *columns.NESTED))
      undecodable.update(_flawed_columns(block, columns.UNDECODABLE))
      taken += min(len(block), num_rows - taken)
      if taken >= num_rows:
        return taken, _rows_of_file(log_files.format, path, len(block))
  return taken, float(taken)


def _rows_of_file(file_format: str, path: str, block_rows: int) -> float | None:
  """About how many rows a file has that was not read to its end."""
  if file_format == "parquet":
    with sources.open_parquet(path) as file:
      return float(file.metadata.num_rows)
  if file_format == "tfrecord" or sources.is_compressed(path):
    return None
  return block_rows * max(1.0, files.size_bytes(path) / pieces.BLOCK_BYTES)


def _flawed_columns(block: sources.Block, *flaws: int) -> list[str]:
  return [name for name, column in block.columns.items() if column.has(*flaws).any()]


def _num_rows(part: Mapping[str, np.ndarray]) -> int:
  return len(next(iter(part.values()), ()))


def _missing_values(num_rows: int) -> np.ndarray:
  array = np.empty(num_rows, object)
  array[:] = encoding.MISSING_TEXT
  return array


def time_range(log_files: LogFiles, column: str) -> tuple[float, float] | None:
  """The least and the greatest time of a whole log, of which this column alone is read.

  Args:
    log_files: the files of the log.
    column: name of the time column.

  Returns:
    Both times in the column's unit; None where no row has one.
  """
  least, greatest = np.inf, -np.inf
  for piece in plan.log_pieces(log_files.settings(), log_files.paths, None):
    for block in sources.read_blocks(piece, [column]):
      if column in block.columns:
        values, _ = encoding.numbers(block.columns[column].row_texts())
        values = values[np.isfinite(values)]
        least, greatest = min(least, values.min(initial=np.inf)), max(greatest, values.max(initial=-np.inf))
  return (float(least), float(greatest)) if least <= greatest else None
