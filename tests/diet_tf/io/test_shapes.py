"""Shapes of documents: what fits is taken as it is meant, and what does not is named by its place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pytest

from diet_tf.errors import FormatError
from diet_tf.io.shapes import Absentable, Figure, ListOf, MapOf, Nullable, Place, fields_of, shaped

PLACE = Place("report.json", "make it again.")


@dataclasses.dataclass(frozen=True)
class Point:
  """A dataclass that refuses some of its values."""

  x: int
  y: float | None

  def __post_init__(self) -> None:
    if self.x < 0:
      raise ValueError("x is at least 0")


@pytest.mark.parametrize(("value", "shape", "expected"), [
    (3, int, 3), (3, float, 3), (0.5, float, 0.5), ("a", str, "a"), (True, bool, True), ([1, "a"], Any, [1, "a"]),
    (None, int | None, None), (4, int | None, 4), ("a", int | str, "a"),
    ([1, 2], list[int], [1, 2]), ([1, 2], tuple[int, ...], (1, 2)),
    ({"a": [1]}, Mapping[str, list[int]], {"a": [1]}), ({"-3": 0.5}, Mapping[int, float], {-3: 0.5}),
    ({"x": 1, "y": None}, Point, Point(1, None)), ([{"x": 1, "y": 2}], list[Point], [Point(1, 2)]),
    ({"x": 1, "y": 2}, fields_of(Point), {"x": 1, "y": 2}),
    ({"a": 1}, {"a": int, "b": Absentable(int)}, {"a": 1}), ({"a": 1, "b": 2}, {"a": int, "b": Absentable(int)},
                                                            {"a": 1, "b": 2}),
    ([{"a": 1}], ListOf({"a": int}), [{"a": 1}]), ({"k": {"a": 1}}, MapOf({"a": int}), {"k": {"a": 1}}),
    (None, Nullable({"a": int}), None), ({"a": 1}, Nullable({"a": int}), {"a": 1})])
def test_what_fits_is_taken(value: Any, shape: Any, expected: Any):
  found = shaped(value, shape, PLACE)
  assert found == expected and type(found) is type(expected)


def test_a_figure_may_not_exist():
  assert math.isnan(shaped(None, Figure, PLACE)) and shaped(0.5, Figure, PLACE) == 0.5


@pytest.mark.parametrize(("value", "shape", "place", "message"), [
    (True, int, "", "it is a whole number.*the truth value True"),
    (1.5, int, "", "it is a whole number.*the number 1.5"),
    ("1", float, "", "it is a number.*the text '1'"),
    (None, str, "", "it is a text.*null"),
    (3, bool, "", "it is true or false"),
    ([1, "a"], list[int], "1", "it is a whole number"),
    ({"a": {"b": [0, None]}}, {"a": {"b": list[float]}}, "a.b.1", "it is a number.*null"),
    ({"a": 1}, {"a": int, "b": int}, "", "missing: .'b'., unknown: ..\\."),
    ({"a": 1, "c": 2}, {"a": int}, "", "missing: .., unknown: .'c'."),
    ([], {"a": int}, "", "it is an object with keys.*a list"),
    ({"one": 1}, Mapping[int, int], "", "keys are whole numbers.*'one'"),
    ({"x": -1, "y": 0.5}, Point, "", "x is at least 0"),
    ({"p": {"x": 1}}, {"p": Point}, "p", "missing: .'y'."),
    (10**400, float, "", "too large")])
def test_what_does_not_fit_is_named_by_its_place(value: Any, shape: Any, place: str, message: str):
  with pytest.raises(FormatError, match=message) as caught:
    shaped(value, shape, PLACE)
  assert caught.value.subject == (f"report.json: {place}" if place else "report.json")
  assert caught.value.remedy == "make it again."
