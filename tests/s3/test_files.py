"""Files on a real S3 server, read and written through `diet_tf.io.files`."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pyarrow as pa
import pytest

from diet_tf.io import files, path_patterns, records
from diet_tf.log.examples import example_dataset, write_example_shard
from diet_tf.log.features import FeatureSpec, Field, Label
from tfx_components.log_gen import spill

# Below, at and above what tensorflow-io buffers (512 KiB) and uploads in one part; the last is read in many pieces.
SIZES = [0, 1, 6, (1 << 19) - 1, 1 << 19, (1 << 19) + 1, 1 << 20, 5 << 20, (9 << 20) + 7]
SPEC = FeatureSpec((Field("user", "user", hash_ids=50), Field("item", "item", hash_ids=20)), Label("click"))


def content_of(size: int) -> bytes:
  return random.Random(size).randbytes(size)


def write_and_read(uri: str, size: int) -> tuple[bool, int, tuple[str, int], bytes]:
  path = files.join(uri, f"file-{size}")
  files.write_atomically(path, content_of(size))
  with files.open_to_read(path) as stream:
    stream.seek(max(0, size - 3))
    end = stream.read() + stream.read(1)
  return files.read_bytes(path) == content_of(size), files.num_bytes(path), files.digest(path), end


@pytest.mark.parametrize("size", SIZES)
def test_content_is_read_as_it_was_written(elsewhere, uri, size):
  same, found, digest, end = elsewhere(write_and_read, uri, size)
  assert same and found == size
  assert digest == (hashlib.sha256(content_of(size)).hexdigest(), size)
  assert end == content_of(size)[max(0, size - 3):]


def look_around(uri: str) -> dict[str, object]:
  before = {"exists": files.exists(uri), "folder": files.is_folder(uri), "names": files.names_in(uri),
            "glob": path_patterns.glob(f"{uri}/*.json")}
  for name in ("b.json", "a.json", "deep/c.txt"):
    files.write_atomically(files.join(uri, name), name.encode())
  after = {"exists": files.exists(uri), "folder": files.is_folder(uri), "names": files.names_in(uri),
           "glob": path_patterns.glob(f"{uri}/*.json"), "below": files.files_below(uri),
           "file is a folder": files.is_folder(f"{uri}/a.json"), "no file": files.exists(f"{uri}/a")}
  files.rename(f"{uri}/a.json", f"{uri}/b.json")
  files.remove_if_there(f"{uri}/deep/c.txt")
  files.remove_if_there(f"{uri}/nothing")
  return {"before": before, "after": after, "renamed": files.read_bytes(f"{uri}/b.json"),
          "left": [files.exists(f"{uri}/{name}") for name in ("a.json", "b.json", "deep/c.txt")]}


def test_names(elsewhere, uri):
  found = elsewhere(look_around, uri)
  assert found["before"] == {"exists": False, "folder": False, "names": [], "glob": []}
  assert found["after"] == {
      "exists": True, "folder": True, "names": ["a.json", "b.json", "deep"],
      "glob": [f"{uri}/a.json", f"{uri}/b.json"], "below": ["a.json", "b.json", "deep/c.txt"],
      "file is a folder": False, "no file": False}
  assert found["renamed"] == b"a.json" and found["left"] == [False, True, False]


def read_missing(uri: str) -> None:
  files.read_bytes(f"{uri}/nothing")


def test_a_missing_file(elsewhere, uri):
  with pytest.raises(FileNotFoundError, match="nothing"):
    elsewhere(read_missing, uri)


def write_and_read_examples(uri: str) -> tuple[list[np.ndarray], tuple[int, int], tuple[str, int]]:
  path = f"{uri}/data.gz"
  ids = np.arange(60_000, dtype=np.int32).reshape(-1, 2) % 20
  info = write_example_shard(path, ids, np.arange(30_000) % 2, np.arange(30_000) * 7,
                                     np.arange(30_000), SPEC)
  read = list(example_dataset([path], SPEC, 30_000).as_numpy_iterator())[0]
  return list(read), records.shard_bytes([path]), (info.sha256, info.num_bytes)


def test_examples_are_read_as_they_were_written(elsewhere, uri):
  (ids, labels, example_ids), (stored, raw), info = elsewhere(write_and_read_examples, uri)
  assert ids.tolist() == (np.arange(60_000).reshape(-1, 2) % 20).tolist()
  assert labels.tolist() == (np.arange(30_000) % 2).tolist() and example_ids.tolist() == list(range(0, 210_000, 7))
  assert stored == info[1] and raw > stored


def write_and_read_spill(uri: str) -> tuple[bool, bool]:
  table = pa.table({"n": np.arange(300_000), "x": np.random.default_rng(0).random(300_000)})
  spill.write_table(f"{uri}/part.arrow", table, 50_000)
  read = list(spill.read_batches(f"{uri}/part.arrow"))
  third = list(spill.read_batches(f"{uri}/part.arrow", [2]))
  return pa.Table.from_batches(read).equals(table), third[0].equals(read[2])


def test_spill_files(elsewhere, uri):
  assert elsewhere(write_and_read_spill, uri) == (True, True)
