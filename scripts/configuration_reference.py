"""Writes the tables of docs/configuration.md from the dataclasses that a config is read into.

    python scripts/configuration_reference.py            # rewrites what stands between the markers
    python scripts/configuration_reference.py --check    # exits with 1 if that would change the file

Each table stands between `<!-- keys: PLACE -->` and `<!-- end of keys -->`. Types and defaults come from the fields of
the dataclass, and meanings from the section "Attributes" of its docstring, so that code and document cannot disagree.
"""

from __future__ import annotations

import argparse
import collections.abc
import dataclasses
import functools
import importlib
import inspect
import pathlib
import re
import sys
import types
import typing
from typing import Any, Literal, Union

from diet_tf.settings import Spelled

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "configuration.md"

_BLOCK = re.compile(r"<!-- keys: (?P<place>[^\n]*?) -->\n.*?<!-- end of keys -->", re.DOTALL)
_ATTRIBUTE = re.compile(r"  (?P<name>\w+): (?P<text>.*(?:\n    .*)*)")
_NAMED_CHOICES = re.compile(r"[Oo]ne of `(?P<name>[A-Z_]+)`")
_SINGULAR = {bool: "true or false", int: "whole number", float: "number", str: "text", Any: "any"}
_PLURAL = {bool: "true or false", int: "whole numbers", float: "numbers", str: "texts", Any: "any values"}
# A config that sets only what it must; all else takes its default.
_LEAST = {"name": "NAME", "log": {"pattern": "{SPAN}.csv"},
          "features": {"label": "click", "fields": [{"name": "user", "hash": 16}]}}


@functools.cache
def places() -> dict[str, type]:
  """Per place in a config, as its keys begin ("" for the top), the dataclass that is read there."""
  from diet_tf.config import config
  from diet_tf.log import settings as log_settings
  from diet_tf.training.inner_settings import InnerSettings

  found: dict[str, type] = {"": config.Config, "features": config.FeaturesForm,
                            "features.label": config.LabelForm, "features.fields[]": config.FieldForm,
                            "budget": config.BudgetSettings, "validation": config.ValidationSettings,
                            "retention": config.RetentionSettings, "privacy": config.PrivacySettings,
                            "log.joins[]": log_settings.Join, "distill.inner": InnerSettings}
  for name, (module, cls) in config.SECTIONS.items():
    found[name] = getattr(importlib.import_module(module), cls)
  return found


def keys() -> set[str]:
  """Every key of a config, as the tables write it: `distill.inner.epochs`, `log.joins[].on`."""
  return {_key(place, field.name) for place, cls in places().items() for field in dataclasses.fields(cls)}


def table(place: str) -> str:
  """The table of the keys at a place."""
  cls = places()[place]
  meanings = attributes(cls)
  # Names that the config imports for the type checker alone are not in its module.
  annotations = typing.get_type_hints(cls, localns={other.__name__: other for other in places().values()})
  lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
  for field in dataclasses.fields(cls):
    key = _key(place, field.name)
    meaning = _explained(meanings[field.name], cls)
    kind = "section" if key in places() and not place else named(annotations[field.name])
    lines.append(f"| `{key}` | {kind} | {_default(place, field)} | {meaning} |")
  return "\n".join(lines)


def attributes(cls: type) -> dict[str, str]:
  """The meanings in the section "Attributes" of a docstring, by name.

  Raises:
    ValueError: a field has none.
  """
  text = inspect.getdoc(cls) or ""
  section = text.partition("Attributes:\n")[2]
  found = {match["name"]: " ".join(match["text"].split()) for match in _ATTRIBUTE.finditer(section)}
  missing = {field.name for field in dataclasses.fields(cls)} - set(found)
  if missing:
    raise ValueError(f"{cls.__name__}: no meaning is given under Attributes for {sorted(missing)}.")
  return found


