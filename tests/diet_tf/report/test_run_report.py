from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import html.parser
import io
import json
import math
import re
import subprocess
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from diet_tf import errors
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.metrics import Agreement, PairedDifference
from diet_tf.report import run_report as report
from diet_tf.report.stage_record import StageRecord, StageSummary
from diet_tf.report.stage_report import render_stage_report
from tests.diet_tf.small_report import (
  BREAK_EVEN,
  SPEC,
  make_by_metric,
  make_good_result,
  make_manifest,
  make_result,
  make_slots,
  make_stages,
  make_training,
  render,
)
from tests.diet_tf.small_slots import small_slots

HOSTILE = "<script>alert('x')</script>&\"evil\""


def _elements(page: str) -> ElementTree.Element:
  return ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))


def _text(page: str) -> str:
  root = _elements(page)
  for parent in list(root.iter()):
    for child in list(parent):
      if child.tag in ("script", "style"):
        parent.remove(child)
  return " ".join("".join(root.itertext()).split())


def _csv(page: str, name: str) -> list[list[str]]:
  link = next(element for element in _elements(page).iter("a") if element.get("download") == f"{name}.csv")
  kind, _, content = link.get("href").partition(",")
  assert kind == "data:text/csv;charset=utf-8"
  return list(csv.reader(io.StringIO(urllib.parse.unquote(content))))


def test_the_page_is_well_formed_and_titles_its_sections():
  root = _elements(render())
  titles = [element.text for element in root.iter("h2")]
  assert {"Memory against log", "Fidelity", "Fidelity over spans", "Held-back loss over spans", "Cost", "Break-even",
          "Slots by action", "Slots by age", "Soft labels", "Sample weights", "Influence", "Field coverage",
          "Rows", "Heaviest slots", "Refinement", "Gate", "Origin"} == set(titles) - {"By what a model is trained on"}
  names = {element.get("id") for element in root.iter() if element.get("id")}
  assert {element.get("href")[1:] for element in root.iter("a") if element.get("href").startswith("#")} <= names


def test_the_page_loads_nothing():
  page = render()
  root = _elements(page)
  for element in root.iter():
    for key, value in element.attrib.items():
      assert key.split("}")[-1] not in ("src", "srcset", "data", "action", "poster", "style", "onclick", "onload")
      if key == "href":
        assert element.tag == "a" and value.startswith(("#", "data:text/csv;"))
  assert not re.search(r"https?:|@import|url\(|<link|<iframe", page)
  assert len(page.encode()) < 200_000


def test_only_the_script_of_the_page_may_run():
  page = render(make_result(HOSTILE))
  scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
  assert len(scripts) == 1 and page.count("<script") == 1
  digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
  policy = next(element.get("content") for element in _elements(page).iter("meta")
                if element.get("http-equiv") == "Content-Security-Policy")
  assert policy.startswith("default-src 'none';") and f"script-src 'sha256-{digest}';" in policy


@pytest.mark.parametrize("place", ["member", "command", "setting", "verdict", "uri", "value"])
def test_all_text_is_escaped(place):
  summary = make_stages()[2].summary
  verdict = {**summary.verdict, "losses": {HOSTILE: 0.5}}
  changes = {"member": {"result": make_result(HOSTILE)}, "command": {"commands": [HOSTILE]},
             "setting": {"settings": {HOSTILE: HOSTILE}},
             "verdict": {"stages": [StageRecord(dataclasses.replace(summary, verdict=verdict), {})]},
             "uri": {"result": make_result().replace(memory_uri=HOSTILE)},
             "value": {"vocabularies": {"genre": ["a", HOSTILE, HOSTILE]}}}[place]
  page = render(**changes)
  assert page.count("<script") == 1
  assert "alert('x')" in _text(page).replace("''", "'")


def test_the_figures_are_there():
  page = render()
  text, member = _text(page), make_result().members[1]
  assert str(member.trainings["log"].auc) in text and f"{member.recovery:.3f}" in text
  assert "+0.0900 ± 0.0200" in text  # The margin of a paired difference.
  assert "recipe × 2" in text and "0.001 × 2" in text
  assert "1/100" in text and "1/50" in text and "20.0" in text  # Records, examples, bytes.
  assert "-0.0500 ± 0.0100 to start" in text
  assert "2 steps, 0.250 to 1.000" in text
  assert make_manifest().digest in text and "ab" * 32 in text and "diet-tf, which made it" in text


