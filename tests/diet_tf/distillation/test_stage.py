"""One stage after another: places filled within the budget, provenance, and nothing read of the span before."""

import dataclasses
import shutil

import numpy as np
import pytest

from diet_tf import metrics
from diet_tf.distillation.addressing import Action, AddressingSettings
from diet_tf.distillation.budget import BudgetSettings
from diet_tf.distillation.gate import GateSettings
from diet_tf.distillation.influence import InfluenceSettings
from diet_tf.distillation.refinement import DistillSettings, Refined, replay
from diet_tf.distillation.scoring import SpanScorer, score_shards, scored_stream
from diet_tf.distillation.settings import Stage, StageSettings, stage_seed
from diet_tf.distillation.span import ScoredSpan, Span
from diet_tf.distillation.squash import SquashSettings
from diet_tf.distillation.stage import carry, labelled, learning_curve, refine_start, replayed_examples, run_stage
from diet_tf.distillation.start import Start, begin, new_slots, num_slots_within
from diet_tf.distillation.teacher import Teacher
from diet_tf.errors import ConfigError, DataError
from diet_tf.log.examples import example_dataset, is_held_back
from diet_tf.log.hashing import mix
from diet_tf.memory.last_refinement import LastRefinement
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.privacy import PrivacySettings
from diet_tf.memory.slots import Slots
from diet_tf.store.memories import load_memory
from diet_tf.training.inner_settings import InnerSettings
from tests.diet_tf import small_sets
from tests.diet_tf.small_log import SPEC, TEACHER, TINY, draw, scored, write_shards

NUM_ROWS, HOLDBACK, BATCH = 600, 0.1, 8
BUDGET = BudgetSettings(fraction=0.06)  # 36 slots after one span, 72 after two: 32 and 72 in whole batches.
ADDRESSING = AddressingSettings(update_fraction=0.5, replace_fraction=0.25, at_cap="keep")
SQUASH = SquashSettings(ids_per_slot=3, num_components=3, num_iterations=4, sample_rows_per_slot=8)
DISTILL = DistillSettings(inner=InnerSettings(batch_size=BATCH, epochs=1), proxies=("lr",), outer_steps=3,
                          outer_batch_size=32, num_initialisations=1, replay_rows=64, max_pool_rows=256,
                          refine_growth=0.0)
SETTINGS = StageSettings(budget=BUDGET, addressing=ADDRESSING, squash=SQUASH, distill=DISTILL)


@dataclasses.dataclass
class Left:
  """What one stage left behind."""

  start: Start
  refined: Refined
  memory: Memory
  influences: np.ndarray


def in_one_pass(examples):
  return lambda: [examples]


def run_span(folder, span, teacher_from, memory):
  """One span as an executor would run it, from saved files alone; then its shards are deleted."""
  columns = draw(NUM_ROWS, seed=span)
  shards = write_shards(folder / "log", columns, 2)
  teacher = Teacher.load(teacher_from, SPEC, TEACHER) if teacher_from else Teacher(SPEC, TEACHER, seed=1)
  num_held = int(is_held_back(columns[2], HOLDBACK).sum())
  sets = {which: example_dataset(shards, SPEC, TEACHER.batch_size, holdback=which, holdback_fraction=HOLDBACK)
          for which in ("without", "only")}
  teacher.advance(sets["without"], NUM_ROWS - num_held)
  scorer = SpanScorer(teacher, InfluenceSettings(64, HOLDBACK))
  scorer.fit_reference(sets["only"], memory.slots if memory else None)
  score_shards(scorer, shards, SPEC, str(folder / "scores"))
  influences = scorer.score_slots(memory.slots) if memory else np.zeros(0, np.float32)
  rows = scored_stream(shards, str(folder / "scores"), SPEC, HOLDBACK)
  stage = Stage(SPEC, SETTINGS, 0, span)
  start = begin(stage, memory, ScoredSpan(rows, influences, NUM_ROWS), teacher)
  refined = refine_start(stage, start, memory, carry(stage, memory, None, rows), teacher)
  teacher.save(str(folder / "teacher"))
  made = Memory.create(refined.slots, SPEC, refined.recipe, span=span, num_examples_seen=start.num_examples_seen,
                       budget=dataclasses.asdict(BUDGET))
  save_memory(str(folder / "memory"), made)
  shutil.rmtree(folder / "log")
  shutil.rmtree(folder / "scores")
  return Left(start, refined, load_memory(str(folder / "memory")), influences)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def first(folder):
  return run_span(folder / "1", 1, None, None)


