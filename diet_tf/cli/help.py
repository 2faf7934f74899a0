"""The help of a command: its description wrapped to the terminal, its examples as they were written."""

from __future__ import annotations

import argparse


class ExamplesHelp(argparse.HelpFormatter):
  """Leaves a text that begins with "example" as it is, and wraps any other."""

  def _fill_text(self, text: str, width: int, indent: str) -> str:
    if text.startswith("example"):
      return "\n".join(indent + line for line in text.splitlines())
    return super()._fill_text(text, width, indent)
