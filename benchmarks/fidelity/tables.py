"""The tables of a fidelity benchmark's result, as Markdown for documents and as plain text for a terminal."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.fidelity.bars import Bar
from benchmarks.fidelity.sources import EQUAL_COST, OURS, is_rival
from diet_tf.distillation.addressing import ACTION_NAMES
from diet_tf.printable import markdown_text

NOTHING = "-"
_RECOVERY_DIGITS, _AUC_DIGITS = 3, 4
# Digits of the summary's figures that are no AUCs.
_DIGITS = {"mean_recovery": _RECOVERY_DIGITS, "min_recovery": _RECOVERY_DIGITS, "agreement": _RECOVERY_DIGITS,
           "kendall_tau_b": _RECOVERY_DIGITS, "unseen_architecture_gap": _RECOVERY_DIGITS, "cost_ratio": 1,
           "flops_ratio": 1, "wall_ratio": 1, "stage_wall_ratio": 1, "stage_flops_ratio": 1, "break_even_trainings": 1,
           "break_even_trainings_flops": 1, "break_even_against_rival": 1, "break_even_against_rival_wall": 1,
           "distillation_passes_wall": 1, "distillation_passes_flops": 1, "memory_training_passes_wall": 3,
           "memory_training_passes_flops": 3}
_SUMMARY = ("mean_recovery", "min_recovery", "agreement", "kendall_tau_b", "regret", "regret_at_3",
            "gain_over_best_equal_cost_baseline", "gain_over_best_same_records_baseline", "refinement_gain",
            "last_stage_gain", "static_gain", "continual_gap", "unseen_architecture_gap")
# How a source orders the members: titles of the columns that `_orders` fills.
_ORDERS = ("agreement (90 % interval)", "tau-b", "regret@1", "regret@3")


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of texts.

  Attributes:
    title: title of the table, which says what it shows.
    header: titles of the columns.
    rows: texts of the cells, each row as long as the header.
  """

  title: str
  header: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]

  def markdown(self) -> str:
    """The table without its title; the first column is aligned to the left, the others to the right."""
    ruler = ("---", *("---:" for _ in self.header[1:]))
    rows = (self.header, ruler, *(map(markdown_text, row) for row in self.rows))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)

  def text(self) -> str:
    """The title and the table in columns of a fixed width."""
    rows = (self.header, *self.rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) if number else cell.ljust(width)
                       for number, (cell, width) in enumerate(zip(row, widths, strict=True))) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([self.title, "", *(line.rstrip() for line in lines)])


