"""The wheel holds every module and template of the three packages, and works where the checkout is not."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("diet_tf", "tfx_components", "pipelines")
# What the Dockerfile gives to the build.
SOURCES = (*PACKAGES, "setup.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> pathlib.Path:
  """A folder with what the wheel installs."""
  folder = tmp_path_factory.mktemp("wheel")
  source = folder / "source"
  source.mkdir()
  for name in SOURCES:
    if (ROOT / name).is_dir():
      shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    else:
      shutil.copy(ROOT / name, source / name)
  subprocess.run([sys.executable, "setup.py", "-q", "bdist_wheel", "-d", str(folder)], cwd=source, check=True,
                 capture_output=True, timeout=300)
  (wheel,) = folder.glob("*.whl")
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(folder / "installed")
  return folder / "installed"


def _files(root: pathlib.Path) -> set[str]:
  return {str(path.relative_to(root)) for package in PACKAGES for path in (root / package).rglob("*")
          if path.is_file() and "__pycache__" not in path.parts}


def test_it_holds_every_file_of_the_packages_and_no_other(installed):
  assert _files(installed) == _files(ROOT)
  assert "diet_tf/report/templates/page.html.j2" in _files(installed)
  assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == set(PACKAGES)


def test_a_page_is_rendered_from_it(installed, tmp_path):
  """The tests' own report, by the installed package: the templates are found where a wheel puts them."""
  shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=lambda folder, names: [
      name for name in names if pathlib.Path(folder, name).is_dir() and name not in ("tests", "diet_tf")])
  code = ("import diet_tf, pathlib\n"
          "from tests.diet_tf.small_report import render\n"
          "print(pathlib.Path(diet_tf.__file__).parents[1])\n"
          "print(render()[:15])")
  done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
                        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(tmp_path)])})
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines() == [str(installed), "<!DOCTYPE html>"]


def test_the_command_is_declared(installed):
  declared = (next(installed.glob("*.dist-info")) / "entry_points.txt").read_text()
  assert "diet = diet_tf.cli.main:run_process" in declared
