"""Values within objects, which are columns by the names that lead to them: `user.id` of `{"user": {"id": 34}}`.

A column of that very name comes first. What lies in a list is no single value, and has no such name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

SEPARATOR = "."
# What an object does not hold, where a missing value may be one that it holds.
ABSENT = object()


def splits(name: str) -> Iterator[tuple[str, str]]:
  """The ways to part a name into a key and the name within its object, the shortest key first."""
  for place, character in enumerate(name):
    if character == SEPARATOR and 0 < place < len(name) - 1:
      yield name[:place], name[place + 1:]


def keys_of(names: Iterable[str]) -> frozenset[str]:
  """The names, and the keys of the objects in which their values may lie."""
  names = tuple(names)
  return frozenset([*names, *(head for name in names for head, _ in splits(name))])


def value_of(value: Mapping[str, object], name: str) -> object:
  """The value of a name in an object or in those within it; `ABSENT` where there is none."""
  if name in value:
    return value[name]
  for head, rest in splits(name):
    inner = value.get(head)
    if isinstance(inner, Mapping) and (found := value_of(inner, rest)) is not ABSENT:
      return found
  return ABSENT


def flattened(value: Mapping[str, object], prefix: str = "") -> dict[str, object]:
  """An object as the values within it by their names; lists are values."""
  found: dict[str, object] = {}
  for key, inner in value.items():
    if isinstance(inner, Mapping):
      for name, leaf in flattened(inner, f"{prefix}{key}{SEPARATOR}").items():
        found.setdefault(name, leaf)
    else:
      found[f"{prefix}{key}"] = inner
  return found


def place_of(fields: pa.Schema | pa.StructType, name: str) -> tuple[int, ...] | None:
  """The numbers of the fields that lead to a name, from the outermost; None where none do."""
  kinds = _kinds(fields)
  if name in kinds:
    return (kinds[name][0],)
  for head, rest in splits(name):
    if head in kinds and pa.types.is_struct(kinds[head][1]):
      inner = place_of(kinds[head][1], rest)
      if inner is not None:
        return (kinds[head][0], *inner)
  return None


def num_places(fields: pa.Schema | pa.StructType, name: str) -> int:
  """How many fields a name leads to: of several, the first that a row has is its value."""
  kinds = _kinds(fields)
  return int(name in kinds) + sum(num_places(kinds[head][1], rest) for head, rest in splits(name)
                                  if head in kinds and pa.types.is_struct(kinds[head][1]))


def leaf_names(fields: pa.Schema | pa.StructType, prefix: str = "") -> list[str]:
  """The names of all values that are no objects, those within objects included."""
  found = []
  for name, (_, kind) in _kinds(fields).items():
    found += leaf_names(kind, f"{prefix}{name}{SEPARATOR}") if pa.types.is_struct(kind) else [f"{prefix}{name}"]
  return found


def _kinds(fields: pa.Schema | pa.StructType) -> dict[str, tuple[int, pa.DataType]]:
  """Per name of a field its number and type; a schema's repeated names are refused where they are read."""
  number = fields.num_fields if isinstance(fields, pa.StructType) else len(fields)
  return {fields[place].name: (place, fields[place].type) for place in range(number)}


def taken(array: pa.Array | pa.ChunkedArray, place: tuple[int, ...]) -> pa.Array | pa.ChunkedArray:
  """The values that the numbers of fields lead to within an array of objects."""
  return pc.struct_field(array, list(place)) if place else array
