import dataclasses
import os
import re
import shutil

import numpy as np
import pytest

import tfx_components
from diet_tf.distillation.gate import PREVIOUS, REFINED, START
from diet_tf.distillation.settings import Stage
from diet_tf.errors import FormatError
from diet_tf.io import arrays, files
from diet_tf.log.duplicates import DuplicateRule
from diet_tf.log.examples import is_held_back
from diet_tf.log.row_counts import RowCounts
from diet_tf.log.salt import Salt
from diet_tf.report.stage_record import StageRecord, slots_by_age
from diet_tf.store.memories import load_memory
from diet_tf.training.slot_trainer import Candidate
from tfx_components import stage_files
from tfx_components.log_gen.summary import LogSummary
from tfx_components.stage_files import read_refinement, read_start, read_verdict


def record_of(made):
  return StageRecord.read(f"{made.verdict.uri}/stage.json")


def test_the_verdict_names_all_candidates(first, second):
  for made, span, others in ((first, 1, {START}), (second, 2, {START, PREVIOUS})):
    verdict, judged = read_verdict(made.verdict.uri)
    assert judged == span
    assert set(verdict.losses) == {REFINED, *others} and set(verdict.differences) == others
    for name in others:
      assert verdict.differences[name] == pytest.approx(verdict.losses[REFINED] - verdict.losses[name], abs=1e-9)
    assert made.verdict.get_string_custom_property("chosen") == verdict.chosen
    assert made.verdict.get_float_custom_property("loss_start") == verdict.losses[START]


def test_the_stage_record_tells_what_was_done(second):
  record = record_of(second)
  verdict, _ = read_verdict(second.verdict.uri)
  start, _ = read_start(second.start.uri, load_memory(f"{second.start.uri}/memory"))
  assert record.summary.actions == start.counts
  assert record.summary.outer_losses == read_refinement(second.memory.uri)["losses"]
  assert record.summary.verdict == dataclasses.asdict(verdict)
  assert set(record.summary.flops) == {"teacher and scores", "addressing", "refinement", "gate"}
  assert min(record.summary.flops.values()) > 0
  chosen = {REFINED: second.memory, START: second.start, PREVIOUS: second.parent}[verdict.chosen]
  assert record.slots_by_age == slots_by_age(load_memory(f"{chosen.uri}/memory").slots, 2)


def test_the_teachers_loss_is_that_before_it_saw_the_examples(workshop, first):
  _, labels, example_ids, _ = workshop.make_examples(1)
  names = sorted(name for name in os.listdir(first.scores.uri) if name.endswith(".scores.npz"))
  logits = np.concatenate([arrays.read_arrays(f"{first.scores.uri}/{name}")["teacher_logits"] for name in names])
  held = np.asarray(is_held_back(example_ids, 0.2))
  losses = np.log1p(np.exp(logits)) - labels * logits
  # Judged on a sample of 80 of about 120 held-back examples; without the cap, on all of them.
  settings = dataclasses.replace(workshop.settings, gate=dataclasses.replace(workshop.settings.gate, max_examples=999))
  made = dataclasses.replace(first, verdict=workshop.judge(1, first, settings))
  assert record_of(made).teacher_loss == pytest.approx(float(losses[held].mean()), abs=1e-5)
  without = dataclasses.replace(first, verdict=workshop.judge(1, dataclasses.replace(first, scores=None)))
  assert record_of(without).teacher_loss is None
  assert read_verdict(without.verdict.uri) == read_verdict(first.verdict.uri)


def test_a_refined_memory_that_is_worse_is_not_chosen(workshop, first):
  memory = load_memory(f"{first.memory.uri}/memory")
  refined = read_refinement(first.memory.uri)
  worse = workshop.artifact(type(first.memory))
  files.make_folders(worse.uri)
  stage = Stage(workshop.spec, workshop.settings, 3, 1)
  flipped = memory.slots.replace(labels=np.where(memory.slots.labels > 0.5, 0.02, 0.98))
  recipe = dataclasses.replace(memory.recipe, learning_rates=dict.fromkeys(memory.recipe.learning_rates, 0.3))
  stage_files.save_stage_memory(worse.uri, stage, Candidate(flipped, recipe), None, 600)

  @dataclasses.dataclass
  class Refinement:
    losses, proxies, num_skipped = refined["losses"], refined["proxies"], refined["num_skipped"]

  stage_files.write_refinement(worse.uri, Refinement())
  verdict, _ = read_verdict(workshop.judge(1, dataclasses.replace(first, memory=worse)).uri)
  assert verdict.differences[START] > 1.645 * verdict.standard_errors[START]
  assert verdict.chosen == START


