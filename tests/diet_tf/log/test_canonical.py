import pytest

from diet_tf.log import canonical


@pytest.mark.parametrize(("value", "text", "expected"), [
    # The text is kept where it is not the same in every format.
    (1.1, "1.10", "1.10"), (1e5, "1e5", "1e5"), (5, "+5", "+5"), (0.5, ".5", ".5"), ("e\u0301", "e\u0301", "\u00e9"),
    (None, "null", "null"),
    # What is the same keeps the form that it had before: that of an integer.
    (True, "true", "1"), (False, "FALSE", "0"), (7, "7", "7"), (2.0, "2.0", "2"), (1e5, "1.0e5", "100000")])
def test_what_a_closed_vocabulary_holds_of_a_value(value, text, expected):
  assert canonical.listed_text(value, text) == expected


@pytest.mark.parametrize(("listed", "others"), [
    ("1.10", ["1.1"]), ("1e5", ["100000"]), ("1", ["1", "true", "True", "TRUE", "1"]),
    ("False", ["0", "false", "False", "FALSE"]), ("abc", []), ("1.1.0", [])])
def test_other_spellings_of_a_listed_value(listed, others):
  assert list(canonical.other_spellings(listed)) == others


@pytest.mark.parametrize(("text", "number"), [
    ("1234.0", 1234.0), ("1e+05", 1e5), ("1.5E3", 1500.0), ("1.5e-05", None), ("1e5", None), ("12345e78", None),
    ("1e+400", None), ("01.0", None), ("9007199254740992.0", 2.0**53)])
def test_whole_numbers_in_a_floats_notation(text, number):
  assert canonical.whole_number(text) == number


@pytest.mark.parametrize(("value", "separator", "texts"), [
    (None, "|", []), ("", "|", []), ("NA", "|", []), (float("nan"), "|", []), ("a| NA||2.0", "|", ["a", "", "", "2"]),
    ("a e\u0301 b", "e\u0301", ["a", "b"]),
    (7, "|", ["7"]), ("a|b", None, ["a|b"]), ([1.0, "NA", None, "2.0"], None, ["1", "", "", "2.0"]), ((), None, [])])
def test_the_values_of_a_row(value, separator, texts):
  assert canonical.value_texts(value, separator, frozenset(["NA"])) == texts