@pytest.fixture(scope="module")
def second(folder, first):
  return run_span(folder / "2", 2, str(folder / "1" / "teacher"), first.memory)


@pytest.fixture(scope="module")
def teacher(folder, first):
  return Teacher.load(str(folder / "1" / "teacher"), SPEC, TEACHER)


def test_a_first_stage_fills_whole_batches_within_the_budget(first):
  slots = first.start.slots
  assert len(slots) == 32 and first.start.counts == {"freeze": 0, "update": 0, "replace": 0, "add": 32}
  assert (first.start.actions == Action.ADD).all()
  assert set(slots.slot_ids) <= set(range(36))
  assert set(slots.born_spans) == set(slots.updated_spans) == {1}
  np.testing.assert_allclose(slots.weights.sum(2), 1, rtol=1e-5)
  np.testing.assert_allclose(slots.sample_weights.mean(), 1, rtol=1e-5)
  assert first.start.num_examples_seen == NUM_ROWS


def test_a_second_stage_runs_on_the_first_ones_memory_alone(folder, first, second):
  """The first span's shards and scores were deleted before it began."""
  assert not (folder / "1" / "log").exists()
  assert len(second.start.slots) == 72
  assert second.start.num_examples_seen == second.memory.manifest.num_examples_seen == 2 * NUM_ROWS
  assert len(second.influences) == len(first.memory)
  assert np.isfinite(second.refined.losses).all() and len(second.refined.losses) == DISTILL.outer_steps


def test_counts_add_up(first, second):
  counts, actions = second.start.counts, second.start.actions
  assert counts["freeze"] + counts["update"] + counts["replace"] == len(first.memory)
  assert counts["replace"] == round(0.25 * len(first.memory)) and counts["update"] == 12
  assert {name: int((actions == Action[name.upper()]).sum()) for name in ("freeze", "update", "add")} == {
      name: counts[name] for name in ("freeze", "update", "add")}
  assert counts["freeze"] + counts["update"] + counts["add"] == len(second.start.slots)


def test_old_slots_keep_their_order_and_new_ones_follow(first, second):
  old = [slot for slot in first.memory.slots.slot_ids if slot in set(second.start.slots.slot_ids)]
  assert second.start.slots.slot_ids[:len(old)].tolist() == old
  assert (second.start.actions[len(old):] == Action.ADD).all()
  new = second.start.slots.slot_ids[len(old):]
  assert new.tolist() != sorted(new)


def test_without_replay_the_outer_loss_is_of_the_new_span_alone(first, second, teacher, monkeypatch):
  given = {}
  monkeypatch.setattr("diet_tf.distillation.stage.refine",
                      lambda *args, **kwargs: given.update(old=args[3], old_share=args[4]))
  carried = carry(Stage(SPEC, SETTINGS, 0, 2), first.memory, None, in_one_pass(scored(50)))
  without = dataclasses.replace(SETTINGS, distill=dataclasses.replace(DISTILL, replay_rows=0))
  refine_start(Stage(SPEC, without, 0, 2), second.start, first.memory, carried, teacher)
  assert given == {"old": None, "old_share": 0.0}
  refine_start(Stage(SPEC, SETTINGS, 0, 2), second.start, first.memory, carried, teacher)
  assert len(given["old"]) == DISTILL.replay_rows and given["old_share"] == 0.5


def test_random_clusters_need_no_teacher_and_hold_the_mean_label(teacher):
  examples = scored(400)
  slots = new_slots(in_one_pass(examples), None, 4, SPEC, dataclasses.replace(SQUASH, clusters="random"), span=1,
                    first_slot_id=0, seed=0)
  assert len(slots) == 4
  mean = (1 / (1 + np.exp(-examples.teacher_logits))).mean()
  np.testing.assert_allclose(np.average(slots.labels, weights=slots.sample_weights), mean, rtol=1e-5)


