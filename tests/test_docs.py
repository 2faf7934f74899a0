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
# What a terminal showed is not wrapped.
RECORDED = "transcript.md"

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


def _script(name: str) -> types.ModuleType:
  spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def _reference() -> types.ModuleType:
  return _script("configuration_reference")


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
                      number % 2, number, number, spec)
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

  helps = [parser.format_help() for parser in _script("commands_reference").parsers().values()]
  for command in (cli.main, benchmark):
    with pytest.raises(SystemExit):
      command(["--help"])
    helps.append(capsys.readouterr().out)
  known = set(re.findall(r"--[a-z][a-z0-9-]*", "\n".join(helps))) | OTHER_OPTIONS
  text = path.read_text()
  code = "\n".join([*(block.code for block in _blocks(path, "sh")), *re.findall(r"`([^`\n]+)`", text)])
  assert not set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", code)) - known
  targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
  assert not set(re.findall(r"\bmake ([a-z-]+)", code)) - targets
  assert all((ROOT / config).exists() for config in re.findall(r"--config (examples/\S+)", code))


def test_reference_of_commands_is_that_of_the_code():
  reference = _script("commands_reference")
  document = reference.DOCUMENT.read_text()
  assert reference.rewritten(document) == document, "run python scripts/commands_reference.py"
  for name in ("run", "memory export", "store gc", "kubeflow submit"):
    assert f"# diet {name}\n" in document


def test_every_command_shows_examples_that_it_understands():
  parsers = _script("commands_reference").parsers()
  words_of = _script("transcript").words_of
  assert {"compare", "completion", "demo", "doctor", "init", "kubeflow", "memory", "run", "store"} <= set(parsers)
  for name, parser in parsers.items():
    epilog = re.sub(r"\\\n +", " ", parser.epilog or "")
    examples = re.findall(r"^ +diet (.*?)(?: *[#>].*)?$", epilog, re.MULTILINE)
    assert epilog.startswith("example") and examples, name
    for example in examples:
      command, *arguments = words_of(example)
      assert name.split()[0] == command
      parsers[command].parse_args(arguments)  # Exits where it is wrong.


def test_every_command_gives_json():
  for name, parser in _script("commands_reference").parsers().items():
    # A script for a shell is not data, and an action has its own.
    if name not in ("completion", "kubeflow", "memory", "store"):
      assert "--json" in parser.format_help(), name


def test_the_transcript_is_of_commands_that_exist():
  transcript = _script("transcript")
  parsers = _script("commands_reference").parsers()
  commands = [command for _, command in transcript.STEPS]
  for words in map(transcript.words_of, commands):
    if words[0] == "diet":
      parsers[words[1]].parse_args(words[2:])
  text = transcript.DOCUMENT.read_text()
  assert re.findall(r"^\$ ((?:.*\\\n)*.*)$", text, re.MULTILINE) == commands
  assert "Traceback" not in text


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.name != RECORDED], ids=lambda path: path.name)
def test_lines_are_short(path):
  long = [number for number, line in enumerate(path.read_text().splitlines(), 1)
          if len(line) > 120 and not line.startswith("|")]
  assert not long
