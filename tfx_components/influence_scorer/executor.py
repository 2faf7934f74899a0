"""The executor of InfluenceScorer."""

from __future__ import annotations

import uuid
from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_beam_executor

from diet_tf.distillation.early_checks import teacher_need
from diet_tf.distillation.influence import InfluenceSettings
from diet_tf.distillation.teacher import Teacher, TeacherSettings
from diet_tf.io import files
from diet_tf.log.features import FeatureSpec, features_from_json
from diet_tf.settings import from_json
from diet_tf.training.memory_needs import machine_memory_bytes, require_memory, trains_on_gpu
from tfx_components import inputs, training
from tfx_components.beam_graph import GraphRunner
from tfx_components.influence_scorer.score import SpanScoring, score_span
from tfx_components.progress import report


class Executor(base_beam_executor.BaseBeamExecutor):
  """Runs InfluenceScorer."""

  def Do(self, input_dict: dict[str, list[types.Artifact]], output_dict: dict[str, list[types.Artifact]],
         exec_properties: dict[str, Any]) -> None:
    """Advances the teacher over a span and scores its examples.

    Args:
      input_dict: `examples` of the span; `parent`, a StoreCommit; `schema`, which is not read.
      output_dict: `teacher`: one TeacherState; `scores`: one InfluenceScores.
      exec_properties: `features`, `teacher_settings` and `influence` as JSON; `seed`; `span`; `strategy`;
        `score_every_example`.
    """
    self._log_startup(input_dict, output_dict, exec_properties)
    strategy = training.prepare(exec_properties["strategy"], exec_properties["seed"])
    examples, parent = inputs.single(input_dict, "examples"), inputs.Parent.of(inputs.single(input_dict, "parent"))
    spec = features_from_json(exec_properties["features"])
    settings = from_json(TeacherSettings, exec_properties["teacher_settings"], "teacher")
    require_memory(teacher_need(spec, settings), spec, machine_memory_bytes(),
                   on_gpu=trains_on_gpu(exec_properties["strategy"]))
    teacher = load_teacher(parent, spec, settings, exec_properties["seed"], strategy)
    folder = files.join(self._get_tmp_dir(), f"influence-scorer-{uuid.uuid4().hex[:12]}")
    scoring = SpanScoring(
        shards=inputs.example_shards(examples), spec=spec, settings=settings,
        influence=from_json(InfluenceSettings, exec_properties["influence"], "influence"),
        span=inputs.span_of(exec_properties, examples), seed=exec_properties["seed"],
        runner=GraphRunner(self._make_beam_pipeline, folder, report), progress=report,
        # Pipelines that were compiled before there was a choice have all of them scored.
        every_example=bool(exec_properties.get("score_every_example", 1)))
    state, scores = inputs.single(output_dict, "teacher"), inputs.single(output_dict, "scores")
    try:
      summary = score_span(scoring, teacher, parent.memory(spec), state.uri, scores.uri)
    finally:
      files.remove_if_there(folder)
    for artifact in (state, scores):
      artifact.set_int_custom_property("span", summary.span)
      artifact.set_int_custom_property("num_examples", summary.num_examples)
      artifact.set_string_custom_property("feature_spec_digest", summary.feature_spec_digest)
    logging.info("Span %d: %d examples scored, %d of them held back; the teacher's loss was %.4f.", summary.span,
                 summary.num_examples, summary.num_held_back, summary.teacher_loss)


def load_teacher(parent: inputs.Parent, spec: FeatureSpec, settings: TeacherSettings, seed: int,
                 strategy: Any) -> Teacher:
  """The teacher of the commit before the span, or a new one."""
  directory = parent.part(inputs.TEACHER_PART)
  if directory is None:
    return Teacher(spec, settings, seed=seed, strategy=strategy)
  return Teacher.load(directory, spec, settings, strategy=strategy)
