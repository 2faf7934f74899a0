"""Architectures ranked by training each on a memory: the daily use of one.

Every member is trained from nothing for each seed, by the memory's recipe with a factor of its rates that the member
chooses beforehand (`diet_tf.memory.tuning`), and judged on rows of the log that the memory has not seen. Two members
that see the same seeds and rows share much of their noise; their difference is therefore taken in pairs, over seeds and
rows together (`metrics.paired_auc_difference`), or over groups of rows for a metric within groups.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from diet_tf import metrics
from diet_tf.errors import ConfigError, NumericsError
from diet_tf.fidelity import scores
from diet_tf.fidelity.grouping import GROUPING_SHAPE, Grouping, group_rows, require_group_field
from diet_tf.fidelity.metric_result import MetricFigures, MetricScope
from diet_tf.fidelity.panel_metrics import AUC, MetricOnRows, require_metrics
from diet_tf.fidelity.result_format import METRIC_FIGURES
from diet_tf.fidelity.trainings import choose_rates, train_and_predict, train_on_memory
from diet_tf.io.documents import DocumentFormat
from diet_tf.io.json_files import without_nan
from diet_tf.io.shapes import Absentable, Figure, ListOf, MapOf, Nullable
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.memory import Memory
from diet_tf.memory.tuning import AS_THE_RECIPE, DEFAULT_TUNING, TunedRates, Tuning
from diet_tf.metrics import Estimate, PairedDifference
from diet_tf.models.member_checks import check_member
from diet_tf.progress import Progress, silent
from diet_tf.training.learner import Learner
from diet_tf.training.memory_needs import learner_need, machine_memory_bytes, require_memory, trains_on_gpu

_MEMBER = {"rank": int, "name": str, "auc": float, "auc_standard_error": Figure, "log_loss": float,
           "aucs": list[float], "log_losses": list[float], "seconds": float,
           "to_best": Nullable({"mean": float, "standard_error": Figure, "margin": Figure, "resolved": bool}),
           "input_form": str, "not_averaged": str}
_RATES = {"overall": float, "linear": float, "trainings": int, "seconds": float, "source": str}
_MEMBER_2 = {**_MEMBER, "rates": Nullable(_RATES), "start_seconds": float,
             "by_metric": Absentable(MapOf(METRIC_FIGURES))}
_METRIC = {"name": str, "lower_is_better": bool, "units": str, "num_units": int, "num_groups_left_out": int,
           "num_rows_left_out": int}
_VERSION_1 = {
    "members": ListOf(_MEMBER), "level_with_best": list[str], "unresolved": list[list[str]],
    "diverged": Mapping[str, str], "seeds": list[int], "num_examples": int, "num_clicks": int,
    "memory": {"digest": str, "span": int, "num_slots": int}}
COMPARISON = DocumentFormat("diet_tf.comparison", {1: _VERSION_1, 2: {
    **_VERSION_1, "members": ListOf(_MEMBER_2), "why_not_tuned": str,
    # Where no other metric than the AUC is asked for, there is nothing to say. The first is the one that ranks.
    "metrics": Absentable(ListOf(_METRIC)), "grouping": Absentable(GROUPING_SHAPE)}},
                            sort_keys=False, final_newline=False)
# Why no member has rates of its own.
NOT_WANTED = "it was not wanted"
NOTHING_TO_CHOOSE_BY = ("the memory has no scored rows to choose by; a span that is distilled by this release brings "
                        "them, unless privacy.scored_rows is 0")


@dataclasses.dataclass(frozen=True)
class RankedMember:
  """One architecture and how it came out.

  Attributes:
    name: name of the member, as it was asked for.
    aucs: AUC on the unseen rows, one per seed.
    log_losses: log loss on the unseen rows in nats, one per seed.
    seconds: wall time of the fastest of its trainings, without tracing.
    to_best: metric that ranks, of the member less of the best one; None for the best itself.
    input_form: form in which the model took the slots, see `diet_tf.training.learner.Learner`.
    not_averaged: reason why a model of single ids was trained on drawn ids; "" for all others.
    rates: factors of the recipe's rates that the member has chosen, and what that took; None by the recipe's rates.
    start_seconds: wall time of building the model and tracing its training, once for all trainings.
    by_metric: figures by the metrics that were asked for, by the metric's name; empty for the AUC alone.
  """

  name: str
  aucs: tuple[float, ...]
  log_losses: tuple[float, ...]
  seconds: float
  to_best: PairedDifference | None
  input_form: str
  not_averaged: str
  rates: TunedRates | None = None
  start_seconds: float = 0.0
  by_metric: Mapping[str, MetricFigures] = dataclasses.field(default_factory=dict)

  @property
  def auc(self) -> Estimate:
    """Mean and standard error over seeds."""
    return metrics.estimate(self.aucs)

  def to_dict(self) -> dict[str, Any]:
    """The figures as JSON values; what is not known is null."""
    value: dict[str, Any] = {
        "name": self.name, "auc": self.auc.mean, "auc_standard_error": self.auc.standard_error,
        "log_loss": metrics.estimate(self.log_losses).mean, "aucs": list(self.aucs),
        "log_losses": list(self.log_losses), "seconds": self.seconds, "to_best": None,
        "input_form": self.input_form, "not_averaged": self.not_averaged, "rates": None,
        "start_seconds": self.start_seconds}
    if self.rates is not None:
      value["rates"] = {**self.rates.factors._asdict(), "trainings": self.rates.num_trainings,
                        "seconds": self.rates.seconds, "source": self.rates.source}
    if self.to_best is not None:
      value["to_best"] = {**dataclasses.asdict(self.to_best), "resolved": self.to_best.resolved}
    if self.by_metric:
      value["by_metric"] = {name: figures.to_dict() for name, figures in self.by_metric.items()}
    return without_nan(value)


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Architectures in the order of their AUC, or of another metric, after training on a memory.

  Attributes:
    members: the members that came to a finite loss, the best first.
    unresolved: pairs of members whose difference is not told from 0, at 95 % each, the better one first.
    diverged: per member whose training came to no finite loss, what was said of it; such members are not ranked.
    seeds: seeds of the trainings.
    num_examples: number of unseen rows.
    num_clicks: number of unseen rows with label 1.
    memory: `digest`, `span` and `num_slots` of the memory.
    why_not_tuned: why the members have no rates of their own; "" where they have.
    scopes: metrics that were asked for, the one that ranks first, and what each is a mean of; empty for the AUC alone.
    grouping: how the unseen rows fall into groups; None where no metric is within groups.
  """

  members: tuple[RankedMember, ...]
  unresolved: tuple[tuple[str, str], ...]
  diverged: Mapping[str, str]
  seeds: tuple[int, ...]
  num_examples: int
  num_clicks: int
  memory: Mapping[str, Any]
  why_not_tuned: str = NOT_WANTED
  scopes: tuple[MetricScope, ...] = ()
  grouping: Grouping | None = None

  @property
  def level_with_best(self) -> tuple[str, ...]:
    """The members that are not told from the best, the best among them."""
    return tuple(member.name for member in self.members if member.to_best is None or not member.to_best.resolved)

  def to_dict(self) -> dict[str, Any]:
    """The comparison as JSON values."""
    asked: dict[str, Any] = {"metrics": [scope.to_dict() for scope in self.scopes]} if self.scopes else {}
    if self.grouping is not None:
      asked["grouping"] = without_nan(dataclasses.asdict(self.grouping))
    return COMPARISON.document({
        "members": [{"rank": rank, **member.to_dict()} for rank, member in enumerate(self.members, 1)],
        "level_with_best": list(self.level_with_best), "unresolved": [list(pair) for pair in self.unresolved],
        "diverged": dict(self.diverged), "seeds": list(self.seeds), "num_examples": self.num_examples,
        "num_clicks": self.num_clicks, "memory": dict(self.memory), "why_not_tuned": self.why_not_tuned,
        **asked})

  def to_json(self) -> str:
    """The comparison as JSON text."""
    return COMPARISON.bytes(self.to_dict()).decode()

  def rows(self) -> list[list[str]]:
    """The lines of a table, a cell for each of `columns`."""
    lines = []
    for rank, member in enumerate(self.members, 1):
      difference, said = "", "the best" if len(self.members) > 1 else ""
      if member.to_best is not None:
        difference = f"{member.to_best.mean:+.4f}"
        if not math.isnan(member.to_best.standard_error):
          difference += f" ± {member.to_best.standard_error:.4f}"
        said = "yes" if member.to_best.resolved else "no"
      shown = {scope.metric.title: str(member.by_metric[scope.metric.name].estimate) for scope in self.scopes}
      cells = {"AUC": str(member.auc), "log loss": f"{metrics.estimate(member.log_losses).mean:.4f}", **shown,
               "rank": str(rank), "architecture": member.name, "to the best": difference, "resolved": said,
               "rates": "1" if member.rates is None else str(member.rates.factors)}
      lines.append([cells[column] for column in self.columns])
    return lines

  @property
  def columns(self) -> tuple[str, ...]:
    """The columns of the table: the metric that ranks, and difference to the best by it, before the others."""
    if not self.scopes:
      return COLUMNS
    first, *others = (scope.metric.title for scope in self.scopes)
    rest = dict.fromkeys(title for title in (*others, "AUC", "log loss") if title != first)
    return ("rank", "architecture", first, "to the best", "resolved", *rest, "rates")

  def notes(self) -> list[str]:
    """What the table says, and does not say, in sentences."""
    seeds = f"{len(self.seeds)} seed{'s' if len(self.seeds) > 1 else ''}"
    notes = [f"Trained on the memory of span {self.memory['span']} ({self.memory['num_slots']:,} slots) with {seeds}, "
             f"judged on {self.num_examples:,} held-out rows ({self.num_clicks:,} clicks). A training takes up to "
             f"{max(member.seconds for member in self.members):.1f} s; building and tracing, once for each "
             f"architecture, up to {max(member.start_seconds for member in self.members):.1f} s.", self._rates_note()]
    notes += self._metric_notes()
    level, pairs = self.level_with_best, f"in pairs over seeds and {self.scopes[0].units if self.scopes else 'rows'}"
    if len(level) > 1:
      notes.append(f"Not told apart from the best (95 %, {pairs}): {', '.join(level[1:])}.")
    elif len(self.members) > 1:
      notes.append(f"{level[0]} is better than each of the others (95 %, {pairs}).")
    others = [f"{first} and {second}" for first, second in self.unresolved if self.members[0].name != first]
    if others:
      notes.append(f"{'Nor are these' if len(level) > 1 else 'Not'} told apart: {', '.join(others)}.")
    if self.unresolved:
      notes.append("More seeds (--seeds) or held-out rows (--test-span) tell smaller differences apart.")
    if len(self.seeds) == 1:
      notes.append("With one seed, the noise of initial weights is not known and not counted.")
    if min(self.num_clicks, self.num_examples - self.num_clicks) < 2:
      notes.append("One row of a class does not tell the noise of rows: no difference is told from 0.")
    notes += [f"{member.name} was trained on drawn ids, which see little of a slot: the memory underrates it beside "
              f"the others. Why not on whole slots: {member.not_averaged}"
              for member in self.members if member.input_form == "sampled"]
    notes += [f"{name} is not ranked: {said}" for name, said in self.diverged.items()]
    notes.append("These are trainings on the memory: train the first ones on the log before one is chosen for good.")
    return notes

  def _metric_notes(self) -> list[str]:
    if not self.scopes:
      return []
    ranked = f"Ranked by {self.scopes[0].metric.title}; errors of the metrics that were asked for are over seeds and "
    notes = [f"{ranked}{' or '.join(dict.fromkeys(scope.units for scope in self.scopes))} together."]
    notes += [] if self.grouping is None else [self.grouping.text]
    notes += [scope.text for scope in self.scopes]
    if self.scopes[0].num_units < 2:
      notes.append("One group does not tell the noise of groups: no difference is told from 0.")
    return notes

  def _rates_note(self) -> str:
    chosen = [member.rates for member in self.members if member.rates is not None]
    if not chosen:
      return f"All by the recipe's learning rates, none by its own: {self.why_not_tuned}."
    counts = [rates.num_trainings for rates in chosen]
    took = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(counts[0])
    on = ("rows drawn from the slots" if chosen[0].source == "slots" else
          "the teacher's probabilities on the memory's scored rows")
    return (f"Each with its own factor of the recipe's learning rates, chosen by the loss against {on}: {took} more "
            f"trainings for each, up to {max(rates.seconds for rates in chosen):.1f} s.")


