"""The tables of a fidelity benchmark's result, as Markdown for documents and as plain text for a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.fidelity.figures import Bar, bars
from benchmarks.fidelity.sources import EQUAL_COST, OURS
from diet_tf.distillation.addressing import ACTION_NAMES
from diet_tf.printable import markdown_text

NOTHING = "-"
_RECOVERY_DIGITS, _AUC_DIGITS = 3, 4
# Digits of the summary's figures that are no AUCs.
_DIGITS = {"mean_recovery": _RECOVERY_DIGITS, "min_recovery": _RECOVERY_DIGITS, "agreement": _RECOVERY_DIGITS,
           "kendall_tau_b": _RECOVERY_DIGITS, "unseen_architecture_gap": _RECOVERY_DIGITS, "cost_ratio": 1,
           "flops_ratio": 1, "wall_ratio": 1, "stage_wall_ratio": 1, "break_even_trainings": 1}
_SUMMARY = ("mean_recovery", "min_recovery", "agreement", "kendall_tau_b", "regret",
            "gain_over_best_equal_cost_baseline", "gain_over_best_same_records_baseline", "refinement_gain",
            "last_stage_gain", "static_gain", "continual_gap", "unseen_architecture_gap")


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


def _words(name: str) -> str:
  return name.replace("_", " ")


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


def _mean_auc(summary: Mapping[str, Any], source: str) -> str:
  value = summary["panel_mean_auc"].get(source)
  return _number(value["mean"], _AUC_DIGITS, value["standard_error"]) if value else NOTHING


def sources_table(result: Mapping[str, Any]) -> Table:
  """The panel's mean AUC after training on the log, the memory, and the memory's variants that were trained on."""
  summary = result["summary"]
  sources = [source for source in OURS if source in summary["panel_mean_auc"]]
  return _table("Mean AUC of the panel", ("trained on", "mean AUC"),
                ((_words(source), _mean_auc(summary, source)) for source in sources))


def baselines_table(result: Mapping[str, Any]) -> Table:
  """One row per selection of rows: the panel's mean AUC for each kind of labels, at the same records and equal cost."""
  summary = result["summary"]
  baselines = [source for source in summary["panel_mean_auc"] if source not in OURS]
  names = list(dict.fromkeys(source.partition("/")[0] for source in baselines))
  kinds = sorted({source.partition("/")[2] for source in baselines})
  header = ("selection", *(_kind(kind) for kind in kinds))
  return _table("Baselines: mean AUC of the panel", header,
                ((_words(name), *(_mean_auc(summary, f"{name}/{kind}") for kind in kinds))
                 for name in names))


def _kind(kind: str) -> str:
  labels, _, cost = kind.partition("/")
  return f"{_words(labels)}, {'equal cost' if cost == EQUAL_COST else 'same records'}"


def rivals_table(result: Mapping[str, Any]) -> Table:
  """One row per source that ranks members at a cost of its own: the log, the memory and its rivals.

  Costs are in passes, by FLOPs and by wall time. Agreement and regret are those of the order by the means over seeds,
  and after a stroke the means of what each seed gives alone.
  """
  rows = []
  for one in result["summary"].get("sources", ()):
    costs = (one["training_passes"], one["candidate_passes"])
    rows.append((_words(one["source"]), *(_number(cost[unit], 3) for cost in costs for unit in ("flops", "wall")),
                 _number(one["mean_auc"], _AUC_DIGITS),
                 *(f"{_number(one[name], digits)} / {_number(one[f'{name}_of_seeds'], digits)}"
                   for name, digits in (("agreement", _RECOVERY_DIGITS), ("regret", _AUC_DIGITS)))))
  return _table("Rivals", ("trained on", "a training, FLOPs", "wall", "with the choice of its rate, FLOPs", "wall",
                           "mean AUC", "agreement", "regret"), rows)


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
  return _table("Ablations", ("ablation", "mean AUC", "mean recovery", "compared with", "AUC difference"),
                ((_words(one["name"]), _number(one["mean_auc"], _AUC_DIGITS, one["mean_auc_se"]),
                  _number(one["mean_recovery"], _RECOVERY_DIGITS), _words(one["reference"] or NOTHING),
                  _difference(one["difference"])) for one in result["ablations"]))


def stream_table(result: Mapping[str, Any]) -> Table:
  """One row per span: fidelity after it on the next span and on the first one, the slots, and the stage's seconds."""
  stream = result["stream"]
  parts = list(dict.fromkeys(part for one in stream for part in one["seconds"]))
  header = ("span", "slots", "recovery on the next span", "AUC memory", "AUC log", "recovery on the first span",
            *ACTION_NAMES, *(f"{_words(part)} s" for part in parts), "stage / pass")
  rows = []
  for one in stream:
    first = (one.get("first_span") or {}).get("mean_recovery")
    rows.append((str(one["span"]), f"{one['num_slots']:,}",
                 _number(one["mean_recovery"], _RECOVERY_DIGITS, one["mean_recovery_se"]),
                 *(_number(one[name], _AUC_DIGITS) for name in ("mean_auc", "log_mean_auc")),
                 _number(first, _RECOVERY_DIGITS),
                 *(f"{one['actions'].get(action, 0):,}" for action in ACTION_NAMES),
                 *(_number(one["seconds"].get(part), 1) for part in parts), _number(one["stage_wall_ratio"], 1)))
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
          ("stage wall ratio", NOTHING, NOTHING, _ratio(summary, "stage_wall_ratio")),
          ("trainings until it pays", NOTHING, NOTHING, _ratio(summary, "break_even_trainings"))]
  return _table("Cost", ("cost", "log", "memory", "ratio"), rows)


def _ratio(summary: Mapping[str, Any], name: str) -> str:
  return _number(summary[name], _DIGITS[name])


def bars_table(rows: Sequence[Bar]) -> Table:
  """What was required, what was measured, and whether it suffices."""
  return _table("Bars", ("bar", "required", "measured", "met"),
                ((_words(row.bar),
                  f"{'≥' if row.at_least else '≤'} {_number(row.required, _DIGITS.get(row.bar, _AUC_DIGITS))}",
                  _number(row.measured, _DIGITS.get(row.bar, _AUC_DIGITS)), _yes(row.met)) for row in rows))


def all_tables(result: Mapping[str, Any], budget: float) -> list[Table]:
  """The tables of a result in the order of reading; those that would be empty are left out.

  Args:
    result: document of the format `diet_tf.fidelity_benchmark`.
    budget: number of the memory's records over the log's, which says what the bars are.
  """
  tables = [bars_table(bars(result["summary"], budget)), summary_table(result), sources_table(result),
            baselines_table(result), rivals_table(result), members_table(result), stream_table(result),
            ablation_table(result), cost_table(result)]
  return [table for table in tables if table.rows]


def markdown(result: Mapping[str, Any], budget: float) -> str:
  """All tables under headings of the third level; see `all_tables`."""
  return "\n\n".join(f"### {table.title}\n\n{table.markdown()}" for table in all_tables(result, budget)) + "\n"


def report(result: Mapping[str, Any], budget: float) -> str:
  """All tables as plain text, then how many bars are met; see `all_tables`."""
  rows = bars(result["summary"], budget)
  tables = "\n\n".join(table.text() for table in all_tables(result, budget))
  met = f"\n\n{sum(row.met for row in rows)} of {len(rows)} bars are met." if rows else ""
  return f"{tables}{met}\n"
