"""What a member is trained on, how its learning rate is chosen, and what its trainings predict.

The panel (`diet_tf.fidelity.panel`), the comparison of architectures (`diet_tf.fidelity.comparison`) and the fidelity
benchmark all train by these functions, so that a figure means the same in each of them.

For the log and for rows of the log, settings are chosen on held-back examples with one seed; see `choose`. A memory has
one recipe for all members, of whose rates each may choose a factor on the memory's scored rows; see `choose_rates`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from diet_tf.errors import NumericsError
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.memory.memory import Memory, Mode
from diet_tf.memory.tuning import AS_THE_RECIPE, RateFactors, TunedRates, Tuning, choose_factors
from diet_tf.models.parameter_groups import has_both_tables
from diet_tf.training.flops import TRAINING_FACTOR, forward_flops
from diet_tf.training.learner import Learner

# What rates are extended by where the best of them is at the edge.
RATE_STEP = 10**0.5
# Is given the number of each pass of a training, from 1, after it; the training ends where it gives True.
AfterEpoch = Callable[[int], bool]


@dataclasses.dataclass(frozen=True)
class Choice:
  """Settings of a training that are chosen on held-back examples.

  Attributes:
    learning_rate: Adam's rate, for all parameter groups.
    epochs: number of passes over the data.
  """

  learning_rate: float
  epochs: int


def choose(scores_of: Callable[[float], Mapping[Choice, float]], rates: Iterable[float], subject: str, *,
           max_extensions: int = 0) -> Choice:
  """The choice with the highest score; of equals, the one that was tried first.

  Args:
    scores_of: maps a learning rate to the scores of all choices with it; those whose training diverged are left out.
    rates: learning rates to try, in this order.
    subject: name of what is trained, for the error.
    max_extensions: how often, at most, a rate that is `RATE_STEP` times farther out is tried as well, while the best
      rate is at the edge of those tried. 0, the default, keeps to `rates`.

  Raises:
    NumericsError: every training diverged.
  """
  tried = list(rates)
  scores: dict[Choice, float] = {}
  for rate in tried:
    scores.update(scores_of(rate))
  for _ in range(max_extensions):
    if not scores:
      break
    best = _best(scores).learning_rate
    if min(tried) < best < max(tried):
      break
    tried.append(max(tried) * RATE_STEP if best == max(tried) else min(tried) / RATE_STEP)
    scores.update(scores_of(tried[-1]))
  if not scores:
    raise NumericsError(subject, rule="at least one learning rate gives a finite loss.",
                        received=f"none of {sorted(tried)}.",
                        remedy="add lower learning rates, or look for a faulty span.")
  return _best(scores)


def _best(scores: Mapping[Choice, float]) -> Choice:
  return max(scores, key=lambda choice: scores[choice])


def scores_until_divergence(train: Callable[[Callable[[Choice, float], None]], None]) -> dict[Choice, float]:
  """The scores that a training notes; one that diverges is out of the running from there on, and only that.

  Args:
    train: function that trains, and hands the score of each choice that it reaches to the function it is given.
  """
  scores: dict[Choice, float] = {}
  with contextlib.suppress(NumericsError):
    train(scores.__setitem__)
  return {choice: score for choice, score in scores.items() if np.isfinite(score)}


def packed_batches(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """Batches of `(ids, labels, example_ids)` as a `Learner` takes them, every example with weight 1."""
  return dataset.map(lambda ids, labels, _: ({"ids": ids}, labels, tf.ones_like(labels)))


def row_batches(ids: np.ndarray, labels: np.ndarray, batch_size: int) -> tf.data.Dataset:
  """Rows of the log as a `Learner` takes them, in their order, every row with weight 1.

  Args:
    ids: `[num_rows, num_fields]` int32.
    labels: `[num_rows]` clicks, or probabilities in their place.
    batch_size: rows per step.
  """
  labels = np.asarray(labels, np.float32)
  return tf.data.Dataset.from_tensor_slices(({"ids": ids}, labels, np.ones_like(labels))).batch(batch_size)


def noted(choose_from: Sequence[int], rate: float, score: Callable[[], float], note: Callable[[Choice, float], None], *,
          tolerance: float = np.inf) -> AfterEpoch:
  """What scores a training after some of its passes, since a longer training passes through the shorter ones.

  Args:
    choose_from: numbers of passes that are scored.
    rate: learning rate of the training.
    score: function that scores the model as it is, on held-back examples.
    note: function that is handed each choice with its score.
    tolerance: the training ends with the first score that is so much below the best one; infinite for never. A model
      that has seen a log too often gets worse from pass to pass, and passes over a whole log are what costs.
  """
  best = -np.inf

  def after_epoch(epoch: int) -> bool:
    nonlocal best
    if epoch not in choose_from:
      return False
    found = score()
    note(Choice(rate, epoch), found)
    best = max(best, found)
    return found < best - tolerance

  return after_epoch


def train_on_batches(learner: Learner, batches: tf.data.Dataset, *, seed: int, learning_rate: float, epochs: int = 1,
                     after_epoch: AfterEpoch | None = None) -> float:
  """Trains on packed batches; returns the seconds that it took.

  Args:
    learner: learner of the member, which is reset first.
    batches: packed batches in the order of training, see `packed_batches` and `row_batches`.
    seed: seed of the initial weights.
    learning_rate: Adam's rate, for all parameter groups.
    epochs: number of passes over the batches.
    after_epoch: callback that is given the number of each pass, from 1, after it; the training ends where it gives
      True.
  """
  learner.reset(seed, learning_rate)
  seconds = 0.0
  for epoch in range(1, epochs + 1):
    seconds += learner.train(batches)
    if after_epoch is not None and after_epoch(epoch):
      break
  return seconds


def train_on_log(learner: Learner, dataset: tf.data.Dataset, *, seed: int, learning_rate: float, epochs: int = 1,
                 after_epoch: AfterEpoch | None = None) -> float:
  """Trains on the log; returns the seconds that it took.

  Args:
    learner: learner of the member, which is reset first.
    dataset: batches of `(ids, labels, example_ids)` in time order, see `diet_tf.log.examples.log_dataset`.
    seed: seed of the initial weights.
    learning_rate: Adam's rate, for all parameter groups.
    epochs: number of passes over the log, each in time order.
    after_epoch: callback after each pass, see `train_on_batches`.
  """
  return train_on_batches(learner, packed_batches(dataset), seed=seed, learning_rate=learning_rate, epochs=epochs,
                          after_epoch=after_epoch)


def train_on_rows(learner: Learner, rows: EncodedRows, *, seed: int, learning_rate: float, epochs: int, batch_size: int,
                  soft_labels: np.ndarray | None = None, after_epoch: AfterEpoch | None = None) -> float:
  """Trains on a few rows in a fixed order; returns the seconds that it took.

  Args:
    learner: learner of the member, which is reset first.
    rows: rows of the log, in the order of training.
    seed: seed of the initial weights.
    learning_rate: Adam's rate, for all parameter groups.
    epochs: number of passes over the rows.
    batch_size: rows per step.
    soft_labels: `[num_rows]` probabilities that take the place of the clicks; None, the default, keeps the clicks.
    after_epoch: callback after each pass, see `train_on_batches`.
  """
  batches = row_batches(rows.ids, rows.labels if soft_labels is None else soft_labels, batch_size)
  return train_on_batches(learner, batches, seed=seed, learning_rate=learning_rate, epochs=epochs,
                          after_epoch=after_epoch)


def train_on_memory(learner: Learner, memory: Memory, *, seed: int, factors: RateFactors = AS_THE_RECIPE) -> float:
  """Trains on the memory by its recipe; returns the seconds that it took.

  Args:
    learner: learner of the member, which is reset first and follows the memory's recipe; one whose model takes single
      ids only is given a draw of them per epoch.
    memory: slots and recipe.
    seed: seed of the initial weights and of the draws.
    factors: what multiplies the recipe's learning rates; by default nothing does.

  Raises:
    ConfigError: the recipe has other Adam constants than the one that the learner was made with.
  """
  recipe = factors.of(memory.recipe)
  learner.reset(seed)
  if learner.trains_on_slots:
    return learner.train_on_slots(memory.slots, recipe)
  learner.follow(recipe)
  mode: Mode = "sampled" if learner.input_form == "sampled" else "weighted"
  dataset = memory.dataset(mode=mode, seed=seed, packed=True, repeat_epochs=memory.recipe.epochs)
  return learner.train(dataset, by_recipe=True)


def choose_rates(learner: Learner, memory: Memory, tuning: Tuning | None, *, seed: int) -> TunedRates | None:
  """The factors of the recipe's rates that suit a member best, see `diet_tf.memory.tuning`.

  Args:
    learner: learner of the member.
    memory: slots, recipe and scored rows.
    tuning: the factors that are tried; None chooses nothing.
    seed: seed of the initial weights of all trainings that choosing takes.

  Returns:
    None where nothing is to be chosen, or where the memory has no rows to choose by.

  Raises:
    NumericsError: no training came to a finite loss.
  """
  rows = None if tuning is None else memory.scored_rows()
  if tuning is None or rows is None:
    return None
  learner.logits(rows.ids)  # Traces the graph, which the seconds leave out.
  seconds = 0.0

  def loss_of(factors: RateFactors) -> float:
    nonlocal seconds
    try:
      seconds += train_on_memory(learner, memory, seed=seed, factors=factors)
    except NumericsError:
      return math.inf
    started = time.perf_counter()
    loss = rows.loss(learner.logits(rows.ids))
    seconds += time.perf_counter() - started
    return loss

  tuned = choose_factors(loss_of, tuning, f"panel member {learner.member!r}", rows.source,
                         has_linear=has_both_tables(learner.model.trainable_variables))
  return dataclasses.replace(tuned, seconds=seconds)


def choosing_flops(learner: Learner, memory: Memory, tuned: TunedRates | None) -> float:
  """Floating-point operations of choosing rates: of the trainings, and of judging each on the scored rows."""
  rows = None if tuned is None else memory.scored_rows()
  if tuned is None or rows is None:
    return 0.0
  per_training = len(memory) * memory.recipe.epochs * flops_per_slot(learner, memory)
  return tuned.num_trainings * (per_training + len(rows.ids) * learner.flops_per_example(0) / TRAINING_FACTOR)


def flops_per_slot(learner: Learner, memory: Memory) -> float:
  """Floating-point operations of training on one slot, estimated; see `diet_tf.training.flops`."""
  forward = forward_flops(learner.member, learner.spec.names)
  return TRAINING_FACTOR * forward.slot(memory.slots.max_ids_per_field, memory.slots.max_ids)


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What the trainings of one member on one source gave.

  Attributes:
    logits: per test, `[num_seeds, num_test]` float32, the logits after each training.
    seconds: wall time of the fastest training, tracing and evaluation left out. The least counts, since whatever else
      the machine does only adds to it.
  """

  logits: tuple[np.ndarray, ...]
  seconds: float


def train_and_predict(learner: Learner, trainings: Iterable[Callable[[], float]], tests: Sequence[np.ndarray],
                      after_training: Callable[[], None] | None = None) -> Outcome:
  """Runs trainings one after the other, and predicts the tests after each.

  Args:
    learner: learner that the trainings train.
    trainings: functions that train it, one per seed, and return the seconds that it took.
    tests: ids of the examples to predict, `[num_test, num_fields]` int32 each.
    after_training: callback that is called after each training and its predictions.
  """
  logits: list[list[np.ndarray]] = [[] for _ in tests]
  seconds = []
  for train in trainings:
    seconds.append(train())
    for ids, of_seeds in zip(tests, logits, strict=True):
      of_seeds.append(learner.logits(ids))
    if after_training is not None:
      after_training()
  return Outcome(tuple(np.stack(of_seeds) for of_seeds in logits), min(seconds))
