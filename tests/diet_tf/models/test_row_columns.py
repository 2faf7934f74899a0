"""Encoded rows as a model reads them: against sums by hand, and the same for each form of input."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.models import BagEmbedding, build_model
from diet_tf.models.inputs import build_with_form, features_in_form
from diet_tf.models.row_columns import field_bags, row_columns
from tests.diet_tf.small_sets import LAYOUT, SPEC, as_bags, draw, row

ROWS = np.concatenate([row(5, [2, 4], {1: 0.25, 3: 0.75}, 2), row(6, [1, 7, 8], {0: 1.0}, 3)])


def test_columns_by_hand():
  columns = row_columns(tf.constant(ROWS), LAYOUT, tf.float32)
  # Padding reads the first id of its field, without weight.
  assert columns.ids.numpy().tolist() == [[5, 2, 4, 2, 1, 3, 2], [6, 1, 7, 8, 0, 0, 3]]
  np.testing.assert_allclose(columns.weights, [[1, 0.5, 0.5, 0, 0.25, 0.75, 1], [1, 1 / 3, 1 / 3, 1 / 3, 1, 0, 1]],
                             rtol=1e-6)
  assert columns.fields.numpy().tolist() == [0, 1, 1, 1, 2, 2, 3]
  ids, weights = field_bags(tf.constant(ROWS), LAYOUT, tf.float64)[2]
  assert ids.numpy().tolist() == [[1, 3], [0, 0]] and weights.numpy().tolist() == [[0.25, 0.75], [1, 0]]


def test_the_input_layer_means_over_a_rows_values():
  layer = BagEmbedding(SPEC, 1)
  layer.build()
  layer.embedding_table.assign(np.arange(34.0)[:, None])
  layer.linear_table.assign(10 * np.arange(34.0)[:, None])
  embeddings, linear = layer({"ids": tf.constant(ROWS)})
  # Fields begin at rows 0, 13, 22 and 29.
  expected = [[5, (15 + 17) / 2, 0.25 * 23 + 0.75 * 25, 31], [6, (14 + 20 + 21) / 3, 22, 32]]
  np.testing.assert_allclose(embeddings[..., 0], expected, rtol=1e-6)
  np.testing.assert_allclose(linear, 10 * np.sum(expected, axis=1), rtol=1e-6)
  with pytest.raises(ConfigError, match=r"\[batch, 9 places\].*genres, tags.*shape \(2, 4\)"):
    layer({"ids": tf.constant(ROWS[:, :4])})


@pytest.mark.parametrize("member", ["lr", "fm", "dnn", "dcn_v2", "dnn(without=genres)", "fm(without=tags+hour)"])
def test_rows_give_the_logits_of_their_bags(member):
  rows, *_ = draw(40)
  ids, weights = as_bags(rows)
  model = build_model(member, SPEC, seed=1, dtype="float64")
  random = np.random.default_rng(0)
  model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
  packed = model({"ids": tf.constant(ids), "weights": tf.constant(weights)})
  assert np.std(packed) > 0.1
  np.testing.assert_allclose(model({"ids": tf.constant(rows)}), packed, rtol=1e-6, atol=1e-7)
  by_name = features_in_form("weighted", SPEC, tf.constant(rows), None)
  assert by_name["genres"].shape == (40, 3) and by_name["user/weights"].shape == (40, 1)
  if "without" not in member:
    np.testing.assert_allclose(model(by_name), packed, rtol=1e-6, atol=1e-7)


def test_no_other_row_of_a_table_takes_part_in_a_step():
  model = build_model("fm", SPEC, seed=1)
  with tf.GradientTape() as tape:
    logits = model({"ids": tf.constant(ROWS[:1])})
  read = tape.gradient(logits, model.embedding.embedding_table).indices.numpy()
  assert sorted(set(read.tolist())) == [5, 15, 17, 23, 25, 31]


class Pooled(tf.keras.Model):
  """A user's own model of single ids, which a bag model averages."""

  from_logits = True

  def __init__(self, spec, seed=0):
    super().__init__()
    del seed
    self.tables = {field.name: tf.keras.layers.Embedding(field.num_ids, 2) for field in spec.fields}
    self.last = tf.keras.layers.Dense(1)

  def call(self, features, training=False):
    del training
    return self.last(tf.concat([table(features[name]) for name, table in self.tables.items()], axis=-1))


class Crossed(Pooled):
  """One that needs single ids, since it looks up a cross."""

  def call(self, features, training=False):
    return super().call({**features, "hour": (features["hour"] + features["genres"]) % 5})


def test_a_users_model_of_single_ids_reads_the_means_of_rows():
  built = build_with_form(f"{__name__}:Pooled", SPEC)
  assert built.form == "averaged"
  logits = built.model(features_in_form(built.form, SPEC, tf.constant(ROWS), None))
  inner = built.model.model
  tables = [inner.tables[name].embeddings.numpy() for name in SPEC.names]
  # A bag of three is written out as six ids, so that thirds and quarters of a weight are whole numbers of them, or not.
  means = np.concatenate([tables[0][6], tables[1][[1, 7, 8]].mean(0), tables[2][0], tables[3][3]])
  expected = means @ inner.last.kernel.numpy()[:, 0] + inner.last.bias.numpy()[0]
  np.testing.assert_allclose(logits[1, 0], expected, rtol=1e-5)


def test_a_model_that_needs_single_ids_is_refused_with_the_fields():
  with pytest.raises(ConfigError, match="genres, tags, which have several values a row"):
    build_with_form(f"{__name__}:Crossed", SPEC)
  with pytest.raises(ConfigError, match="several in genres, tags.*BagModel"):
    features_in_form("sampled", SPEC, tf.constant(ROWS), None)
  one_place = dataclasses.replace(SPEC, fields=(dataclasses.replace(SPEC.fields[1], max_values=1),))
  assert features_in_form("sampled", one_place, tf.constant([[4]]), None)["genres"].numpy().tolist() == [4]
