from __future__ import annotations

import dataclasses
import html.parser
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from diet_tf import errors, report
from diet_tf.features import FeatureSpec, Field, Label
from diet_tf.fidelity_result import Cost, FidelityResult, MemberFidelity, Training
from diet_tf.manifest import Manifest, Recipe
from diet_tf.metrics import Agreement, PairedDifference
from diet_tf.slots import Slots

SPEC = FeatureSpec((Field("user", "user", hash_ids=8),), Label("click"))
HOSTILE = "<script>alert('x')</script>&\"evil\""


def _training(auc: float, rate: float | None, seeds: int = 2) -> Training:
  aucs = tuple(auc + 0.002 * number for number in range(seeds))
  return Training(aucs, tuple(1 - value for value in aucs), (1.0,) * seeds, rate, 2, 1000, 1e9, 0.5)


def _result(name: str = "dnn", seeds: int = 2, soft: bool = True) -> FidelityResult:
  members = []
  for member, auc in (("lr", 0.71), (name, 0.73)):
    trainings = {"log": _training(auc, 1e-3, seeds), "memory": _training(auc - 0.01, None, seeds),
                 "random_hard": _training(auc - 0.1, 1e-2, seeds)}
    differences = {"log": PairedDifference(-0.01, 0.001, 0.002), "random_hard": PairedDifference(0.09, 0.01, 0.02)}
    if soft:
      trainings["random_soft"] = _training(auc - 0.05, 3e-3, seeds)
      differences["random_soft"] = PairedDifference(0.04, math.nan, math.inf)
    members.append(MemberFidelity(member, trainings, differences))
  cost = Cost({"log": 5000, "memory": 50, "test": 900},
              {"log": 4000, "memory": 200, "log_raw": 9000, "memory_raw": 600},
              {"log": 5000, "memory": 100}, {"log": 1e9, "memory": 4e7}, {"log": 1.0, "memory": 0.1})
  return FidelityResult(tuple(members), Agreement(1.0, 1, 1, 1.0), cost, tuple(range(seeds)), memory_uri="store/data/1")


def _manifest() -> Manifest:
  return Manifest(SPEC.to_dict(), SPEC.digest(), 3, 50, 5000, {"user": 8}, {"fraction": 0.01},
                  Recipe(step_multipliers=(1.0, 0.25)), lineage=({"span": 2, "digest": "ab" * 32},))


def _slots() -> Slots:
  born = np.repeat([1, 2, 3], [20, 20, 10])
  updated = np.where(np.arange(50) % 2, 3, born)
  ones = np.ones([50, 1, 1])
  return Slots(ones, ones, np.full(50, 0.5), np.ones(50), np.arange(50), born, updated, np.zeros(50))


STAGE = report.StageSummary(
    3, 2000, 50, {"freeze": 20, "update": 15, "replace": 5, "add": 15}, (0.7, 0.65, 0.6),
    {"chosen": "refined", "losses": {"refined": 0.6, "start": 0.65}, "differences": {"start": -0.05},
     "standard_errors": {"start": 0.01}})


def _page(**changes) -> str:
  arguments = {"result": _result(), "manifest": _manifest(), "slots": _slots(), "stages": [STAGE],
               "settings": {"seed": 0, "members": ("lr", "dnn")}, "commands": ["diet demo"], **changes}
  return report.render_report(arguments.pop("result"), **arguments)


def _elements(page: str) -> ElementTree.Element:
  return ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))


def test_the_page_is_well_formed_and_titles_its_sections():
  root = _elements(_page())
  titles = [element.text for element in root.iter("h2")]
  assert {"Memory against log", "Fidelity", "Cost", "Refinement", "Slots by action", "Slots by age", "Gate",
          "Its recipe", "How to get these figures again", "Settings"} <= set(titles)
  assert len(list(root.iter("svg"))) >= 6


def test_the_page_loads_nothing():
  page = _page()
  loads = [element.attrib for element in _elements(page).iter()
           if {"src", "href", "srcset", "data", "action", "poster"} & {key.split("}")[-1] for key in element.attrib}]
  assert not loads
  assert not re.search(r"https?:|//\w|@import|url\(|<script|<link|<iframe", page)


@pytest.mark.parametrize("place", ["member", "command", "setting", "verdict", "uri"])
def test_all_text_is_escaped(place):
  verdict = {**STAGE.verdict, "losses": {HOSTILE: 0.5}}
  changes = {"member": {"result": _result(HOSTILE)}, "command": {"commands": [HOSTILE]},
             "setting": {"settings": {HOSTILE: HOSTILE}},
             "verdict": {"stages": [report.StageSummary(3, 1, 1, {}, (), verdict)]},
             "uri": {"result": _result().replace(memory_uri=HOSTILE)}}[place]
  page = _page(**changes)
  assert "<script" not in page
  found = "".join(_elements(page).itertext())
  assert "alert('x')" in found.replace("''", "'")


