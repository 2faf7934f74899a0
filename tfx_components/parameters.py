"""Parameters of components, which travel as texts and numbers: only these can every orchestrator pass and override."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from diet_tf.distillation.settings import StageSettings
from diet_tf.log.features import FeatureSpec
from diet_tf.log.settings import LogSettings
from diet_tf.settings import to_json


def as_text(value: Any) -> Any:
  """The text that stands for a value: the JSON of a feature spec or of settings, the digits of a span's number.

  A text is returned as it is, and so is what only becomes one when a run starts, such as a TFX runtime parameter.
  """
  if isinstance(value, FeatureSpec):
    return json.dumps(value.to_dict())
  if isinstance(value, LogSettings | StageSettings):
    return value.to_json()
  if dataclasses.is_dataclass(value):
    return to_json(value)
  return str(value) if isinstance(value, int) else value
