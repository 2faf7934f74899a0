"""What to read: the spans of a log, the files of a span, their pieces, and the joins that the spec needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow.parquet as pq

from diet_tf.errors import DataError
from diet_tf.io import files
from diet_tf.log import span_patterns
from diet_tf.log.features import FeatureSpec
from diet_tf.log.settings import Join, LogSettings
from tfx_components.log_gen import file_kinds, sources
from tfx_components.log_gen.join import JoinPlan
from tfx_components.log_gen.read_columns import check_columns
from tfx_components.log_gen.rows import SpanWindow
from tfx_components.log_gen.sources import Piece

_MAX_NAMED = 8
_MAX_PARTITIONS = 1024
# A compressed text file is judged by what it is likely to become in memory.
_GZIP_RATIO = 5


def available_spans(settings: LogSettings) -> list[int]:
  """The numbers of the log's spans, ascending: from the paths, or from the time column (which is read whole)."""
  window = SpanWindow.of(settings)
  if window is None:
    return sorted(span_patterns.paths_by_span(settings.pattern))
  found: set[int] = set()
  for piece in log_pieces(settings, span_paths(settings.pattern, None), None):
    for block in sources.read_blocks(piece, [window.column]):
      if window.column in block.columns:
        column = block.columns[window.column]
        spans, lost = window.spans(column)
        found.update(np.unique(spans[column.codes][~lost[column.codes]]).tolist())
  return sorted(found)


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


def log_pieces(settings: LogSettings, paths: Sequence[str], span: int | None) -> list[Piece]:
  """The pieces of the log's files; row groups that cannot hold rows of the span are left out."""
  window = SpanWindow.of(settings) if span is not None else None
  return _pieces(paths, settings.format, settings, window, span)


def side_pieces(settings: LogSettings, join: Join, span: int) -> list[Piece]:
  """The pieces of a side table."""
  return _pieces(span_paths(join.pattern, span), join.format, settings, None, None)


def _pieces(paths: Sequence[str], declared: str | None, settings: LogSettings, window: SpanWindow | None,
            span: int | None) -> list[Piece]:
  pieces: list[Piece] = []
  for path in paths:
    kind = sources.format_of(path, declared)
    if kind == "parquet":
      parts = _parquet_pieces(path, settings.piece_bytes, window, span)
    elif kind == "tfrecord":
      parts = [Piece(0, path, kind)]
    else:
      parts = _text_pieces(path, kind, settings)
    pieces += [dataclasses.replace(part, index=len(pieces) + number) for number, part in enumerate(parts)]
  return pieces


def _text_pieces(path: str, kind: str, settings: LogSettings) -> list[Piece]:
  start, common = 0, Piece(0, path, kind)
  file_kinds.check_content(path, kind)
  if kind == "csv":
    delimiter = file_kinds.delimiter_of(path, settings.delimiter)
    names, start = sources.csv_header(path, delimiter)
    common = Piece(0, path, kind, names=names, delimiter=delimiter, before=1,
                   newlines_in_values=settings.newlines_in_values)
  if sources.is_compressed(path) or common.newlines_in_values:
    return [dataclasses.replace(common, start=start)]
  size = files.size_bytes(path)
  starts = list(range(start, size, settings.piece_bytes))
  return [dataclasses.replace(common, start=low, stop=high) for low, high in zip(starts, [*starts[1:], size])]


def _parquet_pieces(path: str, piece_bytes: int, window: SpanWindow | None, span: int | None) -> list[Piece]:
  with sources.open_parquet(path) as stream:
    metadata = pq.ParquetFile(stream).metadata
  pieces: list[Piece] = []
  groups: list[int] = []
  size = before = rows = 0
  for group in range(metadata.num_row_groups):
    info = metadata.row_group(group)
    if window is None or span is None or _may_hold(info, window, span):
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


def _may_hold(info: pq.RowGroupMetaData, window: SpanWindow, span: int) -> bool:
  """Whether a row group may hold rows of the span, or rows of no span, which every span reports."""
  for number in range(info.num_columns):
    column = info.column(number)
    if column.path_in_schema != window.column:
      continue
    statistics = column.statistics
    whole = statistics is not None and statistics.has_min_max and statistics.null_count == 0
    if not whole or not isinstance(statistics.min, int) or not isinstance(statistics.max, int):
      return True
    return (statistics.min - window.origin) // window.length <= span <= \
        (statistics.max - window.origin) // window.length
  return True


def declared_columns(pieces: Iterable[Piece]) -> dict[str, tuple[str, ...]]:
  """Per file the columns that it declares; JSON Lines and TFRecord files declare none."""
  declared: dict[str, tuple[str, ...]] = {}
  for piece in pieces:
    if piece.path not in declared:
      names = piece.names or sources.file_columns(piece.path, piece.format, piece.delimiter)
      if names is not None:
        declared[piece.path] = names
  return declared


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
    added = _added_columns(join, pieces)
    fields = []
    for index, field in enumerate(spec.fields):
      if field.column not in added:
        continue
      if index in taken:
        raise DataError(f"field {field.name!r}", rule="its column comes from one place.",
                        received=f"column {field.column!r} in {taken[index]} and in {join.pattern}.",
                        remedy="set a prefix for the join and use it in the field's column.")
      taken[index] = join.pattern
      fields.append((index, added[field.column]))
    if fields:
      size = _table_bytes(pieces, {join.key_column, *(name for _, name in fields)})
      limit = max(1, settings.broadcast_limit_bytes)
      keyed = size > settings.broadcast_limit_bytes
      partitions = min(_MAX_PARTITIONS, max(2, -(-size // limit))) if keyed else 1
      plans.append(JoinPlan(number, join.pattern, join.on, join.key_column, tuple(fields), keyed, partitions))
  return plans


def _added_columns(join: Join, pieces: Sequence[Piece]) -> dict[str, str]:
  """The columns that a join adds: name in the joined log to name in the side table."""
  present = _side_columns(pieces)
  subject = f"side table {join.pattern}"
  check_columns({join.key_column: "the join's key", **{name: "the join" for name in join.columns}}, present, subject)
  names = join.columns or tuple(name for name in present if name != join.key_column)
  return {join.prefix + name: name for name in names}


def _side_columns(pieces: Sequence[Piece]) -> list[str]:
  declared = declared_columns(pieces)
  names = {name for file_names in declared.values() for name in file_names}
  for piece in pieces:
    if piece.path not in declared:
      # Files without a header: their rows say.
      names.update(*(block.columns for block in sources.read_blocks(piece)))
  return sorted(names)


def _table_bytes(pieces: Sequence[Piece], columns: set[str]) -> int:
  size = 0
  for path, kind in sorted({(piece.path, piece.format) for piece in pieces}):
    if kind == "parquet":
      size += _parquet_bytes(path, columns)
    else:
      size += files.size_bytes(path) * (_GZIP_RATIO if sources.is_compressed(path) else 1)
  return size


def _parquet_bytes(path: str, columns: set[str]) -> int:
  with sources.open_parquet(path) as stream:
    file = pq.ParquetFile(stream)
    metadata = file.metadata
  groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
  chunks = (group.column(number) for group in groups for number in range(group.num_columns))
  return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns)


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
