"""The memory: slots with their recipe and manifest, saved and loaded, and as input of Keras training."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from diet_tf.errors import ConfigError, DietError, FormatError, StoreError
from diet_tf.io import files
from diet_tf.io.record_frames import ShardInfo
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_layout import RowLayout
from diet_tf.memory.keras_training import compile_with, raise_xla_fault, require_fixed_shapes, tune_model
from diet_tf.memory.last_refinement import LastRefinement
from diet_tf.memory.manifest import MANIFEST_NAME, Manifest, ScoredSampleInfo, read_manifest, write_manifest
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.scored_sample import ScoredSample, read_scored_sample, write_scored_sample
from diet_tf.memory.slot_records import packed_left, read_slots, write_slots
from diet_tf.memory.slots import Slots
from diet_tf.memory.tuning import ROWS_FROM_SLOTS, ScoredRows, Tuning, drawn_from_slots
from diet_tf.models.bag_model import ids_at
from diet_tf.models.inputs import features_in_form

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
    scored_sample: rows of the log with the teacher's probabilities, by which learning rates are chosen; None without.
  """

  slots: Slots
  spec: FeatureSpec
  recipe: Recipe
  manifest: Manifest
  scored_sample: ScoredSample | None = None

  def __post_init__(self) -> None:
    object.__setattr__(self, "slots", packed_left(self.slots))

  @classmethod
  def create(cls, slots: Slots, spec: FeatureSpec, recipe: Recipe, *, span: int, num_examples_seen: int,
             budget: Mapping[str, Any], lineage: Sequence[Mapping[str, Any]] = (), settings_digest: str = "",
             versions: Mapping[str, str] | None = None, ids_per_slot: int | None = None,
             users_per_id: Sequence[Mapping[str, Any]] = (), scored_sample: ScoredSample | None = None,
             last_refinement: LastRefinement | None = None) -> Memory:
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
        versions=_versions() if versions is None else dict(versions), users_per_id=tuple(users_per_id),
        last_refinement=None if last_refinement is None else last_refinement.to_dict())
    return cls(slots, spec, recipe, manifest, scored_sample)

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

  def scored_rows(self) -> ScoredRows | None:
    """The rows that learning rates are chosen by: the scored sample.

    Returns:
      Rows drawn from the slots in its place, with the slots' labels, where the slots were made under rules for users;
      None where there is neither.
    """
    if self.scored_sample is not None and len(self.scored_sample):
      return ScoredRows(self.scored_sample.ids, self.scored_sample.probabilities, "scored rows")
    if not self.manifest.users_per_id:
      return None
    drawn = drawn_from_slots(self.slots, ROWS_FROM_SLOTS)
    return dataclasses.replace(drawn, ids=RowLayout.of(self.spec).of_single_ids(drawn.ids))

  def without_scored_sample(self) -> Memory:
    """The memory without rows of the log beside its slots, not saved yet: for giving it away."""
    manifest = dataclasses.replace(self.manifest, shards=(), scored_sample=None, format_version=1)
    return dataclasses.replace(self, manifest=manifest, scored_sample=None)

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
      seed: seed of the draws of mode "sampled".
      packed: whether all fields come in one array.
      repeat_epochs: number of epochs in one pass of the dataset (then give `model.fit` its `steps_per_epoch`). None is
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

  def compile(self, model: tf.keras.Model, *, from_logits: bool | None = None, **kwargs: Any) -> tf.keras.Model:
    """The model, compiled with the recipe's optimiser, binary cross-entropy per slot, and AUC.

    Args:
      model: any Keras model of one output; a TFRS model keeps its own loss and metrics.
      from_logits: whether the model returns logits rather than probabilities; None asks the model's attribute
        `from_logits`, which `diet_tf`'s models have.
      **kwargs: passed to `model.compile`, where they win over the recipe's choice. With `jit_compile=True` the step is
        compiled by XLA, and the optimiser then reads whole tables, whose shapes are known.

    Raises:
      ConfigError: neither the argument nor the model says whether it returns logits, or XLA cannot compile the
        optimiser.
    """
    return compile_with(self.recipe, model, from_logits=from_logits, **kwargs)

  def fit(self, model: tf.keras.Model, mode: Mode = "weighted", *, seed: int = 0, tune: Tuning | None = None,
          **kwargs: Any) -> tf.keras.callbacks.History:
    """The history of training `model` on this memory by its recipe; compiles the model if that was not done.

    Args:
      model: a Keras model that takes the features of `Memory.dataset(mode=mode)`.
      mode: "weighted" trains on whole slots, "sampled" on one id a field, drawn anew in each epoch.
      seed: seed of the draws of mode "sampled".
      tune: factors of the recipe's learning rates that the model chooses from first, by the loss on the memory's scored
        rows, for example `diet_tf.Tuning()`: two to five trainings more, from the model's present weights, which it
        gets back. What was chosen is the attribute `tuned` of the history, None where the memory has no scored rows.
        None, the default, trains once, by the recipe's own rates.
      **kwargs: passed to `model.fit`, for example `validation_data` or `callbacks`; trainings that choose have none of
        it but `epochs`.

    Raises:
      ConfigError: rates are to be chosen for another optimiser than that of the recipe; or the training failed, and the
        model takes the features of the other mode, or has an operation that XLA cannot compile. A model of single ids
        takes those of "weighted" in a `diet_tf.BagModel`.
    """
    if getattr(model, "optimizer", None) is None:
      self.compile(model)
    require_fixed_shapes(model.optimizer, bool(getattr(model, "jit_compile", False)))
    epochs = kwargs.pop("epochs", self.recipe.epochs)
    dataset = self.dataset(self.recipe.batch_size, mode, seed=seed, repeat_epochs=epochs)

    def train(**arguments: Any) -> tf.keras.callbacks.History:
      return model.fit(dataset, epochs=epochs, steps_per_epoch=self.recipe.steps_per_epoch(len(self)), **arguments)

    try:
      rows = None if tune is None else self.scored_rows()
      tuned = None if tune is None or rows is None else tune_model(
          model, functools.partial(train, verbose=0), self.recipe, features_in_form(mode, self.spec, rows.ids, None),
          rows, tune)
      history = train(**kwargs)
      history.tuned = tuned
      return history
    except Exception as error:
      takes_mode = not isinstance(error, DietError) and self._is_taken_by(model, mode)
      if takes_mode:
        raise_xla_fault(model, error)
      # What Keras says is pages long, and not what to do: the usual fault is a model of the other mode.
      other: Mode = "sampled" if mode == "weighted" else "weighted"
      if isinstance(error, DietError) or takes_mode or not self._is_taken_by(model, other):
        raise
      raise ConfigError(f"memory.fit of {type(model).__name__}", rule=f"the model takes the features of mode {mode!r}.",
                        received=f"one that takes those of mode {other!r}.", remedy=(
                            "wrap it in diet_tf.BagModel, or pass mode='sampled'." if mode == "weighted" else
                            "leave the mode out.")) from error

  def _is_taken_by(self, model: tf.keras.Model, mode: Mode) -> bool:
    """Whether the model gives one output a slot for the features of a mode."""
    features, labels, _ = next(iter(self.dataset(mode=mode)))
    try:
      with model.distribute_strategy.scope():
        outputs = model(features, training=False)
    except Exception:
      return False
    return tuple(getattr(outputs, "shape", ())) in ((len(labels),), (len(labels), 1))

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
  """Writes shards, the scored sample and, last and atomically, the manifest; returns the memory with it filled in.

  The same memory always gives the same bytes. Saving it again where it lies already changes nothing.

  Args:
    directory: made if it is not there.
    memory: memory that is saved.
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
  sample = memory.scored_sample
  with files.writing(directory):
    shards = write_slots(directory, memory.slots, memory.spec, num_shards=num_shards, max_ids=max(memory.max_ids))
    written = [shard.name for shard in shards]
    try:
      info = None
      if sample is not None:
        info = ScoredSampleInfo(sample.num_examples, write_scored_sample(directory, sample, memory.spec))
        written.append(info.shard.name)
      manifest = dataclasses.replace(
          memory.manifest, shards=tuple(shards), num_slots=len(memory), recipe=memory.recipe, scored_sample=info,
          format_version=1, feature_spec=memory.spec.to_dict(), feature_spec_digest=memory.spec.digest())
      write_manifest(directory, manifest)
    except BaseException:
      for name in written:
        files.remove_if_there(files.join(directory, name))
      raise
  return dataclasses.replace(memory, manifest=manifest)


def read_memory(directory: str, verify: bool = True, *, spec: FeatureSpec | None = None) -> Memory:
  """The memory in a folder.

  Args:
    directory: the folder of the memory.
    verify: whether the shards are checked against their digests.
    spec: the feature spec that the memory must be of; None takes any.

  Raises:
    StoreError: there is no memory.
    FormatError: it is damaged, newer than this version reads, or of another feature spec.
  """
  manifest = read_manifest(directory)
  if spec is not None:
    manifest.require_spec(spec, subject=directory)
  for shard in manifest.shards:
    _check_shard(directory, shard, verify)
  own_spec = manifest.spec()
  slots = read_slots(directory, [shard.name for shard in manifest.shards], own_spec, manifest.max_ids)
  if len(slots) != manifest.num_slots:
    raise FormatError(directory, rule=f"the shards hold the manifest's {manifest.num_slots} slots.",
                      received=f"{len(slots)}.", remedy="restore the folder from a copy, or make the memory again.")
  return Memory(slots, own_spec, manifest.recipe, manifest, _read_scored_sample(directory, manifest, own_spec, verify))


def _read_scored_sample(directory: str, manifest: Manifest, spec: FeatureSpec, verify: bool) -> ScoredSample | None:
  info = manifest.scored_sample
  if info is None:
    return None
  _check_shard(directory, info.shard, verify)
  return read_scored_sample(files.join(directory, info.shard.name), info.shard.num_records, info.num_examples, spec)


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
  with files.reading(path, remedy):
    num_bytes = files.num_bytes(path)  # First, since a file of another size is not worth a digest.
    sha256 = files.digest(path)[0] if num_bytes == shard.num_bytes else None
  if num_bytes != shard.num_bytes:
    raise FormatError(path, rule=f"the shard has the manifest's {shard.num_bytes:,} bytes.",
                      received=f"{num_bytes:,} bytes.", remedy=remedy)
  if sha256 not in (None, shard.sha256):
    raise FormatError(path, rule=f"the shard has the manifest's digest {shard.sha256[:12]}.",
                      received=f"digest {sha256[:12]}.", remedy=remedy)


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
