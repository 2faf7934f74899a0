"""The command `diet doctor`."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from diet_tf.cli import doctor
from diet_tf.cli import main as cli
from diet_tf.errors import ConfigError, StoreError
from tests.diet_tf.small_store import SmallStore

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setenv("COLUMNS", "200")
  # What the command silences for good is the other tests' business.
  monkeypatch.setattr("diet_tf.cli.terminal.quiet_third_parties", lambda: None)


def examined(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
  code = cli.main(["doctor", "--json", *arguments])
  value = json.loads(capsys.readouterr().out)
  assert value["exit_code"] == code
  return code, {check["name"]: check for check in value["checks"]}


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
  """Makes the metadata say that packages are there in other versions, or (None) are not."""
  real = importlib.metadata.version

  def version(name: str) -> str:
    found = versions.get(name.replace("-", "_"), "real")
    if found is None:
      raise importlib.metadata.PackageNotFoundError(name)
    return real(name) if found == "real" else found

  monkeypatch.setattr(importlib.metadata, "version", version)


def test_all_is_well_here(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
  (tmp_path / "memories").mkdir()
  store = SmallStore(str(tmp_path / "store"), tmp_path / "memories", range(1, 4)).store
  code, checks = examined(capsys, "--output", str(tmp_path / "new" / "out"), "--store", store.uri)
  assert code == 0
  assert {check["state"] for check in checks.values()} <= {"ok", "note"}
  assert checks["tensorflow"]["found"] == importlib.metadata.version("tensorflow")
  assert checks[f"output {tmp_path}/new/out"]["found"] == "can be made"
  assert checks[f"store {store.uri}"]["found"] == "can be written; 3 commits, the newest of span 3"
  # It looks and leaves nothing.
  assert sorted(path.name for path in tmp_path.iterdir()) == ["memories", "store"]


def test_ranges_are_those_of_the_setup():
  text = (ROOT / "setup.py").read_text()
  packages = {package.name: package for package in doctor.requirements()}
  for package in packages.values():
    found = re.search(rf'"{re.escape(package.name)}(?:\[\w+\])?((?:[<>=]=?[\d.]+,?)+)"', text)
    assert package.versions == SpecifierSet(found[1])
  for name, extra in (("tensorflow", None), ("tf-keras", None), ("numpy", None), ("rich", None), ("PyYAML", None),
                      ("jinja2", None), ("tensorflow-recommenders", None), ("tfx", "tfx"), ("apache-beam", "tfx"),
                      ("pyarrow", "tfx"), ("kfp", "kubeflow"), ("tensorflow-io", "s3")):
    assert packages[name].extra == extra
  assert not {"pytest", "matplotlib", "notebook", "mkdocs-material"} & set(packages)
  exact = packages["tensorflow-io"]
  assert exact.takes("0.37.1") and not exact.takes("0.37.0") and not exact.takes("0.38")
  assert [str(packages[name]) for name in ("kfp", "rich", "apache-beam", "tensorflow-io")] == [
      "2.5 or later, below 3", "13 or later", "below 2.68", "exactly 0.37.1"]


@pytest.mark.parametrize(("version", "fits"), [("2.16.0", True), ("2.16.2rc1", True), ("2.15.9", False),
                                               ("2.17", False), ("2.9", False), ("3", False)])
def test_versions_are_compared_as_numbers(version: str, fits: bool):
  assert doctor.Requirement("tensorflow", SpecifierSet(">=2.16,<2.17")).takes(version) is fits


def test_what_is_no_version_is_not_in_range_and_any_is_in_none():
  assert not doctor.Requirement("tensorflow", SpecifierSet(">=2.16")).takes("nightly build")
  anything = doctor.Requirement("rich", SpecifierSet())
  assert anything.takes("0.1") and str(anything) == "any version"


def test_a_checkout_that_is_not_installed_says_so(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]):
  def requires(name: str) -> list[str]:
    raise importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(importlib.metadata, "requires", requires)
  code, checks = examined(capsys, "--output", str(tmp_path))
  assert code == ConfigError.exit_code and "not installed" in checks["diet-tf"]["found"]


def test_a_missing_extra_is_a_note_unless_it_was_asked_for(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                                           capsys: pytest.CaptureFixture[str]):
  installed(monkeypatch, tfx=None, kfp="1.8.0")
  code, checks = examined(capsys, "--output", str(tmp_path))
  assert code == 0 and checks["tfx"]["state"] == checks["kfp"]["state"] == "note"
  assert checks["tfx"]["remedy"] == "pip install 'diet-tf[tfx]'"
  assert checks["kfp"]["found"] == "1.8.0; tested: 2.5 or later, below 3"
  code, checks = examined(capsys, "--output", str(tmp_path), "--extra", "tfx")
  assert code == ConfigError.exit_code and checks["tfx"]["state"] == "problem" and checks["kfp"]["state"] == "note"


def test_a_package_of_the_bare_install_is_always_asked_for(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                                           capsys: pytest.CaptureFixture[str]):
  installed(monkeypatch, tensorflow="2.19.0")
  monkeypatch.setenv("TF_USE_LEGACY_KERAS", "0")
  assert cli.main(["doctor", "--output", str(tmp_path)]) == ConfigError.exit_code
  shown = capsys.readouterr().out
  assert "2.19.0; tested: 2.16 or later, below 2.17" in shown and "tensorflow: pip install 'diet-tf'" in shown
  assert "TF_USE_LEGACY_KERAS: set it to 1" in shown and "All that was asked for works" not in shown


def test_a_gpu_that_is_asked_for_has_to_be_there(monkeypatch: pytest.MonkeyPatch):
  import tensorflow as tf

  monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
  assert doctor.check_devices(wanted=False).state == "note"
  check = doctor.check_devices(wanted=True)
  assert (check.state, check.exit_code) == ("problem", ConfigError.exit_code) and "diet-tf[cuda]" in check.remedy


def test_a_place_that_cannot_be_written_to(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]):
  (tmp_path / "file").write_text("x")
  code, checks = examined(capsys, "--output", f"{tmp_path}/file/out")
  assert code == StoreError.exit_code and checks[f"output {tmp_path}/file/out"]["state"] == "problem"

  def refuse(**_: Any) -> None:
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr("tempfile.TemporaryFile", refuse)
  code, checks = examined(capsys, "--output", str(tmp_path))
  check = checks[f"output {tmp_path}"]
  assert code == StoreError.exit_code and "Permission denied" in check["found"] and "permissions" in check["remedy"]


def test_a_uri_is_no_output(capsys: pytest.CaptureFixture[str]):
  code, checks = examined(capsys, "--output", "s3://bucket/out")
  assert code == ConfigError.exit_code and "local folder" in checks["output s3://bucket/out"]["remedy"]


def test_a_nearly_full_disk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                            capsys: pytest.CaptureFixture[str]):
  monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 1 << 62)
  code, checks = examined(capsys, "--output", str(tmp_path))
  assert code == StoreError.exit_code and "GB free" in checks["disk"]["found"] and checks["disk"]["remedy"]


def test_a_store_nobody_listens_at_is_told_without_waiting(tmp_path: pathlib.Path):
  # In a process of its own: the file system of s3:// stays in the process that has loaded it.
  code = ("import os, sys\nos.environ['S3_ENDPOINT'] = 'http://127.0.0.1:9'\nfrom diet_tf.cli import main as cli\n"
          "sys.argv[1:] = ['doctor', '--output', sys.argv[1], '--store', 's3://bucket/store']\ncli.run_process()")
  ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120,
                         check=False)
  assert ended.returncode == StoreError.exit_code, ended.stderr
  assert "an S3 server listens there" in ended.stdout and "check the address" in ended.stdout
