import dataclasses

import pytest

from diet_tf.distillation.early_checks import (
  PROCESS_BYTES,
  check_members,
  check_stage,
  check_teacher,
  loaded_teacher_need,
  teacher_need,
)
from diet_tf.distillation.gate import GateSettings
from diet_tf.distillation.refinement import DistillSettings
from diet_tf.distillation.settings import StageSettings
from diet_tf.distillation.teacher import TeacherSettings
from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.training.memory_needs import require_memory

SPEC = FeatureSpec((Field("user", "user", hash_ids=90), Field("item", "item", vocabulary_ids=10)), Label("click"))
SMALL = StageSettings(teacher=TeacherSettings(members=("lr",)), distill=DistillSettings(proxies=("lr",)),
                      gate=GateSettings(members=("lr",)))
GB = 10**9


def of_size(size):
  return FeatureSpec((Field("user", "user", hash_ids=size), *SPEC.fields[1:]), SPEC.label)


def test_a_stage_of_small_tables_is_accepted():
  assert check_stage(SPEC, StageSettings(), limit_bytes=GB) == []


def test_what_the_teacher_holds():
  # lr has 100 linear weights and a bias. Twice: 3 copies of them and a model; as arrays 3 checkpoints, and lr itself.
  need = teacher_need(SPEC, TeacherSettings(members=("lr",), num_checkpoints=3))
  assert need.device_bytes == 4 * 2 * (3 * 101 + 101)
  assert need.host_bytes == PROCESS_BYTES + 4 * 2 * (3 * 101 + 101)


def test_a_hundred_million_ids_are_refused_before_a_table_is_made():
  spec = of_size(10**8)
  assert check_stage(spec, StageSettings(), limit_bytes=GB) == []
  with pytest.raises(ConfigError, match=r"field 'user'.*teacher \(dnn, deepfm\).*100,000,010 ids.*machine has 16.0 GB"):
    require_memory(teacher_need(spec, TeacherSettings()), spec, 16 * GB)
  # A container says how there can be more of it.
  with pytest.raises(ConfigError, match="memory of the container.*or raise --memory"):
    require_memory(loaded_teacher_need(spec, TeacherSettings()), spec, 16 * GB, limited_by="the container",
                   remedy="raise --memory")


def test_a_teacher_that_is_read_takes_half_of_one_that_learns():
  learning, reading = (need(of_size(10**6), TeacherSettings()) for need in (teacher_need, loaded_teacher_need))
  assert 2 * reading.device_bytes == learning.device_bytes and reading.host_bytes < learning.host_bytes


@pytest.mark.parametrize(("key", "settings"), [
    ("teacher.members", {"teacher": TeacherSettings(members=("dnn", "dmn"))}),
    ("distill.proxies", {"distill": DistillSettings(proxies=("dnn", "dmn"))}),
    ("gate.members", {"gate": GateSettings(members=("dnn", "dmn"))})])
def test_an_unknown_member_is_told_with_its_key(key, settings):
  with pytest.raises(ConfigError, match=f"{key}: panel member 'dmn'"):
    check_stage(SPEC, dataclasses.replace(SMALL, **settings))


def test_a_user_model_elsewhere_is_named_and_left_to_that_machine():
  settings = dataclasses.replace(SMALL, distill=DistillSettings(proxies=("no_such_module:Model", "fm")))
  assert check_stage(SPEC, settings, elsewhere=True) == ["no_such_module:Model"]
  with pytest.raises(ConfigError, match="distill.proxies.*no_such_module"):
    check_stage(SPEC, settings)


USER_MODELS = """
import tensorflow as tf
class Flat(tf.keras.Model):
  def __init__(self, spec):
    super().__init__()
    self.table = tf.keras.layers.Embedding(sum(spec.num_ids), 1)
  def call(self, features, training=False):
    return tf.reduce_sum(self.table(features["ids"]), axis=[1, 2])
class Drawn(tf.keras.Model):
  def __init__(self, spec):
    super().__init__()
    self.table = tf.keras.layers.Embedding(max(spec.num_ids), 1)
  def call(self, features, training=False):
    logits = tf.add_n([self.table(features[name])[..., 0] for name in ("user", "item")])
    return logits + tf.random.normal([1]) if training else logits
"""


def test_influence_is_measured_on_a_family_of_ours(tmp_path, monkeypatch):
  (tmp_path / "teacher_models_of_test.py").write_text(USER_MODELS)
  monkeypatch.syspath_prepend(str(tmp_path))
  own = "teacher_models_of_test:Flat"
  check_teacher(SPEC, TeacherSettings(members=("lr", own)))
  for members in ((own,), ("lr", "diet_tf.models:TfrsRanking")):
    with pytest.raises(ConfigError, match="teacher.members.*subclasses of diet_tf.models.RankingModel"):
      check_teacher(SPEC, TeacherSettings(members=members))


@pytest.mark.parametrize("key", ["distill.proxies", "gate.members"])
def test_what_no_later_call_could_repeat_is_told_with_its_key(tmp_path, monkeypatch, key):
  (tmp_path / "drawn_models_of_test.py").write_text(USER_MODELS)
  monkeypatch.syspath_prepend(str(tmp_path))
  section, name = key.split(".")
  own = dataclasses.replace(getattr(SMALL, section), **{name: ("drawn_models_of_test:Drawn",)})
  with pytest.raises(ConfigError, match=f"{key}: .*Drawn"):
    check_stage(SPEC, dataclasses.replace(SMALL, **{section: own}))


def test_an_id_twice_a_member_once():
  with pytest.raises(ConfigError, match="gate.members.*none twice"):
    GateSettings(members=("fm", "fm"))
  # An ensemble of one family, and a proxy whose turn comes more often.
  check_members("teacher.members", ("lr", "lr"), SPEC)
