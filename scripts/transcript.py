"""Writes docs/transcript.md: the commands at work on a small simulated log, recorded by running them."""

from __future__ import annotations

import os
import pathlib
import pty
import re
import select
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "transcript.md"
WIDTH = 100
NUM_SPANS = 3
MODEL = '''import tensorflow as tf


class TwoSums(tf.keras.Model):
  """A sum of embeddings, and its square; takes {field: [batch] ids}, returns logits."""

  def __init__(self, spec, *, dim=8, seed=0):
    super().__init__()
    start = tf.keras.initializers.RandomNormal(stddev=0.05, seed=seed)
    self.tables = {name: tf.keras.layers.Embedding(num_ids, dim, embeddings_initializer=start)
                   for name, num_ids in zip(spec.names, spec.num_ids)}
    self.output_layer = tf.keras.layers.Dense(1, kernel_initializer=tf.keras.initializers.GlorotUniform(seed=seed))

  def call(self, features, training=False):
    total = tf.add_n([table(features[name]) for name, table in self.tables.items()])
    return self.output_layer(tf.concat([total, total * total], axis=1))
'''
# What is said before a command, and the command.
STEPS = (
    ("A folder with a file for each day, and a model of ours:", "ls"),
    ("", "ls log"),
    ("", "head -3 log/span-0.csv"),
    ("", "cat my_models.py"),
    ("What is here, and what is missing:", "diet doctor --extra tfx"),
    ("A first config, to be read through:", "diet init log --output shop.yaml"),
    ("", "cat shop.yaml"),
    ("The memory, day by day. The settings make a training of a minute; leave them out for one that is worth it:",
     "diet run --config shop.yaml --set distill.outer_steps=40 --set distill.num_initialisations=2 \\\n"
     "  --set 'panel.members=[lr, fm, dnn]' --set 'panel.seeds=[0, 1]' \\\n"
     "  --set 'panel.learning_rates=[3.0e-3, 1.0e-2]' --set 'panel.row_epochs=[5]'"),
    ("What is in it:", "diet memory show diet_runs/shop/store"),
    ("The daily use: which architecture is the best?",
     "diet compare lr fm 'dnn(embedding_dim=4)' my_models:TwoSums --store diet_runs/shop/store --seeds 3"),
    ("For other tools:", "diet memory export diet_runs/shop/store --to exported --format csv"),
    ("", "head -4 exported/ids.csv"),
    ("The store:", "diet store log diet_runs/shop/store"),
    ("", "diet store verify diet_runs/shop/store"),
    ("What goes wrong is told with its rule and its remedy:", "diet memory show diet_runs/shop"),
    ("", "diet compare lr my_modles:TwoSums --store diet_runs/shop/store"),
)
_HEAD = """# Transcript

A session with the commands on a small simulated log, recorded by `python scripts/transcript.py`; its figures are
those of a log of {rows:,} rows a day, and say nothing of larger ones. [commands.md](commands.md) has every option.
"""


def prepare(folder: pathlib.Path) -> int:
  """Writes the log and the model; returns the rows of a span."""
  from diet_tf.log.simulate import SimulatedLog, SimulatedLogSettings

  settings = SimulatedLogSettings(num_users=150, num_items=80, num_authors=20, num_categories=8, num_segments=4,
                                  rows_per_span=3000, strength=1.5)
  (folder / "log").mkdir()
  for span in range(NUM_SPANS):
    SimulatedLog(settings).write_csv(str(folder / "log" / f"span-{span}.csv"), span)
  (folder / "my_models.py").write_text(MODEL)
  return settings.rows_per_span


def words_of(command: str) -> list[str]:
  """The words of a command that may go on over lines."""
  return shlex.split(command.replace("\\\n", " "))


def recorded(command: str, folder: pathlib.Path) -> str:
  """What a terminal shows of a command; its exit code too where it is not 0."""
  words = words_of(command)
  if words[0] == "diet":
    words = [sys.executable, "-m", "diet_tf.cli", *words[1:]]
  paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
  environment = {**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm", "PYTHONPATH": os.pathsep.join(paths)}
  shown, code = in_terminal(words, folder, environment)
  shown = re.sub(r"\x1b\[[0-9;]*m|\r(?=\n)", "", shown)  # Bold letters, and a terminal's ends of lines.
  shown = re.sub(r"[ \t]+$", "", shown, flags=re.MULTILINE).strip("\n")
  shown = shown.replace(str(folder), "~/shop")
  return shown + (f"\n(exit code {code})" if code else "")


def in_terminal(words: list[str], folder: pathlib.Path, environment: dict[str, str]) -> tuple[str, int]:
  """What a command writes, and its exit code. Standard output is a terminal, for its tables; progress sees none."""
  terminal, its_end = pty.openpty()
  with subprocess.Popen(words, cwd=folder, stdout=its_end, stderr=subprocess.PIPE, env=environment) as process:
    os.close(its_end)
    assert process.stderr is not None
    parts, open_streams = [], [terminal, process.stderr.fileno()]
    while open_streams:
      # What was said before a result comes before it: standard error is read first where both have something.
      for stream in sorted(select.select(open_streams, [], [])[0], key=lambda one: one == terminal):
        try:
          part = os.read(stream, 1 << 16)
        except OSError:  # As Linux tells the end of a terminal.
          part = b""
        parts.append(part)
        if not part:
          open_streams.remove(stream)
  os.close(terminal)
  return b"".join(parts).decode(), process.returncode


def main() -> int:
  """Records all steps; returns the exit code."""
  sys.path.insert(0, str(ROOT))
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name).resolve() / "shop"
    folder.mkdir()
    parts = [_HEAD.format(rows=prepare(folder))]
    for said, command in STEPS:
      print(f"$ {command}", file=sys.stderr, flush=True)
      parts += [f"{said}\n"] if said else []
      parts.append(f"```text\n$ {command}\n{recorded(command, folder)}\n```\n")
  DOCUMENT.write_text("\n".join(parts), encoding="utf-8")
  return 0


if __name__ == "__main__":
  sys.exit(main())
