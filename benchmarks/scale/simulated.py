"""The simulated logs of size: 20 fields, two of them of a million ids, that drift from span to span."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from diet_tf.log.simulate import SimulatedLog, SimulatedLogSettings

if TYPE_CHECKING:
  from diet_tf.config.config import Config

# 2^17 users and as many items at a time are hashed into 2^20 ids each, and a span replaces a twenty-fifth of them.
LOG = SimulatedLogSettings(num_users=1 << 17, num_items=1 << 17, num_authors=1 << 14, num_categories=256,
                           num_segments=32, popularity_drift=0.05, num_attributes=9)
# As in examples/kuairand.yaml: so many of the fields that name single users and things, 4 of all others.
IDS_PER_SLOT = 32
ID_FIELDS = ("user_id", "item_id", "author_id")


def simulated_config(log: SimulatedLogSettings, folder: str, overrides: Sequence[str] = ()) -> Config:
  """The config that distils a simulated log of size, with the defaults for everything else.

  Args:
    log: settings of the log.
    folder: folder that the log's files are written to.
    overrides: settings that differ, each of the form "section.key=value".
  """
  from diet_tf.config.config import build_config
  from diet_tf.config.yaml_file import apply_overrides, parse_overrides
  from diet_tf.settings import Where
  from pipelines import demo
  from pipelines.data_folder import with_data_dir

  features = demo.config_values(log)["features"]
  for field in features["fields"]:
    if field["name"] in ID_FIELDS:
      field["ids_per_slot"] = IDS_PER_SLOT
  values = {"name": "simulated", "log": {"pattern": "span-{SPAN}.parquet"}, "features": features}
  where = apply_overrides(values, Where("the simulated log's config"), parse_overrides(overrides))
  return with_data_dir(build_config(values, where), folder)


def write_span(log: SimulatedLogSettings, folder: str, span: int) -> None:
  """Writes a span as Parquet, block by block, unless it is there."""
  import pyarrow as pa
  import pyarrow.parquet as pq

  from diet_tf.io import files

  path = files.join(folder, f"span-{span}.parquet")
  if files.exists(path):
    return
  files.make_folders(folder)
  partial, writer = files.join(folder, f"partial-{span}"), None
  for block in SimulatedLog(dataclasses.replace(log, block_rows=1 << 16)).blocks(span):
    table = pa.table(dict(block.columns))
    writer = writer or pq.ParquetWriter(partial, table.schema)
    writer.write_table(table)
  if writer is not None:
    writer.close()
  files.rename(partial, path)
