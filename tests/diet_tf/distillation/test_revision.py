import dataclasses

import numpy as np
import pytest

from diet_tf.distillation import revision as revision_module
from diet_tf.distillation.gate import REFINED, START
from diet_tf.distillation.revision import JUDGED_SHARE, revise
from diet_tf.errors import ConfigError, DataError
from tests.diet_tf.small_draft import draft, stage


def test_all_slots_of_a_memory_are_refined_on_the_rows_that_it_carries():
  outcome, teacher = draft()
  memory, steps = outcome.memory, []
  revision = revise(stage(outer_steps=4), memory, outcome.carried, teacher,
                    progress=lambda name, done, total: steps.append((name, done, total)))
  made = revision.memory
  assert len(revision.losses) == 4 and ("refinement (outer steps)", 4, 4) in steps
  np.testing.assert_array_equal(made.slots.slot_ids, memory.slots.slot_ids)
  assert (made.slots.labels != memory.slots.labels).mean() > 0.9
  assert made.recipe.learning_rates != memory.recipe.learning_rates
  before, after = memory.manifest, made.manifest
  assert (after.span, after.num_examples_seen, after.lineage, after.budget) == (
      before.span, before.num_examples_seen, before.lineage, before.budget)
  # It was never refined, and now it is.
  assert before.last_refinement["span"] is None and after.last_refinement is None
  assert set(revision.verdict.losses) == {REFINED, START} and revision.is_better == (
      revision.verdict.chosen == REFINED)


def test_it_is_judged_on_rows_that_outer_batches_do_not_draw(monkeypatch):
  outcome, teacher = draft()
  given = {}
  plain = revision_module.refine_start
  monkeypatch.setattr(revision_module, "refine_start", lambda *args, **kwargs: given.update(
      carried=args[3]) or plain(*args, **kwargs))
  revision = revise(stage(outer_steps=1), outcome.memory, outcome.carried, teacher)
  learned_from = set(given["carried"].rows.example_ids.tolist())
  assert revision.num_judged + len(learned_from) == len(outcome.carried)
  assert len(outcome.carried) / JUDGED_SHARE == pytest.approx(revision.num_judged, rel=0.35)
  assert given["carried"].num_rows == outcome.carried.num_rows


def test_without_outer_steps_or_rows_there_is_nothing_to_do():
  outcome, teacher = draft()
  with pytest.raises(ConfigError, match="at least one outer step"):
    revise(stage(), outcome.memory, outcome.carried, teacher)
  empty = dataclasses.replace(outcome.carried, rows=outcome.carried.rows.take(slice(0)))
  with pytest.raises(DataError, match="its commit carries rows"):
    revise(stage(outer_steps=1), outcome.memory, empty, teacher)
