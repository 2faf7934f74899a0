import pytest

from diet_tf.errors import DataError
from tfx_components.log_gen import headers


@pytest.mark.parametrize(("line", "expected"), [
    (("34", "291", "0", "1704067200"), True), (("2024-01-01T00:00", "1.5e3", "-1"), True), (("7",), True),
    (("user_id", "item_id"), False), (("user_id", "2019", "2020"), False), (("0", "1", "2"), False),
    (("", "0", "1"), False), (("", ""), False)])
def test_a_line_of_numbers_and_dates_is_data_unless_it_counts_columns(line, expected):
  assert headers.is_data(line) == expected


def test_what_a_file_begins_with_is_checked_against_the_config(log, rows):
  lines = [",".join("" if row[name] is None else str(row[name]) for name in ("user", "item", "price", "click", "t"))
           for row in rows]
  path = log.folder / "log-1.csv"
  path.write_text("\n".join(lines) + "\n")
  with pytest.raises(DataError, match="bring the column back"):
    log.generate()  # Its first line has a text, which may be a name.
  columns = ("user", "item", "price", "click", "t")
  log.generate(log.settings(columns=columns, piece_bytes=20))
  without_header = log.contents()
  path.write_text("user,item,price,click,t\n" + path.read_text())
  log.generate()
  assert log.contents() == without_header
  with pytest.raises(DataError, match="these very names in the first line.*remove log.columns"):
    log.generate(log.settings(columns=columns))
  with pytest.raises(DataError, match="3 names, and 5 values"):
    log.generate(log.settings(columns=columns[:3]))
  path.write_text("34,291,0\n195,32,1\n")
  with pytest.raises(DataError, match="numbers or dates alone.*name the columns in their order in log.columns"):
    log.generate()
