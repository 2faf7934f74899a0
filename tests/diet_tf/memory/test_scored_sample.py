"""The scored sample: drawn evenly from all spans, kept beside the slots, and read only as it was written."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from diet_tf.errors import DataError, FormatError
from diet_tf.io.documents import canonical_digest
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory.memory import Memory, read_memory, save_memory
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.scored_sample import SCORED_SAMPLE_NAME, ScoredSample, merge
from tests.diet_tf import small_sets
from tests.diet_tf.small_slots import small_slots

SPEC = FeatureSpec(fields=(Field("user", "user_id", hash_ids=50), Field("hour", "hour", boundaries=(6.0, 12.0))),
                   label=Label("click"))
SAMPLE = ScoredSample(np.array([[1, 3], [2, 0], [49, 1]]), np.array([0.25, 0.5, 1.0]), 90)


def make_memory(sample: ScoredSample | None = SAMPLE) -> Memory:
  return Memory.create(small_slots([[1, 2], [3, 1]], spec=SPEC), SPEC, Recipe(), span=3, num_examples_seen=100,
                       budget={}, scored_sample=sample)


def rows(ids: np.ndarray) -> EncodedRows:
  return EncodedRows(np.stack([ids, 0 * ids], axis=1).astype(np.int32))


def tenths(ids: np.ndarray) -> np.ndarray:
  return (ids[:, 0] % 10 / 10).astype(np.float32)


def merged(previous: ScoredSample | None, num_new: int, num_rows: int, seed: int = 0, first: int = 0) -> ScoredSample:
  new = np.random.default_rng(seed).permutation(np.arange(first, first + num_new))[:num_rows]
  return merge(previous, rows(new), num_new, num_rows, seed=seed, probabilities_of=tenths)


class TestMerge:

  def test_all_rows_are_kept_while_there_is_room_in_the_order_of_their_ids(self) -> None:
    first = merged(None, 3, 8)
    both = merged(first, 4, 8, first=10)
    assert both.ids[:, 0].tolist() == [0, 1, 2, 10, 11, 12, 13] and both.num_examples == 7
    np.testing.assert_allclose(both.probabilities, [0, 0.1, 0.2, 0, 0.1, 0.2, 0.3], atol=1e-7)

  def test_old_rows_get_the_probabilities_of_the_present_teacher(self) -> None:
    old = ScoredSample(np.array([[5, 0]]), np.array([0.9]), 1)
    np.testing.assert_allclose(merged(old, 1, 4, first=7).probabilities, [0.5, 0.7], atol=1e-7)

  def test_each_row_of_all_spans_is_as_likely_as_any_other(self) -> None:
    counts = np.zeros(60)
    for seed in range(400):
      sample = merged(merged(None, 20, 10, seed), 40, 10, seed, first=20)
      assert len(sample) == 10 and sample.num_examples == 60
      counts[sample.ids[:, 0]] += 1
    # 4,000 draws: 1/3 of them are of the first span with a standard deviation of sqrt(400 * 1.88) / 4000 < .007, for
    # a hypergeometric draw of 10 of 60 rows, 20 of them of the first span, has a variance of 10 * 2/9 * 50/59 = 1.88.
    assert abs(counts[:20].sum() / 4000 - 1 / 3) < 0.025
    assert counts.min() > 35 and counts.max() < 105  # 67 on average, with a standard deviation of 7.5.

  def test_a_smaller_sample_before_keeps_the_shares_of_the_spans(self) -> None:
    old = ScoredSample(np.arange(4)[:, None].repeat(2, 1), np.zeros(4), 100)
    sample = merged(old, 100, 50, first=10)
    # 4 of 100 rows are known: 8 of 200 are an even sample, and at most 4 of these are old.
    assert len(sample) == 8 and (sample.ids[:, 0] < 4).sum() <= 4


class TestFile:

  def test_round_trip(self, tmp_path: pathlib.Path) -> None:
    saved = save_memory(str(tmp_path), make_memory())
    read = read_memory(str(tmp_path))
    assert read.scored_sample is not None and saved.manifest.format_version == 3
    for name in ("ids", "probabilities", "num_examples"):
      np.testing.assert_array_equal(getattr(read.scored_sample, name), getattr(SAMPLE, name), err_msg=name)
    again = save_memory(str(tmp_path / "copy"), read)
    assert again.digest == saved.digest
    assert (tmp_path / SCORED_SAMPLE_NAME).read_bytes() == (tmp_path / "copy" / SCORED_SAMPLE_NAME).read_bytes()

  def test_a_memory_can_be_given_away_without_it(self, tmp_path: pathlib.Path) -> None:
    memory = read_memory(save_and_name(tmp_path / "with", make_memory()))
    save_memory(str(tmp_path / "without"), memory.without_scored_sample())
    plain = save_memory(str(tmp_path / "plain"), make_memory(None))
    assert not (tmp_path / "without" / SCORED_SAMPLE_NAME).exists()
    assert read_memory(str(tmp_path / "without")).digest == plain.digest and plain.manifest.format_version == 1

  def test_rows_that_do_not_fit_the_spec_are_not_written(self, tmp_path: pathlib.Path) -> None:
    for changes, message in (({"ids": SAMPLE.ids + 1}, "field 'user'"), ({"ids": SAMPLE.ids[:, :1]}, "2 fields"),
                             ({"probabilities": SAMPLE.probabilities * 2}, r"\[0, 1\]"),
                             ({"probabilities": SAMPLE.probabilities * np.nan}, r"\[0, 1\]")):
      with pytest.raises(DataError, match=message):
        save_memory(str(tmp_path / "x"), make_memory(dataclasses.replace(SAMPLE, **changes)))
      assert not list((tmp_path / "x").iterdir())

  def test_what_was_changed_is_refused(self, tmp_path: pathlib.Path) -> None:
    path = tmp_path / SCORED_SAMPLE_NAME
    save_memory(str(tmp_path), make_memory())
    content = path.read_bytes()
    path.write_bytes(content[:-4] + bytes(4))
    with pytest.raises(FormatError, match="digest"):
      read_memory(str(tmp_path))
    with pytest.raises(FormatError, match=SCORED_SAMPLE_NAME):
      read_memory(str(tmp_path), verify=False)
    path.unlink()
    with pytest.raises(FormatError, match="no such file"):
      read_memory(str(tmp_path))

  @pytest.mark.parametrize(("key", "value", "message"), [
      ("num_records", 4, "manifest's 4 rows"), ("num_records", 1 << 17, "at most 65,536 rows"),
      ("name", "slots-00000-of-00001.tfrecord.gz", "distinct"), ("name", "../x", "own folder"),
      ("sha256", "xyz", "SHA-256")])
  def test_a_manifest_that_says_something_else_is_refused(self, tmp_path: pathlib.Path, key: str, value: object,
                                                          message: str) -> None:
    save_memory(str(tmp_path), make_memory())
    path = tmp_path / "manifest.json"
    document = json.loads(path.read_text())
    document["scored_sample"]["shard"][key] = value
    del document["digest"]
    path.write_text(json.dumps({**document, "digest": canonical_digest(document)}))
    with pytest.raises(FormatError, match=message):
      read_memory(str(tmp_path))


def save_and_name(folder: pathlib.Path, memory: Memory) -> str:
  save_memory(str(folder), memory)
  return str(folder)


def test_sets_of_values_come_back_as_they_were(tmp_path: pathlib.Path) -> None:
  ids, labels, _ = small_sets.draw(20)
  sample = ScoredSample(ids, labels, 90)
  slots = small_slots([[1, 2, 3, 4], [3, 1, 2, 1]], spec=small_sets.SPEC)
  memory = Memory.create(slots, small_sets.SPEC, Recipe(), span=3, num_examples_seen=100, budget={},
                         scored_sample=sample)
  save_memory(str(tmp_path / "memory"), memory)
  found = read_memory(str(tmp_path / "memory"))
  assert found.manifest.format_version == 5 and found.spec == small_sets.SPEC
  np.testing.assert_array_equal(found.scored_sample.ids, ids)
  assert found.without_scored_sample().manifest.format_version == 5
  assert found.scored_rows().ids.shape == (20, 9)


def test_a_kind_of_field_that_is_not_known_is_told_by_its_name(tmp_path: pathlib.Path) -> None:
  slots = small_slots([[1, 2, 3, 4], [3, 1, 2, 1]], spec=small_sets.SPEC)
  save_memory(str(tmp_path), Memory.create(slots, small_sets.SPEC, Recipe(), span=3, num_examples_seen=9, budget={}))
  path = tmp_path / "manifest.json"
  value = json.loads(path.read_text())
  value["feature_spec"]["fields"][1]["history_of"] = "user"
  path.write_text(json.dumps(value))
  with pytest.raises(FormatError, match="field 'genres' with 'history_of'.*the release of diet-tf that wrote it"):
    read_memory(str(tmp_path))
