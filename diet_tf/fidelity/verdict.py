"""The verdict: whether architectures can be chosen on a memory. One rule, for the report, the terminal and JSON.

A good verdict takes all of

- at least `MIN_RESOLVED_PAIRS` pairs of architectures that are resolved on the log;
- an agreement on them whose interval (`AGREEMENT_CONFIDENCE`, by `diet_tf.fidelity.agreement_interval`) lies above
  `MIN_AGREEMENT`;
- a recovery of at least `MIN_RECOVERY` for each member that the log lifts above chance beyond noise;
- a mean AUC of the panel that is ahead of that on as many random rows beyond noise, for each kind of their labels.

Where something was measured to be otherwise, architectures must not be chosen on the memory. Where too little was
measured to say, that is what the verdict says. Either comes with its reasons.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from diet_tf.metrics import Agreement, PairedDifference

MIN_RESOLVED_PAIRS = 20
MIN_AGREEMENT = 0.8
AGREEMENT_CONFIDENCE = 0.9
MIN_RECOVERY = 0.7

GOOD, DO_NOT_CHOOSE, CANNOT_BE_TOLD = "choose", "do not choose", "cannot be told"
_BEGINNINGS = {GOOD: "Choose architectures on this memory", DO_NOT_CHOOSE: "Do not choose architectures on this memory",
               CANNOT_BE_TOLD: "Whether architectures can be chosen on this memory cannot be told"}
# Without a teacher there are no rows of the second kind.
RANDOM_HARD, RANDOM_SOFT = "random_hard", "random_soft"
_LABELS = {RANDOM_HARD: "clicks", RANDOM_SOFT: "the teacher's labels"}

VERDICT_SHAPE: Mapping[str, Any] = {
    "outcome": str, "text": str, "reasons": list[str], "test_rows": int, "test_clicks": int | None}


@dataclasses.dataclass(frozen=True)
class Condition:
  """One of the conditions of a good verdict.

  Attributes:
    name: name of what is looked at.
    required: what a good verdict takes, in words.
    measured: what was found, in words.
    met: whether it is met; None where that cannot be told.
    reason: what the verdict says of it: of a condition that is met, what speaks for the memory, else what does not;
      empty where another condition says it already.
  """

  name: str
  required: str
  measured: str
  met: bool | None
  reason: str

  @property
  def met_text(self) -> str:
    """Whether it is met, in words."""
    return {True: "yes", False: "no", None: "cannot be told"}[self.met]


@dataclasses.dataclass(frozen=True)
class Verdict:
  """Whether architectures can be chosen on a memory, and on what grounds.

  Attributes:
    conditions: the conditions of a good verdict, and how each came out.
    num_test_rows: number of rows that the models were judged on.
    num_test_clicks: number of clicks among them; None where an earlier release did not write it down.
  """

  conditions: tuple[Condition, ...]
  num_test_rows: int
  num_test_clicks: int | None

  @property
  def outcome(self) -> str:
    """`GOOD`, `DO_NOT_CHOOSE` or `CANNOT_BE_TOLD`."""
    found = {condition.met for condition in self.conditions}
    return DO_NOT_CHOOSE if False in found else CANNOT_BE_TOLD if None in found else GOOD

  @property
  def reasons(self) -> tuple[str, ...]:
    """What the verdict rests on: what speaks for a good one, what failed, or what cannot be told."""
    decisive = {GOOD: True, DO_NOT_CHOOSE: False, CANNOT_BE_TOLD: None}[self.outcome]
    return tuple(condition.reason for condition in self.conditions
                 if condition.met is decisive and condition.reason)

  @property
  def text(self) -> str:
    """The verdict with its reasons, in a sentence."""
    return f"{_BEGINNINGS[self.outcome]}: {'; '.join(self.reasons)}."

  @property
  def judged_on(self) -> str:
    """The rows that the verdict rests on, in words."""
    clicks = ("how many of them are clicks is not known" if self.num_test_clicks is None else
              f"{self.num_test_clicks:,} of them clicks")
    return f"{_counted(self.num_test_rows, 'test row')}, {clicks}"

  def to_dict(self) -> dict[str, Any]:
    """The verdict as JSON values."""
    return {"outcome": self.outcome, "text": self.text, "reasons": list(self.reasons),
            "test_rows": self.num_test_rows, "test_clicks": self.num_test_clicks}


def judge(agreement: Agreement, recoveries: Mapping[str, float], differences: Mapping[str, PairedDifference], *,
          num_members: int, num_seeds: int, num_test_rows: int, num_test_clicks: int | None,
          metric: str | None = None) -> Verdict:
  """The verdict on a memory.

  Args:
    agreement: agreement of the memory's ranking of the panel with the log's.
    recoveries: recovery of each member that the log lifts above chance beyond noise, by the member's name.
    differences: AUC on the memory less that on random rows, the mean of the panel, by `random_hard` and `random_soft`.
    num_members: number of members of the panel.
    num_seeds: number of trainings of each member on each kind of data.
    num_test_rows: number of rows that the models were judged on.
    num_test_clicks: number of clicks among them; None where it is not known.
    metric: title of the metric that pairs are resolved and ordered by; None, the default, for the AUC.
  """
  by = "" if metric is None else f" by {metric}"
  conditions = (_resolved_pairs(agreement, num_members, by),
                _agreement(agreement, num_seeds, num_test_clicks is not None, by),
                _recovery(recoveries), *(_random_rows(kind, differences.get(kind)) for kind in _LABELS
                                         if kind in differences or kind == RANDOM_HARD))
  return Verdict(conditions, num_test_rows, num_test_clicks)


def least_members(num_pairs: int = MIN_RESOLVED_PAIRS) -> int:
  """The least number of members of a panel that has so many pairs."""
  return math.ceil((1 + math.sqrt(1 + 8 * num_pairs)) / 2)


def shortcomings(num_members: int, num_seeds: int) -> list[str]:
  """What of a panel's settings keeps a good verdict out of reach, in sentences, to be told before it is trained."""
  found = []
  pairs = num_members * (num_members - 1) // 2
  if pairs < MIN_RESOLVED_PAIRS:
    found.append(f"The panel's {_counted(num_members, 'member')} {'has' if num_members == 1 else 'have'} "
                 f"{_counted(pairs, 'pair')}, and a good verdict takes {MIN_RESOLVED_PAIRS} that are resolved: name at "
                 f"least {least_members()} in panel.members, better ten.")
  if num_seeds < 2:
    found.append("The panel has one seed, and a good verdict takes the noise of initial weights: name two or more in "
                 "panel.seeds.")
  return found


