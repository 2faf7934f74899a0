"""Damaged and hostile files: a reader gives what was written or a DietError, and comes back."""

from __future__ import annotations

import json
import pathlib
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diet_tf.errors import DietError
from diet_tf.io.documents import canonical_digest
from diet_tf.memory.manifest import Manifest
from diet_tf.store.commit import Commit, FileInfo, data_digest
from tests.fuzz.valid_files import SPEC, Format, first_record, make_formats, write_record

NAMES = ("slots", "examples", "frames", "manifest", "commit", "forgotten", "pin", "scores", "config")
# Those whose content has a digest or a checksum of its own: a change that is read as other content is told.
SIGNED = tuple(name for name in NAMES if name != "config")
# Through TensorFlow's pipelines a file takes milliseconds, elsewhere far less.
EXAMPLES = {"slots": 150, "examples": 150}

bounded = settings(max_examples=1, deadline=5000, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Format]:
  return make_formats(tmp_path_factory.mktemp("valid"))


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
  return tmp_path


def outcome(form: Format, folder: pathlib.Path, content: bytes) -> Any:
  """What the reader gives; None where it refuses the file."""
  path = folder / form.name
  path.write_bytes(content)
  try:
    return form.read(str(path))
  except DietError as error:
    assert str(error)
    return None


def mutations(content: bytes) -> st.SearchStrategy[bytes]:
  """The content with some of its bits flipped, bytes replaced, removed or added, its end cut off, or parts moved."""
  places = st.integers(0, len(content) - 1)
  change = st.one_of(
      st.tuples(st.just("flip"), places, st.integers(0, 7)),
      st.tuples(st.just("set"), places, st.binary(min_size=1, max_size=9)),
      st.tuples(st.just("insert"), places, st.one_of(st.binary(min_size=1, max_size=9), st.sampled_from(
          [b"\0" * 64, b"[" * 2000, b'"', b"9" * 5000, b"\xff" * 8, b"null", b"NaN", b"- ", b"{", b"\\ud800",
           b"!!x "]))),
      st.tuples(st.just("delete"), places, st.integers(1, 64)),
      st.tuples(st.just("truncate"), places, st.none()),
      st.tuples(st.just("repeat"), places, st.integers(1, 64)))
  return st.lists(change, min_size=1, max_size=3).map(lambda changes: _mutated(content, changes))


def _mutated(content: bytes, changes: list[tuple[str, int, Any]]) -> bytes:
  for kind, place, value in changes:
    place = min(place, max(0, len(content) - 1))
    before, after = content[:place], content[place:]
    if kind == "flip" and after:
      content = before + bytes([after[0] ^ 1 << value]) + after[1:]
    elif kind == "set":
      content = before + value + after[len(value):]
    elif kind == "insert":
      content = before + value + after
    elif kind == "delete":
      content = before + after[value:]
    elif kind == "truncate":
      content = before
    elif kind == "repeat":
      content = before + after[:value] + after
  return content


@pytest.mark.parametrize("name", NAMES)
def test_valid_file_is_read(formats: dict[str, Format], folder: pathlib.Path, name: str):
  assert outcome(formats[name], folder, formats[name].content) is not None


@pytest.mark.parametrize("name", NAMES)
def test_mutated_file(formats: dict[str, Format], folder: pathlib.Path, name: str):
  form = formats[name]
  valid = outcome(form, folder, form.content)

  @settings(bounded, max_examples=EXAMPLES.get(name, 400))
  @given(mutations(form.content))
  def run(content: bytes) -> None:
    found = outcome(form, folder, content)
    if found is not None and name in SIGNED:
      assert repr(found) == repr(valid)

  run()


@pytest.mark.parametrize("name", NAMES)
def test_arbitrary_bytes(formats: dict[str, Format], folder: pathlib.Path, name: str):
  form = formats[name]
  start = {"scores": b"PK\x03\x04", "slots": b"\x1f\x8b\x08", "examples": b"\x1f\x8b\x08"}.get(name, b"{")

  @settings(bounded, max_examples=EXAMPLES.get(name, 200) // 2)
  @given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda rest: start + rest),
                   st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))))
  def run(content: bytes) -> None:
    found = outcome(form, folder, content)
    assert found is None or name == "config"

  run()


