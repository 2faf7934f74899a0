"""Addressing: which slots a stage freezes, updates, replaces and adds, under the budget.

An old slot is judged by two figures: its influence on the stage's reference loss at the teacher's checkpoints (positive
where training on it still helps) and its overlap with the new span (how much of what it stands for occurs there).

- The slots of least usefulness, `rank(influence) + rank(overlap)`, are *replaced*: their place goes to new slots. Ties
  go by slot id, the oldest first.
- Of the others, those with the largest `|influence| * overlap` are *updated*: the span has something to say to them.
- The rest are *frozen*: they carry what the log held before, and their ids, id weights and labels do not change.
- *Added* slots fill the budget with clusters of the new span (`diet_tf.distillation.squash`).

By default all old slots are updated and none is replaced unless the budget demands it: on the logs that this was tried
on, more freedom was worth more than the choice (docs/method.md, "What was measured").
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable

import numpy as np

from diet_tf.errors import ConfigError
from diet_tf.log.features import MISSING_ID
from diet_tf.memory.slots import Slots


class Action(enum.IntEnum):
  """What a stage does with a slot."""

  FREEZE = 0
  UPDATE = 1
  REPLACE = 2
  ADD = 3


# As they are counted, reported and drawn.
ACTION_NAMES = tuple(action.name.lower() for action in Action)
RULES = ("influence", "random", "all")


@dataclasses.dataclass(frozen=True)
class AddressingSettings:
  """How slots are addressed.

  Attributes:
    rule: "influence" as described above; "random" draws the same numbers of slots; "all" updates every old slot.
    update_fraction: share of the surviving old slots that is updated.
    replace_fraction: share of the old slots that is replaced.
  """

  rule: str = "influence"
  update_fraction: float = 1.0
  replace_fraction: float = 0.0

  def __post_init__(self) -> None:
    if self.rule not in RULES:
      raise ConfigError("addressing.rule", rule=f"is one of {', '.join(RULES)}.", received=repr(self.rule),
                        remedy="use influence.")
    for name in ("update_fraction", "replace_fraction"):
      if not 0 <= getattr(self, name) <= 1:
        raise ConfigError(f"addressing.{name}", rule="lies in [0, 1].", received=str(getattr(self, name)),
                          remedy="use a share such as 0.5.")


@dataclasses.dataclass(frozen=True)
class Addressing:
  """The decision of a stage.

  Attributes:
    old_actions: `[num_old_slots]` int8 of `Action`.
    num_added: new slots to be made of the span.
  """

  old_actions: np.ndarray
  num_added: int

  def counts(self) -> dict[str, int]:
    """Slots per action, by lower-case name."""
    found = {action.name.lower(): int((self.old_actions == action).sum()) for action in Action}
    return {**found, "add": self.num_added}


class IdCounts:
  """How often each id occurs in a span, gathered batch by batch; its size depends on the id spaces alone."""

  def __init__(self, num_ids: tuple[int, ...]) -> None:
    self._counts = [np.zeros(count, np.int64) for count in num_ids]

  def add(self, ids: np.ndarray) -> None:
    """Counts the ids of a `[batch_size, num_fields]` batch."""
    for field, counts in enumerate(self._counts):
      counts += np.bincount(ids[:, field], minlength=len(counts))

  def field_weights(self) -> np.ndarray:
    """`[num_fields]`, summing to 1: the entropy of each field, so that fields that tell examples apart count more."""
    entropies = np.array([_entropy(counts) for counts in self._counts])
    return entropies / max(entropies.sum(), 1e-12)

  def overlap(self, slots: Slots) -> np.ndarray:
    """`[num_slots]` in [0, 1]: the share of a slot's id weight that lies on ids of the span, over weighted fields."""
    shares = np.stack(
        [(slots.weights[:, field] * ((counts[slots.ids[:, field]] > 0) & (slots.ids[:, field] != MISSING_ID))).sum(1)
         for field, counts in enumerate(self._counts)], axis=1)
    # Slots that lie wholly in the span are alike; the rounding of their id weights must not rank them.
    return np.round(shares @ self.field_weights(), 6)


def _entropy(counts: np.ndarray) -> float:
  shares = counts[counts > 0] / max(counts.sum(), 1)
  return float(-(shares * np.log(shares)).sum())


def count_ids(num_ids: tuple[int, ...], batches: Iterable[np.ndarray]) -> IdCounts:
  """The id counts of `[batch_size, num_fields]` batches."""
  counts = IdCounts(num_ids)
  for ids in batches:
    counts.add(ids)
  return counts


def address(slots: Slots, influences: np.ndarray, overlaps: np.ndarray, num_slots: int, settings: AddressingSettings,
            *, seed: int) -> Addressing:
  """Decides what happens to each old slot, and how many new ones are made.

  Args:
    slots: the memory before the stage.
    influences: `[len(slots)]`, of the slots on the stage's reference set.
    overlaps: `[len(slots)]` in [0, 1], see `IdCounts.overlap`.
    num_slots: the budget; at least `num_slots - len(slots)` slots are added, and slots beyond it are replaced.
    settings: the rule and its shares.
    seed: seed of the random order of slots under the rule "random"; the other rules draw nothing.
  """
  count = len(slots)
  actions = np.full(count, Action.FREEZE, np.int8)
  num_replaced = max(round(settings.replace_fraction * count), count - num_slots)
  if settings.rule == "random":
    usefulness = np.random.default_rng(seed).permutation(count).astype(np.float64)
    urgency = np.random.default_rng(seed + 1).permutation(count).astype(np.float64)
  else:
    usefulness = _ranks(influences) + _ranks(overlaps)
    urgency = np.abs(influences) * overlaps
  by_usefulness = np.lexsort((slots.slot_ids, usefulness))
  actions[by_usefulness[:num_replaced]] = Action.REPLACE
  survivors = by_usefulness[num_replaced:]
  share = 1.0 if settings.rule == "all" else settings.update_fraction
  by_urgency = survivors[np.lexsort((slots.slot_ids[survivors], -urgency[survivors]))]
  actions[by_urgency[:round(share * len(survivors))]] = Action.UPDATE
  return Addressing(actions, num_slots - (count - num_replaced))


def _ranks(values: np.ndarray) -> np.ndarray:
  """`[n]` ranks from 0 for the smallest; equal values share their mean rank, so that a tie favours none of them."""
  _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
  return (np.cumsum(counts) - (counts + 1) / 2)[inverse]
