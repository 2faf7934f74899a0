"""The rule of the verdict, branch by branch, and the verdict on results of an earlier release."""

from __future__ import annotations

import json
import math
import pathlib
import re
from typing import Any

import pytest

from diet_tf.fidelity import verdict
from diet_tf.fidelity.result import FidelityResult
from diet_tf.metrics import Agreement, PairedDifference

ROOT = pathlib.Path(__file__).resolve().parents[3]
CASES = ROOT.parent / "shared" / "cases"
# Eight members have 28 pairs.
GOOD: dict[str, Any] = {
    "agreement": Agreement(0.95, 20, 28, 0.9, 0.81, 1.0), "recoveries": {"lr": 0.7, "fm": 0.9},
    "differences": {"random_hard": PairedDifference(0.03, 0.005, 0.01),
                    "random_soft": PairedDifference(0.02, 0.005, 0.01)},
    "num_members": 8, "num_seeds": 3, "num_test_rows": 2000, "num_test_clicks": 120}
NAN, INF = math.nan, math.inf


def judged(**changes: Any) -> verdict.Verdict:
  arguments = {**GOOD, **changes}
  return verdict.judge(arguments.pop("agreement"), arguments.pop("recoveries"), arguments.pop("differences"),
                       **arguments)


def test_the_numbers_of_the_rule():
  assert (verdict.MIN_RESOLVED_PAIRS, verdict.MIN_AGREEMENT, verdict.AGREEMENT_CONFIDENCE, verdict.MIN_RECOVERY) == (
      20, 0.8, 0.9, 0.7)


def test_a_good_verdict_meets_every_condition():
  found = judged()
  assert found.outcome == "choose" and [condition.met for condition in found.conditions] == [True] * 5
  assert found.text == (
      "Choose architectures on this memory: 20 of 28 pairs of architectures are resolved on the log; the memory orders "
      "0.950 of the resolved pairs as the log does (90 % interval 0.810 to 1.000); it keeps 0.700 or more of the log's "
      "lift over chance for each member that the log lifts; its mean AUC is ahead of as many random rows with clicks "
      "by 0.0300 ± 0.0100; its mean AUC is ahead of as many random rows with the teacher's labels by 0.0200 ± 0.0100.")
  assert found.judged_on == "2,000 test rows, 120 of them clicks"
  assert found.to_dict() == {"outcome": "choose", "text": found.text, "reasons": list(found.reasons),
                             "test_rows": 2000, "test_clicks": 120}


def difference(mean: float, margin: float) -> dict[str, PairedDifference]:
  return {"random_hard": PairedDifference(mean, margin / 2, margin)}


