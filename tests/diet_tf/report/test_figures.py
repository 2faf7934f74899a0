import csv
import io
import math
import urllib.parse

import pytest

from diet_tf.report.figures import Cell, data


def test_csv_holds_numbers_in_full_and_texts_in_quotes_where_needed():
  table = data("a", ("name", "value"), [("x,\"y\"", 1 / 3), ("z", 12345), (None, math.nan)])
  assert table.csv() == 'name,value\r\n"x,""y""",0.3333333333\r\nz,12345\r\n,\r\n'
  assert table.texts == [["x,\"y\"", "0.333333"], ["z", "12,345"], ["–", "–"]]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\t=1"])
def test_a_text_never_begins_as_a_formula_does(text):
  row = list(csv.reader(io.StringIO(data("a", ("b",), [(text,)]).csv())))[1]
  assert row[0].startswith("'")
  assert data("a", ("b",), [(-1.5,)]).csv() == "b\r\n-1.5\r\n"  # A number may be negative.


def test_the_address_holds_the_csv():
  table = data("a", ("b",), [("ü # %\x1b",)])
  kind, _, content = table.href.partition(",")
  assert kind == "data:text/csv;charset=utf-8" and not set(content) & set('#"<> \x1b')
  assert urllib.parse.unquote(content) == "b\r\nü # %\\x1b\r\n"


def test_a_long_table_is_cut_and_its_csv_is_not():
  table = data("a", ("b",), [(number,) for number in range(250)])
  assert len(table.texts) == 200 and table.num_hidden == 50
  assert table.csv().count("\r\n") == 251


def test_a_cell_sorts_by_its_number():
  assert Cell("0.7 ± 0.1", 0.7).key == "0.7"
  assert Cell("–").key == "" and Cell("nan", math.nan).key == ""
