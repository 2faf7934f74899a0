"""The signatures that callers rely on: those of today, those that `signatures.txt` keeps, and what differs.

`python -m tests.signatures` makes the file anew.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import itertools
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

FILE = pathlib.Path(__file__).with_name("signatures.txt")
COMMAND = "python -m tests.signatures"
HEADER = f"""\
# The signatures that callers rely on, an argument a line; what stands after "=" is its default.
# tests/test_signatures.py compares them with the code's, and `{COMMAND}` makes this file anew.
"""
COMPONENTS = ("DistillTrainer", "FidelityEvaluator", "InfluenceScorer", "LogGen", "MemoryAddresser", "MemoryCommitter",
              "MemoryLoader", "SpanValidator")
FUNCTIONS = ("pipelines.pipeline.create_pipeline", "diet_tf.distillation.stage.run_stage")
PACKAGES = ("diet_tf", "tfx_components", "pipelines", "tests")

# How the file writes what is no argument that may be given by position or name.
_KINDS = {inspect.Parameter.POSITIONAL_ONLY: "position only: ", inspect.Parameter.KEYWORD_ONLY: "name only: ",
          inspect.Parameter.VAR_POSITIONAL: "any: *", inspect.Parameter.VAR_KEYWORD: "any: **"}
_PROPERTY = " (property)"


@dataclasses.dataclass(frozen=True)
class Argument:
  """An argument of a function.

  Attributes:
    name: name of the argument.
    kind: how it is given, as the file writes it: empty for by position or name.
    default: Python text of its default; None where it must be given.
  """

  name: str
  kind: str = ""
  default: str | None = None

  @property
  def is_required(self) -> bool:
    return self.default is None and not self.kind.startswith("any")

  @property
  def by_position(self) -> bool:
    return self.kind in ("", _KINDS[inspect.Parameter.POSITIONAL_ONLY])

  def __str__(self) -> str:
    return f"{self.kind}{self.name}" + ("" if self.default is None else f" = {self.default}")

  @classmethod
  def parse(cls, text: str) -> Argument:
    name, _, default = text.partition(" = ")
    kind = next((kind for kind in sorted(_KINDS.values(), key=len, reverse=True) if name.startswith(kind)), "")
    return cls(name.removeprefix(kind), kind, default or None)


# A property has no arguments, and None in their place.
Arguments = tuple[Argument, ...] | None
Signatures = Mapping[str, Arguments]


def arguments_of(function: Callable[..., Any], *, skip: int = 0) -> tuple[Argument, ...]:
  """The arguments of a function, without the first `skip`."""
  parameters = itertools.islice(inspect.signature(function).parameters.values(), skip, None)
  return tuple(Argument(each.name, _KINDS.get(each.kind, ""),
                        None if each.default is each.empty else _default_text(each.default)) for each in parameters)


def signatures_of(name: str, value: Any) -> Iterator[tuple[str, Arguments]]:
  """The signature of a function; of a class, that of its constructor and of the public methods that are ours."""
  if not inspect.isclass(value):
    yield name, arguments_of(value)
    return
  yield name, _constructor_arguments(value)
  for member in sorted(dir(value)):
    owner = next((base for base in value.__mro__ if member in vars(base)), object)
    if member.startswith("_") or owner.__module__.partition(".")[0] not in PACKAGES:
      continue
    found = vars(owner)[member]
    if isinstance(found, property):
      yield f"{name}.{member}{_PROPERTY}", None
    elif isinstance(found, staticmethod | classmethod):
      yield f"{name}.{member}", arguments_of(getattr(value, member))
    elif callable(found) and not inspect.isclass(found):
      yield f"{name}.{member}", arguments_of(found, skip=1)


def _constructor_arguments(made: type) -> tuple[Argument, ...]:
  # Not those of the class: Keras gives all of its models a `__new__` that takes anything.
  arguments = arguments_of(made.__init__, skip=1)
  factories = {field.name: field.default_factory for field in dataclasses.fields(made)
               if field.default_factory is not dataclasses.MISSING} if dataclasses.is_dataclass(made) else {}
  return tuple(dataclasses.replace(argument, default=_default_text(factories[argument.name]()))
               if argument.name in factories else argument for argument in arguments)


def signatures_today() -> dict[str, Arguments]:
  """The signatures of what `diet_tf` exports, of the components, and of the functions that stand beside them."""
  names = [*(f"diet_tf.{name}" for name in importlib.import_module("diet_tf").__all__),
           *(f"tfx_components.{name}" for name in COMPONENTS), *FUNCTIONS]
  return dict(signature for name in names for signature in signatures_of(name, _imported(name)))


def as_text(signatures: Signatures) -> str:
  """The content of the file."""
  return HEADER + "".join(f"\n{name}\n" + "".join(f"  {argument}\n" for argument in arguments or ())
                          for name, arguments in signatures.items())


def from_text(text: str) -> dict[str, Arguments]:
  """What `as_text` wrote."""
  signatures: dict[str, Arguments] = {}
  for block in text.removeprefix(HEADER).split("\n\n"):
    name, *lines = block.strip("\n").split("\n")
    signatures[name] = None if name.endswith(_PROPERTY) else tuple(Argument.parse(line.strip()) for line in lines)
  return signatures


def changes(before: Signatures, after: Signatures) -> list[str]:
  """All that differs, a sentence each; those that begin with "break" are what a caller of before stumbles over."""
  found = [f"break: {name} is gone; it was {_shown(before[name])}" for name in before if name not in after]
  for name, arguments in after.items():
    if name not in before:
      found.append(f"addition: {name} is new: {_shown(arguments)}")
    elif (was := before[name]) != arguments:
      found += [f"{change}\n    was: {_shown(was)}\n    is:  {_shown(arguments)}"
                for change in _argument_changes(name, was or (), arguments or ())]
  return found


def _argument_changes(name: str, before: tuple[Argument, ...], after: tuple[Argument, ...]) -> Iterator[str]:
  then, now = ({argument.name: argument for argument in arguments} for arguments in (before, after))
  for gone in [argument for argument in before if argument.name not in now]:
    yield f"break: {name} no longer takes {gone.name}: it was dropped or renamed"
  for argument in after:
    was = then.get(argument.name)
    if was is None:
      yield (f"break: {name} newly requires {argument.name}" if argument.is_required else
             f"addition: {name} also takes {argument.name}")
    elif argument.is_required and not was.is_required:
      yield f"break: {name} newly requires {argument.name}, which was {was.default} by default"
    elif was.default is None and argument.default is not None:
      yield f"addition: {name} no longer requires {argument.name}"
    elif was.default != argument.default:
      yield f"break: {name} has another default of {argument.name}: {argument.default} in place of {was.default}"
    if was is not None and was.kind != argument.kind:
      yield (f"addition: {name} takes {argument.name} by position or name now" if not argument.kind else
             f"break: {name} takes {argument.name} in another way")
  # What a caller gives by position has to stay where it was.
  places = [argument.name for argument in before if argument.by_position and argument.name in now]
  if [argument.name for argument in after if argument.by_position][:len(places)] != places and all(
      now[place].by_position for place in places):
    yield f"break: {name} takes its arguments in another order"


def _shown(arguments: Arguments) -> str:
  return "a property" if arguments is None else f"({', '.join(map(str, arguments))})"


def _default_text(value: Any) -> str:
  # Addresses in memory are other ones in each process.
  return f"{value.__module__}.{value.__qualname__}" if inspect.isfunction(value) or inspect.isclass(value) else repr(
      value)


def _imported(name: str) -> Any:
  module, _, member = name.rpartition(".")
  return getattr(importlib.import_module(module), member)


if __name__ == "__main__":
  FILE.write_text(as_text(signatures_today()), encoding="utf-8")
  sys.stdout.write(f"{FILE.name} is made anew: name what it breaks in CHANGELOG.md.\n")
