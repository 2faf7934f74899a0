"""Metrics of ranking models and of comparisons between them; numpy only, no approximation by thresholds."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from diet_tf.errors import DataError, NumericsError

Values = Sequence[float] | np.ndarray
# The numbers of the units (test examples, or groups of them) in each stratum that a metric is a mean over.
Strata = Sequence[np.ndarray]

# Beyond this many degrees of freedom Student's t is the normal distribution to the third decimal.
_NORMAL_FROM = 1000.0
_NORMAL_QUANTILE_95 = 1.959964


def checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Labels and scores as `[num_examples]` float64.

  Raises:
    DataError: there is none, or they are not as many.
    NumericsError: a score is not finite.
  """
  labels, scores = np.asarray(labels, np.float64).ravel(), np.asarray(scores, np.float64).ravel()
  if labels.shape != scores.shape or not len(labels):
    raise DataError("metric", rule="labels and scores have one entry per example, and there is at least one.",
                    received=f"{len(labels)} labels, {len(scores)} scores.", remedy="pass arrays of one length.")
  if not np.isfinite(scores).all():
    raise NumericsError("scores", rule="every score is finite.",
                        received=f"{np.count_nonzero(~np.isfinite(scores))} of {len(scores)} are not.",
                        remedy="lower the learning rate of the model that gave them.")
  return labels, scores


def is_positive(labels: np.ndarray, subject: str = "labels") -> np.ndarray:
  """Whether each label is 1, as `[num_examples]` bool.

  Raises:
    DataError: a label is neither 0 nor 1.
  """
  positive = labels == 1.0
  if not (positive | (labels == 0.0)).all():
    raise DataError(subject, rule="a ranking metric needs labels that are 0 or 1.", received="other values.",
                    remedy="pass clicks, not soft labels.")
  return positive


def check_classes(labels: Values, subject: str = "labels",
                  remedy: str = "use a span with both clicked and unclicked examples.") -> None:
  """Refuses labels that no ranking metric is defined on, so that it is told before models are trained.

  Args:
    labels: `[num_examples]` labels of the examples.
    subject: name of the examples, for the message.
    remedy: sentence that says what to do about it.

  Raises:
    DataError: there is no label, one is neither 0 nor 1, or all are of one class.
  """
  labels = np.asarray(labels)
  if not len(labels):
    raise DataError(subject, rule="there is at least one example.", received="none.", remedy=remedy)
  positive = is_positive(labels, subject)
  if positive.all() or not positive.any():
    raise DataError(subject, rule="a ranking metric needs both classes.",
                    received=f"{len(labels)} examples of class {int(labels[0])}.", remedy=remedy)


def _classes(labels: np.ndarray) -> np.ndarray:
  check_classes(labels)
  return labels == 1.0


