"""Memories in other formats, read back by what reads these formats."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import pathlib
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.cli import main as cli
from diet_tf.cli.memory import EXPORT_FORMATS
from diet_tf.errors import ConfigError, StoreError
from diet_tf.io import files
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory import export, torch_layout
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.store.memories import load_memory
from tests.diet_tf.small_slots import small_slots

SPEC = FeatureSpec((Field("user", "user", hash_ids=50), Field("hour", "hour", boundaries=(6.0, 12.0))), Label("click"))
# Three slots: users 7 and 8, then 9, then 4 and 5; hours 1, 2 and 3. The first id of the last slot has no weight.
IDS = np.array([[[7, 8], [1, 0]], [[9, 0], [2, 0]], [[4, 5], [3, 0]]])
WEIGHTS = np.array([[[0.25, 0.75], [1, 0]], [[1, 0], [1, 0]], [[0, 1], [1, 0]]])


@pytest.fixture(params=["made", "read back"])
def memory(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Memory:
  slots = small_slots(IDS, WEIGHTS, labels=[0.1, 0.5, 1], sample_weights=[0.5, 1, 1.5], slot_ids=[10, 30, 20],
                      born_spans=[1, 1, 2], updated_spans=[1, 2, 2], influences=[0.5, -0.25, 0], spec=SPEC)
  made = Memory.create(slots, SPEC, Recipe(batch_size=2, epochs=3), span=2, num_examples_seen=300, budget={})
  saved = save_memory(str(tmp_path / "memory"), made)
  return saved if request.param == "made" else load_memory(str(tmp_path / "memory"))


def written(memory: Memory, tmp_path: pathlib.Path, export_format: str) -> pathlib.Path:
  export.export_memory(memory, "uri", str(tmp_path / "out"), export_format)
  return tmp_path / "out"


def test_formats_of_the_command_are_those_that_are_written():
  assert tuple(export.FORMATS) == EXPORT_FORMATS


def test_parquet(memory: Memory, tmp_path: pathlib.Path):
  pq = pytest.importorskip("pyarrow.parquet")
  table = pq.read_table(written(memory, tmp_path, "parquet") / "slots.parquet").to_pydict()
  assert table["position"] == [0, 1, 2] and table["slot_id"] == [10, 30, 20] and table["born_span"] == [1, 1, 2]
  assert table["user/ids"] == [[7, 8], [9], [5]] and table["user/weights"] == [[0.25, 0.75], [1], [1]]
  assert table["hour/ids"] == [[1], [2], [3]] and table["hour/weights"] == [[1], [1], [1]]
  assert table["label"] == [np.float32(0.1), 0.5, 1] and table["sample_weight"] == [0.5, 1, 1.5]
  assert table["influence"] == [0.5, -0.25, 0]


def test_csv(memory: Memory, tmp_path: pathlib.Path):
  folder = written(memory, tmp_path, "csv")
  slots = list(csv.reader((folder / "slots.csv").open()))
  assert slots == [["position", "slot_id", "label", "sample_weight", "born_span", "updated_span", "influence"],
                   ["0", "10", "0.1", "0.5", "1", "1", "0.5"], ["1", "30", "0.5", "1.0", "1", "2", "-0.25"],
                   ["2", "20", "1.0", "1.5", "2", "2", "0.0"]]
  ids = list(csv.reader((folder / "ids.csv").open()))
  assert ids == [["slot_id", "field", "id", "weight"], ["10", "user", "7", "0.25"], ["10", "user", "8", "0.75"],
                 ["10", "hour", "1", "1.0"], ["30", "user", "9", "1.0"], ["30", "hour", "2", "1.0"],
                 ["20", "user", "5", "1.0"], ["20", "hour", "3", "1.0"]]


def test_names_of_fields_are_neither_formulas_nor_markdown(tmp_path: pathlib.Path):
  hour = Field("<b>|[h](x)", "hour", boundaries=(6.0, 12.0))
  spec = FeatureSpec((Field('=HYPERLINK("x")', "user", hash_ids=50), hour), Label("click"))
  made = save_memory(str(tmp_path / "memory"), Memory.create(
      small_slots(IDS, WEIGHTS, spec=spec), spec, Recipe(), span=0, num_examples_seen=9, budget={}))
  folder = written(made, tmp_path, "csv")
  assert {row[1] for row in csv.reader((folder / "ids.csv").open())} == {
      "field", "'=HYPERLINK(\"x\")", "<b>|[h](x)"}
  text = (folder / "README.md").read_text()
  assert '=HYPERLINK("x")' in text and "\\<b\\>\\|\\[h\\](x)" in text and "<b>" not in text


def test_numpy_needs_no_pickle(memory: Memory, tmp_path: pathlib.Path):
  arrays = np.load(written(memory, tmp_path, "numpy") / "slots.npz", allow_pickle=False)
  assert arrays["fields"].tolist() == ["user", "hour"] and arrays["num_ids"].tolist() == [50, 4]
  for name in Slots.DTYPES:
    np.testing.assert_array_equal(arrays[name], getattr(memory.slots, name))


def test_snapshot_is_the_weighted_dataset(memory: Memory, tmp_path: pathlib.Path):
  folder = written(memory, tmp_path, "snapshot")
  loaded = list(tf.data.Dataset.load(str(folder / "snapshot"), compression="GZIP"))
  expected = list(memory.dataset(mode="weighted"))
  assert len(loaded) == len(expected) == 2
  for (features, *rest), (expected_features, *expected_rest) in zip(loaded, expected):
    assert features.keys() == expected_features.keys() == {"user", "user/weights", "hour", "hour/weights"}
    for name in features:
      np.testing.assert_array_equal(features[name], expected_features[name])
    for one, other in zip(rest, expected_rest):
      np.testing.assert_array_equal(one, other)


def test_keyed_jagged_layout_goes_by_key_then_slot(memory: Memory, tmp_path: pathlib.Path):
  arrays = np.load(written(memory, tmp_path, "torch") / "memory.npz", allow_pickle=False)
  assert arrays["keys"].tolist() == ["user", "hour"] and arrays["num_ids"].tolist() == [50, 4]
  assert arrays["values"].tolist() == [7, 8, 9, 5, 1, 2, 3]
  assert arrays["weights"].tolist() == [0.25, 0.75, 1, 1, 1, 1, 1]
  assert arrays["lengths"].tolist() == [2, 1, 1, 1, 1, 1]
  assert arrays["labels"].tolist() == [np.float32(0.1), 0.5, 1] and arrays["sample_weights"].tolist() == [0.5, 1, 1.5]
  assert arrays["values"].dtype == arrays["lengths"].dtype == np.int64 and arrays["weights"].dtype == np.float32


def test_the_loader_for_torch_cuts_batches(memory: Memory, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
  """With NumPy arrays in the place of tensors: what the loader does with them, both can."""
  stand_in = types.ModuleType("torch")
  stand_in.from_numpy = lambda array: array
  monkeypatch.setitem(sys.modules, "torch", stand_in)
  path = written(memory, tmp_path, "torch") / torch_layout.MODULE_NAME
  spec = importlib.util.spec_from_file_location("load_memory", path)
  loader = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(loader)
  assert loader.KEYS == ["user", "hour"] and loader.NUM_IDS == {"user": 50, "hour": 4}
  assert loader.RECIPE["batch_size"] == 2 and loader.RECIPE["epochs"] == 3
  first, second = loader.batches()
  assert first["values"].tolist() == [7, 8, 9, 1, 2] and first["lengths"].tolist() == [2, 1, 1, 1]
  assert first["weights"].tolist() == [0.25, 0.75, 1, 1, 1] and first["sample_weights"].tolist() == [0.5, 1]
  assert second["values"].tolist() == [5, 3] and second["lengths"].tolist() == [1, 1]
  assert second["labels"].tolist() == [1]
  ids, offsets, weights = loader.bags(first)["user"]
  assert (ids.tolist(), offsets.tolist(), weights.tolist()) == ([7, 8, 9], [0, 2], [0.25, 0.75, 1])
  ids, offsets, weights = loader.bags(first)["hour"]
  assert (ids.tolist(), offsets.tolist(), weights.tolist()) == ([1, 2], [0, 1], [1, 1])
  assert [len(batch["labels"]) for batch in loader.batches(batch_size=3)] == [3]


def test_every_export_says_what_it_is(memory: Memory, tmp_path: pathlib.Path):
  folder = written(memory, tmp_path, "numpy")
  value = json.loads((folder / "export.json").read_text())
  assert (value["memory_digest"], value["span"], value["num_slots"]) == (memory.digest, 2, 3)
  assert Recipe.from_dict(value["recipe"]) == memory.recipe
  assert FeatureSpec.from_dict(value["feature_spec"]) == SPEC
  text = (folder / "README.md").read_text()
  assert "3 slots" in text and "batches of 2" in text and "slots.npz" in text
  assert "none: rare ids stand in slots by themselves" in text


def test_a_failed_export_leaves_nothing(memory: Memory, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
  def fail(memory: Memory, folder: str) -> None:
    (pathlib.Path(folder) / "half").write_text("x")
    raise OSError(28, "No space left on device")

  monkeypatch.setitem(export.FORMATS, "numpy", fail)
  with pytest.raises(StoreError, match="room"):
    written(memory, tmp_path, "numpy")
  assert sorted(os.listdir(tmp_path)) == ["memory"]


def test_nothing_is_overwritten_unless_it_is_an_export(memory: Memory, tmp_path: pathlib.Path,
                                                       monkeypatch: pytest.MonkeyPatch):
  folder = written(memory, tmp_path, "csv")
  with pytest.raises(StoreError, match="--replace"):
    written(memory, tmp_path, "numpy")
  assert (folder / "slots.csv").exists()

  export.export_memory(memory, "uri", str(folder), "numpy", replace=True)
  assert (folder / "slots.npz").exists() and not (folder / "slots.csv").exists()
  assert sorted(os.listdir(tmp_path)) == ["memory", "out"]

  # Where the new one cannot take its place, the old one is back.
  def fail(source: str, target: str) -> None:
    raise OSError(5, "no")

  with monkeypatch.context() as broken:
    broken.setattr(files, "rename", lambda source, target: fail(source, target) if target == str(folder)
                   else os.replace(source, target))
    with pytest.raises(StoreError):
      export.export_memory(memory, "uri", str(folder), "csv", replace=True)
  assert (folder / "slots.npz").exists() and sorted(os.listdir(tmp_path)) == ["memory", "out"]

  (tmp_path / "mine").mkdir()
  (tmp_path / "mine" / "diary.txt").write_text("x")
  with pytest.raises(StoreError, match="replaces an export"):
    export.export_memory(memory, "uri", str(tmp_path / "mine"), "csv", replace=True)
  assert (tmp_path / "mine" / "diary.txt").exists()


def test_an_empty_folder_is_taken_and_a_uri_is_not(memory: Memory, tmp_path: pathlib.Path):
  (tmp_path / "out").mkdir()
  assert (written(memory, tmp_path, "numpy") / "slots.npz").exists()
  with pytest.raises(ConfigError, match="local folder"):
    export.export_memory(memory, "uri", "s3://bucket/out", "numpy")


def test_command(memory: Memory, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                 capsys: pytest.CaptureFixture[str]):
  monkeypatch.setattr("diet_tf.cli.terminal.quiet_third_parties", lambda: None)
  arguments = ["memory", "export", str(tmp_path / "memory"), "--to", str(tmp_path / "out"), "--format", "csv"]
  assert cli.main([*arguments, "--json"]) == 0
  value = json.loads(capsys.readouterr().out)
  sizes = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
  assert value["file_bytes"] == sizes and set(sizes) == {"slots.csv", "ids.csv", "README.md", "export.json"}
  assert value["num_bytes"] == sum(sizes.values()) and value["memory_digest"] == memory.digest
  assert cli.main(arguments) == StoreError.exit_code
  assert cli.main([*arguments, "--replace"]) == 0
  assert "3 slots of span 2" in capsys.readouterr().out


def test_without_pyarrow_the_extra_is_named(memory: Memory, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]):
  monkeypatch.setattr("diet_tf.cli.terminal.quiet_third_parties", lambda: None)
  monkeypatch.setitem(sys.modules, "pyarrow", None)
  assert cli.main(["memory", "export", str(tmp_path / "memory"), "--to", str(tmp_path / "out"), "--format",
                   "parquet"]) == ConfigError.exit_code
  assert "pip install 'diet-tf[tfx]'" in capsys.readouterr().err
  assert sorted(os.listdir(tmp_path)) == ["memory"]


def test_a_memory_that_was_loaded_is_the_same(memory: Memory, tmp_path: pathlib.Path):
  loaded = torch_layout.keyed_jagged_arrays(load_memory(str(tmp_path / "memory")))
  for name, array in torch_layout.keyed_jagged_arrays(memory).items():
    np.testing.assert_array_equal(loaded[name], array)
