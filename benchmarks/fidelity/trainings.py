"""Training one member of the panel on the log, on memories and on baselines, with settings chosen on held-back rows.

For the log and for every baseline the learning rate, and for a baseline with free epochs the epochs too, are chosen on
held-back examples of the newest training spans, with the first seed. Where the best rate is at the edge of the
candidates, they are extended, a few times at most. Rates are constant, and Adam has its usual constants. A memory has
one recipe for all members.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from benchmarks.fidelity.figures import Trained
from benchmarks.fidelity.rows import LogRows
from diet_tf import metrics
from diet_tf.errors import NumericsError
from diet_tf.fidelity.panel import train_on_memory
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.memory import Memory
from diet_tf.memory.recipe import PARAMETER_GROUPS, Recipe
from diet_tf.memory.slots import Slots
from diet_tf.training.learner import Learner
from diet_tf.training.slot_trainer import Candidate, SlotTrainer

LEARNING_RATES = (1e-3, 3e-3, 1e-2)
# What candidates are extended by, and how often at most.
RATE_STEP = 10**0.5
MAX_EXTENSIONS = 3
ROW_EPOCHS = (2, 5, 10)
LOG_BATCH_SIZE = 256

# One training; returns its seconds.
Training = Callable[[], float]


@dataclasses.dataclass(frozen=True)
class Choice:
  """Settings of a training."""

  learning_rate: float
  epochs: int


def best_choice(score: Callable[[float], Mapping[Choice, float]], rates: Sequence[float] = LEARNING_RATES) -> Choice:
  """The choice of the highest score; the rates tried are extended while the best is at their edge.

  Args:
    score: the scores of all choices with a learning rate; empty where the training diverged.
    rates: to begin with, ascending.

  Raises:
    NumericsError: every training diverged.
  """
  scores: dict[Choice, float] = {}
  tried = sorted(rates)
  for rate in tried:
    scores.update(score(rate))
  for _ in range(MAX_EXTENSIONS):
    if not scores:
      break
    best = max(scores, key=lambda choice: scores[choice]).learning_rate
    if tried[0] < best < tried[-1]:
      break
    rate = tried[-1] * RATE_STEP if best == tried[-1] else tried[0] / RATE_STEP
    tried = sorted([*tried, rate])
    scores.update(score(rate))
  if not scores:
    raise NumericsError("panel member", rule="it trains to a finite loss at one of the learning rates.",
                        received=f"none of {tried}.", remedy="check the log's labels and the member's settings.")
  return max(scores, key=lambda choice: scores[choice])


class MemberTrainer:
  """Trains one member on anything.

  Args:
    name: the member.
    spec: the feature spec.
    recipe: of the memories; their learning rates are set anew for each.
    selection: held-back rows that settings are chosen on.
    test: rows that predictions are made for.
  """

  def __init__(self, name: str, spec: FeatureSpec, recipe: Recipe, selection: LogRows, test: LogRows) -> None:
    self._learner = Learner(name, spec, recipe)
    self._selection, self._test = selection, test

  def on_log(self, rows: LogRows, held_back: np.ndarray, seeds: Sequence[int]) -> Trained:
    """One pass over the log in time order.

    Args:
      rows: of the log.
      held_back: `[num_rows]` bool, those left out while the learning rate is chosen.
      seeds: of the initial weights.
    """
    part, whole = _log_batches(rows.take(~held_back)), _log_batches(rows)

    def score(rate: float) -> dict[Choice, float]:
      return self._scored(lambda: self._log_pass(part, seeds[0], rate), lambda: {Choice(rate, 1): self._score()})

    choice = best_choice(score)
    return self._judged(self._log_passes(whole, seeds, choice.learning_rate), choice, len(rows))

  def course(self, rows: LogRows, memories: Sequence[Memory], seeds: Sequence[int], learning_rate: float,
             tests: Mapping[str, LogRows]) -> dict[str, Trained]:
    """Trainings on the memories of one stage and on the log up to it, by "test/memory" and "test/log".

    Args:
      rows: of the log so far.
      memories: of the stage, one per seed.
      seeds: of the initial weights.
      learning_rate: on the log, as chosen before.
      tests: rows that predictions are made for, by name.
    """
    whole, found = _log_batches(rows), {}
    trainings = {"memory": self._memory_passes(memories, seeds), "log": self._log_passes(whole, seeds, learning_rate)}
    for source, of_seeds in trainings.items():
      logits, seconds = self._logits(of_seeds, list(tests.values()))
      examples = len(memories[0]) * memories[0].recipe.epochs if source == "memory" else len(rows)
      rate, epochs = (None, memories[0].recipe.epochs) if source == "memory" else (learning_rate, 1)
      for name, one in zip(tests, logits, strict=True):
        found[f"{name}/{source}"] = Trained(one, rate, epochs, examples, float("nan"), min(seconds))
    return found

  def _log_pass(self, dataset: tf.data.Dataset, seed: int, learning_rate: float) -> float:
    self._learner.reset(seed, learning_rate)
    return self._learner.train(dataset)

  def _log_passes(self, dataset: tf.data.Dataset, seeds: Sequence[int], learning_rate: float) -> list[Training]:
    return [functools.partial(self._log_pass, dataset, seed, learning_rate) for seed in seeds]

  def _memory_passes(self, memories: Sequence[Memory], seeds: Sequence[int]) -> list[Training]:
    return [functools.partial(self._memory_pass, memory, seed) for memory, seed in zip(memories, seeds, strict=True)]

  def _memory_pass(self, memory: Memory, seed: int) -> float:
    self._learner.follow(memory.recipe)
    return train_on_memory(self._learner, memory, seed=seed)

  def on_memories(self, memories: Sequence[Memory], seeds: Sequence[int]) -> Trained:
    """Training by the recipe, one memory per seed."""
    (logits,), seconds = self._logits(self._memory_passes(memories, seeds), [self._test])
    # The gate may have kept a smaller memory, of the span before, for some seeds.
    examples = round(np.mean([len(memory) * memory.recipe.epochs for memory in memories]))
    width = 0 if self._learner.input_form == "sampled" else max(memories[0].max_ids)
    return Trained(logits, None, memories[0].recipe.epochs, examples,
                   examples * self._learner.flops_per_example(width), min(seconds))

  @property
  def flops_per_row(self) -> float:
    """Floating-point operations of training on one row of the log, see `Learner.flops_per_example`."""
    return self._learner.flops_per_example(0)

  def _scored(self, train: Callable[[], float], result: Callable[[], dict[Choice, float]]) -> dict[Choice, float]:
    """What a training scores; one that diverges is out of the running, and only that."""
    try:
      train()
    except NumericsError:
      return {}
    return result()

  def _score(self) -> float:
    return metrics.auc(self._selection.labels, self._learner.logits(self._selection.ids))

  def _judged(self, trainings: Sequence[Training], choice: Choice, num_rows: int) -> Trained:
    (logits,), seconds = self._logits(trainings, [self._test])
    examples = num_rows * choice.epochs
    return Trained(logits, choice.learning_rate, choice.epochs, examples,
                   examples * self._learner.flops_per_example(0), min(seconds))

  def _logits(self, trainings: Sequence[Training],
              tests: Sequence[LogRows]) -> tuple[list[np.ndarray], list[float]]:
    """Per test, `[num_seeds, num_test]` logits after each training; and the seconds of the trainings."""
    logits: list[list[np.ndarray]] = [[] for _ in tests]
    seconds = []
    for train in trainings:
      seconds.append(train())
      for test, parts in zip(tests, logits, strict=True):
        parts.append(self._learner.logits(test.ids))
    return [np.stack(parts) for parts in logits], seconds


def _log_batches(rows: LogRows) -> tf.data.Dataset:
  ones = np.ones_like(rows.labels)
  return tf.data.Dataset.from_tensor_slices(({"ids": rows.ids}, rows.labels, ones)).batch(LOG_BATCH_SIZE)


class RowsTrainer:
  """Trains one member on rows of the log, as slots of one id per field; its graph is traced once for all of them.

  Args:
    name: the member.
    spec: the feature spec.
    parts: all rows that it will be trained on.
    batch_size: rows per step, as in a memory's recipe.
    selection: held-back rows that settings are chosen on.
    test: rows that predictions are made for.
  """

  def __init__(self, name: str, spec: FeatureSpec, parts: Sequence[Slots], batch_size: int, selection: LogRows,
               test: LogRows) -> None:
    self._name = name
    self._recipe = Recipe(batch_size=batch_size)
    self._trainer = SlotTrainer(name, spec, parts, self._recipe)
    self._selection, self._test = selection, test

  def on_rows(self, draws: Sequence[Slots], seeds: Sequence[int], *, equal_cost_epochs: int,
              flops_per_example: float) -> dict[bool, Trained]:
    """Training on a baseline's rows, one draw per seed: by whether the epochs are those of the memory, or free.

    Args:
      draws: of the baseline, with the labels to train on.
      seeds: of the initial weights.
      equal_cost_epochs: passes that cost as much as training on the memory.
      flops_per_example: of one training step, per row.
    """
    free = sorted({equal_cost_epochs, *ROW_EPOCHS})
    known: dict[Choice, float] = {}

    def score(rate: float, epochs: Sequence[int]) -> dict[Choice, float]:
      choices = [Choice(rate, count) for count in epochs]
      for choice in choices:
        if choice not in known:
          logits = self._train(draws[0], seeds[0], choice, self._selection)
          if np.isfinite(logits).all():
            known[choice] = metrics.auc(self._selection.labels, logits)
      return {choice: known[choice] for choice in choices if choice in known}

    choices = {equal: best_choice(lambda rate, epochs=epochs: score(rate, epochs))  # type: ignore[misc]
               for equal, epochs in ((False, free), (True, [equal_cost_epochs]))}
    found = {}
    for equal, choice in choices.items():
      started = time.perf_counter()
      logits = np.stack([self._train(draw, seed, choice, self._test) for draw, seed in zip(draws, seeds, strict=True)])
      if not np.isfinite(logits).all():
        raise NumericsError(f"panel member {self._name!r} on a baseline", rule="it trains to finite logits.",
                            received=f"not so at learning rate {choice.learning_rate:g}.",
                            remedy="leave out the member, or look for a faulty span.")
      examples = len(draws[0]) * choice.epochs
      found[equal] = Trained(logits, choice.learning_rate, choice.epochs, examples, examples * flops_per_example,
                             (time.perf_counter() - started) / len(seeds))
    return found

  def _train(self, rows: Slots, seed: int, choice: Choice, scored: LogRows) -> np.ndarray:
    recipe = dataclasses.replace(self._recipe, epochs=choice.epochs,
                                 learning_rates=dict.fromkeys(PARAMETER_GROUPS, choice.learning_rate))
    self._trainer.train(Candidate(rows, recipe), seed)
    return self._trainer.logits(scored.ids)


def slots_of_rows(rows: LogRows, labels: np.ndarray, weights: np.ndarray) -> Slots:
  """Rows of the log as slots of one id per field.

  Args:
    rows: in the order of training.
    labels: `[num_rows]` in [0, 1].
    weights: `[num_rows]` sample weights.
  """
  number = np.arange(len(rows))
  return Slots(ids=rows.ids[..., None], weights=np.ones((*rows.ids.shape, 1)), labels=labels, sample_weights=weights,
               slot_ids=number, born_spans=rows.spans, updated_spans=rows.spans, influences=0.0 * number)
