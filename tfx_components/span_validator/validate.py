"""Checks of a span's statistics: the function behind SpanValidator, callable without artifacts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from diet_tf.config.validation import ValidationSettings
from diet_tf.errors import ConfigError, DataError, FormatError
from diet_tf.io import files
from diet_tf.log.examples import weights_key
from diet_tf.log.features import FeatureSpec

SCHEMA_NAME = "schema.pbtxt"
STATISTICS_NAME = "FeatureStats.pb"
# As TFX's own ExampleValidator names it, for tools that look there.
ANOMALIES_NAME = "SchemaDiff.pb"

_MAX_NAMED = 8


@dataclasses.dataclass(frozen=True)
class Anomaly:
  """One anomaly of a span.

  Attributes:
    subject: the feature, or "the span" for an anomaly of the whole.
    kind: name of TensorFlow Metadata's `AnomalyInfo.Type`.
    description: TFDV's own words for it.
  """

  subject: str
  kind: str
  description: str

  def __str__(self) -> str:
    return f"{self.subject}: {self.kind} ({self.description})"


def checked_schema(schema: schema_pb2.Schema, spec: FeatureSpec, settings: ValidationSettings) -> schema_pb2.Schema:
  """The schema with every field marked categorical and its drift threshold as the settings have it now.

  Ids are names, not numbers: without the mark, TFDV compares neither their frequencies nor anything else of them. The
  lists of ids that were seen, which `SchemaGen` infers for small fields, are dropped: the id space is the feature
  spec's, and new ids are what a stage is there to follow.
  """
  checked = schema_pb2.Schema()
  checked.CopyFrom(schema)
  weights = {weights_key(field.name) for field in spec.fields if field.weights is not None}
  for feature in checked.feature:
    if feature.name in weights:
      set_number_of_values(feature, True)
    if feature.name not in spec.names:
      continue
    feature.type = schema_pb2.INT
    feature.int_domain.Clear()
    feature.int_domain.is_categorical = True
    set_number_of_values(feature, spec.fields[spec.names.index(feature.name)].is_multi_valued)
    feature.ClearField("drift_comparator")
    threshold = settings.threshold_of(feature.name)
    if threshold is not None:
      feature.drift_comparator.infinity_norm.threshold = threshold
  domains = [domain for domain in checked.string_domain if domain.name not in spec.names]
  del checked.string_domain[:]
  checked.string_domain.extend(domains)
  return checked


def set_number_of_values(feature: schema_pb2.Feature, is_multi_valued: bool) -> None:
  """Lets a multi-valued field, or its weights, have any number of values; how many the first span had is no rule."""
  if is_multi_valued:
    feature.ClearField("shape")
    feature.value_count.min = 1
    feature.value_count.ClearField("max")


def find_anomalies(statistics: statistics_pb2.DatasetFeatureStatisticsList, schema: schema_pb2.Schema,
                   previous: statistics_pb2.DatasetFeatureStatisticsList | None, spec: FeatureSpec,
                   settings: ValidationSettings) -> anomalies_pb2.Anomalies:
  """The anomalies of a span, as TFDV finds them.

  Args:
    statistics: statistics of the span.
    schema: schema of the store, see `checked_schema`.
    previous: statistics of the span before; None in the first.
    spec: feature spec, whose fields drift is looked for in.
    settings: which anomalies are fatal and what counts as drift.

  Raises:
    ConfigError: a fatal kind or a field of the settings is not known, or drift is to be seen where the statistics have
      no frequencies of ids.
  """
  settings.require_known(anomalies_pb2.AnomalyInfo.Type.keys(), spec.names)
  for one in (statistics, previous):
    if one is not None:
      _check_frequencies(one, spec, settings)
  anomalies = tfdv.validate_statistics(statistics, comparable(schema, previous), previous_statistics=previous)
  in_schema = {feature.name for feature in schema.feature}
  for name in spec.names:
    if name not in in_schema and name not in anomalies.anomaly_info:
      # TFDV misses only what the schema knows; a field that the first span already lacks is in neither.
      _add_missing_column(anomalies, name)
  return anomalies


def comparable(schema: schema_pb2.Schema,
               previous: statistics_pb2.DatasetFeatureStatisticsList | None) -> schema_pb2.Schema:
  """The schema without the drift of features that the span before has no statistics of.

  A field is new, or its ids are (see `diet_tf.migration.memory`); that there is nothing to compare with is no anomaly.
  """
  known = {name_of(feature) for dataset in (previous.datasets if previous else ()) for feature in dataset.features}
  reduced = schema_pb2.Schema()
  reduced.CopyFrom(schema)
  for feature in reduced.feature:
    if feature.name not in known:
      feature.ClearField("drift_comparator")
  return reduced


def _add_missing_column(anomalies: anomalies_pb2.Anomalies, name: str) -> None:
  info = anomalies.anomaly_info[name]
  info.path.step.append(name)
  info.severity = anomalies_pb2.AnomalyInfo.ERROR
  info.short_description = "Column dropped"
  info.description = "The field of the feature spec is neither in the statistics nor in the schema"
  info.reason.add(type=anomalies_pb2.AnomalyInfo.SCHEMA_MISSING_COLUMN, short_description=info.short_description,
                  description=info.description)


def _check_frequencies(statistics: statistics_pb2.DatasetFeatureStatisticsList, spec: FeatureSpec,
                       settings: ValidationSettings) -> None:
  for feature in (feature for dataset in statistics.datasets for feature in dataset.features):
    name = name_of(feature)
    if name in spec.names and settings.threshold_of(name) is not None and not feature.HasField("string_stats"):
      raise ConfigError(f"drift threshold of field {name!r}", rule="drift is seen in the frequencies of ids.",
                        received="statistics of a number, without frequencies.",
                        remedy="give StatisticsGen stats_options whose schema marks the fields as categorical, or "
                        "remove the threshold.")


def listed(anomalies: anomalies_pb2.Anomalies) -> list[Anomaly]:
  """All anomalies, by subject."""
  found = [Anomaly("the span", _kind(reason.type), reason.description or reason.short_description)
           for reason in anomalies.dataset_anomaly_info.reason]
  if anomalies.data_missing and not found:
    found.append(Anomaly("the span", "NO_DATA_IN_SPAN", "there is no example"))
  for name in sorted(anomalies.anomaly_info):
    info = anomalies.anomaly_info[name]
    subject = f"field {'.'.join(info.path.step) or name!r}"
    found += [Anomaly(subject, _kind(reason.type), reason.description or reason.short_description)
              for reason in info.reason]
  return found


def _kind(number: int) -> str:
  return anomalies_pb2.AnomalyInfo.Type.Name(number)


def require_no_fatal(anomalies: Sequence[Anomaly], span: int, settings: ValidationSettings) -> None:
  """Raises DataError, naming each, if anomalies are of a fatal kind."""
  fatal = [anomaly for anomaly in anomalies if anomaly.kind in settings.fatal]
  if not fatal:
    return
  more = f"; and {len(fatal) - _MAX_NAMED} more" if len(fatal) > _MAX_NAMED else ""
  raise DataError(f"span {span}", rule="it has no anomaly of a kind that validation.fatal lists.",
                  received="; ".join(map(str, fatal[:_MAX_NAMED])) + f"{more}.",
                  remedy="mend the log and run the span again; if the change is meant, take the kind out of "
                  "validation.fatal or raise the threshold. Nothing was committed.")


def carried_statistics(statistics: statistics_pb2.DatasetFeatureStatisticsList,
                       spec: FeatureSpec) -> statistics_pb2.DatasetFeatureStatisticsList:
  """What the next span's drift is measured against: counts and frequencies of ids, in an order that is always the same.

  Means, deviations and quantiles depend in their last digits on how the work was spread; with them, the same span
  would not give the same commit twice.
  """
  carried = statistics_pb2.DatasetFeatureStatisticsList()
  for dataset in statistics.datasets:
    target = carried.datasets.add(name=dataset.name, num_examples=dataset.num_examples)
    for feature in sorted(dataset.features, key=name_of):
      if name_of(feature) in spec.names:
        _carry(feature, target.features.add())
  return carried


def _carry(feature: statistics_pb2.FeatureNameStatistics, target: statistics_pb2.FeatureNameStatistics) -> None:
  target.type = feature.type
  target.path.step.append(name_of(feature))
  kind = "string_stats" if feature.HasField("string_stats") else "num_stats"
  source, copy = getattr(feature, kind), getattr(target, kind)
  for name in ("num_non_missing", "num_missing", "min_num_values", "max_num_values", "tot_num_values"):
    setattr(copy.common_stats, name, getattr(source.common_stats, name))
  if kind == "num_stats":
    return
  buckets = sorted(source.rank_histogram.buckets, key=lambda bucket: (-bucket.sample_count, bucket.label))
  for rank, bucket in enumerate(buckets):
    copy.rank_histogram.buckets.add(low_rank=rank, high_rank=rank, label=bucket.label,
                                    sample_count=bucket.sample_count)


def name_of(feature: statistics_pb2.FeatureNameStatistics) -> str:
  """The name of the feature that the statistics are of."""
  return feature.name or ".".join(feature.path.step)


def read_statistics(folder: str) -> statistics_pb2.DatasetFeatureStatisticsList:
  """The statistics in a folder, as `StatisticsGen` or a commit keeps them.

  Raises:
    FormatError: there are none, or they are damaged.
  """
  path = files.join(folder, STATISTICS_NAME)
  try:
    return statistics_pb2.DatasetFeatureStatisticsList.FromString(files.read_bytes(path))
  except Exception as error:  # Protobuf's and the file systems' errors share no narrower base.
    raise FormatError(path, rule="it holds serialised DatasetFeatureStatisticsList.",
                      received=f"{type(error).__name__}: {error}.", remedy="run StatisticsGen again.") from error


def write_statistics(folder: str, statistics: statistics_pb2.DatasetFeatureStatisticsList) -> None:
  """Writes statistics as `read_statistics` reads them; equal statistics give equal bytes."""
  files.make_folders(folder)
  files.write_atomically(files.join(folder, STATISTICS_NAME), statistics.SerializeToString(deterministic=True))


def read_schema(folder: str) -> schema_pb2.Schema:
  """The schema in a folder.

  Raises:
    FormatError: there is none, or it is damaged.
  """
  path = files.join(folder, SCHEMA_NAME)
  try:
    return text_format.Parse(files.read_bytes(path).decode(), schema_pb2.Schema())
  except Exception as error:  # Protobuf's and the file systems' errors share no narrower base.
    raise FormatError(path, rule="it holds a schema of TensorFlow Metadata as text.",
                      received=f"{type(error).__name__}: {error}.", remedy="run SchemaGen again.") from error


def write_schema(folder: str, schema: schema_pb2.Schema) -> None:
  """Writes a schema as `read_schema` and TFX read it."""
  files.make_folders(folder)
  files.write_atomically(files.join(folder, SCHEMA_NAME), text_format.MessageToString(schema).encode())