@pytest.mark.parametrize("name", SIGNED)
def test_every_truncation(formats: dict[str, Format], folder: pathlib.Path, name: str):
  """Cut off anywhere, a file is refused; but for the line feed at its end, in which nothing stands."""
  form = formats[name]
  valid = outcome(form, folder, form.content)
  step = max(1, len(form.content) // 150)
  for size in [*range(0, len(form.content) - 30, step), *range(len(form.content) - 30, len(form.content))]:
    found = outcome(form, folder, form.content[:size])
    assert found is None or (form.content[size:] == b"\n" and found == valid), size


@pytest.mark.parametrize("name", ["slots", "examples"])
def test_mutated_record_with_sound_checksums(formats: dict[str, Format], folder: pathlib.Path, name: str):
  """A record may say anything that a record can say; what is read of it keeps to the feature spec."""
  form = formats[name]
  path = folder / form.name
  path.write_bytes(form.content)
  record = first_record(str(path))

  @settings(bounded, max_examples=150)
  @given(mutations(record))
  def run(content: bytes) -> None:
    write_record(str(path), content)
    found = outcome(form, folder, path.read_bytes())
    ids = [] if found is None else found["ids"] if name == "slots" else found[0][0]
    for row in ids:
      for field, size in zip(row, SPEC.num_ids, strict=True):
        assert all(0 <= one < size for one in (field if name == "slots" else [field]))

  run()


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2**70, 2**70), st.floats(), st.text(max_size=5),
              st.sampled_from(["../x", "/etc/passwd", "s3://bucket/x", "a\0b", "a\\b", "", "0" * 64, 10**400])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=4)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
  children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
  return [path, *(place for key, child in children for place in _places(child, (*path, key)))]


def _changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
  if not path:
    return new
  copy = dict(value) if isinstance(value, dict) else list(value)
  copy[path[0]] = _changed(copy[path[0]], path[1:], new)
  return copy


def _sign_manifest(value: dict[str, Any]) -> None:
  value["feature_spec_digest"] = canonical_digest(value.get("feature_spec"))
  value["digest"] = canonical_digest({key: value[key] for key in value if key != "digest"})


def _sign_commit(value: dict[str, Any]) -> None:
  try:
    value["data"] = data_digest({path: FileInfo(**info) for path, info in value["files"].items()})
  except (TypeError, AttributeError, KeyError):
    pass
  value["settings_digest"] = canonical_digest(value.get("settings"))
  value["digest"] = canonical_digest({key: value[key] for key in value if key != "digest"})


@pytest.mark.parametrize(("name", "read", "sign"), [("manifest", Manifest.from_dict, _sign_manifest),
                                                    ("commit", Commit.from_dict, _sign_commit)])
def test_document_of_other_values_that_is_signed_anew(formats: dict[str, Format], name: str, read: Any, sign: Any):
  """Digests do not help against who writes them: types and ranges are checked as well."""
  valid = json.loads(formats[name].content)

  @settings(bounded, max_examples=600)
  @given(st.sampled_from(_places(valid)[1:]), VALUES)
  def run(path: tuple[Any, ...], new: Any) -> None:
    value = _changed(valid, path, new)
    sign(value)
    try:
      made = read(value)
    except DietError:
      return
    repr(made)
    json.dumps(made.to_dict())
    if name == "commit":
      for place in made.files:
        assert ".." not in place.split("/") and not place.startswith("/") and "\0" not in place

  run()


def test_a_hanging_reader_would_be_seen(formats: dict[str, Format], folder: pathlib.Path):
  """What takes a reader's time beyond its size: nesting, long numbers, an endless line, a stream that swells."""
  def run() -> None:
    for content in (b"[" * 10**6, b"9" * 10**6, b'{"a": "' + b"x" * 10**6, b"a: [" * 10**5, b"? " * 10**5,
                    b"- " * 10**5, b"{" * 10**5, b"'" * 10**6, b"&a " * 10**5, b"a: " * 10**5, b"#" * 10**6):
      for name in ("manifest", "commit", "config"):
        outcome(formats[name], folder, content)

  thread = threading.Thread(target=run, daemon=True)
  thread.start()
  thread.join(timeout=60)
  assert not thread.is_alive()
