"""A base image without a registry: Debian by debootstrap, with the Python that runs the tests."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

# What Python's extension modules link against; python:3.10-slim has the same.
LIBRARIES = ("ca-certificates", "libbz2-1.0", "libexpat1", "libffi8", "liblzma5", "libncursesw6", "libreadline8",
             "libsqlite3-0", "libssl3", "libuuid1", "zlib1g")
# In the image, pip sees these wheels and no index.
WHEELHOUSE = "/wheelhouse"
BUILDAH_ENVIRONMENT = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}


def missing_tools() -> list[str]:
  """What an image cannot be built without here."""
  missing = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]
  return missing + ([] if os.geteuid() == 0 else ["root"])


class Builder:
  """Runs buildah with a storage of its own.

  Args:
    folder: where the storage is, which can be removed afterwards.
  """

  def __init__(self, folder: pathlib.Path) -> None:
    self._roots = [f"--root={folder / 'storage'}", f"--runroot={folder / 'run'}"]

  def __call__(self, *arguments: str, timeout: float = 900) -> str:
    """What buildah prints."""
    done = subprocess.run(["buildah", *self._roots, *arguments], capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, **BUILDAH_ENVIRONMENT}, check=False)
    if done.returncode:
      raise AssertionError(f"buildah {arguments[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}\n"
                           f"{done.stderr[-3000:]}")
    return done.stdout.strip()


def make_base(buildah: Builder, folder: pathlib.Path, name: str) -> None:
  """Makes an image with Python 3.10 as `python`, as python:3.10-slim has it."""
  root = folder / "root"
  subprocess.run(["debootstrap", "--variant=minbase", f"--include={','.join(LIBRARIES)}", "bookworm", str(root)],
                 check=True, timeout=900, stdout=subprocess.DEVNULL)
  for part in ("bin", "lib", "include"):
    shutil.copytree(pathlib.Path(sys.base_prefix) / part, root / "usr" / "local" / part, symlinks=True,
                    dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "site-packages", "test"))
  (root / "usr" / "local" / "bin" / "python").unlink(missing_ok=True)
  (root / "usr" / "local" / "bin" / "python").symlink_to("python3.10")
  (root / "etc" / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {WHEELHOUSE}\n")
  (root / WHEELHOUSE.lstrip("/")).mkdir()
  subprocess.run(["chroot", str(root), "ldconfig"], check=True, timeout=60)
  container = buildah("from", "scratch")
  buildah("copy", container, str(root), "/")
  buildah("config", "--env", "PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin", container)
  buildah("commit", "--rm", container, name)
  shutil.rmtree(root)
