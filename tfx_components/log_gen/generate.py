"""One span of a log as encoded examples: the function behind the LogGen component, callable without artifacts.

Three Beam graphs (`graph`) do the work. What a worker holds in memory depends on the size of a block, a run, a range, a
shard or a partition, never on the span.
"""

from __future__ import annotations

import dataclasses
import functools
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import apache_beam as beam

from diet_tf.errors import DataError
from diet_tf.io import files
from diet_tf.log import encoding
from diet_tf.log.duplicates import DuplicateRule
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_counts import RowCounts, RowTally, listed_reasons, total
from diet_tf.log.settings import LogSettings
from diet_tf.log.times import KindCounts
from diet_tf.progress import Progress, silent
from tfx_components.beam_graph import GraphRunner, MakePipeline
from tfx_components.log_gen import graph as graph_lib
from tfx_components.log_gen import labels, reasons, steps
from tfx_components.log_gen import plan as plan_lib
from tfx_components.log_gen import quarantine as quarantine_lib
from tfx_components.log_gen import ranges as ranges_lib
from tfx_components.log_gen import shards as shards_lib
from tfx_components.log_gen.copies import check_copies
from tfx_components.log_gen.counts import ReadCounts, SortedRows
from tfx_components.log_gen.file_names import QUARANTINE_NAME, SPLIT_FOLDER, SUMMARY_NAME, VOCABULARIES_NAME
from tfx_components.log_gen.graph import ReadSpan, SortSpan
from tfx_components.log_gen.join import JoinPlan
from tfx_components.log_gen.pieces import with_lists
from tfx_components.log_gen.quarantine import Quarantine
from tfx_components.log_gen.ranges import KeySample, Ranges
from tfx_components.log_gen.read_columns import check_columns, list_columns, read_columns
from tfx_components.log_gen.rows import SPAN_COLUMN, TIME_COLUMN, RowPlan
from tfx_components.log_gen.seen_values import SeenValues
from tfx_components.log_gen.shards import Shard
from tfx_components.log_gen.sources import Piece
from tfx_components.log_gen.span_window import SpanWindow
from tfx_components.log_gen.summary import LogSummary
from tfx_components.log_gen.unique_rows import DROPPED
from tfx_components.log_gen.vocabularies import NEW_VALUES, NewValues

SizeCheck = Callable[[str, int], None]


def generate_examples(settings: LogSettings, spec: FeatureSpec, span: int, output_dir: str, *,
                      vocabularies: Mapping[str, Sequence[str]] | None = None, rule: DuplicateRule | None = None,
                      check_size: SizeCheck | None = None,
                      make_pipeline: MakePipeline | None = None,
                      beam_pipeline_args: Sequence[str] = (), temp_dir: str | None = None,
                      progress: Progress = silent) -> LogSummary:
  """Reads one span and writes its examples, ordered by (time, example id).

  The output depends on the span's rows, not on their order or on how the work was split.

  Args:
    settings: settings of the log: where it is, its spans, and the limits under which it is read.
    spec: feature spec, which says how rows become examples.
    span: the span's number.
    output_dir: folder that gets `Split-train/`, `vocabularies.json`, `quarantine.jsonl` and `log_summary.json`.
    vocabularies: values of growing vocabularies known before this span, by field name.
    rule: which rows stand for each other; None, the default, goes by the settings alone, as in a new store.
    check_size: function of the span's name and how many sound rows it has, which raises where they are too few, before
      they are sorted; None takes any number.
    make_pipeline: function that returns a new Beam pipeline; by default one with `beam_pipeline_args`.
    beam_pipeline_args: options of the default pipeline.
    temp_dir: folder for spill files, seen by all workers; by default one below `output_dir`.
    progress: callback that is told of finished pieces of work.

  Returns:
    What became of the span.

  Raises:
    DataError: if the span is missing, empty, of one class, or breaks the schema beyond the limit.
    StoreError: if the disk is full.
    ConfigError: if fields are hashed with a salt and its secret is missing, too short, or not that of the spec.
  """
  if spec.salt is not None:
    # Workers then refuse any other secret in their own environment.
    spec = spec.with_salt(spec.salt.bound())
  # Named, since other versions of Beam take another runner by default; an argument of the caller's wins.
  make = make_pipeline or (lambda: beam.Pipeline(argv=["--runner=DirectRunner", *beam_pipeline_args]))
  settings.check_list_columns(spec)
  folder = files.join(temp_dir or files.join(output_dir, ".spill"), f"log-gen-{uuid.uuid4().hex[:12]}")
  known = encoding.check_vocabularies(spec, vocabularies or {})
  with files.writing(output_dir):
    try:
      files.make_folders(files.join(output_dir, SPLIT_FOLDER))
      files.make_folders(folder)
      runner = GraphRunner(make, folder, progress)
      rule = DuplicateRule.of(settings) if rule is None else rule
      return _Generation(settings, spec, span, output_dir, folder, known, rule, runner, check_size).run()
    finally:
      _remove_quietly(folder if temp_dir else files.join(output_dir, ".spill"))


