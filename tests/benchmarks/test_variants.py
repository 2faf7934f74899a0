"""Ways of distilling: what their stages are made of, and which settings they change."""

import pytest

from benchmarks.fidelity.variants import MEMORY, Variant, ablations, from_scratch_variant, static_variant
from diet_tf.distillation.settings import StageSettings
from diet_tf.log.features import FeatureSpec, Field, Label

SPEC = FeatureSpec((Field("user", "user", hash_ids=50, ids_per_slot=32), Field("hour", "hour", hash_ids=24)),
                   Label("click"))


@pytest.mark.parametrize("stages, groups", [("stream", [[1], [2], [5]]), ("whole", [[1, 2, 5]]), ("last", [[5]])])
def test_stages_are_made_of_spans(stages, groups):
  assert Variant("any", stages).groups((1, 2, 5)) == groups


def test_the_memory_changes_nothing():
  assert MEMORY.settings(StageSettings()) == StageSettings() and MEMORY.spec(SPEC) is SPEC


def test_changes_reach_nested_settings_and_leave_the_others():
  settings = Variant("any", changes={"distill.inner.epochs": 7, "squash.num_components": 3}).settings(StageSettings())
  assert (settings.distill.inner.epochs, settings.squash.num_components) == (7, 3)
  assert settings.distill.outer_steps == StageSettings().distill.outer_steps


def test_one_k_for_all_fields_overrides_those_of_the_fields():
  variant = Variant("K", ids_per_slot=4)
  assert variant.spec(SPEC).ids_per_slot(variant.settings(StageSettings()).squash.ids_per_slot) == (4, 4)


def test_static_has_as_many_slots_of_the_newest_span_alone():
  budget = static_variant(704, 15_319).settings(StageSettings()).budget
  assert budget.num_slots(15_319) == 704
  assert static_variant(10, 5).settings(StageSettings()).budget.fraction == 1.0


def test_from_scratch_has_its_own_outer_steps():
  settings = from_scratch_variant(123, 10**6).settings(StageSettings())
  assert settings.distill.outer_steps == 123
  assert settings.distill.max_pool_rows == settings.squash.max_sample_rows == 10**6


def test_every_ablation_has_a_reference_before_it_and_equal_steps():
  found = ablations(50)
  assert len({variant.name for variant in found}) == len(found) >= 12
  seen = set()
  for variant in found:
    settings = variant.settings(StageSettings())
    assert settings.distill.outer_steps == 50
    assert variant.reference is None or variant.reference in seen
    if variant.reference is None:
      seen.add(variant.name)
    else:
      assert settings != StageSettings() or variant.ids_per_slot
      reference = next(one for one in found if one.name == variant.reference)
      assert variant.stages == reference.stages
