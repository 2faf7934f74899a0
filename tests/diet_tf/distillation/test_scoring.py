"""Scoring a span: the same scores whatever the shards and batches, and files that do not fit are refused."""

import numpy as np
import pytest

from diet_tf.distillation import scoring
from diet_tf.distillation.influence import InfluenceScorer, InfluenceSettings, is_drawn
from diet_tf.distillation.scoring import SCORES, SpanScorer, read_scores, score_file, score_shards, scored_stream
from diet_tf.distillation.teacher import Teacher
from diet_tf.errors import FormatError
from diet_tf.io import arrays
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.examples import example_dataset, is_held_back
from diet_tf.log.hashing import mix
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


def whole_tables(reference):
  """A reference gradient with a row for each row of the tables."""
  kernel, bias, rows, *tables = reference
  whole = [np.zeros((sum(SPEC.num_ids), *table.shape[1:]), table.dtype) for table in tables]
  for all_rows, table in zip(whole, tables, strict=True):
    all_rows[rows] = table
  return kernel, bias, *whole


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
          for name in ("example_ids", "labels", "influences", "is_scored", "teacher_logits")}


def one_pass(shards, folder, fraction=HOLDBACK):
  return EncodedRows.concatenate(list(scored_stream(shards, folder, SPEC, fraction, with_influences=True)()))


def test_scores_are_those_of_the_teacher_in_the_order_of_the_shard(teacher, shards, scores):
  found = all_scores(shards, scores)
  np.testing.assert_array_equal(found["example_ids"], ROWS[2])
  np.testing.assert_allclose(found["teacher_logits"], teacher.logits(ROWS[0]), rtol=1e-5, atol=1e-6)
  assert found["influences"].min() < 0 < found["influences"].max()
  assert found["is_scored"].all()
  np.testing.assert_array_equal(found["labels"], ROWS[1])


def test_influences_are_summed_over_the_checkpoints(teacher, scorer, shards, scores):
  expected = np.zeros(NUM_ROWS)
  for checkpoint, reference in zip(teacher.checkpoints, scorer._references, strict=True):
    one = InfluenceScorer(teacher.load_checkpoint(checkpoint), TEACHER.learning_rate)
    one.set_reference(reference)
    expected += one.score({"ids": ROWS[0]}, ROWS[1])[0]
  np.testing.assert_allclose(all_scores(shards, scores)["influences"], expected, rtol=1e-4, atol=1e-8)


def test_a_share_of_the_examples_is_scored_whatever_the_shards(teacher, scorer, shards, scores, tmp_path):
  scorer.save(str(tmp_path))
  part = SpanScorer(teacher, InfluenceSettings(64, HOLDBACK), 0.3)
  part.load(str(tmp_path))
  score_shards(part, shards, SPEC, str(tmp_path / "scores"))
  expected, found = all_scores(shards, scores), all_scores(shards, str(tmp_path / "scores"))
  np.testing.assert_array_equal(found["is_scored"], is_drawn(ROWS[2], 0.3, teacher.seed))
  assert 60 < found["is_scored"].sum() < 120
  np.testing.assert_allclose(found["influences"], np.where(found["is_scored"], expected["influences"], 0), rtol=1e-5,
                             atol=1e-8)
  np.testing.assert_array_equal(found["teacher_logits"], expected["teacher_logits"])
  with pytest.raises(FormatError, match="score_every_example=1"):
    one_pass(shards, str(tmp_path / "scores"))
  (rows, _) = scored_stream(shards, str(tmp_path / "scores"), SPEC, HOLDBACK)()
  assert not rows.knows("influences")


def test_scores_of_version_1_are_read(shards, scores, tmp_path):
  columns = read_scores(score_file(scores, shards[0]))
  old = {name: columns[name] for name in ("example_ids", "influences", "teacher_logits")}
  arrays.write_arrays(score_file(str(tmp_path), shards[0]), {
      "format_name": np.array("diet_tf.scores"), "format_version": np.array(1),
      "gradient_norms": np.ones(len(columns["labels"]), np.float32), **old})
  found = read_scores(score_file(str(tmp_path), shards[0]))
  assert set(found) == {*old, "is_scored"} and found["is_scored"].all()
  np.testing.assert_array_equal(one_pass(shards[:1], str(tmp_path)).influences,
                                one_pass(shards[:1], scores).influences)


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
    found[name] = whole_tables(scorer._references[-1])
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


@pytest.mark.parametrize("change", [{"format_version": np.array(3)}, {"format_name": np.array("other")}])
def test_another_format_is_refused(shards, scores, tmp_path, change):
  path = str(tmp_path / "one.npz")
  arrays.write_arrays(path, {**arrays.read_arrays(score_file(scores, shards[0])), **change})
  with pytest.raises(FormatError, match=str(next(iter(change.values())))):
    read_scores(path)


def test_a_missing_score_file_is_refused_by_its_path(shards, tmp_path):
  with pytest.raises(FormatError, match="data-00000-of-00002.gz.scores.npz"):
    one_pass(shards, str(tmp_path))


def test_the_reference_set_is_read_once_and_bounded(teacher, shards, monkeypatch):
  """However long the span: it is drawn by example id, in whatever order the examples come."""
  monkeypatch.setattr(scoring, "MAX_REFERENCE_EXAMPLES", 20)
  batches = [tuple(np.asarray(part) for part in batch) for batch in held_back(shards, 8)]
  found = []
  for given in (batches, batches[::-1]):
    scorer = SpanScorer(teacher, InfluenceSettings())
    scorer.fit_reference(iter(given), None)
    found.append(scorer._references)
  ids, labels, example_ids = (np.concatenate(column) for column in zip(*batches, strict=True))
  assert len(ids) > 40 and len(found[0]) == len(teacher.checkpoints) == 2
  first = np.argsort(mix(example_ids, teacher.seed))[:20]
  one = SpanScorer(teacher, InfluenceSettings())
  one.fit_reference([(ids[first], labels[first], example_ids[first])], None)
  for reference in found:
    for value, expected in zip(reference[0], one._references[0], strict=True):
      np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-7)