@dataclasses.dataclass(frozen=True)
class _Generation:
  """One call of `generate_examples`."""

  settings: LogSettings
  spec: FeatureSpec
  span: int
  output_dir: str
  folder: str
  known: dict[str, list[str]]
  rule: DuplicateRule
  runner: GraphRunner
  check_size: SizeCheck | None = None

  @property
  def subject(self) -> str:
    return f"span {self.span} of {self.settings.pattern}"

  @functools.cached_property
  def listed(self) -> dict[str, frozenset[str]]:
    return self.settings.listed_texts(self.spec)

  def run(self) -> LogSummary:
    paths = plan_lib.span_paths(self.settings.pattern, self.span)
    pieces = plan_lib.log_pieces(self.settings, paths, self.span, self.listed)
    joins = self._joins(pieces)
    pieces = self._with_lists(pieces, joins)
    totals = self._read(pieces, joins)
    counts: ReadCounts = totals.get(steps.COUNTS, ReadCounts())
    # All before the rows are sorted. Columns before counts: a renamed label would otherwise be reported as a flood of
    # broken rows.
    self._check_columns(counts, joins)
    self._check_times(counts)
    quarantine: Quarantine = totals.get(steps.QUARANTINE, Quarantine(self.settings.max_quarantine_rows))
    self._write_quarantine(quarantine, counts, pieces)
    join_summaries = [self._join_summary(join, counts) for join in joins]
    if not self.rule.drops:
      check_copies(pieces, counts.contents, self.subject)
    by_key: RowCounts = totals.get(DROPPED, RowCounts())
    self._check_dropped(RowCounts(counts.read, dropped=by_key.dropped))
    if self.check_size is not None:
      self.check_size(self.subject, counts.read.num_rows - quarantine.num_rows - total(by_key.dropped).num_rows)
    rows, seen, new_values = self._sorted(totals)
    became = by_key + RowCounts(counts.read, rows.kept, quarantine.tallies, rows.dropped, rows.duplicates,
                                (*seen.remarks(self.spec), *labels.remarks(self.spec.label, counts.label_values),
                                 *self._rest(paths)))
    self._check_dropped(became)
    check_both_labels(rows.kept, self.subject, self.spec.label.column)
    vocabularies = self._grow_vocabularies(new_values)
    shards, num_written, cut = self._write_shards(rows)
    became.require_all(num_written, self.subject)
    became = dataclasses.replace(became, remarks=(*became.remarks, *cut))
    summary = LogSummary(
        span=self.span, rows=became, rule=self.rule, first_time=rows.first_time, last_time=rows.last_time,
        joins=join_summaries, vocabulary_sizes={name: len(values) for name, values in vocabularies.items()},
        shards=[shard.path.rpartition("/")[2] for shard in shards], files=sorted({piece.path for piece in pieces}),
        feature_spec_digest=self.spec.digest(), salt_check=None if self.spec.salt is None else self.spec.salt.check,
        missing_values=self.settings.missing_values)
    summary.write(files.join(self.output_dir, SUMMARY_NAME))
    return summary

  def _read(self, pieces: list[Piece], joins: list[JoinPlan]) -> dict[str, Any]:
    """The totals of reading the span."""
    totals = self.runner.run("read", self._read_span(pieces, joins).build)
    if labels.mixes_minus_one(self.spec.label, totals.get(steps.COUNTS, ReadCounts()).label_values):
      # What -1 means hangs on the whole span: beside 0 it is no label, and its rows are set aside.
      totals = self.runner.run("read again", self._read_span(pieces, joins, takes_minus_one=False).build)
    return totals

  def _rest(self, paths: Sequence[str]) -> tuple[str, ...]:
    """What is said of rows after a span by rows that are no whole span."""
    left = plan_lib.rows_left(self.settings, paths, self.span)
    return (f"{left:,} rows after span {self.span} are no whole span of {self.settings.span_rows:,} rows "
            "(log.span_rows), and are left until they are.",) if left else ()

  def _sorted(self, totals: Mapping[str, Any]) -> tuple[SortedRows, SeenValues, NewValues | None]:
    """The span's rows in order, the values that occur in them, and those that may enter the vocabularies."""
    per_range = max(self.settings.rows_per_shard, ranges_lib.LEAST_ROWS_PER_RANGE)
    ranges = Ranges.of(totals.get(steps.SAMPLE, KeySample()), per_range)
    runs = sorted(totals.get(steps.RUNS, ()), key=lambda run: run.path)
    totals = self.runner.run(
        "sort", SortSpan(runs, ranges, self.rule, self.spec, self.span, self.known, self.folder).build)
    return totals.get(steps.SORTED, SortedRows()), totals.get(steps.SEEN, SeenValues()), totals.get(NEW_VALUES)

  def _check_dropped(self, rows: RowCounts) -> None:
    """Checks that not too many rows are dropped, or look like another one."""
    dropped, settings = total(rows.dropped), self.settings
    if dropped.num_rows > settings.max_dropped_fraction * rows.read.num_rows:
      raise DataError(self.subject, rule=f"at most {settings.max_dropped_fraction:.2%} of a span's rows are dropped "
                      "(log.max_dropped_fraction).",
                      received=f"{dropped.num_rows:,} of {rows.read.num_rows:,} rows "
                      f"({dropped.share_of(rows.read):.2%}): {listed_reasons(rows.dropped)}.",
                      remedy="check log.unique, log.drop_duplicates and what delivers the log, or raise the fraction.")
    if rows.duplicates.num_rows > settings.max_duplicate_fraction * rows.kept.num_rows:
      raise DataError(self.subject, rule=f"at most {settings.max_duplicate_fraction:.2%} of the rows look like "
                      "another one (log.max_duplicate_fraction).",
                      received=f"{rows.duplicates.num_rows:,} of {rows.kept.num_rows:,} rows "
                      f"({rows.duplicates.share_of(rows.kept):.2%}).",
                      remedy="name the column that tells rows apart in log.unique, drop equal rows with "
                      "log.drop_duplicates: true, or raise the fraction.")

  def _read_span(self, pieces: list[Piece], joins: list[JoinPlan], *, takes_minus_one: bool = True) -> ReadSpan:
    settings = self.settings
    plan = RowPlan(self.spec, self.span, SpanWindow.of(settings), tuple(joins), settings.max_quarantine_rows,
                   frozenset(read_columns(self.spec, settings, joins, self.rule)), settings.thousands, self.rule,
                   plan_lib.num_key_partitions(pieces) if self.rule.unique else 1, takes_minus_one)
    sides = {join.index: plan_lib.side_pieces(settings, settings.joins[join.index], self.span,
                                              self._listed_in(join), self._lists_in(join)) for join in joins}
    return ReadSpan(pieces, sides, plan, self.folder)

  def _with_lists(self, pieces: list[Piece], joins: list[JoinPlan]) -> list[Piece]:
    """The pieces of the log, told which columns are read as lists: that hangs on what comes from side tables."""
    joined = {index for join in joins for index, _ in join.fields}
    lists = list_columns(self.spec, set(range(len(self.spec.fields))) - joined)
    return with_lists(pieces, lists)

  def _lists_in(self, join: JoinPlan) -> frozenset[str]:
    """The columns of a side table that are read as lists."""
    return frozenset(name for index, name in (*join.fields, *join.weights)
                     if self.spec.fields[index].list_columns)

  def _listed_in(self, join: JoinPlan) -> dict[str, frozenset[str]]:
    """As `listed`, by the columns of a side table."""
    columns = {name: self.spec.fields[index].column for index, name in join.fields}
    return {name: self.listed[column] for name, column in columns.items() if column in self.listed}

  def _joins(self, pieces: list[Piece]) -> list[JoinPlan]:
    """The joins that fields need, after the columns that the log's files declare were checked."""
    declared = plan_lib.declared_columns(pieces)
    log_columns = {name for names in declared.values() for name in names}
    joins = plan_lib.plan_joins(self.settings, self.spec, self.span, log_columns)
    for path, names in declared.items():
      from_path = [name for name in plan_lib.columns_from_path(path) if name not in names]
      check_columns(read_columns(self.spec, self.settings, joins, self.rule), [*names, *from_path],
                    f"span {self.span} ({path})")
    return joins

  def _check_columns(self, counts: ReadCounts, joins: list[JoinPlan]) -> None:
    """Checks the columns of the rows that were read."""
    if not counts.read.num_rows:
      raise DataError(self.subject, rule="a span has rows.", received="no row.",
                      remedy="check that the span's files are complete, or skip the span.")
    if not counts.columns:
      return
    check_columns(read_columns(self.spec, self.settings, joins, self.rule), counts.columns, f"span {self.span}")
    for join in joins:
      for index, _ in join.fields:
        if self.spec.fields[index].column in counts.columns:
          raise DataError(f"field {self.spec.fields[index].name!r}", rule="its column comes from one place.",
                          received=f"column {self.spec.fields[index].column!r} in the log and in {join.pattern}.",
                          remedy="set a prefix for the join and use it in the field's column.")

  def _check_times(self, counts: ReadCounts) -> None:
    for setting, column in ((SPAN_COLUMN, self.settings.span_column), (TIME_COLUMN, self.spec.time_column)):
      kinds = counts.time_kinds.get(setting, KindCounts())
      kinds.require_one_way(f"column {column!r} ({setting}) of span {self.span}", of_order=setting == TIME_COLUMN)

  def _write_quarantine(self, quarantine: Quarantine, counts: ReadCounts, pieces: list[Piece]) -> None:
    path = files.join(self.output_dir, QUARANTINE_NAME)
    quarantine_lib.write(path, quarantine, _locate(pieces, counts))
    quarantine_lib.check_share(quarantine, counts.read, self.settings.max_quarantine_share, self.subject, path)

  def _join_summary(self, join: JoinPlan, counts: ReadCounts) -> dict[str, Any]:
    num_keyed, num_matched = counts.num_keyed.get(join.index, 0), counts.num_matched.get(join.index, 0)
    if num_keyed and not num_matched:
      raise DataError(f"side table {join.pattern}",
                      rule=f"its key {join.key!r} lists values of the log's column {join.on!r}.",
                      received=f"none of the {num_keyed} keys of span {self.span} is listed.",
                      remedy="check the join's columns, and that both write their values alike.")
    return {"pattern": join.pattern, "way": "keyed" if join.keyed else "broadcast", "num_keyed": num_keyed,
            "num_matched": num_matched}

  def _grow_vocabularies(self, new: NewValues | None) -> dict[str, list[str]]:
    """The vocabularies with the values of the span, which are written too."""
    vocabularies = {}
    for field in self.spec.fields:
      if field.name in self.known:
        counts = new.counts[field.name] if new is not None else {}
        vocabularies[field.name] = encoding.grow_vocabulary(self.known[field.name], counts,
                                                            encoding.vocabulary_capacity(field))
    encoding.write_vocabularies(files.join(self.output_dir, VOCABULARIES_NAME), vocabularies)
    return vocabularies

  def _write_shards(self, rows: SortedRows) -> tuple[list[Shard], int, tuple[str, ...]]:
    """The shards that were written, the number of rows in them, and sentences about sets that were cut."""
    folder = files.join(self.output_dir, SPLIT_FOLDER)
    shards = shards_lib.plan_shards(folder, [rows.files[number] for number in sorted(rows.files)],
                                    self.settings.rows_per_shard)
    path = files.join(self.output_dir, VOCABULARIES_NAME)
    totals = self.runner.run("write", lambda graph: graph_lib.write_shards(graph, shards, self.spec, path, self.span))
    return shards, totals.get(shards_lib.WRITTEN, 0), tuple(
        f"Field {field.name!r}: {num_cut:,} rows have more than the {field.max_values} values that are kept "
        "(features.fields[].max_values)." for field in self.spec.fields
        if (num_cut := totals.get(shards_lib.CUT, {}).get(field.name, 0)))


