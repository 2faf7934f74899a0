"""Places in a store, and the names of commits."""

from __future__ import annotations

import pytest

from diet_tf.store.paths import CommitName, StorePaths


def test_names_of_commits():
  names = [CommitName.parse(text) for text in ("2.json", "10.json", "2.replaced-10.json", "2.replaced-9.json")]
  assert [str(name) for name in sorted(names)] == ["2.replaced-9.json", "2.replaced-10.json", "2.json", "10.json"]
  for text in ("02.json", "2.json.partial", "\u0663.json", "2.replaced-.json", "-1.json", "2.replaced-01.json"):
    assert CommitName.parse(text) is None


@pytest.mark.parametrize(("name", "text"), [
    (CommitName(12, is_current=True), "12.json"), (CommitName(12, is_current=False, number=3), "12.replaced-3.json")])
def test_a_name_is_read_as_it_was_written(name: CommitName, text: str):
  assert str(name) == text and CommitName.parse(text) == name


@pytest.mark.parametrize("root", ["/data/store", "s3://bucket/store"])
def test_everything_lies_below_the_root(root: str):
  paths = StorePaths(root)
  assert (paths.commits, paths.data, paths.staging) == (f"{root}/commits", f"{root}/data", f"{root}/staging")
  assert (paths.forgotten, paths.lock) == (f"{root}/forgotten.json", f"{root}/.lock")
  assert paths.commit(CommitName(7, is_current=True)) == f"{root}/commits/7.json"
  assert paths.data_folder("ab12") == f"{root}/data/ab12"
  assert paths.owner(f"{root}/staging/w") == f"{root}/staging/w/owner.json"