def test_provenance_says_when_a_slot_was_born_and_last_updated(first, second):
  start = second.start
  born = {Action.FREEZE: 1, Action.UPDATE: 1, Action.ADD: 2}
  updated = {Action.FREEZE: 1, Action.UPDATE: 2, Action.ADD: 2}
  assert start.slots.born_spans.tolist() == [born[Action(one)] for one in start.actions]
  assert start.slots.updated_spans.tolist() == [updated[Action(one)] for one in start.actions]
  added = start.actions == Action.ADD
  assert start.slots.slot_ids[added].min() > first.memory.slots.slot_ids.max()
  assert set(start.slots.slot_ids[~added]) < set(first.memory.slots.slot_ids)
  assert len(set(start.slots.slot_ids)) == len(start.slots)


def test_kept_slots_carry_their_new_influence(first, second):
  expected = dict(zip(first.memory.slots.slot_ids.tolist(), second.influences.tolist(), strict=True))
  slots, kept = second.start.slots, second.start.actions != Action.ADD
  assert [expected[one] for one in slots.slot_ids[kept].tolist()] == slots.influences[kept].tolist()


def test_the_order_of_new_slots_is_a_function_of_slot_ids_and_seed(first, second):
  for stage, span in ((first, 1), (second, 2)):
    ids = stage.start.slots.slot_ids[stage.start.actions == Action.ADD]
    np.testing.assert_array_equal(ids, ids[np.argsort(mix(ids, stage_seed(0, span)))])
    np.testing.assert_array_equal(stage.refined.slots.slot_ids, stage.start.slots.slot_ids)


def test_frozen_slots_stay_as_they_were_in_the_memory_before(first, second):
  old, new = first.memory.slots, second.refined.slots
  frozen = np.flatnonzero(second.start.actions == Action.FREEZE)
  assert len(frozen) == 12
  rows = {slot_id: row for row, slot_id in enumerate(old.slot_ids.tolist())}
  before = old.take(np.array([rows[one] for one in new.slot_ids[frozen].tolist()]))
  for name in ("ids", "weights", "labels"):
    np.testing.assert_array_equal(getattr(new, name)[frozen], getattr(before, name), err_msg=name)
  moved = np.flatnonzero(second.start.actions != Action.FREEZE)
  assert (new.labels[moved] != second.start.slots.labels[moved]).mean() > 0.9


def test_the_recipe_goes_on_from_the_one_before(first, second):
  assert len(first.start.recipe.step_multipliers) == 4 and len(second.start.recipe.step_multipliers) == 9
  assert second.start.recipe.learning_rates == first.memory.recipe.learning_rates
  assert second.start.recipe.learning_rates != first.start.recipe.learning_rates


def begin_with(previous, rows, num_examples, teacher, *, max_slots=32):
  influences = np.arange(len(previous.slots), dtype=np.float32) if previous else np.zeros(0, np.float32)
  settings = dataclasses.replace(SETTINGS, budget=BudgetSettings(fraction=1.0, max_slots=max_slots))
  return begin(Stage(SPEC, settings, 3, 5), previous, ScoredSpan(rows, influences, num_examples), teacher)


def test_the_start_does_not_depend_on_the_shards_of_a_pass(teacher):
  examples = scored(300)
  starts = [begin_with(None, lambda size=size: (examples.take(np.arange(first, min(first + size, 300)))
                                                for first in range(0, 300, size)), 300, teacher)
            for size in (300, 70)]
  for name in Slots.DTYPES:
    np.testing.assert_array_equal(getattr(starts[0].slots, name), getattr(starts[1].slots, name), err_msg=name)


def few_rows(count):
  """A span of that many distinct rows, ten of each."""
  return scored(count).take(np.repeat(np.arange(count), 10))


def with_new_example_ids(examples):
  return examples.with_columns(example_ids=np.arange(len(examples)))


@pytest.mark.parametrize("num_distinct", [1, 5])
def test_replaced_slots_stay_where_the_span_has_too_few_clusters_for_a_batch(first, teacher, num_distinct):
  examples = with_new_example_ids(few_rows(num_distinct))
  start = begin_with(first.memory, lambda: iter([examples]), len(examples), teacher)
  # 8 of 32 slots give way, but there are clusters for fewer: the rest of their places keeps its slots.
  assert len(start.slots) == 32
  assert start.counts["add"] == num_distinct and start.counts["replace"] == num_distinct
  assert start.counts["freeze"] + start.counts["update"] == 32 - num_distinct
  # Influence grows with the row here, and of the replaced slots those of most influence stayed.
  stayed = set(start.slots.slot_ids) & set(first.memory.slots.slot_ids)
  gone = [row for row, one in enumerate(first.memory.slots.slot_ids) if one not in stayed]
  assert max(gone) < 20


