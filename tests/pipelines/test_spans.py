import pytest

from diet_tf.errors import ConfigError, DataError
from pipelines.spans import AUTO, parse_request, plan_spans


def test_all_uncommitted_spans_but_the_last_are_run_in_order():
  assert plan_spans([3, 1, 2, 4], (), test_spans=1).spans == (1, 2, 3)
  plan = plan_spans([1, 2, 3, 4], {1, 2}, test_spans=1)
  assert plan.spans == (3,)
  assert "1, 2" in plan.notes[0] and "--replace" in plan.notes[0]


def test_without_test_spans_the_last_one_is_run_too():
  assert plan_spans([1, 2], (), test_spans=0).spans == (1, 2)


def test_replace_runs_committed_spans_again():
  assert plan_spans([1, 2, 3], {1, 2}, test_spans=1, replace=True).spans == (1, 2)


def test_a_committed_span_is_a_no_op_with_a_message():
  plan = plan_spans([1, 2, 3], {2}, test_spans=1, request=2)
  assert plan.spans == ()
  assert "Span 2 is committed" in plan.notes[0]


def test_replacing_one_span_names_those_that_grew_from_it():
  plan = plan_spans([1, 2, 3], {1, 2, 3}, test_spans=0, request=1, replace=True)
  assert plan.spans == (1,)
  assert "2, 3" in plan.notes[0]


def test_a_test_span_runs_if_it_is_asked_for_by_number():
  assert plan_spans([1, 2, 3], (), test_spans=1, request=3).spans == (3,)


def test_a_span_that_the_log_does_not_have_is_an_error():
  with pytest.raises(DataError, match="spans 1, 2"):
    plan_spans([1, 2], (), test_spans=1, request=7)


def test_auto_is_the_first_span_after_the_newest_commit():
  assert plan_spans([5, 6, 7], (), test_spans=1, request=AUTO).spans == (5,)
  # 6 was left out: a backfill is asked for by its number.
  assert plan_spans([5, 6, 7, 8, 9], {5, 7}, test_spans=1, request=AUTO).spans == (8,)


def test_auto_with_nothing_new_says_so():
  plan = plan_spans([5, 6, 7], {5, 6}, test_spans=1, request=AUTO)
  assert plan.spans == ()
  assert "after 6" in plan.notes[0]


def test_auto_replaces_nothing():
  with pytest.raises(ConfigError, match="--span N --replace"):
    plan_spans([5, 6], (), test_spans=0, request=AUTO, replace=True)


@pytest.mark.parametrize("available", [[], [4]])
def test_a_log_without_spans_to_distil_is_an_error(available):
  with pytest.raises(DataError, match="kept for the test"):
    plan_spans(available, (), test_spans=1)


def test_requests():
  assert parse_request(None) is None
  assert parse_request("auto") == AUTO
  assert parse_request("20220427") == 20220427
  for text in ("today", "-1", "1.5", ""):
    with pytest.raises(ConfigError, match="number of a span"):
      parse_request(text)
