"""Imports go one way, the core needs no TFX, and light commands no TensorFlow."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Each package may import itself and those after it. `benchmarks` may import all, and nothing imports it.
ORDER = ("benchmarks", "kubeflow", "pipelines", "tfx_components", "diet_tf")
# The rooms of `diet_tf`, from the top of the house down: each may import itself, those after it, and the ground.
ROOMS = ("cli", "migration", "config", "report", "fidelity", "distillation", "training", "store", "memory", "models",
         "log", "io")
# The modules beside the rooms, which all may import; they import each other alone.
GROUND = ("errors", "group_metrics", "metrics", "pointwise_metrics", "printable", "progress", "settings",
          "weighted_metrics")
# Rooms that know nothing of each other, in either direction.
STRANGERS = (("store", "training"), ("store", "distillation"), ("store", "fidelity"), ("store", "report"))
EXTRAS = ("tfx", "tfx_bsl", "apache_beam", "kfp", "pyarrow", "pandas", "tensorflow_data_validation",
          "tensorflow_transform", "tensorflow_metadata", "ml_metadata")
# Adds file systems to TensorFlow; imported where a path needs one, and never at the top of a module.
LAZY = ("tensorflow_io",)
# The core imports it only in the function that needs it.
LAZY_IN_CORE = ("pyarrow",)
BARE = {"tensorflow", "tf_keras", "tensorflow_recommenders", "numpy", "rich", "yaml", "jinja2", "packaging", "shtab"}


def _sources(package: str) -> list[pathlib.Path]:
  return sorted((ROOT / package).rglob("*.py"))


def _imports(node: ast.AST) -> list[str]:
  """Full names of all modules that are imported anywhere below the node."""
  names = []
  for child in ast.walk(node):
    if isinstance(child, ast.Import):
      names += [alias.name for alias in child.names]
    elif isinstance(child, ast.ImportFrom):
      assert child.level == 0, "imports are absolute"
      names.append(child.module or "")
  return names


def _top(names: list[str]) -> set[str]:
  return {name.partition(".")[0] for name in names}


def _module_level(tree: ast.Module) -> list[ast.AST]:
  """Statements that run on import: not those in functions, nor under `if TYPE_CHECKING`."""
  reached: list[ast.AST] = []

  def visit(node: ast.AST) -> None:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
      return
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
      return
    if isinstance(node, (ast.Import, ast.ImportFrom)):
      reached.append(node)
    for child in ast.iter_child_nodes(node):
      visit(child)

  visit(tree)
  return reached


def _modules(package: str) -> list[str]:
  names = []
  for path in _sources(package):
    parts = path.relative_to(ROOT).with_suffix("").parts
    names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
  return names


def _python(code: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300,
                        check=False)


@pytest.mark.parametrize("package", ORDER)
def test_imports_go_one_way(package: str):
  above = set(ORDER[:ORDER.index(package)])
  for path in _sources(package):
    wrong = _top(_imports(ast.parse(path.read_text()))) & above
    assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}, which build on {package}"


def _room(module: str) -> str:
  """The room of a module of `diet_tf`; the ground is the empty name."""
  part = module.split(".")[1]
  return part if (ROOT / "diet_tf" / part).is_dir() else ""


def _imported_modules(path: pathlib.Path) -> set[str]:
  """The modules of `diet_tf` that a module imports anywhere, also in functions and for type checkers alone."""
  known, found = set(_modules("diet_tf")), set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom):
      names = [f"{node.module}.{alias.name}" for alias in node.names]
      found |= {name if name in known else str(node.module) for name in names}
    elif isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
  return {name for name in found if name.startswith("diet_tf.")}


def _graph() -> dict[str, set[str]]:
  """Per module of `diet_tf`, those that it imports."""
  return dict(zip(_modules("diet_tf"), map(_imported_modules, _sources("diet_tf")), strict=True))


def test_every_folder_and_module_has_its_place_in_the_order():
  beside = {path.stem for path in (ROOT / "diet_tf").glob("*.py")} - {"__init__"}
  folders = {path.relative_to(ROOT / "diet_tf").parts[0] for path in _sources("diet_tf")} - {path.name for path in
             (ROOT / "diet_tf").glob("*.py")}
  assert folders == set(ROOMS), "a new folder of diet_tf is placed in ROOMS"
  assert beside == set(GROUND), "a new module at the root of diet_tf is placed in GROUND, or better in a room"


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_downward_only(room: str):
  above = set(ROOMS[:ROOMS.index(room)])
  for module, imported in _graph().items():
    if module != "diet_tf" and _room(module) == room:
      wrong = sorted(name for name in imported if _room(name) in above)
      assert not wrong, f"{module} imports {wrong}, which lie above {room}"


def test_the_ground_imports_no_room():
  for module, imported in _graph().items():
    if module != "diet_tf" and not _room(module):
      wrong = sorted(name for name in imported if _room(name))
      assert not wrong, f"{module} imports {wrong}"


@pytest.mark.parametrize(("one", "other"), STRANGERS)
def test_strangers_know_nothing_of_each_other(one: str, other: str):
  for module, imported in _graph().items():
    if module != "diet_tf" and _room(module) in (one, other):
      wrong = sorted(name for name in imported if {_room(module), _room(name)} == {one, other})
      assert not wrong, f"{module} imports {wrong}"


def test_no_modules_import_each_other_in_a_circle():
  graph, finished = _graph(), set()

  def visit(module: str, path: tuple[str, ...]) -> None:
    assert module not in path, " -> ".join([*path[path.index(module):], module])
    if module not in finished:
      for imported in sorted(graph.get(module, ())):
        visit(imported, (*path, module))
      finished.add(module)

  for module in graph:
    visit(module, ())


def test_core_imports_only_what_a_bare_install_has():
  allowed = BARE | set(LAZY) | set(LAZY_IN_CORE) | {"diet_tf"} | set(sys.stdlib_module_names)
  for path in _sources("diet_tf"):
    wrong = _top(_imports(ast.parse(path.read_text()))) - allowed
    assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("package", ORDER)
def test_lazy_packages_are_not_imported_at_module_level(package: str):
  for path in _sources(package):
    level = [name for node in _module_level(ast.parse(path.read_text())) for name in _imports(node)]
    assert not _top(level) & set(LAZY), f"{path.relative_to(ROOT)} imports {LAZY} on import"


def test_light_modules_do_not_import_tensorflow():
  light = ["diet_tf", "diet_tf.cli.main", "diet_tf.memory.manifest", "diet_tf.memory.recipe", "diet_tf.store.store",
           "diet_tf.config.config", "diet_tf.cli.terminal", "diet_tf.errors", "diet_tf.log.features",
           "diet_tf.distillation.budget", "diet_tf.log.settings", "diet_tf.config.validation", "diet_tf.settings"]
  heavy = ("tensorflow", "tf_keras", "keras", "tensorflow_recommenders", *EXTRAS, *LAZY)
  result = _python(f"import importlib, sys\nfor name in {light}:\n  importlib.import_module(name)\n"
                   f"print([name for name in {heavy} if name in sys.modules])")
  assert result.returncode == 0, result.stderr
  assert result.stdout.strip() == "[]"


def test_core_imports_without_the_extras():
  """Every module of a bare install imports where the extras are not installed."""
  code = f"""
import importlib, sys
for name in {(*EXTRAS, *LAZY)}:
  sys.modules[name] = None  # Importing it now raises ModuleNotFoundError.
for name in {_modules("diet_tf")}:
  importlib.import_module(name)
import diet_tf
for name in diet_tf.__all__:
  getattr(diet_tf, name)
"""
  result = _python(code)
  assert result.returncode == 0, result.stderr


def test_importing_the_core_asks_for_legacy_keras():
  result = _python("import os; os.environ.pop('TF_USE_LEGACY_KERAS', None)\n"
                   "import diet_tf; print(os.environ['TF_USE_LEGACY_KERAS'])")
  assert result.stdout.strip() == "1", result.stderr
