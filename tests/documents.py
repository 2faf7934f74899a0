"""The documents of the project, the code in them, and how it is run."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence

from diet_tf.log.simulate import SimulatedLog, SimulatedLogSettings

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md",
             *sorted((ROOT / "docs").rglob("*.md"))]
# Run from their first block to their last, in a folder with a log; S3's beside the other tests of S3.
WALKTHROUGHS = [ROOT / "docs" / name for name in (
    "quickstart.md", "how-to/bring-your-log.md", "how-to/bring-your-model.md", "how-to/tune-the-budget.md")]
S3_WALKTHROUGH = ROOT / "docs" / "how-to" / "s3.md"
# Other programs that the documents name. What they do is not ours to test, or is tested elsewhere (make demo).
OTHER_PROGRAMS = {".", "docker", "export", "jupyter", "kubectl", "kubeflow/smoke.sh", "make"}
# A training of seconds. Every run of a walkthrough gets them, so that its config is one.
CHEAP = [word for setting in (
    "squash.num_iterations=2", "teacher.members=['dnn(embedding_dim=4,hidden_units=16-8)']", "distill.proxies=[lr]",
    "distill.outer_steps=2", "distill.outer_batch_size=64", "distill.num_initialisations=1", "gate.members=[lr]",
    "gate.num_seeds=1", "panel.members=[lr, 'fm(embedding_dim=4)']", "panel.seeds=[0]", "panel.learning_rates=[0.01]",
    "panel.row_epochs=[2]") for word in ("--set", setting)]
# A comparison of seconds; one with a single seed would have no noise to show.
FEW_SEEDS = ["--seeds", "2"]
LOG = SimulatedLogSettings(num_users=60, num_items=40, num_authors=10, num_categories=6, num_segments=3,
                           rows_per_span=2000, strength=1.5)
# One day for the memory, and the newest for the test.
DAYS = ("20240101", "20240102")

FENCE = re.compile(r"(?:<!-- (?P<note>file|not run): (?P<detail>[^\n]*?) -->\n)?"
                   r"```(?P<language>\w*)\n(?P<code>.*?)```", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Block:
  """A code block of a document; `note` is "file" (with the file's name), "not run" (with the reason) or None."""

  language: str
  code: str
  line: int
  note: str | None
  detail: str | None


def name_of(path: pathlib.Path) -> str:
  """The path below the root, as the name of a test's case."""
  return str(path.relative_to(ROOT))


def blocks(path: pathlib.Path, *languages: str) -> list[Block]:
  """The code blocks of a document, in order; those of some languages alone, if any is given."""
  text = path.read_text()
  found = [Block(match["language"], match["code"], text.count("\n", 0, match.start("code")), match["note"],
                 match["detail"]) for match in FENCE.finditer(text)]
  return [block for block in found if not languages or block.language in languages]


def commands(block: Block) -> list[list[str]]:
  """The words of each command of a shell block, without comments, variables before it and what follows a `>`."""
  found = []
  for line in block.code.replace("\\\n", " ").splitlines():
    words = shlex.split(line, comments=True)
    while words:
      end = words.index("&&") if "&&" in words else len(words)
      command, words = words[:end], words[end + 1:]
      command = command[:command.index(">")] if ">" in command else command
      while re.match(r"[A-Z_]+=", command[0]):
        command = command[1:]
      found.append(command)
  return found


def run_python(path: pathlib.Path, block: Block, namespace: dict) -> None:
  """Runs a block, or writes the file that it is; errors name the document's own lines."""
  if block.note == "file":
    pathlib.Path(block.detail).write_text(block.code)
  elif block.note is None:
    exec(compile("\n" * block.line + block.code, str(path), "exec"), namespace)


def write_log(folder: pathlib.Path) -> None:
  """The log that the walkthroughs speak of: a file a day below `logs`."""
  (folder / "logs").mkdir()
  for span, day in enumerate(DAYS):
    SimulatedLog(LOG).write_csv(str(folder / "logs" / f"day-{day}.csv"), span)


def build_site(folder: pathlib.Path) -> None:
  """Builds the site as `make docs` does; every warning is an error."""
  built = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)], cwd=ROOT,
                         env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False)
  assert built.returncode == 0 and "WARNING" not in built.stderr, built.stderr


def run_shell(block: Block, diet: Callable[[Sequence[str]], int]) -> None:
  """Runs the commands of a block: those of `diet` by a function, and looks at files as they are."""
  for words in commands(block):
    if words[0] == "diet":
      cheaper = {"run": CHEAP, "compare": FEW_SEEDS}.get(words[1], [])
      assert diet([*words[1:], *cheaper]) == 0, words
    elif words[0] not in OTHER_PROGRAMS:
      subprocess.run(words, check=True, capture_output=True)
