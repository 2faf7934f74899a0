"""The command `diet doctor`: whether what is installed and reachable here is what the other commands need.

It works in a bare install: packages of extras are looked up by their metadata and never imported.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Literal

from packaging import requirements as requirements_lib
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from diet_tf.cli.help import ExamplesHelp, path_text
from diet_tf.errors import ConfigError, DietError, StoreError
from diet_tf.io import files
from diet_tf.io.write_access import LEAST_FREE_BYTES, free_bytes, nearest_folder, require_writable_folder
from diet_tf.printable import printable

State = Literal["ok", "note", "problem"]

EXTRAS = ("tfx", "kubeflow", "s3", "cuda")
_DISTRIBUTION = "diet-tf"
# How a bound of a range is told, in this order.
_WORDS = {"==": "exactly {}", "~=": "compatible with {}", ">=": "{} or later", ">": "later than {}",
          "<=": "{} or before", "<": "below {}", "!=": "not {}"}
_EXAMPLES = """examples:
  diet doctor
  diet doctor --output diet_runs --store s3://diet/store
  diet doctor --extra tfx --extra cuda --json

The exit code is 0 if all that was asked for works; otherwise that of the first problem, as the command that runs into
it would give it."""


@dataclasses.dataclass(frozen=True)
class Requirement:
  """A package that is needed, with the versions of it that were tested.

  Attributes:
    name: the name of its distribution.
    versions: the tested range; empty for any version.
    extra: the extra of diet-tf that brings it; None for the bare install.
  """

  name: str
  versions: SpecifierSet
  extra: str | None = None

  def takes(self, version: str) -> bool:
    """Whether a version lies in the range; one that is no version of Python's scheme does not."""
    try:
      return self.versions.contains(version, prereleases=True)
    except InvalidVersion:
      return False

  def __str__(self) -> str:
    order = {operator: place for place, operator in enumerate(_WORDS)}
    bounds = sorted(self.versions, key=lambda bound: order.get(bound.operator, len(order)))
    return ", ".join(_WORDS.get(bound.operator, f"{bound.operator}{{}}").format(bound.version)
                     for bound in bounds) or "any version"


def requirements() -> list[Requirement]:
  """What the installed diet-tf requires, of itself and of each of `EXTRAS`, as setup.py declared it.

  A package that several ask for is named once, for the first of them.

  Raises:
    importlib.metadata.PackageNotFoundError: diet-tf is not installed.
  """
  found: dict[str, Requirement] = {}
  for line in importlib.metadata.requires(_DISTRIBUTION) or ():
    parsed = requirements_lib.Requirement(line)
    extra = next((extra for extra in (None, *EXTRAS)
                  if parsed.marker is None or parsed.marker.evaluate({"extra": extra or ""})), "")
    if extra != "":  # Else it is of an extra for developers.
      found.setdefault(canonicalize_name(parsed.name), Requirement(parsed.name, parsed.specifier, extra))
  return list(found.values())


@dataclasses.dataclass(frozen=True)
class Check:
  """One thing that was looked at.

  Attributes:
    name: what was looked at, such as a package or "output diet_runs".
    state: "ok", "problem", or "note" where what is amiss is nothing that was asked for.
    found: what was found, as a version or a clause.
    remedy: what the user is to do; empty where nothing is to be done.
    exit_code: the exit code of a command that runs into it; 0 unless it is a problem.
  """

  name: str
  state: State
  found: str
  remedy: str = ""
  exit_code: int = 0


def doctor_parser() -> argparse.ArgumentParser:
  """The arguments of `diet doctor`."""
  parser = argparse.ArgumentParser(
      prog="diet doctor", description="Check versions, devices, write access, room on the disk and the way to the "
      "store, and say what mends what is wrong.", epilog=_EXAMPLES,
      formatter_class=ExamplesHelp)
  parser.add_argument("--output", type=path_text, default="diet_runs", metavar="DIR",
                      help="the folder that runs will write to "
                      "(default: %(default)s)")
  parser.add_argument("--store", type=path_text, metavar="URI",
                      help="the store of memories, on a disk or as s3://BUCKET/PATH")
  parser.add_argument("--extra", action="append", default=[], choices=EXTRAS, help="what has to be there: tfx for "
                      "diet run, demo and init, kubeflow, s3, cuda for a GPU; may be repeated")
  parser.add_argument("--json", action="store_true", help="print the checks as JSON")
  return parser


def doctor(arguments: Sequence[str]) -> int:
  """`diet doctor`; returns the exit code of the first problem, or 0."""
  options = doctor_parser().parse_args(arguments)
  from diet_tf.cli.terminal import without_native_chatter

  extras = {*options.extra, *(["s3"] if (options.store or "").startswith("s3://") else [])}
  with without_native_chatter():
    checks = [*check_packages(extras), check_devices(wanted="cuda" in extras), *check_output(options.output)]
    if options.store:
      checks.append(check_store(options.store))
  exit_code = next((check.exit_code for check in checks if check.state == "problem"), 0)
  if options.json:
    print(json.dumps({"exit_code": exit_code, "checks": [dataclasses.asdict(check) for check in checks]}, indent=2))
    return exit_code
  from diet_tf.cli.terminal import print_columns
  rows = [[check.name, check.state, check.found] for check in checks]
  print_columns(["check", "state", "found"], rows)
  for check in checks:
    if check.remedy:
      print(printable(f"{check.name}: {check.remedy}"))
  if not exit_code:
    print("All that was asked for works.")
  return exit_code


