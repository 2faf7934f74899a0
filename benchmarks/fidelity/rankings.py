"""How a source orders the members of a panel, set against the order by training on the log; numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.fidelity.sources import LOG
from benchmarks.fidelity.trained import Scores, Trained
from diet_tf import metrics
from diet_tf.fidelity.agreement_interval import agreement_interval
from diet_tf.fidelity.scores import components_of_seeds
from diet_tf.fidelity.verdict import AGREEMENT_CONFIDENCE

# Figures of a source, under the names of the result.
FIGURES = ("agreement", "agreement_low", "agreement_high", "kendall_tau_b", "regret", "regret_at_3")


class Rankings:
  """The orders of some members by what they were trained on, and the pairs that the log resolves.

  Agreements are of one source at a time: each takes some tenths of a second for twenty members with five seeds, and no
  more memory than the source's own components of the AUC.

  Args:
    scores: trainings by source and member's name.
    names: names of the members, all of which were trained on the log.
    labels: `[num_test]` labels of the test examples, 0 or 1.

  Attributes:
    pairs: pairs of members, by their numbers, whose difference on the log is resolved.
  """

  def __init__(self, scores: Scores, names: Sequence[str], labels: np.ndarray) -> None:
    self._scores, self._names, self._labels = scores, tuple(names), labels
    self._known: dict[str, np.ndarray] = {}
    self._components = [components_of_seeds(labels, one.logits, np.float32) for one in self.trained(LOG)]
    self.pairs = metrics.resolved_pairs(labels, self._components)

  def has(self, source: str) -> bool:
    """Whether every member was trained on a source."""
    return all((source, name) in self._scores for name in self._names)

  def trained(self, source: str) -> list[Trained]:
    """The members' trainings on a source, in their order."""
    return [self._scores[source, name] for name in self._names]

  def standings(self, source: str) -> np.ndarray:
    """`[num_members, num_seeds]` by which a source orders the members, see `Trained.standings`."""
    if source not in self._known:
      self._known[source] = np.array([one.standings(self._labels) for one in self.trained(source)])
    return self._known[source]

  def pairs_with(self, members: Sequence[int]) -> list[tuple[int, int]]:
    """The resolved pairs that have at least one of some members, by number."""
    wanted = set(members)
    return [pair for pair in self.pairs if wanted & set(pair)]

  def agreement(self, source: str, pairs: Sequence[tuple[int, int]] | None = None) -> metrics.Agreement:
    """The agreement of a source's order by the means over seeds with the log's, without its interval.

    Args:
      source: name of the source.
      pairs: the pairs that count; None, the default, takes all that are resolved.
    """
    log, means = (self.standings(one).mean(axis=1) for one in (LOG, source))
    return metrics.agreement_on(self.pairs if pairs is None else pairs, log, means)

  def figures(self, source: str, pairs: Sequence[tuple[int, int]] | None = None) -> dict[str, Any]:
    """The figures of a source: how it orders the members by their means over seeds, and by each seed alone.

    `agreement` has the ends of its interval beside it. `agreement_of_seeds`, `regret_of_seeds` and
    `regret_at_3_of_seeds` are means over the orders that each seed gives, which is what a user has of one memory or one
    sub-sample. Members that a search gave up rank below those that went on, in the interval too, where how far each
    came is held fast.

    Args:
      source: name of the source, whose trainings have the seeds of those on the log.
      pairs: the pairs that count in the agreement; None, the default, takes all that are resolved.
    """
    counted = self.pairs if pairs is None else pairs
    agreement = self.agreement(source, counted)
    low, high = agreement_interval(self._labels, self._components, self._components_of(source), counted,
                                   confidence=AGREEMENT_CONFIDENCE)
    log, means = (self.standings(one).mean(axis=1) for one in (LOG, source))
    of_seeds = self.standings(source).T
    return {
        "agreement": agreement.share, "agreement_low": low, "agreement_high": high, "num_resolved": len(counted),
        "num_pairs": agreement.num_pairs, "kendall_tau_b": agreement.tau_b,
        "regret": metrics.regret(log, means), "regret_at_3": metrics.regret(log, means, 3),
        "agreement_of_seeds": float(np.mean([metrics.agreement_on(counted, log, one).share for one in of_seeds])),
        "regret_of_seeds": float(np.mean([metrics.regret(log, one) for one in of_seeds])),
        "regret_at_3_of_seeds": float(np.mean([metrics.regret(log, one, 3) for one in of_seeds]))}

  def _components_of(self, source: str) -> list[np.ndarray]:
    components = []
    for one in self.trained(source):
      found = components_of_seeds(self._labels, one.logits, np.float32)
      # A rung moves all of a training's components alike: its mean, and no deviation.
      components.append(found if one.rungs is None else found + np.asarray(one.rungs, np.float32)[:, None])
    return components
