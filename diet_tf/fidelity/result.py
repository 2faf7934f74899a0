"""What fidelity was found, as figures: built by `diet_tf.fidelity.panel`, read by the report without TensorFlow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from diet_tf.errors import ConfigError, FormatError
from diet_tf.fidelity import bill as bills
from diet_tf.fidelity.bill import UNKNOWN, Bill
from diet_tf.fidelity.grouping import Grouping
from diet_tf.fidelity.member_fidelity import MemberFidelity, differences_of, member_of, with_resolved
from diet_tf.fidelity.metric_result import MetricResult, RankedMembers
from diet_tf.fidelity.own_rates import rates_text
from diet_tf.fidelity.panel_bill import baselines_of, bill_of, mean_aucs
from diet_tf.fidelity.panel_metrics import AUC, LOG_LOSS, PanelMetric
from diet_tf.fidelity.result_format import KINDS, LOG, MEMORY, RESULT
from diet_tf.fidelity.verdict import RANDOM_HARD, RANDOM_SOFT, Verdict, judge
from diet_tf.io.json_files import parse_json, without_nan
from diet_tf.log.row_counts import RowCounts
from diet_tf.metrics import Agreement, Estimate, PairedDifference


@dataclasses.dataclass(frozen=True)
class Cost:
  """What the log and the memory cost to train on and to store; a slot with K ids is larger than a row.

  Attributes:
    records: number of records, of `log`, `memory` and `test`.
    num_bytes: size in bytes, of `log` and `memory` as stored (GZIP), of `log_raw` and `memory_raw` uncompressed.
    examples: number of records processed by one training, all its passes together, on `log` and on `memory`; the mean
      over the panel. On the memory it has its share of choosing rates, as `flops` and `seconds` have.
    flops: floating-point operations of one training on `log` and on `memory`, estimated, summed over the panel.
    seconds: wall time of one training on `log` and on `memory`, summed over the panel.
  """

  records: Mapping[str, int]
  num_bytes: Mapping[str, int]
  examples: Mapping[str, int]
  flops: Mapping[str, float]
  seconds: Mapping[str, float]

  @property
  def cost_ratio(self) -> float:
    """Examples processed for the log over examples processed for the memory."""
    return self.examples[LOG] / self.examples[MEMORY]


@dataclasses.dataclass(frozen=True)
class FidelityResult(RankedMembers):
  """How closely training on the memory mirrors training on the log.

  Attributes:
    members: figures of each member of the panel.
    agreement: agreement of the two rankings of the panel by its metric, with its interval.
    cost: cost of training and storing.
    seeds: seeds of the trainings; the standard errors are over these, and over draws of random rows with them.
    spans: numbers of the spans of the log that was trained on.
    bayes_auc: best AUC that is possible on the test examples; None where it is not known.
    memory_uri: folder or URI of the memory.
    report_uri: path or URI of the report.
    settings: the panel's, as JSON values.
    differences: mean AUC of the panel on the memory less that on each other kind, paired over seeds and test examples;
      empty in the figures of a release that did not write them down.
    num_test_clicks: number of clicks among the test examples; None in the figures of such a release.
    rows: what became of the rows of the spans, those of the test included, by the span's number, as far as it is known.
    resolved_pairs: pairs of members, by their numbers, that are resolved on the log; None in figures of such a release.
    distillation: cost of making the memory, all spans together, as far as it is known for each of them.
    by_metric: the panel by each metric that was asked for beside the AUC, by the metric's name.
    grouping: how the test rows fall into groups; None where no field was named.
  """

  members: tuple[MemberFidelity, ...]
  agreement: Agreement
  cost: Cost
  seeds: tuple[int, ...]
  spans: tuple[int, ...] = ()
  bayes_auc: float | None = None
  memory_uri: str = ""
  report_uri: str = ""
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  differences: Mapping[str, PairedDifference] = dataclasses.field(default_factory=dict)
  num_test_clicks: int | None = None
  rows: Mapping[int, RowCounts] = dataclasses.field(default_factory=dict)
  resolved_pairs: Sequence[tuple[int, int]] | None = None
  distillation: bills.Cost = UNKNOWN
  by_metric: Mapping[str, MetricResult] = dataclasses.field(default_factory=dict)
  grouping: Grouping | None = None

  @property
  def metric(self) -> PanelMetric:
    """What the members are ranked by: ranking, resolved pairs, agreement and regret are by it."""
    return PanelMetric.of(self.settings.get("metric", AUC))

  def ranked_by(self, kind: str) -> list[Estimate | None]:
    """The panel's metric of each member after training on a kind of data; None where it was not trained on that."""
    if self.metric.kind == AUC:
      return [member.trainings[kind].auc if kind in member.trainings else None for member in self.members]
    found = (member.trainings.get(kind) for member in self.by_metric[self.metric.name].members)
    return [None if one is None else one.estimate for one in found]

  def merits(self, kind: str) -> list[float]:
    """What ranks the members after training on a kind of data: the mean over seeds, so signed that more is better."""
    return mean_aucs(self.members, kind) if self.metric.kind == AUC else self.by_metric[self.metric.name].merits(kind)

  @property
  def recoveries(self) -> dict[str, float]:
    """The recovery of each member that the log lifts above chance beyond noise, by its name."""
    return {member.name: member.recovery for member in self.members if member.is_lifted}

  @property
  def recovery(self) -> float:
    """The mean of `recoveries`; NaN where there are none."""
    return sum(self.recoveries.values()) / len(self.recoveries) if self.recoveries else math.nan

  @property
  def verdict(self) -> Verdict:
    """Whether architectures can be chosen on the memory."""
    differences = {kind: self._difference(kind) for kind in (RANDOM_HARD, RANDOM_SOFT)
                   if all(kind in member.differences for member in self.members)}
    return judge(self.agreement, self.recoveries, differences, num_members=len(self.members),
                 num_seeds=len(self.seeds), num_test_rows=self.cost.records["test"],
                 num_test_clicks=self.num_test_clicks,
                 metric=None if self.metric.kind == AUC else self.metric.title)

  def _difference(self, kind: str) -> PairedDifference:
    """The mean difference to a kind; from the members' own where it was not written down.

    The noise of a mean is at most the mean of the noises, so that nothing is resolved by this that is not.
    """
    if kind in self.differences:
      return self.differences[kind]
    found = [member.differences[kind] for member in self.members]
    means = (sum(getattr(one, name) for one in found) / len(found) for name in ("mean", "standard_error", "margin"))
    return PairedDifference(*means)

  @property
  def baselines(self) -> dict[str, dict[str, float]]:
    """How random rows order the members, by their kind; NaN where the resolved pairs are not known."""
    if self.metric.kind != AUC:
      return self.by_metric[self.metric.name].baselines
    return baselines_of(self.members, self.resolved_pairs)

  @property
  def bill(self) -> Bill:
    """What many trainings cost on the memory, the log, and random rows with their clicks, the panel's only rival."""
    return bill_of(self.members, self.agreement.share, self.baselines, self.distillation)

  def replace(self, **changes: Any) -> FidelityResult:
    """A copy with other values, for example the `report_uri` once there is a report."""
    return dataclasses.replace(self, **changes)

  def to_dict(self) -> dict[str, Any]:
    """The machine-readable results: JSON values, with null for figures that do not exist."""
    value = {
        "verdict": self.verdict.to_dict(),
        "members": [member.to_dict() for member in self.members],
        "records": dict(self.cost.records),
        "bytes": dict(self.cost.num_bytes),
        "cost_ratio": self.cost.cost_ratio,
        "memory_uri": self.memory_uri,
        "report_uri": self.report_uri,
        "examples_processed": dict(self.cost.examples),
        "flops": dict(self.cost.flops),
        "seconds": dict(self.cost.seconds),
        "recovery": self.recovery,
        "agreement": dataclasses.asdict(self.agreement),
        "differences": with_resolved(self.differences),
        "regret": self.regret,
        "rows": {str(span): counts.to_dict() for span, counts in sorted(self.rows.items())},
        "bayes_auc": self.bayes_auc,
        "seeds": list(self.seeds),
        "spans": list(self.spans),
        "settings": dict(self.settings),
        "regret_at_3": self.regret_at_3,
        "agreement_interval": [self.agreement.low, self.agreement.high],
        "baselines": self.baselines,
        "resolved_pairs": None if self.resolved_pairs is None else [list(pair) for pair in self.resolved_pairs],
        "distillation": dataclasses.asdict(self.distillation),
        **self.bill.summary(),
        **RESULT.header,
    }
    if self.by_metric:
      value["by_metric"] = {name: found.to_dict() for name, found in self.by_metric.items()}
    if self.grouping is not None:
      value["grouping"] = dataclasses.asdict(self.grouping)
    return without_nan(value)

  def to_json(self) -> str:
    """`to_dict` as text, keys in its order."""
    return RESULT.bytes(self.to_dict()).decode()

  @classmethod
  def from_dict(cls, value: Mapping[str, Any], subject: str = "fidelity result") -> FidelityResult:
    """The result that `to_dict` wrote, also that of an earlier release, whose verdict is made anew by today's rule.

    Raises:
      FormatError: it is damaged, of another format, or newer than this version reads.
    """
    content = RESULT.check(value, subject)
    by_metric = _by_metric(content, subject)
    pairs = content.get("resolved_pairs")
    return cls(
        resolved_pairs=None if pairs is None else tuple((first, second) for first, second in pairs),
        distillation=bills.Cost(**content["distillation"]) if "distillation" in content else UNKNOWN,
        differences=differences_of(content.get("differences", {})),
        rows={int(span): RowCounts.from_dict(counts) for span, counts in content.get("rows", {}).items()},
        num_test_clicks=content["verdict"]["test_clicks"] if "verdict" in content else None,
        by_metric=by_metric,
        grouping=Grouping(**content["grouping"]) if "grouping" in content else None,
        members=tuple(map(member_of, content["members"])), agreement=Agreement(**content["agreement"]),
        cost=Cost(content["records"], content["bytes"], content["examples_processed"], content["flops"],
                  content["seconds"]),
        **{key: content[key] for key in ("seeds", "spans", "bayes_auc", "memory_uri", "report_uri", "settings")})

  @classmethod
  def from_json(cls, text: str, subject: str = "fidelity result") -> FidelityResult:
    """The result that `to_json` wrote.

    Raises:
      FormatError: it is no JSON, damaged, of another format, or newer than this version reads.
    """
    return cls.from_dict(parse_json(text, subject, RESULT.remedy), subject)

  def table(self) -> str:
    """The figures as plain text: AUC and log loss of each member by what it was trained on, the verdict, and more."""
    header = ["whole log", "memory", "random hard", "random soft"]
    blocks = []
    # A metric that was asked for has the noise of rows too, and is not shown twice.
    plain = [("AUC", "auc"), ("log loss", "log_loss")]
    for title, figure in plain if LOG_LOSS not in self.by_metric else plain[:1]:
      rows = [[title, *header, "recovery"] if figure == "auc" else [title, *header]]
      rows += [[member.name, *self._cells(member, figure),
                *([_text(member.recovery, ".3f", "-")] if figure == "auc" else [])] for member in self.members]
      blocks.append(_aligned(rows))
    blocks += [_aligned([[found.metric.title, *header], *(
        [member.name, *(str(member.trainings[kind].estimate) if kind in member.trainings else "-" for kind in KINDS)]
        for member in found.members)]) for found in self.by_metric.values() if found.metric.kind != AUC]
    return "\n\n".join([*blocks, "\n".join([self.verdict.text, *self.summary()])])

  def _cells(self, member: MemberFidelity, figure: str) -> list[str]:
    return [str(getattr(member.trainings[kind], figure)) if kind in member.trainings else "-" for kind in KINDS]

  def summary(self) -> list[str]:
    """The lines under the verdict: what the columns mean, agreement, and cost."""
    cost = self.cost
    seeds = "1 seed" if len(self.seeds) == 1 else f"mean ± standard error over {len(self.seeds)} seeds"
    if self.by_metric:
      titles = ", ".join(found.metric.title for found in self.by_metric.values())
      seeds = f"{seeds}; of {titles}, over test rows or groups as well"
    lines = [
        f"Judged on {self.verdict.judged_on}; {seeds}; random: as many random rows as slots.",
        f"{self.recovery_text()} {_agreement_text(self.agreement, self.regret, self.metric)}", *self.metric_texts(),
        self.passes_text(), *self.rates_texts(),
        f"Records: {cost.records[LOG]:,} in the log, {cost.records[MEMORY]:,} slots "
        f"(1/{cost.records[LOG] / cost.records[MEMORY]:.0f}).",
        f"Bytes: {cost.num_bytes[LOG]:,} in the log, {cost.num_bytes[MEMORY]:,} in the memory "
        f"(1/{_ratio(cost.num_bytes, '')}); uncompressed {cost.num_bytes['log_raw']:,} and "
        f"{cost.num_bytes['memory_raw']:,} (1/{_ratio(cost.num_bytes, '_raw')}).",
        f"Training cost: {cost.examples[LOG]:,} examples of the log, {cost.examples[MEMORY]:,} of the memory "
        f"(1/{cost.cost_ratio:.1f}); operations (estimated) 1/{_ratio(cost.flops, '')}, wall time "
        f"1/{_ratio(cost.seconds, '')}.",
    ]
    if self.bayes_auc is not None:
      lines.insert(1, f"The best possible AUC on these test examples is {self.bayes_auc:.4f}.")
    return lines

  def metric_texts(self) -> list[str]:
    """What each metric beside the AUC is a mean of, and the ranking by it, in sentences."""
    texts = [] if self.grouping is None else [self.grouping.text]
    for found in self.by_metric.values():
      by = f" {_agreement_text(found.agreement, found.regret, found.metric)}" if found.metric != self.metric else ""
      texts.append(f"{found.scope.text}{by}")
    return texts

  def passes_text(self) -> str:
    """The passes that a training on the log took, in a sentence, and which were tried."""
    passes = {member.name: member.trainings[LOG].epochs for member in self.members}
    tried = sorted(self.settings.get("log_epochs", [1]))
    if set(passes.values()) == {1}:
      why = "no more were tried" if tried == [1] else "more were worse on held-back rows"
      return f"On the log each model is trained in one pass: {why}."
    listed = ", ".join(f"{name} {count}" for name, count in passes.items())
    return f"Passes over the log, the best of {', '.join(map(str, tried))} on held-back rows: {listed}."

  def rates_texts(self) -> list[str]:
    """Which learning rates the members had on the memory, in a sentence; none where they could not choose yet."""
    if "tune" not in self.settings:
      return []
    return [rates_text({member.name: member.trainings[MEMORY].rates for member in self.members},
                       wanted=bool(self.settings["tune"]))]

  def recovery_text(self) -> str:
    """The mean recovery in a sentence, or that there is none."""
    left_out = [member.name for member in self.members if not member.is_lifted]
    if not self.recoveries:
      return "No recovery: no model trained on the log is better than chance beyond noise."
    if left_out:
      return (f"Recovery {self.recovery:.3f} on average, without those that are not better than chance beyond noise "
              f"when trained on the log: {', '.join(left_out)}.")
    return f"Recovery {self.recovery:.3f} on average."


