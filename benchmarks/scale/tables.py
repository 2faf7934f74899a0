"""The figures as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.scale.figures import EARLY_SPANS, ScaleFigures, cpu_seconds_per_row, cumulated, row_cost_growth
from benchmarks.scale.measuring import MIB, Cost
from benchmarks.scale.stream import COMPONENTS, REFINEMENT, SpanFigures

# Of a long stream, tables show these spans, counted from 1, and the last.
SHOWN_SPANS = (1, 2, 3, 4, 6, 8, 10, 12, 20, 30, 40, 50, 60)


def markdown(figures: ScaleFigures) -> str:
  """All tables, each under its heading."""
  parts = []
  if figures.spans:
    parts.append(f"### One span\n\n{_span_table(figures.spans)}\n\n{_growth_text(figures)}")
  if figures.refinement:
    parts.append(f"### Refinement by slots\n\n{_refinement_table(figures)}")
  for heading, spans in (("Many short spans", figures.stream), ("A long log", figures.log)):
    if spans:
      parts.append(f"### {heading}\n\n{_stream_table(spans)}\n\n{_stream_text(spans)}")
  return "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _mib(num_bytes: int) -> str:
  return f"{num_bytes / MIB:,.0f}"


def _span_table(spans: Sequence[SpanFigures]) -> str:
  rows = []
  for one in spans:
    shown: list[tuple[str, Cost]] = [(name, one.costs[name]) for name in dict.fromkeys(COMPONENTS.values())
                                     if name in one.costs and name != REFINEMENT]
    for name, cost in [*shown, ("all of them", one.without_refinement)]:
      rows.append([f"{one.num_rows:,}", name, f"{one.num_rows / cost.wall_seconds:,.0f}", f"{cost.wall_seconds:.1f}",
                   f"{cost.cpu_seconds:.1f}", _mib(cost.peak_bytes)])
  return _table(["rows", "component", "rows a second", "wall s", "CPU s", "peak MiB"], rows)


def _growth_text(figures: ScaleFigures) -> str:
  grown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in figures.growth().items())
  return f"Peak memory, longest span over shortest: {grown}." if grown else ""


def _refinement_table(figures: ScaleFigures) -> str:
  return _table(["slots", "ids in them", "inner steps", "seconds an outer step", "peak MiB"],
                [[f"{one.num_slots:,}", f"{one.num_ids:,}", f"{one.num_steps:,}", f"{one.seconds_per_step:.2f}",
                  _mib(one.cost.peak_bytes)] for one in figures.refinement])


def _stream_table(spans: Sequence[SpanFigures]) -> str:
  names = list(dict.fromkeys(name for name in COMPONENTS.values() if name in spans[0].costs))
  per_row = cpu_seconds_per_row(spans)
  rows = []
  for place, one in enumerate(spans):
    if place + 1 in SHOWN_SPANS or place + 1 == len(spans):
      rows.append([str(place + 1), f"{one.num_slots:,}", f"{one.num_ids:,}",
                   *(f"{one.costs[name].cpu_seconds:.1f}" for name in names), f"{one.total.wall_seconds:.1f}",
                   f"{1e3 * per_row[place]:.2f}", f"{_mib(one.total.peak_bytes)} ({one.largest})",
                   f"{one.memory_bytes / MIB:.1f}", f"{one.teacher_bytes / MIB:.1f}"])
  return _table(["span", "slots", "ids in them", *(f"{name}, CPU s" for name in names), "all, wall s",
                 "CPU s for 1,000 rows so far", "peak MiB", "memory MiB", "teacher MiB"], rows)


def _stream_text(spans: Sequence[SpanFigures]) -> str:
  total, num_rows = cumulated(spans), sum(one.num_rows for one in spans)
  text = (f"{num_rows:,} rows in {len(spans)} spans: {total.wall_seconds / 60:,.1f} minutes, "
          f"{total.cpu_seconds / 60:,.1f} of processor time, peak {_mib(total.peak_bytes)} MiB.")
  grown = row_cost_growth(spans)
  if grown is not None:
    text += f" Cost of a row up to span {len(spans)} over that up to span {EARLY_SPANS}: {grown:.2f}."
  return text
