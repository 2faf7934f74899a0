"""The interval of the agreement: by hand where nothing but members or seeds vary, and against drawing rows in fact."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diet_tf import metrics
from diet_tf.fidelity.agreement_interval import agreement_interval, component_agreement_interval

PAIRS = [(0, 1), (0, 2), (1, 2)]
LABELS = np.array([1, 0, 1, 0])


def flat(*aucs: float | tuple[float, ...], num_seeds: int = 2) -> list[np.ndarray]:
  """Per member, components that are the same for all rows: its AUC, or one AUC per seed."""
  return [np.repeat(np.reshape(np.broadcast_to(np.float32(auc), num_seeds), [-1, 1]), 4, axis=1) for auc in aucs]


def interval(log: list[np.ndarray], memory: list[np.ndarray], confidence: float = 0.9, **changes) -> tuple:
  return agreement_interval(changes.pop("labels", LABELS), log, memory, changes.pop("pairs", PAIRS),
                            confidence=confidence, **changes)


def test_one_order_has_no_spread():
  log = flat(0.6, 0.7, 0.8)
  assert interval(log, flat(0.5, 0.6, 0.7)) == (1.0, 1.0)
  assert interval(log, flat(0.7, 0.6, 0.5)) == (0.0, 0.0)


def test_members_are_drawn_and_not_pairs():
  """Two of three members are drawn: one pair, of which (1, 2) is turned round, or twice the same member, which is none.

  So a third of the shares is 0 and the rest is 1, where draws of pairs would have shares in between.
  """
  log, memory = flat(0.6, 0.7, 0.8), flat(0.5, 0.7, 0.6)
  assert interval(log, memory) == (0.0, 1.0)
  assert interval(log, memory, confidence=0.5) == (0.0, 1.0)  # A quarter lies below 1/3.
  assert interval(log, memory, confidence=0.2) == (1.0, 1.0)  # From 0.4 on all are 1.
  assert interval(log, memory, pairs=[(1, 2)]) == (0.0, 0.0)  # Draws without that pair say nothing.


def test_seeds_are_drawn_for_all_members_alike():
  """One of two seeds is drawn; with the first the memory has the log's order, with the second the reverse."""
  log, memory = flat(0.6, 0.7, 0.8), flat((0.5, 0.61), (0.6, 0.6), (0.7, 0.59))
  assert interval(log, memory) == (0.0, 1.0)
  assert interval(log, memory, confidence=0.001)[0] in (0.0, 1.0)  # No draw mixes both orders.


@pytest.mark.parametrize("changes", [
    {"pairs": []}, {"labels": np.array([1, 0, 0, 0])}, {"labels": np.array([1, 1, 1, 0])}])
def test_what_is_not_known_has_no_interval(changes):
  assert all(map(math.isnan, interval(flat(0.6, 0.7, 0.8), flat(0.6, 0.7, 0.8), **changes)))


def test_one_seed_or_two_members_have_no_interval():
  log = flat(0.6, 0.7, 0.8, num_seeds=1)
  assert all(map(math.isnan, interval(log, log)))
  assert all(map(math.isnan, interval(flat(0.6, 0.7), flat(0.6, 0.7), pairs=[(0, 1)])))


def noisy(num_rows: int = 160) -> tuple[np.ndarray, np.ndarray]:
  """Labels, and scores `[2, num_members, num_seeds, num_rows]` of members that differ by about their noise."""
  rng = np.random.default_rng(5)
  labels = (np.arange(num_rows) % 4 == 0).astype(float)
  shared = rng.normal(size=num_rows)
  strengths = np.linspace(0.2, 1.8, 6)[:, None, None]
  own = rng.normal(size=[2, 6, 1, num_rows]) + 0.3 * rng.normal(size=[2, 6, 3, num_rows])
  return labels, strengths * labels + shared + 0.6 * own


def test_it_is_that_of_rows_drawn_in_fact():
  labels, scores = noisy()
  components = [[np.stack([metrics.auc_components(labels, seed) for seed in member]) for member in kind]
                for kind in scores]
  pairs = metrics.resolved_pairs(labels, components[0])
  assert 5 <= len(pairs) < 15
  found = agreement_interval(labels, *components, pairs, confidence=0.9)

  rng = np.random.default_rng(0)
  classes = [np.flatnonzero(labels == value) for value in (0, 1)]
  shares = []
  for _ in range(300):
    rows = np.concatenate([rng.choice(of_class, len(of_class)) for of_class in classes])
    seeds = rng.choice(3, 2)
    members = np.bincount(rng.choice(6, 5), minlength=6)
    aucs = np.array([[np.mean([metrics.auc(labels[rows], member[seed][rows]) for seed in seeds]) for member in kind]
                     for kind in scores])
    weights = np.array([members[a] * members[b] for a, b in pairs])
    same = np.array([np.prod(np.sign(aucs[:, a] - aucs[:, b])) > 0 for a, b in pairs])
    if weights.sum():
      shares.append((weights * same).sum() / weights.sum())
  assert found == pytest.approx(tuple(np.quantile(shares, [0.05, 0.95])), abs=0.06)
  assert 0.3 < found[0] < found[1] <= 1.0


def test_the_same_seed_gives_the_same_interval_however_many_rows_are_in_a_block(monkeypatch):
  labels, scores = noisy()
  components = [[np.stack([metrics.auc_components(labels, seed) for seed in member]) for member in kind]
                for kind in scores]
  pairs = metrics.resolved_pairs(labels, components[0])
  first = agreement_interval(labels, *components, pairs, confidence=0.9)
  assert agreement_interval(labels, *components, pairs, confidence=0.9) == first
  monkeypatch.setattr("diet_tf.fidelity.agreement_interval._BLOCK_ROWS", 7)
  assert agreement_interval(labels, *components, pairs, confidence=0.9) == pytest.approx(first, abs=1e-3)
  other = agreement_interval(labels, *components, pairs, confidence=0.9, seed=1)
  assert other == pytest.approx(first, abs=0.05)


def test_a_metric_over_one_stratum_of_units_has_an_interval_too():
  random = np.random.default_rng(1)
  log, memory = ([mean + random.normal(scale=0.5, size=[2, 30]) for mean in (0.0, 0.1, 0.2)] for _ in range(2))
  low, high = component_agreement_interval([np.arange(30)], log, memory, PAIRS, confidence=0.9)
  assert (low, high) == (0.0, 1.0)  # The noise of a mean of 30 is 0.1, as large as what tells the members apart.
  calm = [[mean + 0.01 * (of_member - mean) for mean, of_member in zip((0.0, 0.1, 0.2), one, strict=True)]
          for one in (log, memory)]
  assert component_agreement_interval([np.arange(30)], *calm, PAIRS, confidence=0.9) == (1.0, 1.0)
  alone = [of_member[:, :1] for of_member in log]
  assert all(map(math.isnan, component_agreement_interval([np.arange(1)], alone, alone, PAIRS, confidence=0.9)))
