"""Scoring a span: the same scores whatever the shards and batches, and files that do not fit are refused."""

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.distillation.influence import InfluenceSettings
from diet_tf.distillation.scoring import SCORES, SpanScorer, read_scores, score_file, score_shards, scored_stream
from diet_tf.distillation.teacher import Teacher
from diet_tf.errors import FormatError
from diet_tf.io import arrays
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.examples import example_dataset, is_held_back
from tests.diet_tf.small_log import SPEC, TEACHER, draw, write_shards
from tests.diet_tf.small_slots import small_slots

NUM_ROWS, HOLDBACK = 300, 0.2
ROWS = draw(NUM_ROWS)


def make_slots(count=6):
  random = np.random.default_rng(1)
  ids = np.stack([random.integers(num_ids, size=(count, 2)) for num_ids in SPEC.num_ids], axis=1)
  return small_slots(ids, random.dirichlet(np.ones(2), size=(count, 3)), labels=random.random(count),
                     sample_weights=random.uniform(0.5, 2, count), spec=SPEC)


def held_back(shards, batch_size=16):
  return example_dataset(shards, SPEC, batch_size, holdback="only", holdback_fraction=HOLDBACK)


def make_scorer(teacher, shards, batch_size=64, slots=None):
  scorer = SpanScorer(teacher, InfluenceSettings(batch_size=batch_size, holdback_fraction=HOLDBACK))
  scorer.fit_reference(held_back(shards), slots)
  return scorer


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
  return write_shards(tmp_path_factory.mktemp("log") / "span", ROWS, 2)


@pytest.fixture(scope="module")
def teacher(shards):
  teacher = Teacher(SPEC, TEACHER, seed=1)
  teacher.advance(example_dataset(shards, SPEC, TEACHER.batch_size), NUM_ROWS)
  return teacher


@pytest.fixture(scope="module")
def scorer(teacher, shards):
  return make_scorer(teacher, shards)


@pytest.fixture(scope="module")
def scores(tmp_path_factory, scorer, shards):
  """The folder of the scores of both shards."""
  folder = str(tmp_path_factory.mktemp("scores"))
  assert score_shards(scorer, shards, SPEC, folder) == NUM_ROWS
  return folder


def all_scores(shards, folder):
  found = [read_scores(score_file(folder, shard)) for shard in shards]
  return {name: np.concatenate([one[name] for one in found])
          for name in ("example_ids", "influences", "gradient_norms", "teacher_logits")}


def one_pass(shards, folder, fraction=HOLDBACK):
  return EncodedRows.concatenate(list(scored_stream(shards, folder, SPEC, fraction)()))


def test_scores_are_those_of_the_teacher_in_the_order_of_the_shard(teacher, shards, scores):
  found = all_scores(shards, scores)
  np.testing.assert_array_equal(found["example_ids"], ROWS[2])
  np.testing.assert_allclose(found["teacher_logits"], teacher.logits(ROWS[0]), rtol=1e-5, atol=1e-6)
  assert found["influences"].min() < 0 < found["influences"].max()
  assert found["gradient_norms"].min() > 0


@pytest.mark.parametrize("num_shards,batch_size", [(1, 300), (5, 7)])
def test_scores_do_not_depend_on_shards_or_batches(teacher, shards, scores, tmp_path, num_shards, batch_size):
  others = write_shards(tmp_path / "span", ROWS, num_shards)
  score_shards(make_scorer(teacher, others, batch_size), others, SPEC, str(tmp_path / "scores"))
  expected, found = all_scores(shards, scores), all_scores(others, str(tmp_path / "scores"))
  for name, values in expected.items():
    np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-7, err_msg=name)


def test_a_scorer_elsewhere_gives_the_same_bits(teacher, scorer, shards, scores, tmp_path):
  teacher.save(str(tmp_path))
  scorer.save(str(tmp_path))
  other = SpanScorer(Teacher.load(str(tmp_path), SPEC, TEACHER), InfluenceSettings(64, HOLDBACK))
  other.load(str(tmp_path))
  output = str(tmp_path / "one.npz")
  assert other.score_shard(shards[1], SPEC, output) == NUM_ROWS // 2
  expected = read_scores(score_file(scores, shards[1]))
  for name, values in read_scores(output).items():
    np.testing.assert_array_equal(values, expected[name])