def test_the_verdict_stands_first_with_its_rows_and_conditions():
  # Members lie 0.01 below 0.711 and 0.731, so that the least recovery is 0.201 / 0.211 = 0.9526.
  text = _text(render(make_good_result()))
  verdict = (
      "Choose architectures on this memory: 24 of 28 pairs of architectures are resolved on the log; the memory orders "
      "0.958 of the resolved pairs as the log does (90 % interval 0.875 to 1.000); it keeps 0.953 or more of the log's "
      "lift over chance for each member that the log lifts; its mean AUC is ahead of as many random rows with clicks "
      "by 0.0900 ± 0.0200.")
  assert verdict in text
  assert text.index(verdict) < text.index("Judged on 900 test rows, 63 of them clicks; mean ± standard error over")
  assert _rows_of(render(make_good_result()), "conditions")[1:3] == [
      ["resolved pairs", "at least 20", "24 of 28", "yes"],
      ["agreement", "90 % interval above 0.8", "0.958, 90 % interval 0.875 to 1.000", "yes"]]


def test_few_pairs_do_not_tell_and_the_page_says_how_to_have_more():
  text = _text(render())
  assert ("Whether architectures can be chosen on this memory cannot be told: 1 of 1 pair of architectures is resolved "
          "on the log, and 20 are needed (2 members can have no more: name at least 7 in panel.members, better ten)"
          ) in text
  assert "Choose architectures" not in text


def _rows_of(page: str, name: str) -> list[list[str]]:
  (element,) = [element for element in _elements(page).iter() if element.get("id") == name]
  return [["".join(cell.itertext()) for cell in row] for row in element.iter("tr")]


def test_no_lift_is_said_in_words():
  """The log is no better than chance for any member, or by less than the noise: there is nothing to keep a share of."""
  result = make_result()
  flat = result.replace(agreement=Agreement(math.nan, 0, 1, math.nan), members=tuple(
      dataclasses.replace(member, trainings={**member.trainings, "log": make_training(auc, 1e-3)},
                          lift=PairedDifference(auc - 0.499, 0.01, 0.02))
      for member, auc in zip(result.members, (0.49, 0.505), strict=True)))
  page = render(flat, history=[flat.replace(spans=(1, 2))])
  text = _text(page)
  assert "no model trained on the log is better than chance beyond noise, so there is no recovery" in text
  assert "No recovery: no model trained on the log is better than chance beyond noise." in text
  assert "nonerecoveryno model trained on the log is better than chance" in text
  assert "nan" not in _words(page) and "nan" not in _words(flat.table())
  value = json.loads(flat.to_json())
  assert value["recovery"] is None and [member["recovery"] for member in value["members"]] == [None, None]
  assert value["verdict"]["outcome"] == "cannot be told"
  assert "Nothing to show: no model trained on the log was better than chance" in text
  assert _csv(render(history=[flat.replace(spans=(1, 2))]), "fidelity_over_spans")[1][:3] == ["2", "", ""]


def test_a_member_without_lift_is_left_out_of_the_mean_and_named():
  result = make_result()
  first = dataclasses.replace(result.members[0], lift=PairedDifference(0.21, 0.2, 0.4))
  partly = result.replace(members=(first, result.members[1]))
  assert partly.recovery == pytest.approx(0.221 / 0.231)
  text = _text(render(partly))
  assert ("Recovery 0.957 on average, without those that are not better than chance beyond noise when trained on the "
          "log: lr.") in text
  assert "mean of 1 of 2 members" in text


def test_losses_that_are_not_finite_are_said_to_be_so():
  verdict = {"chosen": "refined", "losses": {"refined": 0.6, "start": math.nan}, "differences": {"start": math.nan},
             "standard_errors": {"start": math.nan}}
  stages = [dataclasses.replace(stage, summary=dataclasses.replace(stage.summary, verdict=verdict))
            for stage in make_stages()]
  for page in (render(stages=stages), render_stage_report(stages[0])):
    assert "nan" not in _words(page) and "not finite to start" in _text(page)


def _words(text: str) -> list[str]:
  """The words of a text, in lower case: of a page everything, with its drawings and its data."""
  return re.sub("[^a-z]+", " ", text.lower()).split()


