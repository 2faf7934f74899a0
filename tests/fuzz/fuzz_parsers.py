"""Coverage-guided fuzzing of the parsers of TFRecord files, manifests and commits; needs the package atheris.

    python -m tests.fuzz.fuzz_parsers --seconds 60 [TARGET ...]

For each target, inputs grow from a valid one by what covers new code, in a process of its own. Inputs are files, or for
`slot_records` and `example_records` the one record of a file whose checksums are sound. A target fails where a reader
raises something else than a DietError, takes ten seconds, or reads a file with other content than was written; the
input is then kept in the folder that is named.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Any, NoReturn

TARGETS = ("manifest", "commit", "forgotten", "pin", "frames", "slots", "examples", "slot_records", "example_records")
# Targets whose inputs are records, with the format of their file.
FILES_OF_RECORDS = {"slot_records": "slots", "example_records": "examples"}
_SECONDS_PER_INPUT = 10


def main(arguments: list[str] | None = None) -> int:
  """Fuzzes each target for its share of the time; returns 1 if one fails."""
  parser = argparse.ArgumentParser(description="Fuzz the parsers, guided by coverage.")
  parser.add_argument("targets", nargs="*", default=list(TARGETS), metavar="TARGET", help=", ".join(TARGETS))
  parser.add_argument("--seconds", type=int, default=60, help="in all, beside the start of each process")
  parser.add_argument("--seed", type=int, default=1, help="of the mutations")
  parser.add_argument("--folder", help=argparse.SUPPRESS)
  options = parser.parse_args(arguments)
  if unknown := set(options.targets) - set(TARGETS):
    parser.error(f"unknown targets {sorted(unknown)}; there are {', '.join(TARGETS)}")
  if options.folder:
    fuzz(options.targets[0], options.seconds, options.seed, pathlib.Path(options.folder))
  seconds = max(1, options.seconds // len(options.targets))
  failed = False
  for target in options.targets:
    folder = tempfile.mkdtemp(prefix=f"diet-fuzz-{target}-")
    code = subprocess.run([sys.executable, "-m", __spec__.name, target, f"--folder={folder}", f"--seconds={seconds}",
                           f"--seed={options.seed}"], check=False).returncode
    if code:
      failed = True
      print(f"{target} failed: see {folder}", file=sys.stderr)
    else:
      shutil.rmtree(folder)
  return int(failed)


def fuzz(target: str, seconds: int, seed: int, folder: pathlib.Path) -> NoReturn:
  """Fuzzes one target; the process ends with it, and not with 0 if it fails."""
  os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  import atheris

  with atheris.instrument_imports(include=["diet_tf"]):
    from diet_tf.errors import DietError
    from tests.fuzz.valid_files import first_record, make_formats, write_record

  form = make_formats(folder)[FILES_OF_RECORDS.get(target, target)]
  corpus, path = folder / "corpus", folder / "input" / form.name
  for place in (corpus, path.parent):
    place.mkdir()
  path.write_bytes(form.content)
  valid: Any = form.read(str(path))
  as_record = target in FILES_OF_RECORDS
  start = first_record(str(path)) if as_record else form.content
  (corpus / "valid").write_bytes(start)

  def read(content: bytes) -> None:
    if as_record:
      write_record(str(path), content)
    else:
      path.write_bytes(content)
    try:
      found = form.read(str(path))
    except DietError:
      return
    # A record that is signed anew may say anything that a record can say.
    if not as_record and repr(found) != repr(valid):
      raise AssertionError(f"read as {found!r}")

  atheris.Setup([sys.argv[0], str(corpus), f"-max_total_time={seconds}", f"-timeout={_SECONDS_PER_INPUT}",
                 f"-seed={seed}", f"-max_len={len(start) + 256}", f"-artifact_prefix={folder}/", "-verbosity=1",
                 "-rss_limit_mb=4096", "-print_final_stats=1"], read)
  atheris.Fuzz()
  sys.exit(0)


if __name__ == "__main__":
  sys.exit(main())
