"""A teacher that is carried into a larger feature spec answers what it answered, and learns on."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.distillation.teacher import Teacher, TeacherSettings
from diet_tf.errors import ConfigError, FormatError
from diet_tf.io import arrays, json_files
from diet_tf.log.features import Field
from diet_tf.migration import teacher as teacher_migration
from diet_tf.migration.memory import plan_migration
from diet_tf.migration.teacher import GROWING_FAMILIES, migrate_teacher
from diet_tf.models import PANEL
from tests.diet_tf.small_log import SPEC, TINY, draw
from tests.diet_tf.small_slots import small_slots

NUM_ROWS = 320
HOUR = Field("new", "new", hash_ids=4)
# `user` grows threefold, `item` twofold; `hour`, between them and the new field, stays as it is.
LARGER = dataclasses.replace(SPEC, fields=(
    dataclasses.replace(SPEC.fields[0], hash_ids=37), dataclasses.replace(SPEC.fields[1], hash_ids=17), SPEC.fields[2]))
GROWN = dataclasses.replace(LARGER, fields=(*LARGER.fields, HOUR))


def variant(family):
  settings = {"lr": "", "fm": "(embedding_dim=2)"}
  return family + settings.get(family, f"({TINY})")


def settings_of(*members, **changes):
  return TeacherSettings(members=members, learning_rate=0.05, batch_size=32, **changes)


def trained(folder, settings):
  teacher = Teacher(SPEC, settings, seed=5)
  teacher.advance(tf.data.Dataset.from_tensor_slices(draw(NUM_ROWS)).batch(32), NUM_ROWS)
  teacher.save(str(folder))
  return teacher


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """`(folder, teacher)` of two members, one of which does not read the field `item`."""
  folder = tmp_path_factory.mktemp("saved")
  return str(folder), trained(folder, settings_of(f"deepfm({TINY})", f"dnn({TINY},without=item)"))


@pytest.fixture(scope="module")
def carried(saved, tmp_path_factory):
  """`(folder, teacher)` of the same in the grown spec, with other settings."""
  folder, teacher = saved
  target = str(tmp_path_factory.mktemp("carried"))
  settings = dataclasses.replace(teacher.settings, learning_rate=0.01, num_checkpoints=1)
  migrate_teacher(folder, target, plan_migration(SPEC, GROWN), settings, small_slots(draw(50)[0]))
  return target, Teacher.load(target, GROWN, settings)


@pytest.mark.parametrize("copy", [0, 1, 2, 5])
def test_all_ids_that_an_id_becomes_give_its_logit(saved, carried, copy):
  teacher, grown = saved[1], carried[1]
  ids = draw(60, seed=3)[0]
  rows = plan_migration(SPEC, GROWN).ids(ids, np.full(len(ids), copy))
  logits = teacher.logits(ids).numpy()
  assert logits.std() > 0.1
  np.testing.assert_allclose(grown.logits(rows), logits, rtol=1e-4, atol=1e-5)
  for number, checkpoint in enumerate(teacher.checkpoints):
    np.testing.assert_allclose(grown.load_checkpoint(grown.checkpoints[number])({"ids": rows}),
                               teacher.load_checkpoint(checkpoint)({"ids": ids}), rtol=1e-4, atol=1e-5)


def test_rows_move_with_their_moments(saved, carried):
  teacher, grown = saved[1], carried[1]
  before, after = (one.members[0].embedding.embedding_table for one in (teacher, grown))
  moments = [[moment.numpy() for moment in one._optimizers[0].moments(table)]
             for one, table in ((teacher, before), (grown, after))]
  before, after = before.numpy(), after.numpy()
  # User 3 of 13 ids becomes 3, 15 and 27 of 37; item 2 of 9 becomes 2 and 10 of 17; hour 4 moves as it is.
  for old, places in ((3, (3, 15, 27)), (13 + 2, (37 + 2, 37 + 10)), (13 + 9 + 4, (37 + 17 + 4,))):
    assert np.abs(moments[0][1][old]).max() > 0
    for new in places:
      np.testing.assert_array_equal(after[new], before[old])
      for one, other in zip(*moments):
        np.testing.assert_array_equal(other[new], one[old])
  # The new field's missing id adds nothing; its other rows begin as those of a new teacher.
  new_field = after[37 + 17 + 5:]
  assert len(new_field) == 4 and not new_field[0].any() and (np.abs(new_field[1:]).max(axis=1) > 0).all()
  fresh = Teacher(GROWN, grown.settings, seed=5).members[0].embedding.embedding_table.numpy()
  np.testing.assert_array_equal(new_field[1:], fresh[37 + 17 + 5 + 1:])


def test_dense_kernels_end_in_zeros_for_the_new_field(saved, carried):
  before, after = (one.members[0].deep.steps[0].kernel.numpy() for one in (saved[1], carried[1]))
  assert before.shape == (6, 4) and after.shape == (8, 4)
  np.testing.assert_array_equal(after[:6], before)
  assert not after[6:].any()


def test_it_is_saved_as_it_is_and_learns_on(carried, tmp_path):
  folder, grown = carried
  grown.save(str(tmp_path))
  ours, theirs = (arrays.read_arrays(f"{one}/teacher.npz") for one in (folder, tmp_path))
  assert set(ours) == set(theirs)
  for name, value in ours.items():
    np.testing.assert_array_equal(theirs[name], value, err_msg=name)
  assert json_files.read_json(f"{folder}/teacher.json") == json_files.read_json(f"{tmp_path}/teacher.json")
  teacher = Teacher.load(folder, GROWN, grown.settings)
  assert (teacher.seed, teacher.num_examples_seen) == (5, NUM_ROWS)
  ids, _, example_ids = draw(NUM_ROWS, seed=4)
  # The new field alone decides the click.
  news = np.random.default_rng(0).integers(1, 4, NUM_ROWS).astype(np.int32)
  rows = np.concatenate([plan_migration(SPEC, LARGER).ids(ids, np.arange(NUM_ROWS)), news[:, None]], axis=1)
  labels = (news == 1).astype(np.float32)
  for _ in range(6):
    teacher.advance(tf.data.Dataset.from_tensor_slices((rows, labels, example_ids)).batch(32), NUM_ROWS)
  logits = teacher.logits(rows).numpy()
  assert logits[news == 1].mean() > logits[news != 1].mean() + 1


def test_other_settings_alone_change_the_header_alone(saved, tmp_path):
  folder, teacher = saved
  settings = dataclasses.replace(teacher.settings, batch_size=64, momentum_steps=7)
  migrate_teacher(folder, str(tmp_path), plan_migration(SPEC, SPEC), settings, small_slots(draw(5)[0]))
  with open(f"{folder}/teacher.npz", "rb") as one, open(tmp_path / "teacher.npz", "rb") as other:
    assert one.read() == other.read()
  assert Teacher.load(str(tmp_path), SPEC, settings).settings == settings
  with pytest.raises(FormatError, match="teacher settings"):
    Teacher.load(str(tmp_path), SPEC, teacher.settings)


@pytest.mark.parametrize("family", PANEL)
def test_which_members_can_take_a_new_field(family):
  migration = plan_migration(SPEC, GROWN)
  if family in GROWING_FAMILIES:
    teacher_migration._require_growable(variant(family), migration)
  else:
    with pytest.raises(ConfigError, match=f"teacher member '{family}.*logits that change.*dnn, wide_deep"):
      teacher_migration._require_growable(variant(family), migration)


@pytest.mark.parametrize("family", ["dcn_v2", "autoint"])
def test_where_no_field_is_added_every_member_can_go_on(family, tmp_path):
  settings = settings_of(variant(family))
  teacher = trained(tmp_path / "old", settings)
  migration = plan_migration(SPEC, LARGER)
  ids = draw(30, seed=3)[0]
  migrate_teacher(str(tmp_path / "old"), str(tmp_path / "new"), migration, settings, small_slots(ids))
  grown = Teacher.load(str(tmp_path / "new"), LARGER, settings)
  np.testing.assert_allclose(grown.logits(migration.ids(ids, np.arange(30))), teacher.logits(ids), rtol=1e-4, atol=1e-5)
  with pytest.raises(ConfigError, match=f"teacher member '{family}"):
    migrate_teacher(str(tmp_path / "old"), str(tmp_path / "none"), plan_migration(SPEC, GROWN), settings,
                    small_slots(ids))
  assert not (tmp_path / "none").exists()


def test_moving_statistics_and_masks_go_with_the_weights(tmp_path):
  settings = settings_of(f"tests.diet_tf.distillation.test_teacher:Normalised({TINY},dropout=0.2)")
  teacher = trained(tmp_path / "old", settings)
  migration = plan_migration(SPEC, LARGER)
  ids = draw(30, seed=3)[0]
  migrate_teacher(str(tmp_path / "old"), str(tmp_path / "new"), migration, settings, small_slots(ids))
  grown = Teacher.load(str(tmp_path / "new"), LARGER, settings)
  assert np.abs(teacher.members[0].normalise.moving_mean).max() > 1e-3
  before, after = (dict(one._state(0)) for one in (teacher, grown))
  assert len(before) == 4  # Mean, variance, our counter and Keras' generator.
  for key, variable in before.items():
    np.testing.assert_array_equal(after[key], variable)
  np.testing.assert_allclose(grown.load_checkpoint(grown.checkpoints[0])({"ids": migration.ids(ids, np.arange(30))}),
                             teacher.load_checkpoint(teacher.checkpoints[0])({"ids": ids}), rtol=1e-4, atol=1e-5)


def test_logits_that_change_are_refused(saved, tmp_path, monkeypatch):
  """As if a member's tables held its rows in another order."""
  moved_rows = teacher_migration._moved_rows

  def shifted(migration, rows):
    moved = moved_rows(migration, rows)
    return dataclasses.replace(moved, sources=np.roll(moved.sources, 1))

  monkeypatch.setattr(teacher_migration, "_require_growable", lambda *_: None)
  monkeypatch.setattr(teacher_migration, "_moved_rows", shifted)
  with pytest.raises(ConfigError, match=r"teacher member 'deepfm.*on 40 slots"):
    migrate_teacher(saved[0], str(tmp_path), plan_migration(SPEC, GROWN), saved[1].settings, small_slots(draw(40)[0]))


def test_a_damaged_teacher_is_named(saved, tmp_path):
  folder, teacher = saved
  header, content = json_files.read_json(f"{folder}/teacher.json"), arrays.read_arrays(f"{folder}/teacher.npz")
  del content["1/iterations"]
  json_files.write_json(str(tmp_path / "teacher.json"), header)
  arrays.write_arrays(str(tmp_path / "teacher.npz"), content)
  with pytest.raises(FormatError, match="1/iterations"):
    migrate_teacher(str(tmp_path), str(tmp_path / "new"), plan_migration(SPEC, GROWN), teacher.settings,
                    small_slots(draw(5)[0]))
