"""The store and memories on a real S3 server."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from diet_tf.errors import FormatError, StoreError
from diet_tf.io import files
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.store import garbage, pins
from diet_tf.store.memories import load_memory
from diet_tf.store.store import STEPS, Store, memory_folder
from diet_tf.store.verification import check_store
from tests.diet_tf.small_slots import small_slots

WRITER = """
import os, signal, sys
from diet_tf.store.store import Store
root, step, content = sys.argv[1:]

def on_step(name):
  if name == step:
    os.kill(os.getpid(), signal.SIGKILL)

Store(root, on_step=on_step).commit(1, {"notes": content}, parent=None, settings={"budget": 1}, run_id="killed",
                                    replace=True)
"""
SPEC = FeatureSpec((Field("user", "user", hash_ids=100), Field("item", "item", hash_ids=30)), Label("click"))
# More than one upload part and more than tensorflow-io buffers.
LARGE_BYTES = (6 << 20) + 1


def write_content(folder: pathlib.Path, name: str) -> str:
  path = folder / name
  (path / "deep").mkdir(parents=True)
  (path / "text.txt").write_text(f"content of {name}")
  (path / "deep" / "numbers.bin").write_bytes(np.random.default_rng(len(name)).bytes(LARGE_BYTES))
  return str(path)


def commit(root: str, span: int, content: str, run_id: str = "run", settings: Any = None, replace: bool = False) -> Any:
  store = Store(root)
  return store.commit(span, {"notes": content}, parent=store.newest(below=span), settings=settings or {"budget": 1},
                      run_id=run_id, replace=replace)


def everything(root: str) -> dict[str, tuple[str, int]]:
  return {path: files.digest(files.join(root, path)) for path in files.files_below(root)}


def facts(root: str) -> dict[str, Any]:
  """What the store says of itself; `verify` raises where something is wrong."""
  store = Store(root)
  newest = store.newest()
  return {"spans": store.spans(), "newest": None if newest is None else newest.run_id,
          "verified": [] if newest is None else sorted(found.run_id for found in check_store(store).require_sound()),
          "names": files.names_in(f"{root}/commits"),
          "text": None if newest is None else files.read_bytes(store.path(newest, "notes/text.txt"))}


def test_the_life_of_a_store(elsewhere, uri, tmp_path):
  first, second, other = (write_content(tmp_path, name) for name in ("a", "bb", "ccc"))
  assert elsewhere(facts, uri) == {"spans": [], "newest": None, "verified": [], "names": [], "text": None}
  made = elsewhere(commit, uri, 2, first, "first")
  later = elsewhere(commit, uri, 10, second, "second")
  assert (later.parent, later.parent_data) == (2, made.data)
  before = elsewhere(everything, uri)
  assert sum(size for _, size in before.values()) > 2 * LARGE_BYTES

  # The same again changes nothing; other content is refused, unless it is asked for by name.
  assert elsewhere(commit, uri, 10, second, "again") == later
  assert elsewhere(everything, uri) == before
  with pytest.raises(StoreError, match="budget = 2 where 1 was committed.*replace"):
    elsewhere(commit, uri, 10, other, "other", {"budget": 2})
  assert elsewhere(everything, uri) == before
  elsewhere(commit, uri, 10, other, "replacing", None, True)
  assert elsewhere(facts, uri) == {"spans": [2, 10], "newest": "replacing",
                                   "verified": ["first", "replacing", "second"],
                                   "names": ["10.json", "10.replaced-1.json", "2.json"], "text": b"content of ccc"}

  # Of what was removed, the store knows enough to verify, and a new span grows on.
  elsewhere(collect_garbage, uri, 1)
  assert elsewhere(facts, uri) == {"spans": [10], "newest": "replacing", "verified": ["replacing"],
                                   "names": ["10.json"], "text": b"content of ccc"}
  assert elsewhere(commit, uri, 11, second, "third").parent == 10
  assert elsewhere(facts, uri)["verified"] == ["replacing", "third"]


def collect_garbage(root: str, keep: int) -> None:
  garbage.collect_garbage(Store(root), keep)


def pin(root: str, span: int, note: str) -> list[str]:
  """Pins a commit, and says what is pinned."""
  pins.pin_commit(Store(root), span, note)
  return [one.note for one in Store(root).pins()]


def unpin(root: str, span: int) -> list[str]:
  pins.unpin_commits(Store(root), span)
  return files.names_in(Store(root).paths.pins)


def test_a_pinned_commit_outlives_removals(elsewhere, uri, tmp_path):
  contents = [write_content(tmp_path, name) for name in ("a", "bb", "ccc")]
  for span, content in enumerate(contents):
    elsewhere(commit, uri, span, content, f"run-{span}")
  assert elsewhere(pin, uri, 0, "model v12 in production") == ["model v12 in production"]
  elsewhere(collect_garbage, uri, 1)
  found = elsewhere(facts, uri)
  assert found["spans"] == [0, 2] and found["verified"] == ["run-0", "run-2"]
  assert elsewhere(unpin, uri, 0) == []
  elsewhere(collect_garbage, uri, 1)
  assert elsewhere(facts, uri)["spans"] == [2]


def damage(root: str, name: str) -> None:
  store = Store(root)
  files.write_atomically(store.path(store.read(1), name), b"something else")


def test_damage_is_found_and_mended_by_the_same_content(elsewhere, uri, tmp_path):
  content = write_content(tmp_path, "a")
  elsewhere(commit, uri, 1, content)
  elsewhere(damage, uri, "notes/deep/numbers.bin")
  with pytest.raises(FormatError, match="numbers.bin has not the digest"):
    elsewhere(facts, uri)
  elsewhere(commit, uri, 1, content)
  assert elsewhere(facts, uri)["verified"] == ["run"]


def leave_orphan(root: str) -> str:
  files.write_atomically(f"{root}/data/{'0' * 64}/notes/text.txt", b"of a writer that died")
  return f"{root}/data/{'0' * 64}"


def repair(root: str, grace_seconds: float) -> list[str]:
  return garbage.repair(Store(root), grace_seconds)


def test_repair_removes_what_no_commit_needs_once_it_is_old(elsewhere, uri, tmp_path):
  elsewhere(commit, uri, 1, write_content(tmp_path, "a"))
  orphan = elsewhere(leave_orphan, uri)
  before = elsewhere(everything, uri)
  assert elsewhere(repair, uri, 3600.0) == []
  assert elsewhere(everything, uri) == before
  assert elsewhere(repair, uri, -1.0) == [orphan]
  assert elsewhere(facts, uri)["verified"] == ["run"]
  assert elsewhere(repair, uri, -1.0) == []


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_writer_killed_after_any_step(elsewhere, uri, environment, tmp_path, step):
  old, new = write_content(tmp_path, "a"), write_content(tmp_path, "bb")
  elsewhere(commit, uri, 1, old, "old")
  killed = subprocess.run([sys.executable, "-c", WRITER, uri, step, new], env=environment, capture_output=True,
                          text=True, timeout=120, check=False)
  assert killed.returncode == -signal.SIGKILL, killed.stderr
  is_done = step in ("committed", "cleaned")
  seen = elsewhere(facts, uri)
  assert (seen["newest"], seen["text"]) == (("killed", b"content of bb") if is_done else ("old", b"content of a"))
  # The next run takes the step again; nothing of the dead one is in its way.
  elsewhere(commit, uri, 1, new, "next", None, True)
  seen = elsewhere(facts, uri)
  assert (seen["spans"], seen["newest"]) == ([1], "killed" if is_done else "next")
  assert seen["names"] == ["1.json", "1.replaced-1.json"]
  elsewhere(repair, uri, -1.0)
  assert elsewhere(facts, uri) == seen


def slots(num_slots: int) -> Slots:
  random = np.random.default_rng(5)
  weights = random.random((num_slots, 2, 3)).astype(np.float32) + 0.1
  return small_slots(random.integers(1, 30, (num_slots, 2, 3)), weights / weights.sum(axis=2, keepdims=True),
                     labels=random.random(num_slots), sample_weights=random.random(num_slots) + 0.5,
                     influences=random.normal(size=num_slots), spec=SPEC)


def save_commit_and_load(uri: str) -> dict[str, Any]:
  memory = Memory.create(slots(20_000), SPEC, Recipe(batch_size=64), span=3, num_examples_seen=100_000,
                         budget={"fraction": 0.2})
  saved = save_memory(f"{uri}/draft", memory, num_shards=3)
  store = Store(f"{uri}/store")
  store.commit(3, {"memory": f"{uri}/draft"}, parent=None, settings={"seed": 0}, run_id="run")
  loaded = load_memory(f"{uri}/store")
  first = next(iter(loaded.dataset(batch_size=64).as_numpy_iterator()))
  return {"same": [bool(np.array_equal(getattr(loaded.slots, name), getattr(memory.slots, name)))
                   for name in Slots.DTYPES], "digests": (saved.digest, loaded.digest), "num_slots": len(loaded),
          "folder": memory_folder(f"{uri}/store"), "labels": first[1].tolist(),
          "shards": [(shard.sha256, shard.num_bytes) for shard in loaded.manifest.shards],
          "files": {name: files.digest(files.join(memory_folder(f"{uri}/store"), name))
                    for name in files.names_in(memory_folder(f"{uri}/store"))}}


def test_a_memory_is_loaded_as_it_was_saved(elsewhere, uri):
  found = elsewhere(save_commit_and_load, uri)
  assert all(found["same"]) and found["digests"][0] == found["digests"][1] and found["num_slots"] == 20_000
  assert found["folder"].startswith(f"{uri}/store/data/")
  np.testing.assert_allclose(np.ravel(found["labels"]), slots(20_000).labels[:64], rtol=1e-6)
  shards = {name: digest for name, digest in found["files"].items() if name.endswith(".gz")}
  assert sorted(shards.values()) == sorted(found["shards"]) and json.dumps(sorted(shards))
