"""The pictures of a fidelity benchmark's result, as SVG files that are the same bytes for the same result.

Figures are built without pyplot, so that no state of a process changes; matplotlib is imported when something is drawn.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.fidelity.sources import LOG, MEMORY, OURS, START, UNREFINED
from benchmarks.fidelity.tables import source_words
from diet_tf.distillation.addressing import ACTION_NAMES
from diet_tf.report.axes import spread
from diet_tf.report.fidelity_figures import memory_against_log
from diet_tf.report.figures import Data
from diet_tf.report.memory_figures import slots_by_action

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

# Near the colours of the report in its light theme.
_COLOURS = {LOG: "#52514e", MEMORY: "#2a78d6", START: "#eb6834", UNREFINED: "#eb6834", "freeze": "#b5b4aa",
            "update": "#2a78d6", "replace": "#eb6834", "add": "#1baf7a", "hard": "#eb6834", "soft": "#1baf7a"}
_INK, _LEADER, _GRID = "#52514e", "#a9a89e", "#e1e0d9"
_CHANCE = 0.5
_ROW_INCHES = 0.2


def _value(value: float | None) -> float:
  """The number to draw; what was not measured is not drawn."""
  return float("nan") if value is None else value


def _error(value: float | None) -> float:
  """Half the length of an error bar; none where there is a single seed."""
  return 0.0 if value is None else value


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
  from matplotlib.figure import Figure

  figure = Figure(figsize=(width, height), layout="constrained")
  axes = figure.add_subplot()
  _style(axes)
  return figure, axes


def _style(axes: Axes) -> None:
  axes.spines[["top", "right"]].set_visible(False)
  axes.grid(color=_GRID, linewidth=0.6)
  axes.set_axisbelow(True)
  axes.tick_params(labelsize=8, color=_GRID)


def scatter(result: Mapping[str, Any]) -> Figure:
  """AUC on the log against AUC on the memory, one mark per member with its standard errors; variants are hollow."""
  figure, axes = _axes(6.4, 4.8)
  for variant, label in ((False, "architecture"), (True, "variant")):
    chosen = _aucs(one for one in result["members"] if one["variant"] == variant)
    if chosen.rows:
      axes.errorbar(list(map(_value, chosen.column("log_auc"))), list(map(_value, chosen.column("memory_auc"))),
                    xerr=list(map(_error, chosen.column("log_auc_se"))),
                    yerr=list(map(_error, chosen.column("memory_auc_se"))), fmt="o", label=label, markersize=5,
                    elinewidth=0.8, color=_COLOURS[MEMORY], markerfacecolor="white" if variant else _COLOURS[MEMORY])
  ends = [one[key] for one in result["members"] for key in ("log_auc", "memory_auc") if one[key] is not None]
  axes.axline((ends[0], ends[0]) if ends else (_CHANCE, _CHANCE), slope=1, color=_INK, linewidth=0.8, linestyle="--")
  _label_members(axes, _aucs(one for one in result["members"]
                             if one["log_auc"] is not None and one["memory_auc"] is not None))
  axes.set_xlabel("AUC after training on the log")
  axes.set_ylabel("AUC after training on the memory")
  axes.legend(fontsize=8, loc="upper left")
  return figure


def _aucs(members: Iterable[Mapping[str, Any]]) -> Data:
  """The AUCs of members of a result, as the report names them."""
  return memory_against_log(
      (one["name"], (one["log_auc"], one["log_auc_se"]), (one["memory_auc"], one["memory_auc_se"])) for one in members)


def _label_members(axes: Axes, members: Data) -> None:
  """Names in a column at the right, where they cannot cover each other, each tied to its mark by a thin line."""
  low, high = axes.get_ylim()
  names, log, memory = (members.column(name) for name in ("member", "log_auc", "memory_auc"))
  heights = spread([(auc - low) / (high - low) * 100.0 for auc in memory], 0.0, 100.0, gap=4.0)
  for name, x, y, height in zip(names, log, memory, heights, strict=True):
    axes.annotate(name, (x, y), xytext=(1.04, height / 100.0),
                  textcoords="axes fraction", fontsize=8, verticalalignment="center", annotation_clip=False,
                  arrowprops={"arrowstyle": "-", "color": _LEADER, "linewidth": 0.6, "shrinkB": 3.0,
                              "relpos": (0.0, 0.5)})


def baselines(result: Mapping[str, Any]) -> Figure:
  """The panel's mean AUC on each baseline as bars from chance; log, memory, and memory without refinement as lines."""
  means = result["summary"]["panel_mean_auc"]
  shown = sorted((source for source in means if source not in OURS), key=lambda source: _value(means[source]["mean"]))
  figure, axes = _axes(6.4, 1.4 + _ROW_INCHES * len(shown))
  # The bars start at chance: an AUC of one half is nothing learned.
  axes.barh(range(len(shown)), [_value(means[source]["mean"]) - _CHANCE for source in shown], left=_CHANCE, height=0.7,
            xerr=[_error(means[source]["standard_error"]) for source in shown], error_kw={"elinewidth": 0.8},
            color=[_COLOURS["soft" if "/soft" in source else "hard"] for source in shown])
  axes.margins(y=0.01)
  axes.set_yticks(range(len(shown)), [source.replace("_", " ") for source in shown])
  for source in (LOG, MEMORY, UNREFINED):
    if source in means:
      axes.axvline(_value(means[source]["mean"]), color=_COLOURS[source], linewidth=1.2,
                   linestyle="--" if source == UNREFINED else "-", label=source)
  axes.grid(visible=False, axis="y")
  axes.set_xlabel("mean AUC of the panel")
  axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
  return figure


