from __future__ import annotations

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2

from diet_tf.config.validation import ValidationSettings
from diet_tf.errors import ConfigError

KINDS = anomalies_pb2.AnomalyInfo.Type.keys()


def test_default_kinds_are_tfdv_kinds():
  ValidationSettings().require_known(KINDS, [])


def test_thresholds():
  settings = ValidationSettings(drift_thresholds={"user": 0.5}, default_drift_threshold=0.2)
  assert settings.threshold_of("user") == 0.5
  assert settings.threshold_of("item") == 0.2
  assert ValidationSettings().threshold_of("user") is None


@pytest.mark.parametrize("arguments", [
    {"fatal": ("lower_case",)}, {"drift_thresholds": {"user": 0.0}}, {"default_drift_threshold": 1.5}])
def test_settings_refused(arguments: dict[str, object]):
  with pytest.raises(ConfigError):
    ValidationSettings(**arguments)


def test_misspelt_names_are_refused():
  with pytest.raises(ConfigError, match="SCHEMA_MISSING_COLUM'"):
    ValidationSettings(fatal=("SCHEMA_MISSING_COLUM",)).require_known(KINDS, [])
  with pytest.raises(ConfigError, match="usr"):
    ValidationSettings(drift_thresholds={"usr": 0.5}).require_known(KINDS, ["user"])
