"""What a value of a column that is read must be, whatever field, label or key it is read for."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from diet_tf.errors import DataError
from diet_tf.log import encoding as encoding_lib
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import reasons
from tfx_components.log_gen.columns import Column

# Spaces that do not break lines stand between thousands too.
_SPACES = " \u00a0\u202f"
_WITH_SEPARATORS = re.compile(rf"[-+]?(?:[0-9]{{1,3}}(?:[,.'{_SPACES}][0-9]{{3}})+(?:[.,][0-9]+)?|[0-9]+,[0-9]+)")


def wrong_values(column: Column, encoding: str, *, is_id: bool) -> Iterator[tuple[np.ndarray, str]]:
  """What is wrong with values of a column: `[u]` bool, true where it is, and the words for it.

  Args:
    column: the column.
    encoding: encoding that its texts should have.
    is_id: whether its values are told apart, as ids and keys are; others are read as numbers.
  """
  yield column.has(columns_lib.UNDECODABLE), reasons.undecodable(encoding)
  yield column.has(columns_lib.LIST), reasons.LIST
  yield column.has(columns_lib.OBJECT), reasons.OBJECT
  if is_id:
    yield column.has(columns_lib.ROUNDED_TEXT), reasons.ROUNDED


def refuse_rounded(column: Column, place: str, path: str) -> None:
  """Raises `DataError` where ids are numbers of floats so large that neighbouring ones have become one.

  In CSV such a number is a text among texts, and its row is set aside.
  """
  rounded = column.has(columns_lib.ROUNDED)
  if rounded.any() and (found := np.flatnonzero(rounded[column.codes])).size:
    raise DataError(f"{place} ({path})", rule="ids are whole numbers or texts: from 2^53 on a float64, and from 2^24 "
                    "on a float32, does not hold every whole number, and neighbouring ids become one.",
                    received=f"{column.texts[column.codes[found[0]]]} in a column of floats.",
                    remedy=f"{reasons.EXACT_IDS}.")


def read_numbers(column: Column, thousands: str | None) -> tuple[np.ndarray, list[tuple[np.ndarray, str]]]:
  """The numbers of a column and what is wrong with those that are none.

  Args:
    column: the column.
    thousands: separator of thousands; None for none.

  Returns:
    `[u]` float64, NaN where missing or wrong, and pairs as `wrong_values` gives them.
  """
  texts = plain_numbers(column.texts, thousands)
  values, unreadable = encoding_lib.numbers(texts)
  separated = np.zeros(len(texts), bool)
  for index in np.flatnonzero(unreadable):
    separated[index] = _WITH_SEPARATORS.fullmatch(texts[index]) is not None
  return values, [(separated, reasons.THOUSANDS), (unreadable & ~separated, reasons.NOT_A_NUMBER)]


def plain_numbers(texts: np.ndarray, thousands: str | None) -> np.ndarray:
  """The texts, of which those that are numbers with separators of thousands are without them."""
  if thousands is None:
    return texts
  marks = _SPACES if thousands == " " else thousands
  separated = re.compile(rf"[-+]?[0-9]{{1,3}}(?:[{re.escape(marks)}][0-9]{{3}})+(?:\.[0-9]+)?")
  plain = texts.copy()
  for index, text in enumerate(texts):
    if separated.fullmatch(text):
      plain[index] = re.sub(f"[{re.escape(marks)}]", "", text)
  return plain
