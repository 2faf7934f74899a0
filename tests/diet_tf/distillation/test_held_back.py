import numpy as np
import pytest

from diet_tf.distillation import scoring
from diet_tf.distillation.held_back import sample_held_back, teacher_loss
from diet_tf.errors import DataError, FormatError
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.examples import example_shards, is_held_back, write_example_shard
from diet_tf.log.features import FeatureSpec, Field, Label

SPEC = FeatureSpec((Field("user", "user", hash_ids=50), Field("item", "item", hash_ids=50)), Label("click"))


@pytest.fixture
def span(tmp_path):
  """Two shards of 200 examples; returns their paths and all arrays."""
  random = np.random.default_rng(0)
  ids = random.integers(0, 50, (200, 2)).astype(np.int32)
  labels = random.integers(0, 2, 200).astype(np.float32)
  example_ids = random.integers(0, 1 << 62, 200)
  for number, rows in enumerate((slice(0, 120), slice(120, 200))):
    write_example_shard(f"{tmp_path}/data-{number}.gz", ids[rows], labels[rows], example_ids[rows],
                                np.arange(200)[rows], SPEC)
  return example_shards(str(tmp_path)), ids, labels, example_ids


def test_all_are_taken_where_few_are_held_back(span):
  shards, ids, labels, example_ids = span
  sample = sample_held_back(shards, SPEC, 0.3, 1000, seed=0)
  held = np.asarray(is_held_back(example_ids, 0.3))
  np.testing.assert_array_equal(sample.ids, ids[held])
  np.testing.assert_array_equal(sample.labels, labels[held])
  np.testing.assert_array_equal(sample.example_ids, example_ids[held])
  assert teacher_loss(sample) is None


def test_a_sample_depends_on_the_examples_alone(span):
  shards, _, _, example_ids = span
  sample = sample_held_back(shards, SPEC, 0.5, 10, seed=4)
  assert len(sample) == 10
  assert np.asarray(is_held_back(sample.example_ids, 0.5)).all()
  swapped = sample_held_back(shards[::-1], SPEC, 0.5, 10, seed=4)
  assert set(sample.example_ids) == set(swapped.example_ids)
  assert set(sample.example_ids) != set(sample_held_back(shards, SPEC, 0.5, 10, seed=5).example_ids)
  assert list(sample.example_ids) == [value for value in example_ids if value in set(sample.example_ids)]


def test_the_teachers_logits_come_from_the_scores(span, tmp_path):
  shards, _, labels, example_ids = span
  logits = np.linspace(-2, 2, 200).astype(np.float32)
  folder = tmp_path / "scores"
  folder.mkdir()
  for shard, rows in zip(shards, (slice(0, 120), slice(120, 200)), strict=True):
    scoring.SCORES.write(scoring.score_file(str(folder), shard), {
        "example_ids": example_ids[rows], "teacher_logits": logits[rows],
        "is_scored": np.zeros(len(logits[rows]), np.bool_),
        **{name: np.zeros_like(logits[rows]) for name in ("influences", "labels")}})
  sample = sample_held_back(shards, SPEC, 0.3, 1000, seed=0, scores_dir=str(folder))
  held = np.asarray(is_held_back(example_ids, 0.3))
  np.testing.assert_array_equal(sample.teacher_logits, logits[held])
  probabilities = 1 / (1 + np.exp(-logits[held].astype(np.float64)))
  expected = -np.mean(np.where(labels[held] == 1, np.log(probabilities), np.log(1 - probabilities)))
  assert teacher_loss(sample) == pytest.approx(expected, rel=1e-9)
  (folder / "data-0.gz.scores.npz").write_bytes((folder / "data-1.gz.scores.npz").read_bytes())
  with pytest.raises(FormatError, match="data-0.gz.scores.npz"):
    sample_held_back(shards, SPEC, 0.3, 1000, seed=0, scores_dir=str(folder))


def test_none_held_back_is_an_error(span):
  with pytest.raises(DataError, match="held back"):
    sample_held_back(span[0], SPEC, 1e-9, 10, seed=0)


def test_take_and_concatenate():
  one = EncodedRows(np.zeros((2, 1), np.int32), np.array([0, 1]), np.array([7, 8]), teacher_logits=np.zeros(2))
  assert EncodedRows.concatenate([one, one]).take(np.array([3, 0])).example_ids.tolist() == [8, 7]
