from __future__ import annotations

import pickle

import pytest

from diet_tf.errors import DataError
from diet_tf.printable import markdown_text, printable, spreadsheet_text


@pytest.mark.parametrize(("text", "shown"), [
    ("plain é \U0001f600\nline\ttab", "plain é \U0001f600\nline\ttab"),
    ("\x1b[2Jgone", "\\x1b[2Jgone"), ("\x9b31m", "\\x9b31m"), ("a\rb\x07\x00\x7f", "a\\rb\\x07\\x00\\x7f"),
    ("\u202egnp.exe", "\\u202egnp.exe"), ("\u2028\ud800", "\\u2028\\ud800"),
])
def test_control_characters_are_written_out(text: str, shown: str):
  assert printable(text) == shown


@pytest.mark.parametrize(("text", "cell"), [
    ("user", "user"), ("=1+1", "'=1+1"), ("+x", "'+x"), ("-x", "'-x"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "'\t=1"),
    ("\uff1d1", "'\uff1d1"), ("a=1", "a=1"), ("\r=1", "\\r=1"), ("", "")])
def test_no_cell_is_a_formula(text: str, cell: str):
  assert spreadsheet_text(text) == cell


@pytest.mark.parametrize(("text", "markdown"), [
    ("user_id", "user_id"), ("user's 5 (of 7)", "user's 5 (of 7)"), ("[x](http://y)", "\\[x\\](http://y)"),
    ("<img src=x>", "\\<img src=x\\>"), ("a|b", "a\\|b"), ("`rm`", "\\`rm\\`"), ("*b* _i_", "\\*b\\* \\_i\\_"),
    ("a\n# b", "a\\\\n\\# b"), ("&lt;", "\\&lt;"), ("\x1b", "\\\\x1b")])
def test_markdown_takes_text_for_text(text: str, markdown: str):
  assert markdown_text(text) == markdown


def test_long_text_is_cut_with_its_length():
  assert printable("x" * 5, 5) == "xxxxx"
  assert printable("x" * 1_000_000, 5) == "xxxxx... (1,000,000 characters in all)"


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\x1b" * 500, "\x1b" * 101, "x" * 140, "x" * 141])
def test_what_is_printable_stays_as_it_is(text: str):
  shown = printable(text, 100)
  assert printable(shown, 100) == shown and len(shown) <= 140


def test_an_error_stays_as_it_is_when_it_is_carried_to_another_process():
  error = DataError("s", rule="r.", received="\x1b[31m" * 1_000_000, remedy="y.")
  assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_an_error_can_be_shown_whatever_it_is_of():
  error = DataError("field \x1b]0;x\x07", rule="r.", received="\x1b[31m" * 1_000_000, remedy="y.")
  for text in (str(error), repr(error), error.subject, error.received):
    assert "\x1b" not in text and len(text) < 100_000
  assert "5,000,000 characters in all" in error.received
