"""The executor of MemoryAddresser."""

from __future__ import annotations

from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor

from diet_tf.distillation.stage import begin
from diet_tf.io import files
from tfx_components import inputs, training
from tfx_components.influence_scorer.score import ScoresSummary, read_slot_influences
from tfx_components.progress import report
from tfx_components.stage_files import StageInputs, write_start


class Executor(base_executor.BaseExecutor):
  """Runs MemoryAddresser."""

  def Do(self, input_dict: dict[str, list[types.Artifact]], output_dict: dict[str, list[types.Artifact]],
         exec_properties: dict[str, Any]) -> None:
    """Writes the start of a stage.

    Args:
      input_dict: `examples`, `scores` and `teacher` of the span; `parent`, a StoreCommit.
      output_dict: `start`: one Addressing artifact.
      exec_properties: `features` and `settings` as JSON; `budget_fraction`; `seed`; `span`.
    """
    self._log_startup(input_dict, output_dict, exec_properties)
    training.make_deterministic(exec_properties["seed"])
    given = StageInputs.of(input_dict, exec_properties)
    stage, settings, previous, scores_dir = given.stage, given.stage.settings, given.previous, given.uri("scores")
    num_examples = ScoresSummary.read(scores_dir).num_examples
    start = begin(previous, read_slot_influences(scores_dir, previous.slots if previous else None), given.passes(),
                  num_examples, given.teacher(), settings.budget, settings.addressing, settings.squash,
                  settings.distill, span=stage.span, seed=stage.stage_seed, progress=report, privacy=settings.privacy)
    artifact = inputs.single(output_dict, "start")
    files.make_folders(artifact.uri)
    memory = stage.save(artifact.uri, start.slots, start.recipe, previous, start.num_examples_seen)
    write_start(artifact.uri, start, num_examples)
    artifact.set_int_custom_property("span", stage.span)
    artifact.set_int_custom_property("num_slots", len(memory))
    artifact.set_string_custom_property("digest", memory.digest)
    for action, count in start.counts.items():
      artifact.set_int_custom_property(f"num_{action}", count)
    logging.info("Span %d: %d slots; %s.", stage.span, len(memory), dict(start.counts))
