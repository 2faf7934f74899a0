"""One span of a log as encoded examples: the function behind the LogGen component, callable without artifacts.

Steps, each a Beam pipeline whose elements are names of files:

1. read: pieces of the input are read in blocks, checked, joined with small side tables, encoded, and spilled as runs
   sorted by (time, example id), with an exact histogram of times;
2. join (where a side table is large): log and side table meet in partitions by key;
3. settle: per output shard, a range of times, the runs are merged, exact duplicates dropped;
4. write (where a vocabulary grows): values are counted exactly, the vocabularies extended, the shards written.

What a step holds in memory depends on the size of a block, a run, a shard or a partition, never on the span.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam

from diet_tf.errors import DataError
from diet_tf.io import files
from diet_tf.log import encoding
from diet_tf.log.features import FeatureSpec
from diet_tf.log.settings import LogSettings
from diet_tf.progress import Progress, silent
from tfx_components.log_gen import plan as plan_lib
from tfx_components.log_gen import quarantine as quarantine_lib
from tfx_components.log_gen import ranges, stage, tasks
from tfx_components.log_gen.file_names import QUARANTINE_NAME, SPLIT_FOLDER, SUMMARY_NAME, VOCABULARIES_NAME
from tfx_components.log_gen.join import JoinPlan
from tfx_components.log_gen.quarantine import Quarantine
from tfx_components.log_gen.ranges import Range, TimeHistogram
from tfx_components.log_gen.rows import RowPlan, SpanWindow
from tfx_components.log_gen.sources import Piece
from tfx_components.log_gen.spill import Part, Run

SUMMARY_FORMAT_NAME = "diet_tf.log_summary"
SUMMARY_FORMAT_VERSION = 1

# So many rows' distinct values are counted at a time when vocabularies grow.
_ROWS_PER_COUNT_PARTITION = 4_000_000
_MAX_COUNT_PARTITIONS = 256
_RUNS_PER_REFINEMENT = 16


@dataclasses.dataclass(frozen=True)
class LogSummary:
  """What became of a span.

  Attributes:
    span: its number.
    num_rows: rows read that belong to the span, broken ones included.
    num_quarantined: broken rows.
    num_duplicates: exact duplicates that were dropped.
    num_examples: examples written.
    num_positives: those with label 1.
    first_time: smallest time of an example; 0 where the spec has no time column.
    last_time: largest time.
    quarantine_reasons: broken rows by reason.
    joins: per used side table its pattern, way (broadcast or keyed), rows with a key, rows whose key was found.
    vocabulary_sizes: per growing field the number of values known after the span.
    shards: file names in order.
    files: the log's files.
    feature_spec_digest: of the spec that the examples are encoded with.
    salt_check: of the secret that ids are hashed with; None without one.
  """

  span: int
  num_rows: int
  num_quarantined: int
  num_duplicates: int
  num_examples: int
  num_positives: int
  first_time: int
  last_time: int
  quarantine_reasons: Mapping[str, int]
  joins: Sequence[Mapping[str, Any]]
  vocabulary_sizes: Mapping[str, int]
  shards: Sequence[str]
  files: Sequence[str]
  feature_spec_digest: str
  salt_check: str | None = None

  def to_dict(self) -> dict[str, Any]:
    """The summary as JSON types, with its format."""
    value = {"format_name": SUMMARY_FORMAT_NAME, "format_version": SUMMARY_FORMAT_VERSION, **dataclasses.asdict(self)}
    return {key: entry for key, entry in value.items() if key != "salt_check" or entry is not None}


def generate_examples(settings: LogSettings, spec: FeatureSpec, span: int, output_dir: str, *,
                      vocabularies: Mapping[str, Sequence[str]] | None = None,
                      make_pipeline: stage.MakePipeline | None = None,
                      beam_pipeline_args: Sequence[str] = (), temp_dir: str | None = None,
                      progress: Progress = silent) -> LogSummary:
  """Reads one span and writes its examples, ordered by (time, example id), duplicates dropped.

  The output depends on the set of the span's rows, not on their order or on how the work was split.

  Args:
    settings: of the log.
    spec: how rows become examples.
    span: the span's number.
    output_dir: gets `Split-train/`, `vocabularies.json`, `quarantine.jsonl` and `log_summary.json`.
    vocabularies: values of growing vocabularies known before this span, by field name.
    make_pipeline: returns a new Beam pipeline; by default one with `beam_pipeline_args`.
    beam_pipeline_args: options of the default pipeline.
    temp_dir: for spill files, seen by all workers; by default below `output_dir`.
    progress: told about finished pieces of work.

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
  make = make_pipeline or (lambda: beam.Pipeline(argv=list(beam_pipeline_args)))
  folder = files.join(temp_dir or files.join(output_dir, ".spill"), f"log-gen-{uuid.uuid4().hex[:12]}")
  known = encoding.check_vocabularies(spec, vocabularies or {})
  with files.writing(output_dir):
    try:
      files.make_folders(files.join(output_dir, SPLIT_FOLDER))
      files.make_folders(folder)
      runner = stage.Runner(make, folder, progress)
      return _Generation(settings, spec, span, output_dir, folder, known, runner).run()
    finally:
      tasks.remove_quietly(folder if temp_dir else files.join(output_dir, ".spill"))


