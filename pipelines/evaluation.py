"""The final evaluation of a run: a panel trained on the log, the memory and random rows, and judged on later spans."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from diet_tf.config.config import Config
from diet_tf.distillation.teacher import Teacher
from diet_tf.errors import FormatError
from diet_tf.fidelity.panel import evaluate_panel
from diet_tf.fidelity.panel_settings import PanelSettings
from diet_tf.fidelity.result import FidelityResult
from diet_tf.io import files
from diet_tf.io.documents import canonical_digest
from diet_tf.log import encoding
from diet_tf.log.examples import read_examples
from diet_tf.log.row_counts import RowCounts
from diet_tf.log.row_layout import RowLayout
from diet_tf.memory.composition import coverage
from diet_tf.memory.memory import Memory
from diet_tf.progress import Progress, silent
from diet_tf.report.run_report import write_report
from diet_tf.report.stage_record import PIPELINE_RUN, StageRecord, distillation_cost
from diet_tf.store.commit import Commit
from diet_tf.store.memories import load_memory
from diet_tf.store.store import MEMORY_PART, Store
from diet_tf.training.blocks import in_blocks
from pipelines.encoded_spans import committed_shards, encoded_shards
from pipelines.workspace import SpanRecord, Workspace
from tfx_components.inputs import TEACHER_PART, VOCABULARIES_PART
from tfx_components.stage_files import STAGE_NAME, rows_of
from tfx_components.training import prepare

_COVERAGE_BATCH = 1 << 14


def _identity(panel: PanelSettings) -> dict[str, Any]:
  """The settings that figures depend on; what was the rule once, one pass and one recipe, goes without saying."""
  settings = panel.to_dict()
  if settings["log_epochs"] == [1]:
    del settings["log_epochs"]
  if not settings["tune"]:
    del settings["tune"]
  return settings


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Judges the newest memory of a store by the panel.

  Attributes:
    config: the config of the run, whose paths can be opened from the current folder.
    workspace: the folder where examples are looked for and results are written.
    store: the store of the memories.
    beam_pipeline_args: options of Beam for spans that have to be encoded.
    progress: callback that is told about finished pieces of work.
  """

  config: Config
  workspace: Workspace
  store: Store
  beam_pipeline_args: Sequence[str] = ()
  progress: Progress = silent

  def run(self, test_spans: Sequence[int], *, bayes_auc: float | None = None,
          commands: Sequence[str] = ()) -> FidelityResult:
    """The fidelity of the newest memory; written, with the report, to the workspace.

    The figures of an earlier run are given again where nothing that they depend on has changed; the report is written
    anew from them.

    Args:
      test_spans: numbers of the spans that the memory is judged on, at least one.
      bayes_auc: the best possible AUC on them; None, the default, where it is not known.
      commands: command lines that give the same figures again, which the report shows.
    """
    commits = self.store.commits()
    key = canonical_digest({
        "spans": [[commit.span, commit.data] for commit in commits], "test": list(test_spans),
        "panel": _identity(self.config.panel), "log": self.config.log.identity()})
    result = self._known_result(key) or self._evaluate(commits, test_spans, bayes_auc)
    # Known figures may be of another store with the same content.
    stages = self._stages()
    result = result.replace(report_uri=self.workspace.report_path, rows=self._rows(result.spans, test_spans),
                            memory_uri=self.store.path(commits[-1], MEMORY_PART),
                            distillation=distillation_cost(stages, result.spans))
    self._report(result, commits[-1], test_spans, stages, commands)
    with files.writing(self.workspace.output):
      content = result.to_json().encode()
      files.write_atomically(self.workspace.results_path, content)
      self.workspace.keep_result(commits[-1].span, result)
      # With the digest, since a neighbour may write its own results between the two.
      files.write_atomically(self._key_path, f"{key} {hashlib.sha256(content).hexdigest()}\n".encode())
    return result

  @property
  def _key_path(self) -> str:
    return files.join(self.workspace.output, "results.key")

  def _known_result(self, key: str) -> FidelityResult | None:
    paths = (self._key_path, self.workspace.results_path)
    if not all(map(files.exists, paths)):
      return None
    known, content = files.read_bytes(self._key_path).decode(errors="replace").split(), files.read_bytes(paths[1])
    # Earlier releases kept no digest.
    if known[:1] != [key] or known[1:] not in ([], [hashlib.sha256(content).hexdigest()]):
      return None
    try:
      return FidelityResult.from_json(content.decode())
    except (FormatError, ValueError, KeyError, TypeError):
      return None

  def _evaluate(self, commits: Sequence[Commit], test_spans: Sequence[int],
                bayes_auc: float | None) -> FidelityResult:
    newest = commits[-1]
    # The memory stands for the spans of removed commits too.
    log_shards = {span: self._log_shards(span) for span in self.store.known_spans()}
    test_shards = [shard for span in test_spans for shard in self._encoded(span)]
    memory_uri = self.store.path(newest, MEMORY_PART)
    strategy = prepare(self.config.strategy, self.config.seed)
    teacher = Teacher.load(self.store.path(newest, TEACHER_PART), self.config.features, self.config.teacher)

    def probabilities(ids: np.ndarray) -> np.ndarray:
      return in_blocks(lambda block: tf.sigmoid(teacher.logits(block)), ids)

    return evaluate_panel(log_shards, load_memory(memory_uri), test_shards, self.config.panel,
                          teacher_probabilities=probabilities, bayes_auc=bayes_auc, memory_uri=memory_uri,
                          progress=self.progress, strategy=strategy)

  def _log_shards(self, span: int) -> list[str]:
    return committed_shards(self.config.log, self.config.features, span, self.store, self.workspace,
                            beam_pipeline_args=self.beam_pipeline_args, progress=self.progress)

  def _encoded(self, span: int) -> list[str]:
    return encoded_shards(self.config.log, self.config.features, span, self.store, self.workspace.examples_folder(span),
                          beam_pipeline_args=self.beam_pipeline_args, progress=self.progress)

  def _report(self, result: FidelityResult, commit: Commit, test_spans: Sequence[int], stages: Sequence[StageRecord],
              commands: Sequence[str]) -> None:
    memory = load_memory(self.store.path(commit, MEMORY_PART), verify=False)
    vocabularies = self.store.path(commit, VOCABULARIES_PART)
    shares = {"log": self._coverage(memory, [shard for span in result.spans for shard in self._log_shards(span)]),
              "test": self._coverage(memory, [shard for span in test_spans for shard in self._encoded(span)])}
    write_report(
        self.workspace.report_path, result, manifest=memory.manifest, slots=memory.slots, stages=stages,
        vocabularies=encoding.read_vocabularies(vocabularies) if files.exists(vocabularies) else {}, coverage=shares,
        history=self.workspace.kept_results(), settings=self.config.to_dict(), commands=commands)

  def _rows(self, spans: Sequence[int], test_spans: Sequence[int]) -> dict[int, RowCounts]:
    """What became of the rows of each span, as far as LogGen's summary is beside its examples."""
    shards = {**{span: self._log_shards(span) for span in spans}, **{span: self._encoded(span) for span in test_spans}}
    found = {span: rows_of(files.parent(files.parent(paths[0]))) for span, paths in shards.items()}
    return {span: rows for span, rows in found.items() if rows is not None}

  def _stages(self) -> list[StageRecord]:
    """The records of the committed spans' stages, as far as their artifacts are there."""
    records_of_spans = (self.workspace.read_record(span) for span in self.store.known_spans())
    return [stage for record in records_of_spans
            if record is not None and (stage := read_stage_record(record)) is not None]

  def _coverage(self, memory: Memory, shards: Sequence[str]) -> dict[str, float]:
    """Per field, the share of the examples whose id the memory holds."""
    batches = (ids for ids, _, _ in read_examples(shards, memory.spec, _COVERAGE_BATCH))
    shares = coverage(memory.slots, batches, RowLayout.of(memory.spec))
    return {} if shares is None else dict(zip(memory.spec.names, shares, strict=True))


def read_stage_record(record: SpanRecord) -> StageRecord | None:
  """A span's stage with what it counted, and the time of its pipeline run.

  Returns:
    None where its artifact is gone, or is another span's.
  """
  path = files.join(record.verdict, STAGE_NAME)
  if not files.exists(path):
    return None
  stage = StageRecord.read(path)
  if stage.summary.span != record.span:
    return None  # Earlier releases could take a neighbouring run's for this one's.
  seconds = {**stage.summary.seconds, PIPELINE_RUN: record.seconds}
  return dataclasses.replace(stage, summary=dataclasses.replace(stage.summary, seconds=seconds))
