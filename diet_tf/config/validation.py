"""Which anomalies of a new span stop a stage before the memory changes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

from diet_tf.errors import ConfigError

# A field that is gone or empty, or whose type changed, cannot be distilled; drift is what a stage is there to follow.
DEFAULT_FATAL_ANOMALIES = (
    "SCHEMA_MISSING_COLUMN",
    "FEATURE_TYPE_NOT_PRESENT",
    "FEATURE_TYPE_NO_VALUES",
    "FEATURE_TYPE_LOW_FRACTION_PRESENT",
    "FEATURE_TYPE_LOW_NUMBER_PRESENT",
    "INT_TYPE_INT_EXPECTED",
    "FLOAT_TYPE_NOT_FLOAT",
    "FLOAT_TYPE_HAS_NAN",
    "UNEXPECTED_DATA_TYPE",
    "NO_DATA_IN_SPAN",
)

_KIND = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclasses.dataclass(frozen=True)
class ValidationSettings:
  """What is checked of a new span against the schema and the span before.

  Attributes:
    fatal: kinds of anomaly (names of TensorFlow Metadata's `AnomalyInfo.Type`) that stop the run; others are reported.
    drift_thresholds: per field, the largest L-infinity distance between its id frequencies in two successive spans;
      beyond it the anomaly COMPARATOR_L_INFTY_HIGH is raised.
    default_drift_threshold: the largest distance for every field that has no entry; None leaves these unchecked.
  """

  fatal: tuple[str, ...] = DEFAULT_FATAL_ANOMALIES
  drift_thresholds: Mapping[str, float] = dataclasses.field(default_factory=dict)
  default_drift_threshold: float | None = None

  def __post_init__(self) -> None:
    for kind in self.fatal:
      if not _KIND.fullmatch(kind):
        raise ConfigError("validation.fatal", rule="a kind of anomaly is written in capitals, as TFDV reports it.",
                          received=repr(kind), remedy="write it like SCHEMA_MISSING_COLUMN.")
    thresholds = {**self.drift_thresholds}
    if self.default_drift_threshold is not None:
      thresholds["default_drift_threshold"] = self.default_drift_threshold
    for name, threshold in thresholds.items():
      if not 0 < threshold <= 1:
        raise ConfigError(f"validation drift threshold of {name!r}", rule="an L-infinity distance lies in (0, 1].",
                          received=str(threshold), remedy="use a share such as 0.3.")

  def threshold_of(self, field: str) -> float | None:
    """The drift threshold of a field, or None if it is not checked."""
    return self.drift_thresholds.get(field, self.default_drift_threshold)

  def require_known(self, kinds: Iterable[str], fields: Iterable[str]) -> None:
    """Raises ConfigError if a fatal kind is not among `kinds`, or a threshold's field not among `fields`.

    A misspelt name would otherwise never stop anything.
    """
    kinds, fields = set(kinds), set(fields)
    unknown_kinds = sorted(set(self.fatal) - kinds)
    if unknown_kinds:
      raise ConfigError("validation.fatal", rule="each is a kind of anomaly that TFDV reports.",
                        received=f"unknown: {unknown_kinds}.", remedy="correct the spelling, or remove them.")
    unknown_fields = sorted(set(self.drift_thresholds) - fields)
    if unknown_fields:
      raise ConfigError("validation.drift_thresholds", rule=f"its keys are fields: {sorted(fields)}.",
                        received=f"unknown: {unknown_fields}.", remedy="correct the spelling, or remove them.")
