"""Config files as plain values that remember the lines they came from.

The files are YAML without its traps: a key stands once in a mapping; there are no tags, anchors, aliases or merge keys;
plain scalars are read by the core schema of YAML 1.2, so that `no`, `010`, `12:30` and `2022-04-08` are texts and not
a Boolean, an octal, a base-60 number and a date, and `1e-3` is a number.
"""

from __future__ import annotations

import dataclasses
import os
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from diet_tf.errors import ConfigError
from diet_tf.io import files
from diet_tf.settings import Path, Where, described, plain_text

_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf", re.IGNORECASE)
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
# A log's largest integers have 20 digits; a longer text of digits is read as a float.
_MAX_DIGITS = 100
# What the YAML parser does for each nested bracket grows with their number.
_MAX_DEPTH = 20
_MAX_FILE_BYTES = 4 << 20
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}


def read_config_file(path: str) -> tuple[dict[str, Any], Where]:
  """The mapping in a YAML file, and the place of its root, which knows the line of each entry.

  Raises:
    ConfigError: there is no such file, it is not YAML, or it uses what is refused here.
  """
  if not files.exists(path) or files.is_folder(path):
    received = "a folder." if files.is_folder(path) else "no such file."
    raise ConfigError(path, rule="the config is a file.", received=received,
                      remedy=f"give the path of a config file (the current folder is {os.getcwd()}).")
  num_bytes = files.num_bytes(path)
  if num_bytes > _MAX_FILE_BYTES:
    raise ConfigError(path, rule=f"a config has at most {_MAX_FILE_BYTES:,} bytes.", received=f"{num_bytes:,} bytes.",
                      remedy="give the path of a config file; let long vocabularies grow from the log.")
  try:
    text = files.read_bytes(path).decode("utf-8")
  except UnicodeDecodeError as error:
    raise ConfigError(path, rule="a config is text in UTF-8.", received=f"{error}.",
                      remedy="save it as UTF-8.") from error
  return parse_config(text, path)


def parse_config(text: str, source: str) -> tuple[dict[str, Any], Where]:
  """The same for the text of a file; `source` names it in messages."""
  origins = _Origins({(): source}, {})
  where = Where(source, (), origins.locations, origins.texts)
  node = _compose(text, source)
  if node is None:
    return {}, where
  value = _value(node, where, origins)
  if not isinstance(value, dict):
    raise ConfigError(source, rule="a config is a mapping of sections.", received=f"{type(value).__name__}.",
                      remedy="begin with 'name: ...'.")
  return value, where


@dataclasses.dataclass(frozen=True)
class _Origins:
  """What is noted of values beside them, by the keys that lead to them: their lines, and how they were written."""

  locations: dict[Path, str]
  texts: dict[Path, str]


@dataclasses.dataclass(frozen=True)
class _Override:
  """A value of an override, some of whose parts were written otherwise than `plain_text` would write them."""

  value: Any
  texts: Mapping[Path, str]