COLUMNS = ("rank", "architecture", "AUC", "to the best", "resolved", "log loss", "rates")


def compare(memory: Memory, unseen: EncodedRows, members: Sequence[str], *, num_seeds: int = 5,
            progress: Progress = silent, strategy: tf.distribute.Strategy | None = None,
            tuning: Tuning | None = DEFAULT_TUNING, by: Sequence[str] = (AUC,),
            group: str | None = None) -> Comparison:
  """Ranks architectures by training each on a memory.

  Args:
    memory: memory whose slots and recipe the members are trained by.
    unseen: examples of a span that the memory has not seen, with clicks as labels.
    members: names of the architectures, see `diet_tf.models.build_model`.
    num_seeds: number of trainings of each member, from other initial weights.
    progress: callback that is told of each training.
    strategy: `tf.distribute` strategy to train under; None takes the current one.
    tuning: factors of the recipe's rates that each member chooses from, with the first seed; None trains all members by
      the recipe's rates, as is done with a memory that has no scored rows.
    by: names of metrics, see `diet_tf.fidelity.panel_metrics`: the first ranks, the others are shown beside.
    group: name of the field whose ids tell users or requests apart, for a metric within groups.

  Raises:
    ConfigError: a member is named twice, is not known, or does not take the memory's fields; a metric is named twice or
      is not known, or a group is missing or no field.
    DataError: there are no unseen rows, or they are of one class, or a metric says nothing of them.
    NumericsError: no member came to a finite loss.
  """
  check_members(members, memory.spec)
  if num_seeds < 1:
    raise ConfigError("--seeds", rule="it is at least 1.", received=str(num_seeds), remedy="use 5.")
  metrics.check_classes(unseen.labels, "held-out rows", "name another span (--test-span), one with clicks and without.")
  judged, grouping = _metrics_on(unseen, memory.spec, by, group)
  trainings: dict[str, _Trainings] = {}
  diverged: dict[str, str] = {}
  for index, member in enumerate(members):
    def report(done: int, index: int = index) -> None:
      progress("compare (trainings)", index * num_seeds + done, len(members) * num_seeds)

    try:
      learner = Learner(member, memory.spec, memory.recipe, strategy=strategy)
      trainings[member] = _train(learner, memory, unseen, judged, num_seeds, tuning, report)
    except NumericsError as error:
      diverged[member] = f"{error.rule} Received: {error.received}"
  if not trainings:
    raise NumericsError("members", rule="at least one architecture comes to a finite loss.",
                        received="; ".join(f"{name}: {said}" for name, said in diverged.items()),
                        remedy="check the memory with `diet memory show`, and the models.")
  why_not = NOT_WANTED if tuning is None else "" if memory.scored_rows() is not None else NOTHING_TO_CHOOSE_BY
  asked = () if tuple(by) == (AUC,) else tuple(map(MetricScope.of, judged))
  return dataclasses.replace(_ranked(memory, unseen, judged, trainings, diverged, num_seeds), why_not_tuned=why_not,
                             scopes=asked, grouping=grouping)


