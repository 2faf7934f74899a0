import os

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.types import standard_artifacts

from diet_tf.config.validation import DEFAULT_FATAL_ANOMALIES, ValidationSettings
from diet_tf.errors import ConfigError, DataError
from diet_tf.settings import to_json
from diet_tf.store.store import Store
from tests.diet_tf import small_sets
from tfx_components.parameters import as_text
from tfx_components.span_validator import validate

DRIFT = "COMPARATOR_L_INFTY_HIGH"


@pytest.fixture
def begun(workshop, tmp_path):
  """A store with a commit of span 1 that has a schema and statistics; returns the parent of span 2."""
  statistics = workshop.statistics(1)
  checked = workshop.validate(1, statistics, workshop.load(1))
  folder = str(tmp_path / "carried")
  read = validate.read_statistics(os.path.join(statistics.uri, "Split-train"))
  validate.write_statistics(folder, validate.carried_statistics(read, workshop.spec))
  Store(workshop.store).commit(1, {"schema": checked["schema"].uri, "statistics": folder}, parent=None, settings={},
                               run_id="")
  return workshop.load(2)


def narrow(workshop):
  """Statistics of a span in which one item takes half of all examples."""
  ids, labels, _, _ = workshop.make_examples(2)
  ids[::2, 1] = 1
  return workshop.statistics_of(ids, labels)


def anomalies_of(made):
  path = os.path.join(made["anomalies"].uri, "Split-train", "SchemaDiff.pb")
  with open(path, "rb") as stream:
    return anomalies_pb2.Anomalies.FromString(stream.read())


def test_the_first_span_gives_the_schema_with_categorical_fields(workshop):
  settings = ValidationSettings(drift_thresholds={"item": 0.25})
  made = workshop.validate(1, workshop.statistics(1), workshop.load(1), settings)
  schema = validate.read_schema(made["schema"].uri)
  features = {feature.name: feature for feature in schema.feature}
  assert set(features) == {"user", "item", "hour", "label"}
  for name in workshop.spec.names:
    assert features[name].type == schema_pb2.INT and features[name].int_domain.is_categorical
  assert features["item"].drift_comparator.infinity_norm.threshold == 0.25
  assert not features["user"].HasField("drift_comparator")
  assert not schema.string_domain
  assert not anomalies_of(made).anomaly_info
  assert made["anomalies"].splits == ["train"] and made["anomalies"].span == 1
  assert made["anomalies"].get_int_custom_property("num_anomalies") == 0


def test_drift_above_a_fatal_threshold_stops_before_anything_is_committed(workshop, begun):
  settings = ValidationSettings(fatal=(*DEFAULT_FATAL_ANOMALIES, DRIFT), drift_thresholds={"item": 0.3})
  before = workshop.contents(workshop.store)
  with pytest.raises(DataError, match=rf"span 2.*field 'item': {DRIFT}.*Nothing was committed"):
    workshop.validate(2, workshop.statistics(2, narrow(workshop)), begun, settings)
  assert workshop.contents(workshop.store) == before


def test_drift_that_is_not_fatal_is_reported(workshop, begun):
  settings = ValidationSettings(drift_thresholds={"item": 0.3})
  made = workshop.validate(2, workshop.statistics(2, narrow(workshop)), begun, settings)
  info = anomalies_of(made).anomaly_info
  assert list(info) == ["item"]
  assert [reason.type for reason in info["item"].reason] == [anomalies_pb2.AnomalyInfo.COMPARATOR_L_INFTY_HIGH]
  assert made["anomalies"].get_int_custom_property("num_anomalies") == 1


def test_drift_below_the_threshold_is_none(workshop, begun):
  made = workshop.validate(2, workshop.statistics(2, narrow(workshop)), begun,
                           ValidationSettings(default_drift_threshold=0.9))
  assert not anomalies_of(made).anomaly_info
  # The thresholds in use are those of the settings now, not those that the first span was checked with.
  checked = {feature.name for feature in validate.read_schema(made["schema"].uri).feature
             if feature.HasField("drift_comparator")}
  assert checked == set(workshop.spec.names)