def test_a_span_of_too_few_clusters_cannot_begin_a_memory(teacher):
  examples = with_new_example_ids(few_rows(5))
  with pytest.raises(DataError, match="5 slots, batch size 8"):
    begin_with(None, lambda: iter([examples]), len(examples), teacher)


def test_the_clusters_of_least_mass_are_left_out(teacher):
  examples = with_new_example_ids(few_rows(11))
  light = examples.take(slice(9, None))
  start = begin_with(None, lambda: iter([light]), len(light), teacher)
  # Eleven clusters make one batch of eight; the one with a single row is among those left out.
  assert len(start.slots) == 8
  assert len(set(start.slots.sample_weights.tolist())) == 1


def test_an_older_memory_beyond_the_budget_shrinks(first, teacher):
  start = begin_with(first.memory, lambda: iter([scored(100)]), 100, teacher, max_slots=20)
  assert len(start.slots) == 16
  assert start.counts == {"freeze": 8, "update": 8, "replace": 16, "add": 0}


@pytest.mark.parametrize(("follows", "moves"), [(True, True), (True, False), (False, False)])
def test_labels_of_old_slots_go_with_the_teacher_until_they_are_refined(first, teacher, follows, moves):
  """Also of frozen slots; ids and their weights stay."""
  old = first.memory.slots
  note = LastRefinement(0, 32, NUM_ROWS, 16) if moves else None
  memory = Memory.create(old, SPEC, first.memory.recipe, span=1, num_examples_seen=NUM_ROWS, budget={},
                         last_refinement=note)
  settings = dataclasses.replace(SETTINGS, addressing=dataclasses.replace(ADDRESSING, labels_follow_teacher=follows),
                                 distill=dataclasses.replace(DISTILL, refine_growth=10.0))
  given = ScoredSpan(in_one_pass(scored(160)), np.zeros(32, np.float32), 160, np.full(32, 0.5, np.float32))
  start = begin(Stage(SPEC, settings, 3, 5), memory, given, teacher)
  row_of = {slot_id: row for row, slot_id in enumerate(old.slot_ids.tolist())}
  kept = np.flatnonzero(start.actions != Action.ADD)
  before = old.take(np.array([row_of[one] for one in start.slots.slot_ids[kept].tolist()]))
  odds = before.labels / (1 - before.labels) * (np.exp(0.5) if moves else 1)
  np.testing.assert_allclose(start.slots.labels[kept], odds / (1 + odds), rtol=1e-5)
  np.testing.assert_array_equal(start.slots.weights[kept], before.weights)
  assert len(kept) and {Action.FREEZE} == set(start.actions[kept].tolist())


def test_a_budget_of_less_than_a_batch_is_refused():
  assert num_slots_within(BudgetSettings(fraction=0.01), 2500, InnerSettings(8)) == 24
  with pytest.raises(DataError, match="batch of 8 slots, which takes 750 examples.*700 examples, which give 7 slots"):
    num_slots_within(BudgetSettings(fraction=0.01), 700, InnerSettings(8))


def grown_settings(max_slots):
  """At 16 epochs batches double where two of 64 slots are 32 steps: at 128 slots."""
  return dataclasses.replace(SETTINGS, budget=BudgetSettings(fraction=1.0, max_slots=max_slots),
                             addressing=AddressingSettings(at_cap="keep"),
                             distill=dataclasses.replace(DISTILL, inner=InnerSettings(epochs=16)))


def before_it_grows(teacher, multipliers):
  """A memory of three batches of 32."""
  stage = Stage(SPEC, grown_settings(max_slots=110), 3, 5)
  start = begin(stage, None, ScoredSpan(in_one_pass(scored(300)), np.zeros(0, np.float32), 300), teacher)
  assert len(start.slots) == 96 and start.recipe.batch_size == 32 and len(start.recipe.step_multipliers) == 48
  return stage.memory(start.slots, dataclasses.replace(start.recipe, step_multipliers=multipliers), None, 300)


