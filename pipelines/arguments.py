"""The arguments of `diet run`, `diet report` and `diet demo`, and where classes that they name are looked for."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable

from diet_tf.cli.help import ExamplesHelp, add_user_code, path_text
from diet_tf.config.user_code import imports_code
from diet_tf.log.settings import AUTO_SPAN

DEMO_OUTPUT = "diet_runs/demo"
_RUN_EXAMPLES = """examples:
  diet run --config shop.yaml --data-dir logs                  # all spans but the newest, then figures
  diet run --config shop.yaml --data-dir logs --span auto      # the next one, as in a scheduled job
  diet run --config shop.yaml --span 7 --replace               # a committed span again
  diet run --config shop.yaml --from-span 7 --replace          # it, and all that follow from it
  diet run --config shop.yaml --set budget.fraction=0.02 --output diet_runs/shop-2-percent --json results.json"""
_REPORT_EXAMPLES = """examples:
  diet report --config shop.yaml --data-dir logs
  diet report --config shop.yaml --data-dir logs --store s3://diet/store --json results.json
  diet report --config diet_runs/demo/config.yaml --data-dir diet_runs/demo"""
_DEMO_EXAMPLES = """examples:
  diet demo
  diet demo --output diet_runs/try --json results.json"""


def run_parser() -> argparse.ArgumentParser:
  """The arguments of `diet run`."""
  parser = argparse.ArgumentParser(
      prog="diet run", description="Distil the spans of a log, one pipeline run per span, each from the memory that "
      "the run before committed; then train a panel of models on the memory and on the log, and compare them.",
      epilog=_RUN_EXAMPLES, formatter_class=ExamplesHelp)
  _add_log(parser)
  which = parser.add_mutually_exclusive_group()
  which.add_argument("--span", metavar="N", help=f"run this span only, or '{AUTO_SPAN}' for the next one; without it "
                     "all spans that are not committed, but for the newest (test_spans of the config)")
  which.add_argument("--from-span", metavar="N", help="leave out the spans before this one")
  parser.add_argument("--replace", action="store_true", help="run committed spans again, and replace their commits")
  parser.add_argument("--accept-changes", action="store_true", help="go on where the config differs from the one that "
                      "the store's newest memory was made with, and carry that memory over")
  parser.add_argument("--evaluate", action=argparse.BooleanOptionalAction, default=None,
                      help="whether to train the panel at the end; by default where no --span is given, or with --json")
  parser.add_argument("--seed", type=int, help="seed of everything that is drawn (default: that of the config)")
  _add_runner(parser)
  _add_common(parser)
  return parser


def report_parser() -> argparse.ArgumentParser:
  """The arguments of `diet report`."""
  parser = argparse.ArgumentParser(
      prog="diet report", description="Judge the newest memory of a store on the spans after it, and write the report "
      "and the results. Figures that are known are not computed again, and nothing is distilled.",
      epilog=_REPORT_EXAMPLES, formatter_class=ExamplesHelp)
  _add_log(parser)
  _add_common(parser)
  return parser


def demo_parser() -> argparse.ArgumentParser:
  """The arguments of `diet demo`."""
  parser = argparse.ArgumentParser(
      prog="diet demo", description="Write a simulated click log of five spans and one for the test, whose best "
      "possible AUC is known, distil it span by span, and compare models trained on the log and on the memory.",
      epilog=_DEMO_EXAMPLES, formatter_class=ExamplesHelp)
  _add_runner(parser)
  _add_common(parser)
  return parser


def _add_log(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("--config", type=path_text, required=True, metavar="FILE", help="the config, see examples/*.yaml")
  parser.add_argument("--data-dir", type=path_text, default=".", metavar="DIR",
                      help="what paths in the config are relative to")
  parser.add_argument("--store", type=path_text, metavar="URI", help="the store of memories (default: OUTPUT/store)")
  add_user_code(parser)


def _add_runner(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("--runner", choices=("beam", "local"), default="beam",
                      help="TFX's BeamDagRunner (default) or LocalDagRunner")


def _add_common(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("--output", type=path_text, metavar="DIR",
                      help="folder for the store, the report and the pipeline's files "
                      "(default: diet_runs/NAME)")
  parser.add_argument("--json", type=path_text, metavar="OUT", help="write the results there as JSON")
  parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                      help="override a setting of the config, as in --set budget.fraction=0.02; may be repeated")
  parser.add_argument("--beam-arg", action="append", default=[], metavar="ARG",
                      help="an option of Beam for the components that run on it, as in --beam-arg=--runner=FlinkRunner")


def look_for_user_modules(members: Iterable[str]) -> None:
  """Lets modules of the current folder be imported, if any of the members names one.

  Args:
    members: names of architectures, of which those of a user's are `module:Class`.
  """
  if any(map(imports_code, members)) and os.getcwd() not in sys.path:
    # At the end: a file of the user's must not stand in for an installed package.
    sys.path.append(os.getcwd())
