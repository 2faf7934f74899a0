"""What the arguments of all commands have in common: their help, and texts that name a file, a folder or a store."""

from __future__ import annotations

import argparse


class ExamplesHelp(argparse.HelpFormatter):
  """Leaves a text that begins with "example" as it is, and wraps any other."""

  def _fill_text(self, text: str, width: int, indent: str) -> str:
    if text.startswith("example"):
      return "\n".join(indent + line for line in text.splitlines())
    return super()._fill_text(text, width, indent)


def add_user_code(parser: argparse.ArgumentParser) -> None:
  """Adds the argument with which a command refuses members that are imported from modules of a user's."""
  parser.add_argument("--no-user-code", dest="user_code", action="store_false",
                      help="refuse members that are module:Class: importing the module runs whatever it does")


def path_text(text: str) -> str:
  """A path or URI as it was given; the type of an argument.

  An empty text is what a shell makes of a variable that is not set: were it taken for no argument at all, the command
  would work somewhere else.

  Raises:
    argparse.ArgumentTypeError: the text is empty, or has bytes that are no UTF-8.
  """
  if not text.strip():
    raise argparse.ArgumentTypeError("it names a file, a folder or a store, and the text is empty; is a variable of "
                                     "the shell not set?")
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise argparse.ArgumentTypeError(f"a path is text in UTF-8, and {text!r} is not") from error
  return text
