"""Fidelity: how closely training a panel of models on the memory mirrors training it on the log.

Every member is trained from nothing, for each seed, on four kinds of data: the whole log in time order; the memory by
its recipe; as many random rows as the memory has slots, with their clicks; and the same rows with the
teacher's probabilities as labels. Nothing is carried over from the teacher or the proxies to a member.

The comparison is kept fair. For the log and for random rows the learning rate and the number of passes are selected for
each member on held-back examples of the log, never on the test; on the memory each member selects a factor of the
recipe's rates by the memory's own scored rows, and knows nothing else of the log. Over the log, a candidate's passes
end with the first score that is below its best beyond noise. Random rows are drawn anew for each seed from all spans,
each example being as likely as any other, by a hash of its id, so that one streaming pass finds them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from diet_tf import metrics
from diet_tf.errors import ConfigError, DataError
from diet_tf.fidelity import scores
from diet_tf.fidelity.agreement_interval import agreement_interval
from diet_tf.fidelity.member_fidelity import MemberFidelity, Training
from diet_tf.fidelity.own_rates import OwnRates
from diet_tf.fidelity.result import LOG, MEMORY, Cost, FidelityResult
from diet_tf.fidelity.trainings import (
  AfterEpoch,
  Choice,
  choose,
  choose_rates,
  choosing_flops,
  flops_per_slot,
  noted,
  scores_until_divergence,
  train_and_predict,
  train_on_log,
  train_on_memory,
  train_on_rows,
)
from diet_tf.fidelity.verdict import AGREEMENT_CONFIDENCE, RANDOM_HARD, RANDOM_SOFT
from diet_tf.io import records
from diet_tf.log.encoded_rows import BoundedSample, EncodedRows
from diet_tf.log.examples import SURVEY_BATCH, example_arrays, is_held_back, log_dataset, read_examples
from diet_tf.log.features import FeatureSpec
from diet_tf.log.hashing import salted_mix
from diet_tf.memory.memory import Memory
from diet_tf.memory.recipe import MAX_EPOCHS
from diet_tf.memory.tuning import AS_THE_RECIPE, DEFAULT_TUNING
from diet_tf.progress import Progress, silent
from diet_tf.training.learner import Learner

# Gives the teacher's click probabilities `[N]` of examples from their ids `[N, num_fields]`.
TeacherProbabilities = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class PanelSettings:
  """How the panel is trained and judged.

  Attributes:
    members: names of the architectures, see `diet_tf.models.build_model`.
    seeds: seeds of initial weights and of draws of random rows, one training each.
    learning_rates: Adam's rates to try, for the log and for random rows.
    log_epochs: numbers of passes over the log to try, for each learning rate; those after the first that is worse than
      the best beyond noise are left out.
    row_epochs: numbers of passes over random rows to try, beside the recipe's own.
    log_batch_size: examples per step of the pass over the log.
    selection: "auc" or "log_loss", the measure that settings are selected by on held-back examples.
    selection_spans: number of the newest spans that the held-back examples come from.
    selection_examples: number of held-back examples that are used at most.
    holdback_fraction: share of each span that is held back while settings are selected, strictly between 0 and 1.
    lazy: whether Adam moves only the rows of a batch in trainings on the log and on random rows. All rows that have
      occurred, as in Keras' own Adam, is the better reference (by 0.002 to 0.003 AUC on the simulated log); lazy is the
      faster one where very many ids occur.
    cache_bytes: size in bytes up to which the log's arrays are kept in memory, so that they are parsed once, not once
      per training.
    tune: whether each member chooses a factor of the recipe's rates on the memory, see `diet_tf.memory.tuning`; a
      memory without scored rows has nothing to choose by.
  """

  members: tuple[str, ...] = ("lr", "fm", "dnn", "dcn_v2")
  seeds: tuple[int, ...] = (0, 1, 2)
  learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2)
  log_epochs: tuple[int, ...] = (1, 2, 4, 8)
  row_epochs: tuple[int, ...] = (5, 10)
  log_batch_size: int = 256
  selection: str = "auc"
  selection_spans: int = 3
  selection_examples: int = 50_000
  holdback_fraction: float = 0.1
  lazy: bool = False
  cache_bytes: int = 1 << 28
  tune: bool = True

  def __post_init__(self) -> None:
    for name in ("members", "seeds", "learning_rates", "log_epochs", "row_epochs"):
      values = tuple(getattr(self, name))
      object.__setattr__(self, name, values)
      _require(name, "it has at least one entry, and none twice.", values, 0 < len(values) == len(set(values)))
    _require("learning_rates", "they are positive.", self.learning_rates, min(self.learning_rates) > 0)
    for name in ("log_epochs", "row_epochs"):
      _require(name, f"they lie in [1, {MAX_EPOCHS:,}].", getattr(self, name),
               1 <= min(getattr(self, name)) <= max(getattr(self, name)) <= MAX_EPOCHS)
    _require("seeds", "they are not negative.", self.seeds, min(self.seeds) >= 0)
    for name in ("log_batch_size", "selection_spans", "selection_examples"):
      _require(name, "it is at least 1.", getattr(self, name), getattr(self, name) >= 1)
    _require("selection", "it is 'auc' or 'log_loss'.", self.selection,
             self.selection in scores.SELECTION_MEASURES)
    _require("holdback_fraction", "it lies strictly between 0 and 1.", self.holdback_fraction,
             0 < self.holdback_fraction < 1)

  def to_dict(self) -> dict[str, Any]:
    """The settings as JSON values."""
    return {name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()}


def _require(name: str, rule: str, received: Any, holds: bool) -> None:
  if not holds:
    raise ConfigError(f"fidelity.{name}", rule=rule, received=repr(received), remedy=f"correct {name}.")


@dataclasses.dataclass(frozen=True)
class Survey:
  """What one streaming pass over the log finds.

  Attributes:
    num_examples: number of examples in all spans.
    num_bytes: size of the files in bytes.
    num_raw_bytes: size of the uncompressed TFRecords in bytes, framing included.
    selection: held-back examples of the newest spans.
    random_rows: rows that are not held back, one draw per seed.
  """

  num_examples: int
  num_bytes: int
  num_raw_bytes: int
  selection: EncodedRows
  random_rows: tuple[EncodedRows, ...]


def survey_log(log_shards: Mapping[int, Sequence[str]], spec: FeatureSpec, settings: PanelSettings, num_rows: int, *,
               progress: Progress = silent) -> Survey:
  """Counts the log, and draws from it the held-back examples and the random rows, with memory for these alone.

  Args:
    log_shards: paths of the TFRecord files of each span.
    spec: feature spec that they were encoded with.
    settings: settings of the panel.
    num_rows: number of random rows in each draw.
    progress: callback that is told of each batch.
  """
  newest = sorted(log_shards)[-settings.selection_spans:]
  draws = [BoundedSample(num_rows, functools.partial(salted_mix, seed=seed)) for seed in settings.seeds]
  held_back = BoundedSample(settings.selection_examples, functools.partial(salted_mix, seed=0))
  count = 0
  for span in sorted(log_shards):
    for ids, labels, example_ids in read_examples(log_shards[span], spec, SURVEY_BATCH):
      held = is_held_back(example_ids, settings.holdback_fraction)
      rows = EncodedRows(ids, labels, example_ids)
      if span in newest:
        held_back.add(rows.take(held))
      kept = rows.take(~held)
      for draw in draws:
        draw.add(kept)
      count += len(labels)
      progress("survey the log", count, None)
  if not count:
    raise DataError("log", rule="it holds at least one example.", received=f"none in spans {sorted(log_shards)}.",
                    remedy="check the encoded spans.")
  num_bytes, num_raw_bytes = records.shard_bytes(path for paths in log_shards.values() for path in paths)
  return Survey(count, num_bytes, num_raw_bytes, held_back.shuffled(), tuple(draw.shuffled() for draw in draws))


def evaluate_panel(log_shards: Mapping[int, Sequence[str]], memory: Memory, test_shards: Sequence[str],
                   settings: PanelSettings, *, teacher_probabilities: TeacherProbabilities | None = None,
                   bayes_auc: float | None = None, memory_uri: str = "", progress: Progress = silent,
                   strategy: tf.distribute.Strategy | None = None) -> FidelityResult:
  """The fidelity of a memory: the panel trained on the log, on the memory and on random rows, judged on a later span.

  Args:
    log_shards: paths of the TFRecord files of each span that the memory stands for.
    memory: memory that is judged.
    test_shards: paths of the TFRecord files of spans that neither log nor memory has seen.
    settings: settings of the panel.
    teacher_probabilities: function from ids to the labels of the soft-labelled random rows; without it there are none.
    bayes_auc: best possible AUC on the test examples; None, the default, where it is not known.
    memory_uri: folder or URI of the memory, for the record.
    progress: callback that is told of each training.
    strategy: `tf.distribute` strategy to train under; None takes the current one.

  Raises:
    DataError: the log or the test is empty, or has examples of one class only.
    NumericsError: a training on the memory, or all candidates of another, came to a loss that is not finite.
  """
  test = example_arrays(test_shards, memory.spec)
  metrics.check_classes(test.labels, "test rows", "judge the memory on a span with clicks and without: test_spans.")
  survey = survey_log(log_shards, memory.spec, settings, len(memory), progress=progress)
  _check_selection(survey.selection, settings)
  evaluation = _Evaluation(log_shards, memory, survey, test, settings, teacher_probabilities, progress, strategy)
  members = [evaluation.member(name) for name in settings.members]
  pairs = evaluation.resolved_pairs()
  kinds = (LOG, MEMORY)
  cost = Cost(
      records={LOG: survey.num_examples, MEMORY: len(memory), "test": len(test)},
      num_bytes={LOG: survey.num_bytes, MEMORY: memory.manifest.num_bytes, "log_raw": survey.num_raw_bytes,
                 "memory_raw": memory.manifest.num_raw_bytes},
      examples={kind: round(sum(member.trainings[kind].whole("examples") for member in members) / len(members))
                for kind in kinds},
      flops={kind: sum(member.trainings[kind].whole("flops") for member in members) for kind in kinds},
      seconds={kind: sum(member.trainings[kind].whole("seconds") for member in members) for kind in kinds})
  return FidelityResult(
      members=tuple(members), cost=cost, seeds=settings.seeds, spans=tuple(sorted(log_shards)), bayes_auc=bayes_auc,
      memory_uri=memory_uri, settings=settings.to_dict(), agreement=evaluation.agreement(members, pairs),
      differences=evaluation.differences(), num_test_clicks=int(test.labels.sum()),
      resolved_pairs=pairs)


def _check_selection(held_back: EncodedRows, settings: PanelSettings) -> None:
  """Refuses held-back examples that settings cannot be selected on, before anything is trained."""
  remedy = "raise panel.selection_spans or panel.holdback_fraction"
  if not len(held_back):
    raise DataError("held-back examples", rule="learning rates are selected on at least one.", received="none in the "
                    f"newest {settings.selection_spans} spans.", remedy=f"{remedy}.")
  if settings.selection == "auc":
    metrics.check_classes(held_back.labels, "held-back examples", f"{remedy}, or set panel.selection to log_loss.")


class _Evaluation:
  """Trains and judges one member after the other, on data that they share."""

  def __init__(self, log_shards: Mapping[int, Sequence[str]], memory: Memory, survey: Survey, test: EncodedRows,
               settings: PanelSettings, teacher_probabilities: TeacherProbabilities | None, progress: Progress,
               strategy: tf.distribute.Strategy | None) -> None:
    self._memory, self._survey, self._test, self._settings = memory, survey, test, settings
    self._progress, self._strategy = progress, strategy
    self._soft_labels = None if teacher_probabilities is None else [
        np.asarray(teacher_probabilities(rows.ids), np.float32) for rows in survey.random_rows]
    self._whole_log = self._cached(log_dataset(log_shards, memory.spec, settings.log_batch_size))
    self._log_less_held_back = self._cached(log_dataset(
        log_shards, memory.spec, settings.log_batch_size, holdback="without",
        holdback_fraction=settings.holdback_fraction))
    # Rankings are compared over test examples: per member, [num_seeds, num_examples]. Single precision takes half the
    # memory, and rounds far below the noise.
    self._components: dict[str, list[np.ndarray]] = {LOG: [], MEMORY: []}
    # Per kind, the sum over members of the components, [num_seeds, num_examples].
    self._sums: dict[str, np.ndarray] = {}
    self._done = 0
    kinds = 1 if teacher_probabilities is None else 2
    self._total = len(settings.members) * (
        (1 + kinds) * (len(settings.learning_rates) + len(settings.seeds)) + len(settings.seeds))

  def _cached(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
    num_bytes = 4 * self._survey.num_examples * (len(self._memory.spec.fields) + 3)
    return dataset.cache() if num_bytes <= self._settings.cache_bytes else dataset

  def member(self, name: str) -> MemberFidelity:
    """The figures of one member."""
    learner = Learner(name, self._memory.spec, self._memory.recipe, strategy=self._strategy,
                      lazy=self._settings.lazy)
    outcomes = {LOG: self._log(learner), MEMORY: self._on_memory(learner), RANDOM_HARD: self._rows(learner, None)}
    if self._soft_labels is not None:
      outcomes[RANDOM_SOFT] = self._rows(learner, self._soft_labels)
    components = {kind: scores for kind, (_, scores) in outcomes.items()}
    for kind, of_kind in components.items():
      self._sums[kind] = self._sums.get(kind, 0.0) + of_kind
    for kind, of_members in self._components.items():
      of_members.append(components[kind].astype(np.float32))
    differences = {kind: metrics.paired_auc_difference(self._test.labels, components[MEMORY], components[kind])
                   for kind in outcomes if kind != MEMORY}
    return MemberFidelity(name, {kind: training for kind, (training, _) in outcomes.items()}, differences,
                          metrics.lift_over_chance(self._test.labels, components[LOG]))

  def resolved_pairs(self) -> tuple[tuple[int, int], ...]:
    """The pairs of the members that were judged, by their numbers, that are resolved on the log."""
    return tuple(metrics.resolved_pairs(self._test.labels, self._components[LOG]))

  def agreement(self, members: Sequence[MemberFidelity], pairs: Sequence[tuple[int, int]]) -> metrics.Agreement:
    """The agreement on some pairs of the members that were judged, in their order, with its interval."""
    log, memory = self._components[LOG], self._components[MEMORY]
    found = metrics.agreement_on(pairs, *([member.trainings[kind].auc.mean for member in members]
                                          for kind in (LOG, MEMORY)))
    low, high = agreement_interval(self._test.labels, log, memory, pairs, confidence=AGREEMENT_CONFIDENCE)
    return dataclasses.replace(found, low=low, high=high)

  def differences(self) -> dict[str, metrics.PairedDifference]:
    """The mean AUC of the members that were judged, on the memory less that on each other kind."""
    # The mean of the members' AUCs has the mean of their components.
    means = {kind: total / len(self._components[LOG]) for kind, total in self._sums.items()}
    return {kind: metrics.paired_auc_difference(self._test.labels, means[MEMORY], means[kind])
            for kind in means if kind != MEMORY}

  def _log(self, learner: Learner) -> tuple[Training, np.ndarray]:
    def scores_of(rate: float) -> dict[Choice, float]:
      def train(note: Callable[[Choice, float], None]) -> None:
        train_on_log(learner, self._log_less_held_back, seed=self._settings.seeds[0], learning_rate=rate,
                     epochs=max(epochs), after_epoch=noted(epochs, rate, functools.partial(
                         self._selection_score, learner), note,
                         tolerance=scores.noise_bound(self._survey.selection.labels)))

      return self._candidate(train)

    epochs = self._settings.log_epochs

    choice = choose(scores_of, self._settings.learning_rates, f"panel member {learner.member!r} on {LOG}")
    trainings = [functools.partial(train_on_log, learner, self._whole_log, seed=seed, epochs=choice.epochs,
                                   learning_rate=choice.learning_rate) for seed in self._settings.seeds]
    return self._judge(learner, trainings, choice.learning_rate, choice.epochs,
                       self._survey.num_examples * choice.epochs, learner.flops_per_example(0))

  def _on_memory(self, learner: Learner) -> tuple[Training, np.ndarray]:
    epochs = self._memory.recipe.epochs
    tuned = choose_rates(learner, self._memory, DEFAULT_TUNING if self._settings.tune else None,
                         seed=self._settings.seeds[0])
    factors = AS_THE_RECIPE if tuned is None else tuned.factors
    trainings = [functools.partial(train_on_memory, learner, self._memory, seed=seed, factors=factors)
                 for seed in self._settings.seeds]
    training, components = self._judge(learner, trainings, None, epochs, len(self._memory) * epochs,
                                       flops_per_slot(learner, self._memory))
    if tuned is not None:
      training = dataclasses.replace(training, rates=OwnRates(
          *tuned.factors, tuned.num_trainings, tuned.num_trainings * len(self._memory) * epochs,
          choosing_flops(learner, self._memory, tuned), tuned.seconds, tuned.source))
    return training, components

  def _rows(self, learner: Learner, soft_labels: list[np.ndarray] | None) -> tuple[Training, np.ndarray]:
    def train(index: int, choice: Choice, after_epoch: AfterEpoch | None = None) -> float:
      return train_on_rows(learner, self._survey.random_rows[index], seed=self._settings.seeds[index],
                           learning_rate=choice.learning_rate, epochs=choice.epochs,
                           batch_size=self._memory.recipe.batch_size, after_epoch=after_epoch,
                           soft_labels=None if soft_labels is None else soft_labels[index])

    epochs = sorted({self._memory.recipe.epochs, *self._settings.row_epochs})

    def scores_of(rate: float) -> dict[Choice, float]:
      def train_longest(note: Callable[[Choice, float], None]) -> None:
        score = functools.partial(self._selection_score, learner)
        train(0, Choice(rate, epochs[-1]), noted(epochs, rate, score, note))

      return self._candidate(train_longest)

    kind = RANDOM_HARD if soft_labels is None else RANDOM_SOFT
    choice = choose(scores_of, self._settings.learning_rates, f"panel member {learner.member!r} on {kind}")
    trainings = [functools.partial(train, index, choice) for index in range(len(self._settings.seeds))]
    return self._judge(learner, trainings, choice.learning_rate, choice.epochs,
                       len(self._survey.random_rows[0]) * choice.epochs, learner.flops_per_example(0))

  def _candidate(self, train: Callable[[Callable[[Choice, float], None]], None]) -> dict[Choice, float]:
    try:
      return scores_until_divergence(train)
    finally:
      self._report()

  def _selection_score(self, learner: Learner) -> float:
    held_back = self._survey.selection
    return scores.selection_score(self._settings.selection, held_back.labels, learner.logits(held_back.ids))

  def _judge(self, learner: Learner, trainings: Sequence[Callable[[], float]], learning_rate: float | None,
             epochs: int, examples: int, flops_per_example: float) -> tuple[Training, np.ndarray]:
    """The trainings of all seeds, and per seed the components of their AUC, `[num_seeds, num_examples]`."""
    outcome = train_and_predict(learner, trainings, [self._test.ids], self._report)
    labels, (logits,) = self._test.labels, outcome.logits
    aucs, log_losses, calibrations = (tuple(scores.of_seeds(metric, labels, logits).tolist())
                                      for metric in (metrics.auc, metrics.log_loss, metrics.calibration))
    training = Training(aucs, log_losses, calibrations, learning_rate, epochs, examples,
                        examples * flops_per_example, outcome.seconds)
    return training, scores.components_of_seeds(labels, logits)

  def _report(self) -> None:
    self._done += 1
    self._progress("panel (trainings)", self._done, self._total)
