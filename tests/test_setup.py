"""The set-up script, with a stand-in for uv: what it runs, when it runs nothing, and what it says when it cannot."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

FAKE_UV = """#!/bin/sh
[ "$1" = --version ] && { echo "uv 9.9.9"; exit; }
echo "$@" >> "$UV_CALLS"
case "$1 $2" in
  "venv "*) mkdir -p .venv/bin && ln -sf "$REAL_PYTHON" .venv/bin/python ;;
  "pip sync") exit "${SYNC_EXIT:-0}" ;;
  "python "*) exit 1 ;;
esac
"""
# What pyenv puts on PATH where no 3.10 is chosen.
BROKEN_SHIM = "#!/bin/sh\necho 'command not found' >&2\nexit 127\n"


class Checkout:
  """A copy of what the script reads, and a PATH of its own."""

  def __init__(self, folder: pathlib.Path) -> None:
    self.root, self.bin = folder / "project", folder / "bin"
    self.calls_file = folder / "calls"
    self.root.mkdir()
    self.bin.mkdir()
    shutil.copytree(ROOT / "scripts", self.root / "scripts", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    for name in ("setup.py", "requirements.lock", "requirements-contract.lock"):
      shutil.copy(ROOT / name, self.root / name)
    (self.root / "diet_tf").mkdir()
    (self.root / "diet_tf" / "__init__.py").touch()
    self.program("uv", FAKE_UV)
    self.program("python3.10", BROKEN_SHIM)
    self.program("python3", f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    self.environment = {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(folder), "UV_CALLS": str(self.calls_file),
                        "REAL_PYTHON": sys.executable}

  def program(self, name: str, text: str) -> None:
    path = self.bin / name
    path.write_text(text)
    path.chmod(0o755)

  def setup(self, **environment: str) -> subprocess.CompletedProcess[str]:
    self.calls_file.write_text("")
    return subprocess.run([self.root / "scripts" / "setup.sh"], env={**self.environment, **environment},
                          capture_output=True, text=True, timeout=60, check=False)

  @property
  def calls(self) -> list[str]:
    return self.calls_file.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> Checkout:
  if sys.version_info[:2] != (3, 10) or shutil.which("sha256sum") is None:
    pytest.skip("the script is for Python 3.10 on Debian or Ubuntu")
  return Checkout(tmp_path)


def test_first_run_installs_the_lock_and_the_project(checkout: Checkout):
  result = checkout.setup()
  assert result.returncode == 0, result.stderr
  # The broken shim was passed over; the next candidate works.
  assert any(call.startswith("venv") and call.endswith("--python python3 .venv") for call in checkout.calls)
  installs = [call for call in checkout.calls if call.startswith("pip")]
  assert "requirements.lock" in installs[1]
  assert [call.split()[-1] for call in installs[2:]] == ["./scripts/farmhash", ".", "requirements-contract.lock"]
  # Nothing but the lock is ever resolved or fetched.
  assert all("--no-deps" in call or "sync" in call for call in installs)
  build = (checkout.root / ".bootstrap" / "build.lock").read_text()
  assert re.findall(r"^([a-z]\S*)==", build, re.MULTILINE) == ["packaging", "setuptools", "wheel"]
  assert "--hash=sha256:" in build


def test_second_run_does_nothing_and_is_quick(checkout: Checkout):
  checkout.setup()
  started = time.monotonic()
  result = checkout.setup()
  assert time.monotonic() - started < 1
  assert (result.returncode, result.stdout, result.stderr, checkout.calls) == (0, "", "", [])


@pytest.mark.parametrize("changed", ["requirements.lock", "requirements-contract.lock", "setup.py",
                                     "scripts/setup.sh", "scripts/farmhash/farmhash.py"])
def test_a_change_installs_again_into_the_same_venv(checkout: Checkout, changed: str):
  checkout.setup()
  with (checkout.root / changed).open("a") as stream:
    stream.write("\n# changed\n")
  assert checkout.setup().returncode == 0
  assert any(call.startswith("pip sync") for call in checkout.calls)
  assert not any(call.startswith("venv") and call.endswith(" .venv") for call in checkout.calls)


def test_a_new_package_installs_again(checkout: Checkout):
  checkout.setup()
  (checkout.root / "pipelines").mkdir()
  (checkout.root / "pipelines" / "__init__.py").touch()
  checkout.setup()
  assert checkout.calls


def test_a_failed_install_is_not_taken_for_a_whole_one(checkout: Checkout):
  checkout.setup()
  (checkout.root / "setup.py").write_text("# changed\n")
  assert checkout.setup(SYNC_EXIT="2").returncode != 0
  assert checkout.setup().returncode == 0
  assert any(call.startswith("pip sync") for call in checkout.calls)


def test_a_venv_whose_python_is_gone_is_made_anew(checkout: Checkout):
  checkout.setup()
  python = checkout.root / ".venv" / "bin" / "python"
  python.unlink()
  python.symlink_to("/nonexistent/python3.10")
  assert checkout.setup().returncode == 0
  assert any(call.startswith("venv") for call in checkout.calls)


def test_a_named_python_must_work(checkout: Checkout):
  result = checkout.setup(PYTHON=str(checkout.bin / "python3.10"))
  assert result.returncode == 1
  assert "is not a working Python 3.10" in result.stderr


def test_no_python_310_anywhere(checkout: Checkout):
  checkout.program("python3", "#!/bin/sh\nexit 1\n")
  checkout.program("python", "#!/bin/sh\nexit 1\n")
  result = checkout.setup()
  assert result.returncode == 1
  assert "TFX 1.16 needs Python 3.10" in result.stderr
  # uv was asked to find one, then to install one.
  assert [call.split()[:2] for call in checkout.calls] == [["python", "find"], ["python", "install"]]


def test_pyenv_versions_are_found(checkout: Checkout):
  checkout.program("python3", "#!/bin/sh\nexit 1\n")
  checkout.program("python", "#!/bin/sh\nexit 1\n")
  folder = pathlib.Path(checkout.environment["HOME"]) / ".pyenv" / "versions" / "3.10.99" / "bin"
  folder.mkdir(parents=True)
  os.symlink(sys.executable, folder / "python3.10")
  assert checkout.setup().returncode == 0
  assert any(str(folder / "python3.10") in call for call in checkout.calls)
