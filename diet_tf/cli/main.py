"""The command `diet`. It imports neither TensorFlow nor TFX until a command needs them.

Commands that need an extra are defined outside this package and plug in through the entry-point group `diet.commands`:
each is a function of the remaining arguments that returns an exit code. Beside a function `NAME` stands `NAME_parser`,
which gives its arguments to shell completion and to the reference of commands; it imports nothing that is slow.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import difflib
import importlib
import importlib.metadata
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import diet_tf
from diet_tf.cli.output import flushed, let_readers_leave
from diet_tf.errors import ConfigError, DietError, notes_of
from diet_tf.io import s3
from diet_tf.printable import printable

Command = Callable[[Sequence[str]], int]

PLUGIN_GROUP = "diet.commands"
# Exit codes of what is not a DietError: as a shell reports them.
EXIT_UNEXPECTED = 70
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

# What `diet --help` says of a command without importing it.
SUMMARIES = {
    "compare": "rank architectures by training each on a memory",
    "completion": "print a script that completes commands and options in a shell",
    "demo": "run the main job on a built-in simulated click log",
    "doctor": "check versions, devices, folders and the store, and say what mends what is wrong",
    "init": "write a first config from a sample of a log",
    "kubeflow": "compile, submit and schedule the pipeline on Kubeflow Pipelines",
    "refine": "refine the newest memory once more, before a search",
    "report": "judge the newest memory, and write the report and the results",
    "run": "distil the spans of a log, one pipeline run per span",
    "memory": "show what is known of a distilled memory, or write it in another format",
    "store": "check a store, list its commits, pin some, remove old ones",
}

# The commands of a bare install, by module and function.
BUILT_IN = {
    "completion": ("diet_tf.cli.completion", "completion"),
    "doctor": ("diet_tf.cli.doctor", "doctor"),
    "memory": ("diet_tf.cli.memory", "memory"),
    "refine": ("diet_tf.cli.refine", "refine"),
    "store": ("diet_tf.cli.store", "store"),
}


class _End:
  """Ends a process that has loaded tensorflow-io with the command's exit code; without this, the code is 134."""

  code = 1  # As Python's own where an exception is not caught.

  def __call__(self) -> None:
    if s3.is_in_use():
      for stream in filter(None, (sys.stdout, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):
          stream.flush()
      os._exit(self.code)


class Terminated(KeyboardInterrupt):
  """SIGTERM, which ends a command as Ctrl-C does: it says how to go on."""


def _terminate(number: int, frame: Any) -> NoReturn:
  # A second one ends the process at once.
  signal.signal(number, signal.SIG_DFL)
  raise Terminated


def run_process() -> NoReturn:
  """The console script: `main`, in a process whose exit code is that of the command."""
  signal.signal(signal.SIGTERM, _terminate)
  let_readers_leave()
  end = _End()
  # What is registered first is called last: whatever others clean up when a process ends is cleaned up before.
  atexit.register(end)
  try:
    end.code = flushed(main())
  except SystemExit as asked:
    end.code = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
    raise
  sys.exit(end.code)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs `diet` and returns its exit code.

  Args:
    arguments: the words after `diet`; None, the default, takes those of the process.
  """
  arguments = list(sys.argv[1:] if arguments is None else arguments)
  debug = "--debug" in arguments
  arguments = [argument for argument in arguments if argument != "--debug"]
  try:
    return _dispatch(arguments, debug)
  except DietError as error:
    if not debug:
      _print_error(error)
    _print_notes(error)
    if debug:
      raise
    return error.exit_code
  except KeyboardInterrupt as cut:
    terminated = isinstance(cut, Terminated)
    print(f"\n{'Terminated' if terminated else 'Interrupted'}. What is committed is whole"
          + ("." if notes_of(cut) else "; run the command again to go on."), file=sys.stderr)
    _print_notes(cut)
    return EXIT_TERMINATED if terminated else EXIT_INTERRUPTED
  except Exception as error:
    if not debug:
      print(f"diet: unexpected error: {type(error).__name__}: {printable(str(error))}\n"
            "Run it again with --debug for the traceback.", file=sys.stderr)
    _print_notes(error)
    if debug:
      raise
    return EXIT_UNEXPECTED


def _dispatch(arguments: list[str], debug: bool) -> int:
  plugins = {point.name: point for point in importlib.metadata.entry_points(group=PLUGIN_GROUP)}
  names = sorted({*BUILT_IN, *plugins})
  parser = command_parser(names)
  # Only what stands before the command is ours: what follows belongs to it.
  split = next((index for index, argument in enumerate(arguments) if not argument.startswith("-")), len(arguments))
  parser.parse_args(arguments[:split])
  if split == len(arguments):
    parser.print_help()
    return 0
  name, rest = arguments[split], arguments[split + 1:]
  if not debug:
    from diet_tf.cli.terminal import quiet_third_parties
    quiet_third_parties()
  if name in BUILT_IN:
    module, function = BUILT_IN[name]
    return getattr(importlib.import_module(module), function)(rest)
  if name not in plugins:
    close = difflib.get_close_matches(name, names, 1)
    raise ConfigError(f"diet {name}", rule=f"the commands are {', '.join(names)}.", received=repr(name),
                      remedy=f"did you mean {close[0]!r}?" if close else "see diet --help.")
  return _load(plugins[name])(rest)


def installed_commands() -> dict[str, tuple[str, str]]:
  """The module and the function of each command that is installed, by the command's name."""
  points = {point.name: point.value.partition(":") for point in importlib.metadata.entry_points(group=PLUGIN_GROUP)}
  return {**BUILT_IN, **{name: (module, function) for name, (module, _, function) in points.items()}}


def parsers(commands: Mapping[str, tuple[str, str]]) -> dict[str, argparse.ArgumentParser]:
  """The parser of each command that can be imported here, by the command's name.

  Args:
    commands: the module and the function of each command, by its name, as `installed_commands` gives them.
  """
  found = {}
  for name, (module, function) in sorted(commands.items()):
    # A command whose extra is not installed is left out, and so is one that tells of no arguments.
    with contextlib.suppress(ModuleNotFoundError, AttributeError):
      found[name] = getattr(importlib.import_module(module), f"{function}_parser")()
  return found


def _load(point: importlib.metadata.EntryPoint) -> Command:
  """The plug-in's function; explains which extra is missing if it cannot be imported."""
  try:
    return point.load()
  except ModuleNotFoundError as error:
    raise missing_extra(f"diet {point.name}", error) from error


def missing_extra(subject: str, error: ModuleNotFoundError) -> ConfigError:
  """The error for a command that needs a package which is not installed.

  Args:
    subject: the command, such as "diet run".
    error: what importing the package raised.
  """
  package = (error.name or "").partition(".")[0]
  extra = {"kfp": "kubeflow", "tensorflow_io": "s3"}.get(package, "tfx")
  return ConfigError(subject, rule=f"it needs the extra [{extra}].", received=f"the package {package!r} is missing.",
                     remedy=f"pip install 'diet-tf[{extra}]', with Python 3.10.")


def command_parser(names: Sequence[str]) -> argparse.ArgumentParser:
  """The arguments of `diet` itself, which stand before the command.

  Args:
    names: the names of the commands, which the help lists.
  """
  width = max(map(len, names)) + 2
  lines = [f"  {name:<{width}}{SUMMARIES.get(name, '')}".rstrip() for name in names]
  parser = argparse.ArgumentParser(
      prog="diet", usage="diet [--debug] COMMAND ...", formatter_class=argparse.RawDescriptionHelpFormatter,
      description="Streaming dataset distillation for recommender models.",
      epilog="\n".join(["commands:", *lines, "", "'diet COMMAND --help' says more of one."]))
  parser.add_argument("--version", action="version", version=f"diet-tf {diet_tf.__version__}")
  parser.add_argument("--debug", action="store_true",
                      help="show tracebacks, and other packages' warnings; it may stand anywhere")
  return parser


def _print_error(error: DietError) -> None:
  lines = [f"diet: {error.subject}", f"  rule:     {error.rule}", f"  received: {error.received}",
           f"  remedy:   {error.remedy}"]
  print("\n".join(lines), file=sys.stderr)


def _print_notes(error: BaseException) -> None:
  for note in notes_of(error):
    print(printable(note), file=sys.stderr)


if __name__ == "__main__":
  run_process()
