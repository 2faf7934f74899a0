"""Each example as its reader runs it, on a run so small that its figures mean little."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.small_run import make_run

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("run")
  make_run(folder)
  return folder


def _output(run: pathlib.Path, name: str, *arguments: str) -> str:
  """What an example prints, started from the folder of the run with the store alone."""
  paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
  result = subprocess.run([sys.executable, str(EXAMPLES / name), "--store", "store", *arguments], cwd=run,
                          env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=500,
                          check=False)
  assert result.returncode == 0, result.stderr
  return result.stdout


@pytest.mark.slow
def test_functional_keras(run, tmp_path):
  lines = _output(run, "functional_keras.py", "--seeds", "2", "--tensorboard", str(tmp_path)).splitlines()
  assert lines[0].split() == ["trained", "on", "AUC", "recovery"]
  rows = dict((part.strip() for part in (line[:22], line[22:])) for line in lines[1:])
  assert list(rows) == ["log", "memory, drawn", "memory, bag model", "memory, weighted"]
  log_auc = float(rows.pop("log").split()[0])
  assert log_auc > 0.5
  for way, figures in rows.items():
    memory_auc, error, recovery = (float(figures.split()[place]) for place in (0, 2, 3))
    assert memory_auc > 0.5 and 0 <= error < 0.5
    # From figures that are rounded to four places.
    assert recovery == pytest.approx((memory_auc - 0.5) / (log_auc - 0.5), abs=0.01)
    folder = tmp_path / way.removeprefix("memory, ").replace(" ", "-")
    for name in ("0/held_out", "0/train", "1/held_out", "1/train"):
      assert list((folder / name).glob("events.out.tfevents.*"))


@pytest.mark.slow
def test_tfrs_ranking(run):
  output = _output(run, "tfrs_ranking.py")
  log_auc, memory_auc = (float(value) for value in re.findall(r"AUC (\S+?)[,\n]", output))
  assert log_auc > 0.5 and memory_auc > 0.5
  assert "recovery" in output


@pytest.mark.slow
def test_tuner_checks_its_top_3_on_the_log(run):
  lines = _output(run, "tuner.py", "--trials", "4").splitlines()
  assert lines[0].startswith("4 candidates on the memory")
  top = [re.fullmatch(r" +(\S+) +(\S+) +(\S+)  family (\w+), .*", line) for line in lines[2:5]]
  scores = [float(line[1]) for line in top]
  assert scores == sorted(scores, reverse=True)
  assert all(0 < float(line[place]) < 1 for line in top for place in (1, 2, 3))
  # 64 slots in 4 epochs; the log has 1,200 rows at the most.
  ratio = re.match(r"A training on the log takes (\d+) times the examples", lines[5])
  assert int(ratio[1]) in (4, 5)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_says_how_to_run_it(path):
  docstring = path.read_text().split('"""')[1]
  assert f"python examples/{path.name} " in docstring and "make demo" in docstring
  assert re.search(r"# .*(minute|second)", docstring)