def _table(title: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
  return Table(title, tuple(header), tuple(tuple(row) for row in rows))


def _number(value: float | None, digits: int, error: float | None = None, *, signed: bool = False) -> str:
  if value is None:
    return NOTHING
  text = f"{value:{'+' if signed else ''},.{digits}f}"
  return text if error is None else f"{text} ± {error:.{digits}f}"


def _orders(figures: Mapping[str, Any]) -> tuple[str, ...]:
  """Agreement with its interval, tau-b, regret@1 and regret@3; dashes where they are not known."""
  low, high = figures.get("agreement_low"), figures.get("agreement_high")
  interval = "" if low is None or high is None else f" ({low:.{_RECOVERY_DIGITS}f} to {high:.{_RECOVERY_DIGITS}f})"
  return (f"{_number(figures.get('agreement'), _RECOVERY_DIGITS)}{interval}",
          _number(figures.get("kendall_tau_b"), _RECOVERY_DIGITS),
          *(_number(figures.get(name), _AUC_DIGITS) for name in ("regret", "regret_at_3")))


def _words(name: str) -> str:
  return name.replace("_", " ")


def source_words(name: str) -> str:
  """A source in words, a share of the log as a fraction: `sample/uniform 1/5`."""
  return _words(re.sub(r"/1_(\d+)$", r" 1/\1", name))


def _yes(value: bool) -> str:
  return "yes" if value else "no"


def members_table(result: Mapping[str, Any]) -> Table:
  """One row per member: its figures on the log and on the memory; a difference in brackets is not resolved."""
  header = ("member", "used as proxy", "rate on the log", "passes", "AUC log", "AUC memory", "recovery",
            "memory less log",
            "log loss log", "log loss memory", "calibration log", "calibration memory")
  rows = []
  for one in result["members"]:
    rate = one["learning_rate"]
    rows.append((f"{one['name']} (variant)" if one["variant"] else one["name"], _yes(one["used_as_proxy"]),
                 NOTHING if rate is None else f"{rate:g}", _number(one["log_epochs"], 0),
                 *(_number(one[f"{source}_auc"], _AUC_DIGITS, one[f"{source}_auc_se"]) for source in ("log", "memory")),
                 _number(one["recovery"], _RECOVERY_DIGITS, one["se"]), _difference(one["difference_to_log"]),
                 *(_number(one[f"{source}_logloss"], 4) for source in ("log", "memory")),
                 *(_number(one[f"{source}_calibration"], 3, one[f"{source}_calibration_se"])
                   for source in ("log", "memory"))))
  return _table("Members of the panel", header, rows)


def _difference(difference: Mapping[str, Any] | None) -> str:
  if not difference or difference["mean"] is None:
    return NOTHING
  text = _number(difference["mean"], _AUC_DIGITS, difference["standard_error"], signed=True)
  return text if difference["resolved"] else f"({text})"


def sources_table(result: Mapping[str, Any]) -> Table:
  """One row per source, selections apart: what a training costs in passes, the panel's mean AUC, and its order.

  Costs are by FLOPs and by wall time, of a training, and in brackets of one with the choice of its settings.
  """
  rows = [one for one in result["summary"]["sources"] if one["source"] in OURS or is_rival(one["source"])]
  return _table("Log, memory and rivals", ("trained on", "a training in passes, FLOPs (with choice)", "wall",
                                           "mean AUC", *_ORDERS),
                ((source_words(one["source"]), *(
                    f"{_number(one['training_passes'][unit], 3)} ({_number(one['candidate_passes'][unit], 3)})"
                    for unit in ("flops", "wall")), _mean_auc(one), *_orders(one)) for one in rows))


def baselines_table(result: Mapping[str, Any]) -> Table:
  """One row per selection of rows and kind of labels, at the same records and at equal cost."""
  rows = [one for one in result["summary"]["sources"] if one["source"] not in OURS and not is_rival(one["source"])]
  return _table("Baselines: as many real rows as slots", ("selection", "labels and cost", "mean AUC", *_ORDERS),
                ((_words(name), _kind(kind), _mean_auc(one), *_orders(one)) for one in rows
                 for name, _, kind in [one["source"].partition("/")]))


def _mean_auc(one: Mapping[str, Any]) -> str:
  return _number(one["mean_auc"], _AUC_DIGITS, one["mean_auc_se"])


def _kind(kind: str) -> str:
  labels, _, cost = kind.partition("/")
  return f"{_words(labels)}, {'equal cost' if cost == EQUAL_COST else 'same records'}"


def bill_table(result: Mapping[str, Any]) -> Table:
  """One row per number of trainings: all of them together, with what making the memory took, in passes."""
  summary = result["summary"]
  header = ("trainings", *(f"{name}, {words}" for words, rival in (("FLOPs", "rival"), ("wall", "rival_wall"))
                           for name in ("memory", "log", f"rival ({source_words(summary[rival])})")))
  return _table("The bill, in passes over the log", header, (
      (f"{row['trainings']:,}", *(_number(row[unit][source], 1) for unit in ("passes_flops", "passes_wall")
                                  for source in ("memory", "log", "rival"))) for row in summary["bill"]))


def classes_table(result: Mapping[str, Any]) -> Table:
  """One row per class of candidates' size: their trainings' costs, the memory's agreement on them, and break-even."""
  rows = []
  for one in result["summary"].get("bill_by_cost_class", ()):
    count = len(one["members"])
    measured = f"{count} member{'' if count == 1 else 's'}" if one["measured"] else "FLOPs scaled, not measured"
    costs = [_number(one[f"{source}_training_passes_{unit}"], 3) for source in ("memory", "log")
             for unit in ("flops", "wall")]
    pays = [_number(one[name], 1) for name in ("break_even_trainings_flops", "break_even_trainings",
                                               "break_even_against_rival", "break_even_against_rival_wall")]
    rows.append((f"{one['cost_class']}", measured, _orders(one)[0], *costs, *pays, source_words(one["rival"])))
  return _table("Candidates of other sizes", (
      "times a proxy's FLOPs", "trained", _ORDERS[0], "memory, FLOPs", "wall", "log, FLOPs", "wall",
      "pays against the log, FLOPs", "wall", "against the rival, FLOPs", "wall", "rival by FLOPs"), rows)


def summary_table(result: Mapping[str, Any]) -> Table:
  """The panel's figures over all members, and over the architectures without their variants."""
  summary = result["summary"]
  panels = (summary, summary.get("architectures_only") or {})
  rows = [(_words(name), *(_summary_cell(panel, name) for panel in panels)) for name in _SUMMARY]
  return _table("The panel", ("figure", "all members", "architectures only"), rows)


def _summary_cell(panel: Mapping[str, Any], name: str) -> str:
  text = _number(panel.get(name), _DIGITS.get(name, _AUC_DIGITS), panel.get(f"{name}_se"))
  if text == NOTHING:
    return text
  notes = {"agreement": "{num_resolved} of {num_pairs} pairs resolved", "min_recovery": "{min_recovery_member}",
           "gain_over_best_equal_cost_baseline": "{best_equal_cost_baseline}",
           "gain_over_best_same_records_baseline": "{best_same_records_baseline}"}
  if panel.get("agreement_low") is not None:
    notes["agreement"] += ", 90 % interval {agreement_low:.3f} to {agreement_high:.3f}"
  return f"{text} ({notes[name].format(**panel)})" if name in notes else text


def ablation_table(result: Mapping[str, Any]) -> Table:
  """One row per ablation, its difference to what it is compared with; one in brackets is not resolved."""
  return _table("Ablations", ("ablation", "mean AUC", "mean recovery", *_ORDERS, "compared with", "AUC difference"),
                ((_words(one["name"]), _mean_auc(one), _number(one["mean_recovery"], _RECOVERY_DIGITS), *_orders(one),
                  _words(one["reference"] or NOTHING), _difference(one["difference"])) for one in result["ablations"]))


def stream_table(result: Mapping[str, Any]) -> Table:
  """One row per span: fidelity after it on the next span and on the first one, the slots, and the stage's seconds."""
  stream = result["stream"]
  parts = list(dict.fromkeys(part for one in stream for part in one["seconds"]))
  header = ("span", "slots", "recovery on the next span", "AUC memory", "AUC log", *_ORDERS,
            "recovery on the first span", *ACTION_NAMES, *(f"{_words(part)} s" for part in parts),
            "stage / pass, wall", "stage / pass, FLOPs")
  rows = []
  for one in stream:
    first = (one.get("first_span") or {}).get("mean_recovery")
    rows.append((str(one["span"]), f"{one['num_slots']:,}",
                 _number(one["mean_recovery"], _RECOVERY_DIGITS, one["mean_recovery_se"]),
                 *(_number(one[name], _AUC_DIGITS) for name in ("mean_auc", "log_mean_auc")),
                 *_orders(one), _number(first, _RECOVERY_DIGITS),
                 *(f"{one['actions'].get(action, 0):,}" for action in ACTION_NAMES),
                 *(_number(one["seconds"].get(part), 1) for part in parts), _number(one["stage_wall_ratio"], 1),
                 _number(one.get("stage_flops_ratio"), 1)))
  return _table("Span by span", header, rows)


def cost_table(result: Mapping[str, Any]) -> Table:
  """What one training of every member costs on the log and on the memory, and after how many the memory pays."""
  summary = result["summary"]
  log, memory = summary["training_costs"]["log"], summary["training_costs"]["memory"]
  rows = [(words, f"{counts['log' + key]:,}", f"{counts['memory' + key]:,}",
           _number(counts["log" + key] / counts["memory" + key], 1))
          for words, counts, key in (("records", summary["records"], ""), ("bytes, compressed", summary["bytes"], ""),
                                     ("bytes, uncompressed", summary["bytes"], "_raw"))]
  rows += [("examples processed", f"{log['examples']:,}", f"{memory['examples']:,}", _ratio(summary, "cost_ratio")),
          ("FLOPs", f"{log['flops']:.3g}", f"{memory['flops']:.3g}", _ratio(summary, "flops_ratio")),
          ("seconds", _number(log["seconds"], 1), _number(memory["seconds"], 1), _ratio(summary, "wall_ratio")),
          ("examples of distillation", NOTHING, f"{summary['distillation_examples']:,}", NOTHING),
          ("seconds of distillation", NOTHING, _number(summary["distillation_seconds"], 1), NOTHING),
          ("FLOPs of distillation", NOTHING, _scientific(summary["distillation"]["flops"]), NOTHING),
          *((words, NOTHING, _ratio(summary, name), NOTHING) for words, name in (
              ("passes of distillation, wall", "distillation_passes_wall"),
              ("passes of distillation, FLOPs", "distillation_passes_flops"))),
          *((words, NOTHING, NOTHING, _ratio(summary, name)) for words, name in (
              ("stage wall ratio", "stage_wall_ratio"),
              ("trainings until it pays, wall", "break_even_trainings"),
              ("trainings until it pays, FLOPs", "break_even_trainings_flops"),
              (f"against {source_words(summary['rival_wall'])}, wall", "break_even_against_rival_wall"),
              (f"against {source_words(summary['rival'])}, FLOPs", "break_even_against_rival")))]
  return _table("Cost", ("cost", "log", "memory", "ratio"), rows)


def _scientific(value: float | None) -> str:
  return NOTHING if value is None else f"{value:.3g}"


def _ratio(summary: Mapping[str, Any], name: str) -> str:
  return _number(summary[name], _DIGITS[name])


def bars_table(rows: Sequence[Bar]) -> Table:
  """What was measured, what is required and aimed at, and whether it suffices."""

  def limit(row: Bar, value: float) -> str:
    return f"{'≥' if row.at_least else '≤'} {_number(value, _DIGITS.get(row.bar, _AUC_DIGITS))}"

  return _table("Bars", ("bar", "measured", "required", "met", "aim", "aim met"),
                ((_words(row.bar), _number(row.measured, _DIGITS.get(row.bar, _AUC_DIGITS)), limit(row, row.required),
                  _yes(row.met), limit(row, row.aim), _yes(row.aim_met)) for row in rows))


def all_tables(result: Mapping[str, Any], rows: Sequence[Bar]) -> list[Table]:
  """The tables of a result in the order of reading; those that would be empty are left out.

  Args:
    result: document of the format `diet_tf.fidelity_benchmark`.
    rows: what the result must reach; empty for one without bars.
  """
  tables = [bars_table(rows), summary_table(result), sources_table(result), bill_table(result), classes_table(result),
            baselines_table(result), members_table(result), stream_table(result), ablation_table(result),
            cost_table(result)]
  return [table for table in tables if table.rows]


def markdown(result: Mapping[str, Any], rows: Sequence[Bar]) -> str:
  """All tables under headings of the third level; see `all_tables`."""
  return "\n\n".join(f"### {table.title}\n\n{table.markdown()}" for table in all_tables(result, rows)) + "\n"


def report(result: Mapping[str, Any], rows: Sequence[Bar]) -> str:
  """All tables as plain text, then how many bars are met; see `all_tables`."""
  tables = "\n\n".join(table.text() for table in all_tables(result, rows))
  met = f"\n\n{sum(row.met for row in rows)} of {len(rows)} bars are met." if rows else ""
  return f"{tables}{met}\n"
