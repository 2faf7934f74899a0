"""The signatures that callers rely on are those of yesterday, or the file says otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

import tfx_components
from tests.signatures import (
    COMMAND,
    COMPONENTS,
    FILE,
    Argument,
    arguments_of,
    as_text,
    changes,
    from_text,
    signatures_of,
    signatures_today,
)


def test_signatures_are_those_of_the_file():
  found = changes(from_text(FILE.read_text(encoding="utf-8")), signatures_today())
  assert not found, "\n".join([
      "Signatures are not those of tests/signatures.txt.", *found,
      "What is dropped, renamed, reordered, newly required or has another default is a break for callers: undo it, or "
      "name it in CHANGELOG.md.", f"`{COMMAND}` makes the file anew."])


def test_every_component_is_kept():
  kinds = {name for name, module in tfx_components._EXPORTS.items() if module != "tfx_components.artifacts"}
  assert kinds == set(COMPONENTS)


def train(examples: Any, seed: int = 0, *, epochs: int = 2) -> None:
  """The function that all others below are compared with."""


def with_another_default(examples: Any, seed: int = 1, *, epochs: int = 2) -> None: ...
def with_another_name(rows: Any, seed: int = 0, *, epochs: int = 2) -> None: ...
def with_one_dropped(examples: Any, *, epochs: int = 2) -> None: ...
def with_one_required(examples: Any, seed: int, *, epochs: int = 2) -> None: ...
def with_a_new_required(examples: Any, seed: int = 0, *, epochs: int = 2, model: Any) -> None: ...
def with_another_order(seed: int = 0, examples: Any = None, *, epochs: int = 2) -> None: ...
def with_one_put_first(rate: float = 0.1, examples: Any = None, seed: int = 0, *, epochs: int = 2) -> None: ...
def with_one_by_name(examples: Any, *, seed: int = 0, epochs: int = 2) -> None: ...
def with_a_new_optional(examples: Any, seed: int = 0, rate: float = 0.1, *, epochs: int = 2) -> None: ...
def with_a_new_keyword(examples: Any, seed: int = 0, *, epochs: int = 2, rate: float = 0.1) -> None: ...
def with_one_by_position(examples: Any, seed: int = 0, epochs: int = 2) -> None: ...
def with_none_required(examples: Any = None, seed: int = 0, *, epochs: int = 2) -> None: ...


def changes_to(function: Callable[..., None]) -> list[str]:
  return changes({"train": arguments_of(train)}, {"train": arguments_of(function)})


@pytest.mark.parametrize(("function", "said"), [
    (with_another_default, "another default of seed: 1 in place of 0"),
    (with_another_name, "no longer takes examples"),
    (with_one_dropped, "no longer takes seed"),
    (with_one_required, "newly requires seed, which was 0 by default"),
    (with_a_new_required, "newly requires model"),
    (with_another_order, "in another order"),
    (with_one_put_first, "in another order"),
    (with_one_by_name, "takes seed in another way")])
def test_a_break_says_what_was_and_what_is(function: Callable[..., None], said: str):
  broken = [change for change in changes_to(function) if change.startswith("break: train ")]
  assert any(said in change for change in broken)
  for change in broken:
    assert "was: (examples, seed = 0, name only: epochs = 2)" in change
    assert f"is:  ({', '.join(map(str, arguments_of(function)))})" in change


@pytest.mark.parametrize("function", [with_a_new_optional, with_a_new_keyword, with_one_by_position,
                                      with_none_required])
def test_an_addition_breaks_nothing_and_is_seen(function: Callable[..., None]):
  found = changes_to(function)
  assert len(found) == 1 and found[0].startswith("addition: train ")


def test_the_same_is_no_change():
  assert changes_to(train) == []


def test_a_name_that_is_gone_is_a_break_and_a_new_one_is_none():
  one = {"train": arguments_of(train)}
  assert changes(one, {}) == ["break: train is gone; it was (examples, seed = 0, name only: epochs = 2)"]
  assert changes({}, one) == ["addition: train is new: (examples, seed = 0, name only: epochs = 2)"]
  assert changes({"train.rate (property)": None}, {"train.rate": ()}) == [
      "break: train.rate (property) is gone; it was a property", "addition: train.rate is new: ()"]


class Trainer:
  """A class with a member of each kind."""

  rate = 0.1

  def __init__(self, model: Any, seed: int = 0) -> None: ...

  def fit(self, rows: Any, *columns: str, epochs: int = 2, **settings: Any) -> None: ...

  @classmethod
  def of(cls, name: str, /) -> None: ...

  @property
  def loss(self) -> float:
    return 0.0

  def _private(self) -> None: ...


@dataclasses.dataclass
class Settings:
  """Settings whose default is made anew for each."""

  rates: dict[str, float] = dataclasses.field(default_factory=lambda: {"dense": 0.1})


def test_constructor_methods_and_properties_of_a_class_are_kept_and_read_as_they_were_written():
  kept = dict(signatures_of("Trainer", Trainer))
  assert kept == {
      "Trainer": (Argument("model"), Argument("seed", default="0")),
      "Trainer.fit": (Argument("rows"), Argument("columns", "any: *"), Argument("epochs", "name only: ", "2"),
                      Argument("settings", "any: **")),
      "Trainer.loss (property)": None,
      "Trainer.of": (Argument("name", "position only: "),)}
  assert from_text(as_text(kept)) == kept


def test_a_default_that_is_made_anew_is_kept_as_its_value():
  assert dict(signatures_of("Settings", Settings)) == {
      "Settings": (Argument("rates", default="{'dense': 0.1}"),)}
