"""`python -m diet_tf.cli` is the command `diet`."""

from __future__ import annotations

from diet_tf.cli.main import run_process

if __name__ == "__main__":
  run_process()
