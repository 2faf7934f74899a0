"""The executor of LogGen: artifacts and parameters around `generate_examples`."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

from absl import logging
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from diet_tf.distillation.span_size import check_num_examples
from diet_tf.io import files
from diet_tf.log import encoding
from diet_tf.log.duplicates import DuplicateRule
from diet_tf.log.features import FeatureSpec
from diet_tf.log.settings import AUTO_SPAN, LogSettings, require_span
from diet_tf.memory.manifest import MANIFEST_NAME, read_manifest
from diet_tf.store.store import MEMORY_PART
from tfx_components import inputs, progress
from tfx_components.log_gen import generate, plan
from tfx_components.log_gen.file_names import SPLIT
from tfx_components.log_gen.generate import LogSummary, SizeCheck


class Executor(base_beam_executor.BaseBeamExecutor):
  """Runs LogGen."""

  def Do(self, input_dict: dict[str, list[types.Artifact]], output_dict: dict[str, list[types.Artifact]],
         exec_properties: dict[str, Any]) -> None:
    """Writes the examples of one span.

    Args:
      input_dict: `parent`: optional, a StoreCommit that may hold `vocabularies.json`.
      output_dict: `examples`: one Examples artifact.
      exec_properties: `log` and `features` as JSON, `span` as a number, its text, or `auto`, `pattern`, `settings` as
        JSON, `budget_fraction`.
    """
    self._log_startup(input_dict, output_dict, exec_properties)
    settings = log_settings(exec_properties)
    spec = FeatureSpec.from_dict(json.loads(exec_properties["features"]))
    parent = artifact_utils.get_single_instance(input_dict["parent"]) if input_dict.get("parent") else None
    spec = spec.bound_to(known_salt_check(parent))
    span = resolve_span(settings, exec_properties["span"], parent)
    examples = artifact_utils.get_single_instance(output_dict["examples"])
    committed = committed_settings(parent)
    summary = generate.generate_examples(
        settings.continued(committed), spec, span, examples.uri, vocabularies=known_vocabularies(parent),
        rule=DuplicateRule.of(settings, committed), check_size=size_check(exec_properties, span, parent),
        make_pipeline=self._make_beam_pipeline,
        temp_dir=self._get_tmp_dir(), progress=progress.report)
    describe(examples, summary)
    logging.info("Span %d: %s", span, summary.rows.sentence())
    for remark in summary.rows.remarks:
      logging.warning("Span %d: %s", span, remark)


def committed_settings(parent: types.Artifact | None) -> Mapping[str, Any] | None:
  """The settings that the commit before the span was made with; None where nothing was committed."""
  path = None if parent is None else files.join(parent.uri, inputs.COMMIT_NAME)
  return json.loads(files.read_bytes(path))["settings"] if path is not None and files.exists(path) else None


def size_check(exec_properties: dict[str, Any], span: int, parent: types.Artifact | None) -> SizeCheck | None:
  """The function that refuses a span of too few examples for the stage; None where no stage is given."""
  if not exec_properties.get("settings"):
    return None
  # Only a stage needs what learns.
  from tfx_components.stage_files import stage_of

  settings = stage_of({**exec_properties, "seed": 0}, span).settings
  path = None if parent is None else files.join(parent.uri, MEMORY_PART, MANIFEST_NAME)
  seen = 0 if path is None or not files.exists(path) else read_manifest(path).num_examples_seen
  return functools.partial(check_num_examples, num_examples_seen=seen, budget=settings.budget,
                           batch_size=settings.distill.inner.least_batch_size)


def known_salt_check(parent: types.Artifact | None) -> str | None:
  """The check value of the secret that ids were hashed with before this span; None without one."""
  path = None if parent is None else files.join(parent.uri, MEMORY_PART, MANIFEST_NAME)
  return None if path is None or not files.exists(path) else read_manifest(path).salt_check


def log_settings(exec_properties: dict[str, Any]) -> LogSettings:
  """The settings in `log`, with the pattern in `pattern` where that is not empty."""
  settings = LogSettings.from_json(exec_properties["log"])
  pattern = exec_properties.get("pattern")
  return dataclasses.replace(settings, pattern=pattern) if pattern else settings


def resolve_span(settings: LogSettings, value: int | str, parent: types.Artifact | None) -> int:
  """The span's number; `auto` is the first available span later than that of the parent.

  Raises:
    ConfigError: if the value is neither a number nor `auto`.
    DataError: if there is no later span.
  """
  if str(value) != AUTO_SPAN:
    return inputs.parse_span(str(value))
  span = plan.next_span(settings, None if parent is None else _span_of_commit(parent))
  require_span(span)
  return span


def _span_of_commit(parent: types.Artifact) -> int | None:
  """The span of a commit; None where there was none."""
  if parent.has_custom_property("span"):
    return int(parent.get_int_custom_property("span"))
  # Not every orchestrator hands custom properties on.
  path = files.join(parent.uri, inputs.COMMIT_NAME)
  return int(json.loads(files.read_bytes(path))["span"]) if files.exists(path) else None


def known_vocabularies(parent: types.Artifact | None) -> dict[str, list[str]]:
  """The vocabularies of a commit; none before the first span."""
  path = files.join(parent.uri, generate.VOCABULARIES_NAME) if parent is not None else ""
  return encoding.read_vocabularies(path) if path and files.exists(path) else {}


def describe(examples: types.Artifact, summary: LogSummary) -> None:
  """Sets the properties of the Examples artifact."""
  examples.split_names = artifact_utils.encode_split_names([SPLIT])
  examples.span = summary.span
  examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
  for name, value in (("span", summary.span), ("num_examples", summary.num_examples),
                      ("num_quarantined", summary.num_quarantined)):
    examples.set_int_custom_property(name, value)
  examples.set_string_custom_property("feature_spec_digest", summary.feature_spec_digest)
