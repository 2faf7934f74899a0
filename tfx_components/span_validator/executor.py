"""The executor of SpanValidator."""

from __future__ import annotations

from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from diet_tf.config.validation import ValidationSettings
from diet_tf.io import files
from diet_tf.log.features import features_from_json
from diet_tf.settings import from_json
from tfx_components import inputs
from tfx_components.log_gen.file_names import SPLIT
from tfx_components.span_validator import validate


class Executor(base_executor.BaseExecutor):
  """Runs SpanValidator."""

  def Do(self, input_dict: dict[str, list[types.Artifact]], output_dict: dict[str, list[types.Artifact]],
         exec_properties: dict[str, Any]) -> None:
    """Checks a span.

    Args:
      input_dict: `statistics` of the span; `inferred_schema`; `parent`, a StoreCommit; `examples`: optional.
      output_dict: `anomalies`: one ExampleAnomalies artifact; `schema`: one Schema artifact.
      exec_properties: `features` and `validation` as JSON; `span`.

    Raises:
      DataError: the span has a fatal anomaly.
    """
    self._log_startup(input_dict, output_dict, exec_properties)
    spec = features_from_json(exec_properties["features"])
    settings = from_json(ValidationSettings, exec_properties["validation"], "validation")
    source = inputs.single(input_dict, "statistics")
    span = inputs.span_of(exec_properties, inputs.single_or_none(input_dict, "examples") or source)
    parent = inputs.Parent.of(inputs.single(input_dict, "parent"))
    schema = validate.checked_schema(
        validate.read_schema(parent.part(inputs.SCHEMA_PART) or inputs.single(input_dict, "inferred_schema").uri),
        spec, settings)
    before = parent.part(inputs.STATISTICS_PART)
    anomalies = validate.find_anomalies(
        validate.read_statistics(inputs.split_folder(source)), schema,
        validate.read_statistics(before) if before is not None else None, spec, settings)
    found = validate.listed(anomalies)
    for anomaly in found:
      logging.warning("Span %d: %s", span, anomaly)
    artifact = inputs.single(output_dict, "anomalies")
    artifact.split_names = artifact_utils.encode_split_names([SPLIT])
    artifact.span = span
    artifact.set_int_custom_property("num_anomalies", len(found))
    folder = inputs.split_folder(artifact)
    files.make_folders(folder)
    files.write_atomically(files.join(folder, validate.ANOMALIES_NAME),
                           anomalies.SerializeToString(deterministic=True))
    validate.write_schema(inputs.single(output_dict, "schema").uri, schema)
    validate.require_no_fatal(found, span, settings)