def test_the_figures_are_there():
  text = " ".join("".join(_elements(_page()).itertext()).split())
  member = _result().members[1]
  assert str(member.trainings["log"].auc) in text and f"{member.recovery:.3f}" in text
  assert "+0.0900 ± 0.0200" in text  # The margin of a paired difference.
  assert "recipe × 2" in text and "0.001 × 2" in text
  assert "1/100" in text and "1/50" in text and "20.0" in text  # Records, examples, bytes.
  assert "-0.0500 ± 0.0100 to start" in text
  assert "2 steps, 0.250 to 1.000" in text
  assert _manifest().digest in text


def test_the_scatter_has_a_mark_and_a_bar_each_way_per_member():
  scatter = next(element for element in _elements(_page()).iter("svg")
                 if element.get("aria-label", "").startswith("AUC after training on the memory"))
  assert len([element for element in scatter.iter("circle")]) == 2
  assert len([element for element in scatter.iter("line") if element.get("class") == "error memory"]) == 4
  assert len([element for element in scatter.iter("line") if element.get("class") == "diagonal"]) == 1


def test_what_is_not_known_is_left_out():
  page = _page(result=_result(seeds=1, soft=False), slots=None, stages=[], settings=None, commands=[])
  root = _elements(page)
  titles = {element.text for element in root.iter("h2")}
  assert not {"Refinement", "Slots by action", "Slots by age", "Gate", "Settings"} & titles
  assert "teacher's labels" not in "".join(root.itertext())
  assert "nan" not in "".join(root.itertext()).lower()


def test_text_is_readable_on_a_phone_and_in_the_dark():
  page = _page()
  assert 'name="viewport" content="width=device-width' in page
  assert "prefers-color-scheme: dark" in page
  boxes = [float(element.get("viewBox").split()[2]) for element in _elements(page).iter("svg")]
  assert max(boxes) <= 300  # Wider pictures would shrink their text on 360 pixels.
  tables = list(_elements(page).iter("table"))
  scrolled = [table for element in _elements(page).iter("div") if element.get("class") == "scroll"
              for table in element.iter("table")]
  assert len(tables) == len(scrolled)


def test_marks_stay_inside_their_pictures():
  for svg in _elements(_page()).iter("svg"):
    _, _, width, height = (float(part) for part in svg.get("viewBox").split())
    for element in svg.iter():
      for key, limit in (("x", width), ("cx", width), ("x1", width), ("x2", width), ("y", height), ("cy", height)):
        if element.get(key) is not None:
          assert -0.5 <= float(element.get(key)) <= limit + 0.5


def test_the_report_is_written_where_it_is_wanted(tmp_path):
  path = str(tmp_path / "new" / "report.html")
  report.write_report(path, _result(), manifest=_manifest(), slots=_slots(), stages=[STAGE])
  with open(path, encoding="utf-8") as file:
    assert file.read() == report.render_report(_result(), manifest=_manifest(), slots=_slots(), stages=[STAGE])


def test_a_place_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(errors.StoreError, match="file/report.html"):
    report.write_report(str(tmp_path / "file" / "report.html"), _result(), manifest=_manifest())


def test_a_stage_summary_survives_json():
  again = report.StageSummary.from_dict(json.loads(json.dumps(STAGE.to_dict())))
  assert again.to_dict() == STAGE.to_dict()


def test_a_report_needs_no_tensorflow():
  code = "import sys, diet_tf.report; sys.exit('tensorflow' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_browsers_parse_it_without_a_stray_end_tag():
  class Parser(html.parser.HTMLParser):
    depth = 0

    def handle_starttag(self, tag, attrs):
      self.depth += 1

    def handle_endtag(self, tag):
      self.depth -= 1

  parser = Parser()
  parser.feed(_page())
  assert parser.depth == 0


def test_control_characters_are_written_out():
  hostile = "\x1b]0;x\x07\x9b31m\u202e\x00" + HOSTILE
  page = _page(result=_result(hostile), settings={"name": hostile, "fields": [hostile]}, commands=[hostile],
               stages=[dataclasses.replace(STAGE, verdict={**STAGE.verdict, "chosen": hostile})])
  _elements(page)
  assert not set(page) & set("\x1b\x07\x9b\u202e\x00")
  assert "<script>" not in page and page.count("\\x1b]0;x\\x07\\x9b31m\\u202e\\x00&lt;script&gt;") >= 3
