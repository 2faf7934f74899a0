import numpy as np
import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.models import BagEmbedding
from diet_tf.training.slot_features import PackedColumns


def two_fields(**settings) -> BagEmbedding:
  """Fields a (3 ids) and b (2 ids); the row of id i of a is i, of b it is 3 + i."""
  spec = FeatureSpec((Field("a", "a", hash_ids=3), Field("b", "b", hash_ids=2)), Label("click"))
  layer = BagEmbedding(spec, 2, **settings)
  layer.build()
  layer.embedding_table.assign([[0, 0], [1, 2], [3, -1], [10, 20], [30, 40]])
  if layer.linear_table is not None:
    layer.linear_table.assign([[0], [0.5], [0.25], [2], [4]])
  return layer


def test_a_single_id_reads_the_row_of_its_field():
  embeddings, linear = two_fields()({"a": np.array([1, 2]), "b": np.array([1, 0])})
  np.testing.assert_array_equal(embeddings, [[[1, 2], [30, 40]], [[3, -1], [10, 20]]])
  np.testing.assert_array_equal(linear, [4.5, 2.25])


def test_a_bag_is_the_weighted_sum_of_its_rows():
  features = {"a": np.array([[1, 2]]), "a/weights": np.array([[0.25, 0.75]], np.float32),
              "b": np.array([[1, 0]]), "b/weights": np.array([[1.0, 0.5]], np.float32)}
  embeddings, linear = two_fields()(features)
  np.testing.assert_array_equal(embeddings, [[[2.5, -0.25], [35, 50]]])
  np.testing.assert_array_equal(linear, [0.125 + 0.1875 + 4 + 1])


def test_bags_of_unequal_width_and_single_ids_mix():
  features = {"a": np.array([[1, 2, 0], [2, 0, 0]]),
              "a/weights": np.array([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]], np.float32), "b": np.array([1, 0])}
  embeddings, linear = two_fields()(features)
  np.testing.assert_array_equal(embeddings, [[[2.5, -0.25], [30, 40]], [[3, -1], [10, 20]]])
  np.testing.assert_array_equal(linear, [4.3125, 2.25])


def test_an_empty_bag_is_zero():
  embeddings, linear = two_fields()({"ids": np.array([[[1, 2], [0, 1]]]), "weights": np.zeros((1, 2, 2), np.float32)})
  assert not np.any(embeddings) and not np.any(linear)


