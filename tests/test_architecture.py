"""docs/architecture.md: its rooms are those of the code, in their order, and what it names exists."""

from __future__ import annotations

import re

import pytest

from tests.documents import ROOT
from tests.test_imports import GROUND, ROOMS

PAGE = ROOT / "docs" / "architecture.md"
# `NAME` of `path`, or `NAME` in `path`: what a list says is there.
_NAMED = re.compile(r"`(?P<names>\w+(?:\.\w+)?(?:` and `\w+)?)`\s+(?:of|in)\s+`(?P<path>[\w/]+\.py)`")


def _section(title: str) -> str:
  return PAGE.read_text().split(f"\n## {title}\n")[1].partition("\n## ")[0]


def test_the_table_of_rooms_is_that_of_the_folders_in_their_order():
  listed = re.findall(r"^\| `(\w+)` \|", _section("Rooms"), re.MULTILINE)
  assert tuple(listed) == ROOMS
  folders = {path.parent.name for path in (ROOT / "diet_tf").glob("*/__init__.py")}
  assert set(listed) == folders
  assert set(re.findall(r"`diet_tf/(\w+)\.py`", _section("Rooms").partition("![")[0])) == set(GROUND)


def test_the_picture_has_the_rooms_in_their_order():
  names = re.findall(r'class="name" x="\d+" y="\d+">([^<]+)<', (ROOT / "docs" / "assets" / "rooms.svg").read_text())
  assert tuple(name for name in names if name in ROOMS) == ROOMS


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_paths_that_are_named_exist(name):
  named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w.-]+\.(?:py|in|lock|yml|md))`", (ROOT / name).read_text()))
  assert len(named) > 2
  assert not sorted(path for path in named if not (ROOT / path).exists())


def test_names_are_where_the_lists_say():
  found = list(_NAMED.finditer(PAGE.read_text()))
  assert len(found) > 8
  for match in found:
    text = (ROOT / match["path"]).read_text()
    for name in re.findall(r"\w+", match["names"]):
      assert name == "and" or re.search(rf"\b{name}\b", text), f"{name} is not in {match['path']}"


def test_modules_that_the_method_names_exist():
  headings = re.findall(r"^## [^(\n]*\((`.*`)\)$", (ROOT / "docs" / "method.md").read_text(), re.MULTILINE)
  modules = re.findall(r"`([\w.]+)`", "".join(headings))
  assert len(modules) > 5
  assert not [name for name in modules if not (ROOT / "diet_tf" / f"{name.replace('.', '/')}.py").exists()]