def check_packages(extras: set[str]) -> list[Check]:
  """The versions of Python and of the packages.

  Args:
    extras: names of the extras that have to be there; packages of other extras are only noted if they are missing.
  """
  checks = [_python(extras)]
  try:
    packages = requirements()
  except importlib.metadata.PackageNotFoundError:
    return [*checks, _failed(_DISTRIBUTION, "is not installed: what it needs is not known", f"pip install "
                             f"'{_DISTRIBUTION}', or make setup in a checkout.")]
  for package in packages:
    wanted = package.extra is None or package.extra in extras
    install = f"pip install '{_DISTRIBUTION}{'' if package.extra is None else f'[{package.extra}]'}'"
    try:
      version = importlib.metadata.version(package.name)
    except importlib.metadata.PackageNotFoundError:
      checks.append(_failed(package.name, f"missing ({package})", install, wanted=wanted))
      continue
    if package.takes(version):
      checks.append(Check(package.name, "ok", version))
    else:
      checks.append(_failed(package.name, f"{version}; tested: {package}", install, wanted=wanted))
  keras = os.environ.get("TF_USE_LEGACY_KERAS", "1")
  if keras.lower() not in ("1", "true"):
    checks.append(_failed("TF_USE_LEGACY_KERAS", repr(keras), "set it to 1, or unset it: the models are of Keras 2."))
  return checks


def _python(extras: set[str]) -> Check:
  version = ".".join(map(str, sys.version_info[:3]))
  if sys.version_info < (3, 10) or ("tfx" in extras and sys.version_info >= (3, 11)):
    return _failed("Python", version, "use Python 3.10, the only one that TFX 1.16 and this package share.")
  return Check("Python", "ok", version)


def check_devices(*, wanted: bool) -> Check:
  """The GPUs that TensorFlow sees.

  Args:
    wanted: whether it is a problem that there is none.
  """
  try:
    import tensorflow as tf
    gpus = tf.config.list_physical_devices("GPU")
  except Exception as error:  # A broken install fails in many ways.
    return _failed("TensorFlow", f"does not load: {type(error).__name__}: {error}", "pip install 'diet-tf' in a new "
                   "environment, with Python 3.10.")
  if gpus:
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return Check("GPU", "ok", ", ".join(names))
  has_driver = os.path.exists("/dev/nvidiactl")
  remedy = ("pip install 'diet-tf[cuda]': there is a driver, and TensorFlow lacks CUDA." if has_driver else
            "install the NVIDIA driver, and then pip install 'diet-tf[cuda]'." if wanted else "")
  return _failed("GPU", "none that TensorFlow sees; models are trained on the CPU", remedy, wanted=wanted)


def check_output(folder: str) -> list[Check]:
  """Whether a local folder can be written to, or made, and how much room its disk has.

  Args:
    folder: path of the folder, which need not be there.
  """
  name = f"output {folder}"
  if files.is_remote(folder):
    return [_failed(name, "a URI", "name a local folder; only the store may be elsewhere.")]
  return [_outcome(name, lambda: _written_to(folder)), _room(folder)]


def check_store(uri: str) -> Check:
  """Whether a store can be read and written.

  Args:
    uri: root of the store, which need not be there.
  """
  return _outcome(f"store {uri}", lambda: _store_found(uri))


def _store_found(uri: str) -> str:
  from diet_tf.store.store import Store

  require_writable_folder(uri)
  spans = Store(uri).spans()
  return f"can be written; {len(spans):,} commits" + (f", the newest of span {spans[-1]}" if spans else "")


def _written_to(folder: str) -> str:
  """Says that a folder can be written to; raises StoreError if not."""
  require_writable_folder(folder)
  return "can be written" if os.path.isdir(folder) else "can be made"


def _room(folder: str) -> Check:
  place, free = nearest_folder(folder), free_bytes(folder) or 0
  found = f"{free / 1e9:,.1f} GB free at {place}"
  if free >= LEAST_FREE_BYTES:
    return Check("disk", "ok", found)
  return _failed("disk", found, "free space, or name another folder with --output.", code=StoreError.exit_code)


def _outcome(name: str, look: Callable[[], str]) -> Check:
  """The check of what `look` found, or of the error that it ran into."""
  try:
    return Check(name, "ok", look())
  except DietError as error:
    return Check(name, "problem", f"{error.subject}: {error.rule} {error.received}", error.remedy, error.exit_code)


def _failed(name: str, found: str, remedy: str, *, wanted: bool = True, code: int = ConfigError.exit_code) -> Check:
  return Check(name, "problem" if wanted else "note", found, remedy, code if wanted else 0)