@pytest.mark.parametrize("changes, outcome, reason", [
    # Pairs: 19 are too few, and say how to have more.
    ({"agreement": Agreement(1.0, 19, 28, 1.0, 1.0, 1.0)}, "cannot be told",
     "19 of 28 pairs of architectures are resolved on the log, and 20 are needed (add members to panel.members, seeds "
     "to panel.seeds, or test rows)"),
    ({"agreement": Agreement(1.0, 1, 6, 1.0, 1.0, 1.0), "num_members": 4}, "cannot be told",
     "1 of 6 pairs of architectures is resolved on the log, and 20 are needed (4 members can have no more: name at "
     "least 7 in panel.members, better ten)"),
    # Few pairs are no measure of the panel in either direction.
    ({"agreement": Agreement(0.0, 19, 28, -1.0, 0.0, 0.1)}, "cannot be told", "19 of 28 pairs"),
    ({"agreement": Agreement(NAN, 0, 28, 1.0)}, "cannot be told", "0 of 28 pairs of architectures are resolved"),
    # The agreement's interval: above 0.8, below it, about it, and not known.
    ({"agreement": Agreement(0.95, 20, 28, 0.9, 0.8, 1.0)}, "cannot be told",
     "the memory orders 0.950 of the resolved pairs as the log does (90 % interval 0.800 to 1.000, which would have to "
     "lie above 0.8)"),
    ({"agreement": Agreement(0.7, 20, 28, 0.2, 0.5, 0.8)}, "do not choose",
     "the memory orders 0.700 of the resolved pairs as the log does (90 % interval 0.500 to 0.800, and more than 0.8 "
     "is needed)"),
    ({"agreement": Agreement(0.95, 20, 28, 0.9), "num_seeds": 1}, "cannot be told",
     "the interval of the agreement of 0.950 is missing, since from one seed it is not known: name more in "
     "panel.seeds"),
    ({"agreement": Agreement(0.95, 20, 28, 0.9)}, "cannot be told", "so few test rows of a class do not tell it"),
    ({"agreement": Agreement(0.95, 20, 28, 0.9), "num_test_clicks": None}, "cannot be told",
     "the release that made these figures did not measure it: remove results.json and run diet report"),
    # Recovery of every member that the log lifts.
    ({"recoveries": {"lr": 0.699, "fm": 0.99, "dnn": 0.5}}, "do not choose",
     "it keeps less than 0.7 of the log's lift over chance for 2 of the 3 members that the log lifts (recovery 0.500 "
     "of dnn)"),
    ({"recoveries": {"lr": -0.065}}, "do not choose", "for the only member that the log lifts (recovery -0.065 of lr)"),
    ({"recoveries": {}}, "cannot be told",
     "no model trained on the log is better than chance beyond noise, so there is no recovery"),
    # Random rows: ahead, level, behind, and of unknown noise.
    ({"differences": difference(0.03, 0.0301)}, "cannot be told",
     "its mean AUC is not ahead of as many random rows with clicks beyond noise (+0.0300 ± 0.0301)"),
    ({"differences": difference(-0.03, 0.0301)}, "cannot be told", "beyond noise (-0.0300 ± 0.0301)"),
    ({"differences": difference(-0.03, 0.02)}, "do not choose",
     "as many random rows with clicks are ahead of its mean AUC by 0.0300 ± 0.0200"),
    ({"differences": {**GOOD["differences"], "random_soft": PairedDifference(-0.03, 0.01, 0.02)}}, "do not choose",
     "as many random rows with the teacher's labels are ahead of its mean AUC by 0.0300 ± 0.0200"),
    ({"differences": {"random_hard": PairedDifference(0.03, NAN, INF)}}, "cannot be told",
     "beyond noise (+0.0300 with unknown noise)"),
    ({"differences": {"random_hard": PairedDifference(NAN, NAN, NAN)}}, "cannot be told",
     "how as many random rows with clicks compare is not known"),
    ({"differences": {}}, "cannot be told", "how as many random rows with clicks compare is not known"),
])
def test_one_condition_that_is_not_met_is_the_reason(changes, outcome, reason):
  found = judged(**changes)
  assert found.outcome == outcome
  assert reason in found.text and len(found.reasons) == 1
  beginning = {"cannot be told": "Whether architectures can be chosen on this memory cannot be told: ",
               "do not choose": "Do not choose architectures on this memory: "}[outcome]
  assert found.text == f"{beginning}{found.reasons[0]}."
  assert "nan" not in found.text.replace("than", "") and "inf" not in found.text


def test_what_failed_goes_before_what_cannot_be_told():
  found = judged(agreement=Agreement(1.0, 1, 6, 1.0, 1.0, 1.0), recoveries={"lr": 0.3},
                 differences=difference(-0.2, 0.1))
  assert found.outcome == "do not choose"
  assert [reason.split()[0] for reason in found.reasons] == ["it", "as"]  # Recovery, and random rows; not the pairs.


def test_without_a_teacher_the_rows_with_clicks_alone_are_compared():
  found = judged(differences=difference(0.03, 0.01))
  assert found.outcome == "choose" and len(found.conditions) == 4


@pytest.mark.parametrize("num_pairs, members", [(1, 2), (2, 3), (3, 3), (6, 4), (20, 7), (21, 7), (22, 8), (45, 10)])
def test_how_many_members_have_so_many_pairs(num_pairs, members):
  assert verdict.least_members(num_pairs) == members


def test_what_a_panel_cannot_tell_is_known_before_it_is_trained():
  assert verdict.shortcomings(7, 2) == []
  assert verdict.shortcomings(4, 3) == [
      "The panel's 4 members have 6 pairs, and a good verdict takes 20 that are resolved: name at least 7 in "
      "panel.members, better ten."]
  assert verdict.shortcomings(1, 1)[0].startswith("The panel's 1 member has 0 pairs,")
  assert "panel.seeds" in verdict.shortcomings(10, 1)[0]