def _metrics_on(unseen: EncodedRows, spec: FeatureSpec, names: Sequence[str],
                group: str | None) -> tuple[list[MetricOnRows], Grouping | None]:
  """The metrics on the unseen rows, and how these fall into groups; None where no metric is within groups."""
  found = require_metrics(names, group, ("--metric", "--group"))
  groups = grouping = None
  require_group_field(group, spec, "--group")
  if group is not None and any(metric.within_groups for metric in found):
    groups, grouping = group_rows(unseen, spec, group)
  return [MetricOnRows.of(metric, unseen.labels, groups) for metric in found], grouping


def check_members(members: Sequence[str], spec: FeatureSpec, strategy: str = "auto") -> None:
  """Builds each member once, so that what is wrong with one is told before the others are trained.

  Args:
    members: names of the architectures, see `diet_tf.models.build_model`.
    spec: feature spec of the memory.
    strategy: name of the strategy that they are trained under, see `diet_tf.training.devices`.

  Raises:
    ConfigError: there is none, or one is named twice, is not known, does not take the fields or all their ids, or does
      not fit into memory.
  """
  if not members or len(set(members)) != len(members):
    raise ConfigError("members", rule="at least one architecture is compared, and none twice.",
                      received=", ".join(members) or "none.", remedy="name each once, as in lr dnn dcn_v2.")
  limit, on_gpu = machine_memory_bytes(), trains_on_gpu(strategy)
  for member in members:
    require_memory(learner_need(member, spec), spec, limit, on_gpu=on_gpu)
    check_member(member, spec)


