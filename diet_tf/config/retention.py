"""How many spans are kept of what runs write: artifacts in the output folder, and commits in the store."""

from __future__ import annotations

import dataclasses

from diet_tf.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class RetentionSettings:
  """How much of what runs have written is kept.

  Attributes:
    output_spans: number of the newest spans whose artifacts stay in the output folder; of older ones the stage's record
      and report do. None keeps all.
    store_spans: number of the newest spans whose commits stay in the store, beside the pinned ones; the memory stands
      for older spans as before. None keeps all.
  """

  output_spans: int | None = None
  store_spans: int | None = None

  def __post_init__(self) -> None:
    for name in ("output_spans", "store_spans"):
      value = getattr(self, name)
      if value is not None and value < 1:
        raise ConfigError(f"retention.{name}", rule="at least the newest span is kept.", received=str(value),
                          remedy="use 1 or more, or leave it out to keep all.")
