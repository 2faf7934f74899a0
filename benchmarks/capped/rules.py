"""Rules by which a full memory makes room for the slots of a new span.

A rule takes the evidence of a stage and returns the next memory, of as many slots as the old one: kept old slots in
their order, then new ones, each part weighing by its number of slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from diet_tf.memory.slots import Slots


class Evidence(Protocol):
  """What a rule may look at.

  Attributes:
    old: the full memory.
    new: the slots that were squashed from the span.
    span: number of the span.
    seed: seed of what the rule draws.
    max_ids: per field, the most ids that a slot keeps.
  """

  old: Slots
  new: Slots
  span: int
  seed: int
  max_ids: tuple[int, ...]

  def influences(self) -> np.ndarray:
    """`[num_old + num_new]` influences at the teacher's checkpoints."""

  def overlaps(self) -> np.ndarray:
    """`[num_old]` shares of id weight on ids of the span."""

  def positions(self) -> np.ndarray:
    """`[num_old + num_new, d]` places in the teacher's space."""

  def removal_costs(self, without: np.ndarray | None = None, proxies: Sequence[str] | None = None,
                    rows: str = "span") -> np.ndarray:
    """`[num_old + num_new]` rise of proxies' loss without a slot, to first order through the whole training.

    Args:
      without: `[num_old + num_new]` bool, slots that have gone already.
      proxies: names of the architectures that are trained; None takes those of the benchmark.
      rows: rows that the loss is taken on: of the "span", "held_back" of it, or of the "future".
    """

  def retrained_costs(self) -> np.ndarray:
    """`[num_old]` loss of a proxy that is trained without the group of a slot, on the rows held back."""


Rule = Callable[[Evidence], Slots]


def _joined(old: Slots, new: Slots) -> Slots:
  parts = [part.replace(sample_weights=part.sample_weights / part.sample_weights.mean()) for part in (old, new)]
  return Slots.concatenate(parts)


def keep(worth: Callable[[Evidence], np.ndarray]) -> Rule:
  """The rule that drops the old slots of least worth, the oldest first among equals."""

  def rule(evidence: Evidence) -> Slots:
    order = np.lexsort((evidence.old.slot_ids, worth(evidence)))
    return _joined(evidence.old.take(np.sort(order[len(evidence.new):])), evidence.new)

  return rule


def ranks(values: np.ndarray) -> np.ndarray:
  """`[n]` ranks from 0, equal values sharing their mean rank."""
  _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
  return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def _old(values: np.ndarray, evidence: Evidence) -> np.ndarray:
  return values[:len(evidence.old)]


def _random(evidence: Evidence) -> np.ndarray:
  return np.random.default_rng(evidence.seed).random(len(evidence.old))


def _decayed(half_life: float) -> Callable[[Evidence], np.ndarray]:
  return lambda evidence: evidence.old.sample_weights * 0.5**((evidence.span - evidence.old.born_spans) / half_life)


def _by_mass_at_random(evidence: Evidence) -> np.ndarray:
  uniform = np.random.default_rng(evidence.seed).random(len(evidence.old))
  return np.log(evidence.old.sample_weights) - np.log(-np.log(uniform))


def _replayed(evidence: Evidence) -> float:
  return len(evidence.old) / (len(evidence.old) + len(evidence.new))


