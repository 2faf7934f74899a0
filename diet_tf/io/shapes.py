"""What a JSON document must look like, declared as Python types: every key and every value's type is checked by it.

A shape is one of

- `bool`, `int`, `float` (which a whole number is too), `str`, `Any`, or a union of shapes;
- `Figure`, a number that may not exist;
- `list[shape]` or `tuple[shape, ...]`;
- `Mapping[str, shape]`, or `Mapping[int, shape]` for keys that are whole numbers, which JSON writes as texts;
- a dataclass, whose fields are the keys, every one of them, and their annotations the shapes;
- a dict from keys to shapes, of which lists, mappings and unions with null are `ListOf`, `MapOf` and `Nullable`; a key
  may be absent where its shape is an `Absentable`.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import math
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn, Union

from diet_tf.errors import DietError, FormatError

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}
_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "the text", bool: "the truth value",
                           int: "the number", float: "the number"}
_MAX_SHOWN_CHARACTERS = 200
_MAX_INTEGER = (1 << 64) - 1


class Figure:
  """The shape of a number that may not exist: NaN in Python, null in JSON."""


@dataclasses.dataclass(frozen=True)
class ListOf:
  """The shape of a list.

  Attributes:
    shape: shape of every item.
  """

  shape: Any


@dataclasses.dataclass(frozen=True)
class MapOf:
  """The shape of an object with any keys.

  Attributes:
    shape: shape of every value.
  """

  shape: Any


@dataclasses.dataclass(frozen=True)
class Nullable:
  """The shape of what may be null.

  Attributes:
    shape: shape of the value where it is not null.
  """

  shape: Any


@dataclasses.dataclass(frozen=True)
class Absentable:
  """The shape of a key that writers leave out where they have nothing to say.

  Attributes:
    shape: shape of the key's value where it is there.
  """

  shape: Any


@dataclasses.dataclass(frozen=True)
class Place:
  """A place in a document, for error messages.

  Attributes:
    subject: the document, as the user knows it: mostly its path.
    remedy: sentence that says what to do about a damaged document.
    key: keys and numbers that lead to the place, joined by dots; empty for the whole document.
  """

  subject: str
  remedy: str
  key: str = ""

  def child(self, key: object) -> Place:
    """The place of an entry."""
    return dataclasses.replace(self, key=f"{self.key}.{key}" if self.key else str(key))

  def refuse(self, rule: str, received: str, cause: BaseException | None = None) -> NoReturn:
    """Raises FormatError about the value at this place."""
    subject = f"{self.subject}: {self.key}" if self.key else self.subject
    raise FormatError(subject, rule=rule, received=received, remedy=self.remedy) from cause


def shaped(value: Any, shape: Any, place: Place) -> Any:
  """The JSON value as its shape wants it: dataclasses made, tuples for lists where the shape says so, NaN for null.

  Args:
    value: JSON value.
    shape: shape that the value must have; see the module.
    place: place of the value in its document, for messages.

  Raises:
    FormatError: a key is missing or unknown, a value is of another type, or a dataclass refuses its values; the
      message names the document and the key.
  """
  if shape is Any:
    return value
  if isinstance(shape, Nullable):
    return None if value is None else shaped(value, shape.shape, place)
  if isinstance(shape, (ListOf, MapOf)):
    _require_kind(value, list[Any] if isinstance(shape, ListOf) else dict[str, Any], place)
    return (_items if isinstance(shape, ListOf) else _entries)(value, shape.shape, place)
  if isinstance(shape, dict):
    return _with_keys(value, shape, place)
  if dataclasses.is_dataclass(shape) and isinstance(shape, type):
    return _made(value, shape, place)
  origin, arguments = typing.get_origin(shape), typing.get_args(shape)
  if origin in (Union, types.UnionType):
    _require_kind(value, shape, place)
    return shaped(value, next(choice for choice in arguments if _may_fit(value, choice)), place)
  _require_kind(value, shape, place)
  if origin in (list, tuple, collections.abc.Sequence):
    items = _items(value, arguments[0], place)
    return items if origin is list else tuple(items)
  if origin in (dict, collections.abc.Mapping):
    if arguments[0] is str:
      return _entries(value, arguments[1], place)
    return {_key(key, place): shaped(entry, arguments[1], place.child(key)) for key, entry in value.items()}
  return _number(value, shape, place) if shape in (int, float, Figure) else value


def fields_of(kind: type) -> dict[str, Any]:
  """The shape of a dataclass that stays a dict: its fields as keys, with their annotations."""
  annotations = typing.get_type_hints(kind)
  return {field.name: annotations[field.name] for field in dataclasses.fields(typing.cast(Any, kind))}


def _with_keys(value: Any, shapes: Mapping[str, Any], place: Place) -> dict[str, Any]:
  if not isinstance(value, collections.abc.Mapping):
    place.refuse("it is an object with keys.", _described(value))
  missing = sorted(key for key, shape in shapes.items() if key not in value and not isinstance(shape, Absentable))
  unknown = sorted(str(key) for key in value if key not in shapes)
  if missing or unknown:
    place.refuse("it has exactly the keys that its writer sets.", f"missing: {missing}, unknown: {unknown}.")
  return {key: shaped(value[key], shape.shape if isinstance(shape, Absentable) else shape, place.child(key))
          for key, shape in shapes.items() if key in value}


def _made(value: Any, kind: type, place: Place) -> Any:
  arguments = _with_keys(value, fields_of(kind), place)
  try:
    return kind(**arguments)
  except (DietError, ValueError, ArithmeticError) as error:
    place.refuse("its values are as its writer made them.", f"{error}", error)


def _key(key: str, place: Place) -> int:
  if not (key.isascii() and key.removeprefix("-").isdigit() and len(key) <= 19):
    place.refuse("its keys are whole numbers.", _described(key))
  return int(key)


def _items(values: Sequence[Any], shape: Any, place: Place) -> list[Any]:
  if _are_plain(values, shape):
    return list(values)
  return [shaped(item, shape, place.child(number)) for number, item in enumerate(values)]


def _entries(values: Mapping[str, Any], shape: Any, place: Place) -> dict[str, Any]:
  if _are_plain(values.values(), shape):
    return dict(values)
  return {key: shaped(entry, shape, place.child(key)) for key, entry in values.items()}


def _are_plain(values: Collection[Any], shape: Any) -> bool:
  """Whether the values are of a plain shape as they are: vocabularies and learned steps have millions of them."""
  if shape is float:
    return all(type(value) is float and math.isfinite(value) for value in values)
  return shape is Any or (shape is str and all(type(value) is str for value in values))


def _number(value: Any, shape: Any, place: Place) -> Any:
  if value is None:
    return math.nan
  if (abs(value) > _MAX_INTEGER if isinstance(value, int) else not math.isfinite(value)):
    place.refuse(f"it is {_named(shape)} in the range of 64 bits.", "one that is too large.")
  return value


def _may_fit(value: Any, shape: Any) -> bool:
  origin = typing.get_origin(shape)
  if shape is Any:
    return True
  if origin in (Union, types.UnionType):
    return any(_may_fit(value, choice) for choice in typing.get_args(shape))
  if shape is type(None):
    return value is None
  if dataclasses.is_dataclass(shape) or isinstance(shape, dict) or origin in (dict, collections.abc.Mapping):
    return isinstance(value, collections.abc.Mapping)
  if origin in (list, tuple, collections.abc.Sequence):
    return isinstance(value, (list, tuple))
  if shape is Figure:
    return value is None or _may_fit(value, float)
  if isinstance(value, bool) or shape is bool:
    return isinstance(value, bool) and shape is bool
  return isinstance(value, (int, float) if shape is float else shape)


def _require_kind(value: Any, shape: Any, place: Place) -> None:
  if not _may_fit(value, shape):
    place.refuse(f"it is {_named(shape)}.", _described(value))


def _named(shape: Any) -> str:
  origin = typing.get_origin(shape)
  if origin in (Union, types.UnionType):
    return " or ".join(map(_named, typing.get_args(shape)))
  if shape is Figure:
    return "a number or null"
  if origin in (list, tuple, collections.abc.Sequence):
    return "a list"
  return _NAMES.get(shape, "an object with keys")


def _described(value: Any) -> str:
  if value is None:
    return "null."
  text = repr(value)
  cut = text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}..."
  return f"{_KINDS.get(type(value), type(value).__name__)} {cut}."