@dataclasses.dataclass(frozen=True)
class _Trainings:
  """The trainings of one member.

  Of the metric that ranks, `values` are `[num_seeds]`, and `components` `[num_seeds, num_units]`.
  """

  aucs: tuple[float, ...]
  log_losses: tuple[float, ...]
  values: np.ndarray
  components: np.ndarray
  by_metric: Mapping[str, MetricFigures]
  seconds: float
  input_form: str
  not_averaged: str
  rates: TunedRates | None
  start_seconds: float


def _train(learner: Learner, memory: Memory, unseen: EncodedRows, judged: Sequence[MetricOnRows], num_seeds: int,
           tuning: Tuning | None, report: Callable[[int], None]) -> _Trainings:
  done = itertools.count(1)
  rates = choose_rates(learner, memory, tuning, seed=0)
  factors = AS_THE_RECIPE if rates is None else rates.factors
  outcome = train_and_predict(
      learner, [functools.partial(train_on_memory, learner, memory, seed=seed, factors=factors)
                for seed in range(num_seeds)], [unseen.ids], lambda: report(next(done)))
  labels, (logits,) = unseen.labels, outcome.logits
  aucs, log_losses = (tuple(scores.of_seeds(metric, labels, logits).tolist())
                      for metric in (metrics.auc, metrics.log_loss))
  found = {one.metric.name: one.of_seeds(logits, np.float32) for one in judged}
  figures = {one.metric.name: MetricFigures.of(one, *found[one.metric.name]) for one in judged}
  values, components = found[judged[0].metric.name]
  if judged[0].metric.kind == AUC:
    values = np.array(aucs)  # The mean of its components is the same but for rounding, which no tie should hang on.
  return _Trainings(aucs, log_losses, values, components, figures, outcome.seconds,
                    learner.input_form, learner.not_averaged, rates, learner.start_seconds(by_recipe=True))