def named(annotation: Any, words: dict[Any, str] = _SINGULAR) -> str:
  """An annotation in the words of a config."""
  origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
  if annotation in words:
    return words[annotation]
  if origin in (Union, types.UnionType):
    kinds = list(dict.fromkeys(named(argument) for argument in arguments if argument is not type(None)))
    return " or ".join([*kinds, *(["null"] if type(None) in arguments else [])])
  if origin is Literal:
    return " or ".join(f"`{choice}`" for choice in arguments)
  if origin in (tuple, list, collections.abc.Sequence):
    element = arguments[0]
    if element is Spelled:
      return "list of values"
    return f"list of {named(element, _PLURAL)}"
  if origin in (dict, collections.abc.Mapping):
    return f"section of {named(arguments[1], _PLURAL)}"
  return "section" if words is _SINGULAR else "sections"


def _key(place: str, name: str) -> str:
  return f"{place}.{name}" if place else name


def _default(place: str, field: dataclasses.Field) -> str:
  if not place:
    return "" if field.name in places() else "required" if field.name in _LEAST else f"`{_written(_at_top(field))}`"
  if field.default is not dataclasses.MISSING:
    return "see below" if dataclasses.is_dataclass(field.default) else f"`{_written(field.default)}`"
  if field.default_factory is not dataclasses.MISSING:
    return f"`{_written(field.default_factory())}`"
  return "required"


def _at_top(field: dataclasses.Field) -> Any:
  """The default of a key outside all sections, which the reader of configs sets."""
  from diet_tf.config.config import build_config
  return getattr(_least_config(build_config), field.name)


@functools.cache
def _least_config(build_config: Any) -> Any:
  return build_config(_LEAST)


def _written(value: Any) -> str:
  """A value as a config file writes it."""
  if value is None:
    return "null"
  if isinstance(value, bool):
    return str(value).lower()
  if isinstance(value, (tuple, list)):
    return f"[{', '.join(map(_written, value))}]"
  if isinstance(value, dict):
    return "{" + ", ".join(f"{key}: {_written(entry)}" for key, entry in value.items()) + "}"
  if isinstance(value, str):
    return value if value.strip(" ,") else f'"{value}"'
  return str(value)


def _explained(text: str, cls: type) -> str:
  """A meaning in the words of a config: `null` for None, and the choices in place of the name of a constant."""
  module = sys.modules[cls.__module__]

  def choices(match: re.Match[str]) -> str:
    values = getattr(module, match["name"])
    return f"one of {', '.join(f'`{value}`' for value in values)}"

  text = _NAMED_CHOICES.sub(choices, text)
  return re.sub(r"\bNone\b", "`null`", text[:1].upper() + text[1:]).replace("|", "\\|")


def rewritten(document: str) -> str:
  """The document with every table made anew.

  Raises:
    ValueError: a place has no table, or a table no place.
  """
  found = [match["place"] for match in _BLOCK.finditer(document)]
  expected = [place or "top" for place in places()]
  if sorted(found) != sorted(expected):
    raise ValueError(f"{DOCUMENT.name}: tables of {sorted(expected)} are expected. Received: {sorted(found)}.")

  def block(match: re.Match[str]) -> str:
    place = "" if match["place"] == "top" else match["place"]
    return f"<!-- keys: {match['place']} -->\n{table(place)}\n<!-- end of keys -->"

  return _BLOCK.sub(block, document)


def main() -> int:
  """Rewrites or checks the document; returns the exit code."""
  parser = argparse.ArgumentParser(description="Write the tables of docs/configuration.md from the code.")
  parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a table is out of date")
  options = parser.parse_args()
  before = DOCUMENT.read_text(encoding="utf-8")
  after = rewritten(before)
  if options.check:
    if after != before:
      print(f"{DOCUMENT.name} is out of date: run python scripts/configuration_reference.py", file=sys.stderr)
    return int(after != before)
  DOCUMENT.write_text(after, encoding="utf-8")
  return 0


if __name__ == "__main__":
  sys.exit(main())
