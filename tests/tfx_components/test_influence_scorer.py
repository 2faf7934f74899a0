import dataclasses
import json
import os

import numpy as np
import pytest

from diet_tf.distillation.teacher import Teacher, TeacherSettings
from diet_tf.errors import ConfigError, DataError, FormatError
from diet_tf.io import arrays
from diet_tf.log.examples import is_held_back
from diet_tf.store.memories import load_memory
from tfx_components.influence_scorer.score import ScoresSummary, SlotScores


@pytest.fixture
def given(workshop):
  """A first span's examples and its empty parent."""
  return workshop.examples(1), workshop.load(1)


def score_files(workshop, made):
  return workshop.contents(made["scores"].uri)


def test_every_example_has_a_score_in_its_place(shared_workshop, first):
  ids, labels, example_ids, _ = shared_workshop.make_examples(1)
  del ids, labels
  names = [name for name in sorted(os.listdir(first.scores.uri)) if name.endswith(".scores.npz")]
  assert names == [f"data_tfrecord-{number:05d}-of-00003.gz.scores.npz" for number in range(3)]
  read = [arrays.read_arrays(os.path.join(first.scores.uri, name)) for name in names]
  np.testing.assert_array_equal(np.concatenate([part["example_ids"] for part in read]), example_ids)
  influences = np.concatenate([part["influences"] for part in read])
  assert np.isfinite(influences).all() and influences.std() > 0


def test_the_summary_counts_the_held_back_examples(shared_workshop, first):
  _, _, example_ids, _ = shared_workshop.make_examples(1)
  summary = ScoresSummary.read(first.scores.uri)
  assert (summary.span, summary.num_examples) == (1, 600)
  assert summary.num_held_back == int(np.sum(is_held_back(example_ids, 0.2)))
  assert 0.3 < summary.teacher_loss < 1
  assert first.scores.get_int_custom_property("num_examples") == 600


def test_the_teacher_has_seen_every_example_once(shared_workshop, first, second):
  for made, expected in ((first, 600), (second, 1200)):
    teacher = Teacher.load(made.teacher.uri, shared_workshop.spec, shared_workshop.settings.teacher)
    assert teacher.num_examples_seen == expected
    # Checkpoints are those of the pass in which the held-back examples had no part.
    assert len(teacher.checkpoints) == 2


def test_old_slots_are_scored_in_their_order(second):
  previous = load_memory(f"{second.parent.uri}/memory")
  scores = SlotScores.read(second.scores.uri, previous.slots)
  assert scores.influences.shape == (len(previous),) and scores.influences.std() > 0
  assert scores.drifts.shape == (len(previous),) and scores.drifts.std() > 0
  with pytest.raises(FormatError, match="slot_influences.npz"):
    SlotScores.read(second.scores.uri, previous.slots.take(np.arange(len(previous))[::-1]))


def test_scores_are_the_same_at_any_parallelism(workshop, given):
  made = workshop.score(1, *given)
  more = workshop.score(1, *given, beam_pipeline_args=["--direct_running_mode=multi_threading",
                                                       "--direct_num_workers=3"])
  assert score_files(workshop, made) == score_files(workshop, more)
  assert workshop.contents(made["teacher"].uri) == workshop.contents(more["teacher"].uri)


@pytest.mark.slow
def test_scores_are_the_same_in_processes_of_their_own(workshop, given):
  made = workshop.score(1, *given)
  more = workshop.score(1, *given, beam_pipeline_args=["--direct_running_mode=multi_processing",
                                                       "--direct_num_workers=2"])
  assert score_files(workshop, made) == score_files(workshop, more)


def test_nothing_is_left_in_the_temporary_folder(shared_workshop, first):
  del first
  left = [name for _, _, names in os.walk(f"{shared_workshop.folder}/temp") for name in names]
  assert not left


def test_auto_takes_the_span_of_the_examples(workshop, given):
  examples, parent = given
  made = workshop.score("auto", examples, parent)
  assert made["scores"].get_int_custom_property("span") == 1


def test_examples_of_another_span_are_refused(workshop, given):
  with pytest.raises(DataError, match="span 2, which is run.*span 1"):
    workshop.score(2, *given)


def test_a_span_without_held_back_examples_is_refused(workshop, given):
  settings = dataclasses.replace(workshop.settings, influence=dataclasses.replace(workshop.settings.influence,
                                                                                  holdback_fraction=1e-6))
  with pytest.raises(DataError, match="0 of 600 held back"):
    workshop.score(1, *given, settings=settings)


def test_other_teacher_settings_than_the_parents_are_refused(shared_workshop, workshop, second):
  settings = dataclasses.replace(workshop.settings, teacher=TeacherSettings(members=("lr",)))
  with pytest.raises(FormatError, match="teacher settings"):
    workshop.score(2, second.examples, second.parent, settings=settings)


def test_unknown_settings_and_strategies_are_refused(workshop, given):
  examples, parent = given
  properties = {"features": json.dumps(workshop.spec.to_dict()), "teacher_settings": "{}", "influence": "{}",
                "seed": 0, "span": "1", "strategy": "cpu"}
  for key, value in (("teacher_settings", '{"membres": []}'), ("influence", "[]"), ("influence", "{"),
                     ("strategy", "abacus"), ("features", "{}")):
    with pytest.raises(ConfigError):
      workshop.run("InfluenceScorer", {"examples": examples, "parent": parent}, {}, **{**properties, key: value})
