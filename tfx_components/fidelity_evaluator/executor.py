"""The executor of FidelityEvaluator."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor

from diet_tf.distillation.carried_rows import num_carried
from diet_tf.distillation.cost import StageWork, stage_flops
from diet_tf.distillation.gate import PREVIOUS, REFINED, START
from diet_tf.distillation.held_back import sample_held_back, teacher_loss
from diet_tf.distillation.scoring import score_file
from diet_tf.distillation.stage import NO_GATE, judge_stage, slot_passes
from diet_tf.distillation.start import num_weighed
from diet_tf.io import files
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.row_counts import RowCounts
from diet_tf.log.row_layout import RowLayout
from diet_tf.memory.composition import coverage
from diet_tf.memory.memory import Memory
from diet_tf.report.axes import measured_text
from diet_tf.report.histogram import Histogram
from diet_tf.report.influence_diagnosis import InfluenceDiagnosis, diagnose
from diet_tf.report.stage_record import StageRecord, StageSummary, slots_by_age
from diet_tf.report.stage_report import write_stage_report
from tfx_components import inputs, training
from tfx_components.influence_scorer.score import ScoresSummary, SlotScores
from tfx_components.progress import report
from tfx_components.stage_files import (
  REPORT_NAME,
  STAGE_NAME,
  StageInputs,
  load_stage_memory,
  read_refinement,
  read_start,
  rows_of,
  write_verdict,
)


class Executor(base_executor.BaseExecutor):
  """Runs FidelityEvaluator."""

  def Do(self, input_dict: dict[str, list[types.Artifact]], output_dict: dict[str, list[types.Artifact]],
         exec_properties: dict[str, Any]) -> None:
    """Writes the gate's verdict and the report of a stage; a light stage has no gate, and keeps its start.

    Args:
      input_dict: `examples`; `memory`, a DistilledMemory; `start`, an Addressing; `parent`, a StoreCommit; optionally
        `scores`.
      output_dict: `verdict`: one FidelityReport artifact; `report`: one HtmlPage, the report of `verdict` once more.
      exec_properties: `features` and `settings` as JSON; `budget_fraction`; `seed`; `span`.
    """
    self._log_startup(input_dict, output_dict, exec_properties)
    training.make_deterministic(exec_properties["seed"])
    given = StageInputs.of(input_dict, exec_properties)
    stage, previous, scores_dir, shards = given.stage, given.previous, given.scores_dir, given.shards
    memories = {name: load_stage_memory(given.uri(key), stage) for name, key in ((REFINED, "memory"), (START, "start"))}
    start, num_examples = read_start(given.uri("start"), memories[START])
    if previous is not None:
      memories[PREVIOUS] = previous
    held_back = sample_held_back(shards, stage.spec, stage.settings.influence.holdback_fraction,
                                 stage.settings.gate.max_examples, seed=stage.stage_seed, scores_dir=scores_dir)
    light = start.growth.light
    verdict = (NO_GATE if light is not None else
               judge_stage(stage, memories[REFINED], memories[START], previous, held_back, report))
    artifact = inputs.single(output_dict, "verdict")
    files.make_folders(artifact.uri)
    write_verdict(artifact.uri, verdict, stage.span, len(held_back))
    refinement = read_refinement(given.uri("memory"))
    influences = influences_of(given)
    # All rows have a logit, those held back too. Several devices would each have trained a proxy; one is counted.
    num_old = 0 if previous is None else len(previous)
    work = StageWork(num_rows=num_examples, num_held_back=num_held_back(given, num_examples), num_scored=num_examples,
                     num_old_slots=num_old, num_added=start.counts["add"], slots=start.slots,
                     proxies=refinement["proxies"],
                     slot_passes=() if light is not None else slot_passes(memories.values()),
                     num_judged=len(held_back), num_carried=num_carried(given.carried_folder),
                     num_influences=influences[0].num_scored if influences else 0,
                     num_weighed=num_weighed(stage.settings, num_old, start))
    summary = StageSummary(stage.span, num_examples, len(memories[verdict.chosen]), start.counts,
                           refinement["losses"], None if light is not None else dataclasses.asdict(verdict),
                           flops=stage_flops(work, stage.spec, stage.settings), light=light)
    page = write_reports(artifact.uri, summary, memories[verdict.chosen], held_back,
                         influences, rows_of(given.uri("examples")))
    inputs.single(output_dict, "report").value = page
    artifact.set_int_custom_property("span", stage.span)
    artifact.set_string_custom_property("chosen", verdict.chosen)
    for name, loss in verdict.losses.items():
      if math.isfinite(loss):  # ML Metadata has no place for NaN; the report says of it what it is.
        artifact.set_float_custom_property(f"loss_{name}", loss)
    if light is not None:
      logging.info("Span %d: no gate in a light stage.", stage.span)
      return
    logging.info("Span %d: the gate chose %s; losses on %d held-back examples: %s.", stage.span, verdict.chosen,
                 len(held_back), ", ".join(f"{name} {measured_text(loss)}" for name, loss in verdict.losses.items()))


def num_held_back(given: StageInputs, num_examples: int) -> int:
  """The number of a span's examples that are held back; about that where its scores are not connected."""
  if given.scores_dir is None:
    return round(num_examples * given.stage.settings.influence.holdback_fraction)
  return ScoresSummary.read(given.scores_dir).num_held_back


def influences_of(given: StageInputs) -> tuple[InfluenceDiagnosis, Histogram] | None:
  """The diagnosis of the span, and the distribution of its examples' influences; None where no scores are connected."""
  if given.scores_dir is None:
    return None
  stage, slots = given.stage, None if given.previous is None else given.previous.slots
  return diagnose([score_file(given.scores_dir, shard) for shard in given.shards],
                  stage.settings.influence.holdback_fraction, slots,
                  SlotScores.read(given.scores_dir, slots).influences,
                  withheld=stage.settings.privacy.counts_users or stage.spec.salt is not None)


def write_reports(directory: str, summary: StageSummary, chosen: Memory, held_back: EncodedRows,
                  influences: tuple[InfluenceDiagnosis, Histogram] | None, rows: RowCounts | None) -> str:
  """The report, written as `report.html` with `stage.json` beside it."""
  shares = coverage(chosen.slots, [held_back.ids], RowLayout.of(chosen.spec))
  diagnosis, histogram = influences or (None, None)
  record = StageRecord(
      summary, slots_by_age(chosen.slots, summary.span), teacher_loss(held_back),
      None if shares is None else dict(zip(chosen.spec.names, shares, strict=True)), histogram, rows,
      diagnosis)
  record.write(files.join(directory, STAGE_NAME))
  return write_stage_report(files.join(directory, REPORT_NAME), record, chosen.slots)