def stream(result: Mapping[str, Any]) -> Figure:
  """What became of the slots at each span; above it, where it was measured, the panel's mean recovery."""
  from matplotlib.figure import Figure

  entries = result["stream"]
  spans = [str(one["span"]) for one in entries]
  measured = any(one["mean_recovery"] is not None for one in entries)
  figure = Figure(figsize=(6.4, 4.8 if measured else 2.8), layout="constrained")
  panels = list(figure.subplots(1 + measured, 1, sharex=True, squeeze=False)[:, 0])
  if measured:
    _recoveries(panels[0], spans, entries)
  lower, done = panels[-1], [0] * len(spans)
  slots = slots_by_action((one["span"], one["actions"], one["num_slots"]) for one in entries)
  for action in ACTION_NAMES:
    counts = slots.column(action)
    lower.bar(spans, counts, bottom=done, width=0.7, label=action, color=_COLOURS[action])
    done = [before + count for before, count in zip(done, counts, strict=True)]
  lower.set_ylabel("slots")
  lower.set_xlabel("span")
  for axes in panels:
    _style(axes)
  figure.legend(*lower.get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=4, frameon=False)
  return figure


def _recoveries(axes: Axes, spans: Sequence[str], entries: Sequence[Mapping[str, Any]]) -> None:
  """Mean recovery after each span, on the span that follows and on held-back rows of the first one."""
  axes.errorbar(spans, [_value(one["mean_recovery"]) for one in entries],
                yerr=[_error(one["mean_recovery_se"]) for one in entries], fmt="o-", markersize=5,
                color=_COLOURS[MEMORY], label="on the next span")
  first = [_value((one.get("first_span") or {}).get("mean_recovery")) for one in entries]
  axes.plot(spans, first, "s--", markersize=4, color=_COLOURS[START], label="on the first span")
  axes.set_ylabel("mean recovery")
  axes.legend(fontsize=8, frameon=False)


def ablations(result: Mapping[str, Any]) -> Figure:
  """The AUC difference of each ablation as a bar from 0, with its standard error; pale where it is not resolved."""
  rows = [one for one in result["ablations"][::-1] if one["difference"] and one["difference"]["mean"] is not None]
  figure, axes = _axes(6.4, 1.0 + _ROW_INCHES * len(rows))
  drawn = axes.barh([one["name"].replace("_", " ") for one in rows], [one["difference"]["mean"] for one in rows],
                    xerr=[_error(one["difference"]["standard_error"]) for one in rows], height=0.7,
                    error_kw={"elinewidth": 0.8}, color=_COLOURS[MEMORY])
  for bar, one in zip(drawn, rows, strict=True):
    bar.set_alpha(1.0 if one["difference"]["resolved"] else 0.4)
  axes.axvline(0.0, color=_INK, linewidth=0.8)
  axes.grid(visible=False, axis="y")
  axes.set_xlabel("difference in mean AUC")
  return figure


def cost(result: Mapping[str, Any]) -> Figure:
  """What a training costs against how well it ranks, and what many of them cost with what making the memory took.

  At the left, per source, the FLOPs of a training as a share of a pass, and the agreement with its interval: what lies
  higher ranks better, and what lies farther left is cheaper. Shares of the log of one kind are joined by a line. At the
  right the cost of a search by its number of trainings; where lines cross, both cost the same.
  """
  from matplotlib.figure import Figure

  figure = Figure(figsize=(9.6, 4.4), layout="constrained")
  left, right = figure.subplots(1, 2, width_ratios=(3, 2))
  for axes in (left, right):
    _style(axes)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
  _agreements(left, result["summary"]["sources"])
  _totals(right, result["summary"])
  return figure


# What sources are called in the legend, and how they are drawn.
_OF_RIVALS = {"sample/uniform": ("uniform sub-sample", "o"), "sample/users": ("sub-sample of users", "s"),
              "sample/newest": ("newest rows", "^"), "sample/oldest": ("oldest rows", "v"),
              "halving": ("successive halving", "D"), "early_stopping": ("early stopping", "P")}


