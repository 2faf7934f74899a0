"""Paths that a pattern matches, by one grammar on every file system: only what a pattern declares is a pattern.

`*` stands for any characters of a name, `?` for one, `[abc]` and `[a-z]` for one of those listed, `[!abc]` for one of
the others. A folder's own name may hold all of these: `escaped` writes a path so that it stands for itself alone.
Python, Beam and TensorFlow each read brackets and backslashes in a way of their own, so that none of them is asked.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator, Mapping

from diet_tf.errors import ConfigError, DataError
from diet_tf.io import files, s3

_CLASS = r"\[!?\]?[^\]/]*\]"
_MAGIC = re.compile(r"[*?\[]")
# A class of one character, as `escaped` writes it.
_ESCAPED = re.compile(r"\[([*?\[{])\]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")
# Writers of tables keep notes of their own under such names (_SUCCESS, _temporary, .part-0.crc).
_HIDDEN = (".", "_")


@dataclasses.dataclass(frozen=True)
class Match:
  """A path that a pattern matches.

  Attributes:
    path: the path, of a file or a folder.
    values: per mark of the pattern the text that stands in its place.
  """

  path: str
  values: Mapping[str, str]


def escaped(path: str) -> str:
  """The pattern that matches this path and no other; a path without `*`, `?`, `[` and `{` is its own pattern."""
  return re.sub(r"[*?\[{]", lambda found: f"[{found.group()}]", path)


def is_hidden(name: str) -> bool:
  """Whether writers and readers of tables leave out a file or folder of this name."""
  return name.startswith(_HIDDEN) or name.endswith(".crc")


def matching(pattern: str, marks: Mapping[str, str] | None = None) -> list[Match]:
  """The files and folders that a pattern matches, sorted by path.

  A name that begins with `_` or `.`, or ends with `.crc`, is matched only where the pattern's part begins so, or is
  that name. A part with brackets that is there exactly as it is written is that file or folder: `logs[1]` beside
  `logs1` is `logs[1]`.

  Args:
    pattern: path or URI.
    marks: per text that stands for something, such as `{SPAN}`, the regular expression of what may stand in its place;
      the same mark stands for the same text throughout a path.

  Raises:
    ConfigError: brackets list no characters.
    DataError: a folder cannot be listed.
    StoreError: in an object store, if nobody can tell.
  """
  root, parts = _parts(pattern)
  marks = marks or {}
  found = list(_below(Match(root, {}), parts, marks))
  if not found and pattern.startswith("s3://"):
    # An object store may not list at once what was written; an answer of nothing is asked for again.
    fixed = itertools.takewhile(lambda part: _literal(part, marks) is not None, parts[:-1])
    s3.check_answered(files.join(root, *(_ESCAPED.sub(r"\1", part) for part in fixed)), is_folder=True)
    found = list(_below(Match(root, {}), parts, marks))
  return sorted(found, key=lambda match: match.path)


def glob(pattern: str) -> list[str]:
  """The sorted paths of what a pattern without marks matches; raises as `matching` does."""
  return [match.path for match in matching(pattern)]


def _parts(pattern: str) -> tuple[str, list[str]]:
  """Where a pattern starts, and its names below that."""
  scheme = _SCHEME.match(pattern)
  root = scheme.group() if scheme else "/" if pattern.startswith("/") else ""
  return root, [part for part in pattern[len(root):].split("/") if part]


def _below(start: Match, parts: list[str], marks: Mapping[str, str]) -> Iterator[Match]:
  if not parts:
    yield start
    return
  part, rest = parts[0], parts[1:]
  literal = _literal(part, marks)
  if literal is None and "[" in part and files.exists(_joined(start.path, part)):
    literal = part
  if literal is not None:
    path = _joined(start.path, literal)
    if rest or files.exists(path):
      yield from _below(Match(path, start.values), rest, marks)
    return
  expression = _expression(part, tuple(marks.items()))
  for name in _names_in(start.path or "."):
    matched = expression.fullmatch(name)
    if matched is None or is_hidden(name) and not part.startswith(_HIDDEN):
      continue
    values = {mark: matched[_group(number)] for number, mark in enumerate(marks)
              if _group(number) in expression.groupindex}
    if all(start.values.get(mark, text) == text for mark, text in values.items()):
      yield from _below(Match(_joined(start.path, name), {**start.values, **values}), rest, marks)


def _joined(folder: str, name: str) -> str:
  return folder + name if folder in ("", "/") else files.join(folder, name)


def _names_in(folder: str) -> list[str]:
  try:
    return files.names_in(folder)
  except OSError as error:
    raise DataError(folder, rule="it can be listed.", received=f"{error}.",
                    remedy="give the user of this process the right to read the folder.") from error


def _literal(part: str, marks: Mapping[str, str]) -> str | None:
  """The name that a part stands for; None where it may stand for several."""
  bare = _ESCAPED.sub("", part)
  if _MAGIC.search(bare) or any(mark in part for mark in marks):
    return None
  return _ESCAPED.sub(r"\1", part)


def _group(number: int) -> str:
  return f"mark{number}"


@functools.lru_cache(maxsize=64)
def _expression(part: str, marks: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
  """A part of a pattern as a regular expression, with a group for each mark in it."""
  names = [mark for mark, _ in marks]
  tokens = re.findall("|".join([*map(re.escape, names), _CLASS, r"\*", r"\?", "."]), part, re.DOTALL)
  written, seen = [], set()
  for token in tokens:
    if token in names:
      group = _group(names.index(token))
      written.append(f"(?P={group})" if group in seen else f"(?P<{group}>{dict(marks)[token]})")
      seen.add(group)
    elif token == "*":
      written.append(".*")
    elif token == "?":
      written.append(".")
    elif len(token) > 1:
      negated = token.startswith("[!")
      inside = re.sub(r"[\\\[\]^&~|]", r"\\\g<0>", token[1 + negated:-1])
      written.append(f"[{'^' if negated else ''}{inside}]")
    else:
      written.append(re.escape(token))
  try:
    return re.compile("".join(written), re.DOTALL)
  except re.error as error:
    raise ConfigError(part, rule="brackets in a pattern list characters, as in [abc] or [0-9].",
                      received=f"{error}.",
                      remedy="correct the list; a bracket that is meant is written [[].") from error

