"""What no file of the project may say: where somebody's packages or folders are."""

from __future__ import annotations

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Spelt in parts, so that this file does not contain them.
REGISTRY_HOSTS = ["pypi" + ".org", "python" + "hosted.org", "registry.npm" + "js.org", "deb.deb" + "ian.org",
                  "archive.ubun" + "tu.com", "proxy.gol" + "ang.org", "crat" + "es.io"]
HOME_FOLDERS = re.compile(r"(?<![\w.}])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me/\w+|Us" + r"ers/\w+)/[\w.-]+")


def _texts() -> list[tuple[str, str]]:
  """Path and text of every file that belongs to the project and is text."""
  listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True,
                           check=False)
  if listing.returncode:
    pytest.skip("not a git checkout")
  texts = []
  for name in listing.stdout.decode().split("\0"):
    path = ROOT / name
    if name and path.is_file():
      content = path.read_bytes()
      if b"\0" not in content:
        texts.append((name, content.decode("utf-8")))
  return texts


def test_no_file_names_a_package_registry():
  found = [(name, host) for name, text in _texts() for host in REGISTRY_HOSTS if host in text]
  assert not found


def test_no_file_names_an_absolute_path_of_a_machine():
  found = [(name, match.group()) for name, text in _texts() for match in HOME_FOLDERS.finditer(text)]
  assert not found


def test_lock_pins_every_package_with_hashes():
  lock = (ROOT / "requirements.lock").read_text()
  names = re.findall(r"^[a-z0-9][\w.\-\[\]]*==", lock, re.MULTILINE)
  entries = re.split(r"\n(?=[a-z0-9])", lock)
  assert len(names) > 200
  assert not [entry.split()[0] for entry in entries[1:] if "--hash=sha256:" not in entry]
  assert "://" not in lock
