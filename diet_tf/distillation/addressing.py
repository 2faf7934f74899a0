"""Addressing: which slots a stage freezes, updates, replaces and adds, under the budget.

- *Replaced* slots give their place to new ones. Once the memory has reached its cap, a span goes on getting slots of
  its own, `budget.fraction` of its rows, so that the memory stands for the last `max_slots / fraction` rows or so;
  which old slots make room is told by `at_cap`: by default those that models trained on old and new slots together
  would miss least (`diet_tf.distillation.removal`). Before the cap, a set share may be replaced, 0 by default: the
  slots of least usefulness, `rank(influence) + rank(overlap)`.
- Of the others, those with the largest `|influence| * overlap` are *updated*: the span has something to say to them.
- The rest are *frozen*: they carry what the log held before. Their ids, id weights and labels do not change; but labels
  of slots that no stage has refined yet go with the teacher (`diet_tf.distillation.drift`).
- *Added* slots fill the budget with clusters of the new span (`diet_tf.distillation.squash`).

Influence is that on the stage's reference loss at the teacher's checkpoints (positive where training on the slot still
helps), overlap how much of what a slot stands for occurs in the span. Ties go by slot id, the oldest first.

By default all old slots that stay are updated: on the logs that this was tried on, more freedom was worth more than the
choice (docs/method.md, "What was measured").
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable

import numpy as np

from diet_tf.errors import ConfigError
from diet_tf.log.features import MISSING_ID
from diet_tf.log.row_layout import PADDING_ID, RowLayout
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
# Rules by which slots make room at the cap; "keep" lets none of them go.
CAP_RULES = ("removal", "oldest", "influence", "random", "keep")


@dataclasses.dataclass(frozen=True)
class AddressingSettings:
  """How slots are addressed.

  Attributes:
    rule: rule of what is updated, and replaced before the cap: "influence" goes by influence and overlap, "random"
      draws the same numbers of slots, "all" updates every old slot.
    update_fraction: share of the surviving old slots that is updated.
    replace_fraction: share of the old slots that is replaced, at least, in every stage.
    labels_follow_teacher: whether the labels of old slots that no stage has refined yet move by as much as a span moves
      the teacher's opinion of them (`diet_tf.distillation.drift`).
    at_cap: rule of which slots make room for those of a span where the budget has a cap and it is reached: "removal"
      goes by what their removal costs, "oldest" by when they were added, "influence" by influence and overlap, "random"
      draws them. "keep" makes none: the memory then takes in nothing new but by `replace_fraction`.
  """

  rule: str = "influence"
  update_fraction: float = 1.0
  replace_fraction: float = 0.0
  labels_follow_teacher: bool = True
  at_cap: str = "removal"

  def __post_init__(self) -> None:
    for name, rules, remedy in (("rule", RULES, "influence"), ("at_cap", CAP_RULES, "removal")):
      if getattr(self, name) not in rules:
        raise ConfigError(f"addressing.{name}", rule=f"is one of {', '.join(rules)}.",
                          received=repr(getattr(self, name)), remedy=f"use {remedy}.")
    for name in ("update_fraction", "replace_fraction"):
      if not 0 <= getattr(self, name) <= 1:
        raise ConfigError(f"addressing.{name}", rule="lies in [0, 1].", received=str(getattr(self, name)),
                          remedy="use a share such as 0.5.")


@dataclasses.dataclass(frozen=True)
class Replacement:
  """How many old slots are replaced, and by which of `CAP_RULES`."""

  number: int
  rule: str


@dataclasses.dataclass(frozen=True)
class Addressing:
  """The decision of a stage.

  Attributes:
    old_actions: `[num_old_slots]` int8 of `Action`.
    num_added: new slots to be made of the span.
    worth: `[num_old_slots]`, what slots were replaced by, the least first; where none had to be, their influences.
  """

  old_actions: np.ndarray
  num_added: int
  worth: np.ndarray

  def counts(self) -> dict[str, int]:
    """Slots per action, by lower-case name."""
    found = {action.name.lower(): int((self.old_actions == action).sum()) for action in Action}
    return {**found, "add": self.num_added}


class IdCounts:
  """How often each id occurs in a span, gathered batch by batch; its size depends on the id spaces alone."""

  def __init__(self, num_ids: tuple[int, ...], layout: RowLayout | None = None) -> None:
    self._counts = [np.zeros(count, np.int64) for count in num_ids]
    self._layout = layout

  def add(self, ids: np.ndarray) -> None:
    """Counts the ids of `[batch_size, num_places]` encoded rows."""
    for field, counts in enumerate(self._counts):
      own = ids[:, field] if self._layout is None else ids[:, self._layout.ids_at(field)].ravel()
      counts += np.bincount(own[own != PADDING_ID], minlength=len(counts))

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


def count_ids(num_ids: tuple[int, ...], batches: Iterable[np.ndarray], layout: RowLayout | None = None) -> IdCounts:
  """The id counts of batches of `[batch_size, num_places]` encoded rows.

  Args:
    num_ids: per field, the size of its id space.
    batches: the batches.
    layout: layout of the rows; None, the default, is one id for each field.
  """
  counts = IdCounts(num_ids, layout)
  for ids in batches:
    counts.add(ids)
  return counts


def replacement(num_old: int, num_slots: int, span_slots: int, is_capped: bool,
                settings: AddressingSettings) -> Replacement:
  """How many old slots give their place to new ones, and how they are chosen.

  Args:
    num_old: number of old slots.
    num_slots: the budget.
    span_slots: slots of the span's own, see `BudgetSettings.num_slots_of_span`.
    is_capped: whether the cap keeps the memory from growing by all of these.
    settings: the shares and rules.
  """
  least = max(round(settings.replace_fraction * num_old), num_old - num_slots)
  if not is_capped or settings.at_cap == "keep":
    return Replacement(least, "random" if settings.rule == "random" else "influence")
  return Replacement(max(num_old + min(span_slots, num_slots) - num_slots, least), settings.at_cap)


def address(slots: Slots, influences: np.ndarray, num_slots: int, replaced: Replacement, settings: AddressingSettings,
            *, seed: int, overlaps: np.ndarray | None = None, removal_costs: np.ndarray | None = None) -> Addressing:
  """Decides what happens to each old slot, and how many new ones are made.

  Args:
    slots: the memory before the stage.
    influences: `[len(slots)]`, of the slots on the stage's reference set.
    num_slots: the budget, which is filled up with new slots.
    replaced: how many old slots are replaced, and by which rule.
    settings: the rule and the share of what is updated.
    seed: seed of the random orders of slots under the rule "random"; the other rules draw nothing.
    overlaps: `[len(slots)]` in [0, 1], see `IdCounts.overlap`; needed where `needs_overlaps` says so.
    removal_costs: `[len(slots)]`, needed where the rule of what is replaced is "removal".
  """
  count = len(slots)
  actions = np.full(count, Action.FREEZE, np.int8)
  overlaps = np.zeros(count) if overlaps is None else overlaps
  worth = _worth(slots, influences, overlaps, removal_costs, replaced, seed)
  by_worth = np.lexsort((slots.slot_ids, worth))
  actions[by_worth[:replaced.number]] = Action.REPLACE
  survivors = by_worth[replaced.number:]
  urgency = (np.random.default_rng(seed + 1).permutation(count).astype(np.float64) if settings.rule == "random" else
             np.abs(influences) * overlaps)
  share = 1.0 if settings.rule == "all" else settings.update_fraction
  by_urgency = survivors[np.lexsort((slots.slot_ids[survivors], -urgency[survivors]))]
  actions[by_urgency[:round(share * len(survivors))]] = Action.UPDATE
  return Addressing(actions, num_slots - (count - replaced.number), worth)


def needs_overlaps(settings: AddressingSettings, replaced: Replacement) -> bool:
  """Whether a decision reads the overlaps of the slots with the span."""
  is_ranked = replaced.rule == "influence" and replaced.number > 0
  return is_ranked or (settings.update_fraction < 1 and settings.rule == "influence")


def _worth(slots: Slots, influences: np.ndarray, overlaps: np.ndarray, removal_costs: np.ndarray | None,
           replaced: Replacement, seed: int) -> np.ndarray:
  if replaced.rule == "random":
    return np.random.default_rng(seed).permutation(len(slots)).astype(np.float64)
  if not replaced.number:
    return np.asarray(influences, np.float64)
  if replaced.rule == "removal":
    assert removal_costs is not None
    return removal_costs
  if replaced.rule == "oldest":
    return slots.born_spans.astype(np.float64)
  return _ranks(influences) + _ranks(overlaps)


def _ranks(values: np.ndarray) -> np.ndarray:
  """`[n]` ranks from 0 for the smallest; equal values share their mean rank, so that a tie favours none of them."""
  _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
  return (np.cumsum(counts) - (counts + 1) / 2)[inverse]