def _resolved_pairs(agreement: Agreement, num_members: int, by: str) -> Condition:
  resolved, pairs = agreement.num_resolved, agreement.num_pairs
  enough = resolved >= MIN_RESOLVED_PAIRS
  verb = "is" if 1 in (resolved, pairs) else "are"
  found = f"{resolved} of {_counted(pairs, 'pair')} of architectures {verb} resolved on the log{by}"
  remedy = ("add members to panel.members, seeds to panel.seeds, or test rows" if pairs >= MIN_RESOLVED_PAIRS else
            f"{_counted(num_members, 'member')} can have no more: name at least {least_members()} in panel.members, "
            "better ten")
  return Condition(
      "resolved pairs", f"at least {MIN_RESOLVED_PAIRS}", f"{resolved} of {pairs}", enough or None,
      found if enough else f"{found}, and {MIN_RESOLVED_PAIRS} are needed ({remedy})")


def _agreement(agreement: Agreement, num_seeds: int, is_current: bool, by: str) -> Condition:
  required = f"{AGREEMENT_CONFIDENCE * 100:.0f} % interval above {MIN_AGREEMENT:g}"
  interval = f"{AGREEMENT_CONFIDENCE * 100:.0f} % interval {agreement.low:.3f} to {agreement.high:.3f}"
  name, enough = "agreement", agreement.num_resolved >= MIN_RESOLVED_PAIRS
  if math.isnan(agreement.share):
    return Condition(name, required, "none", None, "")
  if math.isnan(agreement.low):
    why = ("from one seed it is not known: name more in panel.seeds" if num_seeds < 2 else
           "so few test rows of a class do not tell it" if is_current else
           "the release that made these figures did not measure it: remove results.json and run diet report")
    reason = f"the interval of the agreement of {agreement.share:.3f} is missing, since {why}" if enough else ""
    return Condition(name, required, f"{agreement.share:.3f}", None, reason)
  met = True if agreement.low > MIN_AGREEMENT else False if agreement.high <= MIN_AGREEMENT else None
  ordered = f"the memory orders {agreement.share:.3f} of the resolved pairs{by} as the log does ({interval}"
  reasons = {True: f"{ordered})", False: f"{ordered}, and more than {MIN_AGREEMENT:g} is needed)",
             None: f"{ordered}, which would have to lie above {MIN_AGREEMENT:g})"}
  # Few pairs are no measure of the panel, whichever way they are ordered.
  return Condition(name, required, f"{agreement.share:.3f}, {interval}", met if enough else None,
                   reasons[met] if enough else "")


def _recovery(recoveries: Mapping[str, float]) -> Condition:
  name, required = "recovery", f"at least {MIN_RECOVERY:g} for each member that the log lifts above chance"
  if not recoveries:
    return Condition(name, required, "none", None, "no model trained on the log is better than chance beyond noise, so "
                     "there is no recovery")
  least = min(recoveries, key=lambda member: recoveries[member])
  below = sum(value < MIN_RECOVERY for value in recoveries.values())
  measured = f"{recoveries[least]:.3f} at least ({least})"
  if below:
    which = ("the only member" if len(recoveries) == 1 else f"{below} of the {len(recoveries)} members"
             if below < len(recoveries) else f"each of the {below} members")
    return Condition(name, required, measured, False,
                     f"it keeps less than {MIN_RECOVERY:g} of the log's lift over chance for {which} that the log "
                     f"lifts (recovery {recoveries[least]:.3f} of {least})")
  return Condition(name, required, measured, True,
                   f"it keeps {recoveries[least]:.3f} or more of the log's lift over chance for each member that the "
                   "log lifts")


def _random_rows(kind: str, difference: PairedDifference | None) -> Condition:
  name, required = f"random rows, {_LABELS[kind]}", "behind the memory's mean AUC beyond noise"
  rows = f"as many random rows with {_LABELS[kind]}"
  if difference is None or not math.isfinite(difference.mean):
    return Condition(name, required, "none", None, f"how {rows} compare is not known")
  noise = f" ± {difference.margin:.4f}" if math.isfinite(difference.margin) else " with unknown noise"
  met = None if not difference.resolved else difference.mean > 0
  reasons = {True: f"its mean AUC is ahead of {rows} by {difference.mean:.4f}{noise}",
             False: f"{rows} are ahead of its mean AUC by {-difference.mean:.4f}{noise}",
             None: f"its mean AUC is not ahead of {rows} beyond noise ({difference.mean:+.4f}{noise})"}
  return Condition(name, required, f"{difference.mean:+.4f}{noise}", met, reasons[met])


def _counted(number: int, thing: str) -> str:
  return f"{number:,} {thing}{'' if number == 1 else 's'}"
