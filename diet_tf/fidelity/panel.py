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
import typing
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from diet_tf import metrics
from diet_tf.errors import DataError
from diet_tf.fidelity import panel_metrics, scores
from diet_tf.fidelity.agreement_interval import agreement_interval
from diet_tf.fidelity.grouping import group_rows
from diet_tf.fidelity.member_fidelity import MemberFidelity, Training
from diet_tf.fidelity.metric_result import MetricTally
from diet_tf.fidelity.own_rates import OwnRates
from diet_tf.fidelity.panel_metrics import MetricOnRows
from diet_tf.fidelity.panel_settings import PanelSettings
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
from diet_tf.log.row_layout import RowLayout
from diet_tf.memory.memory import Memory
from diet_tf.memory.tuning import AS_THE_RECIPE, DEFAULT_TUNING
from diet_tf.progress import Progress, silent
from diet_tf.training.learner import Learner

# Gives the teacher's click probabilities `[N]` of examples from their ids `[N, num_fields]`.
TeacherProbabilities = Callable[[np.ndarray], np.ndarray]


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
    ConfigError: the settings' group is no field of the memory.
    DataError: the log or the test is empty, or has examples of one class only, or a metric says nothing of the test.
    NumericsError: a training on the memory, or all candidates of another, came to a loss that is not finite.
  """
  test = example_arrays(test_shards, memory.spec)
  metrics.check_classes(test.labels, "test rows", "judge the memory on a span with clicks and without: test_spans.")
  groups = grouping = None
  if any(metric.within_groups for metric in settings.metrics_beside_auc):
    groups, grouping = group_rows(test, memory.spec, typing.cast(str, settings.group))
  tallies = [MetricTally(MetricOnRows.of(metric, test.labels, groups)) for metric in settings.metrics_beside_auc]
  survey = survey_log(log_shards, memory.spec, settings, len(memory), progress=progress)
  _check_selection(survey.selection, settings)
  evaluation = _Evaluation(log_shards, memory, survey, test, settings, teacher_probabilities, tallies, progress,
                           strategy)
  members = [evaluation.member(name) for name in settings.members]
  by_metric = {tally.metric.name: tally.result() for tally in tallies}
  if settings.metric == panel_metrics.AUC:
    pairs = evaluation.resolved_pairs()
    agreement = evaluation.agreement(members, pairs)
  else:
    pairs, agreement = by_metric[settings.metric].resolved_pairs, by_metric[settings.metric].agreement
  return FidelityResult(
      members=tuple(members), cost=_cost(members, memory, survey, len(test)), seeds=settings.seeds,
      spans=tuple(sorted(log_shards)), bayes_auc=bayes_auc, memory_uri=memory_uri, settings=settings.to_dict(),
      agreement=agreement, differences=evaluation.differences(), num_test_clicks=int(test.labels.sum()),
      resolved_pairs=pairs, by_metric=by_metric, grouping=grouping)


def _cost(members: Sequence[MemberFidelity], memory: Memory, survey: Survey, num_test: int) -> Cost:
  kinds = (LOG, MEMORY)
  return Cost(
      records={LOG: survey.num_examples, MEMORY: len(memory), "test": num_test},
      num_bytes={LOG: survey.num_bytes, MEMORY: memory.manifest.num_bytes, "log_raw": survey.num_raw_bytes,
                 "memory_raw": memory.manifest.num_raw_bytes},
      examples={kind: round(sum(member.trainings[kind].whole("examples") for member in members) / len(members))
                for kind in kinds},
      flops={kind: sum(member.trainings[kind].whole("flops") for member in members) for kind in kinds},
      seconds={kind: sum(member.trainings[kind].whole("seconds") for member in members) for kind in kinds})


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
               settings: PanelSettings, teacher_probabilities: TeacherProbabilities | None,
               tallies: Sequence[MetricTally], progress: Progress, strategy: tf.distribute.Strategy | None) -> None:
    self._memory, self._survey, self._test, self._settings = memory, survey, test, settings
    self._tallies, self._progress, self._strategy = tallies, progress, strategy
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
    num_bytes = 4 * self._survey.num_examples * (RowLayout.of(self._memory.spec).num_places + 3)
    return dataset.cache() if num_bytes <= self._settings.cache_bytes else dataset

  def member(self, name: str) -> MemberFidelity:
    """The figures of one member."""
    learner = Learner(name, self._memory.spec, self._memory.recipe, strategy=self._strategy,
                      lazy=self._settings.lazy)
    outcomes = {LOG: self._log(learner), MEMORY: self._on_memory(learner), RANDOM_HARD: self._rows(learner, None)}
    if self._soft_labels is not None:
      outcomes[RANDOM_SOFT] = self._rows(learner, self._soft_labels)
    for tally in self._tallies:
      tally.add(name, {kind: logits for kind, (_, logits) in outcomes.items()})
    components = {kind: scores.components_of_seeds(self._test.labels, logits)
                  for kind, (_, logits) in outcomes.items()}
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
    training, logits = self._judge(learner, trainings, None, epochs, len(self._memory) * epochs,
                                       flops_per_slot(learner, self._memory))
    if tuned is not None:
      training = dataclasses.replace(training, rates=OwnRates(
          *tuned.factors, tuned.num_trainings, tuned.num_trainings * len(self._memory) * epochs,
          choosing_flops(learner, self._memory, tuned), tuned.seconds, tuned.source))
    return training, logits

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
    """The trainings of all seeds, and per seed the logits on the test examples, `[num_seeds, num_examples]`."""
    outcome = train_and_predict(learner, trainings, [self._test.ids], self._report)
    labels, (logits,) = self._test.labels, outcome.logits
    aucs, log_losses, calibrations = (tuple(scores.of_seeds(metric, labels, logits).tolist())
                                      for metric in (metrics.auc, metrics.log_loss, metrics.calibration))
    training = Training(aucs, log_losses, calibrations, learning_rate, epochs, examples,
                        examples * flops_per_example, outcome.seconds)
    return training, logits

  def _report(self) -> None:
    self._done += 1
    self._progress("panel (trainings)", self._done, self._total)
