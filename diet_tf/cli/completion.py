"""The command `diet completion`: a script for a shell, made once from the arguments of all commands.

The script holds everything that it completes, so that a key press starts no Python: a program that is asked each time
(as argcomplete's are) would have to import the commands first.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from diet_tf.cli.help import ExamplesHelp

SHELLS = ("bash", "zsh")
# What the name of an argument's value says of it. A store may be a URI, of which a shell knows the local ones alone.
_FILES = ("FILE", "LOG", "OUT", "PATTERN")
_FOLDERS = ("DIR", "FOLDER", "URI")
_EXAMPLES = """examples:
  diet completion bash > ~/.local/share/bash-completion/completions/diet
  diet completion zsh > ~/.zfunc/_diet    # with fpath+=(~/.zfunc) before compinit in ~/.zshrc"""


def completion_parser() -> argparse.ArgumentParser:
  """The arguments of `diet completion`."""
  parser = argparse.ArgumentParser(
      prog="diet completion", description="Print a script that completes commands, options, their values and paths.",
      epilog=_EXAMPLES, formatter_class=ExamplesHelp)
  parser.add_argument("shell", choices=SHELLS)
  return parser


def completion(arguments: Sequence[str]) -> int:
  """`diet completion bash|zsh`; returns the exit code."""
  from diet_tf.cli.main import installed_commands, parsers

  shell = completion_parser().parse_args(arguments).shell
  print(completion_script(shell, parsers(installed_commands())))
  return 0


def completion_script(shell: str, parsers: Mapping[str, argparse.ArgumentParser]) -> str:
  """The script of a shell, as shtab writes it.

  Args:
    shell: name of the shell that reads the script, "bash" or "zsh" (`SHELLS`).
    parsers: the parser of each command, by the command's name; which of their values are paths is noted in them.
  """
  import shtab

  from diet_tf.cli.main import SUMMARIES, command_parser

  root = command_parser(sorted(parsers))
  commands = root.add_subparsers()
  for name, parser in sorted(parsers.items()):
    _mark_paths(parser, shtab.FILE, shtab.DIRECTORY)
    commands.add_parser(name, help=SUMMARIES.get(name, ""))
    commands.choices[name] = parser
  return shtab.complete(root, shell)


def _mark_paths(parser: argparse.ArgumentParser, file: Any, folder: Any) -> None:
  """Sets how shtab completes the arguments of a parser, and of its actions, that are paths."""
  for action in parser._actions:  # argparse has no public way to ask.
    if isinstance(action, argparse._SubParsersAction):
      for below in action.choices.values():
        _mark_paths(below, file, folder)
    name = action.metavar or action.dest.upper()
    if name in _FILES + _FOLDERS:
      vars(action)["complete"] = file if name in _FILES else folder
