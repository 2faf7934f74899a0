"""The README and docs/: their code runs, their links lead somewhere, and what they name exists."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pathlib
import re
import shutil
import sys
import types

import numpy as np
import pytest

from diet_tf.config import SECTIONS, build_config
from diet_tf.config_file import parse_config

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LEAST_CONFIG = {"name": "docs", "log": {"pattern": "{SPAN}.csv"},
                "features": {"label": "click", "fields": [{"name": "user", "hash": 16}]}}
# Options of other commands than ours.
OTHER_OPTIONS = {"--check"}

_FENCE = re.compile(r"(?:<!-- (?P<note>file|not run): (?P<detail>[^\n]*?) -->\n)?"
                    r"```(?P<language>\w*)\n(?P<code>.*?)```", re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclasses.dataclass(frozen=True)
class Block:
  """A code block of a document; `note` is "file" (with the file's name), "not run" (with the reason) or None."""

  language: str
  code: str
  line: int
  note: str | None
  detail: str | None


def _blocks(path: pathlib.Path, language: str) -> list[Block]:
  text = path.read_text()
  found = [Block(match["language"], match["code"], text.count("\n", 0, match.start("code")), match["note"],
                 match["detail"]) for match in _FENCE.finditer(text)]
  return [block for block in found if block.language == language]


def _without_code(text: str) -> str:
  return _FENCE.sub("", text)


def _run(path: pathlib.Path, blocks: list[Block]) -> dict:
  """The names that the blocks define, one after the other; errors name the document's own lines."""
  namespace: dict = {"__name__": "documented"}
  for block in blocks:
    if block.note == "file":
      pathlib.Path(block.detail).write_text(block.code)
    elif block.note is None:
      exec(compile("\n" * block.line + block.code, str(path), "exec"), namespace)
  return namespace


def _reference() -> types.ModuleType:
  spec = importlib.util.spec_from_file_location("configuration_reference",
                                                ROOT / "scripts" / "configuration_reference.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture
def workplace(tmp_path, monkeypatch):
  """A current folder with what the documents' code reads: a store, a memory and examples of three small fields."""
  from diet_tf.features import FeatureSpec, Field, Label
  from diet_tf.memory import Memory, Recipe, save_memory
  from diet_tf.records import write_example_shard
  from diet_tf.slots import Slots
  from diet_tf.store import Store

  spec = FeatureSpec((Field("user", "user", hash_ids=50), Field("item", "item", vocabulary_ids=20),
                      Field("hour", "hour", boundaries=(6.0, 12.0))), Label("click"))
  random = np.random.default_rng(0)
  number = np.arange(40)
  ids = np.stack([random.integers(0, num_ids, size=(40, 3)) for num_ids in spec.num_ids], axis=1)
  slots = Slots(ids=ids, weights=np.broadcast_to([0.5, 0.25, 0.25], ids.shape), labels=random.random(40),
                sample_weights=np.ones(40), slot_ids=number, born_spans=number * 0, updated_spans=number * 0,
                influences=number * 0)
  memory = Memory.create(slots, spec, Recipe(batch_size=8, step_multipliers=(1.0, 0.5)), span=0,
                         num_examples_seen=4000, budget={"fraction": 0.01})
  save_memory(str(tmp_path / "memory"), memory)
  store = Store(str(tmp_path / "diet_runs" / "demo" / "store"))
  store.commit(0, {"memory": str(tmp_path / "memory")}, parent=None, settings={}, run_id="docs")
  os.symlink(store.uri, tmp_path / "store")
  shutil.copytree(ROOT / "examples", tmp_path / "examples")
  (tmp_path / "examples" / "Split-train").mkdir()
  write_example_shard(str(tmp_path / "examples" / "Split-train" / "data_tfrecord-00000-of-00001.gz"), ids[:, :, 0],
                      np.ones(40), number, number, spec)
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(str(tmp_path))
  monkeypatch.delitem(sys.modules, "my_models", raising=False)
  yield tmp_path
  sys.modules.pop("my_models", None)


@pytest.mark.slow
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_run(path, workplace):
  import tensorflow as tf

  blocks = [block for block in _blocks(path, "python") if "tfx" not in block.code]
  namespace = _run(path, blocks)
  for value in list(namespace.values()):
    if isinstance(value, tf.data.Dataset):
      assert next(iter(value)) is not None
  if "folder" in namespace:
    assert (workplace / namespace["folder"] / "manifest.json").exists()


@pytest.mark.slow
def test_the_pipeline_of_the_readme_is_one(workplace):
  pytest.importorskip("tfx")
  from tfx.orchestration.pipeline import Pipeline

  blocks = [block for block in _blocks(ROOT / "README.md", "python") if "tfx" in block.code]
  components = _run(ROOT / "README.md", blocks)["components"]
  pipeline = Pipeline("readme", str(workplace / "root"), components=components)
  assert len(pipeline.components) == 10


def test_a_users_model_joins_panel_and_proxies(workplace):
  from diet_tf import load_memory
  from diet_tf.gate import Candidate, train_by_recipe

  blocks = [block for block in _blocks(ROOT / "README.md", "python") if block.note == "file"]
  _run(ROOT / "README.md", blocks)
  memory = load_memory("memory")
  logits = train_by_recipe("my_models:Pooled(dim=2)", memory.spec, Candidate(memory.slots, memory.recipe), [0, 1],
                           memory.slots.ids[:, :, 0])
  assert logits.shape == (2, 40) and np.isfinite(logits).all() and not np.array_equal(logits[0], logits[1])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_yaml_blocks_are_configs(path):
  for block in _blocks(path, "yaml"):
    values, _ = parse_config(block.code, path.name)
    merged = {key: {**LEAST_CONFIG.get(key, {}), **values[key]} if isinstance(values.get(key), dict) else values[key]
              for key in values}
    build_config({**LEAST_CONFIG, **merged}, f"{path.name}, line {block.line}")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_resolve(path):
  for target in (match["target"] for match in _LINK.finditer(_without_code(path.read_text()))):
    if "://" in target:
      continue
    name, _, anchor = target.partition("#")
    other = (path.parent / name).resolve() if name else path
    assert other.exists() and ROOT in other.parents, f"{path.name} links to {target}"
    if anchor:
      headings = re.findall(r"^#+ (.*)$", other.read_text(), re.MULTILINE)
      slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
      assert anchor in slugs, f"{path.name} links to {target}"


def test_tables_of_keys_are_those_of_the_code():
  reference = _reference()
  document = reference.DOCUMENT.read_text()
  assert reference.rewritten(document) == document, "run python scripts/configuration_reference.py"
  assert set(re.findall(r"^\| `([^`]+)` \| [^|]+ \| [^|]* \| [^|]+ \|$", document, re.MULTILINE)) == reference.keys()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_keys_that_are_named_exist(path):
  known = _reference().keys()
  sections = "|".join(["features", "budget", "validation", *SECTIONS])
  text = path.read_text()
  named = re.findall(rf"`((?:{sections})(?:\.[\w\[\]]+)+)`", text)
  named += re.findall(r"--set '?([\w.]+)=", text)
  assert not set(named) - known - {"KEY"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_options_and_targets_that_are_named_exist(path, capsys):
  from benchmarks.fidelity.__main__ import parse as benchmark
  from diet_tf import cli
  from pipelines.compare_command import compare
  from pipelines.init_command import init

  helps = []
  for command, arguments in ((cli.main, ["run", "--help"]), (cli.main, ["demo", "--help"]), (cli.main, ["--help"]),
                             (cli.main, ["memory", "show", "--help"]), (cli.main, ["memory", "export", "--help"]),
                             (cli.main, ["store", "gc", "--help"]), (cli.main, ["doctor", "--help"]),
                             (cli.main, ["kubeflow", "compile", "--help"]),
                             (cli.main, ["kubeflow", "submit", "--help"]),
                             (cli.main, ["kubeflow", "schedule", "--help"]),
                             (benchmark, ["--help"]), (compare, ["--help"]), (init, ["--help"])):
    with pytest.raises(SystemExit):
      command(arguments)
    helps.append(capsys.readouterr().out)
  known = set(re.findall(r"--[a-z][a-z0-9-]*", "\n".join(helps))) | OTHER_OPTIONS
  text = path.read_text()
  code = "\n".join([*(block.code for block in _blocks(path, "sh")), *re.findall(r"`([^`\n]+)`", text)])
  assert not set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", code)) - known
  targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
  assert not set(re.findall(r"\bmake ([a-z-]+)", code)) - targets
  assert all((ROOT / config).exists() for config in re.findall(r"--config (examples/\S+)", code))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_lines_are_short(path):
  long = [number for number, line in enumerate(path.read_text().splitlines(), 1)
          if len(line) > 120 and not line.startswith("|")]
  assert not long