def test_a_memory_whose_batches_double_keeps_its_schedule_and_its_slots(teacher):
  memory = before_it_grows(teacher, tuple(np.linspace(2, 1, 48)))
  influences = np.arange(96, dtype=np.float32)
  start = begin(Stage(SPEC, grown_settings(max_slots=180), 3, 6), memory,
                ScoredSpan(in_one_pass(scored(300, seed=2)), influences, 300), teacher)
  assert len(start.slots) == 128 and start.counts["add"] == 32 and start.counts["replace"] == 0
  assert start.recipe.batch_size == 64
  np.testing.assert_allclose(start.recipe.step_multipliers, np.linspace(2, 1, 32), rtol=1e-6)
  assert start.recipe.learning_rates == memory.recipe.learning_rates
  for name in ("ids", "weights", "labels", "slot_ids"):
    np.testing.assert_array_equal(getattr(start.slots, name)[:96], getattr(memory.slots, name), err_msg=name)


def test_old_slots_that_fill_no_larger_batch_give_way_by_influence(teacher):
  """Five batches of 32 under a batch size that was set; with the default one, batches of 64, and no new clusters."""
  memory = before_it_grows(teacher, ())
  slots = Slots.concatenate([memory.slots, memory.slots.take(np.arange(64))])
  memory = dataclasses.replace(memory, slots=slots.replace(slot_ids=np.arange(160)))
  examples = with_new_example_ids(few_rows(5))
  influences = np.arange(160, dtype=np.float32)[::-1].copy()
  start = begin(Stage(SPEC, grown_settings(max_slots=192), 3, 6), memory,
                ScoredSpan(in_one_pass(examples), influences, len(examples)), teacher)
  assert len(start.slots) == 128 and start.counts["replace"] == 32 and start.counts["add"] == 0
  assert start.slots.slot_ids.tolist() == list(range(128))


def test_outer_examples_are_a_bounded_sample_with_the_teachers_probabilities(teacher):
  examples = scored(400)
  carried = carry(Stage(SPEC, SETTINGS, 0, 1), None, None, in_one_pass(examples))
  assert len(carried) == DISTILL.max_pool_rows == 256 and carried.num_rows == 400
  rows = labelled(carried.rows.ids, teacher)
  np.testing.assert_allclose(rows.labels, 1 / (1 + np.exp(-teacher.logits(carried.rows.ids).numpy())), rtol=1e-5)


def test_replayed_rows_are_made_of_the_slots_ids_and_labelled_by_the_teacher(first, teacher):
  rows = replayed_examples(first.memory, teacher, 40, seed=2, up_to_span=1)
  for field in range(3):
    assert set(rows.ids[:, field]) <= set(first.memory.slots.ids[:, field][first.memory.slots.weights[:, field] > 0])
  np.testing.assert_allclose(rows.labels, 1 / (1 + np.exp(-teacher.logits(rows.ids).numpy())), rtol=1e-5)


def test_replayed_rows_are_of_the_slots_up_to_the_last_refinement_alone(second, teacher):
  old = second.memory.slots.take(np.flatnonzero(second.memory.slots.born_spans == 1))
  rows = replayed_examples(second.memory, teacher, 40, seed=2, up_to_span=1)
  np.testing.assert_array_equal(rows.ids, replay(old, 40, 2))
  assert replayed_examples(second.memory, teacher, 40, seed=2, up_to_span=0) is None


def test_old_slots_keep_the_rule_that_they_were_made_under(first, teacher):
  examples = scored(NUM_ROWS, seed=5)
  influences = first.influences if len(first.influences) else np.zeros(len(first.memory), np.float32)
  ruled = dataclasses.replace(SETTINGS, privacy=PrivacySettings("user", 3))
  start = begin(Stage(SPEC, ruled, 0, 2), first.memory, ScoredSpan(in_one_pass(examples), influences, NUM_ROWS),
                teacher)
  new = start.actions == Action.ADD
  assert new.any() and not start.slots.ids[new, 0].any() and start.slots.ids[~new, 0].any()


