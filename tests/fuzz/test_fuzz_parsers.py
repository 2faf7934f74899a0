from __future__ import annotations

import importlib.util
import pathlib
import subprocess
import sys

import pytest

SECONDS = 14
ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None,
                    reason="atheris is not installed (pip install 'diet-tf[dev]'): no coverage-guided fuzzing")
def test_parsers_under_coverage_guided_fuzzing():
  done = subprocess.run([sys.executable, "-m", "tests.fuzz.fuzz_parsers", "manifest", "slot_records",
                         f"--seconds={SECONDS}"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
  assert done.returncode == 0, done.stderr[-4000:]
  # Each of the two has run, and has come further than the valid file that it began with.
  assert done.stderr.count("stat::new_units_added:") == 2
  assert "stat::new_units_added:          0" not in done.stderr


def test_unknown_target_is_refused():
  done = subprocess.run([sys.executable, "-m", "tests.fuzz.fuzz_parsers", "x"], cwd=ROOT, capture_output=True,
                        text=True, timeout=60, check=False)
  assert done.returncode == 2 and "unknown targets ['x']" in done.stderr
