"""Which spans of a log are run."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from diet_tf.errors import ConfigError, DataError

AUTO = "auto"
# At most this many spans are named in a message.
_MAX_NAMED = 8


@dataclasses.dataclass(frozen=True)
class SpanPlan:
  """The spans to run, in order, and what to tell the user about those that are not.

  Attributes:
    spans: to run; may be empty.
    notes: sentences for the user.
  """

  spans: tuple[int, ...]
  notes: tuple[str, ...] = ()


def parse_request(text: str | None) -> int | str | None:
  """`--span` as given: a number, `AUTO`, or None for all.

  Raises:
    ConfigError: it is something else.
  """
  if text is None or text == AUTO:
    return text
  if not text.isdecimal():
    raise ConfigError("--span", rule=f"it is the number of a span, or {AUTO!r}.", received=repr(text),
                      remedy="pass the number that stands for {SPAN} in the log's paths.")
  return int(text)


def plan_spans(available: Sequence[int], committed: Collection[int], *, test_spans: int,
               request: int | str | None = None, replace: bool = False) -> SpanPlan:
  """The spans to run.

  Args:
    available: the log's spans.
    committed: those that the store has.
    test_spans: the newest so many available spans are kept for the test, unless one is asked for by its number.
    request: None for all that are not committed; `AUTO` for the first after the newest committed one; or a number.
    replace: whether committed spans are run again.

  Raises:
    DataError: the log has no span to distil, or not the one that was asked for.
    ConfigError: `AUTO` is to replace something.
  """
  available = sorted(available)
  if isinstance(request, int):
    return _plan_one(request, available, committed, replace)
  usable = available[:max(0, len(available) - test_spans)]
  if not usable:
    raise DataError("log", rule=f"it has at least one span beside the newest {test_spans}, kept for the test.",
                    received=f"spans {_named(available)}.", remedy="check log.pattern, or lower test_spans.")
  if request == AUTO:
    if replace:
      raise ConfigError("--replace", rule=f"--span {AUTO} is the next span that is not committed.",
                        received="both.", remedy="name the span to replace: --span N --replace.")
    later = [span for span in usable if not committed or span > max(committed)]
    done = f"No span after {max(committed)} is there yet." if committed and not later else ""
    return SpanPlan(tuple(later[:1]), (done,) if done else ())
  spans = tuple(span for span in usable if replace or span not in committed)
  skipped = [span for span in usable if span not in spans]
  notes = (f"Committed before: {_named(skipped)}. --replace runs them again.",) if skipped else ()
  return SpanPlan(spans, notes)


def _plan_one(span: int, available: Sequence[int], committed: Collection[int], replace: bool) -> SpanPlan:
  if span in committed and not replace:
    return SpanPlan((), (f"Span {span} is committed; nothing to do. --replace runs it again.",))
  if span not in available:
    raise DataError(f"span {span}", rule="the log has it.", received=f"spans {_named(available)}.",
                    remedy="wait for its files, or correct log.pattern or the span.")
  later = sorted(other for other in committed if other > span)
  note = f"Spans {_named(later)} grew from what was there before; run them again if they are to follow from this one."
  return SpanPlan((span,), (note,) if later else ())


def _named(spans: Sequence[int]) -> str:
  if not spans:
    return "none"
  left_out = f" ... ({len(spans)} in all)" if len(spans) > _MAX_NAMED else ""
  return ", ".join(map(str, spans[:_MAX_NAMED])) + left_out
