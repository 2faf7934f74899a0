from diet_tf.log.row_counts import RowCounts
from diet_tf.report.row_table import row_lines
from tests.diet_tf.small_report import make_rows, render


def test_a_line_says_what_became_of_a_spans_rows_and_why():
  empty, line = row_lines({7: make_rows(), 3: RowCounts()})
  assert line == {
      "span": 7, "read": "2,010", "kept": "2,000", "set_aside": "8", "dropped": "2", "look_alike": "30",
      "rate_before": "0.0998", "rate_after": "0.0995",
      "why": "set aside: 6 x label 'click' is missing (click rate unknown); 2 x <b> is not a number (click rate "
             "0.5000); dropped: 2 x equal to another row in all columns (click rate 0.0000)",
      "remarks": "Field '<i>' has the same id in all rows, and says nothing."}
  assert (empty["span"], empty["rate_before"], empty["why"]) == (3, "unknown", "")


def test_the_report_of_a_run_has_the_spans_that_are_known():
  page = render()
  assert page.count("<td>2,010</td><td>2,000</td><td>8</td><td>2</td><td>30</td>") == 2
  assert "2 x &lt;b&gt; is not a number" in page
  assert page.count("Span 2: Field &#39;&lt;i&gt;&#39; has the same id in all rows") == 1
