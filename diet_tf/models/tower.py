"""The dense part of the deep models: a tower of rectified layers with stateless dropout."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from diet_tf.models.initialisation import SeededGlorotUniform, derive_seed


class SeededDropout(tf.keras.layers.Layer):
  """Inverted dropout whose masks are a function of a seed and of the number of training calls before.

  Keras' own layer draws from a stateful operation, so two models of one seed would differ by what ran before them.

  Args:
    rate: the share of entries set to 0 in training.
    seed: any integer below 2^31.
  """

  def __init__(self, rate: float, seed: int, name: str = "dropout", dtype: Any = None) -> None:
    super().__init__(name=name, dtype=dtype)
    self.rate = rate
    self.seed = seed
    self.num_calls = self.add_weight("num_calls", (), dtype=tf.int64, initializer="zeros", trainable=False,
                                     aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

  def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    """The inputs, unchanged outside training."""
    if not training:
      return inputs
    key = tf.stack([tf.constant(self.seed, tf.int64), self.num_calls.read_value()])
    self.num_calls.assign_add(1)
    return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed=key)


class Tower(tf.keras.layers.Layer):
  """`x -> relu(x W + b)` once per entry of `hidden_units`, `[B, N] -> [B, hidden_units[-1]]`.

  `tfrs.layers.blocks.MLP` is the same stack, but takes neither a seed nor dropout, penalty or dtype.

  Args:
    hidden_units: widths of the layers; none leaves the inputs as they are.
    dropout: rate after each layer.
    l2: factor of the penalty on the kernels.
    seed: seed of the initial kernels, which are a function of it and of their shapes.
  """

  def __init__(self, hidden_units: tuple[int, ...], *, dropout: float = 0.0, l2: float = 0.0, seed: int = 0,
               name: str = "tower", dtype: Any = None) -> None:
    super().__init__(name=name, dtype=dtype)
    regularizer = tf.keras.regularizers.L2(l2) if l2 else None
    self.steps: list[tf.keras.layers.Layer] = []
    for index, units in enumerate(hidden_units):
      initializer = SeededGlorotUniform(derive_seed(seed, f"{name}/dense_{index}"))
      self.steps.append(tf.keras.layers.Dense(units, activation="relu", kernel_initializer=initializer,
                                              kernel_regularizer=regularizer, name=f"dense_{index}", dtype=dtype))
      if dropout:
        self.steps.append(SeededDropout(dropout, derive_seed(seed, f"{name}/dropout_{index}"),
                                        name=f"dropout_{index}", dtype=dtype))

  def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    """`[B, hidden_units[-1]]`, in the layer's dtype."""
    outputs = inputs
    for step in self.steps:
      outputs = step(outputs, training=training) if isinstance(step, SeededDropout) else step(outputs)
    return outputs


class Head(tf.keras.layers.Layer):
  """The last layer: `hidden [B, H] -> hidden @ kernel + bias`, `[B, 1]`, with a fixed weight of 1 for some columns.

  The fixed columns are the last ones. They carry what an architecture adds to the logit as it is (the linear terms,
  the factorisation machine's pair terms), so that all models have the form `logits = head(hidden)`, in which the
  gradient of a loss by the last layer is `(dloss / dlogit) * hidden`.

  Args:
    fixed_columns: how many of the last columns have weight 1; None for all.
    l2: factor of the penalty on the free part of the kernel.
    seed: seed of the initial kernel, which is a function of it and of the kernel's shape.
  """

  def __init__(self, fixed_columns: int | None = 0, *, l2: float = 0.0, seed: int = 0, name: str = "head",
               dtype: Any = None) -> None:
    super().__init__(name=name, dtype=dtype)
    self.fixed_columns = fixed_columns
    self.l2 = l2
    self.seed = seed
    self.free_kernel: tf.Variable | None = None

  def build(self, input_shape: Any) -> None:
    """Creates `free_kernel` `[H - fixed_columns, 1]`, if any column is free, and `bias` `[1]`."""
    width = int(input_shape[-1])
    self.fixed_columns = width if self.fixed_columns is None else self.fixed_columns
    if width > self.fixed_columns:
      regularizer = tf.keras.regularizers.L2(self.l2) if self.l2 else None
      self.free_kernel = self.add_weight("kernel", (width - self.fixed_columns, 1), regularizer=regularizer,
                                         initializer=SeededGlorotUniform(derive_seed(self.seed, self.name)))
    self.bias = self.add_weight("bias", (1,), initializer="zeros")
    self.built = True

  @property
  def num_free(self) -> int:
    """How many of the first columns have a trained weight; the others have no gradient by the head."""
    return 0 if self.free_kernel is None else int(self.free_kernel.shape[0])

  @property
  def kernel(self) -> tf.Tensor | tf.Variable:
    """`[H, 1]`, fixed weights included."""
    if self.free_kernel is None:
      return tf.ones([self.fixed_columns, 1], self.compute_dtype)
    if not self.fixed_columns:
      return self.free_kernel
    return tf.concat([self.free_kernel, tf.ones([self.fixed_columns, 1], self.compute_dtype)], axis=0)

  def call(self, hidden: tf.Tensor) -> tf.Tensor:
    """`[B, 1]` logits."""
    if self.free_kernel is None:
      return tf.reduce_sum(hidden, axis=-1, keepdims=True) + self.bias
    return tf.matmul(hidden, self.kernel) + self.bias
