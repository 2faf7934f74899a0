"""Interactions between the fields' embeddings that more than one architecture uses."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from diet_tf.models.initialisation import SeededGlorotUniform


def bi_interaction(embeddings: tf.Tensor) -> tf.Tensor:
  """`[B, F, D] -> [B, D]`: `sum_{i<j} v_i * v_j`, elementwise.

  Computed as `((sum_i v_i)^2 - sum_i v_i^2) / 2` in time linear in F (Rendle, "Factorization machines", 2010; the
  pooling of He and Chua, "Neural factorization machines", 2017). Its sum over D is the factorisation machine's term.
  """
  return 0.5 * (tf.square(tf.reduce_sum(embeddings, axis=1)) - tf.reduce_sum(tf.square(embeddings), axis=1))


class SelfAttention(tf.keras.layers.Layer):
  """AutoInt's interacting layer: fields attend to each other, `[B, F, N] -> [B, F, num_heads * head_dim]`.

  Song et al., "AutoInt", 2019, equations 5 to 8: per head `softmax_j <W_Q e_i, W_K e_j>` weighs `W_V e_j`; heads are
  joined and `relu(joined + W_R e_i)` returned. The four projections are one kernel, hence one product.

  Args:
    num_heads: H.
    head_dim: width of a head.
    seed: seed of the initial kernel, which is a function of it and of the kernel's shape.
  """

  def __init__(self, num_heads: int, head_dim: int, *, seed: int, l2: float = 0.0, name: str = "self_attention",
               dtype: Any = None) -> None:
    super().__init__(name=name, dtype=dtype)
    self.num_heads = num_heads
    self.head_dim = head_dim
    self.seed = seed
    self.l2 = l2

  def build(self, input_shape: Any) -> None:
    """Creates `kernel` `[N, 4 * num_heads * head_dim]`: query, key, value, residual."""
    width = self.num_heads * self.head_dim
    self.kernel = self.add_weight("kernel", (int(input_shape[-1]), 4 * width),
                                  initializer=SeededGlorotUniform(self.seed, fan_out=width),
                                  regularizer=tf.keras.regularizers.L2(self.l2) if self.l2 else None)
    self.built = True

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    """`[B, F, num_heads * head_dim]`."""
    num_fields, width = inputs.shape[1], self.num_heads * self.head_dim
    # [B * F, N] x [N, 4 W] -> [B, F, 4, H, W / H] -> four tensors [B, H, F, W / H].
    projected = tf.matmul(tf.reshape(inputs, [-1, inputs.shape[2]]), self.kernel)
    projected = tf.reshape(projected, [-1, num_fields, 4, self.num_heads, self.head_dim])
    query, key, value, residual = tf.unstack(tf.transpose(projected, [2, 0, 3, 1, 4]), axis=0)
    attention = tf.nn.softmax(tf.matmul(query, key, transpose_b=True))  # [B, H, F, F]
    outputs = tf.nn.relu(tf.matmul(attention, value) + residual)
    return tf.reshape(tf.transpose(outputs, [0, 2, 1, 3]), [-1, num_fields, width])
