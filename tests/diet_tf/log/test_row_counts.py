import json

import numpy as np
import pytest

from diet_tf.errors import DataError
from diet_tf.io.shapes import Place, shaped
from diet_tf.log.row_counts import ROW_COUNTS_SHAPE, RowCounts, RowTally, added, total

# 100 rows, of which two have no readable label; a broken one has been clicked, and so have two of four dropped.
COUNTS = RowCounts(
    RowTally(100, 98, 25), RowTally(92, 92, 22), {"label 'c' is missing": RowTally(2), "bad price": RowTally(2, 2, 1)},
    {"equal": RowTally(4, 4, 2)}, RowTally(46, 46, 3), ("Field 'f' has the same id in all rows.",))


def test_click_rates_are_over_the_rows_that_have_a_label():
  assert RowTally.of(np.array([0, 1, 1, 0], np.float32), num_unlabelled=3) == RowTally(7, 4, 2)
  assert RowTally(7, 4, 2).click_rate == 0.5 and RowTally(7).click_rate is None
  assert RowTally(3).share_of(RowTally(12)) == 0.25 and RowTally().share_of(RowTally()) == 0


def test_tallies_add_up_by_reason():
  assert added({"a": RowTally(1, 1, 1), "b": RowTally(2)}, {"b": RowTally(3, 2, 1), "c": RowTally()}) == {
      "a": RowTally(1, 1, 1), "b": RowTally(5, 2, 1)}
  assert total(COUNTS.quarantined) == RowTally(4, 2, 1) and total({}) == RowTally()
  assert COUNTS + RowCounts() == COUNTS and (COUNTS + COUNTS).dropped == {"equal": RowTally(8, 8, 4)}


def test_they_are_read_as_they_were_written():
  written = json.loads(json.dumps(COUNTS.to_dict()))
  assert written["read"] == {"num_rows": 100, "num_labelled": 98, "num_positives": 25, "click_rate": 25 / 98}
  assert written["quarantined"]["label 'c' is missing"]["click_rate"] is None
  assert RowCounts.from_dict(shaped(written, ROW_COUNTS_SHAPE, Place("file", "none"))) == COUNTS


def test_in_a_sentence():
  assert COUNTS.sentence() == (
      "100 rows read, 92 kept, 4 set aside (2 x bad price; 2 x label 'c' is missing), 4 dropped (4 x equal), 46 of "
      "those kept (50.0%) look like another row; click rate 0.2551 before and 0.2391 after.")
  many = RowCounts(RowTally(9), RowTally(), {f"r{reason}": RowTally(1) for reason in range(9)})
  assert many.sentence() == ("9 rows read, 0 kept, 9 set aside (1 x r0; 1 x r1; 1 x r2; 6 more reasons), 0 dropped; "
                             "click rate unknown before and unknown after.")


@pytest.mark.parametrize(("counts", "num_written"), [
    (COUNTS, 91), (COUNTS + RowCounts(kept=RowTally(1, 1, 0)), 93), (COUNTS + RowCounts(read=RowTally(1)), 92),
    (COUNTS + RowCounts(read=RowTally(0, 0, 1)), 92)])
def test_a_row_that_is_lost_or_counted_twice_is_an_error(counts, num_written):
  COUNTS.require_all(92, "span 1")
  with pytest.raises(DataError, match="span 1: every row that is read"):
    counts.require_all(num_written, "span 1")
