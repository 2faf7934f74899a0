"""Which spans of a log are run, and with which command a run that was cut goes on."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Collection, Sequence

from diet_tf.errors import ConfigError, DataError
from diet_tf.log.settings import AUTO_SPAN, MAX_SPAN, require_span

# Options of `diet run` that the command of a resumed run changes; no other option begins with the short form.
_SPAN, _FROM_SPAN, _REPLACE = ("--span", "--sp"), ("--from-span", "--f"), ("--replace", "--re")
# At most this many spans are named in a message.
_MAX_NAMED = 8


@dataclasses.dataclass(frozen=True)
class SpanPlan:
  """The spans to run, in order, and what to tell the user about those that are not.

  Attributes:
    spans: numbers of the spans to run, ascending; empty where nothing is to be done.
    notes: sentences that tell the user which spans are left out, and why.
  """

  spans: tuple[int, ...]
  notes: tuple[str, ...] = ()


def parse_request(text: str | None) -> int | str | None:
  """`--span` as given: a number, `AUTO_SPAN`, or None for all.

  Raises:
    ConfigError: it is something else.
  """
  if text is None or text == AUTO_SPAN:
    return text
  return _span_number("--span", f"it is the number of a span, or {AUTO_SPAN!r}.", text)


def parse_first(text: str | None) -> int | None:
  """`--from-span` as given: a number, or None for the first span of the log.

  Raises:
    ConfigError: it is something else.
  """
  return None if text is None else _span_number("--from-span", "it is the number of a span.", text)


def _span_number(option: str, rule: str, text: str) -> int:
  if not text.isdecimal():
    raise ConfigError(option, rule=rule, received=repr(text),
                      remedy="pass the number that stands for {SPAN} in the log's paths.")
  require_span(int(text), option)
  return int(text)


def _require_spans(spans: Sequence[int]) -> None:
  """Raises DataError if the number of a span that is to be run is none that a store keeps."""
  outside = [span for span in spans if not 0 <= span <= MAX_SPAN]
  if outside:
    raise DataError(f"span {outside[0]}", rule=f"the number of a span lies in 0 to {MAX_SPAN:,}.",
                    received=f"{len(outside)} spans that do not.", remedy="set log.span_origin to the earliest time, "
                    "leave earlier rows out, or let {SPAN} in log.pattern stand for fewer digits.")


def plan_spans(available: Sequence[int], committed: Collection[int], *, test_spans: int,
               request: int | str | None = None, replace: bool = False, first: int | None = None) -> SpanPlan:
  """The spans to run.

  Args:
    available: numbers of the log's spans, in any order.
    committed: numbers of the spans that the store has.
    test_spans: how many of the newest available spans are kept for the test, unless one is asked for by its number.
    request: None for all spans that are not committed; `AUTO_SPAN` for the first after the newest committed one; or the
      number of one span.
    replace: whether committed spans are run again.
    first: the number of the earliest span to run where `request` is None; None sets no bound.

  Raises:
    DataError: the log has no span to distil, or not the one that was asked for; or the number of one is out of range.
    ConfigError: `AUTO_SPAN` is to replace something.
  """
  plan = _plan(sorted(available), committed, test_spans, request, replace, first)
  _require_spans(plan.spans)
  return plan


def _plan(available: Sequence[int], committed: Collection[int], test_spans: int, request: int | str | None,
          replace: bool, first: int | None) -> SpanPlan:
  if isinstance(request, int):
    return _plan_one(request, available, committed, replace)
  usable = available[:max(0, len(available) - test_spans)]
  if not usable:
    raise DataError("log", rule=f"it has at least one span beside the newest {test_spans}, kept for the test "
                    "(test_spans).", received=f"{len(available)} in all: {_listed(available)}.",
                    remedy="name the files of more spans by log.pattern, make spans shorter (log.span_seconds), or "
                    "lower test_spans.")
  if request == AUTO_SPAN:
    if replace:
      raise ConfigError("--replace", rule=f"--span {AUTO_SPAN} is the next span that is not committed.",
                        received="both.", remedy="name the span to replace: --span N --replace.")
    later = [span for span in usable if not committed or span > max(committed)]
    done = f"No span after {max(committed)} is there yet." if committed and not later else ""
    return SpanPlan(tuple(later[:1]), (done,) if done else ())
  if first is not None:
    usable = [span for span in usable if span >= first]
    if not usable:
      raise DataError(f"span {first}", rule="the log has it, or a later one, to distil.",
                      received=f"spans {_listed(available)}, of which the newest {test_spans} are kept for the test.",
                      remedy="wait for its files, or correct log.pattern or --from-span.")
  spans = tuple(span for span in usable if replace or span not in committed)
  skipped = [span for span in usable if span not in spans]
  notes = (f"Committed before: {_listed(skipped)}. --replace runs them again.",) if skipped else ()
  return SpanPlan(spans, notes)


def spans_after(available: Sequence[int], committed: Collection[int], *, test_spans: int) -> tuple[int, ...]:
  """The spans right after the newest committed one, on which its memory is judged; empty if there are none.

  Args:
    available: numbers of the log's spans, in any order.
    committed: numbers of the spans whose commits the store has.
    test_spans: largest number of spans that are taken; one is taken even where this is 0.
  """
  later = [span for span in sorted(available) if committed and span > max(committed)]
  return tuple(later[:max(1, test_spans)])


def resume_command(command: Sequence[str], planned: Sequence[int], done: Collection[int], *,
                   request: int | str | None = None, replace: bool = False) -> str:
  """The command line that goes on where a `diet run` was cut, quoted for a shell.

  It is the command that was given. Where that would do again what is done, it is narrowed: spans that were replaced are
  not replaced once more, and `AUTO_SPAN` does not go on to the span after the one that it committed.

  Args:
    command: the words of the command that was given, `diet run` first.
    planned: numbers of the spans that it set out to run, ascending.
    done: the planned spans that it has committed.
    request: the command's `--span`, as `plan_spans` takes it.
    replace: whether it replaces commits.
  """
  words = list(command)
  left = [span for span in planned if span not in done]
  if done and request == AUTO_SPAN:
    words = [*_without(words, _SPAN, num_values=1), "--span", str(max(done))]
  elif done and replace and left:
    words = [*_without(words, _FROM_SPAN, num_values=1), "--from-span", str(left[0])]
  elif done and replace:
    words = _without(words, _REPLACE, num_values=0)
  return shlex.join(words)


def _without(words: Sequence[str], names: tuple[str, str], num_values: int) -> list[str]:
  """The words without an option, written as argparse takes it: in full or shortened, its value behind it or after =.

  Args:
    words: a command line.
    names: the option in full, and the shortest form that is not ambiguous.
    num_values: how many words follow it, unless its value stands behind an equals sign.
  """
  full, shortest = names
  kept, skipped = [], 0
  for word in words:
    name, equals, _ = word.partition("=")
    if skipped:
      skipped -= 1
    elif full.startswith(name) and name.startswith(shortest):
      skipped = 0 if equals else num_values
    else:
      kept.append(word)
  return kept


def _plan_one(span: int, available: Sequence[int], committed: Collection[int], replace: bool) -> SpanPlan:
  if span in committed and not replace:
    return SpanPlan((), (f"Span {span} is committed; nothing to do. --replace runs it again.",))
  if span not in available:
    raise DataError(f"span {span}", rule="the log has it.", received=f"spans {_listed(available)}.",
                    remedy="wait for its files, or correct log.pattern or the span.")
  later = sorted(other for other in committed if other > span)
  note = f"Spans {_listed(later)} grew from what was there before; run them again if they are to follow from this one."
  return SpanPlan((span,), (note,) if later else ())


def _listed(spans: Sequence[int]) -> str:
  if not spans:
    return "none"
  left_out = f" ... ({len(spans)} in all)" if len(spans) > _MAX_NAMED else ""
  return ", ".join(map(str, spans[:_MAX_NAMED])) + left_out
