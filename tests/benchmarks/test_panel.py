"""The benchmark's panel: all architectures, enough variants, and fields found by pattern."""

import dataclasses

import pytest

from benchmarks.fidelity.panel import (
  LARGE_MEMBERS,
  entity_fields,
  make_panel,
  matching_fields,
  short_name,
  with_cost_classes,
)
from benchmarks.fidelity.trained import PanelMember
from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.models import PANEL, build_model

SPEC = FeatureSpec((Field("user", "user", hash_ids=20_000), Field("item", "item", hash_ids=50),
                    Field("age_1", "age_1", hash_ids=4), Field("age_2", "age_2", hash_ids=4)), Label("click"))


def test_entities_are_fields_with_a_k_of_their_own_or_else_very_many_ids():
  assert entity_fields(SPEC) == ("user",)
  item = dataclasses.replace(SPEC.fields[1], ids_per_slot=32)
  assert entity_fields(dataclasses.replace(SPEC, fields=(SPEC.fields[0], item))) == ("item",)


def test_panel_has_all_architectures_and_at_least_eight_variants_that_can_be_built():
  panel = make_panel(SPEC, ("dnn", "fm(embedding_dim=4)"), ("age_1", "age_2"))
  assert tuple(member.name for member in panel if not member.variant) == PANEL
  assert len(PANEL) >= 10 and sum(member.variant for member in panel) >= 8
  assert len({member.name for member in panel}) == len(panel)
  assert {member.name for member in panel if member.used_as_proxy and not member.variant} == {"dnn", "fm"}
  for member in panel:
    assert member.used_as_proxy == member.name.startswith(("dnn", "fm"))
    if member.variant:
      build_model(member.name, SPEC)


def test_variants_without_fields_are_left_out_where_there_are_no_such_fields():
  narrow = dataclasses.replace(SPEC, fields=SPEC.fields[1:])
  assert not [member for member in make_panel(narrow, ("dnn",), ()) if "without" in member.name]


def test_patterns_name_fields_in_the_order_of_the_spec():
  assert matching_fields(SPEC, ("age_*", "item")) == ("item", "age_1", "age_2")
  with pytest.raises(ConfigError, match="'shoe.*user, item, age_1, age_2"):
    matching_fields(SPEC, ("age_*", "shoe*"))


def test_long_lists_of_fields_are_named_by_what_they_are():
  group = ("age_1", "age_2")
  assert short_name("dnn(without=age_1+age_2)", SPEC, group) == "dnn(without group)"
  assert short_name("lr(without=user)", SPEC, group) == "lr(without ids)"
  assert short_name("lr", SPEC, ()) == "lr"


def test_large_members_come_last_and_can_be_built():
  panel = make_panel(SPEC, ("dnn",), (), with_large=True)
  assert panel[:-6] == make_panel(SPEC, ("dnn",), ())
  assert tuple(member.name for member in panel[-6:]) == LARGE_MEMBERS
  assert all(member.large and member.variant for member in panel[-6:])
  assert [member.used_as_proxy for member in panel[-6:]] == [name.startswith("dnn") for name in LARGE_MEMBERS]
  for member in panel[-6:]:
    build_model(member.name, SPEC)


def test_a_class_of_cost_is_the_nearest_ratio_to_the_mean_proxy():
  flops = {"lr": 1.0, "dnn": 50.0, "fm": 150.0, "pnn": 225.0, "wide": 1118.0, "wider": 1119.0}
  members = [PanelMember(name, False, False) for name in flops]
  classes = {one.name: one.cost_class for one in with_cost_classes(members, flops, ("dnn", "fm", "elsewhere:Model"))}
  # In units of 100: 2.25 and 11.19 lie beyond the geometric means of 1, 5 and 25; 11.18 does not.
  assert classes == {"lr": 1, "dnn": 1, "fm": 1, "pnn": 5, "wide": 5, "wider": 25}
  assert {one.cost_class for one in with_cost_classes(members, flops, ("dlrm",))} == {0}