def _agreements(axes: Axes, sources: Sequence[Mapping[str, Any]]) -> None:
  """One mark a source, its agreement over what a training costs."""
  groups: dict[str, list[Mapping[str, Any]]] = {}
  for one in sources:
    groups.setdefault(one["source"].rpartition("/")[0] or one["source"], []).append(one)
  palette = iter(("#1baf7a", "#8a6fd1", "#c9a227", "#c2528b", "#3f9fb5", "#7a7a72"))
  for group, members in groups.items():
    ours = group in (LOG, MEMORY, UNREFINED)
    if not ours and group not in _OF_RIVALS:
      continue
    label, marker = (group, "*" if group == MEMORY else "o") if ours else _OF_RIVALS[group]
    ordered = sorted(members, key=lambda one: one["training_passes"]["flops"])
    shares = [_value(one["agreement"]) for one in ordered]
    axes.errorbar([one["training_passes"]["flops"] for one in ordered], shares, yerr=_interval(ordered, shares),
                  fmt=f"{marker}-", label=label, color=_COLOURS[group] if ours else next(palette), linewidth=0.8,
                  markersize=12 if group == MEMORY else 5, elinewidth=1.2 if ours else 0.6, capsize=2 if ours else 0,
                  alpha=1.0 if ours else 0.8, zorder=3 if ours else 2)
  axes.set_xlabel("FLOPs of a training, in passes over the log", fontsize=9)
  axes.set_ylabel("agreement with the log's order (90 % interval)", fontsize=9)
  axes.legend(fontsize=7, loc="lower right")


def _interval(sources: Sequence[Mapping[str, Any]], shares: Sequence[float]) -> list[list[float]]:
  """The lengths of the interval's bars below and above the agreement; none where the interval is not known."""
  below, above = [], []
  for one, share in zip(sources, shares, strict=True):
    low, high = one["agreement_low"], one["agreement_high"]
    below.append(0.0 if low is None else max(share - low, 0.0))
    above.append(0.0 if high is None else max(high - share, 0.0))
  return [below, above]


def _totals(axes: Axes, summary: Mapping[str, Any]) -> None:
  """The cost of a search by its number of trainings, on the memory, the log and the cheapest rival of equal order."""
  rows = summary["bill"]
  first, last = rows[0], rows[-1]
  # From one training on: costs are linear in their number.
  trainings = [1, *(row["trainings"] for row in rows)]

  def costs(source: str) -> list[float]:
    begin, end = (_value(row["passes_flops"][source]) for row in (first, last))
    slope = (end - begin) / (last["trainings"] - first["trainings"])
    return [begin + slope * (count - first["trainings"]) for count in trainings]

  axes.set_yscale("log")
  axes.yaxis.set_major_formatter("{x:g}")
  for source, label in ((LOG, "on the log"), ("rival", f"on {source_words(summary['rival'])}"),
                        (MEMORY, "on the memory, with making it")):
    if source == "rival" and summary["rival"] == LOG:
      continue
    axes.plot(trainings, costs(source), "o-", markersize=3, linewidth=1.4, label=label,
              color=_COLOURS.get(source, "#1baf7a"))
  for name, colour in (("break_even_trainings_flops", _COLOURS[LOG]), ("break_even_against_rival", "#1baf7a")):
    crossing = summary[name]
    if crossing is not None and trainings[0] <= crossing <= trainings[-1]:
      axes.axvline(crossing, color=colour, linewidth=0.8, linestyle="--")
      axes.annotate(f"{crossing:,.0f}", (crossing, 1.0), xycoords=("data", "axes fraction"), xytext=(2, -10),
                    textcoords="offset points", fontsize=8, color=_INK)
  axes.set_xlabel("trainings", fontsize=9)
  axes.set_ylabel("FLOPs of all together, in passes over the log", fontsize=9)
  axes.legend(fontsize=7, loc="lower right")


def write_plots(result: Mapping[str, Any], folder: str | os.PathLike[str]) -> list[pathlib.Path]:
  """Writes the plots of a result as SVG and returns their paths; what the result has nothing of is not drawn.

  Args:
    result: document of the format `diet_tf.fidelity_benchmark`.
    folder: path of the folder for the files, which is made if it does not exist.
  """
  drawings: dict[str, tuple[Callable[[Mapping[str, Any]], Figure], bool]] = {
      "cost": (cost, len(result["summary"]["sources"]) > 1),
      "scatter": (scatter, bool(result["members"])),
      "baselines": (baselines, any(source not in OURS for source in result["summary"]["panel_mean_auc"])),
      "stream": (stream, bool(result["stream"])), "ablations": (ablations, bool(result["ablations"]))}
  target = pathlib.Path(folder)
  target.mkdir(parents=True, exist_ok=True)
  return [_save(draw(result), target / f"{name}.svg") for name, (draw, wanted) in drawings.items() if wanted]


def _save(figure: Figure, path: pathlib.Path) -> pathlib.Path:
  import matplotlib

  # Text stays text, which is small and can be searched; ids come from the salt and not from chance.
  with matplotlib.rc_context({"svg.hashsalt": "diet_tf", "svg.fonttype": "none"}):
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
  return path
