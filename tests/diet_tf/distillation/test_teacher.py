"""The teacher: one pass in two halves, what is written of it, what is refused, and training on two devices."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.distillation.teacher import Teacher, TeacherSettings, keyed_variables
from diet_tf.errors import ConfigError, FormatError, NumericsError
from diet_tf.io import arrays, json_files
from diet_tf.log.examples import example_dataset
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.slots import Slots
from diet_tf.models import RankingModel
from tests.diet_tf.small_log import SPEC, TINY, draw, write_shards

SETTINGS = TeacherSettings(members=(f"dnn({TINY})", "fm(embedding_dim=2)"), learning_rate=0.02, batch_size=32)
LINEAR = dataclasses.replace(SETTINGS, members=("lr",), num_checkpoints=3)
NUM_ROWS = 656  # 20 and a half batches, in two shards of 328.


def in_memory(columns, batch_size=32):
  return tf.data.Dataset.from_tensor_slices(columns).batch(batch_size)


def bags(ids, weights):
  count = np.arange(len(ids))
  return Slots(ids=ids, weights=weights, labels=0.5 + 0 * count, sample_weights=1.0 + 0 * count, slot_ids=count,
               born_spans=count, updated_spans=count, influences=0.0 * count)


def state(teacher):
  """Every array that the next step depends on."""
  found = {}
  for index, (member, optimizer) in enumerate(zip(teacher.members, teacher._optimizers, strict=True)):
    found[f"{index}/iterations"] = optimizer.iterations.numpy()
    for key, variable in keyed_variables(member):
      found[f"{index}/{key}"] = np.stack([one.numpy() for one in (variable, *optimizer.moments(variable))])
  return found


@pytest.fixture(scope="module")
def log(tmp_path_factory):
  return write_shards(tmp_path_factory.mktemp("log") / "span", draw(NUM_ROWS), 2)


@pytest.fixture(scope="module")
def halfway(tmp_path_factory, log):
  """A teacher that went on after it was saved halfway: `(folder, teacher, mean losses of the halves)`."""
  folder = str(tmp_path_factory.mktemp("teacher"))
  teacher = Teacher(SPEC, SETTINGS, seed=5)
  first = teacher.advance(example_dataset(log[:1], SPEC, 32), 328)
  teacher.save(folder)
  second = teacher.advance(example_dataset(log[1:], SPEC, 32), 328)
  return folder, teacher, (first, second)


def test_it_learns(halfway):
  _, teacher, (first, second) = halfway
  # Means over the batches as one, of which the last is not full; guessing costs log 2.
  assert second < first < np.log(2)
  assert teacher.num_examples_seen == NUM_ROWS


def test_a_pass_in_two_halves_with_a_save_between_is_one_pass(halfway, log):
  folder, expected, _ = halfway
  teacher = Teacher.load(folder, SPEC, SETTINGS)
  assert teacher.num_examples_seen == 328 and teacher.seed == 5
  teacher.advance(example_dataset(log[1:], SPEC, 32), 328)
  found, wanted = state(teacher), state(expected)
  assert set(found) == set(wanted)
  for key, value in wanted.items():
    np.testing.assert_array_equal(found[key], value, err_msg=key)
  for ours, theirs in zip(teacher.checkpoints, expected.checkpoints, strict=True):
    for key in theirs:
      np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)


def test_saving_again_gives_the_same_bytes(halfway, tmp_path):
  folder = halfway[0]
  Teacher.load(folder, SPEC, SETTINGS).save(str(tmp_path))
  for name in ("teacher.npz", "teacher.json"):
    with open(f"{folder}/{name}", "rb") as first, open(tmp_path / name, "rb") as second:
      assert first.read() == second.read(), name


def test_the_logit_is_the_mean_of_the_members(halfway):
  teacher, ids = halfway[1], draw(10)[0]
  mean = np.mean([member({"ids": ids}).numpy() for member in teacher.members], axis=0)
  np.testing.assert_allclose(teacher.logits(ids), mean, rtol=1e-5, atol=1e-7)


def test_the_last_checkpoint_is_the_end_of_the_pass(halfway):
  teacher, ids = halfway[1], draw(10)[0]
  assert len(teacher.checkpoints) == 2
  logits = [teacher.load_checkpoint(checkpoint)({"ids": ids}).numpy() for checkpoint in teacher.checkpoints]
  np.testing.assert_array_equal(logits[1], teacher.reference_member({"ids": ids}))
  assert np.abs(logits[0] - logits[1]).max() > 1e-4


@pytest.fixture(scope="module")
def linear():
  """A teacher of one linear member, quick to trace."""
  return Teacher(SPEC, LINEAR)


def test_checkpoints_are_evenly_spaced_and_kept_where_asked(linear):
  columns, steps = draw(320), []
  linear.advance(in_memory(columns), 320, progress=lambda what, done, total: steps.append((done, total)))
  # A third, two thirds and the whole of ten steps.
  assert steps == [(96, 320), (224, 320), (320, 320)]
  kept = linear.checkpoints
  assert len(kept) == 3
  linear.advance(in_memory(columns), 320, keep_checkpoints=False)
  assert linear.checkpoints is kept


def test_a_pass_of_fewer_steps_than_checkpoints_keeps_what_there_is(linear):
  linear.advance(in_memory(draw(40)), 40)
  assert len(linear.checkpoints) == 2


def saved_size(spec, folder):
  teacher = Teacher(spec, dataclasses.replace(LINEAR, members=("fm(embedding_dim=2)",)))
  teacher.advance(in_memory(draw(64)), 64)
  teacher.save(str(folder))
  loaded = Teacher.load(str(folder), spec, teacher.settings)
  for key, value in state(teacher).items():
    np.testing.assert_array_equal(state(loaded)[key], value)
  return os.path.getsize(folder / "teacher.npz")


def test_the_file_grows_with_the_rows_touched_not_with_the_id_space(tmp_path):
  wide = FeatureSpec(tuple(dataclasses.replace(field, hash_ids=50_000) for field in SPEC.fields), SPEC.label)
  small, large = saved_size(SPEC, tmp_path / "small"), saved_size(wide, tmp_path / "large")
  assert large <= small + 64


@pytest.mark.parametrize("change,match", [
    ({"settings": dataclasses.replace(SETTINGS, learning_rate=0.5)}, "0.5"),
    ({"spec": FeatureSpec((dataclasses.replace(SPEC.fields[0], hash_ids=14), *SPEC.fields[1:]), SPEC.label)},
     "feature spec"),
])
def test_another_spec_or_other_settings_are_refused(halfway, change, match):
  with pytest.raises(FormatError, match=match):
    Teacher.load(halfway[0], **{"spec": SPEC, "settings": SETTINGS, **change})


@pytest.mark.parametrize("change", [{"format_version": 2}, {"format_name": "other"}])
def test_another_format_is_refused_by_name(halfway, tmp_path, change):
  header = {**json_files.read_json(f"{halfway[0]}/teacher.json"), **change}
  json_files.write_json(str(tmp_path / "teacher.json"), header)
  with pytest.raises(FormatError, match=str(next(iter(change.values())))):
    Teacher.load(str(tmp_path), SPEC, SETTINGS)


@pytest.mark.parametrize("name", ["1/00.embedding_table/w", "checkpoint/1/00.embedding_table", "0/iterations"])
def test_a_file_without_an_array_is_refused_by_its_name(halfway, tmp_path, name):
  json_files.write_json(str(tmp_path / "teacher.json"), json_files.read_json(f"{halfway[0]}/teacher.json"))
  saved = arrays.read_arrays(f"{halfway[0]}/teacher.npz")
  del saved[name]
  arrays.write_arrays(str(tmp_path / "teacher.npz"), saved)
  with pytest.raises(FormatError, match=name):
    Teacher.load(str(tmp_path), SPEC, SETTINGS)


def test_a_missing_file_is_refused_by_its_path(tmp_path):
  with pytest.raises(FormatError, match="teacher.json"):
    Teacher.load(str(tmp_path), SPEC, SETTINGS)


def test_a_loss_that_is_not_finite_stops_the_pass():
  teacher = Teacher(SPEC, LINEAR)
  ids, labels, example_ids = draw(320)
  labels[300] = np.nan
  with pytest.raises(NumericsError, match="nan between steps 7 and 10"):
    teacher.advance(in_memory((ids, labels, example_ids)), 320)


def test_a_members_own_penalty_is_part_of_its_loss():
  norms = []
  for penalty in ("0.0", "0.1"):
    teacher = Teacher(SPEC, dataclasses.replace(LINEAR, members=(f"dnn({TINY},l2={penalty})",)))
    teacher.advance(in_memory(draw(160)), 160)
    norms.append(np.linalg.norm(teacher.reference_member.head.kernel))
  assert norms[1] < 0.95 * norms[0]


@pytest.mark.parametrize("broken", [{"members": ()}, {"learning_rate": 0.0}, {"batch_size": 0},
                                    {"num_checkpoints": 0}, {"momentum_steps": 0}])
def test_settings_are_checked(broken):
  with pytest.raises(ConfigError, match=next(iter(broken))):
    TeacherSettings(**broken)


TWO_DEVICES = """
import dataclasses, sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from diet_tf.distillation.teacher import Teacher
from tests.diet_tf.small_log import SPEC
from tests.diet_tf.distillation.test_teacher import SETTINGS, draw, in_memory
# Small batches, so that rows go on moving after they occurred, on either device alike.
settings = dataclasses.replace(SETTINGS, batch_size=4, momentum_steps=3)
strategies = {"one": None, "two": tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])}
found = {}
for name, strategy in strategies.items():
  teacher = Teacher(SPEC, settings, seed=5, strategy=strategy)
  # The last batch holds one example: a device gets none of it.
  loss = teacher.advance(in_memory(draw(161), 4), 161)
  teacher.save(f"{sys.argv[1]}/{name}")
  teacher = Teacher.load(f"{sys.argv[1]}/{name}", SPEC, settings, strategy=strategy)
  teacher.advance(in_memory(draw(64, seed=1), 4), 64)
  found[name] = [loss, *teacher.logits(draw(50, seed=2)[0]).numpy()]
  assert len(teacher.checkpoints) == 2
