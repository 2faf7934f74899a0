"""Makes the folder that the test of continuity keeps of a release: what `diet run` and `diet kubeflow compile` leave.

Usage, once for each release, from the root of its checkout:

    python -m tests.continuity.make_release tests/continuity/release_0_2

A README as in `release_0_1` is written by hand. Folders of earlier releases stay as they are.
"""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import shutil
import sys
import tempfile

import diet_tf
from diet_tf.cli import main as cli

SMALL_LOG = pathlib.Path(__file__).with_name("small_log")
IMAGE = f"registry.example.com/diet-tf:{diet_tf.__version__}"
# Stands in texts for the folder in which the commands ran; tests put the folder of their copy there.
PLACE = "/continuity"
# What no later command reads: pages, and of the pipeline's artifacts all but examples and verdicts.
LEFT_OUT = ("report.html", "pipeline/[!FL]*", "pipeline/FidelityEvaluator/report",
            "pipeline/FidelityEvaluator/verdict/*/report.html", "**/.system", "store/staging", "store/.lock")


def main(target: str) -> None:
  """Writes the folder of the release that is installed."""
  folder = pathlib.Path(target).resolve()
  with tempfile.TemporaryDirectory() as place:
    work = pathlib.Path(place).resolve()
    shutil.copytree(SMALL_LOG, work, dirs_exist_ok=True)
    os.chdir(work)
    # Both spans but the newest, which the memory is then judged on.
    _diet("run", "--config", "config.yaml", "--output", "run")
    _diet("kubeflow", "compile", "--config", "config.yaml", "--data-dir", "/logs", "--image", IMAGE,
          "--pvc", "memory:/memory", "--output", "pipeline.yaml")
    expected = _expected(work / "run")
    _prune(work / "run", str(work))
    folder.mkdir()
    for name in ("config.yaml", "pipeline.yaml"):
      shutil.copyfile(work / name, folder / name)
    shutil.copytree(work / "run", folder / "run")
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


def _diet(*arguments: str) -> None:
  code = cli.main([*arguments, "--debug"])
  assert code == 0, (arguments, code)


def _expected(run: pathlib.Path) -> dict:
  """What the release itself reads in its files."""
  memory = diet_tf.load_memory(str(run / "store"))
  commits = [json.loads((run / "store" / "commits" / f"{span}.json").read_text()) for span in (0, 1)]
  (encoded,) = (run / "examples" / "2").iterdir()
  rows = diet_tf.LogExamples.in_folder(str(encoded / "Split-train"), memory.spec).arrays()
  return {
      "version": diet_tf.__version__,
      "commits": [{"span": commit["span"], "data": commit["data"], "digest": commit["digest"]} for commit in commits],
      "memory": {"digest": memory.digest, "num_slots": len(memory), "first_labels": memory.slots.labels[:4].tolist()},
      "examples": {"folder": str(encoded.relative_to(run)), "num_examples": len(rows.labels),
                   "first_ids": rows.ids[:4].tolist(), "first_labels": rows.labels[:4].tolist()}}


def _prune(run: pathlib.Path, place: str) -> None:
  """Leaves what a later run reads, without the names of this machine's folders in texts."""
  for pattern in LEFT_OUT:
    for path in list(run.glob(pattern)):
      if path.is_dir():
        shutil.rmtree(path)
      else:
        path.unlink()
  for path in (*run.glob("spans/*.json"), *run.glob("results/*.json"), run / "results.json"):
    path.write_text(path.read_text().replace(place, PLACE))
  database = run / "metadata.sqlite"
  (run / "metadata.sqlite.gz").write_bytes(gzip.compress(database.read_bytes(), mtime=0))
  database.unlink()


if __name__ == "__main__":
  main(sys.argv[1])
