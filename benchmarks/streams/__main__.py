"""The command: `python -m benchmarks.streams --dataset flights --data-dir DIR`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:
  from benchmarks.streams.log import StreamedLog
  from benchmarks.streams.tables import SpanRow

EXAMPLES = {"flights": "examples/flights.yaml", "kuairand": "examples/kuairand.yaml",
            "movietweetings": "examples/movietweetings.yaml"}
SIMULATED = "simulated"
DESCRIPTION = """Distil the spans of a long log one by one, each component in a process of its own, and print what that
cost up to each span. At some spans a small panel is trained on the log so far, in as many passes as are best, and on
the memory, and judged on the next span: agreement, regret and recovery. What is done is kept: the same command goes on
where it was interrupted, and further spans to judge are added to those that are done."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
  """The options of the command."""
  parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=DESCRIPTION)
  parser.add_argument("--dataset", required=True, choices=(*EXAMPLES, SIMULATED),
                      help="simulated is that of benchmarks.scale, and needs no data")
  parser.add_argument("--data-dir", default=".", metavar="DIR", help="what paths in the config are relative to")
  parser.add_argument("--config", metavar="FILE", help="the config, instead of the dataset's in examples/")
  parser.add_argument("--spans", type=int, metavar="N", help="spans to distil (default: all but the last, which is "
                      "judged on; of the simulated log 60)")
  parser.add_argument("--rows", type=int, default=20_000, metavar="N", help="rows of a simulated span")
  parser.add_argument("--judge", type=int, nargs="*", metavar="N", help="the spans, counted from 1, after which the "
                      "panel is trained (default: 3, 10, 30, 100, and the last)")
  parser.add_argument("--every", type=int, default=10, metavar="N", help="beside these and the first, every N-th span "
                      "has a row of the table")
  parser.add_argument("--seeds", type=int, default=2, metavar="N", help="streams, and trainings of each member")
  parser.add_argument("--members", nargs="+", default=["lr", "fm", "dnn", "deepfm", "dcn_v2", "autoint"],
                      metavar="MEMBER", help="members of the panel (default: %(default)s)")
  parser.add_argument("--jobs", type=int, default=1, metavar="N", help="members that are trained at a time")
  parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                      help="override a setting of the config")
  parser.add_argument("--work", default=os.path.join("diet_runs", "streams"), metavar="DIR",
                      help="where results are kept (default: %(default)s)")
  parser.add_argument("--json", metavar="OUT", help="write the figures there")
  parser.add_argument("--markdown", metavar="OUT", help="write the table there")
  options = parser.parse_args(arguments)
  for name in ("spans", "rows", "every", "seeds", "jobs"):
    value = getattr(options, name)
    if value is not None and value < 1:
      parser.error(f"--{name} is at least 1; received {value}.")
  return options


def places_to_judge(given: Sequence[int] | None, num_spans: int) -> list[int]:
  """The spans after which the panel is trained, counted from 1: those given, or a few that lie ever farther apart."""
  if given is not None:
    return sorted({place for place in given if 1 <= place <= num_spans})
  places = {num_spans}
  for ten in (1, 10, 100, 1000):
    places |= {place for place in (ten, 3 * ten) if 1 < place < num_spans}
  return sorted(places)


def run(options: argparse.Namespace, streamed: StreamedLog, progress: Any) -> list[SpanRow]:
  """Distils, trains and judges what is not done yet; returns the rows of the table."""
  from benchmarks.fidelity.workers import run_all
  from benchmarks.streams.judged import JudgedSpan, MemberOnSpan, folder_of
  from benchmarks.streams.tables import SpanRow

  streams = [streamed.distil(seed, progress) for seed in range(options.seeds)]
  judged = places_to_judge(options.judge, len(streamed.spans))
  log_folder = streamed.encode() if judged else ""
  rows = []
  for place in range(1, len(streamed.spans) + 1):
    figures = None
    if place in judged:
      span = streamed.spans[place - 1]
      one = JudgedSpan.of(streamed.config, folder_of(streamed.folder, span, options.seeds), log_folder,
                          streamed.store_uris, span, options.members)
      run_all([MemberOnSpan(member) for member in options.members], one, options.jobs,
              f"members of the panel after span {place}", progress)
      figures = one.figures()
    if figures is not None or place == 1 or place % options.every == 0:
      rows.append(SpanRow(place, [stream[:place] for stream in streams], figures))
  return rows


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs what is not done yet and shows the table; returns the exit code."""
  from diet_tf.cli.terminal import progress, quiet_third_parties
  from diet_tf.errors import DietError

  options = parse(arguments)
  quiet_third_parties()
  try:
    from benchmarks.streams.log import StreamedLog

    streamed = StreamedLog.of(options)
    with progress() as shown:
      rows = run(options, streamed, shown)
  except DietError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  from benchmarks.streams.tables import table_of
  from diet_tf.io import files
  from diet_tf.io.json_files import write_json

  text = table_of(rows) + "\n"
  print(text, end="")
  if options.json is not None:
    write_json(options.json, {"spans": [row.to_dict() for row in rows]})
  if options.markdown is not None:
    files.write_atomically(options.markdown, text.encode())
  return 0


if __name__ == "__main__":
  sys.exit(main())