def test_references_of_another_teacher_are_refused(scorer, teacher, tmp_path):
  scorer.save(str(tmp_path))
  saved = arrays.read_arrays(str(tmp_path / "reference.npz"))
  arrays.write_arrays(str(tmp_path / "reference.npz"), {name: saved[name] for name in saved if name[0] == "0"})
  with pytest.raises(FormatError, match="per checkpoint"):
    SpanScorer(teacher, InfluenceSettings()).load(str(tmp_path))


def test_slots_weigh_as_much_as_the_held_back_examples(teacher, shards):
  """The reference gradient is the mean of the examples' and the slots' own."""
  slots = make_slots()
  scorer, found = SpanScorer(teacher, InfluenceSettings()), {}
  for name, examples, memory in (("both", held_back(shards), slots), ("examples", held_back(shards), None),
                                 ("slots", [], slots)):
    scorer.fit_reference(examples, memory)
    found[name] = scorer._scorers[-1].reference_arrays()
  for both, *parts in zip(found["both"], found["examples"], found["slots"], strict=True):
    np.testing.assert_allclose(both, np.mean(parts, axis=0), rtol=1e-4, atol=1e-6)


def test_a_slot_of_one_id_per_field_scores_as_the_example(scorer, shards, scores):
  slots = small_slots(ROWS[0][:10], labels=ROWS[1][:10], sample_weights=np.arange(10) + 1, spec=SPEC)
  np.testing.assert_allclose(scorer.score_slots(slots), all_scores(shards, scores)["influences"][:10], rtol=1e-5,
                             atol=1e-8)
  assert scorer.score_slots(slots.take(np.zeros(0, int))).shape == (0,)


def test_a_pass_leaves_out_what_is_held_back(shards, scores):
  found = one_pass(shards, scores)
  kept = ~is_held_back(ROWS[2], HOLDBACK)
  assert 0.6 < kept.mean() < 0.95
  np.testing.assert_array_equal(found.example_ids, ROWS[2][kept])
  np.testing.assert_array_equal(found.ids, ROWS[0][kept])
  np.testing.assert_array_equal(found.influences, all_scores(shards, scores)["influences"][kept])


def test_shards_without_rows_or_with_held_back_rows_alone_are_passed_over(scorer, tmp_path):
  held = np.flatnonzero(is_held_back(ROWS[2], HOLDBACK))[:2]
  empty = write_shards(tmp_path / "a", [column[:0] for column in ROWS], 1)
  alone = write_shards(tmp_path / "b", [column[held] for column in ROWS], 1)
  for shard, rows in ((empty, 0), (alone, 2)):
    folder = str(tmp_path / f"scores{rows}")
    assert score_shards(scorer, shard, SPEC, folder) == rows
    assert list(scored_stream(shard, folder, SPEC, HOLDBACK)()) == []


@pytest.mark.parametrize("broken", ["fewer", "others"])
def test_scores_of_other_examples_are_refused(shards, scores, tmp_path, broken):
  columns = read_scores(score_file(scores, shards[0]))
  if broken == "fewer":
    columns = {name: value[:-1] if value.ndim else value for name, value in columns.items()}
  else:
    columns["example_ids"] = columns["example_ids"][::-1]
  SCORES.write(score_file(str(tmp_path), shards[0]), columns)
  with pytest.raises(FormatError, match="data-00000-of-00002.gz.scores.npz"):
    one_pass(shards[:1], str(tmp_path))


@pytest.mark.parametrize("change", [{"format_version": np.array(2)}, {"format_name": np.array("other")}])
def test_another_format_is_refused(shards, scores, tmp_path, change):
  path = str(tmp_path / "one.npz")
  arrays.write_arrays(path, {**arrays.read_arrays(score_file(scores, shards[0])), **change})
  with pytest.raises(FormatError, match=str(next(iter(change.values())))):
    read_scores(path)


def test_a_missing_score_file_is_refused_by_its_path(shards, tmp_path):
  with pytest.raises(FormatError, match="data-00000-of-00002.gz.scores.npz"):
    one_pass(shards, str(tmp_path))


def test_held_back_batches_are_read_anew_for_each_checkpoint(teacher, shards):
  """They are streamed: a list of them would grow with the span."""
  reads = []

  class Counted:

    def __iter__(self):
      reads.append(0)
      for batch in held_back(shards, 8):
        reads[-1] += 1
        yield tuple(tf.identity(part) for part in batch)

  SpanScorer(teacher, InfluenceSettings()).fit_reference(Counted(), None)
  assert len(reads) == len(teacher.checkpoints) == 2
  assert reads[0] == reads[1] > 3