def _ranked(memory: Memory, unseen: EncodedRows, judged: Sequence[MetricOnRows], trainings: Mapping[str, _Trainings],
            diverged: Mapping[str, str], num_seeds: int) -> Comparison:
  ranking, shown = judged[0], [one.metric.name for one in judged]
  # A stable sort: of equals, the one that was named first.
  order = sorted(trainings, key=lambda name: -ranking.metric.sign * float(np.mean(trainings[name].values)))

  def difference(first: str, second: str) -> PairedDifference:
    return metrics.paired_component_difference(ranking.strata, trainings[first].components,
                                               trainings[second].components)

  ranked = tuple(
      RankedMember(name, trained.aucs, trained.log_losses, trained.seconds,
                   None if name == order[0] else difference(name, order[0]), trained.input_form, trained.not_averaged,
                   trained.rates, trained.start_seconds, {} if shown == [AUC] else trained.by_metric)
      for name, trained in ((name, trainings[name]) for name in order))
  unresolved = tuple((first, second) for place, first in enumerate(order) for second in order[place + 1:]
                     if not difference(first, second).resolved)
  return Comparison(
      members=ranked, unresolved=unresolved, diverged=diverged, seeds=tuple(range(num_seeds)),
      num_examples=len(unseen), num_clicks=int(unseen.labels.sum()),
      memory={"digest": memory.manifest.digest, "span": memory.manifest.span, "num_slots": len(memory)})