def midranks(values: np.ndarray) -> np.ndarray:
  """The 1-based ranks of `values` (`[n]`), as `[n]` float64; equal values share the mean of their ranks."""
  order = np.argsort(values, kind="stable")
  in_order = values[order]
  starts = np.flatnonzero(np.concatenate([[True], in_order[1:] != in_order[:-1]]))
  ends = np.concatenate([starts[1:], [len(values)]])
  ranks = np.empty(len(values), np.float64)
  ranks[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
  return ranks


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
  """The share of (clicked, unclicked) pairs that the scores order rightly; an equal score counts one half.

  `AUC = (sum of the midranks of the positives - m (m + 1) / 2) / (m n)` (Mann and Whitney, 1947), with `m` positives
  and `n` negatives.

  Args:
    labels: `[num_examples]`, 0 or 1.
    scores: `[num_examples]`, logits or probabilities.

  Raises:
    DataError: the labels are of one class.
    NumericsError: a score is not finite.
  """
  labels, scores = checked(labels, scores)
  positive = _classes(labels)
  num_positives = np.count_nonzero(positive)
  rank_sum = midranks(scores)[positive].sum() - num_positives * (num_positives + 1) / 2
  return float(rank_sum / (num_positives * (len(labels) - num_positives)))


def expected_auc(probabilities: np.ndarray, scores: np.ndarray | None = None) -> float:
  """The AUC that scores have on average over clicks drawn with known probabilities.

  `sum_{i != j} p_i (1 - p_j) ([s_i > s_j] + [s_i = s_j] / 2) / sum_{i != j} p_i (1 - p_j)`: the expected number of
  rightly ordered pairs over the expected number of pairs. With `scores=None` the probabilities rank, which no model
  can beat: the Bayes-optimal AUC.

  Args:
    probabilities: `[num_examples]`, in [0, 1].
    scores: `[num_examples]`, or None.
  """
  probabilities = np.asarray(probabilities, np.float64).ravel()
  probabilities, scores = checked(probabilities, probabilities if scores is None else scores)
  _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
  positives = np.bincount(inverse, probabilities, len(counts))  # [num distinct scores], ascending
  negatives = np.bincount(inverse, 1.0 - probabilities, len(counts))
  with_itself = np.dot(probabilities, 1.0 - probabilities)
  below = np.cumsum(negatives) - negatives
  # A pair of an example with itself always ties, and is no pair.
  ordered = np.dot(positives, below) + 0.5 * (np.dot(positives, negatives) - with_itself)
  pairs = positives.sum() * negatives.sum() - with_itself
  if pairs <= 0.0:
    raise DataError("probabilities", rule="both classes are possible.", received="certain labels of one class.",
                    remedy="pass at least two examples with probabilities inside (0, 1).")
  return float(ordered / pairs)


def log_loss(labels: np.ndarray, logits: np.ndarray) -> float:
  """The mean of `log(1 + exp(z)) - y z` over examples, in nats.

  Args:
    labels: `[num_examples]`, in [0, 1].
    logits: `[num_examples]`.
  """
  labels, logits = checked(labels, logits)
  return float(np.mean(np.logaddexp(0.0, logits) - labels * logits))


def calibration(labels: np.ndarray, logits: np.ndarray) -> float:
  """The clicks that a model predicts over the clicks there were: 1 is calibrated, more is too sure of clicks."""
  labels, logits = checked(labels, logits)
  clicks = labels.sum()
  if clicks <= 0.0:
    raise DataError("labels", rule="calibration needs at least one click.", received="none.",
                    remedy="use a span with clicks.")
  return float(np.exp(-np.logaddexp(0.0, -logits)).sum() / clicks)


def kendall_tau_b(first: Values, second: Values) -> float:
  """Kendall's tau-b of two rankings of the same things, in [-1, 1]; NaN where one of them ties everything.

  `(C - D) / sqrt((P - T_1) (P - T_2))` over `P` pairs, `C` concordant, `D` discordant, `T_k` tied in ranking k.
  """
  signs_first, signs_second = _pair_signs(first), _pair_signs(second)
  untied = np.count_nonzero(signs_first) * np.count_nonzero(signs_second)
  return float(np.dot(signs_first, signs_second) / np.sqrt(untied)) if untied else float("nan")


def _pair_signs(values: Values) -> np.ndarray:
  array = np.asarray(values, np.float64)
  return np.sign(array[:, None] - array[None, :])[np.triu_indices(len(array), 1)]


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A mean and its standard error (NaN from a single value)."""

  mean: float
  standard_error: float

  def __str__(self) -> str:
    return f"{self.mean:.4f}" if np.isnan(self.standard_error) else f"{self.mean:.4f} ± {self.standard_error:.4f}"


def estimate(values: Values) -> Estimate:
  """The mean of `values` and its standard error, `std / sqrt(n)` with `n - 1` in the variance."""
  array = np.asarray(values, np.float64)
  error = array.std(ddof=1) / np.sqrt(len(array)) if len(array) > 1 else float("nan")
  return Estimate(float(array.mean()), float(error))


def recovery(memory_auc: float, log_auc: float) -> float:
  """The share of the log's lift over chance that the memory keeps; NaN where the log is no better than chance."""
  return (memory_auc - 0.5) / (log_auc - 0.5) if log_auc > 0.5 else float("nan")


def regret(log_aucs: Values, memory_aucs: Values, at: int = 1) -> float:
  """The AUC on the log that is lost by trying, of all members, those alone that are best on the memory; at least 0.

  The log's AUC of its best member, less that of the best of the members that the memory ranks first: regret@1 by
  default, which is lost by picking the memory's best member unseen. Of equals on the memory, the first goes first.

  Args:
    log_aucs: per member, the AUC after training on the log.
    memory_aucs: per member, the AUC after training on the memory, or whatever else ranks the members, higher first.
    at: number of members that are tried, at least 1.
  """
  first = np.argsort(-np.asarray(memory_aucs, np.float64), kind="stable")[:at]
  return float(np.max(log_aucs) - np.max(np.asarray(log_aucs)[first]))


@functools.lru_cache(maxsize=1024)
def t_quantile_95(degrees_of_freedom: float) -> float:
  """The two-sided 95 % point of Student's t.

  With `x = sqrt(v) tan(a)`, `P(|T| < x)` is proportional to the integral of `cos(a) ** (v - 1)` from 0 to `a`, which
  holds for fractional degrees of freedom too and needs no special function.
  """
  if degrees_of_freedom > _NORMAL_FROM:
    return _NORMAL_QUANTILE_95
  # The midpoint rule never meets the end, where the density is unbounded below one degree of freedom.
  edges = np.linspace(0.0, np.pi / 2, 200_001)
  density = np.cos((edges[1:] + edges[:-1]) / 2) ** (degrees_of_freedom - 1.0)
  below = np.concatenate([[0.0], np.cumsum(density)])
  angle = np.interp(0.95 * below[-1], below, edges)
  return float(np.sqrt(degrees_of_freedom) * np.tan(angle))


@dataclasses.dataclass(frozen=True)
class PairedDifference:
  """The difference of two models by a metric, the AUC say, with the noise that they share taken out.

  Attributes:
    mean: first minus second, averaged over seeds.
    standard_error: over seeds and test examples (or groups of them) together; NaN where it is not known.
    margin: half the width of the 95 % interval; infinite where it is not known, so that nothing is resolved by it.
  """

  mean: float
  standard_error: float
  margin: float

  @property
  def resolved(self) -> bool:
    """Whether 0 lies outside the 95 % interval."""
    return abs(self.mean) > self.margin


def paired_difference(first: Values, second: Values) -> PairedDifference:
  """The mean difference of values paired by index (a seed, say), with its 95 % margin by Student's t.

  A single pair has no standard error: its margin is infinite, so that nothing is resolved by it.
  """
  differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
  if len(differences) < 2:
    return PairedDifference(float(differences.mean()), float("nan"), float("inf"))
  value = estimate(differences)
  return PairedDifference(value.mean, value.standard_error,
                          t_quantile_95(len(differences) - 1) * value.standard_error)


def auc_components(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
  """Per example, the share of the other class that it is ordered rightly against, as `[num_examples]` float64.

  Their mean over the positives is the AUC, and so is their mean over the negatives: the structural components of
  DeLong, DeLong and Clarke-Pearson (1988).
  """
  labels, scores = checked(labels, scores)
  positive = _classes(labels)
  above = midranks(scores)  # Rank among all less rank within the class = number of the other class below.
  above[positive] -= midranks(scores[positive])
  above[~positive] -= midranks(scores[~positive])
  num_positives = np.count_nonzero(positive)
  return np.where(positive, above / (len(labels) - num_positives), 1.0 - above / num_positives)


def class_strata(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The numbers of the positives and of the negatives: the AUC is a mean of components over either."""
  positive = _classes(np.asarray(labels, np.float64))
  return np.flatnonzero(positive), np.flatnonzero(~positive)


def paired_component_difference(strata: Strata, first: np.ndarray, second: np.ndarray) -> PairedDifference:
  """The difference of two models by a metric, paired over seeds and over the test examples or groups it is a mean of.

  The variance of the mean is that of the seeds' differences over the number of seeds, plus, of each stratum, that of
  the components' difference averaged over seeds, over the stratum's size; the degrees of freedom are Satterthwaite's
  (1946). With one seed only the second part is known, and is used alone. A stratum of a single unit tells nothing of
  its noise, and so of the difference's.

  Args:
    strata: numbers of the units in each stratum. Over each of them the components' mean is the metric, to first order.
    first: `[num_seeds, num_units]`, the components of the first model for each seed.
    second: the second model's, of the same shape.
  """
  differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
  per_seed = differences[:, strata[0]].mean(axis=1)
  if min(map(len, strata)) < 2:
    return PairedDifference(float(per_seed.mean()), float("nan"), float("inf"))
  over_seeds = differences.mean(axis=0)
  parts = [(over_seeds[units].var(ddof=1) / len(units), len(units) - 1) for units in strata]
  if len(per_seed) > 1:
    parts.append((per_seed.var(ddof=1) / len(per_seed), len(per_seed) - 1))
  variance = sum(value for value, _ in parts)
  if variance == 0.0:
    return PairedDifference(float(per_seed.mean()), 0.0, 0.0)
  freedom = variance**2 / sum(value**2 / count for value, count in parts)
  error = float(np.sqrt(variance))
  return PairedDifference(float(per_seed.mean()), error, t_quantile_95(freedom) * error)


def paired_auc_difference(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> PairedDifference:
  """The difference of two models' AUC, paired over seeds and test examples, see `paired_component_difference`.

  The variance over test examples is that of DeLong, DeLong and Clarke-Pearson (1988), and the strata are the classes.

  Args:
    labels: `[num_examples]`, 0 or 1.
    first: `[num_seeds, num_examples]`, the components of the first model (`auc_components`) for each seed.
    second: the second model's, of the same shape.
  """
  return paired_component_difference(class_strata(labels), first, second)


def lift_over_chance(labels: np.ndarray, components: np.ndarray) -> PairedDifference:
  """The AUC less 1/2, with the noise of seeds and test examples as in `paired_auc_difference`.

  Args:
    labels: `[num_examples]`, 0 or 1.
    components: `[num_seeds, num_examples]`, the components of the model (`auc_components`) for each seed.
  """
  return paired_auc_difference(labels, components, np.full_like(components, 0.5))


@dataclasses.dataclass(frozen=True)
class Agreement:
  """How far the memory orders the panel as the log does.

  Attributes:
    share: among the resolved pairs, the share that the memory orders the same way; NaN if none is resolved.
    num_resolved: pairs whose difference on the log is resolved at 95 %.
    num_pairs: all pairs of members.
    tau_b: Kendall's tau-b of the mean AUCs on the log and on the memory, over all pairs.
    low: lower end of the share's interval (`diet_tf.fidelity.agreement_interval`); NaN where it is not known.
    high: upper end of that interval; NaN where it is not known.
  """

  share: float
  num_resolved: int
  num_pairs: int
  tau_b: float
  low: float = float("nan")
  high: float = float("nan")


def resolved_pairs(labels: np.ndarray, components: Sequence[np.ndarray]) -> list[tuple[int, int]]:
  """The pairs of members, as indices, whose difference of AUC is told from 0 at 95 %.

  Args:
    labels: `[num_examples]`, 0 or 1.
    components: per member, `[num_seeds, num_examples]` of `auc_components`.
  """
  return resolved_component_pairs(class_strata(labels), components)


def resolved_component_pairs(strata: Strata, components: Sequence[np.ndarray]) -> list[tuple[int, int]]:
  """The pairs of members, as indices, whose difference by a metric is told from 0 at 95 %.

  Args:
    strata: as in `paired_component_difference`.
    components: per member, `[num_seeds, num_units]`.
  """
  members = range(len(components))
  return [(a, b) for a in members for b in members
          if a < b and paired_component_difference(strata, components[a], components[b]).resolved]


def agreement_on(pairs: Sequence[tuple[int, int]], log_aucs: Values, memory_aucs: Values) -> Agreement:
  """The agreement of the memory's ranking of a panel with the log's; a tie on the memory does not agree.

  Args:
    pairs: the pairs that are resolved on the log, see `resolved_pairs`.
    log_aucs: per member, the mean AUC after training on the log.
    memory_aucs: per member, the mean AUC after training on the memory.
  """
  same = sum(np.sign(memory_aucs[a] - memory_aucs[b]) == np.sign(log_aucs[a] - log_aucs[b]) for a, b in pairs)
  return Agreement(float(same / len(pairs)) if pairs else float("nan"), len(pairs),
                   len(log_aucs) * (len(log_aucs) - 1) // 2, kendall_tau_b(log_aucs, memory_aucs))


def agreement(labels: np.ndarray, log_components: Sequence[np.ndarray], log_aucs: Values,
              memory_aucs: Values) -> Agreement:
  """The agreement of two rankings of a panel, without its interval; see `resolved_pairs` and `agreement_on`."""
  return agreement_on(resolved_pairs(labels, log_components), log_aucs, memory_aucs)