def test_break_even():
  text = _text(render())
  assert f"The memory pays from {BREAK_EVEN} architectures on." in text
  assert "2: 2.0 s on the log, 36.2 s on the memory; the log saves 34.2 s." in text
  slider = next(element for element in _elements(render()).iter("input"))
  assert (slider.get("min"), slider.get("max"), slider.get("value")) == ("1", "100", "2")
  # A pass is half of a training on the log: 0.5 s and 2.5e8 operations, of 36 s and three times 7e9 operations.
  assert "Making the memory took 72.0 passes in wall time and 84.0 passes in floating-point operations" in text
  assert ("A training on the memory takes 0.200 passes in wall time and 0.080 passes in floating-point operations, one "
          "on the log 2.0 passes in wall time and 2.0 passes in floating-point operations." in text)
  # 2.1e10 operations save 4.8e8 a training.
  assert "In floating-point operations it pays from 44 on." in text
  uncounted = [dataclasses.replace(stage, summary=dataclasses.replace(stage.summary, flops={}))
               for stage in make_stages()]
  assert "The operations of making it are not known for every span." in _text(render(stages=uncounted))
  without = _text(render(stages=make_stages()[1:]))  # A span's time is not known.
  assert "time of the pipeline runs is not known for every span" in without and "pays from" not in without


def test_the_scatter_has_a_mark_and_a_bar_each_way_per_member():
  scatter = next(element for element in _elements(render()).iter("svg")
                 if element.get("aria-label", "").startswith("Memory against log"))
  assert len(list(scatter.iter("circle"))) == 2
  assert len([element for element in scatter.iter("line") if element.get("class") == "error memory"]) == 4
  assert len([element for element in scatter.iter("line") if element.get("class") == "diagonal"]) == 1


def test_another_metric_has_charts_tables_and_data_of_its_own():
  worth = {"lr": {"log": 0.70, "memory": 0.60, "random_hard": 0.55},
           "dnn": {"log": 0.72, "memory": 0.59, "random_hard": 0.56}}
  result = make_by_metric(make_result(soft=False), "gauc", worth)
  page = render(result, history=[make_result(share=0.5).replace(spans=(1, 2))])
  text = _text(page)
  assert "GAUC, trained on the log" in text and "AUC, trained on the log" not in text.replace("GAUC", "")
  assert "bars are one standard error over seeds and groups" in text and "resolved on the log by GAUC" in text
  assert "GAUC, mean ± standard error over seeds and groups" in text and "0.7100 ± 0.0400" in text
  assert "-0.0200 ± 0.0250" in text and "GAUC is the mean over 120 groups" in text
  assert _csv(page, "memory_against_log") == [
      ["member", "log_gauc", "log_gauc_se", "memory_gauc", "memory_gauc_se"], ["lr", "0.71", "0.04", "0.61", "0.04"],
      ["dnn", "0.73", "0.04", "0.6", "0.04"]]
  assert _csv(page, "gauc_by_training")[1] == ["lr", "log", "0.71", "0.04"]
  assert [row[-2:] for row in _csv(page, "fidelity")[:3:2]] == [["by_gauc", "by_gauc_se"], ["0.61", "0.04"]]
  # An agreement by the AUC, of before, is no point of one by GAUC.
  assert [row[2] for row in _csv(page, "fidelity_over_spans")] == ["agreement", "", "0"]
  assert "orders by GAUC as the log does" in text


def test_the_heaviest_slots_are_readable():
  page = render()
  text = _text(page)
  assert "Slot 7: weight 2, label 0.143, added in span 1, changed in span 3" in text
  assert "drama (75 %), noir (25 %)" in text and "4 to 9 (100 %)" in text
  assert "hash 3 (100 %)" in text and "Ids of user are hashes" in text
  rows = _csv(page, "heaviest_slots")
  assert [row[6:] for row in rows[1:5]] == [
      ["user", "hash 3", "1"], ["genre", "drama", "0.75"], ["genre", "noir", "0.25"], ["price", "4 to 9", "1"]]


def test_every_drawing_has_a_caption_and_its_data():
  for section in _elements(render()).iter("section"):
    if section.find("figure") is not None:
      assert section.find("figure/figcaption").text.strip()
      assert section.find("details/p/a").get("href").startswith("data:text/csv")
      assert section.find("details/p/button").text == "Copy"


