"""The command: `python -m benchmarks.scale`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:
  from benchmarks.scale.figures import ScaleFigures

PARTS = ("span", "refinement", "stream", "log")
# Of the streams, with --quick.
QUICK_SETTINGS = ("distill.outer_steps=20",)
DESCRIPTION = """What the pipeline costs in time and memory, component by component, each in a process of its own.

Parts: "span" is one span of each length in a new store, all components, with no outer step. "refinement" is what an
outer step takes on so many slots. "stream" is spans of 20,000 rows, one after the other, with the defaults. "log" is a
log of 10 million rows in ten spans, likewise. Their rows are simulated: 20 fields, two of them of a million ids, and
drift. What is done is kept in the work folder, by its settings: the same command goes on where it was interrupted. The
exit status is 1 if the peak memory of a component that streams grows by more than the tolerance from the shortest span
to the longest."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
  """The options of the command."""
  parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=DESCRIPTION,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--quick", action="store_true", help="everything so small that it takes minutes, with 20 outer "
                      "steps a span; what is given by name stays")
  parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}, these parts")
  parser.add_argument("--without", nargs="+", choices=PARTS, default=[], metavar="PART", help="parts to leave out")
  # Of each length: the usual value, and that of --quick.
  for name, usual, quick, text in (
      ("rows", [100_000, 1_000_000], [20_000, 100_000], "lengths of the spans of the part span, growing"),
      ("slots", [1024, 4096, 20_480], [256, 1024], "numbers of slots of the part refinement"),
      ("steps", 3, 2, "outer steps with each proxy in that part; the first traces its graphs and is not timed"),
      ("stream_spans", 12, 3, "spans of the part stream; 60 go on from 12"), ("stream_rows", 20_000, 5000, "rows of "
      "each"), ("log_spans", 10, 2, "spans of the part log"), ("log_rows", 1_000_000, 20_000, "rows of each")):
    parser.add_argument(f"--{name.replace('_', '-')}", type=int, nargs="+" if isinstance(usual, list) else None,
                        metavar="N", help=f"{text} (default: {_words(usual)}; with --quick {_words(quick)})")
    parser.set_defaults(**{f"{name}_defaults": (usual, quick)})
  # The shortest span does not fill LogGen's buffers yet (a piece of a file, a shard); memory that grew with the span
  # would be ten times larger at the longest.
  parser.add_argument("--tolerance", type=float, default=1.5, help="allowed growth of a streaming component's peak")
  parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                      help="override a setting of the config")
  parser.add_argument("--beam-arg", action="append", default=[], metavar="ARG", help="an option of Beam")
  parser.add_argument("--work", default=os.path.join("diet_runs", "scale"), metavar="DIR",
                      help="where results are kept (default: %(default)s)")
  parser.add_argument("--json", metavar="OUT", help="write the figures there")
  parser.add_argument("--markdown", metavar="OUT", help="write the tables there")
  options = parser.parse_args(arguments)
  for name in ("rows", "slots", "steps", "stream_spans", "stream_rows", "log_spans", "log_rows"):
    if getattr(options, name) is None:
      setattr(options, name, getattr(options, f"{name}_defaults")[options.quick])
    given = getattr(options, name)
    if min(given if isinstance(given, list) else [given]) < 1:
      parser.error(f"--{name.replace('_', '-')} is at least 1; received {given}.")
  options.parts = tuple(part for part in options.only or PARTS if part not in options.without)
  return options


def _words(value: Any) -> str:
  return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def run(options: argparse.Namespace, progress: Any) -> ScaleFigures:
  """Measures what is not measured yet."""
  from benchmarks.scale.figures import ScaleFigures
  from benchmarks.scale.parts import Bench

  overrides = (*(QUICK_SETTINGS if options.quick else ()), *options.set)
  bench = Bench(os.path.abspath(options.work), overrides, tuple(options.beam_arg), progress)
  found: dict[str, Any] = {}
  if "span" in options.parts:
    found["spans"] = [bench.span(num_rows) for num_rows in options.rows]
  if "refinement" in options.parts:
    found["refinement"] = [bench.refinement(num_slots, options.steps) for num_slots in options.slots]
  for part in ("stream", "log"):
    if part in options.parts:
      found[part] = bench.stream(getattr(options, f"{part}_spans"), getattr(options, f"{part}_rows"))
  return ScaleFigures(**{name: tuple(figures) for name, figures in found.items()})


def main(arguments: Sequence[str] | None = None) -> int:
  """Measures, and shows the tables; returns the exit status."""
  from diet_tf.cli.terminal import progress, quiet_third_parties
  from diet_tf.errors import DietError

  options = parse(arguments)
  quiet_third_parties()
  try:
    with progress() as shown:
      figures = run(options, shown)
  except DietError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  from benchmarks.scale import tables
  from diet_tf.io import files
  from diet_tf.io.json_files import write_json

  text = tables.markdown(figures)
  print(text)
  if options.json is not None:
    write_json(options.json, figures.to_dict())
  if options.markdown is not None:
    files.write_atomically(options.markdown, text.encode())
  too_much = {name: ratio for name, ratio in figures.growth().items() if ratio > options.tolerance}
  for name, ratio in too_much.items():
    print(f"error: the peak memory of {name} grows by {ratio:.2f} from the shortest span to the longest; allowed is "
          f"{options.tolerance:g}.", file=sys.stderr)
  return int(bool(too_much))


if __name__ == "__main__":
  sys.exit(main())