def test_equals_embedding_lookup_sparse():
  layer, rng = two_fields(), np.random.default_rng(0)
  ids, weights = rng.integers(0, 3, (6, 4)), rng.random((6, 4)).astype(np.float32)
  embeddings, _ = layer({"a": ids, "a/weights": weights, "b": np.zeros(6, np.int64)})
  sparse_ids = tf.sparse.from_dense(ids + 1)
  sparse_ids = sparse_ids.with_values(sparse_ids.values - 1)
  expected = tf.nn.embedding_lookup_sparse(layer.embedding_table, sparse_ids, sparse_ids.with_values(weights.ravel()),
                                           combiner="sum")
  np.testing.assert_allclose(embeddings[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("as_column", [False, True])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_all_forms_of_single_ids_agree_exactly(as_column, dtype):
  layer = two_fields()
  ids = np.array([[1, 1], [2, 0], [0, 1]], dtype)
  columns = {"a": ids[:, 0], "b": ids[:, 1]}
  if as_column:
    columns = {name: column[:, None] for name, column in columns.items()}
  forms = [columns, {"ids": ids}, {"ids": ids[..., None], "weights": np.ones((3, 2, 1), np.float32)},
           {"ids": ids, "weights": np.ones((3, 2), np.float32)}]
  expected = layer(forms[0])
  for form in forms[1:]:
    for part, expected_part in zip(layer(form), expected, strict=True):
      np.testing.assert_array_equal(part, expected_part)


def test_gradients_of_both_tables_are_sparse_and_name_only_rows_of_the_batch():
  layer = two_fields()
  with tf.GradientTape() as tape:
    embeddings, linear = layer({"ids": np.array([[1, 0], [1, 1]])})
    loss = tf.reduce_sum(embeddings) + tf.reduce_sum(linear)
  for gradient in tape.gradient(loss, [layer.embedding_table, layer.linear_table]):
    assert isinstance(gradient, tf.IndexedSlices)
    assert sorted(gradient.indices.numpy()) == [1, 1, 3, 4]


def test_gradient_by_weights_is_the_embedding():
  layer, weights = two_fields(), tf.constant([[[0.25, 0.75], [1.0, 0.0]]])
  with tf.GradientTape() as tape:
    tape.watch(weights)
    embeddings, linear = layer({"ids": np.array([[[1, 2], [0, 1]]]), "weights": weights})
    loss = tf.reduce_sum(embeddings) + tf.reduce_sum(linear)
  # The sum of a row's two embedding entries and its linear weight; an id of weight 0 has a gradient too.
  np.testing.assert_array_equal(tape.gradient(loss, weights), [[[3.5, 2.25], [32, 74]]])


def test_initial_embeddings_are_normal_and_linear_weights_zero():
  layer = BagEmbedding(FeatureSpec((Field("a", "a", hash_ids=4000),), Label("click")), 8, embedding_stddev=0.02, seed=3)
  layer.build()
  table = layer.embedding_table.numpy()
  assert abs(table.std() - 0.02) < 4e-4 and abs(table.mean()) < 4e-4
  assert not np.any(layer.linear_table)


def test_without_tables_their_outputs_are_empty_or_zero():
  layer = two_fields(linear=False)
  assert layer.linear_table is None
  np.testing.assert_array_equal(layer({"ids": np.array([[1, 0]])})[1], [0.0])
  layer = BagEmbedding(layer.spec, 0)
  embeddings, _ = layer({"ids": np.array([[1, 0]])})
  assert embeddings.shape == (1, 2, 0) and layer.embedding_table is None


def test_config_round_trip():
  layer = BagEmbedding.from_config(two_fields(seed=5, embedding_stddev=0.1).get_config())
  assert layer.get_config() == two_fields(seed=5, embedding_stddev=0.1).get_config()


@pytest.mark.parametrize("value", [-1, 3])
def test_an_id_outside_its_field_is_refused(value):
  with pytest.raises(tf.errors.InvalidArgumentError, match="num_ids"):
    two_fields()({"a": np.array([value]), "b": np.array([0])})


@pytest.mark.parametrize(("features", "named"), [
    ({"a": np.array([1])}, "features['b']"),
    ({"a": np.array([1.5]), "b": np.array([1])}, "integers"),
    ({"a": np.array([[1, 2]]), "b": np.array([1])}, "a/weights"),
    ({"a": np.array([[1, 2]]), "a/weights": np.ones((1, 3)), "b": np.array([1])}, "one shape"),
    ({"a": np.array([[[1]]]), "b": np.array([1])}, "[batch, K]"),
    ({"ids": np.array([[1, 2, 3]])}, "2 fields"),
    ({"ids": np.array([[[1, 2], [1, 0]]])}, "weights"),
    ({"ids": np.array([[1, 2]]), "weights": np.ones((1, 3))}, "one shape"),
])
def test_features_of_another_form_are_refused_by_name(features, named):
  with pytest.raises(ConfigError) as caught:
    two_fields()(features)
  assert named in str(caught.value)


def test_a_field_of_a_reserved_name_is_refused():
  with pytest.raises(ConfigError, match="packed"):
    BagEmbedding(FeatureSpec((Field("ids", "ids", hash_ids=3),), Label("click")))


def test_packed_columns_equal_packed_bags():
  spec = FeatureSpec(tuple(Field(f"f{index}", f"f{index}", hash_ids=5 + index) for index in range(4)), Label("click"))
  layer = BagEmbedding(spec, 3, seed=1)
  rng = np.random.default_rng(0)
  num_fields, width, max_ids = 4, 3, [1, 2, 3, 1]
  ids = np.stack([rng.integers(count, size=(4, width)) for count in spec.num_ids], axis=1)
  weights = rng.random((4, num_fields, width)) * (np.arange(width) < np.array(max_ids)[:, None])
  layer.build()
  layer.linear_table.assign(rng.normal(size=layer.linear_table.shape))
  make = PackedColumns(max_ids, width)
  columns = make(make.narrowed(tf.constant(ids)), make.narrowed(tf.constant(weights, tf.float32)), tf.constant(0))
  assert columns["ids"].shape == (4, sum(max_ids))
  bags = layer({"ids": ids, "weights": tf.constant(weights, tf.float32)})
  for ours, theirs in zip(layer(columns), bags, strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