def _by_metric(content: Mapping[str, Any], subject: str) -> dict[str, MetricResult]:
  """The panel by each metric of a document, of which the one that ranks it is one."""
  try:
    found = {name: MetricResult.from_dict(one) for name, one in content.get("by_metric", {}).items()}
  except ConfigError as error:
    raise FormatError(f"{subject}: by_metric", rule=error.rule, received=error.received,
                      remedy=RESULT.remedy) from error
  metric = content["settings"].get("metric", AUC)
  if metric != AUC and metric not in found:
    raise FormatError(f"{subject}: by_metric", rule="it has the metric that the panel is ranked by.",
                      received=f"no {metric!r}.", remedy=RESULT.remedy)
  return found


def _agreement_text(agreement: Agreement, regret: float, metric: PanelMetric) -> str:
  share = "no resolved pair" if math.isnan(agreement.share) else (
      f"{agreement.share:.2f} of {agreement.num_resolved} resolved "
      f"pair{'' if agreement.num_resolved == 1 else 's'} of {agreement.num_pairs}")
  return (f"Agreement{'' if metric.kind == AUC else f' by {metric.title}'}: {share}; Kendall's tau-b "
          f"{_text(agreement.tau_b, '.2f', 'undefined')}; regret {regret:.4f} {metric.title}.")


def _aligned(rows: list[list[str]]) -> str:
  """Rows of cells as lines, the first column to the left and the others to the right, with a rule under the header."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = ["  ".join(cell.rjust(width) if column else cell.ljust(width)
                     for column, (cell, width) in enumerate(zip(row, widths, strict=True))) for row in rows]
  return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _ratio(values: Mapping[str, Any], suffix: str) -> str:
  memory = values[MEMORY + suffix]
  return f"{values[LOG + suffix] / memory:.1f}" if memory else "?"


def _text(value: float, form: str, missing: str) -> str:
  return missing if math.isnan(value) else format(value, form)
