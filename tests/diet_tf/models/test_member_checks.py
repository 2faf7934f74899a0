import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.models import PANEL, build_model
from diet_tf.models.member_checks import check_member, num_weights

SPEC = FeatureSpec((Field("user", "user", hash_ids=50), Field("item", "item", vocabulary_ids=8)), Label("click"))
MODULE = """
import tensorflow as tf

class Whole(tf.keras.Model):
  less = 0

  def __init__(self, spec, dim=4):
    super().__init__()
    self.tables = {name: tf.keras.layers.Embedding(size - self.less * (name == "item"), dim)
                   for name, size in zip(spec.names, spec.num_ids)}
    self.head = tf.keras.layers.Dense(1)

  def call(self, features, training=False):
    return self.head(tf.concat([table(features[name]) for name, table in self.tables.items()], axis=-1))

class Short(Whole):
  less = 1

class Wide(Whole):
  def call(self, features, training=False):
    return tf.repeat(super().call(features), 2, axis=1)

class Untrainable(Whole):
  def call(self, features, training=False):
    if training:
      raise ValueError("masks of another model")
    return super().call(features)

class Unmade(Whole):
  def __init__(self, spec):
    raise RuntimeError("no table of mine")
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
  (tmp_path / "checked_models_of_test.py").write_text(MODULE)
  monkeypatch.syspath_prepend(str(tmp_path))


def named(name):
  return f"checked_models_of_test:{name}"


@pytest.mark.parametrize("name", PANEL)
def test_weights_are_counted_as_they_are(name):
  assert num_weights(name, SPEC) == sum(int(tf.size(variable)) for variable in build_model(name, SPEC).weights)


def test_what_no_machine_holds_is_counted():
  spec = FeatureSpec((Field("user", "user", hash_ids=10**9), *SPEC.fields[1:]), SPEC.label)
  # A linear weight an id and a bias; 16 numbers more an id.
  assert num_weights("lr", spec) == 10**9 + 8 + 1
  assert num_weights("fm(embedding_dim=16)", spec) == 17 * (10**9 + 8) + 1
  # Two tables of 4 numbers an id, and a kernel and a bias behind them.
  assert num_weights(named("Whole"), spec) == 4 * (10**9 + 8) + 2 * 4 + 1


def test_a_model_that_cannot_be_made_in_a_graph_is_not_counted():
  assert num_weights(named("Unmade"), SPEC) is None


def test_members_are_built_once_and_called_on_every_id():
  check_member("dnn", SPEC)
  check_member(named("Whole(dim=2)"), SPEC)


@pytest.mark.parametrize(("name", "message"), [
    (named("Short"), r"takes every id of field 'item', 0 to 7.*with id 7, InvalidArgumentError.*spec.num_ids"),
    (named("Wide"), r"returns \[batch\] or \[batch, 1\].*output \(3, 2\) for 3 rows"),
    (named("Untrainable"), "training=True.*ValueError: masks of another model"),
    (named("Unmade"), "made with the declared fields.*RuntimeError: no table of mine"),
    (named("Nobody"), "the module has the class"), ("dnn(embedding_dim=0)", "embedding_dim.*at least 1"),
    ("dnn(without=usr)", "usr")])
def test_what_is_wrong_with_a_member_is_told_with_its_name(name, message):
  with pytest.raises(ConfigError, match=message):
    check_member(name, SPEC)
