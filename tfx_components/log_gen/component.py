"""The LogGen component: one span of a raw log in, encoded Examples out."""

from __future__ import annotations

from tfx.dsl.components.base import base_beam_component
from tfx.types import BaseChannel
from tfx.types.standard_artifacts import Examples

from diet_tf.distillation.settings import StageSettings
from diet_tf.log.features import FeatureSpec
from diet_tf.log.settings import LogSettings
from tfx_components.artifacts import StoreCommit
from tfx_components.decorators import component
from tfx_components.log_gen import executor


@component(executor.Executor, outputs={"examples": Examples})
class LogGen(base_beam_component.BaseBeamComponent):
  """Reads one span of a log and writes it as encoded TFX Examples with the span property.

  Example:

  ```python
  log_gen = LogGen(log=LogSettings("logs/{SPAN}/*.parquet"), features=feature_spec, span=7)
  statistics_gen = StatisticsGen(examples=log_gen.outputs["examples"])
  ```

  Beside the split `train` the artifact holds `vocabularies.json`, `quarantine.jsonl` and `log_summary.json`.

  Args:
    log: where the log is and how it is read, or the JSON of that (`LogSettings.to_json`).
    features: feature spec, how rows become examples, or its JSON.
    span: number of the span, or `auto` for the first span later than that of `parent`.
    parent: the commit before the span, from `MemoryLoader`, with the vocabularies known so far; needed only for `auto`,
      where a vocabulary grows, and where ids are hashed with a secret.
    pattern: path of the log in place of the one in `log`, where a run is to set it; empty keeps that one.
    settings: settings of the stage that the span is for, or their JSON: a span that is too short for it is refused
      here, before anything is computed; empty takes any.
    budget_fraction: budget as a share of the records, in place of the one in `settings`; 0 keeps that one.
  """

  def __init__(self, log: LogSettings | str, features: FeatureSpec | str, span: int | str,
               parent: BaseChannel[StoreCommit] | None = None, pattern: str = "", settings: StageSettings | str = "",
               budget_fraction: float = 0.0) -> None: ...
