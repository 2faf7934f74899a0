"""What all charts of the report share: scales with their ticks, room for labels, and the text of a measured value.

Positions are in the units of an SVG view box. Charts are narrow (`WIDTH`), so that their text keeps a readable size on
a phone, where the picture is not scaled down.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

# The width of every chart.
WIDTH = 300.0
# The least distance of labels that stand below each other.
LABEL_GAP = 13.0
# About the width of a letter at the size of the charts' text.
LETTER_WIDTH = 7.1
# Longer labels are shortened.
_MOST_LETTERS = 18

# A value with its standard error, which may be NaN.
Measured = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Tick:
  """A tick of an axis.

  Attributes:
    position: place on the axis, from the left or from the top.
    text: value that stands at it.
  """

  position: float
  text: str


@dataclasses.dataclass(frozen=True)
class Axis:
  """A linear scale from values to positions.

  Attributes:
    low: least value.
    high: greatest value, above `low`.
    start: position of `low`.
    end: position of `high`; less than `start` for an axis that points upwards.
  """

  low: float
  high: float
  start: float
  end: float

  def __call__(self, value: float) -> float:
    """The position of a value, to a hundredth of a unit."""
    return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)

  def length(self, error: float) -> float:
    """The length of a difference of values, to a hundredth of a unit; 0 where it is not finite."""
    scale = abs(self.end - self.start) / (self.high - self.low)
    return round(_finite_or_zero(error) * scale, 2)

  def ticks(self, most: int = 5) -> list[Tick]:
    """At most `most` ticks at round values."""
    step = _round_step((self.high - self.low) / most)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
    return [Tick(self(number * step), f"{number * step:,.{digits}f}") for number in range(first, last + 1)]


def axis(values: Sequence[float], start: float, end: float, *, margin: float = 0.08, from_zero: bool = False) -> Axis:
  """An axis that holds all finite values, with a margin on either side.

  Args:
    values: what is to be drawn; where none is finite, the axis goes from 0 to 1.
    start: position of the least value of the axis.
    end: position of the greatest value of the axis.
    margin: what is added on either side, as a fraction of the range of the values.
    from_zero: whether the axis begins at 0, without a margin there.
  """
  shown = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
  low, high = min(shown), max(shown)
  room = margin * (high - low) if high > low else 0.1 * abs(high) or 1.0
  return Axis(0.0 if from_zero else low - room, high + room, start, end)


def _round_step(least: float) -> float:
  """The least of 1, 2 and 5 times a power of ten that is at least `least`."""
  power = 10.0 ** math.floor(math.log10(least))
  return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= least * (1.0 - 1e-9))


def spread(positions: Sequence[float], low: float, high: float, gap: float = LABEL_GAP) -> list[float]:
  """Positions of labels, as near to the wanted ones as their height allows.

  Args:
    positions: wanted positions, in any order; those that are returned have the same order.
    low: least position.
    high: greatest position. Labels that do not fit between both go beyond `low`.
    gap: least distance of two labels.
  """
  order = sorted(range(len(positions)), key=lambda index: positions[index])
  placed = [0.0] * len(positions)
  last = low - gap
  for index in order:
    last = placed[index] = max(positions[index], last + gap)
  last = high + gap
  for index in reversed(order):  # What overflows is pushed back, and pushes in turn.
    if placed[index] <= last - gap:
      break
    last = placed[index] = last - gap
  return [round(value, 2) for value in placed]


def shortened(text: str) -> str:
  """The text, or if it is too long for a label its beginning and end, which tell variants of one family apart."""
  if len(text) <= _MOST_LETTERS:
    return text
  half = (_MOST_LETTERS - 1) // 2
  return f"{text[:half]}…{text[-half:]}"


def label_width(labels: Iterable[str]) -> float:
  """About the width of the longest of the labels, as they are shortened."""
  return LETTER_WIDTH * max((len(shortened(label)) for label in labels), default=0)


@dataclasses.dataclass(frozen=True)
class Framed:
  """A chart within axes.

  Attributes:
    height: height of the whole picture; its width is `WIDTH`.
    left: left side of the frame.
    right: right side of the frame.
    top: top of the frame.
    bottom: bottom of the frame, where the horizontal axis is.
  """

  height: float
  left: float
  right: float
  top: float
  bottom: float


def round_count(least: float) -> int:
  """The least of 1, 2 and 5 times a power of ten that is at least `least`, itself at least 1."""
  return round(_round_step(max(1.0, least)))


def error_ends(measured: Iterable[Measured]) -> list[float]:
  """Both ends of the error bar of each value; the value itself twice where it has no error."""
  return [mean + sign * _finite_or_zero(error) for mean, error in measured for sign in (-1, 1)]


def measured_text(mean: float, error: float = math.nan, *, digits: int = 4, signed: bool = False) -> str:
  """The value and its standard error with so many digits; the value alone where the error is not finite.

  A value that is not finite itself, such as the loss of a training that diverged, is said to be so in words.
  """
  if not math.isfinite(mean):
    return "not finite"
  text = f"{mean:{'+' if signed else ''}.{digits}f}"
  return f"{text} ± {error:.{digits}f}" if math.isfinite(error) else text


def _finite_or_zero(value: float) -> float:
  """The value, or 0 where it is NaN or infinite."""
  return value if math.isfinite(value) else 0.0
