"""Memories in the formats of other tools: Parquet, CSV, NumPy, a `tf.data` snapshot, and PyTorch.

An export is a folder with the data, an `export.json` that says what it is (recipe and feature spec included), and a
README. It appears whole or not at all: it is written under another name beside its place, and renamed last.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import diet_tf
from diet_tf.errors import ConfigError, FormatError, StoreError
from diet_tf.io import files
from diet_tf.io.documents import DocumentFormat, read_document
from diet_tf.io.shapes import fields_of
from diet_tf.io.write_access import require_writable_folder
from diet_tf.log.features import FEATURE_SPEC_SHAPE
from diet_tf.memory import torch_layout
from diet_tf.memory.export_readme import DESCRIPTION_NAME, README_NAME, readme
from diet_tf.memory.memory import Memory
from diet_tf.memory.recipe import Recipe
from diet_tf.printable import spreadsheet_text

DESCRIPTION = DocumentFormat("diet_tf.export", {1: {
    "format": str, "memory_uri": str, "memory_digest": str, "span": int, "num_slots": int, "num_examples_seen": int,
    "recipe": fields_of(Recipe), "feature_spec": FEATURE_SPEC_SHAPE, "feature_spec_digest": str, "made_with": str}})
SNAPSHOT_FOLDER = "snapshot"
_ROWS_PER_WRITE = 4096
# The columns of a slot beside its ids, as in its TFRecords, and the arrays that they come from.
_COLUMNS = {"slot_id": "slot_ids", "label": "labels", "sample_weight": "sample_weights", "born_span": "born_spans",
            "updated_span": "updated_spans", "influence": "influences"}


@dataclasses.dataclass(frozen=True)
class Export:
  """What was written.

  Attributes:
    folder: path of the folder that was written.
    format: name of the format, a key of `FORMATS`.
    memory_uri: the memory that it was made from.
    memory_digest: digest of that memory.
    span: number of the last span that the memory has seen.
    num_slots: number of the memory's slots.
    file_bytes: size of each file in bytes, by the file's path in the folder.
  """

  folder: str
  format: str
  memory_uri: str
  memory_digest: str
  span: int
  num_slots: int
  file_bytes: Mapping[str, int]

  def to_dict(self) -> dict[str, Any]:
    """The export as JSON values."""
    return {**dataclasses.asdict(self), "num_bytes": sum(self.file_bytes.values())}


def export_memory(memory: Memory, memory_uri: str, folder: str, export_format: str, *, replace: bool = False) -> Export:
  """Writes a memory in another format.

  Args:
    memory: memory that is exported; it has to be a saved one.
    memory_uri: path or URI of that memory, which the export names.
    folder: path of a local folder that is not there yet, or is empty.
    export_format: name of the format, a key of `FORMATS`.
    replace: whether an export that lies there already gives way.

  Raises:
    ConfigError: the format is not known, or the folder is a URI.
    StoreError: something else lies there, or it cannot be written.
    ModuleNotFoundError: the format needs a package that is not installed.
  """
  if export_format not in FORMATS:
    raise ConfigError("--format", rule=f"it is one of {', '.join(FORMATS)}.", received=repr(export_format),
                      remedy="choose one of them.")
  check_place(folder, replace=replace)
  folder = folder.rstrip("/")
  partial = f"{folder}.{uuid.uuid4().hex[:12]}{files.PARTIAL_SUFFIX}"
  try:
    with files.writing(folder):
      files.make_folders(partial)
      FORMATS[export_format](memory, partial)
      files.write_atomically(files.join(partial, README_NAME), readme(memory, export_format).encode())
      files.write_atomically(files.join(partial, DESCRIPTION_NAME), _description(memory, memory_uri, export_format))
      sizes = {name: files.num_bytes(files.join(partial, name)) for name in files.files_below(partial)}
      _publish(partial, folder)
  except BaseException:
    files.remove_if_there(partial)
    raise
  manifest = memory.manifest
  return Export(folder, export_format, memory_uri, manifest.digest, manifest.span, len(memory), sizes)


def check_place(folder: str, *, replace: bool) -> None:
  """Refuses a place that an export cannot be written to.

  Args:
    folder: path of the folder that the export is to be written to.
    replace: whether an export that lies there already gives way.

  Raises:
    ConfigError: it is a URI.
    StoreError: something lies there that is not to be replaced, or nothing can be written there.
  """
  if files.is_remote(folder):
    raise ConfigError("--to", rule="an export is written to a local folder, which is renamed when it is whole.",
                      received=repr(folder), remedy="name a local folder, and copy it.")
  require_writable_folder(files.parent(folder))
  if not files.exists(folder) or (files.is_folder(folder) and not files.names_in(folder)):
    return
  if not replace:
    raise StoreError(folder, rule="an export overwrites nothing.", received="something that lies there.",
                     remedy="name another folder, or pass --replace.")
  if not _is_export(folder):
    raise StoreError(folder, rule="--replace replaces an export.", received=f"a place without an {DESCRIPTION_NAME}.",
                     remedy="name another folder.")


def _is_export(folder: str) -> bool:
  try:
    return read_document(files.join(folder, DESCRIPTION_NAME)).get("format_name") == DESCRIPTION.name
  except (FormatError, OSError):
    return False


def _publish(partial: str, folder: str) -> None:
  """Gives the finished folder its name; what lay there is removed once it is there."""
  old = f"{partial}.replaced"
  if files.exists(folder) and files.names_in(folder):
    os.rename(folder, old)
  try:
    files.rename(partial, folder)
  except BaseException:
    if files.exists(old):
      os.rename(old, folder)
    raise
  files.remove_if_there(old)


def _description(memory: Memory, memory_uri: str, export_format: str) -> bytes:
  manifest = memory.manifest
  return DESCRIPTION.bytes(DESCRIPTION.document({
      "format": export_format, "memory_uri": memory_uri, "memory_digest": manifest.digest, "span": manifest.span,
      "num_slots": len(memory), "num_examples_seen": manifest.num_examples_seen, "recipe": memory.recipe.to_dict(),
      "feature_spec": memory.spec.to_dict(), "feature_spec_digest": manifest.feature_spec_digest,
      "made_with": f"diet-tf {diet_tf.__version__}"}))


def _write_parquet(memory: Memory, folder: str) -> None:
  import pyarrow as pa
  import pyarrow.parquet as pq

  slots = memory.slots
  columns = {"position": pa.array(np.arange(len(slots)))}
  columns.update({name: pa.array(getattr(slots, array)) for name, array in _COLUMNS.items()})
  for f, name in enumerate(memory.spec.names):
    used = slots.weights[:, f] > 0  # [N, K]
    offsets = pa.array(np.concatenate([[0], np.cumsum(used.sum(axis=1))]).astype(np.int32))
    columns[f"{name}/ids"] = pa.ListArray.from_arrays(offsets, pa.array(slots.ids[:, f][used]))
    columns[f"{name}/weights"] = pa.ListArray.from_arrays(offsets, pa.array(slots.weights[:, f][used]))
  pq.write_table(pa.table(columns), files.join(folder, "slots.parquet"), compression="zstd")


def _write_csv(memory: Memory, folder: str) -> None:
  slots = memory.slots
  with open(files.join(folder, "slots.csv"), "w", newline="", encoding="utf-8") as stream:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["position", *_COLUMNS])
    writer.writerows(zip(range(len(slots)), *(_texts(getattr(slots, array)) for array in _COLUMNS.values())))
  with open(files.join(folder, "ids.csv"), "w", newline="", encoding="utf-8") as stream:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["slot_id", "field", "id", "weight"])
    names = np.array([spreadsheet_text(name) for name in memory.spec.names], object)
    for start in range(0, len(slots), _ROWS_PER_WRITE):
      part = slots.take(np.arange(start, min(start + _ROWS_PER_WRITE, len(slots))))
      rows, fields, places = np.nonzero(part.weights > 0)
      writer.writerows(zip(part.slot_ids[rows].tolist(), names[fields].tolist(),
                           part.ids[rows, fields, places].tolist(), _texts(part.weights[rows, fields, places])))


def _texts(values: np.ndarray) -> list[str]:
  """Numbers as texts; those of single precision in their own shortest form, which reads back exactly."""
  return list(map(str, values))


def _write_numpy(memory: Memory, folder: str) -> None:
  slots = memory.slots
  arrays = {name: getattr(slots, name) for name in slots.DTYPES}
  np.savez_compressed(files.join(folder, "slots.npz"), fields=np.array(memory.spec.names),
                      num_ids=np.array(memory.spec.num_ids, np.int64), **arrays)


def _write_snapshot(memory: Memory, folder: str) -> None:
  memory.dataset(mode="weighted").save(files.join(folder, SNAPSHOT_FOLDER), compression="GZIP")


def _write_torch(memory: Memory, folder: str) -> None:
  np.savez_compressed(files.join(folder, torch_layout.ARRAYS_NAME), **torch_layout.keyed_jagged_arrays(memory))
  files.write_atomically(files.join(folder, torch_layout.MODULE_NAME), torch_layout.MODULE.encode())


FORMATS: Mapping[str, Callable[[Memory, str], None]] = {
    "parquet": _write_parquet, "csv": _write_csv, "numpy": _write_numpy, "snapshot": _write_snapshot,
    "torch": _write_torch}
