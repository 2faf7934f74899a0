import functools
import operator

import pyarrow as pa

from diet_tf.log.features import FeatureSpec, Field, Label
from tfx_components.log_gen.seen_values import SeenValues

SPEC = FeatureSpec((Field("kind", "kind", vocabulary_ids=9, vocabulary=tuple("abcdefg")),
                    Field("user", "user", hash_ids=9), Field("word", "word", vocabulary_ids=9)), Label("click"))
# "a" and "c" occur, "b" and the others do not; a value that is not listed is 1. All users have the id 5.
TABLE = pa.table({"field0": pa.array([2, 4, 1], pa.int32()), "field1": pa.array([5, 5, 5], pa.int32()),
                  "field2": ["x", "x", "y"]})


def test_any_cut_sees_the_same():
  whole = SeenValues.of(TABLE, SPEC)
  assert whole == SeenValues({0: frozenset([1, 2, 4])}, {0: (1, 4), 1: (5, 5), 2: ("x", "y")})
  for cut in (1, 2):
    assert SeenValues.of(TABLE.slice(0, cut), SPEC) + SeenValues.of(TABLE.slice(cut), SPEC) == whole
  assert functools.reduce(operator.add, (SeenValues.of(TABLE.slice(row, 1), SPEC) for row in range(3)),
                          SeenValues()) == whole


def test_what_never_occurs_and_what_never_varies_is_told():
  assert SeenValues.of(TABLE, SPEC).remarks(SPEC) == (
      "Field 'kind': no row has 'b', 'd', 'e', 'f', 'g' of the 7 values that its vocabulary lists.",
      "Field 'user' has the same id in all rows, and says nothing.")
  assert SeenValues.of(TABLE.slice(2), SPEC).remarks(SPEC)[:2] == (
      "Field 'kind' has the same id in all rows, and says nothing.",
      "Field 'kind': no row has 'a', 'b', 'c', 'd', 'e' and 2 more of the 7 values that its vocabulary lists.")
  assert SeenValues().remarks(SPEC) == ()