def test_a_stage_is_refused_where_the_user_field_is_none_of_the_fields(teacher):
  with pytest.raises(ConfigError, match="one of the fields: user, item, hour"):
    new_slots(in_one_pass(scored(60)), None, 4, SPEC, dataclasses.replace(SQUASH, clusters="random"), span=1,
              first_slot_id=0, seed=1, privacy=PrivacySettings("member", 3))


@pytest.mark.parametrize(("rule", "expected"), [("removal", set(range(8))), ("oldest", {30, 31, *range(6)})])
def test_at_a_cap_a_span_gets_its_share_of_the_places(first, teacher, monkeypatch, rule, expected):
  """8 of 32 slots by 5 % of 160 rows, in the place of those that the rule names."""
  seen = {}

  def costs(slots, rows, recipe, spec, members, *, seed):
    seen.update(slots=slots, rows=rows, recipe=recipe, members=members)
    return np.arange(len(slots), dtype=np.float64)

  monkeypatch.setattr("diet_tf.distillation.start.removal_costs", costs)
  old = first.memory.slots
  born = np.where(np.arange(32) < 30, 1, 0)
  previous = dataclasses.replace(first.memory, slots=old.replace(born_spans=born, slot_ids=np.arange(32)))
  settings = dataclasses.replace(SETTINGS, budget=BudgetSettings(fraction=0.05, max_slots=32),
                                 addressing=AddressingSettings(at_cap=rule), gate=GateSettings(members=("lr",)))
  start = begin(Stage(SPEC, settings, 3, 5), previous, ScoredSpan(in_one_pass(scored(160)), np.zeros(32, np.float32),
                                                                  160), teacher)
  assert start.counts == {"freeze": 0, "update": 24, "replace": 8, "add": 8}
  assert set(range(32)) - set(start.slots.slot_ids) == expected
  if rule == "removal":
    # Old and new slots were trained on together: 40 of them, five whole batches, old ones first.
    assert seen["slots"].slot_ids[:32].tolist() == list(range(32)) and len(seen["slots"]) == 40
    assert seen["members"] == ("lr",) and len(seen["recipe"].step_multipliers) == 5
    assert 0 < seen["rows"].labels.min() and seen["rows"].labels.max() < 1
  else:
    assert not seen


def test_by_default_a_stage_at_its_cap_replaces_what_is_missed_least(first, teacher):
  settings = dataclasses.replace(SETTINGS, budget=BudgetSettings(fraction=0.05, max_slots=32),
                                 addressing=AddressingSettings(), gate=GateSettings(members=("lr",)))
  given = ScoredSpan(in_one_pass(scored(160)), np.zeros(32, np.float32), 160)
  starts = [begin(Stage(SPEC, settings, 3, 5), first.memory, given, teacher) for _ in range(2)]
  assert starts[0].counts == {"freeze": 0, "update": 24, "replace": 8, "add": 8}
  assert starts[0].slots.slot_ids.tolist() == starts[1].slots.slot_ids.tolist()


def test_a_whole_stage_goes_on_from_the_one_before():
  settings = dataclasses.replace(SETTINGS, teacher=TEACHER, influence=InfluenceSettings(64, HOLDBACK),
                                 gate=GateSettings(members=("lr",), num_seeds=1))
  teacher, memories = Teacher(SPEC, TEACHER, seed=1), [None]
  for number in (1, 2):
    outcome = run_stage(memories[-1], Span.of_arrays(number, SPEC, *draw(NUM_ROWS, seed=number)), teacher, settings)
    assert set(outcome.seconds) == set(outcome.flops) == {"teacher and scores", "addressing", "refinement", "gate"}
    assert min(outcome.flops.values()) > 0
    assert outcome.chosen in outcome.verdict.losses and outcome.memory.manifest.span == number
    memories.append(outcome.memory)
  assert [len(memory) for memory in memories[1:]] == [32, 72]
  assert memories[2].manifest.num_examples_seen == teacher.num_examples_seen == 2 * NUM_ROWS
  # Neither memory was saved, so that there is no digest to name.
  assert memories[2].manifest.lineage == ()
  with pytest.raises(DataError, match="span 2.*has seen span 2"):
    run_stage(memories[2], Span.of_arrays(2, SPEC, *draw(NUM_ROWS, seed=3)), teacher, settings)


