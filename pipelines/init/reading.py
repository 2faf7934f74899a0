"""How `diet init` reads a log: with the user's flags, and what it recognises where there are none."""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np

from diet_tf.log import encoding
from diet_tf.log.settings import THOUSANDS
from pipelines.init import log_files as files_module
from pipelines.init import names, text_kinds
from pipelines.init.log_files import LogFiles
from pipelines.init.log_sample import LogSample, read_sample
from pipelines.init.text_kinds import spread
from tfx_components.log_gen import columns, file_kinds, reasons, sources

_PEEKED_BYTES = 1 << 20
_FLAWS = {
    columns.UNDECODABLE: "holds bytes that are no text in the encoding of the log; --encoding names another",
    columns.LIST: "holds lists within lists, or objects in them, which are not read",
    columns.OBJECT: "holds objects, whose values have no names that could be read",
    **dict.fromkeys((columns.ROUNDED, columns.ROUNDED_TEXT), "holds whole numbers so large that a float has rounded "
                    f"them, so that neighbouring ids are one; {reasons.EXACT_IDS}")}
# Bytes that Windows has letters for, and Latin-1 has not.
_WINDOWS_ONLY = frozenset(range(0x80, 0xa0)) - {0x81, 0x8d, 0x8f, 0x90, 0x9d}
# A few broken bytes in a file of UTF-8 do not make it one of another encoding.
_SOUND_SHARE = 0.5


def read_log(options: argparse.Namespace) -> tuple[LogFiles, LogSample, dict[str, str], list[str]]:
  """The files of a log, a sample of it, notes on how it is read by the config's key, and sentences to check.

  Args:
    options: the arguments of `diet init`.

  Raises:
    ConfigError: flags or files do not fit each other.
    DataError: the log cannot be read.
  """
  header = [name.strip() for name in options.columns.split(",")] if options.columns else []
  log_files = files_module.find_files(options.log, declared_format=options.format, delimiter=options.delimiter,
                                      encoding=options.encoding, header=header)
  if options.missing_values is not None:
    log_files = _reading(log_files, missing_values=tuple(options.missing_values.split(",")))
  notes: dict[str, str] = {}
  checks: list[str] = []
  sample = read_sample(log_files, options.rows)
  if options.encoding is None and (guessed := _other_encoding(log_files, sample)) is not None:
    log_files = _reading(log_files, encoding=guessed)
    notes["encoding"] = (f"Bytes that are no UTF-8 are taken for {guessed}. CHECK: read a value with accents; "
                         "--encoding names another.")
    checks.append(notes["encoding"])
    sample = read_sample(log_files, options.rows)
  if options.thousands is not None:
    log_files = _reading(log_files, thousands=options.thousands)
  elif (found := _thousands(sample)) is not None:
    log_files = _reading(log_files, thousands=found[0])
    notes["thousands"] = f"Numbers such as {found[1]!r} have their thousands apart. CHECK: this holds for all columns."
    checks.append(notes["thousands"])
  if len(log_files.paths) > log_files.num_named:
    checks.append(f"The pattern matches {len(log_files.paths)} files, of which {log_files.num_named} were named. "
                  "CHECK: all of them are the log.")
  return log_files, sample, notes, checks


def _reading(log_files: LogFiles, **keys: object) -> LogFiles:
  return dataclasses.replace(log_files, reading={**log_files.reading, **keys})


def _other_encoding(log_files: LogFiles, sample: LogSample) -> str | None:
  """The encoding of texts that are no UTF-8; None where they are, or where most letters beyond ASCII are."""
  if columns.UNDECODABLE not in sample.flaws.values() or sources.format_of(
      log_files.paths[0], log_files.reading.get("format")) not in ("csv", "jsonl"):
    return None
  sound, broken = 0, set()
  for path in sample.paths:
    with file_kinds.open_lines(path) as stream:
      data = stream.read(_PEEKED_BYTES)
    for line in data.split(b"\n")[:-1]:
      if line.isascii():
        continue
      try:
        line.decode()
        sound += 1
      except UnicodeDecodeError:
        broken.add(line)
  if sound > _SOUND_SHARE * (sound + len(broken)):
    return None
  letters = set(b"".join(broken)) & set(range(0x80, 0xa0))
  return "cp1252" if letters and letters <= _WINDOWS_ONLY else "latin-1"


def _thousands(sample: LogSample) -> tuple[str, str] | None:
  """The separator of thousands that most columns of such numbers have, and a number with it; None without such."""
  found: dict[str, list[str]] = {}
  for texts in sample.texts.values():
    present = spread(np.unique(texts[texts != encoding.MISSING_TEXT]))
    separator = text_kinds.thousands_of(present)
    if separator is not None and separator in THOUSANDS:
      found.setdefault(separator, []).append(next(text for text in present if separator in text))
  separator = max(found, key=lambda key: len(found[key]), default=None)
  return None if separator is None else (separator, found[separator][0])


def unusable_columns(sample: LogSample) -> dict[str, str]:
  """The columns that are no field whatever their values tell, each with the reason."""
  unusable = {name: f"{_FLAWS[flaw]}. CHECK." for name, flaw in sample.flaws.items()}
  for name in [name for name, flaw in sample.flaws.items() if flaw in columns.NUMBERS and names.is_quantity(name)]:
    del unusable[name]
  unusable.update(dict.fromkeys(sample.unread, "is of a type that is not read, or the name of several columns. CHECK."))
  num_files = len(sample.paths)
  unusable.update({name: f"is in {number} of {num_files} files alone, and a run wants each column in every file. CHECK."
                   for name, number in sample.columns_of_some_files().items() if name not in unusable})
  for name in sample.texts:
    if name not in unusable and names.is_row_index(name) and sample.counts_up(name):
      unusable[name] = "counts the rows of each file, as an index of pandas does: it says nothing of them."
    elif not name.strip():
      unusable[name] = "has no name. CHECK: name it in the header to use it."
  return unusable


def nested_columns(sample: LogSample) -> list[str]:
  """Names of the columns with lists or objects."""
  return [name for name, flaw in sample.flaws.items() if flaw in columns.NESTED]