print(np.abs(np.subtract(found["one"], found["two"])).max(), np.std(found["one"]))
"""


@pytest.mark.slow
def test_two_devices_train_what_one_does(tmp_path):
  done = subprocess.run([sys.executable, "-W", "ignore", "-c", TWO_DEVICES, str(tmp_path)], capture_output=True,
                        text=True, cwd=pathlib.Path(__file__).parents[3],
                        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"})
  assert done.returncode == 0, done.stderr
  difference, spread = map(float, done.stdout.split())
  assert difference < 1e-4 < 0.1 < spread


class Normalised(RankingModel):
  """A family of a user's, with moving statistics, masks of Keras and masks of ours."""

  family = "normalised"

  def __init__(self, spec, **settings):
    super().__init__(spec, **settings)
    self.normalise = tf.keras.layers.BatchNormalization(momentum=0.5)
    self.drop = tf.keras.layers.Dropout(0.2)
    self.deep = self.tower()
    self.complete()

  def hidden(self, embeddings, linear, training=False):
    flat = tf.reshape(embeddings, [-1, embeddings.shape[1] * embeddings.shape[2]])
    return self.deep(self.drop(self.normalise(flat, training=training), training=training), training=training)


NORMALISED = dataclasses.replace(
    SETTINGS, members=(f"tests.diet_tf.distillation.test_teacher:Normalised({TINY},dropout=0.2)",))


