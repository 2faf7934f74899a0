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
  assert read_columns.read_columns(spec, settings, [join]) == {
      "user_id": "field 'user'", "item": "the join with items.csv", "hour": "span_column", "t": "time_column",
      "click": "the label"}


def test_nearest_names_come_first():
  assert read_columns.nearest("Price", ["user", "price_v2", "prices", "click"])[:2] == ["prices", "price_v2"]
  assert read_columns.nearest("zzz", ["user", "click"]) == ["user", "click"]


def test_a_column_that_nothing_reads_cannot_break_a_row(log):
  (log.folder / "log-1.csv").write_bytes(
      b"user,item,price,click,t,query\n1,a,1,1,10,caf\xe9\n2,b,1,0,20,tea\n3,\xe9,1,0,30,tea\n")
  summary = log.generate(log.settings(max_quarantine_share=0.5))
  assert log.examples()[3] == [10, 20]
  assert summary.quarantine_reasons == {"column 'item' holds bytes that are no UTF-8": 1}
