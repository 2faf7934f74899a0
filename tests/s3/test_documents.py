"""The page on S3, from its first block to its last, against a real server."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Sequence

import pytest

from diet_tf.io import files
from tests.documents import S3_WALKTHROUGH, blocks, run_shell, write_log

BUCKET_OF_THE_PAGE = "s3://bucket"


def upload(folder: str, uri: str) -> None:
  for path in pathlib.Path(folder).iterdir():
    files.copy(str(path), files.join(uri, path.name))


@pytest.mark.slow(seconds=60)
def test_the_page_works(elsewhere, uri, environment, tmp_path, monkeypatch):
  pytest.importorskip("tfx")
  monkeypatch.chdir(tmp_path)
  write_log(tmp_path)
  elsewhere(upload, str(tmp_path / "logs"), f"{uri}/logs")

  def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=500,
                          check=False)

  def diet(arguments: Sequence[str]) -> int:
    ended = run("-m", "diet_tf.cli", *(word.replace(BUCKET_OF_THE_PAGE, uri) for word in arguments))
    assert "pure virtual" not in ended.stderr
    assert ended.returncode == 0, ended.stderr
    return ended.returncode

  for block in blocks(S3_WALKTHROUGH, "python", "sh"):
    if block.language == "sh":
      run_shell(block, diet)
    else:
      ended = run("-c", block.code.replace(BUCKET_OF_THE_PAGE, uri))
      assert ended.returncode == 0 and ended.stdout.endswith(" slots\n"), ended.stderr
