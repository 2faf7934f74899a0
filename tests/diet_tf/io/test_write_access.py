import os

import pytest

from diet_tf.errors import StoreError
from diet_tf.io.write_access import free_bytes, require_writable_file, require_writable_folder


def test_places_that_can_be_made_are_left_as_they_are(tmp_path):
  require_writable_folder(str(tmp_path / "new" / "deep"))
  require_writable_file(str(tmp_path / "new" / "file"))
  assert os.listdir(tmp_path) == []


def test_a_file_that_is_there_keeps_its_content(tmp_path):
  path = tmp_path / "results.json"
  path.write_text("kept")
  require_writable_file(str(path))
  assert path.read_text() == "kept" and os.listdir(tmp_path) == ["results.json"]


def test_a_file_in_the_place_of_a_folder_and_the_other_way_round(tmp_path):
  (tmp_path / "file").write_text("")
  for folder in ("file", "file/below"):
    with pytest.raises(StoreError, match="it is a folder"):
      require_writable_folder(str(tmp_path / folder))
  with pytest.raises(StoreError, match="it is a file"):
    require_writable_file(str(tmp_path))


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="a folder that not even root writes to")
@pytest.mark.parametrize("require", [require_writable_folder, require_writable_file])
def test_a_place_that_cannot_be_written_to(require):
  with pytest.raises(StoreError, match="the place must be writable"):
    require("/proc/self/new")


def test_the_room_of_a_place_that_is_not_there_yet(tmp_path):
  assert free_bytes(str(tmp_path / "new")) == pytest.approx(free_bytes(str(tmp_path)), rel=0.5)
  assert free_bytes("s3://bucket/store") is None