@pytest.mark.parametrize("span", [1, 2])
def test_a_missing_field_stops_the_span(workshop, begun, span):
  parent = begun if span == 2 else workshop.load(1)
  ids, labels, _, _ = workshop.make_examples(span)
  statistics = workshop.statistics(span, workshop.statistics_of(ids, labels, drop=["item"]))
  with pytest.raises(DataError, match=r"field 'item': SCHEMA_MISSING_COLUMN"):
    workshop.validate(span, statistics, parent)
  assert Store(workshop.store).spans() == [1]


def test_a_missing_field_that_is_not_fatal_is_reported(workshop, begun):
  ids, labels, _, _ = workshop.make_examples(2)
  statistics = workshop.statistics(2, workshop.statistics_of(ids, labels, drop=["item"]))
  made = workshop.validate(2, statistics, begun, ValidationSettings(fatal=()))
  assert list(anomalies_of(made).anomaly_info) == ["item"]


def test_a_span_without_examples_is_stopped(workshop, begun):
  ids, labels, _, _ = workshop.make_examples(2)
  statistics = workshop.statistics_of(ids, labels)
  statistics.datasets[0].num_examples = 0
  del statistics.datasets[0].features[:]
  with pytest.raises(DataError, match="span 2"):
    workshop.validate(2, workshop.statistics(2, statistics), begun)


def test_drift_needs_frequencies_of_ids(workshop):
  ids, _, _, _ = workshop.make_examples(1)
  numbers = tfdv.generate_statistics_from_dataframe(pd.DataFrame(dict(zip(workshop.spec.names, ids.T, strict=True))),
                                                    n_jobs=1)
  with pytest.raises(ConfigError, match="categorical"):
    workshop.validate(1, workshop.statistics(1, numbers), workshop.load(1),
                      ValidationSettings(drift_thresholds={"user": 0.5}))
  workshop.validate(1, workshop.statistics(1, numbers), workshop.load(1))


@pytest.mark.parametrize("settings", [ValidationSettings(fatal=("SCHEMA_MISSING_COLUM",)),
                                      ValidationSettings(drift_thresholds={"itm": 0.5})])
def test_unknown_names_are_refused(workshop, settings):
  with pytest.raises(ConfigError, match="unknown"):
    workshop.validate(1, workshop.statistics(1), workshop.load(1), settings)


def test_unknown_keys_of_the_settings_are_refused(workshop):
  statistics = workshop.statistics(1)
  with pytest.raises(ConfigError, match="fatl"):
    workshop.run("SpanValidator", {"statistics": statistics, "inferred_schema": workshop.schema(statistics),
                                   "parent": workshop.load(1)},
                 {"anomalies": standard_artifacts.ExampleAnomalies, "schema": standard_artifacts.Schema},
                 features=as_text(workshop.spec), span="1",
                 validation=to_json(ValidationSettings()).replace("fatal", "fatl"))


def test_what_is_carried_does_not_depend_on_the_order_of_the_work(workshop):
  ids, labels, _, _ = workshop.make_examples(1)
  order = np.random.default_rng(0).permutation(len(ids))
  one, other = (validate.carried_statistics(statistics, workshop.spec) for statistics in (
      workshop.statistics_of(ids, labels), workshop.statistics_of(ids[order], labels[order])))
  assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
  item = {feature.path.step[0]: feature for feature in one.datasets[0].features}["item"]
  values, counts = np.unique(ids[:, 1], return_counts=True)
  assert {bucket.label: bucket.sample_count for bucket in item.string_stats.rank_histogram.buckets} == {
      str(value): float(count) for value, count in zip(values, counts, strict=True)}


def test_a_multi_valued_field_may_have_any_number_of_values():
  schema = schema_pb2.Schema()
  for field in small_sets.SPEC.fields:
    feature = schema.feature.add(name=field.name, type=schema_pb2.INT)
    feature.shape.dim.add(size=1)  # As SchemaGen infers it where all rows of the first span have one.
  for name in ("label", "tags/weights"):
    schema.feature.add(name=name, type=schema_pb2.FLOAT).shape.dim.add(size=1)
  schema.feature[1].value_count.min, schema.feature[1].value_count.max = 2, 3
  features = {feature.name: feature for feature in validate.checked_schema(
      schema, small_sets.SPEC, ValidationSettings()).feature}
  for name in ("genres", "tags", "tags/weights"):
    assert (features[name].value_count.min, features[name].value_count.HasField("max")) == (1, False)
    assert not features[name].HasField("shape")
  assert all(features[name].HasField("shape") for name in ("user", "hour", "label"))
