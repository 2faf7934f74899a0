"""When two rows of a span are one: by a declared key, by all their values, or never."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from diet_tf.log.settings import LogSettings

# Where a commit keeps the rule among its settings.
RULE_KEY = "duplicates"


@dataclasses.dataclass(frozen=True)
class DuplicateRule:
  """Which rows of a span are dropped since another one stands for them.

  Attributes:
    unique: columns that name a row: of rows with the same values in all of them the first by time, then by example id,
      stays. Empty where no key is declared.
    drop_duplicates: whether rows with the same values in all columns of the log, those that nothing else reads
      included, are one row. Without it, and without a key, rows that look alike are as many impressions.
  """

  unique: tuple[str, ...] = ()
  drop_duplicates: bool = False

  @classmethod
  def of(cls, settings: LogSettings, committed: Mapping[str, Any] | None = None) -> DuplicateRule:
    """The rule that the config sets, or else that of the commit before, or else that no row is dropped.

    Args:
      settings: settings of the log; what they leave open changes nothing in a store.
      committed: the settings that the commit before was made with; None where nothing was committed.
    """
    if settings.unique or settings.drop_duplicates is not None:
      return cls(tuple(settings.unique), bool(settings.drop_duplicates))
    return cls() if committed is None else cls.of_commit(committed)

  @classmethod
  def of_commit(cls, committed: Mapping[str, Any]) -> DuplicateRule:
    """The rule by which a span was committed; release 0.1, which does not say, dropped exact duplicates."""
    rule = committed.get(RULE_KEY)
    return RELEASE_0_1 if rule is None else cls.from_dict(rule)

  @classmethod
  def from_dict(cls, value: Mapping[str, Any]) -> DuplicateRule:
    """The rule that `to_dict` wrote."""
    return cls(tuple(value["unique"]), bool(value["drop_duplicates"]))

  def to_dict(self) -> dict[str, Any]:
    """The rule as JSON values."""
    return {"unique": list(self.unique), "drop_duplicates": self.drop_duplicates}

  @property
  def drops(self) -> bool:
    """Whether any rows are dropped."""
    return bool(self.unique) or self.drop_duplicates

  @property
  def reads_all_columns(self) -> bool:
    """Whether rows are compared by columns that nothing else reads."""
    return self.drop_duplicates and not self.unique


DUPLICATE_RULE_SHAPE = {"unique": list[str], "drop_duplicates": bool}
RELEASE_0_1 = DuplicateRule(drop_duplicates=True)
