"""The executor of MemoryAddresser."""

from __future__ import annotations

from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor

from diet_tf import files
from diet_tf.stage import begin
from diet_tf.teacher import Teacher
from tfx_components import inputs, training
from tfx_components.influence_scorer.score import ScoresSummary, read_slot_influences
from tfx_components.progress import report
from tfx_components.stage_files import Stage, write_start


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
    examples = inputs.single(input_dict, "examples")
    stage = Stage.of(exec_properties, inputs.span_of(exec_properties, examples)).encoded_as(examples.uri)
    parent = inputs.Parent.of(inputs.single(input_dict, "parent"))
    previous = parent.memory(stage.spec)
    scores_dir = inputs.single(input_dict, "scores").uri
    teacher = Teacher.load(inputs.single(input_dict, "teacher").uri, stage.spec, stage.settings.teacher)
    num_examples = ScoresSummary.read(scores_dir).num_examples
    settings = stage.settings
    start = begin(previous, read_slot_influences(scores_dir, previous.slots if previous else None),
                  stage.passes(inputs.example_shards(examples), scores_dir), num_examples, teacher, settings.budget,
                  settings.addressing, settings.squash, settings.distill, span=stage.span, seed=stage.stage_seed,
                  progress=report, privacy=settings.privacy)
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
