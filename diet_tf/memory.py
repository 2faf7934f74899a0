"""The memory: slots with their recipe and manifest, saved and loaded, and as input of Keras training."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from diet_tf import files, records
from diet_tf.autograph import leave_keras_unconverted
from diet_tf.bag_model import ids_at
from diet_tf.errors import ConfigError, DietError, FormatError, StoreError
from diet_tf.features import FeatureSpec
from diet_tf.manifest import MANIFEST_NAME, Manifest, Recipe, ShardInfo, read_manifest, write_manifest
from diet_tf.slots import Slots
from diet_tf.store import memory_folder

__all__ = ["Manifest", "Memory", "Mode", "PointwiseCrossEntropy", "Recipe", "ShardInfo", "SoftLabelAUC", "load_memory",
           "read_manifest", "save_memory"]

Mode = Literal["weighted", "sampled"]

_SLOTS_PER_SHARD = 65536


@dataclasses.dataclass(frozen=True)
class Memory:
  """A distilled data set.

  Attributes:
    slots: the records, in the order of training.
    spec: the feature spec of the log that it stands for.
    recipe: how to train on it.
    manifest: what is known of it; its `shards` are empty until the memory is saved.
  """

  slots: Slots
  spec: FeatureSpec
  recipe: Recipe
  manifest: Manifest

  def __post_init__(self) -> None:
    object.__setattr__(self, "slots", records.packed_left(self.slots))

  @classmethod
  def create(cls, slots: Slots, spec: FeatureSpec, recipe: Recipe, *, span: int, num_examples_seen: int,
             budget: Mapping[str, Any], lineage: Sequence[Mapping[str, Any]] = (), settings_digest: str = "",
             versions: Mapping[str, str] | None = None, ids_per_slot: int | None = None,
             users_per_id: Sequence[Mapping[str, Any]] = ()) -> Memory:
    """A memory that is not saved yet, with the manifest that follows from its parts (see `Manifest`).

    `ids_per_slot` is the K of fields without one of their own, so that they are no wider than they need be; None takes
    the width of the slots' arrays.
    """
    widest = np.max((slots.weights > 0).sum(axis=2), axis=0, initial=1)  # [F]
    max_ids = np.maximum(widest, spec.ids_per_slot(ids_per_slot or slots.max_ids))
    manifest = Manifest(
        feature_spec=spec.to_dict(), feature_spec_digest=spec.digest(), span=int(span), num_slots=len(slots),
        num_examples_seen=int(num_examples_seen), max_ids=dict(zip(spec.names, max_ids.tolist(), strict=True)),
        budget=dict(budget), recipe=recipe, lineage=tuple(lineage), settings_digest=settings_digest,
        versions=_versions() if versions is None else dict(versions), users_per_id=tuple(users_per_id))
    return cls(slots, spec, recipe, manifest)

  def __len__(self) -> int:
    return len(self.slots)

  @property
  def digest(self) -> str:
    """Names the saved content: shard digests and manifest.

    Raises:
      StoreError: the memory was not saved, so that there are no shards to take the digest of.
    """
    if not self.manifest.shards:
      raise StoreError("memory", rule="only a saved memory has a digest.", received="a memory without shards.",
                       remedy="save it with save_memory and take what that returns.")
    return self.manifest.digest

  @property
  def max_ids(self) -> tuple[int, ...]:
    """Per field, the most ids of a slot: the width of the arrays of mode "weighted"."""
    return tuple(self.manifest.max_ids[name] for name in self.spec.names)

  def ids_per_field(self) -> list[np.ndarray]:
    """Per field, the sorted ids that occur with a positive weight."""
    return [np.unique(self.slots.ids[:, f][self.slots.weights[:, f] > 0]) for f in range(self.slots.num_fields)]

  def dataset(self, batch_size: int | None = None, mode: Mode = "weighted", seed: int = 0, packed: bool = False,
              repeat_epochs: int | None = None) -> tf.data.Dataset:
    """The slots as a dataset of `(features, label [B] float32, sample_weight [B] float32)`, in their stored order.

    Features by mode:

    - "weighted": `{field: [B, K] int64, field + "/weights": [B, K] float32}`, padded with id 0 and weight 0; packed,
      `{"ids": [B, num_fields, K] int32, "weights": [B, num_fields, K] float32}`.
    - "sampled": `{field: [B] int64}`; packed, `{"ids": [B, num_fields] int32}`. Each field's id is drawn from its
      weights. The draws of an epoch are a function of `(seed, epoch)` alone: the same for any batch size.

    Args:
      batch_size: slots per element; None takes the recipe's.
      mode: "weighted" or "sampled".
      seed: of the draws of mode "sampled".
      packed: whether all fields come in one array.
      repeat_epochs: that many epochs in one pass of the dataset (then give `model.fit` its `steps_per_epoch`). None is
        one epoch a pass; the n-th pass over one dataset object is then epoch n.
    """
    batch_size = self.recipe.batch_size if batch_size is None else batch_size
    if mode not in ("weighted", "sampled") or batch_size < 1:
      raise ConfigError("memory.dataset", rule="mode is 'weighted' or 'sampled' and batch_size at least 1.",
                        received=f"mode {mode!r}, batch_size {batch_size}.", remedy="correct the argument.")
    num_steps = -(-len(self) // batch_size)
    arrays = {name: tf.constant(getattr(self.slots, name)) for name in ("ids", "weights", "labels", "sample_weights")}

    def epoch_dataset(epoch: tf.Tensor) -> tf.data.Dataset:
      draws = _draws(seed, epoch, self.slots.ids.shape[:2]) if mode == "sampled" else None
      return tf.data.Dataset.range(num_steps).map(
          lambda step: self._batch(arrays, draws, step * batch_size, batch_size, packed))

    if repeat_epochs is None and mode == "weighted":
      dataset = epoch_dataset(tf.constant(0, tf.int64))
    else:
      epochs = tf.data.Dataset.range(repeat_epochs) if repeat_epochs is not None else _counted_passes()
      dataset = epochs.flat_map(epoch_dataset)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(num_steps * (repeat_epochs or 1)))
    return dataset.prefetch(tf.data.AUTOTUNE)

  def _batch(self, arrays: Mapping[str, tf.Tensor], draws: tf.Tensor | None, start: tf.Tensor, batch_size: int,
             packed: bool) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    rows = slice(start, tf.minimum(start + batch_size, len(self)))
    ids, weights = arrays["ids"][rows], arrays["weights"][rows]  # [B, F, K]
    features: dict[str, tf.Tensor] = {}
    if draws is not None:
      ids = ids_at(ids, weights, draws[rows][..., tf.newaxis])[..., 0]  # [B, F]
      features = {"ids": ids} if packed else {
          name: tf.cast(ids[:, f], tf.int64) for f, name in enumerate(self.spec.names)}
    elif packed:
      features = {"ids": ids, "weights": weights}
    else:
      for f, (name, width) in enumerate(zip(self.spec.names, self.max_ids, strict=True)):
        features[name] = tf.cast(ids[:, f, :width], tf.int64)
        features[f"{name}/weights"] = weights[:, f, :width]
    return features, arrays["labels"][rows], arrays["sample_weights"][rows]


def save_memory(directory: str, memory: Memory, *, num_shards: int | None = None) -> Memory:
  """Writes shards and, last and atomically, the manifest; returns the memory with its manifest filled in.

  The same memory always gives the same bytes. Saving it again where it lies already changes nothing.

  Args:
    directory: made if it is not there.
    memory: what to save.
    num_shards: number of TFRecord files; None takes one for each 65,536 slots.

  Raises:
    NumericsError, DataError: the slots are not sound.
    StoreError: the disk is full, or another memory lies there.
  """
  if num_shards is None:
    num_shards = -(-len(memory) // _SLOTS_PER_SHARD)
  already = read_manifest(directory) if files.exists(files.join(directory, MANIFEST_NAME)) else None
  if already is not None:
    if memory.manifest.shards and already.digest == memory.manifest.digest:
      return memory
    raise StoreError(directory, rule="a memory is never overwritten.", received=f"the memory {already.digest[:12]} of "
                     f"span {already.span} lies there.", remedy="save to another folder, or remove the old one.")
  with files.writing(directory):
    shards = records.write_slots(directory, memory.slots, memory.spec, num_shards=num_shards)
    manifest = dataclasses.replace(
        memory.manifest, shards=tuple(shards), num_slots=len(memory), recipe=memory.recipe,
        feature_spec=memory.spec.to_dict(), feature_spec_digest=memory.spec.digest())
    try:
      write_manifest(directory, manifest)
    except BaseException:
      for shard in shards:
        files.remove_if_there(files.join(directory, shard.name))
      raise
  return dataclasses.replace(memory, manifest=manifest)


def load_memory(uri: str, verify: bool = True, *, spec: FeatureSpec | None = None) -> Memory:
  """The memory in a folder, or that of the newest commit of a store.

  Args:
    uri: the folder of a memory or the root of a store.
    verify: whether to check the shards against their digests.
    spec: if given, the feature spec that the memory must be of.

  Raises:
    StoreError: there is no memory.
    FormatError: it is damaged, newer than this version reads, or of another feature spec.
  """
  directory = memory_folder(uri)
  manifest = read_manifest(directory)
  if spec is not None:
    manifest.require_spec(spec, subject=directory)
  for shard in manifest.shards:
    _check_shard(directory, shard, verify)
  own_spec = manifest.spec()
  slots = records.read_slots(directory, [shard.name for shard in manifest.shards], own_spec, manifest.max_ids)
  if len(slots) != manifest.num_slots:
    raise FormatError(directory, rule=f"the shards hold the manifest's {manifest.num_slots} slots.",
                      received=f"{len(slots)}.", remedy="restore the folder from a copy, or make the memory again.")
  return Memory(slots, own_spec, manifest.recipe, manifest)


class PointwiseCrossEntropy(tf.keras.losses.Loss):
  """Binary cross-entropy of each slot or example, for models that return `[B]` or `[B, 1]`.

  Keras's own averages over the last axis, which for `[B]` outputs is the batch, and so drops the sample weights.
  """

  def __init__(self, from_logits: bool = True, name: str = "pointwise_cross_entropy", **kwargs: Any) -> None:
    super().__init__(name=name, **kwargs)
    self.from_logits = from_logits

  def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """The loss per row, `[B]`."""
    y_pred = tf.reshape(y_pred, [-1, 1])
    y_true = tf.cast(tf.reshape(y_true, [-1, 1]), y_pred.dtype)
    return tf.keras.losses.binary_crossentropy(y_true, y_pred, from_logits=self.from_logits)

  def get_config(self) -> dict[str, Any]:
    """The arguments that rebuild the loss."""
    return {**super().get_config(), "from_logits": self.from_logits}


class SoftLabelAUC(tf.keras.metrics.AUC):
  """AUC where a row of label p counts as p of a positive and 1 - p of a negative; on 0/1 labels, Keras's AUC.

  Keras's own takes every label above 0 for a positive, and so is 0 throughout on soft labels.
  """

  def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> Any:
    """Counts a batch: labels in [0, 1], outputs and weights, each `[B]` or `[B, 1]`."""
    y_pred = tf.reshape(y_pred, [-1])
    share = tf.cast(tf.reshape(y_true, [-1]), y_pred.dtype)
    weight = 1.0 if sample_weight is None else tf.cast(tf.reshape(sample_weight, [-1]), y_pred.dtype)
    hard_labels = tf.concat([tf.ones_like(share), tf.zeros_like(share)], axis=0)
    return super().update_state(hard_labels, tf.concat([y_pred, y_pred], axis=0),
                                tf.concat([share * weight, (1 - share) * weight], axis=0))


def compile_with(recipe: Recipe, model: tf.keras.Model, *, from_logits: bool | None, **kwargs: Any) -> tf.keras.Model:
  """The work of `Recipe.compile`."""
  leave_keras_unconverted()
  # A TFRS model can only come from a TFRS that is loaded already.
  recommenders = sys.modules.get("tensorflow_recommenders")
  if "optimizer" not in kwargs:
    kwargs["optimizer"] = recipe.optimizer()
  if recommenders is None or not isinstance(model, recommenders.models.Model):
    if from_logits is None:
      from_logits = getattr(model, "from_logits", None)
    if from_logits is None and "loss" not in kwargs:
      raise ConfigError("recipe.compile", rule="it must be known whether the model returns logits or probabilities.",
                        received=f"a {type(model).__name__} without an attribute from_logits.",
                        remedy="pass from_logits=True (no sigmoid at the end) or from_logits=False.")
    kwargs.setdefault("loss", PointwiseCrossEntropy(from_logits=bool(from_logits)))
    kwargs.setdefault("metrics", [SoftLabelAUC(from_logits=bool(from_logits), name="auc")])
  model.compile(**kwargs)
  return model


def fit_with(recipe: Recipe, model: tf.keras.Model, memory: Memory, mode: Mode, *, seed: int,
             **kwargs: Any) -> tf.keras.callbacks.History:
  """The work of `Recipe.fit`."""
  if getattr(model, "optimizer", None) is None:
    recipe.compile(model)
  epochs = kwargs.pop("epochs", recipe.epochs)
  dataset = memory.dataset(recipe.batch_size, mode, seed=seed, repeat_epochs=epochs)
  try:
    return model.fit(dataset, epochs=epochs, steps_per_epoch=recipe.steps_per_epoch(len(memory)), **kwargs)
  except Exception as error:
    # What Keras says is pages long, and not what to do: the usual fault is a model of the other mode.
    other: Mode = "sampled" if mode == "weighted" else "weighted"
    if isinstance(error, DietError) or _takes(model, memory, mode) or not _takes(model, memory, other):
      raise
    raise ConfigError(f"recipe.fit of {type(model).__name__}", rule=f"the model takes the features of mode {mode!r}.",
                      received=f"one that takes those of mode {other!r}.", remedy=(
                          "wrap it in diet_tf.BagModel, or pass mode='sampled'." if mode == "weighted" else
                          "leave the mode out.")) from error


def _takes(model: tf.keras.Model, memory: Memory, mode: Mode) -> bool:
  """Whether the model gives one output a slot for the features of a mode."""
  features, labels, _ = next(iter(memory.dataset(mode=mode)))
  try:
    with model.distribute_strategy.scope():
      outputs = model(features, training=False)
  except Exception:
    return False
  return tuple(getattr(outputs, "shape", ())) in ((len(labels),), (len(labels), 1))


def _check_shard(directory: str, shard: ShardInfo, verify: bool) -> None:
  path = files.join(directory, shard.name)
  remedy = "restore the file from a copy, or make the memory again from the spans."
  if not files.exists(path):
    raise FormatError(path, rule="every shard of the manifest is there.", received="no such file.", remedy=remedy)
  if files.leads_outside(directory, shard.name):
    raise FormatError(path, rule="a shard lies in the folder of its memory.", received="a link that leads out of it.",
                      remedy="put a copy in its place.")
  if not verify:
    return
  sha256, num_bytes = files.digest(path)
  if (sha256, num_bytes) != (shard.sha256, shard.num_bytes):
    raise FormatError(path, rule=f"the shard has the manifest's digest {shard.sha256[:12]}, {shard.num_bytes} bytes.",
                      received=f"digest {sha256[:12]}, {num_bytes} bytes.", remedy=remedy)


def _draws(seed: int, epoch: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
  key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
  return tf.random.stateless_uniform(shape, key, dtype=tf.float32)


def _counted_passes() -> tf.data.Dataset:
  """A dataset of one int64 that is n on the n-th pass over it, counted from 0."""
  passes = -1

  def one() -> Iterator[int]:
    nonlocal passes
    passes += 1
    yield passes

  return tf.data.Dataset.from_generator(one, output_signature=tf.TensorSpec([], tf.int64))


def _versions() -> dict[str, str]:
  from diet_tf import __version__
  return {"diet_tf": __version__, "tensorflow": tf.__version__}
