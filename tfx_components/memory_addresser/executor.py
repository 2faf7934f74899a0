"""The executor of MemoryAddresser."""

from __future__ import annotations

from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor

from diet_tf.distillation.carried_rows import CARRIED_PART
from diet_tf.distillation.early_checks import loaded_teacher_need
from diet_tf.distillation.gate import START
from diet_tf.distillation.span import ScoredSpan
from diet_tf.distillation.stage import carry, refinement_of
from diet_tf.distillation.start import begin
from diet_tf.io import files
from diet_tf.training.memory_needs import machine_memory_bytes, require_memory
from tfx_components import inputs, training
from tfx_components.influence_scorer.score import ScoresSummary, SlotScores
from tfx_components.progress import report
from tfx_components.stage_files import StageInputs, save_stage_memory, write_start


class Executor(base_executor.BaseExecutor):
  """Runs MemoryAddresser."""

  def Do(self, input_dict: dict[str, list[types.Artifact]], output_dict: dict[str, list[types.Artifact]],
         exec_properties: dict[str, Any]) -> None:
    """Writes the start of a stage.

    Args:
      input_dict: `examples`, `scores` and `teacher` of the span; `parent`, a StoreCommit.
      output_dict: `start`: one Addressing artifact, with the rows that are carried on.
      exec_properties: `features` and `settings` as JSON; `budget_fraction`; `seed`; `span`.
    """
    self._log_startup(input_dict, output_dict, exec_properties)
    training.make_deterministic(exec_properties["seed"])
    given = StageInputs.of(input_dict, exec_properties)
    require_memory(loaded_teacher_need(given.stage.spec, given.stage.settings.teacher), given.stage.spec,
                   machine_memory_bytes())
    stage, previous, scores_dir = given.stage, given.previous, given.uri("scores")
    slots = SlotScores.read(scores_dir, previous.slots if previous else None)
    scored = ScoredSpan(given.rows(), slots.influences, ScoresSummary.read(scores_dir).num_examples, slots.drifts)
    start = begin(stage, previous, scored, given.teacher(), report)
    artifact = inputs.single(output_dict, "start")
    files.make_folders(artifact.uri)
    memory = save_stage_memory(artifact.uri, stage, start, previous, start.num_examples_seen,
                               start.scored_sample, refinement_of(START, start, previous))
    carry(stage, previous, given.carried_before(), given.rows()).write(files.join(artifact.uri, CARRIED_PART),
                                                                       stage.spec)
    write_start(artifact.uri, start, scored.num_examples)
    artifact.set_int_custom_property("span", stage.span)
    artifact.set_int_custom_property("num_slots", len(memory))
    artifact.set_string_custom_property("digest", memory.digest)
    for action, count in start.counts.items():
      artifact.set_int_custom_property(f"num_{action}", count)
    logging.info("Span %d: %d slots; %s. %s", stage.span, len(memory), dict(start.counts),
                 "The memory is refined." if start.growth.light is None else f"A light stage: {start.growth.light}")
