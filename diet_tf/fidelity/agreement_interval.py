"""The interval of a panel's agreement: a bootstrap over members, seeds and test rows.

Pairs of members are no independent trials, since two pairs may share a member and all of them share the seeds and the
test rows. So members, seeds and rows are drawn anew, all pairs follow from them, and the interval is that of the shares
that come out.

No row is drawn in fact. An AUC is the mean of its structural components over the rows of a class
(`diet_tf.metrics.auc_components`), so that to first order a draw of rows moves the AUCs of all trainings together by
means of the components' deviations: normally, with the covariance over rows of DeLong, DeLong and Clarke-Pearson
(1988). That matrix is made once, in one pass over the rows, and the draws cost nothing beside it:
`O(num_rows * num_trainings ** 2)`, with memory for a block of rows.

Of `n` seeds, or members, `n - 1` are drawn with replacement: the variance of a mean of so few draws is without bias
(Rao and Wu, Journal of the American Statistical Association 83, 1988, with `m = n - 1`), where `n` draws would leave a
third of it out for three seeds. A seed is drawn for all members alike. A member that is drawn twice counts twice in the
pairs with others, and makes no pair with itself.

Another metric is the mean of its own components over its units, rows or groups of rows such as the users, and what was
said of rows then holds of these.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diet_tf.metrics import Strata

NUM_REPLICATES = 2000
_BLOCK_ROWS = 1 << 14
_UNKNOWN = (float("nan"), float("nan"))


def agreement_interval(labels: np.ndarray, log_components: Sequence[np.ndarray],
                       memory_components: Sequence[np.ndarray], pairs: Sequence[tuple[int, int]], *,
                       confidence: float, seed: int = 0) -> tuple[float, float]:
  """The ends of the interval of the share of `pairs` that the memory orders as the log does, in [0, 1].

  The pairs are given, not found again in each draw. NaN for both ends where the noise is not known: from one seed, one
  row of a class, or where no draw holds a pair.

  Args:
    labels: `[num_rows]`, 0 or 1.
    log_components: per member, `[num_seeds, num_rows]` of `metrics.auc_components` after training on the log.
    memory_components: the same after training on the memory.
    pairs: the pairs of members, as indices, that are resolved on the log.
    confidence: share of the draws that lie within, in (0, 1); as many are left out on either side.
    seed: seed of the draws.
  """
  positive = np.asarray(labels) == 1
  return component_agreement_interval((np.flatnonzero(positive), np.flatnonzero(~positive)), log_components,
                                      memory_components, pairs, confidence=confidence, seed=seed)


def component_agreement_interval(strata: Strata, log_components: Sequence[np.ndarray],
                                 memory_components: Sequence[np.ndarray], pairs: Sequence[tuple[int, int]], *,
                                 confidence: float, seed: int = 0) -> tuple[float, float]:
  """As `agreement_interval`, by any metric that is a mean of components over test examples or groups of them.

  Args:
    strata: numbers of the units in each stratum, see `metrics.paired_component_difference`.
    log_components: per member, `[num_seeds, num_units]` after training on the log.
    memory_components: the same after training on the memory.
    pairs: the pairs of members, as indices, that are resolved on the log.
    confidence: share of the draws that lie within, in (0, 1); as many are left out on either side.
    seed: seed of the draws.
  """
  num_members, num_seeds = len(log_components), len(log_components[0])
  if not pairs or num_seeds < 2 or min(map(len, strata)) < 2:
    return _UNKNOWN
  components = [*log_components, *memory_components]
  values = np.concatenate([of_member[:, strata[0]].mean(axis=1, dtype=np.float64) for of_member in components])
  root = _square_root(np.sum([_covariance_of_means(components, units) for units in strata], axis=0))
  generator = np.random.default_rng(seed)
  noise = generator.standard_normal([NUM_REPLICATES, len(values)]) @ root
  drawn = (values + noise).reshape(NUM_REPLICATES, 2, num_members, num_seeds)
  means = np.einsum("bkms,bs->bkm", drawn, _draws(generator, num_seeds) / (num_seeds - 1))
  first, second = np.transpose(pairs)
  same = np.equal(*np.sign(means[:, :, first] - means[:, :, second]).swapaxes(0, 1))  # [num_replicates, num_pairs]
  members = _draws(generator, num_members)
  weights = members[:, first] * members[:, second]
  totals = weights.sum(axis=1)
  if not totals.any():
    return _UNKNOWN
  shares = (weights * same).sum(axis=1)[totals > 0] / totals[totals > 0]
  low, high = np.quantile(shares, [(1 - confidence) / 2, (1 + confidence) / 2])
  return float(low), float(high)


def _draws(generator: np.random.Generator, count: int) -> np.ndarray:
  """How often each of `count` things is drawn, `[num_replicates, count]`."""
  return generator.multinomial(count - 1, np.full(count, 1 / count), size=NUM_REPLICATES)


def _covariance_of_means(components: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
  """`[num_trainings, num_trainings]`: the covariance over `rows` of the components' means over them."""
  means = np.concatenate([of_member[:, rows].mean(axis=1, dtype=np.float64) for of_member in components])
  total = np.zeros([len(means), len(means)])
  for start in range(0, len(rows), _BLOCK_ROWS):
    block = rows[start:start + _BLOCK_ROWS]
    deviations = np.concatenate([of_member[:, block] for of_member in components]) - means[:, None]
    total += deviations @ deviations.T
  return total / (len(rows) * (len(rows) - 1))


def _square_root(covariance: np.ndarray) -> np.ndarray:
  """The symmetric square root, which is unique, so that draws do not hang on how eigenvectors are chosen."""
  values, vectors = np.linalg.eigh(covariance)
  return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
