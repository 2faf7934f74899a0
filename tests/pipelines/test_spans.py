import shlex

import pytest

from diet_tf.errors import ConfigError, DataError
from diet_tf.log.settings import AUTO_SPAN
from pipelines.command_line import run_parser
from pipelines.spans import parse_first, parse_request, plan_spans, resume_command, spans_after


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
  assert plan_spans([5, 6, 7], (), test_spans=1, request=AUTO_SPAN).spans == (5,)
  # 6 was left out: a backfill is asked for by its number.
  assert plan_spans([5, 6, 7, 8, 9], {5, 7}, test_spans=1, request=AUTO_SPAN).spans == (8,)


def test_auto_with_nothing_new_says_so():
  plan = plan_spans([5, 6, 7], {5, 6}, test_spans=1, request=AUTO_SPAN)
  assert plan.spans == ()
  assert "after 6" in plan.notes[0]


def test_auto_replaces_nothing():
  with pytest.raises(ConfigError, match="--span N --replace"):
    plan_spans([5, 6], (), test_spans=0, request=AUTO_SPAN, replace=True)


@pytest.mark.parametrize("available", [[], [4]])
def test_a_log_without_spans_to_distil_is_an_error(available):
  with pytest.raises(DataError, match="kept for the test"):
    plan_spans(available, (), test_spans=1)


def test_spans_that_a_memory_is_judged_on():
  assert spans_after([4, 2, 3, 1], {1, 2}, test_spans=1) == spans_after([4, 2, 3, 1], {1, 2}, test_spans=0) == (3,)
  assert spans_after([4, 2, 3, 1], {2}, test_spans=5) == (3, 4)
  assert spans_after([1, 2], {2}, test_spans=1) == spans_after([1, 2], (), test_spans=1) == ()


def test_requests():
  assert parse_request(None) is None
  assert parse_request("auto") == AUTO_SPAN
  assert parse_request("20220427") == 20220427
  for text in ("today", "-1", "1.5", ""):
    with pytest.raises(ConfigError, match="number of a span"):
      parse_request(text)


def test_spans_before_the_first_that_is_wanted_are_left_out():
  assert plan_spans([1, 2, 3, 4], {1, 2}, test_spans=1, replace=True, first=2).spans == (2, 3)
  assert plan_spans([1, 2, 3, 4], {2}, test_spans=1, first=2).spans == (3,)
  with pytest.raises(DataError, match="span 4.*newest 1 are kept.*--from-span"):
    plan_spans([1, 2, 3, 4], {1}, test_spans=1, first=4)


def test_the_first_span_is_a_number():
  assert parse_first(None) is None and parse_first("20220427") == 20220427
  with pytest.raises(ConfigError, match="--from-span.*number of a span"):
    parse_first("auto")


@pytest.mark.parametrize(("given", "planned", "done", "expected"), [
    # All that is not committed: what is done is left alone by itself.
    ("", [1, 2, 3], [], ""), ("", [1, 2, 3], [1, 2], ""), ("", [1, 2], [1, 2], ""),
    ("--json out", [], [], "--json out"),
    # All, replaced: what was replaced is not replaced once more, and at the end only figures are left to compute.
    ("--replace", [1, 2, 3], [], "--replace"), ("--replace", [1, 2, 3], [1], "--replace --from-span 2"),
    ("--replace --json out", [1, 2, 3], [1, 2], "--replace --json out --from-span 3"),
    ("--replace", [1, 2], [1, 2], ""), ("--replace --json out", [1, 2], [1, 2], "--json out"),
    ("--from-span 2 --replace", [2, 3, 4], [2], "--replace --from-span 3"),
    ("--from-span=2 --replace", [2, 3, 4], [], "--from-span=2 --replace"),
    ("--from-span 2 --replace", [2, 3], [2, 3], "--from-span 2"), ("--from-span 2", [2, 3], [2], "--from-span 2"),
    # One by its number: it is no-op once it is committed.
    ("--span 7", [7], [], "--span 7"), ("--span 7 --json out", [7], [7], "--span 7 --json out"),
    ("--span 7 --replace", [7], [], "--span 7 --replace"),
    ("--span 7 --replace --evaluate", [7], [7], "--span 7 --evaluate"), ("--span 7", [], [], "--span 7"),
    # The next one: after its commit the next would be another.
    ("--span auto", [4], [], "--span auto"), ("--span auto --evaluate", [4], [4], "--evaluate --span 4"),
    ("--span=auto --json out", [4], [4], "--json out --span 4"), ("--span auto", [], [], "--span auto"),
    # Options are also given in short, and values look like options.
    ("--sp auto --eval", [4], [4], "--eval --span 4"), ("--repl --from=2", [2, 3], [2], "--repl --from-span 3"),
    ("--rep --set output=--replace --beam-arg=--runner=Flink", [1], [1],
     "--set output=--replace --beam-arg=--runner=Flink"),
    ("--span auto --runner local --store s --seed 1 --set a=b", [4], [4],
     "--runner local --store s --seed 1 --set a=b --span 4"),
    # What a shell would read is quoted.
    ("--set 'name=$(a) b' --replace", [1, 2], [1], "--set 'name=$(a) b' --replace --from-span 2")])
def test_the_command_that_goes_on(given, planned, done, expected):
  words = shlex.split(given)
  request = AUTO_SPAN if any("auto" in word for word in words) else 7 if "7" in words else None
  replace = any(word.startswith("--rep") for word in words)
  command = resume_command(["diet", "run", "--config", "my shop.yaml", *words], planned, done, request=request,
                           replace=replace)
  assert command == f"diet run --config 'my shop.yaml' {expected}".strip()


def test_no_other_option_begins_as_those_that_are_narrowed_do():
  options = {option for action in run_parser()._actions for option in action.option_strings}
  for full, shortest in (("--span", "--sp"), ("--from-span", "--f"), ("--replace", "--re")):
    assert [option for option in options if option.startswith(shortest)] == [full]


@pytest.mark.parametrize("available", [[-3, 1, 2], [1 << 63, (1 << 63) + 1]])
def test_numbers_that_no_store_keeps_are_told_before_a_span_is_run(available):
  with pytest.raises(DataError, match=f"span {available[0]}: .*0 to 9,223,372,036,854,775,807.*span_origin"):
    plan_spans(available, (), test_spans=1)
  # Ones that nobody runs are none of its business.
  assert plan_spans([-3, 1, 2, 10**12], (), test_spans=1, first=1).spans == (1, 2)


@pytest.mark.parametrize("parse", [parse_request, parse_first])
def test_an_option_with_such_a_number(parse):
  assert parse("1000000000000") == 10**12
  with pytest.raises(ConfigError, match="--.*span: the number of a span lies in 0"):
    parse("9223372036854775808")
