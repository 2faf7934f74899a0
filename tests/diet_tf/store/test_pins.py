"""Pinned commits: they stay whatever is removed, replaced or repaired, and older releases leave the store alone."""

from __future__ import annotations

import json
import pathlib

import pytest

from diet_tf.errors import FormatError, StoreError
from diet_tf.io import files
from diet_tf.io.documents import DocumentFormat, read_document
from diet_tf.store import commit as commits_lib
from diet_tf.store.garbage import collect_garbage, repair
from diet_tf.store.memories import load_memory
from diet_tf.store.pins import pin_commit, unpin_commits
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from tests.diet_tf.small_store import SmallStore


@pytest.fixture(params=["local", "ram"])
def small(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> SmallStore:
  (tmp_path / "memories").mkdir()
  root = str(tmp_path / "store") if request.param == "local" else f"ram://{tmp_path.name}/store"
  return SmallStore(root, tmp_path / "memories", range(1, 6))


def require_whole(store: Store, data: str) -> None:
  """The content of a commit is there and its memory can be read."""
  check_store(store).require_sound()
  assert len(load_memory(files.join(store.paths.data_folder(data), "memory")).slots) > 0


def test_a_pinned_commit_outlives_removals_of_old_ones(small: SmallStore):
  store, data = small.store, small.store.read(2).data
  pin = pin_commit(store, 2, "model v12 in production")
  assert store.pins() == [pin] and (pin.span, pin.data, pin.note) == (2, data, "model v12 in production")
  removed = collect_garbage(store, 1, grace_seconds=-1)
  assert (removed.kept_spans, removed.pinned_spans, store.spans()) == ((2, 5), (2,), [2, 5])
  require_whole(store, data)
  # Neither a second one, nor a repair, nor the commits that follow.
  collect_garbage(store, 1, grace_seconds=-1)
  repair(store, grace_seconds=-1)
  require_whole(store, data)
  # A span whose parent was removed is refused as before, and not run from the pinned commit below it.
  with pytest.raises(StoreError, match="of span 4, was removed"):
    store.newest(below=5)
  newest = store.newest()
  assert newest is not None and newest.span == 5
  assert unpin_commits(store, 2) == [pin] and store.pins() == []
  assert collect_garbage(store, 1, grace_seconds=-1).kept_spans == (5,)
  assert not files.exists(store.paths.data_folder(data))
  check_store(store).require_sound()


def test_a_pinned_commit_outlives_being_replaced(small: SmallStore):
  store, data = small.store, small.store.read(5).data
  pin_commit(store, 5, "v1")
  small.commit(5, num_slots=7, replace=True)
  assert store.read(5).data != data
  collect_garbage(store, 2, grace_seconds=-1)
  require_whole(store, data)
  assert [str(name) for name in store.names()] == ["4.json", "5.replaced-1.json", "5.json"]
  # Replaced commits that nobody pinned stay with their span where that is wanted, and else go.
  small.commit(5, num_slots=9, replace=True)
  assert not collect_garbage(store, 2, keep_replaced=True, grace_seconds=-1).commit_files
  assert len(collect_garbage(store, 2, grace_seconds=-1).commit_files) == 1
  require_whole(store, data)


def test_a_replaced_commit_is_pinned_by_its_digest(small: SmallStore):
  store, data = small.store, small.store.read(3).data
  small.commit(3, num_slots=7, replace=True)
  assert pin_commit(store, 3, data=data[:10]).data == data
  pin_commit(store, 3)
  assert len(store.pins()) == 2
  for unknown in ("", "0" * 64):
    with pytest.raises(StoreError, match="whose digest begins with"):
      pin_commit(store, 3, data=unknown)
  assert [pin.data for pin in unpin_commits(store, 3, data=data[:10])] == [data]
  assert [pin.data for pin in unpin_commits(store, 3)] == [store.read(3).data]


def test_a_commit_is_pinned_once_with_its_newest_note(small: SmallStore):
  pin_commit(small.store, 1, "a")
  pin_commit(small.store, 1, "b \x1b[31m")
  assert [pin.note for pin in small.store.pins()] == ["b \x1b[31m"]
  with pytest.raises(StoreError, match="at most 1,000"):
    pin_commit(small.store, 1, "x" * 1001)


def test_what_is_not_there_can_be_neither_pinned_nor_unpinned(small: SmallStore, tmp_path: pathlib.Path):
  collect_garbage(small.store, 2, grace_seconds=-1)
  for span, received in ((1, "its own was removed"), (9, "commits of the spans")):
    with pytest.raises(StoreError, match=received):
      pin_commit(small.store, span)
  with pytest.raises(StoreError, match="only what is pinned"):
    unpin_commits(small.store, 5)
  with pytest.raises(StoreError, match="at least one commit"):
    pin_commit(Store(str(tmp_path / "nowhere")), 1)
  assert small.store.pins() == []


def test_releases_that_know_no_pins_refuse_to_remove_anything(small: SmallStore):
  store = small.store
  collect_garbage(store, 3, grace_seconds=-1)
  before = files.read_bytes(store.paths.forgotten)
  earlier = DocumentFormat(commits_lib.FORGOTTEN.name, {1: commits_lib.FORGOTTEN.versions[1]})
  earlier.read(store.paths.forgotten)
  pin_commit(store, 4)
  with pytest.raises(FormatError, match="reads diet_tf.forgotten up to format version 1"):
    earlier.read(store.paths.forgotten)
  assert [one.span for one in store.forgotten()] == [1, 2]
  # Once nothing is pinned they can go on, with the same bytes.
  unpin_commits(store, 4)
  assert files.read_bytes(store.paths.forgotten) == before


def test_a_store_without_pins_is_as_it_was(small: SmallStore):
  assert small.store.pins() == [] and not files.exists(small.store.paths.pins)
  assert not files.exists(small.store.paths.forgotten)
  collect_garbage(small.store, 2, grace_seconds=-1)
  assert read_document(small.store.paths.forgotten)["format_version"] == 1
  assert not files.exists(small.store.paths.pins)


def test_while_a_pin_is_damaged_nothing_is_removed(small: SmallStore):
  pin = pin_commit(small.store, 2, "note")
  path = small.store.paths.pin(pin.data)
  for content in (b"{}", files.read_bytes(path).replace(b"note\"", b"nope\"", 1).replace(b"note", b"nope")):
    files.write_atomically(path, content)
    with pytest.raises(FormatError, match="pins"):
      collect_garbage(small.store, 1, grace_seconds=-1)
    assert any("pins" in problem for problem in check_store(small.store).problems)
  assert small.store.spans() == [1, 2, 3, 4, 5]


def test_a_pin_of_another_commit_than_its_name_says_is_damaged(small: SmallStore):
  pin = pin_commit(small.store, 2)
  files.rename(small.store.paths.pin(pin.data), small.store.paths.pin("a" * 64))
  with pytest.raises(FormatError, match=f"the pin of {pin.data}"):
    small.store.pins()


def test_a_pinned_commit_that_is_gone_is_told(small: SmallStore):
  pin_commit(small.store, 5)
  files.remove_if_there(files.join(small.store.paths.commits, "5.json"))
  assert "span 5: the pinned commit with the data" in "\n".join(check_store(small.store).problems)


def test_a_commit_that_is_pinned_while_old_ones_are_removed_stays(small: SmallStore):
  # In an object store, where nothing is locked: the pin comes between the record of what goes and its removal.
  store = small.store
  if not files.is_remote(store.uri):
    pytest.skip("a local store is locked meanwhile")
  data = store.read(2).data

  def on_step(name: str) -> None:
    if name == "forgotten_recorded" and not store.pins():
      with pytest.raises(StoreError, match="being removed"):
        pin_commit(store, 2)
      # Of a process that wrote its pin, and has not looked at the record yet.
      files.write_atomically(store.paths.pin(data), json.dumps(commits_lib.Pin(2, data, "", "now").to_dict()).encode())

  collect_garbage(store, 1, grace_seconds=-1, on_step=on_step)
  assert store.spans() == [2, 5] and [one.span for one in store.forgotten()] == [1, 3, 4]
  require_whole(store, data)
  pin_commit(store, 2, "again")


def test_a_commit_that_was_made_again_is_no_removed_one(small: SmallStore):
  store, data = small.store, small.store.read(5).data
  small.commit(5, num_slots=7, replace=True)
  collect_garbage(store, 1, grace_seconds=-1)
  assert data in {one.data for one in store.forgotten()}
  memory = small.folder / sorted(path.name for path in small.folder.iterdir() if path.name.startswith("memory-5"))[0]
  parent = store.read(5)
  again = store.commit(5, {"memory": str(memory)}, parent=None, settings=dict(parent.settings), run_id="again",
                       replace=True)
  assert again.data == data
  collect_garbage(store, 1, grace_seconds=-1)
  assert data not in {one.data for one in store.forgotten()}
  pin_commit(store, 5)
