import dataclasses

import numpy as np
import pytest

from diet_tf.errors import DataError
from diet_tf.log.features import FeatureSpec, Label
from tests.tfx_components.log_gen.conftest import ROWS, SPEC, WRITERS
from tfx_components.log_gen import columns
from tfx_components.log_gen.labels import mixes_minus_one, read_labels, remarks

FORMATS = sorted(WRITERS)


def read(label, texts, **kwargs):
  """Per text its label, or what is wrong with it."""
  found = read_labels(label, columns.from_texts(texts), None, **kwargs)
  words = ["" for _ in texts]
  for broken, why in reversed(found.wrong):
    words = [why if wrong else word for wrong, word in zip(broken, words)]
  return [int(value) if known else word for value, known, word in zip(found.values, found.known, words)]


@pytest.mark.parametrize(("label", "texts", "expected"), [
    (Label("y"), ["0", "1", "true", "FALSE", "Y", "n", "yes", "t"], [0, 1, 1, 0, 1, 0, 1, 1]),
    (Label("y"), ["1", "-1", "2", "", "x"], [1, 0, "is not 0 or 1", "is missing", "is not 0 or 1"]),
    (Label("y", 0.7), ["0.7", "0.69", "-1", "1e2", "", "x"], [1, 0, 0, 1, "is missing", "is not a number"]),
    (Label("y", positive=("cart", "buy")), ["view", "cart", "Buy", "buy", ""], [0, 1, 0, 1, "is missing"]),
    (Label("y", positive=("1",), negative=("-1",)), ["1", "-1", "0", "true", ""],
     [1, 0, "is none of the values that count as 0 or 1", 1, "is missing"]),
    (Label("y", positive=("4", "5")), ["4", "5", "3", "0"], [1, 1, 0, 0])])
def test_each_rule_reads_values_by_themselves(label, texts, expected):
  assert read(label, texts) == expected


def test_minus_one_is_no_label_beside_zero_and_zero_without_it():
  label = Label("y")
  assert read(label, ["1", "-1"], takes_minus_one=False) == [1, "is not 0 or 1"]
  assert mixes_minus_one(label, {"0": 3, "-1": 1}) and not mixes_minus_one(label, {"-1": 5})
  assert not mixes_minus_one(Label("y", positive=("0", "-1")), {"0": 3, "-1": 1})
  assert remarks(label, {"-1": 1200}) == ("Label 'y': 1,200 rows have -1 and none has 0, so that -1 counts as 0.",)
  assert remarks(label, {"-1": 1, "0": 1}) == remarks(label, {"0": 1}) == ()


def test_values_that_never_occur_are_told():
  label = Label("event", positive=("cart", "buy"))
  assert remarks(label, {"cart": 1}) == ("Label 'event': no row has 'buy' of the 2 values that count as 1.",)
  assert remarks(label, {"cart": 1, "buy": 2}) == ()


def test_what_is_no_single_text_is_no_other_value():
  column = columns.from_objects([["a"], {"b": 1}, b"\xff", "view"])
  assert read_labels(Label("y", positive=("buy",)), column, None).known.tolist() == [False, False, False, True]


def with_label(name, label):
  """The rows with another label in the place of `click`, and the spec that reads it."""
  rows = [{**{key: value for key, value in row.items() if key != "click"}, name: values}
          for row, values in zip(ROWS, label)]
  return rows, dataclasses.replace(SPEC, label=Label(name))


EVENTS = ["cart", "view", "view", "buy", "cart", "view", "wish"], {"positive": ("cart", "buy")}
RATIOS = [0.71, 0.2, 0.5, 1.5, 0.75, 0.1, 0.0], {"positive_from": 0.7}
SIGNS = [1, -1, -1, 1, 1, -1, -1], {}


@pytest.mark.parametrize(("kind", "values", "rule"), [
    *((kind, *form) for kind in FORMATS for form in (EVENTS, RATIOS)), ("csv", *SIGNS), ("tfrecord", *SIGNS),
    ("jsonl", ["Y", "N", "N", "Y", "Y", "N", "N"], {}), ("jsonl", [True, False, False, True, True, False, False], {})])
def test_labels_of_every_form_in_every_format(log, kind, values, rule):
  rows, spec = with_label("outcome", values)
  spec = FeatureSpec(spec.fields, Label("outcome", **rule), spec.time_column)
  log.write(f"log-1.{kind}", rows)
  summary = log.generate(log.settings(f"log-{{SPAN}}.{kind}"), spec)
  # The rows are in another order by their times.
  assert log.examples(spec)[1] == [0, 0, 1, 1, 1, 0, 0]
  assert (summary.num_positives, summary.num_quarantined) == (3, 0)


def test_a_few_rows_of_minus_one_in_a_log_of_zero_and_one_are_set_aside_as_before(log, rows):
  rows[5]["click"] = -1
  log.write("log-1.csv", rows)
  summary = log.generate(log.settings(max_quarantine_share=0.2))
  assert summary.quarantine_reasons == {"label 'click' is not 0 or 1": 1}
  assert log.examples()[1] == [0, 0, 1, 1, 1, 0] and summary.rows.read.num_rows == 7
  # The very bytes of a log whose broken label is one that never was a label.
  written = log.contents()
  rows[5]["click"] = 7
  log.write("log-1.csv", rows)
  log.generate(log.settings(max_quarantine_share=0.2))
  assert log.contents() == written


def test_values_of_neither_kind_are_set_aside_with_what_to_do(log):
  rows, spec = with_label("event", ["buy", "view", "view", "refund", "buy", "view", "view"])
  log.write("log-1.csv", rows)
  listed = dataclasses.replace(spec, label=Label("event", positive=("buy",), negative=("view",)))
  with pytest.raises(DataError, match="none of the values that count as 0 or 1.*features.label.negative"):
    log.generate(spec=listed)
  with pytest.raises(DataError, match="is not 0 or 1.*features.label what counts as 1: positive"):
    log.generate(spec=spec)
  # Of events that never occur all rows are of one label.
  with pytest.raises(DataError, match="all with 'event' = 0.*at_least, positive"):
    log.generate(spec=dataclasses.replace(spec, label=Label("event", positive=("sale",))))


def test_a_text_that_stands_for_missing_is_an_event_where_it_is_listed(log):
  rows, spec = with_label("event", ["None", "view", "view", "None", "buy", "view", None])
  log.write("log-1.csv", rows)
  spec = dataclasses.replace(spec, label=Label("event", positive=("buy", "None")))
  summary = log.generate(log.settings(max_quarantine_share=0.2), spec)
  assert log.examples(spec)[1] == [0, 0, 1, 1, 1, 0]
  assert summary.quarantine_reasons == {"label 'event' is missing": 1}


def test_rows_by_value_count_the_rows_of_a_block():
  column = columns.from_texts(["buy", "view", "cart"])
  found = read_labels(Label("y", positive=("buy", "cart")), column, None)
  assert found.rows_by_value(np.array([0, 1, 0, 1])) == {"buy": 2}
