"""Logs whose values are huge, or made to be taken for paths, for control sequences or for markup."""

from __future__ import annotations

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diet_tf.errors import DataError
from diet_tf.log.features import FeatureSpec, Field, Label
from tfx_components.log_gen import quarantine

HOSTILE = ["../../etc/passwd", "/etc/passwd", "s3://bucket/x", "file:///etc/passwd", "a\0b", "\x1b[31mred\x1b[0m",
           "\x9b2J", "\u202egnp.exe", "${HOME} $(id) `id`", "!!python/object/apply:os.system ['id']", "<script>x",
           "..\\..\\windows", "%00%2e%2e%2f", "x" * 1_000_000, "\x07\x08\x7f", "-", "--span", "{SPAN}", "\ufeff",
           "=cmd|' /C calc'!A0", "\ud7ff\uffff", " "]
SPEC = FeatureSpec((Field("user", "user", hash_ids=1000), Field("item", "item", vocabulary_ids=100)), Label("click"),
                   "t")


def hostile_rows():
  return [{"user": value, "item": value, "click": number % 2, "t": number} for number, value in enumerate(HOSTILE)]


def write_quoted_csv(path, rows):
  def quoted(value):
    return '"' + str(value).replace('"', '""') + '"'

  lines = [",".join(rows[0])] + [",".join(map(quoted, row.values())) for row in rows]
  path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")


def write_jsonl(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_parquet(path, rows):
  pq.write_table(pa.Table.from_pylist(rows), path)


WRITERS = {"csv": write_quoted_csv, "jsonl": write_jsonl, "parquet": write_parquet}


def everything_outside(folder):
  """Paths, sizes and times of all that lies in a folder, but for the output of LogGen."""
  found = {}
  for path in sorted(folder.rglob("*")):
    if not path.relative_to(folder).parts[0].startswith("output-"):
      stat = path.lstat()
      found[path.relative_to(folder).as_posix()] = (stat.st_size, stat.st_mtime_ns)
  return found


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_hostile_values_are_values(log, kind, monkeypatch):
  WRITERS[kind](log.folder / f"log-1.{kind}", hostile_rows())
  elsewhere = log.folder / "elsewhere"
  elsewhere.mkdir()
  monkeypatch.chdir(elsewhere)
  before = everything_outside(log.folder)
  summary = log.generate(log.settings(f"log-{{SPAN}}.{kind}"), spec=SPEC)
  assert everything_outside(log.folder) == before
  assert (summary.num_examples, summary.num_quarantined) == (len(HOSTILE), 0)
  assert sorted(path.name for path in log.output.iterdir()) == [
      "Split-train", "log_summary.json", "quarantine.jsonl", "vocabularies.json"]
  # Each value is one of its own, and is kept as it is.
  assert sorted(log.vocabularies()["item"]) == sorted(HOSTILE)
  ids, labels, _, times = log.examples(SPEC)
  assert times == list(range(len(HOSTILE))) and labels == [number % 2 for number in range(len(HOSTILE))]
  assert sorted(row[1] for row in ids) == list(range(2, 2 + len(HOSTILE)))


def test_all_formats_read_hostile_values_alike(log):
  contents = []
  for kind, write in WRITERS.items():
    write(log.folder / f"log-1.{kind}", hostile_rows())
    log.generate(log.settings(f"log-{{SPAN}}.{kind}"), spec=SPEC)
    contents.append(log.contents())
  assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_hostile_values_where_a_number_is_due_are_quarantined(log, kind):
  rows = hostile_rows()
  for row in rows:
    row["t"] = str(row["t"])
  number = 3
  good = [{"user": "u", "item": "i", "click": n % 2, "t": str(1000 + n)} for n in range(10)]
  bad = [dict(row, t=row["user"]) for row in rows]
  WRITERS[kind](log.folder / f"log-{number}.{kind}", good + bad)
  summary = log.generate(log.settings(f"log-{{SPAN}}.{kind}", max_quarantine_share=0.9), spec=SPEC, span=number)
  assert (summary.num_examples, summary.num_quarantined) == (len(good), len(bad))
  assert summary.quarantine_reasons == {"time 't' is neither a number nor a time in ISO 8601": len(bad)}
  kept = log.quarantined()
  assert [row["row"] for row in kept] == [len(good) + 1 + n + (kind == "csv") for n in range(len(bad))]
  for row, value in zip(kept, [row["user"] for row in bad], strict=True):
    shown = row["values"]["user"]
    assert shown == value if len(value) < 1000 else shown.startswith("xxx")
  # A row of a megabyte does not make the quarantine one of several.
  assert os.path.getsize(log.output / "quarantine.jsonl") < 100_000
  raw = (log.output / "quarantine.jsonl").read_bytes()
  assert not any(byte < 0x20 and byte != 0x0a or byte == 0x7f for byte in raw)


def test_too_many_broken_rows_of_hostile_values_are_told_without_them(log):
  bad = [dict(row, click=value) for row, value in zip(hostile_rows(), HOSTILE, strict=True)]
  write_jsonl(log.folder / "log-1.jsonl", [dict(row, click=1) for row in hostile_rows()][:1] + bad)
  with pytest.raises(DataError) as caught:
    log.generate(log.settings("log-{SPAN}.jsonl"), spec=SPEC)
  assert len(str(caught.value)) < 5000 and "\x1b" not in str(caught.value)


def test_hostile_column_names(log):
  names = ["../../x", "\x1b[31m", "a\0b", "x" * 100_000, "__proto__"]
  rows = [{"user": str(n), "item": "i", "click": n % 2, "t": n, **dict.fromkeys(names, f"v{n}")} for n in range(4)]
  write_jsonl(log.folder / "log-1.jsonl", rows)
  before = everything_outside(log.folder)
  summary = log.generate(log.settings("log-{SPAN}.jsonl"), spec=SPEC)
  assert summary.num_examples == 4 and everything_outside(log.folder) == before
  for row in rows:
    row[names[1]] = {"deep": [1]}
    row["click"] = "\x1b[2J"
  write_jsonl(log.folder / "log-2.jsonl", rows)
  with pytest.raises(DataError) as caught:
    log.generate(log.settings("log-{SPAN}.jsonl"), spec=SPEC, span=2)
  assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("line", [
    b"[" * 100_000, b'{"user": ' + b"[" * 100_000, b'{"user": "' + b"x" * 3_000_000, b'{"t": ' + b"9" * 100_000 + b"}",
    b"\xff\xfe" * 1000, b'{"user": "\\ud800", "t": 1}'])
def test_hostile_lines_are_quarantined(log, line):
  good = [{"user": "u", "item": "i", "click": n % 2, "t": n} for n in range(10)]
  path = log.folder / "log-1.jsonl"
  write_jsonl(path, good)
  path.write_bytes(path.read_bytes() + line + b"\n")
  summary = log.generate(log.settings("log-{SPAN}.jsonl", max_quarantine_share=0.5), spec=SPEC)
  assert (summary.num_examples, summary.num_quarantined) == (10, 1)
  assert os.path.getsize(log.output / "quarantine.jsonl") < 20_000
  assert log.quarantined()[0]["row"] == 11


def test_a_line_of_the_quarantine_is_cut():
  row = quarantine.QuarantinedRow(0, 0, "why", {"line": "x" * 1_000_000, "\x1b" * 1_000_000: "y"})
  assert sum(len(name) + len(value) for name, value in row.shortened().values.items()) < 10_000