@pytest.mark.parametrize("check_of_memory", ["f" * 16, "0" * 16])
def test_a_memory_of_another_secret_is_not_judged(workshop, first, check_of_memory):
  def saved_again(artifact, check):
    copy = workshop.artifact(type(artifact))
    shutil.copytree(artifact.uri, copy.uri, ignore=shutil.ignore_patterns("memory"))
    memory = load_memory(f"{artifact.uri}/memory")
    spec = workshop.spec.with_salt(Salt("DIET_TF_TINY_SALT", check))
    stage_files.save_stage_memory(copy.uri, Stage(spec, workshop.settings, 3, 1), memory, None, 600)
    return copy

  workshop.spec = workshop.spec.with_salt(Salt("DIET_TF_TINY_SALT"))
  examples = workshop.examples(1)
  LogSummary(1, RowCounts(), DuplicateRule(), 0, 0, (), {}, (), (), workshop.spec.digest(), "f" * 16).write(
      f"{examples.uri}/log_summary.json")
  made = dataclasses.replace(first, examples=examples, start=saved_again(first.start, "f" * 16),
                             memory=saved_again(first.memory, check_of_memory))
  if check_of_memory == "f" * 16:
    assert read_verdict(workshop.judge(1, made).uri) == read_verdict(first.verdict.uri)
  else:
    with pytest.raises(FormatError, match="check value ffffffffffffffff.*check value 0000000000000000"):
      workshop.judge(1, made)


def test_the_same_inputs_give_the_same_bytes(workshop, second):
  assert workshop.contents(workshop.judge(2, second).uri) == workshop.contents(second.verdict.uri)


def test_the_record_counts_coverage_and_influences(workshop, second):
  record = record_of(second)
  names = sorted(name for name in os.listdir(second.scores.uri) if name.endswith(".scores.npz"))
  read = [arrays.read_arrays(f"{second.scores.uri}/{name}") for name in names]
  influences, example_ids = (np.concatenate([one[name] for one in read]) for name in ("influences", "example_ids"))
  influences = influences[~np.asarray(is_held_back(example_ids, 0.2))]
  assert record.influences.total == record.diagnosis.num_examples == record.diagnosis.num_scored == len(influences)
  assert record.diagnosis.examples[0].influence == influences.min()
  assert record.diagnosis.slots and record.diagnosis.slots[0].influence < 0
  places = np.searchsorted(record.influences.edges, 0.0)
  assert sum(record.influences.counts[places:]) == pytest.approx((influences >= record.influences.edges[places]).sum())
  assert set(record.coverage) == set(workshop.spec.names)
  assert all(0 < share <= 1 for share in record.coverage.values())
  made = dataclasses.replace(second, verdict=workshop.judge(2, dataclasses.replace(second, scores=None)))
  assert record_of(made).influences is None and record_of(made).coverage == record.coverage


def test_the_page_is_an_artifact_of_its_own(workshop, first):
  names = ("examples", "memory", "start", "parent", "scores")
  made = workshop.stage("FidelityEvaluator", 1, {name: getattr(first, name) for name in names},
                        {"verdict": tfx_components.FidelityReport, "report": tfx_components.HtmlPage})
  assert files.read_bytes(made["report"].uri) == files.read_bytes(f"{made['verdict'].uri}/report.html")


def test_the_report_loads_nothing(second):
  page = files.read_bytes(f"{second.verdict.uri}/report.html").decode()
  assert "Stage of span 2" in page and "previous" in page
  assert not re.search(r"https?:|src=|@import|url\(", page)
