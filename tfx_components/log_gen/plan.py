"""What to read: the spans of a log, the files of a span, their pieces, and the joins that the spec needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from diet_tf.errors import DataError
from diet_tf.io import files
from diet_tf.log import span_patterns
from diet_tf.log.features import FeatureSpec
from diet_tf.log.settings import DELIMITERS, Join, LogSettings
from diet_tf.log.times import KindCounts, TimeKind
from tfx_components.log_gen import file_kinds, headers, row_spans, sources, spill
from tfx_components.log_gen.join import JoinPlan
from tfx_components.log_gen.pieces import with_lists
from tfx_components.log_gen.read_columns import check_columns
from tfx_components.log_gen.sources import Piece
from tfx_components.log_gen.span_window import SpanWindow

_MAX_NAMED = 8
# Larger than any file.
_WHOLE_BYTES = 1 << 62
_MAX_PARTITIONS = 1024
# A compressed text file is judged by what it is likely to become in memory.
_GZIP_RATIO = 5


def available_spans(settings: LogSettings) -> list[int]:
  """The numbers of the log's spans, ascending: from the paths, or from the time column (which is read whole).

  Raises:
    DataError: the time column is not there, has no times, or times that are written in several ways.
  """
  window = SpanWindow.of(settings)
  if settings.span_rows is not None:
    return _spans_by_rows(settings, settings.span_rows)
  if window is None:
    return sorted(span_patterns.paths_by_span(settings.pattern))
  found: set[int] = set()
  kinds = KindCounts()
  pieces = log_pieces(settings, span_paths(settings.pattern, None), None)
  for piece in pieces:
    span = _span_of_folders(piece, window)
    if span is not None:
      found.add(span)
      continue
    for block in sources.read_blocks(piece, [window.column]):
      column = block.columns.get(window.column)
      if column is not None:
        spans, times = window.spans(column)
        kinds += KindCounts.of(times, column.texts, column.codes)
        found.update(np.unique(spans[column.codes][~times.faulty[column.codes]]).tolist())
  subject = f"column {window.column!r} of {settings.pattern}"
  kinds.require_one_way(subject)
  if not found:
    _refuse_times(subject, window.column, kinds, pieces[:1])
  return sorted(found)


def _spans_by_rows(settings: LogSettings, span_rows: int) -> list[int]:
  num_rows = count_rows(settings, span_paths(settings.pattern, None))
  if num_rows < span_rows:
    raise DataError(settings.pattern, rule=f"a span has {span_rows:,} rows (log.span_rows).",
                    received=f"{num_rows:,} rows in all.",
                    remedy="set log.span_rows to fewer rows, or name more files.")
  return list(range(num_rows // span_rows))


def _span_of_folders(piece: Piece, window: SpanWindow) -> int | None:
  """The span of a file whose folders have the time, and whose rows do not; None where its rows have to be read."""
  span = window.span_of_path(piece.path)
  names = None if span is None else sources.file_columns(piece)
  return None if names is None or window.column in names else span


def _refuse_times(subject: str, column: str, kinds: KindCounts, pieces: Sequence[Piece]) -> None:
  """Raises the error for a log none of whose rows has a time."""
  for path, names in declared_columns(pieces).items():
    check_columns({column: "span_column"}, names, path)
  untold = TimeKind.UNTOLD in kinds.rows
  raise DataError(subject, rule="it has the time of a row, which says of which span the row is.",
                  received=f"rows whose time {kinds.described(list(kinds.rows))}." if kinds.rows else "no row.",
                  remedy="set log.span_time_unit to s, ms, us or ns." if untold else "name a column of times, see "
                  "docs/configuration.md for those that are read.")


def span_paths(pattern: str, span: int | None) -> list[str]:
  """The files of a span, sorted; a folder that the pattern matches stands for the files of data below it.

  Args:
    pattern: path or pattern, with what stands for the span.
    span: its number; None, or any number where the pattern has nothing that stands for it, takes all.

  Raises:
    DataError: if there are none.
  """
  if span is None or not span_patterns.has_span(pattern):
    found = span_patterns.all_paths(pattern)
    if not found:
      raise DataError(pattern, rule="the path matches at least one file.", received="no file.",
                      remedy="check the path, and that the data is there.")
  else:
    by_span = span_patterns.paths_by_span(pattern)
    if span not in by_span:
      known = ", ".join(map(str, sorted(by_span)[-_MAX_NAMED:])) or "none"
      raise DataError(f"span {span}", rule=f"at least one file matches {pattern}.",
                      received=f"no file of this span; the newest spans there: {known}.",
                      remedy="wait for the span's files, or correct the pattern or the span.")
    found = by_span[span]
  file_kinds.check_no_table(found[0])
  return [path for entry in found for path in file_kinds.data_files(entry)]


Listed = Mapping[str, frozenset[str]]


def log_pieces(settings: LogSettings, paths: Sequence[str], span: int | None,
               listed: Listed | None = None) -> list[Piece]:
  """The pieces of the log's files; row groups that cannot hold rows of the span are left out.

  Args:
    settings: settings of the log.
    paths: the files.
    span: number of the span; None takes all.
    listed: per column the texts that are values although the settings take them for missing; None for none.

  Raises:
    DataError: spans are counted by rows, and there are not so many.
  """
  if settings.span_rows is not None and span is not None:
    low = span * settings.span_rows
    found, rows_before = _cut(settings, _whole_files(settings, paths, listed), low, low + settings.span_rows)
    if rows_before < low + settings.span_rows:
      raise DataError(f"span {span}", rule=f"it has {settings.span_rows:,} rows (log.span_rows).",
                      received=f"{max(0, rows_before - low):,} rows of it, of {rows_before:,} in all.",
                      remedy="wait for more rows, or name another span.")
    return found
  # What statistics and folders say of a time goes by the names in the files.
  window = SpanWindow.of(settings) if span is not None and not settings.renames else None
  text = _Text(settings.delimiter, settings.encoding, settings.header, "log.columns", settings.newlines_in_values)
  pieces = _pieces(paths, settings.format, settings, text, listed or {}, window, span)
  return [dataclasses.replace(piece, renames=settings.renames) for piece in pieces] if settings.renames else pieces


def _whole_files(settings: LogSettings, paths: Sequence[str], listed: Listed | None = None) -> list[Piece]:
  """A piece for each file, from its first row to its end; none for a file without rows."""
  return log_pieces(dataclasses.replace(settings, piece_bytes=_WHOLE_BYTES), paths, None, listed)


def _cut(settings: LogSettings, whole: Sequence[Piece], low: int, high: int) -> tuple[list[Piece], int]:
  """The pieces of the rows from number `low` to before `high`, and how many rows there are up to the last file read."""
  found: list[Piece] = []
  before = 0
  for piece in whole:
    if before >= high:
      break
    num_rows = row_spans.count_rows(piece)
    if low < before + num_rows:
      found += row_spans.rows_between(piece, max(0, low - before), min(num_rows, high - before), settings.piece_bytes)
    before += num_rows
  return [dataclasses.replace(piece, index=index) for index, piece in enumerate(found)], before


def count_rows(settings: LogSettings, paths: Sequence[str]) -> int:
  """The number of rows of files; blank lines are none."""
  return sum(map(row_spans.count_rows, _whole_files(settings, paths)))


def rows_left(settings: LogSettings, paths: Sequence[str], span: int) -> int:
  """The rows after a span by rows, where they are no whole span; 0 where they are."""
  if settings.span_rows is None:
    return 0
  left = -(span + 1) * settings.span_rows
  for piece in _whole_files(settings, paths):
    left += row_spans.count_rows(piece)
    if left >= settings.span_rows:
      return 0
  return max(0, left)


def side_pieces(settings: LogSettings, join: Join, span: int, listed: Listed | None = None,
                lists: frozenset[str] = frozenset()) -> list[Piece]:
  """The pieces of a side table; for the arguments see `log_pieces`."""
  paths = span_paths(join.pattern, span)
  delimiter = join.delimiter or _side_delimiter(settings, join, paths)
  text = _Text(delimiter, join.encoding, join.header, "log.joins.header", settings.newlines_in_values)
  return with_lists(_pieces(paths, join.format, settings, text, listed or {}, None, None), lists)


@dataclasses.dataclass(frozen=True)
class _Text:
  """How files of lines are written.

  Attributes:
    delimiter: the character between the values of a CSV line; None goes by the name of the file.
    encoding: encoding of the texts.
    header: names of the columns of CSV files without a header; empty for files that have one.
    header_key: key of the config that gives these names.
    newlines_in_values: whether quoted CSV values may hold line breaks.
  """

  delimiter: str | None
  encoding: str
  header: tuple[str, ...]
  header_key: str
  newlines_in_values: bool


def _side_delimiter(settings: LogSettings, join: Join, paths: Sequence[str]) -> str | None:
  """The delimiter with which the columns of a side table are found; where none is, that of the log."""
  path = next((path for path in paths if sources.format_of(path, join.format) == "csv"), None)
  if path is None:
    return settings.delimiter
  needed = {join.key_column, *join.columns}
  for delimiter in dict.fromkeys((file_kinds.delimiter_of(path, settings.delimiter), *DELIMITERS)):
    try:
      values, _ = sources.csv_header(path, delimiter, join.encoding)
    except DataError:
      continue  # Quotes that end where this one expects a value to go on, for one.
    if len(values) == len(join.header) if join.header else needed <= set(values):
      return delimiter
  return settings.delimiter


def _pieces(paths: Sequence[str], declared: str | None, settings: LogSettings, text: _Text, listed: Listed,
            window: SpanWindow | None, span: int | None) -> list[Piece]:
  pieces: list[Piece] = []
  for path in paths:
    kind = sources.format_of(path, declared)
    if kind == "parquet":
      parts = _parquet_pieces(path, settings.piece_bytes, window, span)
    elif kind == "tfrecord":
      parts = [Piece(0, path, kind)]
    else:
      parts = _text_pieces(path, kind, settings.piece_bytes, text)
    if window is not None and parts and _span_of_folders(parts[0], window) not in (None, span):
      continue
    pieces += [dataclasses.replace(part, index=len(pieces) + number, encoding=text.encoding,
                                   missing=settings.missing_texts_in(kind), listed=listed)
               for number, part in enumerate(parts)]
  return pieces


def _text_pieces(path: str, kind: str, piece_bytes: int, text: _Text) -> list[Piece]:
  start, common = 0, Piece(0, path, kind, encoding=text.encoding)
  file_kinds.check_content(path, kind, text.encoding)
  if kind == "csv":
    delimiter = file_kinds.delimiter_of(path, text.delimiter)
    first_line, start = sources.csv_header(path, delimiter, text.encoding)
    headers.check(path, first_line, text.header, text.header_key)
    common = Piece(0, path, kind, names=text.header or first_line, delimiter=delimiter, encoding=text.encoding,
                   before=0 if text.header else 1, newlines_in_values=text.newlines_in_values)
    start = 0 if text.header else start
  if common.is_whole or common.newlines_in_values:
    return [dataclasses.replace(common, start=start)]
  size = files.num_bytes(path)
  starts = list(range(start, size, piece_bytes))
  return [dataclasses.replace(common, start=low, stop=high) for low, high in zip(starts, [*starts[1:], size])]


def _parquet_pieces(path: str, piece_bytes: int, window: SpanWindow | None, span: int | None) -> list[Piece]:
  with sources.open_parquet(path) as file:
    metadata = file.metadata
  pieces: list[Piece] = []
  groups: list[int] = []
  size = before = rows = 0
  for group in range(metadata.num_row_groups):
    info = metadata.row_group(group)
    if window is None or span is None or window.may_hold(info, span):
      groups.append(group)
      size += info.total_byte_size
    rows += info.num_rows
    # Consecutive groups only, so that the numbers of a piece's rows in the file follow from its first.
    if groups and (size >= piece_bytes or groups[-1] != group or group + 1 == metadata.num_row_groups):
      pieces.append(Piece(0, path, "parquet", row_groups=tuple(groups), before=before))
      groups, size = [], 0
    if not groups:
      before = rows
  return pieces


def declared_columns(pieces: Iterable[Piece]) -> dict[str, tuple[str, ...]]:
  """Per file the columns that it declares; JSON Lines and TFRecord files declare none."""
  declared: dict[str, tuple[str, ...]] = {}
  for piece in pieces:
    if piece.path not in declared:
      names = sources.file_columns(piece)
      if names is not None:
        declared[piece.path] = names
  return declared


def columns_from_path(path: str) -> tuple[str, ...]:
  """The columns that the folders of a file give, as in `dt=2024-01-30/`."""
  return tuple(span_patterns.partition_values(path))


def plan_joins(settings: LogSettings, spec: FeatureSpec, span: int, log_columns: set[str]) -> list[JoinPlan]:
  """The joins that fields need, each with its fields and its way, chosen by the size of the side table.

  Args:
    settings: settings of the log, which list the joins.
    spec: feature spec whose fields are resolved.
    span: number that stands for `{SPAN}` in the patterns of side tables.
    log_columns: columns that the log declares; a field found both there and in a side table is refused.

  Raises:
    DataError: if a side table or a column of it is missing, or a field's column is ambiguous.
  """
  plans: list[JoinPlan] = []
  taken: dict[int, str] = {index: "the log" for index, field in enumerate(spec.fields) if field.column in log_columns}
  for number, join in enumerate(settings.joins):
    pieces = side_pieces(settings, join, span)
    added = _added_columns(join, pieces, spec)
    fields, weights = [], []
    for index, field in enumerate(spec.fields):
      if field.column not in added:
        continue
      if index in taken:
        raise DataError(f"field {field.name!r}", rule="its column comes from one place.",
                        received=f"column {field.column!r} in {taken[index]} and in {join.pattern}.",
                        remedy="set a prefix for the join and use it in the field's column.")
      taken[index] = join.pattern
      fields.append((index, added[field.column]))
      if field.weights is not None:
        if field.weights not in added:
          raise DataError(f"field {field.name!r}", rule="its values and their weights come from one place.",
                          received=f"column {field.column!r} in {join.pattern}, and {field.weights!r} elsewhere.",
                          remedy="add both columns by one join.")
        weights.append((index, added[field.weights]))
    if fields:
      size = _table_bytes(pieces, {join.key_column, *(name for _, name in (*fields, *weights))})
      limit = max(1, settings.broadcast_limit_bytes)
      keyed = size > settings.broadcast_limit_bytes
      partitions = min(_MAX_PARTITIONS, max(2, -(-size // limit))) if keyed else 1
      plans.append(JoinPlan(number, join.pattern, join.on, join.key_column, tuple(fields), keyed, partitions,
                            join.encoding, settings.thousands, tuple(weights)))
  return plans


def _added_columns(join: Join, pieces: Sequence[Piece], spec: FeatureSpec) -> dict[str, str]:
  """The columns that a join adds: name in the joined log to name in the side table."""
  within = [*join.columns, join.key_column,
            *(name.removeprefix(join.prefix) for field in spec.fields for name in field.columns)]
  needed = {join.key_column: "the join's key", **{name: "the join" for name in join.columns}}
  declared = declared_columns(pieces)
  present = {name for names in declared.values() for name in names}
  for path, names in declared.items():
    check_columns(needed, names, f"side table {path}")
  for piece in pieces:
    if piece.path not in declared:
      # Files without a header: their rows say.
      present.update(*(block.names for block in sources.read_blocks(piece, (), also=within)))
  check_columns(needed, present, f"side table {join.pattern}")
  names = join.columns or tuple(sorted(name for name in present if name != join.key_column))
  return {join.prefix + name: name for name in names}


def _table_bytes(pieces: Sequence[Piece], columns: set[str]) -> int:
  size = 0
  for path, kind in sorted({(piece.path, piece.format) for piece in pieces}):
    if kind == "parquet":
      size += _parquet_bytes(path, columns)
    else:
      size += files.num_bytes(path) * (_GZIP_RATIO if sources.is_compressed(path) else 1)
  return size


def _parquet_bytes(path: str, columns: set[str]) -> int:
  with sources.open_parquet(path) as file:
    metadata = file.metadata
  groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
  chunks = (group.column(number) for group in groups for number in range(group.num_columns))
  return sum(chunk.total_uncompressed_size for chunk in chunks
             if any(f"{chunk.path_in_schema}.".startswith(f"{name}.") for name in columns))


def num_key_partitions(pieces: Sequence[Piece]) -> int:
  """The number of partitions in which the rows of a span are looked through for equal keys."""
  size = sum(files.num_bytes(path) * (_GZIP_RATIO if kind == "parquet" or sources.is_compressed(path) else 1)
             for path, kind in sorted({(piece.path, piece.format) for piece in pieces}))
  return min(_MAX_PARTITIONS, max(1, -(-size // spill.COLLECTED_BYTES)))


def next_span(settings: LogSettings, after: int | None) -> int:
  """The first span later than `after`, or the first of all.

  Raises:
    DataError: if there is none.
  """
  spans = [span for span in available_spans(settings) if after is None or span > after]
  if not spans:
    raise DataError(f"log {settings.pattern}", rule=f"there is a span later than {after}.", received="none.",
                    remedy="wait for the next span's files.")
  return spans[0]
