"""The executor of DistillTrainer."""

from __future__ import annotations

from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor

from diet_tf.distillation.gate import REFINED
from diet_tf.distillation.refinement_checkpoints import Checkpoints
from diet_tf.distillation.refinement_needs import refinement_needs, require_memory_for_proxies
from diet_tf.distillation.settings import Stage
from diet_tf.distillation.stage import refine_start, refinement_of, unrefined
from diet_tf.distillation.start import Start
from diet_tf.io import files
from diet_tf.store.paths import UNFINISHED_FOLDER
from diet_tf.training.memory_needs import machine_memory_bytes, trains_on_gpu
from tfx_components import inputs, training
from tfx_components.progress import report
from tfx_components.stage_files import StageInputs, save_stage_memory, write_refinement


class Executor(base_executor.BaseExecutor):
  """Runs DistillTrainer."""

  def Do(self, input_dict: dict[str, list[types.Artifact]], output_dict: dict[str, list[types.Artifact]],
         exec_properties: dict[str, Any]) -> None:
    """Refines the start of a stage; of a light stage it is handed on as it is.

    Args:
      input_dict: `examples`, `scores` and `teacher` of the span; `parent`, a StoreCommit; `start`, an Addressing.
      output_dict: `memory`: one DistilledMemory artifact.
      exec_properties: `features` and `settings` as JSON; `budget_fraction`; `seed`; `span`; `strategy`;
        `store_uri`.
    """
    self._log_startup(input_dict, output_dict, exec_properties)
    strategy = training.prepare(exec_properties["strategy"], exec_properties["seed"])
    given = StageInputs.of(input_dict, exec_properties)
    stage, previous = given.stage, given.previous
    start, _ = given.start()
    artifact = inputs.single(output_dict, "memory")
    checkpoints = _checkpoints(stage, exec_properties.get("store_uri") or files.parent(artifact.uri))
    if start.growth.light is None:
      _require_memory(stage, start, exec_properties["strategy"])
      refined = refine_start(stage, start, previous, given.carried(), given.teacher(), strategy=strategy,
                             progress=report, checkpoints=checkpoints)
    else:
      refined = unrefined(start)
    files.make_folders(artifact.uri)
    memory = save_stage_memory(artifact.uri, stage, refined, previous, start.num_examples_seen,
                               start.scored_sample, refinement_of(REFINED, start, previous))
    write_refinement(artifact.uri, refined)
    if checkpoints is not None:
      checkpoints.remove()
    artifact.set_int_custom_property("span", stage.span)
    artifact.set_int_custom_property("num_slots", len(memory))
    artifact.set_string_custom_property("digest", memory.digest)
    if len(refined.losses):
      logging.info("Span %d: the outer loss went from %.4f to %.4f in %d steps.", stage.span, refined.losses[0],
                   refined.losses[-1], len(refined.losses))


def _require_memory(stage: Stage, start: Start, strategy: str) -> None:
  """Says what the refinement will take, and raises ConfigError where that is more than there is."""
  needs = refinement_needs(stage.spec, stage.settings.distill, start.slots)
  logging.info("Span %d: %s", stage.span, needs)
  if not trains_on_gpu(strategy):
    require_memory_for_proxies(needs, machine_memory_bytes())


def _checkpoints(stage: Stage, folder: str) -> Checkpoints | None:
  """Where the stage's refinement keeps its state; None where the settings want none."""
  seconds = stage.settings.distill.checkpoint_seconds
  if not seconds:
    return None
  path = files.join(folder, UNFINISHED_FOLDER, f"refinement-{stage.span}.npz")
  return Checkpoints(path, seconds, say=lambda sentence: logging.info("Span %d: %s", stage.span, sentence))