@dataclasses.dataclass(frozen=True)
class _Read:
  """What the reading and joining steps gave."""

  runs: list[Run]
  histogram: TimeHistogram
  num_rows: int
  quarantine: Quarantine
  joins: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class _Generation:
  """One call of `generate_examples`."""

  settings: LogSettings
  spec: FeatureSpec
  span: int
  output_dir: str
  folder: str
  known: dict[str, list[str]]
  runner: stage.Runner

  @property
  def subject(self) -> str:
    return f"span {self.span} of {self.settings.pattern}"

  def run(self) -> LogSummary:
    pieces = self._pieces()
    declared = plan_lib.declared_columns(pieces)
    log_columns = {name for names in declared.values() for name in names}
    joins = plan_lib.plan_joins(self.settings, self.spec, self.span, log_columns)
    for path, names in declared.items():
      plan_lib.check_columns(plan_lib.needed_columns(self.spec, self.settings, joins), names,
                             f"span {self.span} ({path})")
    joins = [self._encode_side(join) for join in joins]
    read = self._read(pieces, RowPlan(self.spec, self.span, SpanWindow.of(self.settings), tuple(joins),
                                      self.settings.max_quarantine_rows))
    bounds = self._ranges(read)
    settled = self._settle(read, bounds)
    vocabularies = self._write_shards(settled)
    return self._summarise(pieces, read, settled, vocabularies)

  def _pieces(self) -> list[Piece]:
    paths = plan_lib.span_paths(self.settings.pattern, self.span)
    return plan_lib.log_pieces(self.settings, paths, self.span)

  def _encode_side(self, join: JoinPlan) -> JoinPlan:
    """The plan with the files of its encoded side table."""
    pieces = plan_lib.side_pieces(self.settings, self.settings.joins[join.index], self.span)
    work = [tasks.EncodeSide(piece, join, self.spec, self.folder) for piece in pieces]
    reports = self.runner.run(f"side-{join.index}", f"Reading side table {join.pattern}", work)
    parts = _by_partition(reports, join.num_partitions)
    return dataclasses.replace(join, parts=tuple(parts))

  def _read(self, pieces: list[Piece], plan: RowPlan) -> _Read:
    work = [tasks.ReadPiece(piece, plan, self.folder) for piece in pieces]
    first = self.runner.run("read", f"Reading span {self.span}", work)
    reports, last = list(first), first
    for number, join in enumerate(plan.keyed_joins):
      parts = _by_partition(last, join.num_partitions)
      joining = [tasks.JoinPartition(partition, own, plan, plan.keyed_joins[number:], self.folder)
                 for partition, own in enumerate(parts) if own]
      last = self.runner.run(f"join-{join.index}", f"Joining with {join.pattern}", joining)
      reports += last
    num_rows = sum(report["num_rows"] for report in first)
    # Columns before counts: a renamed label would otherwise be reported as a flood of broken rows.
    self._check_seen_columns(first, num_rows, plan)
    quarantine = self._quarantine(pieces, first, reports, num_rows)
    histogram = TimeHistogram()
    for report in last:
      histogram.merge(TimeHistogram.from_dict(report["histogram"]))
    return _Read([_run(value) for report in last for value in report["runs"]], histogram, num_rows, quarantine,
                 self._check_joins(reports, plan))

  def _check_seen_columns(self, reports: list[dict[str, Any]], num_rows: int, plan: RowPlan) -> None:
    if not num_rows:
      raise DataError(self.subject, rule="a span has rows.", received="no row.",
                      remedy="check that the span's files are complete, or skip the span.")
    seen = {name for report in reports for name in report["columns"]}
    if not seen:
      return
    plan_lib.check_columns(plan_lib.needed_columns(self.spec, self.settings, plan.joins), seen, f"span {self.span}")
    for join in plan.joins:
      for index, _ in join.fields:
        if self.spec.fields[index].column in seen:
          raise DataError(f"field {self.spec.fields[index].name!r}", rule="its column comes from one place.",
                          received=f"column {self.spec.fields[index].column!r} in the log and in {join.pattern}.",
                          remedy="set a prefix for the join and use it in the field's column.")

  def _quarantine(self, pieces: list[Piece], first: list[dict[str, Any]], reports: list[dict[str, Any]],
                  num_rows: int) -> Quarantine:
    merged = quarantine_lib.merge([report["quarantine"] for report in reports], self.settings.max_quarantine_rows)
    path = files.join(self.output_dir, QUARANTINE_NAME)
    quarantine_lib.write(path, merged, _locate(pieces, first))
    quarantine_lib.check_share(merged, num_rows, self.settings.max_quarantine_share, self.subject, path)
    return merged

  def _check_joins(self, reports: list[dict[str, Any]], plan: RowPlan) -> list[dict[str, Any]]:
    summaries = []
    for join in plan.joins:
      keyed, matched = (sum(report[name].get(str(join.index), 0) for report in reports)
                        for name in ("keyed", "matched"))
      if keyed and not matched:
        raise DataError(f"side table {join.pattern}",
                        rule=f"its key {join.key!r} lists values of the log's column {join.on!r}.",
                        received=f"none of the {keyed} keys of span {self.span} is listed.",
                        remedy="check the join's columns, and that both write their values alike.")
      summaries.append({"pattern": join.pattern, "way": "keyed" if join.keyed else "broadcast", "num_keyed": keyed,
                        "num_matched": matched})
    return summaries

  def _ranges(self, read: _Read) -> list[Range]:
    """The ranges of the shards; intervals too full for a shard are counted again with finer bins."""
    intervals = read.histogram.intervals()
    rows = self.settings.rows_per_shard
    number = 0
    while heavy := ranges.too_heavy(intervals, rows):
      groups = [tuple(read.runs[start:start + _RUNS_PER_REFINEMENT])
                for start in range(0, len(read.runs), _RUNS_PER_REFINEMENT)]
      work = [tasks.RefineIntervals(group, tuple(heavy)) for group in groups]
      reports = self.runner.run(f"refine-{number}", "Balancing shards", work)
      intervals = [interval for interval in intervals if interval not in heavy]
      for index in range(len(heavy)):
        finer = TimeHistogram()
        for report in reports:
          finer.merge(TimeHistogram.from_dict(report["histograms"][index]))
        intervals += finer.intervals()
      intervals.sort(key=lambda interval: interval.low)
      number += 1
    return ranges.shard_ranges(intervals, rows)

  def _settle(self, read: _Read, bounds: list[Range]) -> list[dict[str, Any]]:
    partitions = min(_MAX_COUNT_PARTITIONS, -(-read.num_rows // _ROWS_PER_COUNT_PARTITION))
    work = []
    for index, limits in enumerate(bounds):
      batches = ((run.path, tuple(run.batches_between(limits.low, limits.high))) for run in read.runs)
      runs = tuple((path, numbers) for path, numbers in batches if numbers)
      work.append(tasks.SettleShard(index, limits, runs, self.spec, self._shard_path(index, len(bounds)), self.folder,
                                    partitions))
    reports = self.runner.run("settle", f"Sorting span {self.span}", work)
    num_examples, num_positives = (sum(report[name] for report in reports)
                                   for name in ("num_examples", "num_positives"))
    tasks.check_both_labels(num_examples, num_positives, self.subject, self.spec.label.column)
    return [{**report, "num_count_partitions": partitions} for report in reports]

  def _write_shards(self, settled: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Grows the vocabularies, writes what waits for them, and returns them."""
    path = files.join(self.output_dir, VOCABULARIES_NAME)
    vocabularies = {name: list(values) for name, values in self.known.items()}
    if vocabularies:
      paths = tuple(report["counts"] for report in settled)
      known = {name: tuple(values) for name, values in self.known.items()}
      counting = [tasks.CountValues(partition, paths, known, self.spec)
                  for partition in range(settled[0]["num_count_partitions"])]
      counted = self.runner.run("count", "Counting values", counting)
      for field in self.spec.fields:
        if field.name in vocabularies:
          counts = tasks.merged_counts([report["candidates"][field.name] for report in counted])
          vocabularies[field.name] = encoding.grow_vocabulary(self.known[field.name], counts,
                                                              encoding.vocabulary_capacity(field))
    encoding.write_vocabularies(path, vocabularies)
    if vocabularies:
      writing = [tasks.WriteShard(report["settled"], self._shard_path(index, len(settled)), self.spec, path)
                 for index, report in enumerate(settled)]
      self.runner.run("write", f"Writing span {self.span}", writing)
    return vocabularies

  def _shard_path(self, index: int, num_shards: int) -> str:
    return files.join(self.output_dir, SPLIT_FOLDER, f"data_tfrecord-{index:05d}-of-{num_shards:05d}.gz")

  def _summarise(self, pieces: list[Piece], read: _Read, settled: list[dict[str, Any]],
                 vocabularies: dict[str, list[str]]) -> LogSummary:
    totals = {name: sum(report[name] for report in settled)
              for name in ("num_examples", "num_positives", "num_duplicates")}
    summary = LogSummary(
        span=self.span, num_rows=read.num_rows, num_quarantined=sum(read.quarantine.counts.values()), **totals,
        first_time=min(report["first_time"] for report in settled),
        last_time=max(report["last_time"] for report in settled),
        quarantine_reasons=dict(sorted(read.quarantine.counts.items())), joins=read.joins,
        vocabulary_sizes={name: len(values) for name, values in vocabularies.items()},
        shards=[self._shard_path(index, len(settled)).rpartition("/")[2] for index in range(len(settled))],
        files=sorted({piece.path for piece in pieces}), feature_spec_digest=self.spec.digest(),
        salt_check=None if self.spec.salt is None else self.spec.salt.check)
    content = json.dumps(summary.to_dict(), indent=1, sort_keys=True, ensure_ascii=False)
    files.write_atomically(files.join(self.output_dir, SUMMARY_NAME), content.encode())
    return summary


def _run(value: Mapping[str, Any]) -> Run:
  return Run(value["path"], tuple((time, example_id) for time, example_id in value["firsts"]))


def _by_partition(reports: list[dict[str, Any]], num_partitions: int) -> list[tuple[Part, ...]]:
  """Per partition the parts that the tasks wrote for it, in the tasks' order."""
  return [tuple(Part(part["path"], tuple(part["batches"])) for report in reports
                for part in report["partitions"].get(str(partition), ()))
          for partition in range(num_partitions)]


def _locate(pieces: list[Piece], reports: list[dict[str, Any]]) -> dict[int, tuple[str, int]]:
  """Per piece its file and the number of the file's records before it."""
  located: dict[int, tuple[str, int]] = {}
  read: dict[str, int] = {}
  for piece, report in zip(pieces, reports):
    # Parquet pieces know their place; lines are counted.
    counted = 0 if piece.format == "parquet" else read.get(piece.path, 0)
    located[piece.index] = (piece.path, piece.before + counted)
    read[piece.path] = counted + report["num_records"]
  return located
