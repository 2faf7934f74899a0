"""Small valid files of each format, and what their readers give: what fuzzing starts from."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from diet_tf.config.yaml_file import read_config_file
from diet_tf.distillation import scoring
from diet_tf.io.documents import document_bytes, read_document
from diet_tf.io.record_frames import count_records
from diet_tf.log import examples as log_examples
from diet_tf.log.examples import write_example_shard
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory import slot_records
from diet_tf.memory.manifest import read_manifest
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.store.commit import Commit, ForgottenCommit, Pin, forgotten_from_dict, forgotten_to_dict
from diet_tf.store.store import Store
from tests.diet_tf.small_slots import small_slots

SPEC = FeatureSpec(fields=(Field("user", "user_id", hash_ids=1000), Field("hour", "hour", boundaries=(6.0, 12.0)),
                           Field("item", "item_id", vocabulary_ids=5, vocabulary=("a", "b"))), label=Label("click"))
USERS = ({"born_span": 1, "user_field": SPEC.names[0], "min_users": 2},)

CONFIG = """name: fuzz
log:
  pattern: "logs/{SPAN}.csv"
  joins: [{on: user, pattern: 'users.csv'}]
features:
  fields:
  - {name: user, column: user_id, hash: 1000}  # a comment
  - {name: hour, boundaries: [6, 12.5, 1e2]}
text: |
  several
  lines
"""


@dataclasses.dataclass(frozen=True)
class Format:
  """One format: the bytes of a valid file, its name, and a reader that gives its content as comparable values.

  Attributes:
    name: of the file.
    content: of a valid one.
    read: the reader, of a path.
  """

  name: str
  content: bytes
  read: Callable[[str], Any]


def make_formats(folder: pathlib.Path) -> dict[str, Format]:
  """A valid file of each format, by the format's name."""
  slots = _slots()
  save_memory(str(folder / "memory"), Memory.create(slots, SPEC, Recipe(step_multipliers=(1.0, 0.5)), span=3,
                                                    num_examples_seen=90, budget={"fraction": 0.1}, users_per_id=USERS))
  Store(str(folder / "store")).commit(3, {"memory": str(folder / "memory")}, parent=None,
                                      settings={"feature_spec": SPEC.to_dict(), "seed": 0}, run_id="run")
  shard = next((folder / "memory").glob("slots-*"))
  write_example_shard(str(folder / "examples.gz"), slots.ids[:, :, 0], np.float32([0, 1, 0]),
                              np.arange(3), np.arange(3), SPEC)
  forgotten = [ForgottenCommit(1, "a" * 64, None, "b" * 64), ForgottenCommit(2, "c" * 64, SPEC.digest(), None)]
  (folder / "forgotten.json").write_bytes(document_bytes(forgotten_to_dict(forgotten)))
  pin = Pin(2, "c" * 64, "model v12 in production", "2026-01-02T03:04:05+00:00")
  (folder / "pin.json").write_bytes(document_bytes(pin.to_dict()))
  columns = {name: np.arange(3).astype(dtype) for name, dtype in (
      ("example_ids", np.int64), ("labels", np.float32), ("teacher_logits", np.float32), ("influences", np.float32),
      ("is_scored", np.bool_))}
  scoring.SCORES.write(str(folder / "scores.npz"), columns)
  (folder / "config.yaml").write_text(CONFIG)
  paths = {"slots": shard, "examples": folder / "examples.gz", "frames": shard,
           "manifest": folder / "memory" / "manifest.json", "commit": folder / "store" / "commits" / "3.json",
           "forgotten": folder / "forgotten.json", "pin": folder / "pin.json", "scores": folder / "scores.npz",
           "config": folder / "config.yaml"}
  readers = {"slots": read_slots, "examples": read_examples, "frames": lambda path: count_records(path, 1 << 20),
             "manifest": lambda path: read_manifest(path).to_dict(), "commit": read_commit,
             "forgotten": lambda path: forgotten_from_dict(read_document(path), path),
             "pin": lambda path: Pin.from_dict(read_document(path), path).to_dict(), "scores": read_scores,
             "config": lambda path: read_config_file(path)[0]}
  return {name: Format(path.name, path.read_bytes(), readers[name]) for name, path in paths.items()}


def read_slots(path: str) -> dict[str, Any]:
  """The slots of a shard."""
  folder, _, name = path.rpartition("/")
  slots = slot_records.read_slots(folder, [name], SPEC, 2)
  return {name: getattr(slots, name).tolist() for name in Slots.DTYPES}


def read_examples(path: str) -> list[Any]:
  """The examples of a shard."""
  return [[part.tolist() for part in batch] for batch in log_examples.read_examples([path], SPEC, 2)]


def read_commit(path: str) -> dict[str, Any]:
  """A commit."""
  return json.loads(json.dumps(Commit.from_dict(read_document(path), path).to_dict()))


def read_scores(path: str) -> dict[str, Any]:
  """The columns of a score file."""
  return {name: column.tolist() for name, column in scoring.read_scores(path).items()}


def first_record(path: str) -> bytes:
  """The first record of a shard."""
  return next(iter(tf.data.TFRecordDataset(path, "GZIP").as_numpy_iterator()))


def write_record(path: str, record: bytes) -> None:
  """Makes a shard of one record, with its checksums."""
  with tf.io.TFRecordWriter(path, "GZIP") as writer:
    writer.write(record)


def _slots() -> Slots:
  weights = np.array([[[0.25, 0.75], [1, 0], [0.5, 0.5]], [[1, 0], [1, 0], [1, 0]], [[1, 0], [0.5, 0.5], [1, 0]]])
  ids = np.array([[[7, 900], [3, 0], [2, 3]], [[1, 0], [0, 0], [4, 0]], [[2, 0], [1, 2], [0, 0]]])
  return small_slots(ids, weights, labels=[0.1, 0.9, 0.5], sample_weights=[0.5, 1.5, 1], slot_ids=[10, 11, 12],
                     born_spans=[1, 2, 3], updated_spans=3, influences=[0.5, -0.25, 0], spec=SPEC)
