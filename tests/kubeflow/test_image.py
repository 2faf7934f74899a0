"""The image, built for real on a base of Debian and this Python: its stages, layout and user, without the 3 GB."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests.kubeflow.base_image import WHEELHOUSE, Builder, make_base, missing_tools

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Enough for `diet --version`, and to build what comes as source.
PACKAGES = ("setuptools", "wheel", "packaging", "numpy")


def small_context(folder: pathlib.Path) -> None:
  """What the builder may see, with a lock of `PACKAGES` alone."""
  lock = (ROOT / "kubeflow" / "requirements.lock").read_text()
  allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
  for path in [*allowed, ".dockerignore", "kubeflow/Dockerfile"]:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if (ROOT / path).is_dir() else shutil.copy)(ROOT / path, folder / path)
  kept = [entry for entry in re.split(r"\n(?=[a-z0-9])", lock) if entry.split("==")[0] in PACKAGES]
  assert len(kept) == len(PACKAGES)
  (folder / "kubeflow" / "requirements.lock").write_text("\n".join(kept) + "\n")
  (folder / "credentials.txt").write_text("lies about in a checkout")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
  if missing := missing_tools():
    pytest.skip(f"the image is not built here, for want of {', '.join(missing)}")
  pip = [str(pathlib.Path(sys.base_prefix) / "bin" / "python3.10"), "-m", "pip"]
  if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
    pytest.skip("the image is not built here: this Python has no pip")
  folder = tmp_path_factory.mktemp("image")
  (folder / "context").mkdir()
  small_context(folder / "context")
  wheels = folder / "wheels"
  subprocess.run([*pip, "download", "-q", "--no-deps", "--require-hashes", "-d", str(wheels), "-r",
                  str(folder / "context" / "kubeflow" / "requirements.lock")], check=True, timeout=300,
                 stderr=subprocess.DEVNULL)
  buildah = Builder(folder)
  make_base(buildah, folder, "diet-base:1")
  buildah("build", "--pull=never", "-f", str(folder / "context" / "kubeflow" / "Dockerfile"), "--build-arg",
          "BASE=localhost/diet-base:1", "--build-arg", "REVISION=abc123", "--volume", f"{wheels}:{WHEELHOUSE}:ro",
          "-t", "diet-tf:test", str(folder / "context"))
  container = buildah("from", "--pull=never", "localhost/diet-tf:test")

  def run(*command: str) -> str:
    return buildah("run", container, "--", *command)

  yield buildah, run
  shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_image_runs_the_command_as_its_user(image):
  buildah, run = image
  config = json.loads(buildah("inspect", "--type", "image", "localhost/diet-tf:test"))["OCIv1"]
  assert config["config"]["User"] == "10001:0" and config["config"]["WorkingDir"] == "/home/diet"
  assert config["config"]["Cmd"] == ["diet", "--help"]
  assert config["config"]["Labels"]["org.opencontainers.image.revision"] == "abc123"
  assert not [entry for entry in config["config"]["Env"] if re.search("SECRET|PASSWORD|AWS_", entry)]

  assert run("id", "-u") == "10001"
  assert run("diet", "--version").startswith("diet-tf ")
  # The project is installed, not copied, and its user may not change it.
  where, *others = run("python", "-c", "import importlib.util\nfor name in ('diet_tf', 'pipelines', 'tfx_components', "
                       "'farmhash'):\n  print(importlib.util.find_spec(name).origin)").split()
  assert len(others) == 3
  assert all(path.startswith("/opt/diet-tf/lib/python3.10/site-packages/") for path in (where, *others))
  assert run("sh", "-c", f"test -w {where} && echo writable || echo sealed") == "sealed"
  # The launcher's folders are its own, and what lies about in a checkout is not in the image.
  assert run("sh", "-c", "for folder in /minio /s3 /gcs /home/diet /tmp; do touch $folder/x && echo $folder; done"
             ).split() == ["/minio", "/s3", "/gcs", "/home/diet", "/tmp"]
  assert run("sh", "-c", "find / -xdev -name credentials.txt 2> /dev/null | wc -l") == "0"
  assert run("sh", "-c", "ls -d /wheels /build 2> /dev/null | wc -l") == "0"
