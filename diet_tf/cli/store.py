"""The command `diet store`: checks a store, lists its commits, pins some, and removes old ones."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from diet_tf.cli.help import ExamplesHelp, path_text
from diet_tf.errors import DietError, FormatError
from diet_tf.memory.manifest import read_manifest
from diet_tf.store.commit import Commit, Pin
from diet_tf.store.garbage import Garbage, collect_garbage
from diet_tf.store.paths import CommitName
from diet_tf.store.pins import pin_commit, unpin_commits
from diet_tf.store.store import MEMORY_PART, Store
from diet_tf.store.verification import Verification, check_store

_EXAMPLES = {
    "log": "  diet store log diet_runs/demo/store",
    "verify": "  diet store verify s3://diet/store --json",
    "gc": "  diet store gc diet_runs/demo/store --keep 30 --dry-run",
    "pin": "  diet store pin diet_runs/demo/store 3 --note 'model v12 in production'",
    "unpin": "  diet store unpin diet_runs/demo/store 3",
}


def store_parser() -> argparse.ArgumentParser:
  """The arguments of `diet store`."""
  parser = argparse.ArgumentParser(
      prog="diet store", description="Check a store, list its commits, pin some, remove old ones.",
      epilog="\n".join(["examples:", *_EXAMPLES.values()]), formatter_class=ExamplesHelp)
  actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
  verify = _add_action(actions, "verify", "recompute all digests, and check what commits and memories say")
  log = _add_action(actions, "log", "list the commits, the newest first")
  collect = _add_action(actions, "gc", "remove all commits but the newest and the pinned ones, and the data that only "
                        "they needed")
  pin = _add_action(actions, "pin", "keep a commit for ever, such as what a model in production was trained on")
  unpin = _add_action(actions, "unpin", "let a pinned commit go with the other old ones")
  for action in (verify, log, collect, pin, unpin):
    action.add_argument("uri", type=path_text, help="the root of the store")
    action.add_argument("--json", action="store_true", help="print it as JSON")
  for action in (pin, unpin):
    action.add_argument("span", type=int, help="number of the commit's span")
    action.add_argument("--data", metavar="DIGEST", help="how the digest of the commit's content begins, as log shows "
                        "it, where it was replaced")
  pin.add_argument("--note", default="", metavar="TEXT", help="why it is kept; log shows it")
  collect.add_argument("--keep", type=int, required=True, metavar="N",
                       help="how many commits stay beside the pinned ones, at least 1")
  collect.add_argument("--dry-run", action="store_true", help="show what would go, and change nothing")
  return parser


def _add_action(actions: Any, name: str, summary: str) -> argparse.ArgumentParser:
  return actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.",
                            epilog=f"example:\n{_EXAMPLES[name]}",
                            formatter_class=ExamplesHelp)


def store(arguments: Sequence[str]) -> int:
  """`diet store verify|log|gc|pin|unpin URI`; returns the exit code."""
  options = store_parser().parse_args(arguments)
  if options.action == "verify":
    return show_verification(check_store(Store(options.uri)), as_json=options.json)
  if options.action == "log":
    return show_log(Store(options.uri), as_json=options.json)
  if options.action == "pin":
    return show_pins(options.uri, [pin_commit(Store(options.uri), options.span, options.note, data=options.data)],
                     as_json=options.json)
  if options.action == "unpin":
    return show_pins(options.uri, unpin_commits(Store(options.uri), options.span, data=options.data),
                     as_json=options.json, removed=True)
  garbage = collect_garbage(Store(options.uri), options.keep, dry_run=options.dry_run)
  return show_garbage(options.uri, garbage, dry_run=options.dry_run, as_json=options.json)


def show_verification(verification: Verification, *, as_json: bool) -> int:
  """Prints what was found in a store; returns the exit code.

  Raises:
    FormatError: something is wrong, and was not printed as JSON.
  """
  if as_json:
    value = {"uri": verification.uri, "num_commits": len(verification.commits), "num_files": verification.num_files,
             "num_bytes": verification.num_bytes, "problems": list(verification.problems)}
    _print_json(value)
    return FormatError.exit_code if verification.problems else 0
  verification.require_sound()
  print(f"{len(verification.commits):,} commits, {verification.num_files:,} files, {verification.num_bytes:,} bytes: "
        "all is as it was committed.")
  return 0


@dataclasses.dataclass(frozen=True)
class LogLine:
  """One commit of a store.

  Attributes:
    span: number of the commit's span.
    replaced: whether another commit of the span has taken its place.
    revises: digest of the content of the commit of the span that it is a revision of; None where it is none.
    revised: whether what took its place is a revision of it.
    refined_span: span in whose stage, or in a revision of whose commit, the memory was last refined; None if in none.
    parent: the span that it grew from; None for the first.
    parent_removed: whether a garbage collection has removed the commit that it grew from.
    created: UTC time in ISO 8601.
    num_slots: number of slots of the commit's memory; None if it has none, or none that can be read.
    data: the digest of its content.
    run_id: the pipeline run that made it.
    num_bytes: size of the commit's files in bytes.
    pinned: the note of its pin, which may be empty; None without a pin.
  """

  span: int
  replaced: bool
  revises: str | None
  revised: bool
  refined_span: int | None
  parent: int | None
  parent_removed: bool
  created: str
  num_slots: int | None
  data: str
  run_id: str
  num_bytes: int
  pinned: str | None


def log_lines(store: Store) -> list[LogLine]:
  """The commits of a store, the newest first; of one span, the current one first.

  Raises:
    StoreError: nothing is committed.
    FormatError: a commit is damaged.
  """
  store.require_commits()
  commits = {name: store.read_named(name) for name in reversed(store.names())}
  there = {(commit.span, commit.data) for commit in commits.values()}
  revised = {(commit.span, commit.revises) for commit in commits.values()}
  notes = {(pin.span, pin.data): pin.note for pin in store.pins()}
  return [_log_line(store, name, commit, there, notes.get((commit.span, commit.data)),
                    revised=(commit.span, commit.data) in revised)
          for name, commit in commits.items()]


def show_log(store: Store, *, as_json: bool) -> int:
  """Prints the commits of a store, as a table or as JSON; returns the exit code."""
  lines = log_lines(store)
  if as_json:
    _print_json({"uri": store.uri, "commits": [dataclasses.asdict(line) for line in lines]})
    return 0
  from diet_tf.cli.terminal import is_terminal, print_columns
  # A program may look for the folder that the digest names.
  num_characters = 12 if is_terminal() else None
  print_columns(
      ["span", "parent", "created", "slots", "refined", "data", "run", "bytes", "pinned"],
      [[_span_text(line), _parent_text(line), line.created, "-" if line.num_slots is None else f"{line.num_slots:,}",
        "-" if line.refined_span is None else str(line.refined_span), line.data[:num_characters], line.run_id,
        f"{line.num_bytes:,}", "-" if line.pinned is None else line.pinned or "yes"]
       for line in lines])
  return 0


def show_garbage(uri: str, garbage: Garbage, *, dry_run: bool, as_json: bool) -> int:
  """Prints what a garbage collection removed, or would; returns the exit code."""
  if as_json:
    _print_json({"uri": uri, "dry_run": dry_run, "kept": garbage.kept_spans,
                 "pinned": garbage.pinned_spans, "commits": garbage.commit_files,
                 "data": garbage.data_folders, "rest": garbage.leftovers, "num_bytes": garbage.num_bytes})
    return 0
  from diet_tf.printable import printable
  for path in [*garbage.commit_files, *garbage.data_folders, *garbage.leftovers]:
    print(printable(f"{'would remove' if dry_run else 'removed'} {path}"))
  print(f"{len(garbage.commit_files):,} commits, {len(garbage.data_folders):,} data folders and "
        f"{len(garbage.leftovers):,} leftovers, {garbage.num_bytes:,} bytes "
        f"{'would go' if dry_run else 'are gone'}; {len(garbage.kept_spans):,} commits stay"
        f"{f', {len(garbage.pinned_spans):,} of them pinned' if garbage.pinned_spans else ''}.")
  return 0


def show_pins(uri: str, pins: Sequence[Pin], *, as_json: bool, removed: bool = False) -> int:
  """Prints pins that were written, or removed; returns the exit code."""
  if as_json:
    _print_json({"uri": uri, "removed": removed, "pins": [dataclasses.asdict(pin) for pin in pins]})
    return 0
  from diet_tf.printable import printable
  for pin in pins:
    said = "is not pinned any more" if removed else "is pinned, and stays until it is unpinned"
    print(printable(f"Span {pin.span} ({pin.data[:12]}) {said}{f': {pin.note}' if pin.note else ''}."))
  return 0


def _log_line(store: Store, name: CommitName, commit: Commit, there: set[tuple[int, str]],
              note: str | None, *, revised: bool) -> LogLine:
  num_slots, refined_span = None, None
  # What is wrong with a memory that cannot be read, `diet store verify` tells.
  with contextlib.suppress(DietError):
    manifest = read_manifest(store.path(commit, MEMORY_PART))
    num_slots, refined_span = manifest.num_slots, manifest.refinement().span
  removed = commit.parent is not None and (commit.parent, commit.parent_data) not in there
  return LogLine(commit.span, not name.is_current, commit.revises, revised, refined_span, commit.parent, removed,
                 commit.created, num_slots, commit.data, commit.run_id, commit.num_bytes, note)


def _span_text(line: LogLine) -> str:
  if line.replaced:
    return f"{line.span} ({'revised' if line.revised else 'replaced'})"
  return str(line.span) if line.revises is None else f"{line.span} (revision)"


def _parent_text(line: LogLine) -> str:
  if line.parent is None:
    return "-"
  return f"{line.parent} (removed)" if line.parent_removed else str(line.parent)


def _print_json(value: dict[str, Any]) -> None:
  print(json.dumps(value, indent=2, sort_keys=True))
