import textwrap

import numpy as np
import pytest
import tensorflow as tf

import diet_tf
from diet_tf.errors import ConfigError
from diet_tf.models import PANEL, TfrsRanking, build_model, parameter_group, parse_member
from diet_tf.models.optimizers import GroupedAdam

USER_MODULE = """
import tensorflow as tf
import tensorflow_recommenders as tfrs

class Plain(tf.keras.Model):
  '''One Keras Embedding per field, probabilities out; knows nothing of DIET-TF.'''

  def __init__(self, spec, width=4, seed=0):
    super().__init__()
    self.names = list(spec.names)
    initializer = tf.keras.initializers.RandomNormal(seed=seed)
    self.tables = [tf.keras.layers.Embedding(n, width, embeddings_initializer=initializer) for n in spec.num_ids]
    self.last = tf.keras.layers.Dense(1, activation="sigmoid", kernel_initializer="zeros")

  def call(self, features):
    parts = [table(tf.reshape(features[name], [-1])) for name, table in zip(self.names, self.tables)]
    return self.last(tf.concat(parts, axis=1))

class Ranker(tfrs.models.Model):
  '''A TFRS model with TFRS' MLP block and Ranking task over our embedding layer.'''

  def __init__(self, spec):
    super().__init__()
    from diet_tf.models import BagEmbedding
    self.embedding = BagEmbedding(spec, 4)
    self.mlp = tfrs.layers.blocks.MLP([8, 1])
    self.task = tfrs.tasks.Ranking(loss=tf.keras.losses.BinaryCrossentropy(from_logits=True))

  def call(self, features):
    embeddings, linear = self.embedding(features)
    return self.mlp(tf.reshape(embeddings, [-1, embeddings.shape[1] * embeddings.shape[2]])) + linear[:, None]

  def compute_loss(self, inputs, training=False):
    features, labels = inputs
    return self.task(labels=labels[:, None], predictions=self(features))

class NoSpec(tf.keras.Model):
  def __init__(self):
    super().__init__()

class NotAModel:
  def __init__(self, spec):
    self.spec = spec

class Broken(tf.keras.Model):
  def __init__(self, spec):
    super().__init__()
    raise RuntimeError("the user's own error")
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch):
  (tmp_path / "user_models_of_test.py").write_text(textwrap.dedent(USER_MODULE))
  monkeypatch.syspath_prepend(str(tmp_path))
  return "user_models_of_test"


def test_the_panel_is_the_ten_families():
  assert PANEL == ("lr", "fm", "deepfm", "wide_deep", "dnn", "nfm", "dcn_v2", "dlrm", "autoint", "pnn")


@pytest.mark.parametrize(("text", "model", "settings"), [
    ("dnn", "dnn", {}),
    ("dnn()", "dnn", {}),
    (" dnn(embedding_dim=4, hidden_units=64-32) ", "dnn", {"embedding_dim": 4, "hidden_units": (64, 32)}),
    ("dnn(hidden_units=64-)", "dnn", {"hidden_units": (64,)}),
    ("dnn(l2=1e-4,dropout=0.5)", "dnn", {"l2": 1e-4, "dropout": 0.5}),
    ("a.b:C(flag=true,word=some,shift=-3)", "a.b:C", {"flag": True, "word": "some", "shift": -3}),
])
def test_a_member_is_a_name_with_settings(text, model, settings):
  assert parse_member(text) == (model, settings)


@pytest.mark.parametrize("text", ["", "dnn(", "dnn(4)", "dnn(a=)", "dnn(a=1,a=2)", "dnn(a=1)x", "two words"])
def test_another_form_of_member_is_refused(text):
  with pytest.raises(ConfigError, match="panel member"):
    parse_member(text)


def test_settings_in_brackets_win(spec):
  model = build_model("dnn(embedding_dim=4,hidden_units=6-3)", spec, embedding_dim=16, seed=9)
  assert model.settings.embedding_dim == 4
  assert model.settings.hidden_units == (6, 3)
  assert model.settings.seed == 9


def test_the_package_exports_the_registry():
  assert diet_tf.build_model is build_model


def test_a_users_plain_keras_model_trains(spec, single, user_module):
  model = build_model(f"{user_module}:Plain(width=3)", spec, seed=1)
  model.compile(GroupedAdam(0.02), "binary_crossentropy")
  labels = (single["a"] > 1).astype(np.float32)
  losses = model.fit(single, labels, epochs=25, verbose=0).history["loss"]
  assert losses[-1] < 0.9 * losses[0]
  groups = [parameter_group(variable) for variable in model.trainable_variables]
  assert groups == ["embedding"] * 3 + ["dense"] * 2
  again = build_model(f"{user_module}:Plain(width=3)", spec, seed=1)
  np.testing.assert_array_equal(again(single), build_model(f"{user_module}:Plain(width=3)", spec, seed=1)(single))


def test_a_users_tfrs_model_trains(spec, single, user_module):
  model = build_model(f"{user_module}:Ranker", spec, seed=1)
  model.compile(GroupedAdam(0.02))
  data = tf.data.Dataset.from_tensors((single, (single["a"] > 1).astype(np.float32)))
  losses = model.fit(data, epochs=25, verbose=0).history["loss"]
  assert losses[-1] < 0.9 * losses[0]


def test_a_panel_model_trains_as_a_tfrs_model_with_sample_weights(spec, single):
  model = build_model("diet_tf.models:TfrsRanking(member=dlrm)", spec, seed=1, hidden_units=(4,))
  assert isinstance(model, TfrsRanking)
  labels, weights = (single["a"] > 1).astype(np.float32), np.linspace(0, 2, 8, dtype=np.float32)
  logits = model(single)
  expected = tf.reduce_mean(weights * tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits[:, 0]))
  assert float(model.compute_loss((single, labels, weights))) == pytest.approx(float(expected), rel=1e-5)
  model.compile(GroupedAdam(0.02))
  data = tf.data.Dataset.from_tensors((single, labels, weights))
  losses = model.fit(data, epochs=25, verbose=0).history["loss"]
  assert losses[-1] < 0.9 * losses[0]
  np.testing.assert_array_equal(logits[:, 0], build_model("dlrm", spec, seed=1, hidden_units=(4,))(single))


@pytest.mark.parametrize(("path", "rule"), [
    ("no_such_module_anywhere:Model", "can be imported"),
    (":Model", "absolute module name"),
    (".relative:Model", "absolute module name"),
    ("user_models_of_test:Missing", "has the class"),
    ("user_models_of_test:NotAModel", "subclass of tf.keras.Model"),
    ("user_models_of_test:NoSpec", "takes the feature spec"),
    ("user_models_of_test:Plain(depth=3)", "takes the feature spec"),
    ("dnn(depth=3)", "takes the feature spec"),
    ("transformer", "a member is one of lr, fm"),
])
def test_a_member_that_cannot_be_built_is_refused(spec, user_module, path, rule):
  with pytest.raises(ConfigError) as caught:
    build_model(path, spec)
  assert rule in caught.value.rule
  assert path.split("(")[0] in caught.value.subject


def test_a_users_own_error_is_not_hidden(spec, user_module):
  with pytest.raises(RuntimeError, match="the user's own error"):
    build_model(f"{user_module}:Broken", spec)


def test_one_number_is_one_hidden_layer(spec):
  assert build_model("dnn(hidden_units=5)", spec).settings.hidden_units == (5,)
