"""The output folder of a local run, and what is remembered of each span."""

from __future__ import annotations

import dataclasses
from typing import Any

from diet_tf.errors import ConfigError, FormatError
from diet_tf.fidelity.result import FidelityResult
from diet_tf.io import files
from diet_tf.io.documents import DocumentFormat, read_document

RECORD = DocumentFormat("diet_tf.span_record", {1: {
    "span": int, "run_id": str, "feature_spec_digest": str, "examples": str, "verdict": str, "seconds": float}})

STORE_NAME = "store"


@dataclasses.dataclass(frozen=True)
class SpanRecord:
  """Where a pipeline run left what the final evaluation and the report read.

  Attributes:
    span: number of the span.
    run_id: name of the pipeline run, which the commit has too.
    feature_spec_digest: digest of the feature spec that the examples are encoded with.
    examples: path of the folder of the Examples artifact.
    verdict: path of the folder of the FidelityReport artifact, in which the stage's record lies.
    seconds: wall time of the pipeline run, in seconds.
  """

  span: int
  run_id: str
  feature_spec_digest: str
  examples: str
  verdict: str
  seconds: float

  def to_dict(self) -> dict[str, Any]:
    """The record as JSON values, with its format."""
    return RECORD.document(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class Workspace:
  """The folder that a local run writes to.

      store/             the store of memories, unless it is elsewhere
      pipeline/          the artifacts of all runs
      metadata.sqlite    ML Metadata
      runs/              a file for each run at work, which it keeps locked
      spans/<span>.json  a `SpanRecord` for each span
      examples/<span>/   spans that were encoded outside the pipeline: the test, and what was missing
      results/<span>.json  the results of each memory that was evaluated, by the last span that it has seen
      results.json       the machine-readable results of the newest
      report.html        the report

  Args:
    output: path of a local folder, which need not be there.

  Raises:
    ConfigError: it is a URI.
  """

  output: str

  def __post_init__(self) -> None:
    if files.is_remote(self.output):
      raise ConfigError("output", rule="a local run works in a local folder; only the store may be elsewhere.",
                        received=repr(self.output), remedy="name a folder, and pass --store URI for the store.")

  @property
  def store_uri(self) -> str:
    """The root of the store, unless the user names another one."""
    return files.join(self.output, STORE_NAME)

  @property
  def pipeline_root(self) -> str:
    """The folder that the artifacts of all pipeline runs are written to."""
    return files.join(self.output, "pipeline")

  @property
  def metadata_path(self) -> str:
    """The SQLite file of ML Metadata."""
    return files.join(self.output, "metadata.sqlite")

  @property
  def results_path(self) -> str:
    """The path of the machine-readable results of the newest memory."""
    return files.join(self.output, "results.json")

  @property
  def report_path(self) -> str:
    """The path of the report, one HTML page."""
    return files.join(self.output, "report.html")

  @property
  def runs_folder(self) -> str:
    """The folder with a file for each run at work."""
    return files.join(self.output, "runs")

  @property
  def records_folder(self) -> str:
    """The folder with what is remembered of each span."""
    return files.join(self.output, "spans")

  @property
  def results_folder(self) -> str:
    """The folder with the results of each memory that was evaluated."""
    return files.join(self.output, "results")

  @property
  def encodings_folder(self) -> str:
    """The folder with the spans that are encoded outside the pipeline."""
    return files.join(self.output, "examples")

  def examples_folder(self, span: int) -> str:
    """The folder for the examples of a span that is encoded outside the pipeline."""
    return files.join(self.encodings_folder, str(span))

  def read_record(self, span: int) -> SpanRecord | None:
    """What is remembered of a span; None if nothing is, or nothing that can be read."""
    path = self._record_path(span)
    if not files.exists(path):
      return None
    try:
      return SpanRecord(**RECORD.read(path))
    except FormatError:
      return None  # Only a short cut: what it points to can be made again.

  def recorded_spans(self) -> list[int]:
    """The numbers of the spans of which something is remembered, in increasing order."""
    stems = (name.removesuffix(".json") for name in files.names_in(self.records_folder))
    return sorted(int(stem) for stem in stems if stem.isdecimal())

  def write_record(self, record: SpanRecord) -> None:
    """Remembers what a span's pipeline run left, in place of what an earlier one did."""
    path = self._record_path(record.span)
    with files.writing(self.output):
      files.make_folders(files.parent(path))
      RECORD.write(path, record.to_dict())

  def keep_result(self, span: int, result: FidelityResult) -> None:
    """Keeps the result of the memory whose last span is `span`, for the reports of later ones."""
    with files.writing(self.output):
      files.make_folders(self.results_folder)
      files.write_atomically(files.join(self.results_folder, f"{span}.json"), result.to_json().encode())

  def kept_results(self) -> list[FidelityResult]:
    """The results that `keep_result` kept and that can be read."""
    results = []
    for name in files.names_in(self.results_folder):
      try:
        results.append(FidelityResult.from_dict(read_document(files.join(self.results_folder, name))))
      except FormatError:
        continue  # Of another version, or half written: only figures of the past are lost.
    return results

  def _record_path(self, span: int) -> str:
    return files.join(self.records_folder, f"{span}.json")