@pytest.fixture(scope="module")
def grown():
  """The outcomes of five spans whose memory is refined once it has grown by three quarters."""
  settings = dataclasses.replace(
      SETTINGS, teacher=TEACHER, influence=InfluenceSettings(64, HOLDBACK), addressing=AddressingSettings(),
      gate=GateSettings(members=("lr",), num_seeds=1, z=1000.0),
      distill=dataclasses.replace(DISTILL, refine_growth=0.75))
  teacher, outcomes = Teacher(SPEC, TEACHER, seed=1), []
  for number in range(1, 6):
    span = Span.of_arrays(number, SPEC, *draw(NUM_ROWS, seed=number))
    before = (outcomes[-1].memory, outcomes[-1].carried) if outcomes else (None, None)
    outcomes.append(run_stage(before[0], span, teacher, settings, carried=before[1]))
  return outcomes


def test_a_memory_is_refined_once_it_has_grown_by_the_share(grown):
  # 40 slots are 1.25 of 32; 32 and then 40 more are 0.44 and 1 of 72; 32 are 0.22 of 144.
  assert [len(outcome.memory) for outcome in grown] == [32, 72, 104, 144, 176]
  assert [outcome.light is None for outcome in grown] == [True, True, False, True, False]
  assert grown[2].light == ("32 slots were added to the 72 that the memory had when it was last refined, at span 2: "
                            "44%, less than 75%.")
  notes = [outcome.memory.manifest.last_refinement for outcome in grown]
  assert notes[:2] == [None, None] and notes[3] is None
  assert notes[2] == {"span": 2, "num_slots": 72, "num_examples_seen": 2 * NUM_ROWS, "num_added": 32}
  assert notes[4]["span"] == 4


def test_a_light_stage_takes_in_its_slots_as_they_were_squashed_and_moves_none(grown):
  before, light = grown[1].memory, grown[2]
  assert light.actions == {"freeze": 72, "update": 0, "replace": 0, "add": 32}
  assert light.chosen == "start" and not light.verdict.losses
  kept = light.memory.slots.take(np.arange(72))
  for name in ("slot_ids", "ids", "weights", "labels", "updated_spans"):
    np.testing.assert_array_equal(getattr(kept, name), getattr(before.slots, name), err_msg=name)
  assert light.memory.recipe.learning_rates == before.recipe.learning_rates


def test_rows_are_carried_up_to_a_refinement(grown):
  held = [int(is_held_back(draw(NUM_ROWS, seed=number)[2], HOLDBACK).sum()) for number in range(1, 6)]
  rows = [NUM_ROWS - count for count in held]
  assert [(outcome.carried.after_span, outcome.carried.num_examples_before, outcome.carried.num_rows)
          for outcome in grown] == [
      (None, 0, rows[0]), (1, 600, rows[1]), (2, 1200, rows[2]), (2, 1200, rows[2] + rows[3]), (4, 2400, rows[4])]
  # Of the third and fourth span together, that refinement drew from rows of both.
  ids = set(grown[3].carried.rows.example_ids.tolist())
  for number in (3, 4):
    assert ids & set(draw(NUM_ROWS, seed=number)[2].tolist())


def test_a_refinement_moves_what_light_stages_brought_also_where_addressing_freezes(first, second, teacher):
  """Slots of the second span, which no stage has moved, are updated; by the rule alone all would be frozen."""
  note = LastRefinement(1, 32, NUM_ROWS, 40)
  memory = Memory.create(second.start.slots, SPEC, second.start.recipe, span=2, num_examples_seen=2 * NUM_ROWS,
                         budget={}, last_refinement=note)
  settings = dataclasses.replace(SETTINGS, addressing=AddressingSettings(update_fraction=0.0),
                                 distill=dataclasses.replace(DISTILL, refine_growth=.5))
  start = begin(Stage(SPEC, settings, 0, 3), memory,
                ScoredSpan(in_one_pass(scored(NUM_ROWS, seed=9)), np.zeros(72, np.float32), NUM_ROWS), teacher)
  old = start.slots.born_spans < 3
  assert start.growth.light is None and old.sum() == 72
  assert ((start.actions[old] == Action.UPDATE) == (start.slots.born_spans[old] == 2)).all()