def test_the_data_are_those_of_the_figures():
  page = render()
  assert _csv(page, "memory_against_log")[1][0] == "lr"
  assert [float(value) for value in _csv(page, "memory_against_log")[1][1:]] == pytest.approx(
      [0.711, 0.001, 0.701, 0.001])
  assert _csv(page, "slots_by_age") == [["born_span", "changed", "kept"], ["1", "10", "10"], ["2", "10", "10"],
                                        ["3", "10", "0"]]
  assert _csv(page, "slots_by_action")[3] == ["3", "20", "15", "5", "15", "50"]
  assert _csv(page, "field_coverage")[2] == ["genre", "87.5", "50"]
  assert sum(int(row[2]) for row in _csv(page, "labels")[1:]) == 50
  assert sum(int(row[3]) for row in _csv(page, "influence")[1:]) == 40
  assert _csv(page, "held_back_loss")[1:3] == [["1", "refined", "0.6", ""], ["1", "start", "0.65", "0.01"]]
  assert _csv(page, "refinement")[-1] == ["3", "3", "0.6"]


def test_fidelity_over_spans_needs_a_second_memory():
  assert "One memory was evaluated so far" in _text(render())
  earlier = make_result(share=0.5).replace(spans=(1, 2))
  page = render(history=[earlier, make_result(share=0.0)])  # The second is this memory's own, of before.
  assert [row[:1] + row[2:3] for row in _csv(page, "fidelity_over_spans")] == [
      ["span", "agreement"], ["2", "0.5"], ["3", "1"]]


def test_what_is_not_known_is_said_to_be_so():
  page = render(make_result(seeds=1, soft=False), slots=None, stages=[], vocabularies=None, coverage=None,
                settings=None, commands=[])
  text = _text(page)
  assert text.count("Not known") == 13
  assert "teacher's labels" not in text
  assert "nan" not in re.sub("[^a-z]+", " ", text.lower()).split()


def test_coverage_of_the_newest_stage_stands_in():
  rows = _csv(render(coverage=None), "field_coverage")
  assert rows == [["field", "held_back_percent"], *([name, "50"] for name in SPEC.names)]


def test_a_long_life_and_many_fields_stay_below_2_mb():
  """A year of hourly spans, 200 fields of 32 ids each, 20,000 outer steps in each stage, and 60 members."""
  fields = [Field(f"a_field_with_a_long_name_{number}", "a", vocabulary_ids=99) for number in range(200)]
  spec = FeatureSpec(tuple(fields), Label("click"))
  generator = np.random.default_rng(0)
  ids = generator.integers(0, 99, [100, 200, 32])
  born = np.arange(100) + 8600
  slots = small_slots(ids, labels=generator.random(100), born_spans=born, influences=generator.standard_normal(100),
                      spec=spec)
  losses = generator.random(20_000).tolist()
  stage = make_stages()[2]
  stages = [dataclasses.replace(stage, summary=dataclasses.replace(stage.summary, span=span, outer_losses=losses))
            for span in range(8760)]
  manifest = dataclasses.replace(
      make_manifest(), feature_spec=spec.to_dict(), feature_spec_digest=spec.digest(), span=8759,
      max_ids=dict.fromkeys(spec.names, 32), lineage=[{"span": span, "digest": "ab" * 32} for span in range(8759)])
  result = make_result().replace(spans=tuple(range(8760)))
  result = result.replace(members=tuple(
      dataclasses.replace(result.members[0], name=f"dnn(embedding_dim={number},hidden_units=64-32)")
      for number in range(60)))
  page = render(result, manifest=manifest, slots=slots, stages=stages,
                history=[result.replace(spans=tuple(range(span))) for span in range(1, 8760, 20)],
                vocabularies=dict.fromkeys(spec.names, [f"a value of some length {number}" for number in range(97)]),
                coverage={kind: dict.fromkeys(spec.names, 0.123456789) for kind in ("log", "test")},
                settings={"vocabulary": [f"value {number}" for number in range(100_000)]})
  assert len(page.encode()) < 2_000_000
  text = _text(page)
  assert "and 99,800 more" in text and "memories before these8,739" in text
  # All 8,760 runs count in the break-even, though the newest are shown: 8760 * 12 s / (1 - 0.1) s.
  assert "The memory pays from 116,800 architectures on." in text


