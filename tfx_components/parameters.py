"""Parameters of components as the texts and numbers that every orchestrator can pass and override."""

from __future__ import annotations

import json
from typing import Any

from diet_tf.features import FeatureSpec
from diet_tf.stage_settings import StageSettings, to_json


def features_text(features: FeatureSpec | Any) -> Any:
  """The JSON of a feature spec; a text or a runtime parameter is passed on."""
  return json.dumps(features.to_dict()) if isinstance(features, FeatureSpec) else features


def settings_text(settings: Any) -> Any:
  """The JSON of a dataclass of settings; a text or a runtime parameter is passed on."""
  if isinstance(settings, StageSettings):
    return settings.to_json()
  # A runtime parameter is no dataclass.
  return to_json(settings) if hasattr(settings, "__dataclass_fields__") else settings


def span_text(span: int | str | Any) -> Any:
  """The text of a span's number; a text or a runtime parameter is passed on."""
  return str(span) if isinstance(span, int) else span
