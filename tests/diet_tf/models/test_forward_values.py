"""Logits worked out by hand for one row: a = 1, b = 1, c = 1, embeddings of width 2.

v_a = (1, 2), v_b = (0.5, 1), v_c = (-1, 2); linear weights 0.1, 0.3, -0.3, so linear = 0.1; bias 0.05.
Inner products: <a, b> = 2.5, <a, c> = 3, <b, c> = 1.5, sum 7.
"""

import ast
import itertools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.models import PANEL, build_model
from diet_tf.models.interactions import SelfAttention, bi_interaction
from tests.diet_tf.models.conftest import make_spec

# Rows 0 to 2 belong to a, 3 and 4 to b, 5 and 6 to c.
EMBEDDINGS = [[0, 0], [1, 2], [3, -1], [0, 0], [0.5, 1], [0, 0], [-1, 2]]
LINEAR = [[0], [0.1], [0.2], [0], [0.3], [0], [-0.3]]
ROW = {"ids": np.array([[1, 1, 1]])}
# v = (1, 2, 0.5, 1, -1, 2) times ones is 5.5.
ONES_TOWER = [np.ones((6, 1)), [0.0]]


def logit(name: str, layers: dict[str, list], features: dict = ROW, **settings) -> float:
  model = build_model(name, make_spec(3, 2, 2), embedding_dim=2, **settings)
  if model.has_embeddings:
    model.embedding.embedding_table.assign(EMBEDDINGS)
  if model.has_linear:
    model.embedding.linear_table.assign(LINEAR)
  for layer, values in {"head": [[0.05]], **layers}.items():
    target = getattr(model, layer)
    (target[0] if isinstance(target, list) else target).set_weights([np.asarray(value) for value in values])
  return float(model(features)[0])


def test_lr():
  assert logit("lr", {}) == pytest.approx(0.15)


def test_fm():
  assert logit("fm", {}) == pytest.approx(7 + 0.1 + 0.05)


def test_fm_of_a_weighted_bag():
  # v_a = 0.25 (1, 2) + 0.75 (3, -1) = (2.5, -0.25): <a, b> = 1, <a, c> = -3, <b, c> = 1.5; linear of a is 0.175.
  features = {"ids": np.array([[[1, 2], [1, 0], [1, 0]]]),
              "weights": np.array([[[0.25, 0.75], [1, 0], [1, 0]]], np.float32)}
  assert logit("fm", {}, features) == pytest.approx(-0.5 + 0.175 + 0.05)


def test_dnn_and_what_is_added_to_it():
  layers = {"deep": ONES_TOWER, "head": [[[2.0]], [0.05]]}
  assert logit("dnn", layers, hidden_units=(1,)) == pytest.approx(11.05)
  assert logit("wide_deep", layers, hidden_units=(1,)) == pytest.approx(11.15)
  assert logit("deepfm", layers, hidden_units=(1,)) == pytest.approx(18.15)


def test_a_tower_rectifies():
  layers = {"deep": [-np.ones((6, 1)), [0.0]], "head": [[[2.0]], [0.05]]}
  assert logit("dnn", layers, hidden_units=(1,)) == pytest.approx(0.05)


def test_nfm():
  # a*b + a*c + b*c = (0.5, 2) + (-1, 4) + (-0.5, 2) = (-1, 8); the tower gives (3.5, 3).
  layers = {"deep": [[[1, -1], [0.5, 0.25]], [0.5, 0]], "head": [[[2], [-1]], [0.05]]}
  assert logit("nfm", layers, hidden_units=(2,)) == pytest.approx(7 - 3 + 0.1 + 0.05)


def test_dlrm():
  # Products in the order (b, a), (c, a), (c, b): (2.5, 3, 1.5); the tower gives (5.5, 0.5).
  layers = {"top": [[[1, 0], [0, -1], [2, 1]], [0, 2]], "head": [[[0.5], [-2]], [0.05]]}
  assert logit("dlrm", layers, hidden_units=(2,)) == pytest.approx(2.75 - 1 + 0.1 + 0.05)


