"""Why rows are set aside: each reason has a name here, and is equal for rows that break the same rule, to be counted.

A reason about a value is a place and what is wrong there: "column 'price' of field 'price' is not a number".
"""

from __future__ import annotations

from diet_tf.log.times import DESCRIPTIONS, TimeKind

# Of a record that gives no row.
UNPARSABLE = "the line cannot be parsed"
UNPARSABLE_JSON = f"{UNPARSABLE} as a JSON object"
UNPARSABLE_EXAMPLE = f"{UNPARSABLE} as a tf.train.Example"

# Of a value; a place stands before it.
UNDECODABLE = "holds bytes that are no"
LIST = "is a list, not a single value"
OBJECT = "is an object with values inside"
ROUNDED = "is a whole number in a float's notation, from 2^53 on, where a float rounds"
NOT_A_NUMBER = "is not a number"
THOUSANDS = "is a number with separators of thousands or a decimal comma"
MISSING = "is missing"
NOT_AS_MANY_WEIGHTS = "has not as many weights as there are values"
NOT_A_WEIGHT = "has a weight that is negative or not finite"
NOT_BINARY = "is not 0 or 1"
NOT_LISTED = "is none of the values that count as 0 or 1"
REPEATED = "is given twice"

POSITIVES_ALONE = ("a log of positives alone needs rows with label 0, for example four for each positive with items "
                   "drawn from the log: negatives are not drawn yet")
EXACT_IDS = ("write it as whole numbers or texts: in pandas, astype('Int64') before it is written, and dtype='string' "
             "where it is read")
# What mends the rows of a reason, by what is wrong.
REMEDIES = {
    UNDECODABLE: "name the encoding that the texts are written in (log.encoding, log.joins.encoding), such as latin-1",
    LIST: "say how many of its values a field keeps (features.fields[].max_values) and set no separator, which is for "
          "texts, or leave the field out; a list within a list is not read",
    NOT_AS_MANY_WEIGHTS: "write one weight for each value, parted as the values are",
    OBJECT: "name a value within it, as column: user.id",
    ROUNDED: EXACT_IDS,
    THOUSANDS: "set log.thousands to the separator, or write plain numbers with a decimal point",
    NOT_BINARY: "say in features.label what counts as 1: positive, a list of values such as names of events, or "
                "at_least, the least number; or write 0 and 1",
    NOT_LISTED: "list it in features.label.positive or features.label.negative, or leave negative out",
    DESCRIPTIONS[TimeKind.UNTOLD]: "set log.span_time_unit to s, ms, us or ns",
    REPEATED: "write each name once in a row",
}


def number_of_values(found: int | None, expected: int | None) -> str:
  """The reason of a line of CSV with too many or too few values."""
  return f"{UNPARSABLE}: {found} values for {expected} columns"


def column_of_field(column: str, field: str) -> str:
  """The place of a field's value."""
  return f"column {column!r} of field {field!r}"


def undecodable(encoding: str) -> str:
  """What is wrong with a text that is not in its declared encoding."""
  return f"{UNDECODABLE} {encoding.upper()}"


def remedy_of(reason: str) -> str | None:
  """What mends the rows of a reason; None where it says enough itself."""
  return next((remedy for wrong, remedy in REMEDIES.items() if wrong in reason), None)