def parse_overrides(overrides: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
  """Overrides as dotted keys with values; of the texts `a.b=value`, the value is read as YAML.

  Raises:
    ConfigError: a text has no key or no '=', its value is not YAML, or YAML takes a part of it for a comment.
  """
  if isinstance(overrides, Mapping):
    return dict(overrides)
  parsed: dict[str, Any] = {}
  for text in overrides:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
      received = "nothing before the equals sign." if equals else "no equals sign."
      raise ConfigError(f"override {text!r}", rule="an override is key=value.", received=received,
                        remedy=f"write {key}=VALUE." if key else "write it like budget.fraction=0.02.")
    source = f"override {text!r}"
    node = _compose(value, source)
    _refuse_comment(value, node, key, source)
    origins = _Origins({}, {})
    parsed[key] = None if node is None else _value(node, Where(source), origins)
    if origins.texts:
      parsed[key] = _Override(parsed[key], origins.texts)
  return parsed


def _refuse_comment(value: str, node: yaml.Node | None, key: str, source: str) -> None:
  """Refuses what YAML would drop from the value of an override: in a file it is a remark, on a command line a loss."""
  dropped = (value if node is None else value[node.end_mark.index:]).strip()
  if dropped.startswith("#"):
    raise ConfigError(source, rule="YAML takes what follows a blank and a # for a comment.",
                      received=f"{dropped!r}, which would be dropped.",
                      remedy=f"put quotes within the quotes: '{key}=\"...\"'.")


def apply_overrides(values: dict[str, Any], where: Where, overrides: Mapping[str, Any]) -> Where:
  """Sets dotted keys in `values`, making sections on the way; returns a place that knows where they came from.

  Raises:
    ConfigError: a key is no text of names with dots between them, or leads through something that is not a section, or
      beyond the end of a list.
  """
  locations, texts = dict(where.locations), dict(where.texts)
  for dotted, value in overrides.items():
    source = f"override of {dotted}"
    target: Any = values
    path: Path = ()
    parts = _names_in(dotted, source)
    for number, part in enumerate(parts, 1):
      key = _entry(target, part, path, source)
      path = (*path, key)
      if number == len(parts):
        for old in [old for old in texts if old[:number] == path]:
          del texts[old]
        if isinstance(value, _Override):
          texts.update({(*path, *below): text for below, text in value.texts.items()})
          value = value.value
        target[key] = value
        locations[path] = source
      elif isinstance(target, dict) and target.get(key) is None:
        target[key] = {}
        locations[path] = source
      target = target[key]
  return dataclasses.replace(where, locations=locations, texts=texts)


def _names_in(dotted: Any, source: str) -> list[str]:
  """The names in a dotted key, each of which leads one section deeper."""
  rule = "a key is made of names with a dot between them."
  if not isinstance(dotted, str):
    raise ConfigError(source, rule=rule, received=described(dotted), remedy="write it like budget.fraction.")
  names = [name.strip() for name in dotted.split(".")]
  if not all(names):
    near = ".".join(filter(None, names))
    raise ConfigError(source, rule=rule, received="a dot without a name before or behind it.",
                      remedy=f"did you mean {near!r}?" if near else "write it like budget.fraction.")
  return names


def _entry(target: Any, name: str, path: Path, source: str) -> str | int:
  """The key of an entry of a section, or its position in a list.

  Raises:
    ConfigError: the target is neither, or has no such position.
  """
  if isinstance(target, dict):
    return name
  through = ".".join(map(str, path))
  if not isinstance(target, list):
    raise ConfigError(source, rule="a key leads through sections and lists.",
                      received=f"{name!r} below {through}, which is {described(target)}",
                      remedy=f"set {through} itself, or correct the key.")
  # A text of thousands of digits is not turned into a number.
  if re.fullmatch(r"[0-9]{1,9}", name) and int(name) < len(target):
    return int(name)
  positions = f"0 to {len(target) - 1}" if target else "none"
  raise ConfigError(source, rule=f"{through} is a list, whose entries go by position: it has {positions}.",
                    received=f"the position {name!r}.", remedy=f"name a position that it has, or give the whole list: "
                    f"{through}=[...].")


def _compose(text: str, source: str) -> yaml.Node | None:
  try:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
      _refuse_indirection(event, source)
      depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
      if depth > _MAX_DEPTH:
        raise ConfigError(f"{source}:{_line(event.start_mark)}", rule=f"sections lie at most {_MAX_DEPTH} deep.",
                          received="another one below that.", remedy="close the brackets before it.")
    return yaml.compose(text, Loader=yaml.SafeLoader)
  except yaml.YAMLError as error:
    mark = getattr(error, "problem_mark", None)
    location = source if mark is None else f"{source}:{_line(mark)}"
    raise ConfigError(location, rule="a config is YAML.", received=f"{getattr(error, 'problem', None) or error}.",
                      remedy="correct the line, or the indentation before it.") from error


def _refuse_indirection(event: yaml.Event, source: str) -> None:
  tag = getattr(event, "tag", None)
  refused = ("an alias" if isinstance(event, yaml.AliasEvent) else "an anchor" if getattr(event, "anchor", None) else
             f"the tag {tag}" if tag else None)
  if refused:
    raise ConfigError(f"{source}:{_line(event.start_mark)}", rule="a config has no tags, anchors and aliases.",
                      received=f"{refused}.", remedy="write the value out.")


def _value(node: yaml.Node, where: Where, origins: _Origins) -> Any:
  origins.locations.setdefault(where.path, f"{where.source}:{_line(node.start_mark)}")
  if isinstance(node, yaml.SequenceNode):
    return [_value(item, where.child(index), origins) for index, item in enumerate(node.value)]
  if isinstance(node, yaml.MappingNode):
    return _mapping(node, where, origins)
  scalar = typing.cast(yaml.ScalarNode, node)
  value = _scalar(scalar, where)
  if not isinstance(value, str) and plain_text(value) != scalar.value:
    origins.texts[where.path] = scalar.value
  return value


def _mapping(node: yaml.MappingNode, where: Where, origins: _Origins) -> dict[str, Any]:
  values: dict[str, Any] = {}
  for key_node, value_node in node.value:
    line = f"{where.source}:{_line(key_node.start_mark)}"
    if not isinstance(key_node, yaml.ScalarNode) or key_node.value in ("", "<<"):
      raise ConfigError(line, rule="a key is a plain name.", received="a merge key, an empty or a nested one.",
                        remedy="write the entries out.")
    key, entry = key_node.value, where.child(key_node.value)
    if key in values:
      raise ConfigError(f"{line}: {entry.key}", rule="a key stands once in its section.",
                        received=f"it stands in {origins.locations[entry.path]} as well.", remedy="remove one of them.")
    origins.locations[entry.path] = line
    values[key] = _value(value_node, entry, origins)
  return values


def _line(mark: Any) -> int:
  return int(mark.line) + 1


def _scalar(node: yaml.ScalarNode, where: Where) -> Any:
  text = node.value
  if node.style is not None:
    return text
  if text.lower() in _CONSTANTS:
    return _CONSTANTS[text.lower()]
  if _LEADING_ZERO.match(text):
    return text
  if _INTEGER.fullmatch(text) and len(text) <= _MAX_DIGITS:
    return int(text)
  if text.lower() == ".nan":
    raise ConfigError(str(where), rule="a setting is a number.", received=".nan.", remedy="give a number.")
  if _FLOAT.fullmatch(text):
    return float(text.lower().replace(".inf", "inf"))
  return text