def test_pnn():
  # Inputs (1, 2, 0.5, 1, -1, 2, 2.5, 3, 1.5) give 1 + 1 + 1 + 2.5 - 3 + 3 - 1 = 4.5.
  kernel = [[1], [0], [0], [1], [0], [0.5], [1], [-1], [2]]
  layers = {"deep": [kernel, [-1]], "head": [[[2]], [0.05]]}
  assert logit("pnn", layers, hidden_units=(1,)) == pytest.approx(9.05)


def test_dcn():
  # <u, x> = 3; V 3 + c = (3, 1, -3, 6, 1, 1.5); x * that + x = (4, 4, -1, 7, -2, 5).
  cross = [[[1], [0], [2], [0], [0], [0.5]], [[1, 0, -1, 2, 0, 0.5]], [0, 1, 0, 0, 1, 0]]
  head = [[[1], [0.5], [-1], [0], [2], [1], [-1]], [0.05]]
  layers = {"crosses": cross, "deep": ONES_TOWER, "head": head}
  settings = {"hidden_units": (1,), "num_cross_layers": 1, "projection_dim": 1}
  assert logit("dcn_v2", layers, **settings) == pytest.approx(4 + 2 + 1 - 4 + 5 - 5.5 + 0.05)


def test_autoint_with_uniform_attention():
  # Query 0 weighs all fields 1/3; values are the first entries, of mean 1/6; residuals the second, 2, 1 and 2.
  kernel = [[0, 1, 1, 0], [0, 1, 0, 1]]  # query, key, value, residual
  layers = {"attention": [kernel], "deep": ONES_TOWER, "head": [[[1], [1], [1], [2]], [0.05]]}
  settings = {"hidden_units": (1,), "num_attention_layers": 1, "num_heads": 1, "head_dim": 1}
  assert logit("autoint", layers, **settings) == pytest.approx(0.5 + 5 + 11 + 0.05)


def test_every_family_has_its_logit_here():
  calls = [node for node in ast.walk(ast.parse(pathlib.Path(__file__).read_text())) if isinstance(node, ast.Call)]
  named = {call.args[0].value for call in calls if getattr(call.func, "id", "") == "logit"}
  assert named == set(PANEL)


def test_self_attention_equals_its_definition():
  rng = np.random.default_rng(0)
  inputs, heads, width = rng.normal(size=(2, 3, 5)), 2, 4
  layer = SelfAttention(heads, width, seed=1, dtype="float64")
  outputs = layer(tf.constant(inputs)).numpy()
  query, key, value, residual = np.split(layer.kernel.numpy(), 4, axis=1)
  for row, field, head in itertools.product(range(2), range(3), range(heads)):
    part = slice(head * width, (head + 1) * width)
    scores = np.exp([inputs[row, field] @ query[:, part] @ (other @ key[:, part]) for other in inputs[row]])
    expected = (scores / scores.sum()) @ (inputs[row] @ value[:, part]) + inputs[row, field] @ residual[:, part]
    np.testing.assert_allclose(outputs[row, field, part], np.maximum(expected, 0), atol=1e-12)


def test_bi_interaction_equals_a_double_loop():
  embeddings = np.random.default_rng(0).normal(size=(4, 6, 3))
  expected = sum(embeddings[:, i] * embeddings[:, j] for i in range(6) for j in range(i))
  np.testing.assert_allclose(bi_interaction(tf.constant(embeddings)), expected, atol=1e-12)


def test_fm_equals_a_double_loop():
  spec, rng = make_spec(6, 6, 6, 6), np.random.default_rng(0)
  model = build_model("fm", spec, embedding_dim=3, dtype="float64")
  model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
  ids = rng.integers(0, 6, (5, 4))
  embeddings, linear = model.embed({"ids": ids})
  vectors = embeddings.numpy()
  pairs = sum((vectors[:, i] * vectors[:, j]).sum(-1) for i in range(4) for j in range(i))
  np.testing.assert_allclose(model({"ids": ids}), model.head.bias.numpy() + linear.numpy() + pairs, atol=1e-12)