def _removal_in_rounds(evidence: Evidence, num_rounds: int = 2) -> np.ndarray:
  """Costs of what is left after a half was taken away, and below these the costs of that half."""
  gone = np.zeros(len(evidence.old) + len(evidence.new), bool)
  worth = np.zeros(len(evidence.old))
  for count in range(num_rounds):
    costs = np.where(gone, np.inf, evidence.removal_costs(gone))[:len(evidence.old)]
    least = np.argsort(costs, kind="stable")[:len(evidence.new) // num_rounds]
    left = ~gone[:len(evidence.old)]
    worth[left] = costs[left] - costs[left].min() + count + 1
    worth[least] = count
    gone[least] = True
  return worth


def _removal_of_any(evidence: Evidence) -> Slots:
  pool = _joined(evidence.old, evidence.new)
  kept = np.argsort(evidence.removal_costs(), kind="stable")[len(evidence.new):]
  return pool.take(np.sort(kept))


def merged(importance: Callable[[Evidence], np.ndarray]) -> Rule:
  """The rule that joins the nearest slots, by Ward's cost with masses that are multiplied by the importance."""

  def rule(evidence: Evidence) -> Slots:
    pool = _joined(evidence.old, evidence.new)
    weights = pool.sample_weights * importance(evidence)
    return merge(pool, weights, evidence.positions(), len(evidence.old), evidence.max_ids)

  return rule


def merge(slots: Slots, masses: np.ndarray, positions: np.ndarray, num_slots: int,
          max_ids: tuple[int, ...]) -> Slots:
  """Joins the two slots of least `m n / (m + n) * distance^2` until `num_slots` are left."""
  masses, positions = masses.astype(np.float64), positions.astype(np.float64)
  costs = np.stack([_ward(masses, positions, row) for row in range(len(slots))])
  groups = [[row] for row in range(len(slots))]
  alive = np.ones(len(slots), bool)
  for _ in range(len(slots) - num_slots):
    first, second = divmod(int(np.argmin(costs)), len(slots))
    if slots.sample_weights[groups[first]].sum() < slots.sample_weights[groups[second]].sum():
      first, second = second, first
    total = masses[first] + masses[second]
    positions[first] = (masses[first] * positions[first] + masses[second] * positions[second]) / total
    masses[first] = total
    groups[first] += groups[second]
    alive[second] = False
    costs[second] = costs[:, second] = np.inf
    renewed = np.where(alive, _ward(masses, positions, first), np.inf)
    costs[first], costs[:, first] = renewed, renewed
  kept = np.flatnonzero(alive)
  result = slots.take(kept)
  ids, weights, labels, sums = (np.array(part) for part in (result.ids, result.weights, result.labels,
                                                            result.sample_weights))
  for place, row in enumerate(kept):
    members = groups[row]
    if len(members) > 1:
      shares = slots.sample_weights[members].astype(np.float64)
      sums[place] = shares.sum()
      labels[place] = shares @ slots.labels[members] / shares.sum()
      for field, most in enumerate(max_ids):
        ids[place, field], weights[place, field] = _union(
            slots.ids[members, field], slots.weights[members, field] * shares[:, None], most)
  return result.replace(ids=ids, weights=weights, labels=labels, sample_weights=sums / sums.mean())


def _ward(masses: np.ndarray, positions: np.ndarray, row: int) -> np.ndarray:
  costs = masses * masses[row] / (masses + masses[row]) * np.square(positions - positions[row]).sum(axis=1)
  costs[row] = np.inf
  return costs


def _union(ids: np.ndarray, weights: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
  """The heaviest `most` ids of bags `[n, max_ids]` together, and their shares, both padded to `[max_ids]`."""
  values, places = np.unique(ids, return_inverse=True)
  sums = np.bincount(places.ravel(), weights.ravel().astype(np.float64))
  heaviest = np.argsort(-sums, kind="stable")[:most]
  heaviest = heaviest[sums[heaviest] > 0]
  width = ids.shape[1]
  bag, shares = np.zeros(width, np.int32), np.zeros(width, np.float32)
  bag[:len(heaviest)], shares[:len(heaviest)] = values[heaviest], sums[heaviest] / sums[heaviest].sum()
  return bag, shares


def _bounded(influences: np.ndarray) -> np.ndarray:
  size = np.abs(influences)
  return np.clip(size / max(size.mean(), 1e-30), 0.25, 4)


RULES: Mapping[str, Rule] = {
    "random": keep(_random),
    "oldest": keep(lambda evidence: evidence.old.born_spans.astype(np.float64)),
    "lightest": keep(lambda evidence: evidence.old.sample_weights),
    "decayed mass": keep(_decayed(3.0)),
    "reservoir": keep(_by_mass_at_random),
    "influence and overlap": keep(
        lambda evidence: ranks(_old(evidence.influences(), evidence)) + ranks(evidence.overlaps())),
    "influence": keep(lambda evidence: _old(evidence.influences(), evidence)),
    "size of influence": keep(lambda evidence: np.abs(_old(evidence.influences(), evidence))),
    "overlap": keep(lambda evidence: evidence.overlaps()),
    "removal cost": keep(lambda evidence: _old(evidence.removal_costs(), evidence)),
    "removal cost, one proxy": keep(lambda evidence: _old(evidence.removal_costs(proxies=("dnn",)), evidence)),
    "removal cost, two rounds": keep(_removal_in_rounds),
    "removal cost, new slots too": _removal_of_any,
    "removal cost, half replayed": keep(lambda evidence: _old(evidence.removal_costs(rows="replay 0.5"), evidence)),
    "removal cost, replayed by mass": keep(
        lambda evidence: _old(evidence.removal_costs(rows=f"replay {_replayed(evidence)}"), evidence)),
    "removal cost and age": keep(
        lambda evidence: ranks(_old(evidence.removal_costs(), evidence)) + ranks(evidence.old.born_spans)),
    "removal cost, half replayed, and age": keep(
        lambda evidence: ranks(_old(evidence.removal_costs(rows="replay 0.5"), evidence))
        + ranks(evidence.old.born_spans)),
    "merge": merged(lambda evidence: np.ones(len(evidence.old) + len(evidence.new))),
    "merge by influence": merged(lambda evidence: _bounded(evidence.influences())),
    "oracle": keep(lambda evidence: evidence.retrained_costs()),
    "removal cost, of the future": keep(lambda evidence: _old(evidence.removal_costs(rows="future"), evidence)),
}
