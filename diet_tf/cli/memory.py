"""The command `diet memory`: shows what is known of a memory, and writes it in other formats."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from diet_tf.cli.help import ExamplesHelp, path_text
from diet_tf.memory.manifest import read_manifest
from diet_tf.store.store import memory_folder

EXPORT_FORMATS = ("parquet", "csv", "numpy", "snapshot", "torch")
_EXAMPLES = """examples:
  diet memory show diet_runs/demo/store
  diet memory show s3://diet/store --json
  diet memory export diet_runs/demo/store --to exported --format parquet"""
_SHOW_EXAMPLES = """examples:
  diet memory show diet_runs/demo/store
  diet memory show s3://diet/store --json"""
_EXPORT_EXAMPLES = """examples:
  diet memory export diet_runs/demo/store --to exported --format parquet
  diet memory export diet_runs/demo/store --to for_torch --format torch --replace"""


def memory_parser() -> argparse.ArgumentParser:
  """The arguments of `diet memory`."""
  parser = argparse.ArgumentParser(prog="diet memory", description="Show what is known of a distilled memory, or write "
                                   "it in another format.", epilog=_EXAMPLES,
                                   formatter_class=ExamplesHelp)
  actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
  show = actions.add_parser("show", help="print counts, privacy, recipe, lineage and digests", epilog=_SHOW_EXAMPLES,
                            description="Print counts, privacy, recipe, lineage and digests of a memory.",
                            formatter_class=ExamplesHelp)
  export = actions.add_parser("export", help="write the slots in another format", epilog=_EXPORT_EXAMPLES,
                              description="Write the slots of a memory in another format, with a README that says what "
                              "the files hold.", formatter_class=ExamplesHelp)
  for action in (show, export):
    action.add_argument("uri", type=path_text,
                        help="the folder of a memory, or the root of a store (its newest commit)")
  show.add_argument("--json", action="store_true", help="print the manifest as JSON")
  export.add_argument("--to", type=path_text, required=True, metavar="FOLDER",
                      help="a local folder that is not there yet")
  export.add_argument("--format", required=True, choices=EXPORT_FORMATS, help="Parquet or CSV files, NumPy arrays, a "
                      "tf.data snapshot, or arrays for PyTorch and TorchRec")
  export.add_argument("--replace", action="store_true", help="replace an export that lies there")
  export.add_argument("--json", action="store_true", help="print what was written as JSON")
  return parser


def memory(arguments: Sequence[str]) -> int:
  """`diet memory show|export URI`; returns the exit code."""
  options = memory_parser().parse_args(arguments)
  if options.action == "show":
    return show_memory(options.uri, as_json=options.json)
  return export_memory(options.uri, options.to, options.format, replace=options.replace, as_json=options.json)


def show_memory(uri: str, *, as_json: bool) -> int:
  """Prints the manifest of a memory, as tables or as JSON; returns the exit code."""
  directory = memory_folder(uri)
  manifest = read_manifest(directory)
  if as_json:
    shown = {**manifest.to_dict(), "uri": directory, "privacy": manifest.claim().to_dict()}
    print(json.dumps(shown, indent=2, sort_keys=True))
    return 0
  from diet_tf.cli.terminal import manifest_pairs, print_pairs
  print_pairs(manifest_pairs(directory, manifest))
  return 0


def export_memory(uri: str, folder: str, export_format: str, *, replace: bool, as_json: bool) -> int:
  """Writes a memory in another format, and prints what was written; returns the exit code."""
  directory = memory_folder(uri)
  from diet_tf.cli.main import missing_extra
  from diet_tf.cli.terminal import without_native_chatter
  from diet_tf.memory import export
  from diet_tf.printable import printable
  from diet_tf.store.memories import load_memory

  export.check_place(folder, replace=replace)
  with without_native_chatter():
    try:
      written = export.export_memory(load_memory(directory), directory, folder, export_format, replace=replace)
    except ModuleNotFoundError as error:
      raise missing_extra(f"diet memory export --format {export_format}", error) from error
  if as_json:
    print(json.dumps(written.to_dict(), indent=2, sort_keys=True))
    return 0
  for name, num_bytes in sorted(written.file_bytes.items()):
    print(printable(f"{folder}/{name}  {num_bytes:,} bytes"))
  print(f"{written.num_slots:,} slots of span {written.span}; {export.README_NAME} says how to read them.")
  return 0
