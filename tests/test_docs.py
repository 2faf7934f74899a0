"""The README and docs/: their code runs, their links lead somewhere, and what they name exists."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import re
import shutil
import sys
import types

import numpy as np
import pytest

from diet_tf.cli import main as cli
from diet_tf.config.config import SECTIONS, build_config
from diet_tf.config.yaml_file import parse_config
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from tests.documents import (
  DOCUMENTS,
  FENCE,
  OTHER_PROGRAMS,
  ROOT,
  S3_WALKTHROUGH,
  WALKTHROUGHS,
  blocks,
  commands,
  name_of,
  run_python,
  run_shell,
  write_log,
)

LEAST_CONFIG = {"name": "docs", "log": {"pattern": "{SPAN}.csv"},
                "features": {"label": "click", "fields": [{"name": "user", "hash": 16}]}}
# Options of other commands than ours.
OTHER_OPTIONS = {"--check", "--dist", "--from-literal", "--upgrade"}
# What a terminal showed is not wrapped.
RECORDED = "transcript.md"
KUBEFLOW = ROOT / "kubeflow" / "README.md"
QUICKSTART = ROOT / "docs" / "quickstart.md"
# The walkthrough that makes its own config and store; the others begin where the quickstart's first run ends.
FROM_THE_START = {"bring-your-log.md"}
# What documents write beside their code.
OWN_MODULES = ("my_models", "my_bags")

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def _run(path: pathlib.Path, wanted: list) -> dict:
  """The names that blocks define, one after the other."""
  namespace: dict = {"__name__": "documented"}
  for block in wanted:
    run_python(path, block, namespace)
  return namespace


def _script(name: str, folder: str = "scripts") -> types.ModuleType:
  spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def _reference() -> types.ModuleType:
  return _script("configuration_reference")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
  """A current folder with what the documents' code reads: a store, a memory and examples of three small fields."""
  from diet_tf.log.examples import write_example_shard
  from diet_tf.log.features import FeatureSpec, Field, Label
  from diet_tf.memory.memory import Memory, save_memory
  from diet_tf.memory.recipe import Recipe
  from diet_tf.store.store import Store
  from tests.diet_tf.small_slots import small_slots

  spec = FeatureSpec((Field("user", "user", hash_ids=50), Field("item", "item", vocabulary_ids=20),
                      Field("hour", "hour", boundaries=(6.0, 12.0))), Label("click"))
  random = np.random.default_rng(0)
  number = np.arange(40)
  ids = np.stack([random.integers(0, num_ids, size=(40, 3)) for num_ids in spec.num_ids], axis=1)
  slots = small_slots(ids, np.broadcast_to([0.5, 0.25, 0.25], ids.shape), labels=random.random(40), spec=spec)
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A folder as the quickstart leaves it after its first run, block by block: a log, a config and a store."""
  pytest.importorskip("tfx")
  folder = tmp_path_factory.mktemp("finished")
  write_log(folder)
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(folder)
    for block in _parts_of_quickstart()[0]:
      run_shell(block, cli.main)
  return folder


def _parts_of_quickstart() -> tuple[list, list]:
  """The blocks of the quickstart up to its first run of a span, and those after it."""
  found = blocks(QUICKSTART, "python", "sh")
  after = 1 + next(number for number, block in enumerate(found)
                   if block.language == "sh" and any(words[:2] == ["diet", "run"] for words in commands(block)))
  assert {block.language for block in found[:after]} == {"sh"}
  return found[:after], found[after:]


@pytest.fixture
def walk(tmp_path, monkeypatch):
  """Makes a folder the current one, where modules are found too."""
  def enter() -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in OWN_MODULES:
      monkeypatch.delitem(sys.modules, name, raising=False)

  yield enter
  for name in OWN_MODULES:
    sys.modules.pop(name, None)


@pytest.mark.parametrize("path", [*DOCUMENTS, KUBEFLOW], ids=name_of)
def test_blocks_are_of_languages_that_are_looked_at(path):
  assert {block.language for block in blocks(path)} <= {"python", "sh", "yaml", "text", ""}
  assert [block.code for block in blocks(path) if block.note == "not run"] == []


@pytest.mark.parametrize("path", [*DOCUMENTS, KUBEFLOW], ids=name_of)
def test_commands_are_understood(path, monkeypatch):
  from benchmarks.curve import parse as curve
  from benchmarks.fidelity.__main__ import parse as fidelity
  from benchmarks.scale.__main__ import parse as scale
  from benchmarks.streams.__main__ import parse as streams

  benchmarks = {"benchmarks.curve": curve, "benchmarks.fidelity": fidelity, "benchmarks.scale": scale,
                "benchmarks.streams": streams}
  monkeypatch.chdir(ROOT)
  parsers = _script("commands_reference").parsers()
  for words in (words for block in blocks(path, "sh") for words in commands(block)):
    if words[0] == "diet":
      parsers[words[1]].parse_args(words[2:])  # Exits where it is wrong.
    elif words[:2] == ["python", "-m"] and words[2] in benchmarks:
      benchmarks[words[2]](words[3:])
    elif words[:2] == ["python", "examples/functional_keras.py"]:
      _script("functional_keras", "examples").parse(words[2:])
    elif words[:3] == ["python", "-m", "pytest"]:
      assert all((ROOT / word).exists() for word in words[3:] if word.startswith("tests/"))
    else:
      assert words[0] in OTHER_PROGRAMS | {"head"}, words


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path not in WALKTHROUGHS], ids=name_of)
def test_commands_on_the_demos_store_run(path, workplace):
  cheap = {("memory", "show"), ("memory", "export"), ("store", "log"), ("store", "verify"), ("store", "gc")}
  for words in (words for block in blocks(path, "sh") for words in commands(block)):
    if words[:2] == ["diet", "completion"] or tuple(words[1:3]) in cheap and "diet_runs/demo/store" in words:
      assert cli.main(words[1:]) == 0, words


@pytest.mark.slow
@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "docs" / "kubeflow.md", KUBEFLOW], ids=name_of)
def test_pipelines_compile(path, workplace):
  pytest.importorskip("tfx")
  shutil.copy(workplace / "examples" / "csv.yaml", "my.yaml")
  compiled = 0
  for words in (words for block in blocks(path, "sh") for words in commands(block)):
    if words[:3] == ["diet", "kubeflow", "compile"]:
      pathlib.Path("pipeline.yaml").unlink(missing_ok=True)
      assert cli.main(words[1:]) == 0 and pathlib.Path("pipeline.yaml").stat().st_size > 1000
      compiled += 1
  assert compiled


@pytest.mark.slow
def test_a_pipeline_of_ones_own_compiles(workplace):
  pytest.importorskip("tfx")
  path = ROOT / "docs" / "kubeflow.md"
  _run(path, blocks(path, "python"))
  assert "memoryloader" in pathlib.Path("mine.yaml").read_text().lower()


@pytest.mark.slow
@pytest.mark.parametrize("path", WALKTHROUGHS, ids=name_of)
def test_walkthroughs_work_from_their_first_block_to_their_last(path, tmp_path, walk, request):
  pytest.importorskip("tfx")
  if path.name in FROM_THE_START:
    write_log(tmp_path)
  else:
    shutil.copytree(request.getfixturevalue("finished"), tmp_path, dirs_exist_ok=True)
  walk()
  namespace: dict = {"__name__": "documented"}
  # The quickstart's own first blocks have made what it goes on with.
  for block in _parts_of_quickstart()[1] if path == QUICKSTART else blocks(path, "python", "sh"):
    if block.language == "sh":
      run_shell(block, cli.main)
    else:
      run_python(path, block, namespace)
  assert check_store(Store("diet_runs/my/store")).require_sound()


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path not in (*WALKTHROUGHS, S3_WALKTHROUGH)],
                         ids=name_of)
def test_python_blocks_run(path, workplace):
  import tensorflow as tf

  wanted = [block for block in blocks(path, "python") if "tfx" not in block.code and "open_log" not in block.code]
  namespace = _run(path, wanted)
  for value in list(namespace.values()):
    if isinstance(value, tf.data.Dataset):
      assert next(iter(value)) is not None
  if "folder" in namespace:
    assert (workplace / namespace["folder"] / "manifest.json").exists()


@pytest.mark.slow
def test_the_log_of_a_store_is_read_as_the_guide_to_keras_says(tmp_path, walk):
  pytest.importorskip("tfx")
  from tests.small_run import LOG, make_run

  (tmp_path / "diet_runs" / "demo").mkdir(parents=True)
  make_run(tmp_path / "diet_runs" / "demo")
  walk()
  path = ROOT / "docs" / "keras.md"
  found = blocks(path, "python")
  last = next(number for number, block in enumerate(found) if "open_log" in block.code)
  log = _run(path, found[:last + 1])["log"]
  num_rows = [sum(len(labels) for _, labels in part.dataset().as_numpy_iterator()) for part in (log.seen, log.held_out)]
  assert num_rows == [2 * LOG.rows_per_span, LOG.rows_per_span]


@pytest.mark.slow
def test_the_pipeline_of_the_readme_is_one(workplace):
  pytest.importorskip("tfx")
  from tfx.orchestration.pipeline import Pipeline

  wanted = [block for block in blocks(ROOT / "README.md", "python") if "tfx" in block.code]
  components = _run(ROOT / "README.md", wanted)["components"]
  pipeline = Pipeline("readme", str(workplace / "root"), components=components)
  assert len(pipeline.components) == 10


def test_a_users_model_joins_panel_and_proxies(workplace):
  from diet_tf import load_memory
  from diet_tf.training.slot_trainer import Candidate, train_by_recipe

  wanted = [block for block in blocks(ROOT / "README.md", "python") if block.note == "file"]
  _run(ROOT / "README.md", wanted)
  memory = load_memory("memory")
  logits = train_by_recipe("my_models:Pooled(dim=2)", memory.spec, Candidate(memory.slots, memory.recipe), [0, 1],
                           memory.slots.ids[:, :, 0])
  assert logits.shape == (2, 40) and np.isfinite(logits).all() and not np.array_equal(logits[0], logits[1])


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_yaml_blocks_are_configs(path):
  for block in blocks(path, "yaml"):
    values, _ = parse_config(block.code, path.name)
    merged = {key: {**LEAST_CONFIG.get(key, {}), **values[key]} if isinstance(values.get(key), dict) else values[key]
              for key in values}
    build_config({**LEAST_CONFIG, **merged}, f"{path.name}, line {block.line}")


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_relative_links_resolve(path):
  for target in (match["target"] for match in _LINK.finditer(FENCE.sub("", path.read_text()))):
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


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_keys_that_are_named_exist(path):
  known = _reference().keys()
  sections = "|".join(["features", "budget", "validation", "retention", "privacy", *SECTIONS])
  text = path.read_text()
  named = re.findall(rf"`((?:{sections})(?:\.[\w\[\]]+)+)`", text)
  named += re.findall(r"--set '?([\w.]+)=", text)
  assert not set(named) - known - {"KEY"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_options_and_targets_that_are_named_exist(path, capsys):
  from benchmarks.curve import parse as curve
  from benchmarks.fidelity.__main__ import parse as fidelity
  from benchmarks.scale.__main__ import parse as scale
  from benchmarks.streams.__main__ import parse as streams
  from diet_tf.cli import main as cli

  helps = [parser.format_help() for parser in _script("commands_reference").parsers().values()]
  for command in (cli.main, curve, fidelity, scale, streams):
    with pytest.raises(SystemExit):
      command(["--help"])
    helps.append(capsys.readouterr().out)
  known = set(re.findall(r"--[a-z][a-z0-9-]*", "\n".join(helps))) | OTHER_OPTIONS
  text = path.read_text()
  code = "\n".join([*(block.code for block in blocks(path, "sh")), *re.findall(r"`([^`\n]+)`", text)])
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
  assert {"compare", "completion", "demo", "doctor", "init", "kubeflow", "memory", "report", "run",
          "store"} <= set(parsers)
  for name, parser in parsers.items():
    epilog = re.sub(r"\\\n +", " ", parser.epilog or "")
    examples = re.findall(r"^ +diet (.*?)(?: *[#>].*)?$", epilog, re.MULTILINE)
    assert epilog.startswith("example") and examples, name
    for example in examples:
      command, *arguments = words_of(example)
      assert name.split()[0] == command
      parsers[command].parse_args(arguments)  # Exits where it is wrong.


def test_every_command_has_a_summary():
  names = {name for name in _script("commands_reference").parsers() if " " not in name}
  assert set(cli.SUMMARIES) == names


def test_documents_name_every_family_of_the_panel():
  from diet_tf.models import PANEL

  configuration, migration = ((ROOT / "docs" / name).read_text() for name in ("configuration.md", "migration.md"))
  assert ", ".join(f"`{name}`" for name in PANEL) in " ".join(configuration.split())
  assert not [name for name in PANEL if f"`{name}`" not in migration]


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


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.name != RECORDED], ids=name_of)
def test_lines_are_short(path):
  long = [number for number, line in enumerate(path.read_text().splitlines(), 1)
          if len(line) > 120 and not line.startswith("|")]
  assert not long