def test_text_is_readable_on_a_phone_and_in_the_dark():
  page = render()
  assert 'name="viewport" content="width=device-width' in page
  assert "prefers-color-scheme: dark" in page
  boxes = [float(element.get("viewBox").split()[2]) for element in _elements(page).iter("svg")]
  assert max(boxes) <= 300  # Wider pictures would shrink their text on 360 pixels.
  tables = [table for element in _elements(page).iter("div") if element.get("class") == "scroll"
            for table in element.iter("table")]
  slots = [table for element in _elements(page).iter("details") if element.get("class") == "slot"
           for table in element.iter("table")]
  assert len(list(_elements(page).iter("table"))) == len(tables) + len(slots)


def test_tables_have_captions_and_headers():
  for table in _elements(render()).iter("table"):
    assert table.find("caption").text
    assert all(header.get("scope") == "col" and header.text for header in table.findall("thead/tr/th"))


def _luminance(colour: str) -> float:
  channels = [int(colour[place:place + 2], 16) / 255 for place in (1, 3, 5)]
  linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_have_contrast_in_both_modes():
  """As WCAG 2 asks: 4.5 for text, 3 for what is drawn."""
  modes = re.findall(r":root \{(.*?)\}", render(), re.DOTALL)
  assert len(modes) == 2
  for mode in modes:
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", mode))
    card = _luminance(colours["card"])
    for name, least in {"ink": 4.5, "ink-2": 4.5, "ink-3": 4.5, "grey": 3, "blue": 3, "orange": 3, "green": 3}.items():
      bright, dark = sorted([card, _luminance(colours.get(name) or "#000000")], reverse=True)
      assert (bright + 0.05) / (dark + 0.05) >= least, name


def test_marks_stay_inside_their_pictures():
  long_spans = [dataclasses.replace(stage, summary=dataclasses.replace(stage.summary, span=20220420 + number))
                for number, stage in enumerate(make_stages())]
  for page in (render(), render(stages=long_spans), render(make_result("a" * 60))):
    for svg in _elements(page).iter("svg"):
      _, _, width, height = (float(part) for part in svg.get("viewBox").split())
      for element in svg.iter():
        for key, limit in (("x", width), ("cx", width), ("x1", width), ("x2", width), ("y", height), ("cy", height)):
          if element.get(key) is not None:
            assert -0.5 <= float(element.get(key)) <= limit + 0.5


def test_the_report_is_written_where_it_is_wanted(tmp_path):
  path = str(tmp_path / "new" / "report.html")
  parts = {"manifest": make_manifest(), "slots": make_slots(), "stages": make_stages()}
  report.write_report(path, make_result(), **parts)
  with open(path, encoding="utf-8") as file:
    assert file.read() == report.render_report(make_result(), **parts)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(errors.StoreError, match="file/report.html"):
    report.write_report(str(tmp_path / "file" / "report.html"), make_result(), manifest=make_manifest())


def test_a_report_needs_no_tensorflow():
  code = "import sys, diet_tf.report.run_report, diet_tf.report.stage_report; sys.exit('tensorflow' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_browsers_parse_it_without_a_stray_end_tag():
  class Parser(html.parser.HTMLParser):
    depth = 0

    def handle_starttag(self, tag, attrs):
      self.depth += 1

    def handle_endtag(self, tag):
      self.depth -= 1

  parser = Parser()
  parser.feed(render())
  assert parser.depth == 0


def test_control_characters_are_written_out():
  hostile = "\x1b]0;x\x07\x9b31m\u202e\x00" + HOSTILE
  verdict = {**make_stages()[2].summary.verdict, "chosen": hostile}
  page = render(make_result(hostile), settings={"name": hostile, "fields": [hostile]}, commands=[hostile],
                stages=[StageRecord(StageSummary(3, 1, 1, verdict=verdict), {})],
                vocabularies={"genre": [hostile]})
  _elements(page)
  assert not set(page) & set("\x1b\x07\x9b\u202e\x00") and "%1B" not in page
  assert page.count("<script") == 1 and page.count("\\x1b]0;x\\x07\\x9b31m\\u202e\\x00&lt;script&gt;") >= 3
