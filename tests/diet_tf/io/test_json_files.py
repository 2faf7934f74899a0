from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from diet_tf.distillation.teacher import Teacher, TeacherSettings
from diet_tf.errors import FormatError
from diet_tf.io import json_files
from diet_tf.io.documents import read_document
from diet_tf.io.json_files import without_nan
from diet_tf.memory.manifest import read_manifest
from tests.diet_tf.small_log import SPEC


def read_teacher(path: str) -> object:
  folder = pathlib.Path(path).parent
  os.rename(path, folder / "teacher.json")
  return Teacher.load(str(folder), SPEC, TeacherSettings())


READERS = [read_document, read_manifest, json_files.read_json, read_teacher]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(("content", "message"), [
    (b"[" * 200_000, "nested too deeply"), (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
    (b"{", "JSON"), (b"\xff\xfe\xfd", "UTF-8"), (b"", "JSON"), (b'{"span": ' + b"9" * 100_000 + b"}", "digits")])
def test_unreadable_documents(tmp_path: pathlib.Path, read: Callable[[str], object], content: bytes, message: str):
  path = tmp_path / "x.json"
  path.write_bytes(content)
  with pytest.raises(FormatError, match=message):
    read(str(path))


@pytest.mark.parametrize("read", READERS)
def test_huge_document_is_not_read(tmp_path: pathlib.Path, read: Callable[[str], object],
                                   monkeypatch: pytest.MonkeyPatch):
  path = tmp_path / "x.json"
  with path.open("wb") as output:
    output.truncate(100 << 20)
  monkeypatch.setattr(json_files.files, "read_bytes", lambda path: pytest.fail("it was read"))
  with pytest.raises(FormatError, match="at most 67,108,864 bytes.*104,857,600 bytes"):
    read(str(path))


@pytest.mark.parametrize("content", ["[]", "1", '"x"', "{}", "null",
                                     '{"format_name": "diet_tf.teacher", "format_version": 1}'])
def test_teacher_of_another_shape(tmp_path: pathlib.Path, content: str):
  path = tmp_path / "x.json"
  path.write_text(content)
  with pytest.raises(FormatError):
    read_teacher(str(path))


def test_more_values_than_a_reader_makes_room_for(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
  path = tmp_path / "x.json"
  path.write_text("[" + "[]," * 40 + "{}]")
  assert json_files.read_json(str(path)) == [[]] * 40 + [{}]
  monkeypatch.setattr(json_files, "MAX_VALUES", 81)
  with pytest.raises(FormatError, match="at most 81 values.*about 82"):
    json_files.read_json(str(path))


@pytest.mark.parametrize(("text", "message"), [
    ("1e999", "beyond the numbers"), ("-1e999", "beyond the numbers"), ("1" * 21, "21 digits")])
def test_numbers_that_are_none(text: str, message: str):
  with pytest.raises(FormatError, match=message):
    json_files.parse_json(text, "x.json", "Restore it.")


def test_numbers_at_the_bounds():
  assert json_files.parse_json("[18446744073709551615, -9223372036854775808, 1e308, 5e-324]", "x", "") == [
      2**64 - 1, -2**63, 1e308, 5e-324]
  assert json_files.parse_json("[NaN, Infinity, -Infinity]", "x", "") == [None, None, None]


@pytest.mark.parametrize("path", ["none.json", "ram://none/none.json"])
def test_missing_document(path: str):
  with pytest.raises(FormatError, match="can be read"):
    json_files.read_json(path)


def test_values_become_json():
  value = {"a": np.float32(0.5), "b": [np.inf, np.nan, np.int64(3)], "c": (True, np.bool_(False), None, "x"),
           "d": np.array([[1.0, np.nan]])}
  found = without_nan(value)
  assert found == {"a": 0.5, "b": [None, None, 3], "c": [True, False, None, "x"], "d": [[1.0, None]]}
  assert json.loads(json.dumps(found, allow_nan=False)) == found