def test_the_documents_name_the_numbers():
  page = " ".join((ROOT / "docs" / "report.md").read_text().split())
  for name in ("MIN_RESOLVED_PAIRS", "MIN_AGREEMENT", "AGREEMENT_CONFIDENCE", "MIN_RECOVERY"):
    assert re.search(rf"\| (at least )?{getattr(verdict, name)} \| `{name}` \|", page), name
  assert verdict.least_members() == 7 and "at least seven members" in page


def old_result() -> dict[str, Any]:
  """Results as the release before wrote them, of a memory that random rows are ahead of."""
  def training(*aucs: float) -> dict[str, Any]:
    return {"aucs": list(aucs), "log_losses": [0.5, 0.5], "calibrations": [1.0, 1.0], "learning_rate": 0.01,
            "epochs": 1, "examples": 1500, "flops": 1e6, "seconds": 0.25}

  members = []
  for name, log, memory, behind in (("lr", 0.654, 0.490, -0.205), ("dnn", 0.675, 0.611, -0.069)):
    trainings = {"log": training(log, log + 0.001), "memory": training(memory, memory),
                 "random_hard": training(0.7, 0.7)}
    members.append({
        "name": name, "recovery": 0.5, "trainings": trainings, "differences": {"random_hard": {
            "mean": behind, "standard_error": 0.02, "margin": 0.04, "resolved": True}},
        **{f"{kind}_{figure}": None for kind in ("log", "memory", "random_hard", "random_soft")
           for figure in ("auc", "logloss", "auc_se")}})
  return {"format_name": "diet_tf.fidelity", "format_version": 1, "members": members,
          "records": {"log": 1500, "memory": 15, "test": 300}, "cost_ratio": 50.0, "memory_uri": "store/data/1",
          "bytes": {"log": 9, "memory": 3, "log_raw": 9, "memory_raw": 3}, "report_uri": "", "recovery": 0.37,
          "examples_processed": {"log": 1500, "memory": 30}, "flops": {"log": 1e6, "memory": 1e5},
          "seconds": {"log": 1.0, "memory": 0.5}, "regret": 0.0,
          "agreement": {"share": 1.0, "num_resolved": 1, "num_pairs": 1, "tau_b": 1.0},
          "bayes_auc": None, "seeds": [0, 1], "spans": [0], "settings": {}}


def test_an_earlier_releases_result_has_a_verdict_too():
  """It orders its only resolved pair as the log does, and that was once enough for a good verdict."""
  result = FidelityResult.from_dict(old_result())
  found = result.verdict
  # A mean difference of -0.137, whose noise is at most the mean of the noises.
  assert found.text == (
      "Do not choose architectures on this memory: it keeps less than 0.7 of the log's lift over chance for each of "
      "the 2 members that the log lifts (recovery -0.065 of lr); as many random rows with clicks are ahead of its mean "
      "AUC by 0.1370 ± 0.0400.")
  assert found.judged_on == "300 test rows, how many of them are clicks is not known"
  assert found.text in result.table() and "nan" not in result.table().replace("than", "")
  again = FidelityResult.from_json(result.to_json())
  assert again.verdict == found and again.to_dict() == result.to_dict()


def test_an_earlier_releases_result_is_never_good():
  old = old_result()
  for member in old["members"]:
    member["trainings"]["memory"]["aucs"] = member["trainings"]["log"]["aucs"]
    member["differences"]["random_hard"]["mean"] = 0.2
  old["agreement"] = {"share": 1.0, "num_resolved": 28, "num_pairs": 28, "tau_b": 1.0}
  found = FidelityResult.from_dict(old).verdict
  assert found.outcome == "cannot be told" and "did not measure it: remove results.json" in found.text
  old["agreement"] |= {"share": 0.9}
  old["members"][0]["trainings"]["memory"]["aucs"] = [0.55, 0.55]
  assert FidelityResult.from_dict(old).verdict.outcome == "do not choose"


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases lie beside the repository")
def test_the_case_that_was_called_good():
  content = json.loads((CASES / "verdict" / "results.json").read_text())
  found = FidelityResult.from_dict(content).verdict
  assert found.outcome == "do not choose"
  assert "recovery -0.065 of lr" in found.text
  assert "random rows with clicks are ahead" in found.text and "random rows with the teacher's labels are" in found.text
