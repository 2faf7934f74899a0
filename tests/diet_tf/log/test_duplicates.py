import pytest

from diet_tf.log.duplicates import RULE_KEY, DuplicateRule
from diet_tf.log.settings import LogSettings

KEPT, DROPPED, KEYED = DuplicateRule(), DuplicateRule(drop_duplicates=True), DuplicateRule(("request_id",))


def settings(**values):
  return LogSettings("log-{SPAN}.csv", **values)


@pytest.mark.parametrize(("values", "rule"), [
    ({}, KEPT), ({"drop_duplicates": True}, DROPPED), ({"drop_duplicates": False}, KEPT),
    ({"unique": "request_id"}, KEYED), ({"unique": ("request_id",)}, KEYED)])
def test_a_new_store_goes_by_the_config_and_by_default_keeps_every_row(values, rule):
  assert DuplicateRule.of(settings(**values)) == rule


@pytest.mark.parametrize(("committed", "rule"), [
    ({}, DROPPED),  # Of release 0.1.
    ({"seed": 1, RULE_KEY: KEPT.to_dict()}, KEPT), ({RULE_KEY: DROPPED.to_dict()}, DROPPED),
    ({RULE_KEY: KEYED.to_dict()}, KEYED)])
def test_a_store_goes_on_as_it_was_committed_until_the_config_says_otherwise(committed, rule):
  assert DuplicateRule.of(settings(), committed) == rule == DuplicateRule.of_commit(committed)
  assert DuplicateRule.of(settings(drop_duplicates=False), committed) == KEPT
  assert DuplicateRule.of(settings(unique="id"), committed) == DuplicateRule(("id",))


def test_rows_are_compared_by_all_columns_where_equal_ones_are_dropped_without_a_key():
  assert [(rule.drops, rule.reads_all_columns) for rule in (KEPT, DROPPED, KEYED, DuplicateRule(("id",), True))] == [
      (False, False), (True, True), (True, False), (True, False)]
