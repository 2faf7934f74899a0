"""Training one member of the panel on the log, on memories and on baselines, with settings chosen on held-back rows.

For the log, its sub-samples and every baseline the learning rate, and for the log and a baseline with free epochs the
epochs too, are chosen on held-back examples of the newest training spans, with the first seed. Where the best rate is
at the edge of the candidates, they are extended, a few times at most. Rates are constant, and Adam has its usual
constants. A memory has one recipe for all members, of whose rates each chooses a factor on the memory's own scored
rows. What the choice costs is noted beside what a training costs.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from benchmarks.fidelity.trained import Choosing, Trained
from diet_tf.errors import NumericsError
from diet_tf.fidelity.scores import noise_bound, selection_score
from diet_tf.fidelity.trainings import (
  AfterEpoch,
  Choice,
  choose,
  choose_rates,
  choosing_flops,
  flops_per_slot,
  noted,
  row_batches,
  scores_until_divergence,
  train_and_predict,
  train_on_batches,
  train_on_memory,
)
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.memory import Memory
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.memory.tuning import AS_THE_RECIPE, DEFAULT_TUNING, TunedRates, Tuning
from diet_tf.models.parameter_groups import PARAMETER_GROUPS
from diet_tf.training.learner import Learner
from diet_tf.training.slot_trainer import Candidate, SlotTrainer

LEARNING_RATES = (1e-3, 3e-3, 1e-2)
# How often, at most, the rates that are tried are extended.
MAX_EXTENSIONS = 3
LOG_EPOCHS = (1, 2, 4, 8)
ROW_EPOCHS = (2, 5, 10)
LOG_BATCH_SIZE = 256


def best_choice(scores_of: Callable[[float], Mapping[Choice, float]], member: str) -> Choice:
  """The choice of the highest score; the rates tried are extended while the best is at their edge.

  Args:
    scores_of: maps a learning rate to the scores of all choices with it; empty where the training diverged.
    member: name of the member, for the error.

  Raises:
    NumericsError: every training diverged.
  """
  return choose(scores_of, LEARNING_RATES, f"panel member {member!r}", max_extensions=MAX_EXTENSIONS)


class _Meter:
  """What is trained and scored while settings are chosen.

  Args:
    score: function that scores the model as it is, on held-back rows.
    num_scored: number of these rows.
  """

  def __init__(self, score: Callable[[], float], num_scored: int) -> None:
    self._score, self._num_scored = score, num_scored
    self._examples = self._scored = 0
    self._seconds = 0.0

  def score(self) -> float:
    """The score of the model as it is."""
    started = time.perf_counter()
    found = self._score()
    self._seconds += time.perf_counter() - started
    self._scored += self._num_scored
    return found

  def train(self, train: Callable[..., float], num_rows: int, after_epoch: AfterEpoch | None = None) -> None:
    """Runs a training, which may diverge.

    Args:
      train: function that trains and returns the seconds that it took; it is given the callback after each pass.
      num_rows: number of rows of a pass.
      after_epoch: callback of the training.
    """
    passes, scoring, started = 0, self._seconds, time.perf_counter()

    def counted(epoch: int) -> bool:
      nonlocal passes
      passes = epoch
      return after_epoch is not None and after_epoch(epoch)

    try:
      self._seconds += train(after_epoch=counted)
    except NumericsError:
      # The pass that diverged was paid for, too; how long it took without building is not known.
      passes += 1
      self._seconds = scoring + time.perf_counter() - started
      raise
    finally:
      self._examples += passes * num_rows

  def cost(self, flops_per_row: float) -> Choosing:
    """What the choice cost, from the floating-point operations of training on a row."""
    # Scoring is the forward part of a step, a third of it by the estimate of `Learner.flops_per_example`.
    return Choosing(self._examples, flops_per_row * (self._examples + self._scored / 3), self._seconds)


class MemberTrainer:
  """Trains one member on anything.

  Args:
    name: name of the member.
    spec: feature spec of log and memories.
    recipe: recipe whose Adam constants all memories share; their learning rates are followed anew for each.
    selection: held-back rows that settings are chosen on.
    test: rows that predictions are made for.
  """

  def __init__(self, name: str, spec: FeatureSpec, recipe: Recipe, selection: EncodedRows, test: EncodedRows) -> None:
    self._learner = Learner(name, spec, recipe)
    self._selection, self._test = selection, test

  def on_log(self, rows: EncodedRows, held_back: np.ndarray, seeds: Sequence[int]) -> Trained:
    """Training on the log in time order, in as many passes as are best of `LOG_EPOCHS`.

    Args:
      rows: rows of the log.
      held_back: `[num_rows]` bool, those left out while the learning rate and the passes are chosen.
      seeds: seeds of the initial weights, one training each.
    """
    choice, choosing = self._chosen(rows.take(~held_back), seeds[0], LOG_EPOCHS)
    return self._trained([_log_batches(rows)] * len(seeds), seeds, choice, choosing, len(rows))

  def on_sample(self, draws: Sequence[EncodedRows], seeds: Sequence[int]) -> Trained:
    """One pass over a sub-sample of the log, in time order and in batches as on the log.

    Args:
      draws: rows of the sub-sample for each seed, none of which are held back.
      seeds: seeds of the initial weights, one training each.
    """
    choice, choosing = self._chosen(draws[0], seeds[0], (1,))
    return self._trained(list(map(_log_batches, draws)), seeds, choice, choosing, float(np.mean(list(map(len, draws)))))

  def _chosen(self, rows: EncodedRows, seed: int, epochs: Sequence[int]) -> tuple[Choice, Choosing]:
    """The best learning rate and number of passes for training on rows, and what it cost to find them."""
    batches = _log_batches(rows)
    meter = _Meter(self._score, len(self._selection))

    def scores_of(rate: float) -> dict[Choice, float]:
      def train(note: Callable[[Choice, float], None]) -> None:
        after_epoch = noted(epochs, rate, meter.score, note, tolerance=noise_bound(self._selection.labels))
        meter.train(functools.partial(train_on_batches, self._learner, batches, seed=seed, learning_rate=rate,
                                      epochs=max(epochs)), len(rows), after_epoch)

      return scores_until_divergence(train)

    return best_choice(scores_of, self._learner.member), meter.cost(self.flops_per_row)

  def _trained(self, batches: Sequence[tf.data.Dataset], seeds: Sequence[int], choice: Choice, choosing: Choosing,
               num_rows: float) -> Trained:
    """Trainings by a choice on batches of the log, one for each seed, which have `num_rows` rows on average."""
    outcome = train_and_predict(self._learner, self._log_trainings(batches, seeds, choice), [self._test.ids])
    examples = round(num_rows * choice.epochs)
    return Trained(outcome.logits[0], choice.learning_rate, choice.epochs, examples, examples * self.flops_per_row,
                   outcome.seconds, choosing, self._learner.start_seconds())

  def _score(self) -> float:
    return selection_score("auc", self._selection.labels, self._learner.logits(self._selection.ids))

  def course(self, rows: EncodedRows, memories: Sequence[Memory], seeds: Sequence[int], choice: Choice,
             tests: Mapping[str, EncodedRows]) -> dict[str, Trained]:
    """Trainings on the memories of one stage and on the log up to it, by "test/memory" and "test/log".

    Args:
      rows: rows of the log so far.
      memories: memories of the stage, one per seed.
      seeds: seeds of the initial weights.
      choice: learning rate and passes on the log, as chosen before.
      tests: rows that predictions are made for, by name.
    """
    whole, found = _log_batches(rows), {}
    trainings = {"memory": self._memory_passes(memories, seeds),
                 "log": self._log_trainings([whole] * len(seeds), seeds, choice)}
    for source, of_seeds in trainings.items():
      outcome = train_and_predict(self._learner, of_seeds, [test.ids for test in tests.values()])
      rate, epochs = ((None, memories[0].recipe.epochs) if source == "memory" else
                      (choice.learning_rate, choice.epochs))
      examples = epochs * len(memories[0] if source == "memory" else rows)
      for name, logits in zip(tests, outcome.logits, strict=True):
        found[f"{name}/{source}"] = Trained(logits, rate, epochs, examples, float("nan"), outcome.seconds)
    return found

  def _log_trainings(self, batches: Sequence[tf.data.Dataset], seeds: Sequence[int],
                     choice: Choice) -> list[Callable[[], float]]:
    return [functools.partial(train_on_batches, self._learner, of_seed, seed=seed, epochs=choice.epochs,
                              learning_rate=choice.learning_rate)
            for of_seed, seed in zip(batches, seeds, strict=True)]

  def _memory_passes(self, memories: Sequence[Memory], seeds: Sequence[int]) -> list[Callable[[], float]]:
    return [functools.partial(train_on_memory, self._learner, memory, seed=seed)
            for memory, seed in zip(memories, seeds, strict=True)]

  def on_memories(self, memories: Sequence[Memory], seeds: Sequence[int], *,
                  tuning: Tuning | None = DEFAULT_TUNING) -> Trained:
    """Training by the recipe, with a factor of its rates that is chosen on each memory's own scored rows.

    Args:
      memories: memories to train on, one per seed.
      seeds: seeds of the initial weights, also of the trainings that choosing takes.
      tuning: factors that are tried; None trains by the recipe's rates.
    """
    tuned = [choose_rates(self._learner, memory, tuning, seed=seed)
             for memory, seed in zip(memories, seeds, strict=True)]
    trainings = [functools.partial(train_on_memory, self._learner, memory, seed=seed,
                                   factors=AS_THE_RECIPE if one is None else one.factors)
                 for memory, seed, one in zip(memories, seeds, tuned, strict=True)]
    outcome = train_and_predict(self._learner, trainings, [self._test.ids])
    # The gate may have kept a smaller memory, of the span before, for some seeds.
    examples = round(np.mean([len(memory) * memory.recipe.epochs for memory in memories]))
    return Trained(outcome.logits[0], None, memories[0].recipe.epochs, examples,
                   examples * flops_per_slot(self._learner, memories[0]), outcome.seconds,
                   self._choosing(memories, tuned), self._learner.start_seconds(by_recipe=True))

  def _choosing(self, memories: Sequence[Memory], tuned: Sequence[TunedRates | None]) -> Choosing:
    """What choosing rates cost on one memory, the mean over all of them."""
    costs = [Choosing(one.num_trainings * len(memory) * memory.recipe.epochs,
                      choosing_flops(self._learner, memory, one), one.seconds)
             for memory, one in zip(memories, tuned, strict=True) if one is not None]
    total = sum(costs, Choosing())
    return Choosing(round(total.examples / len(tuned)), total.flops / len(tuned), total.seconds / len(tuned))

  @functools.cached_property
  def flops_per_row(self) -> float:
    """Floating-point operations of training on one row of the log, see `Learner.flops_per_example`."""
    return self._learner.flops_per_example(0)


def _log_batches(rows: EncodedRows) -> tf.data.Dataset:
  return row_batches(rows.ids, rows.labels, LOG_BATCH_SIZE)


class RowsTrainer:
  """Trains one member on rows of the log, as slots of one id per field; its graph is traced once for all of them.

  Args:
    name: name of the member.
    spec: feature spec of the rows.
    parts: all rows that the member will be trained on.
    batch_size: rows per step, as in a memory's recipe.
    selection: held-back rows that settings are chosen on.
    test: rows that predictions are made for.
  """

  def __init__(self, name: str, spec: FeatureSpec, parts: Sequence[Slots], batch_size: int, selection: EncodedRows,
               test: EncodedRows) -> None:
    self._name = name
    self._recipe = Recipe(batch_size=batch_size)
    self._trainer = SlotTrainer(name, spec, parts, self._recipe)
    self._selection, self._test = selection, test

  def on_rows(self, draws: Sequence[Slots], seeds: Sequence[int], *, equal_cost_epochs: int,
              flops_per_example: float) -> dict[bool, Trained]:
    """Training on a baseline's rows, one draw per seed: by whether the epochs are those of the memory, or free.

    Args:
      draws: rows of the baseline for each seed, with the labels to train on.
      seeds: seeds of the initial weights.
      equal_cost_epochs: number of passes that cost as much as training on the memory.
      flops_per_example: floating-point operations of one training step, per row.
    """
    free = sorted({equal_cost_epochs, *ROW_EPOCHS})
    known: dict[Choice, tuple[float, Choosing]] = {}

    def scores_of(asked: set[Choice], epochs: Sequence[int], rate: float) -> dict[Choice, float]:
      choices = [Choice(rate, count) for count in epochs]
      asked.update(choices)
      for choice in choices:
        if choice not in known:
          known[choice] = self._tried(draws[0], seeds[0], choice, flops_per_example)
      return {choice: known[choice][0] for choice in choices if np.isfinite(known[choice][0])}

    found = {}
    for equal, epochs in ((False, free), (True, [equal_cost_epochs])):
      asked: set[Choice] = set()
      choice = best_choice(functools.partial(scores_of, asked, epochs), self._name)
      # A setting that both kinds ask for is trained once, and counts for each of them.
      choosing = sum((known[one][1] for one in asked), Choosing())
      started = time.perf_counter()
      logits = np.stack([self._train(draw, seed, choice, self._test) for draw, seed in zip(draws, seeds, strict=True)])
      if not np.isfinite(logits).all():
        raise NumericsError(f"panel member {self._name!r} on a baseline", rule="it trains to finite logits.",
                            received=f"not so at learning rate {choice.learning_rate:g}.",
                            remedy="leave out the member, or look for a faulty span.")
      examples = len(draws[0]) * choice.epochs
      found[equal] = Trained(logits, choice.learning_rate, choice.epochs, examples, examples * flops_per_example,
                             (time.perf_counter() - started) / len(seeds), choosing)
    return found

  def _tried(self, rows: Slots, seed: int, choice: Choice, flops_per_example: float) -> tuple[float, Choosing]:
    """The score of a choice on the held-back rows, NaN where its training diverged, and what it cost."""
    started = time.perf_counter()
    logits = self._train(rows, seed, choice, self._selection)
    examples = len(rows) * choice.epochs
    cost = Choosing(examples, flops_per_example * (examples + len(self._selection) / 3), time.perf_counter() - started)
    finite = np.isfinite(logits).all()
    return (selection_score("auc", self._selection.labels, logits) if finite else float("nan")), cost

  def _train(self, rows: Slots, seed: int, choice: Choice, scored: EncodedRows) -> np.ndarray:
    recipe = dataclasses.replace(self._recipe, epochs=choice.epochs,
                                 learning_rates=dict.fromkeys(PARAMETER_GROUPS, choice.learning_rate))
    self._trainer.train(Candidate(rows, recipe), seed)
    return self._trainer.logits(scored.ids)


def slots_of_rows(rows: EncodedRows, labels: np.ndarray, weights: np.ndarray) -> Slots:
  """Rows of the log as slots of one id per field.

  Args:
    rows: rows of the log in the order of training.
    labels: `[num_rows]` labels in [0, 1], which take the place of the rows' own.
    weights: `[num_rows]` sample weights.
  """
  number = np.arange(len(rows))
  return Slots(ids=rows.ids[..., None], weights=np.ones((*rows.ids.shape, 1)), labels=labels, sample_weights=weights,
               slot_ids=number, born_spans=rows.spans, updated_spans=rows.spans, influences=0.0 * number)
