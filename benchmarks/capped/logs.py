"""The logs of the benchmark of capped memories, as spans of rows with narrow id spaces."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import MISSING_ID, FeatureSpec, Field, Label
from diet_tf.log.hashing import mix

_FLIGHT_FIELDS = ("origin", "destination", "route", "distance", "hour", "weekday")
_DISTANCES = (150, 250, 350, 500, 650, 800, 1000, 1300, 1700, 2200)


@dataclasses.dataclass(frozen=True)
class SpannedLog:
  """A log in spans; a memory that has seen all spans but the last is judged on that.

  Attributes:
    spec: feature spec with id spaces of the ids that occur.
    spans: rows of each span, in the order of time, with clicks and example ids.
    num_free_spans: number of spans after which the memory is full.
  """

  spec: FeatureSpec
  spans: tuple[EncodedRows, ...]
  num_free_spans: int


def kuairand(data_dir: str, folder: str, num_spans: int = 12) -> SpannedLog:
  """KuaiRand, 25 to 28 April cut into spans of equally many rows, judged on the 29th; the 30th is left alone."""
  from benchmarks.fidelity.encoded_log import encode_log, read_log
  from diet_tf.config.config import load_config
  from pipelines.data_folder import with_data_dir

  config = with_data_dir(load_config("examples/kuairand.yaml"), f"{data_dir}/kuairand")
  encode_log(config, folder)
  log = read_log(config, folder)
  days = log.train_spans
  train, judged = log.rows.of_spans(days[:-1]), log.rows.of_spans(days[-1:])
  cuts = np.array_split(np.arange(len(train)), num_spans)
  return _narrowed(log.spec, [*(train.take(cut) for cut in cuts), judged], num_spans // 3)


def flights(data_dir: str, folder: str, num_spans: int = 18, rows_per_span: int = 5000) -> SpannedLog:
  """US flights of 2001 week by week, a sample of each week, judged on the week after the last."""
  path = f"{folder}/flights-{num_spans}-{rows_per_span}.npz"
  if not os.path.exists(path):
    os.makedirs(folder, exist_ok=True)
    np.savez(path, **_flight_columns(data_dir, num_spans, rows_per_span))
  with np.load(path) as columns:
    ids, labels, weeks, numbers = (columns[name] for name in ("ids", "labels", "weeks", "numbers"))
  kept = {"origin": 16, "destination": 16, "route": 32}
  fields = tuple(Field(name, name, hash_ids=int(column.max()) + 1, ids_per_slot=kept.get(name))
                 for name, column in zip(_FLIGHT_FIELDS, ids.T))
  rows = EncodedRows(ids, labels, numbers)
  return _narrowed(FeatureSpec(fields=fields, label=Label("late15")),
                   [rows.take(weeks == week) for week in range(num_spans + 1)], num_spans // 3)


def _flight_columns(data_dir: str, num_spans: int, rows_per_span: int) -> dict[str, np.ndarray]:
  """Ids, labels, weeks and numbers of the rows that are drawn from each week."""
  import pyarrow.parquet as parquet

  days = sorted(glob.glob(f"{data_dir}/flights/log/date=*.parquet"))[:7 * (num_spans + 1)]
  tables = [parquet.read_table(day, columns=[*_FLIGHT_FIELDS, "late15"]) for day in days]
  whole = {name: np.concatenate([np.asarray(table[name]) for table in tables]) for name in tables[0].column_names}
  whole["distance"] = np.digitize(whole["distance"], _DISTANCES)
  weeks = np.repeat(np.arange(len(days)) // 7, [len(table) for table in tables])
  drawn = []
  for week in range(num_spans + 1):
    at = np.flatnonzero(weeks == week)
    drawn.append(np.sort(at[np.argsort(mix(at, 999))[:rows_per_span * (2 if week == num_spans else 1)]]))
  at = np.concatenate(drawn)
  ids = np.stack([np.unique(whole[name], return_inverse=True)[1][at] + 1 for name in _FLIGHT_FIELDS], axis=1)
  return {"ids": ids.astype(np.int32), "labels": whole["late15"][at].astype(np.float32), "weeks": weeks[at],
          "numbers": at.astype(np.int64)}


def simulation(num_spans: int = 18, rows_per_span: int = 5000) -> SpannedLog:
  """A simulated log: tastes turn by a tenth of a radian a span, users and items go and others come."""
  from diet_tf.log.encoding import encode
  from diet_tf.log.simulate import SimulatedLog, SimulatedLogSettings, simulated_feature_spec

  settings = SimulatedLogSettings(rows_per_span=rows_per_span)
  log, spec = SimulatedLog(settings), simulated_feature_spec(settings)
  wide = {"user_id": 32, "item_id": 32, "author_id": 32}
  spec = dataclasses.replace(spec, fields=tuple(dataclasses.replace(field, ids_per_slot=wide.get(field.name))
                                                for field in spec.fields))
  spans = []
  for span in range(num_spans + 1):
    columns, _ = log.span(span, 2 * rows_per_span if span == num_spans else None)
    ids = np.stack([encode(field, columns[field.column]) for field in spec.fields], axis=1).astype(np.int32)
    spans.append(EncodedRows(ids, columns["click"].astype(np.float32),
                             (np.int64(span) << 32) + np.arange(len(ids), dtype=np.int64)))
  return _narrowed(spec, spans, num_spans // 3)


def _narrowed(spec: FeatureSpec, spans: Sequence[EncodedRows], num_free_spans: int) -> SpannedLog:
  """The log with ids counted from 1 in each field, in place of hashes."""
  fields, columns = [], []
  whole = np.concatenate([rows.ids for rows in spans])
  for number, field in enumerate(spec.fields):
    known = np.setdiff1d(whole[:, number], [MISSING_ID])
    columns.append(np.where(whole[:, number] == MISSING_ID, MISSING_ID, np.searchsorted(known, whole[:, number]) + 1))
    fields.append(dataclasses.replace(field, hash_ids=max(len(known) + 1, 2), vocabulary_ids=None, vocabulary=(),
                                      boundaries=(), salt=None))
  ids = np.split(np.stack(columns, axis=1).astype(np.int32), np.cumsum([len(rows) for rows in spans])[:-1])
  return SpannedLog(dataclasses.replace(spec, fields=tuple(fields)),
                    tuple(rows.with_columns(ids=part) for rows, part in zip(spans, ids)), num_free_spans)


def logs(data_dir: str, folder: str) -> Mapping[str, Callable[[], SpannedLog]]:
  """The logs by name, each made when it is asked for.

  Args:
    data_dir: folder of `kuairand` and `flights`.
    folder: folder where KuaiRand is kept encoded.
  """
  return {"kuairand": lambda: kuairand(data_dir, f"{folder}/kuairand"), "flights": lambda: flights(data_dir, folder),
          "simulation": simulation}