@pytest.mark.parametrize(("num_rows", "light"), [(255, True), (270, False)])
def test_at_the_cap_a_memory_is_refined_once_its_rows_are_worth_the_share(first, teacher, num_rows, light):
  """Nothing is replaced, so that no slot is added: 16 of the 32 would be, of 270 rows at 6 %."""
  settings = dataclasses.replace(SETTINGS, budget=BudgetSettings(fraction=0.06, max_slots=32),
                                 addressing=AddressingSettings(at_cap="keep"),
                                 distill=dataclasses.replace(DISTILL, refine_growth=0.5))
  rows = in_one_pass(scored(num_rows, seed=9))
  start = begin(Stage(SPEC, settings, 0, 2), first.memory, ScoredSpan(rows, np.zeros(32, np.float32), num_rows),
                teacher)
  assert start.counts["add"] == 0 and (start.growth.light is not None) is light
  assert start.growth.unrefined.num_added == round(0.06 * num_rows)
  assert start.counts["update"] == (0 if light else 32)


def test_no_rows_are_carried_from_span_to_span_under_a_rule_on_users(grown):
  ruled = dataclasses.replace(SETTINGS, privacy=PrivacySettings("user", 3))
  carried = carry(Stage(SPEC, ruled, 0, 4), grown[2].memory, grown[2].carried, in_one_pass(scored(50)))
  assert (len(carried), carried.num_rows, carried.after_span) == (50, 50, 3)


@pytest.mark.parametrize("key", ["distill.proxies", "gate.members"])
def test_a_model_that_cannot_be_trained_again_is_refused_before_the_teacher_learns(key):
  member = "tests.diet_tf.training.test_replayable:User(act=drawn)"
  changed = {"distill.proxies": {"distill": dataclasses.replace(DISTILL, proxies=("lr", member))},
             "gate.members": {"gate": GateSettings(members=(member,))}}[key]
  teacher = Teacher(SPEC, TEACHER, seed=1)
  with pytest.raises(ConfigError, match=f"{key}: .*RandomStandardNormal in .*lambda") as refused:
    run_stage(None, Span.of_arrays(0, SPEC, *draw(NUM_ROWS)), teacher, dataclasses.replace(SETTINGS, **changed))
  assert teacher.num_examples_seen == 0
  assert "learning_rate" not in refused.value.remedy


def test_seeds_differ_by_span_and_run():
  seeds = [stage_seed(run, span) for run in range(10) for span in range(50)]
  assert len(set(seeds)) == 500 and 0 <= min(seeds) and max(seeds) < 2**31
  assert stage_seed(3, 7) == stage_seed(3, 7)


def test_the_learning_curve_is_a_mean_of_stretches(first):
  refined = dataclasses.replace(first.refined, losses=np.arange(6, dtype=np.float32))
  assert learning_curve(refined, 3) == [(2, 0.5), (4, 2.5), (6, 4.5)]
  assert learning_curve(dataclasses.replace(refined, losses=np.zeros(0, np.float32))) == []




def test_two_spans_with_sets_of_values():
  spec, memory, carried, kept = small_sets.SPEC, None, None, []
  settings = dataclasses.replace(SETTINGS, distill=dataclasses.replace(DISTILL, proxies=("lr", f"dnn({TINY})")),
                                 gate=GateSettings(members=("lr",), num_seeds=1), teacher=TEACHER)
  teacher = Teacher(spec, TEACHER, seed=1)
  for number in (1, 2):
    rows, labels, example_ids = small_sets.draw(NUM_ROWS, seed=number)
    outcome = run_stage(memory, Span.of_arrays(number, spec, rows, labels, example_ids), teacher, settings,
                        carried=carried)
    memory, carried = outcome.memory, outcome.carried
    kept.append(outcome)
  assert memory.slots.max_ids_per_field[1] == 3 and len(memory.slots) == 72
  assert kept[1].carried.rows.ids.shape[1] == kept[0].memory.scored_sample.ids.shape[1] == 9
  # A row of several genres is read: the teacher tells clicks of the next span from the others.
  rows, labels, _ = small_sets.draw(NUM_ROWS, seed=3)
  assert metrics.auc(labels, teacher.logits(rows).numpy()) > 0.65
  assert all(np.isfinite(list(outcome.verdict.losses.values())).all() for outcome in kept)