def _locate(pieces: list[Piece], counts: ReadCounts) -> dict[int, tuple[str, int]]:
  """Per piece its file and the number of the file's records before it."""
  located: dict[int, tuple[str, int]] = {}
  read: dict[str, int] = {}
  for piece in pieces:
    # Parquet pieces know their place; lines are counted.
    counted = 0 if piece.format == "parquet" else read.get(piece.path, 0)
    located[piece.index] = (piece.path, piece.before + counted)
    read[piece.path] = counted + counts.num_records.get(piece.index, 0)
  return located


def check_both_labels(rows: RowTally, subject: str, column: str) -> None:
  """Raises `DataError` where all examples of a span have one label."""
  if 0 < rows.num_positives < rows.num_rows:
    return
  raise DataError(subject, rule="a span has examples of both labels, or there is nothing to learn.",
                  received=f"{rows.num_rows} examples, all with {column!r} = {int(rows.num_positives > 0)}.",
                  remedy="check the label (column, at_least, positive), or join spans into longer ones"
                  f"{f'; {reasons.POSITIVES_ALONE}' if rows.num_positives else ''}.")


def _remove_quietly(folder: str) -> None:
  """Removes the spill files; what cannot be removed is left to the owner of the temporary folder."""
  try:
    files.remove_if_there(folder)
  except OSError:
    pass
