"""Writes docs/commands.md: what every command takes, and what its exit code means, as the code itself says it."""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import sys
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "commands.md"
# Columns of the help in the document; argparse takes them from the terminal.
WIDTH = 100
_BLOCK = re.compile(r"<!-- made: (?P<name>[\w ]+) -->\n.*?\n<!-- end -->", re.DOTALL)
_ENTRY_POINT = re.compile(r'"(?P<name>\w+) = (?P<module>pipelines[\w.]*):(?P<function>\w+)"')


def parsers() -> dict[str, argparse.ArgumentParser]:
  """The parser of each command of the project, by name, with those of its actions as in "store gc"."""
  sys.path.insert(0, str(ROOT))
  from diet_tf.cli import main as cli

  # As the set-up declares them: what is installed may be older.
  declared = {match["name"]: (match["module"], match["function"])
              for match in _ENTRY_POINT.finditer((ROOT / "setup.py").read_text(encoding="utf-8"))}
  found: dict[str, argparse.ArgumentParser] = {}
  for name, parser in cli.parsers({**cli.BUILT_IN, **declared}).items():
    found[name] = parser
    for action in parser._actions:
      if isinstance(action, argparse._SubParsersAction):
        found.update({f"{name} {choice}": below for choice, below in action.choices.items()})
  return found


def exit_codes() -> str:
  """A table of exit codes."""
  from diet_tf import errors
  from diet_tf.cli import main as cli

  rows = [(0, "It did what it was asked for.")]
  kinds = sorted((kind for kind in errors.DietError.__subclasses__() if kind.__module__ == errors.__name__),
                 key=lambda kind: kind.exit_code)
  rows += [(kind.exit_code, f"{(kind.__doc__ or '').strip()} (`{kind.__name__}`)") for kind in kinds]
  rows += [(cli.EXIT_UNEXPECTED, "An error that nobody foresaw: run it again with `--debug`, and report it."),
           (cli.EXIT_INTERRUPTED, "Interrupted (Ctrl-C); what is committed is whole. The last line says how to go on."),
           (cli.EXIT_TERMINATED, "Ended by SIGTERM, with the same said.")]
  return "\n".join(["| code | meaning |", "|---|---|", *(f"| {code} | {meaning} |" for code, meaning in rows)])


def reference() -> str:
  """The help of every command."""
  parts = []
  with mock.patch.dict(os.environ, COLUMNS=str(WIDTH)):
    for name, parser in parsers().items():
      level = "###" if " " in name else "##"
      parts.append(f"{level} diet {name}\n\n```text\n{parser.format_help().rstrip()}\n```")
  return "\n\n".join(parts)


def rewritten(document: str) -> str:
  """The document with what is made of the code made anew."""
  made = {"exit codes": exit_codes, "reference": reference}
  return _BLOCK.sub(lambda match: f"<!-- made: {match['name']} -->\n{made[match['name']]()}\n<!-- end -->", document)


def main() -> int:
  """Rewrites or checks the document; returns the exit code."""
  parser = argparse.ArgumentParser(description="Write docs/commands.md from the code.")
  parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if it is out of date")
  options = parser.parse_args()
  sys.path.insert(0, str(ROOT))
  before = DOCUMENT.read_text(encoding="utf-8")
  after = rewritten(before)
  if options.check:
    if after != before:
      print(f"{DOCUMENT.name} is out of date: run python scripts/commands_reference.py", file=sys.stderr)
    return int(after != before)
  DOCUMENT.write_text(after, encoding="utf-8")
  return 0


if __name__ == "__main__":
  sys.exit(main())