def test_what_a_member_carries_beside_its_weights_is_saved_and_restored(tmp_path):
  """Otherwise a teacher that was loaded would judge by other statistics, and go on with other masks."""
  columns, (ids, _, _) = draw(320), draw(64, seed=3)
  found = []
  for is_reloaded in (False, True):
    teacher = Teacher(SPEC, NORMALISED, seed=5)
    teacher.advance(in_memory(columns), 320)
    if is_reloaded:
      teacher.save(str(tmp_path))
      teacher = Teacher.load(str(tmp_path), SPEC, NORMALISED)
    last = teacher.load_checkpoint(teacher.checkpoints[-1])
    np.testing.assert_array_equal(last({"ids": ids}), teacher.logits(ids))
    before = teacher.logits(ids).numpy()
    teacher.advance(in_memory(draw(320, seed=1)), 320)
    found.append((before, teacher.logits(ids).numpy()))
  np.testing.assert_array_equal(found[0], found[1])
  moving = teacher.members[0].normalise.moving_mean.numpy()
  assert np.abs(moving).max() > 1e-3


def test_a_teacher_that_was_saved_without_them_is_read(tmp_path):
  teacher = Teacher(SPEC, NORMALISED, seed=5)
  teacher.advance(in_memory(draw(64)), 64)
  teacher.save(str(tmp_path))
  path = str(tmp_path / "teacher.npz")
  kept = {key: value for key, value in arrays.read_arrays(path).items() if "state." not in key and "draws." not in key}
  arrays.write_arrays(path, kept)
  read = Teacher.load(str(tmp_path), SPEC, NORMALISED)
  np.testing.assert_array_equal(read.members[0].normalise.moving_mean, np.zeros(6))


def test_the_logit_of_a_slot_is_that_of_its_bags(halfway):
  """A slot of one id in each field is a row; one of two, in a linear model, lies between them by its weights."""
  _, teacher, _ = halfway
  ids = draw(2)[0]
  single = bags(ids[..., None], np.ones((2, ids.shape[1], 1)))
  np.testing.assert_allclose(teacher.slot_logits(single), teacher.logits(ids), rtol=1e-5)
  linear = Teacher(SPEC, LINEAR, seed=5)
  linear.advance(in_memory(draw(64)), 64)
  both = bags(np.stack([ids[0], ids[1]], axis=-1)[None], np.full((1, ids.shape[1], 2), [0.25, 0.75]))
  np.testing.assert_allclose(linear.slot_logits(both), linear.logits(ids).numpy() @ [[0.25], [0.75]], rtol=1e-5)
