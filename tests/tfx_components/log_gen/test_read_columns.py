import pytest

from diet_tf.errors import DataError
from diet_tf.log.duplicates import DuplicateRule
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.settings import LogSettings
from tfx_components.log_gen import read_columns
from tfx_components.log_gen.join import JoinPlan


def test_what_is_read_of_a_log_and_what_for():
  spec = FeatureSpec((Field("user", "user_id", hash_ids=9), Field("brand", "brand", hash_ids=9),
                      Field("again", "user_id", hash_ids=9)), Label("click"), "t")
  join = JoinPlan(0, "items.csv", "item", "id", ((1, "brand"),), keyed=False)
  settings = LogSettings("log.csv", span_column="hour", span_seconds=60)
  # "brand" comes from the side table, for which the log's "item" is read.
  assert read_columns.read_columns(spec, settings, [join], DuplicateRule()) == {
      "user_id": "field 'user'", "item": "the join with items.csv", "hour": "span_column", "t": "time_column",
      "click": "the label"}
  keyed = read_columns.read_columns(spec, settings, [join], DuplicateRule(("request_id", "t")))
  assert keyed == {"user_id": "field 'user'", "item": "the join with items.csv", "hour": "span_column",
                   "t": "time_column", "click": "the label", "request_id": "log.unique"}


def test_nearest_names_come_first():
  assert read_columns.nearest("Price", ["user", "price_v2", "prices", "click"])[:2] == ["prices", "price_v2"]
  assert read_columns.nearest("zzz", ["user", "click"]) == ["user", "click"]


@pytest.mark.parametrize(("column", "purpose", "present", "remedy"), [
    ("event.clicked", "the label", ["event", "user"], "it is the keys that lead to a value within objects"),
    ("click", "the label", ["user", "item"], "a log of positives alone needs rows with label 0"),
    ("user", "field 'user'", ["user\titem\tclick"], "set log.delimiter"),
    ("user", "field 'user'", ["34", "291", "0"], "name the columns in log.columns"),
    ("user", "field 'user'", ["item"], "correct the column's name")])
def test_a_column_that_is_not_there_is_told_with_what_to_do(column, purpose, present, remedy):
  with pytest.raises(DataError, match=f"column '{column}' of span 1.*{purpose}") as raised:
    read_columns.check_columns({column: purpose}, present, "span 1")
  assert remedy in raised.value.remedy


def test_what_a_log_needs_and_does_not_have_yet_is_told(log):
  spec = FeatureSpec((Field("user", "user", hash_ids=9),), Label("click"))
  (log.folder / "log-1.csv").write_text("user,click\n1,view\n2,cart\n")
  with pytest.raises(DataError, match="label 'click' is not 0 or 1.*click = 'view'.*positive, a list of values"):
    log.generate(spec=spec)
  (log.folder / "log-1.csv").write_text("user,click\n1,1\n2,1\n")
  with pytest.raises(DataError, match="all with 'click' = 1.*negatives are not drawn yet"):
    log.generate(spec=spec)
  (log.folder / "log-1.csv").write_text("user,click\n1,Y\n2,N\n")
  assert log.generate(spec=spec).num_positives == 1
  (log.folder / "log-1.jsonl").write_text('{"user": [1, 2], "click": 1}\n{"user": {"id": 1}, "click": 0}\n')
  with pytest.raises(DataError, match="1 x column 'user' is a list, not a single value; 1 x column 'user' is an object"
                     ".*how many of its values a field keeps.*name a value within it"):
    log.generate(log.settings("log-{SPAN}.jsonl"), spec=spec)


def test_a_column_that_nothing_reads_cannot_break_a_row(log):
  (log.folder / "log-1.csv").write_bytes(
      b"user,item,price,click,t,query\n1,a,1,1,10,caf\xe9\n2,b,1,0,20,tea\n3,\xe9,1,0,30,tea\n")
  summary = log.generate(log.settings(max_quarantine_share=0.5))
  assert log.examples()[3] == [10, 20]
  assert summary.quarantine_reasons == {"column 'item' holds bytes that are no UTF-8": 1}
