"""Learning rates for one model: factors of a recipe's rates, chosen by the loss on rows that the teacher has scored.

A memory has one recipe for all models. The log's trainings choose their rate for each model, and much of what a memory
gets wrong in the order of models is that the recipe fits one better than another. So a model may choose, for little: by
two to five trainings on the memory, from one initial weight, judged by how well their logits tell the teacher's
probabilities on the memory's scored sample (`diet_tf.memory.scored_sample`). The clicks of as many rows do not tell
rates apart. The loss is that after calibration, see `ScoredRows.loss`: a memory trains its models too sure or too
unsure of what they order well, and a rate that mends this alone is no better for ranking (docs/method.md).

Factors are tried one group after the other: first those of all rates, then, for models with linear weights beside
embeddings, those of their rate beside the others. The search begins at the recipe and goes on as long as the loss
falls: of all rates up, and otherwise down; of linear weights down, since beside embeddings they learn what these are to
learn, and otherwise up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from diet_tf.errors import ConfigError, NumericsError
from diet_tf.log.hashing import mix
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.metrics import log_loss
from diet_tf.pointwise_metrics import click_probabilities

# Rows that are drawn from slots where a memory has rules for users, and so no rows of the log.
ROWS_FROM_SLOTS = 2048
# Of the calibration: it ends where a step gains less, in nats, which is far below what tells two rates apart.
LEAST_GAIN, MAX_NEWTON_STEPS, RIDGE = 1e-10, 50, 1e-12
LEAST_PROBABILITY = 1e-6


class RateFactors(NamedTuple):
  """What multiplies the learning rates of a recipe.

  Attributes:
    overall: factor of all rates.
    linear: further factor of the rate of linear weights.
  """

  overall: float = 1.0
  linear: float = 1.0

  def of(self, recipe: Recipe) -> Recipe:
    """The recipe with its rates multiplied."""
    return dataclasses.replace(recipe, learning_rates={group: rate * self.of_group(group)
                                                       for group, rate in recipe.learning_rates.items()})

  def of_group(self, group: str) -> float:
    """The factor of one parameter group."""
    return self.overall * (self.linear if group == "linear" else 1.0)

  def __str__(self) -> str:
    return f"{self.overall:g}" if self.linear == 1.0 else f"{self.overall:g}, linear {self.overall * self.linear:g}"


AS_THE_RECIPE = RateFactors()


@dataclasses.dataclass(frozen=True)
class Tuning:
  """The factors of a recipe's learning rates that are tried.

  Attributes:
    overall: factors of all rates, ascending; 1 is one of them.
    linear: further factors of the rate of linear weights, ascending; 1 is one of them.
  """

  overall: tuple[float, ...] = (0.5, 1.0, 2.0)
  linear: tuple[float, ...] = (0.25, 1.0, 4.0)

  def __post_init__(self) -> None:
    for name in ("overall", "linear"):
      values = tuple(float(value) for value in getattr(self, name))
      object.__setattr__(self, name, values)
      if not (1.0 in values and min(values) > 0 and np.isfinite(values).all()
              and list(values) == sorted(set(values))):
        raise ConfigError(f"tuning.{name}", rule="factors are positive and ascending, and 1 is one of them.",
                          received=repr(values), remedy="use (0.5, 1, 2).")


DEFAULT_TUNING = Tuning()


@dataclasses.dataclass(frozen=True)
class TunedRates:
  """What was chosen for one model, and on what.

  Attributes:
    factors: the factors with the least loss.
    losses: loss in nats of each training that choosing took, see `ScoredRows.loss`, in their order; infinite where one
      diverged.
    source: "scored rows", or "slots" where these were drawn from the memory's own slots.
    seconds: wall time of these trainings and of judging them, without building and tracing.
  """

  factors: RateFactors
  losses: Mapping[RateFactors, float]
  source: str
  seconds: float = 0.0

  @property
  def num_trainings(self) -> int:
    """Number of trainings that choosing took."""
    return len(self.losses)


@dataclasses.dataclass(frozen=True)
class ScoredRows:
  """Rows with the teacher's probabilities that rates are chosen by.

  Attributes:
    ids: `[num_rows, num_places]` int32, encoded rows; `[num_rows, num_fields]` where they were drawn from slots.
    probabilities: `[num_rows]` float32.
    source: "scored rows" or "slots", see `TunedRates`.
  """

  ids: np.ndarray
  probabilities: np.ndarray
  source: str

  def loss(self, logits: np.ndarray) -> float:
    """The mean cross-entropy of calibrated logits against the probabilities, in nats.

    `min over a >= 0 and b of mean(-p log sigmoid(a z + b) - (1 - p) log sigmoid(-a z - b))` for logits `z`, as in
    Platt, "Probabilistic outputs for support vector machines" (1999), with probabilities in the place of labels.

    Args:
      logits: `[num_rows]`; the loss is infinite if one is not finite.
    """
    z = np.asarray(logits, np.float64)
    return calibrated_cross_entropy(z, self.probabilities.astype(np.float64)) if np.isfinite(z).all() else float("inf")


def calibrated_cross_entropy(logits: np.ndarray, probabilities: np.ndarray) -> float:
  """The least cross-entropy of `a z + b` with `a >= 0` against probabilities, by Newton's method; in nats.

  Args:
    logits: `[num_rows]` float64, finite.
    probabilities: `[num_rows]` float64 in [0, 1].
  """
  spread = logits.std()
  features = np.stack([(logits - logits.mean()) / (spread if spread > 0 else 1.0), np.ones_like(logits)], axis=1)
  mean = np.clip(probabilities.mean(), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
  constant = np.array([0.0, np.log(mean / (1 - mean))])
  found, loss = constant, log_loss(probabilities, features @ constant)
  for _ in range(MAX_NEWTON_STEPS):
    predicted = click_probabilities(features @ found)
    gradient = features.T @ (predicted - probabilities) / len(logits)
    curvature = (features * (predicted * (1 - predicted))[:, None]).T @ features / len(logits)
    step = np.linalg.solve(curvature + RIDGE * np.eye(2), gradient)
    # A whole step may go too far where the curve is flat.
    for length in (1.0, 0.5, 0.25, 0.125):
      candidate = found - length * step
      lower = log_loss(probabilities, features @ candidate)
      if lower < loss:
        break
    else:
      break
    found, gained, loss = candidate, loss - lower, lower
    if gained < LEAST_GAIN:
      break
  return loss if found[0] >= 0 else log_loss(probabilities, features @ constant)


def choose_factors(loss_of: Callable[[RateFactors], float], tuning: Tuning, subject: str, source: str, *,
                   has_linear: bool) -> TunedRates:
  """The factors with the least loss, found one ladder after the other.

  Args:
    loss_of: trains with some factors, and returns the loss on the scored rows; infinite where it diverged.
    tuning: the factors that are tried.
    subject: name of what is trained, for the error.
    source: what the loss is taken on, see `TunedRates`.
    has_linear: whether the model has linear weights beside embeddings, so that their rate may be another.

  Raises:
    NumericsError: every training diverged.
  """
  losses: dict[RateFactors, float] = {}

  def loss(factors: RateFactors) -> float:
    if factors not in losses:
      losses[factors] = loss_of(factors)
    return losses[factors]

  best = _along([RateFactors(value) for value in tuning.overall], tuning.overall.index(1.0), 1, loss)
  if has_linear:
    best = _along([RateFactors(best.overall, value) for value in tuning.linear], tuning.linear.index(1.0), -1, loss)
  if not np.isfinite(losses[best]):
    raise NumericsError(subject, rule="at least one of the learning rates that are tried gives a finite loss.",
                        received=f"none of the factors {', '.join(map(str, losses))}.",
                        remedy="check the memory with `diet memory show`, and the model.")
  return TunedRates(best, losses, source)


def _along(ladder: list[RateFactors], start: int, first: int, loss: Callable[[RateFactors], float]) -> RateFactors:
  """Where the loss stops falling along a ladder, from its start in the first direction, 1 or -1, or else the other."""
  best = start
  loss(ladder[best])
  for step in (first, -first):
    while 0 <= best + step < len(ladder) and loss(ladder[best + step]) < loss(ladder[best]):
      best += step
    if best != start:
      break
  return ladder[best]


def drawn_from_slots(slots: Slots, num_rows: int, seed: int = 0) -> ScoredRows:
  """Rows drawn from slots by their weights, one id per field by its weight, with the slots' labels.

  Args:
    slots: slots, in which ids of a field come before its padding.
    num_rows: number of rows.
    seed: seed of the draws.
  """
  shares = _uniform(num_rows * (1 + slots.num_fields), seed).reshape(num_rows, -1)
  chosen = slots.take(_places(slots.sample_weights[None], shares[:, :1].T)[0])
  columns = [chosen.ids[np.arange(num_rows), field, _places(chosen.weights[:, field], shares[:, 1 + field, None])[:, 0]]
             for field in range(slots.num_fields)]
  return ScoredRows(np.stack(columns, axis=1), chosen.labels, "slots")


def _uniform(count: int, seed: int) -> np.ndarray:
  return mix(np.arange(count), seed) / 2.0**64


def _places(weights: np.ndarray, shares: np.ndarray) -> np.ndarray:
  """`[n, num_shares]`, where the running sum of each row of weights `[n, K]` first exceeds shares of the whole."""
  running = np.cumsum(weights, axis=1, dtype=np.float64)
  wanted = shares * running[:, -1:]
  return np.minimum((running[:, None, :] <= wanted[..., None]).sum(axis=2), weights.shape[1] - 1)
