"""Refinement: the slots and the recipe are moved so that proxies trained on them do well on real examples.

Inner level: a proxy with fresh weights is trained on the slots by the recipe (`diet_tf.training.bilevel`). Outer level:
its cross-entropy against the teacher's probabilities on a batch of the new span, plus the same on replayed rows, is
minimised by Adam over

- soft labels, id weights and sample weights of the slots that addressing lets move,
- the recipe's learning rate per parameter group and the multiplier of each of its steps.

Replayed rows stand for the spans before: they are drawn from the old slots, one id per field by its weight, and
labelled by the teacher, which has seen those spans; nothing of the old log is read. The two parts are weighed by the
number of examples behind them.

The loop follows RaT-BPTT (Feng et al., "Embarrassingly Simple Dataset Distillation", ICLR 2024) in drawing fresh
weights at each outer step, in Adam on both levels and in clipping the outer gradient to a multiple of its running norm;
it deviates in the fixed order of slots, in full-length inner training, and in the learned recipe. It is inspired by
DIET (arXiv 2603.24958), of which the abstract alone was at hand.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from diet_tf.distillation.effort import Effort, EffortName, resolved_effort
from diet_tf.distillation.learned_memory import LEARNABLE, MAX_LABEL_LOGIT, LearnedMemory
from diet_tf.distillation.refinement_checkpoints import (
  Checkpoints,
  digest_of,
  generator_state,
  restore_generator,
)
from diet_tf.errors import ConfigError, NumericsError
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.models.optimizers import GroupedAdam
from diet_tf.models.parameter_groups import PARAMETER_GROUPS
from diet_tf.progress import Progress, silent
from diet_tf.settings import to_json
from diet_tf.training.compact import CompactIds
from diet_tf.training.inner_settings import InnerSettings
from diet_tf.training.proxies import Proxy, give_back_proxies, make_proxies

MAX_INITIALISATIONS = 10_000
DEFAULT_CHECKPOINT_SECONDS = 300.0
# What is silent for a day is taken for dead, and its checkpoint for garbage.
MAX_CHECKPOINT_SECONDS = 21_600.0
# Share of outer steps whose gradient may be infinite before the stage stops.
MAX_SKIPPED_FRACTION = 0.05


@dataclasses.dataclass(frozen=True)
class DistillSettings:
  """How a memory is refined.

  Attributes:
    inner: the inner loop; its batch size, epochs and Adam constants go into the recipe.
    proxies: architectures that take turns in the inner loop: panel members or a user's own `module:Class`.
    effort: where on the curve of cost against fidelity the memory lies: "draft", "ranking" or "fidelity"; it decides
      `outer_steps`, `refine_growth` and `rate_learning_rate` where these are not set.
    outer_steps: updates of the slots when the memory is refined; 0 never refines it, and not set takes the effort's:
      0, 60 or 200.
    refine_growth: the whole memory is refined when the slots that were added since it was last refined are at least
      this share of those it had then; in between, new slots enter as they were squashed. 0 refines it at every span,
      and not set takes the effort's: 1 for all.
    outer_batch_size: real and replayed examples of one update.
    outer_learning_rate: initial learning rate of the outer Adam on labels, id weights and sample weights; it falls
      along a cosine to a twentieth.
    rate_learning_rate: initial learning rate of the outer Adam on the logarithms of learning rates and step
      multipliers; it falls in the same way. Not set takes the effort's: 0.03 for all.
    learning_rate_embedding: initial rate of embedding tables in the recipe.
    learning_rate_linear: initial rate of linear tables.
    learning_rate_dense: initial rate of all other variables.
    learned: what of the slots moves: some of id_weights, labels and sample_weights.
    learn_recipe: whether rates and multipliers move.
    num_initialisations: initial weights kept per proxy; each outer step shifts one of them at random.
    clip_ratio: the outer gradient is clipped to this multiple of its running norm.
    averaged_fraction: the learned tensors are averaged over this last share of the outer steps.
    max_pool_rows: rows of the spans since the memory was last refined that are carried from commit to commit, and that
      outer batches are drawn from; bounds the stage's memory, and the size of a commit.
    replay_rows: rows drawn from old slots; 0 leaves the spans before out of the outer loss.
    checkpoint_seconds: least time between two checkpoints of DistillTrainer, from which it goes on where it was cut, at
      most six hours; 0 keeps none. Nothing that is learned depends on it.
  """

  inner: InnerSettings = InnerSettings()
  proxies: tuple[str, ...] = ("dnn", "dcn_v2", "deepfm", "fm")
  effort: EffortName = "ranking"
  outer_steps: int | None = None
  refine_growth: float | None = None
  outer_batch_size: int = 2048
  outer_learning_rate: float = 0.05
  rate_learning_rate: float | None = None
  learning_rate_embedding: float = 0.01
  learning_rate_linear: float = 0.03
  learning_rate_dense: float = 0.01
  learned: tuple[str, ...] = LEARNABLE
  learn_recipe: bool = True
  num_initialisations: int = 8
  clip_ratio: float = 2.0
  averaged_fraction: float = 0.2
  max_pool_rows: int = 1 << 16
  replay_rows: int = 1 << 15
  checkpoint_seconds: float = DEFAULT_CHECKPOINT_SECONDS

  def __post_init__(self) -> None:
    if not self.proxies:
      raise ConfigError("distill.proxies", rule="names at least one architecture.", received="none.",
                        remedy="use [dnn, dcn_v2, deepfm, fm].")
    if not set(self.learned) <= set(LEARNABLE):
      raise ConfigError("distill.learned", rule=f"names some of {', '.join(LEARNABLE)}.", received=repr(self.learned),
                        remedy=f"use {list(LEARNABLE)}.")
    for name in ("outer_batch_size", "num_initialisations", "max_pool_rows"):
      if getattr(self, name) < 1:
        raise ConfigError(f"distill.{name}", rule="is at least 1.", received=str(getattr(self, name)),
                          remedy="raise it.")
    for name, meaning in (("outer_steps", "keep the start as it is"), ("replay_rows", "leave replay out"),
                          ("refine_growth", "refine the memory at every span")):
      if (getattr(self, name) or 0) < 0:
        raise ConfigError(f"distill.{name}", rule="is not negative.", received=str(getattr(self, name)),
                          remedy=f"use 0 to {meaning}.")
    for name in ("outer_learning_rate", "learning_rate_embedding", "learning_rate_linear", "learning_rate_dense",
                 "clip_ratio"):
      if getattr(self, name) <= 0:
        raise ConfigError(f"distill.{name}", rule="is positive.", received=str(getattr(self, name)),
                          remedy="raise it.")
    if not 0 <= self.checkpoint_seconds <= MAX_CHECKPOINT_SECONDS:
      raise ConfigError("distill.checkpoint_seconds", rule=f"lies in [0, {MAX_CHECKPOINT_SECONDS:g}].",
                        received=str(self.checkpoint_seconds), remedy="use 300, or 0 to keep no checkpoints.")
    if (self.rate_learning_rate or 0) < 0:
      raise ConfigError("distill.rate_learning_rate", rule="is not negative.", received=str(self.rate_learning_rate),
                        remedy="use 0.03, or learn_recipe: false to leave the rates as they are.")
    if self.num_initialisations > MAX_INITIALISATIONS:
      raise ConfigError("distill.num_initialisations", rule=f"is at most {MAX_INITIALISATIONS:,}.",
                        received=str(self.num_initialisations), remedy="use 8.")
    if not 0 <= self.averaged_fraction <= 1:
      raise ConfigError("distill.averaged_fraction", rule="lies in [0, 1].", received=str(self.averaged_fraction),
                        remedy="use 0.2.")

  @property
  def by_effort(self) -> Effort:
    """What the effort decides; values that are set win."""
    return resolved_effort(self.effort, self.outer_steps, self.refine_growth, self.rate_learning_rate)

  def initial_rates(self) -> dict[str, float]:
    """The recipe's learning rates before they are learned."""
    return {"embedding": self.learning_rate_embedding, "linear": self.learning_rate_linear,
            "dense": self.learning_rate_dense}


@dataclasses.dataclass(frozen=True)
class Refined:
  """What a refinement gives.

  Attributes:
    slots: the refined slots, in the order of the start.
    recipe: the learned recipe.
    losses: `[outer_steps]`, the outer loss before each update.
    proxies: per outer step, the proxy that took its turn.
    num_skipped: outer steps without an update, because their gradient was not finite.
  """

  slots: Slots
  recipe: Recipe
  losses: np.ndarray
  proxies: tuple[str, ...]
  num_skipped: int


def replay(slots: Slots, num_rows: int, seed: int) -> np.ndarray:
  """`[num_rows, num_fields]` int32 ids drawn from slots by sample weight, each field's id by its weight.

  A slot does not say which of a multi-valued field's ids a row had together: a replayed row has one of them, so that
  the embeddings of such rows have the slot's as their mean.
  """
  random = np.random.default_rng(seed)
  chances = slots.sample_weights.astype(np.float64)
  rows = random.choice(len(slots), num_rows, p=chances / chances.sum())
  cumulative = np.cumsum(slots.weights, axis=2, dtype=np.float64)
  uniform = random.random((num_rows, cumulative.shape[1]))
  drawn = np.zeros(uniform.shape, np.int32)
  # In blocks, so that what is compared is small.
  for start in range(0, num_rows, 4096):
    block = rows[start:start + 4096]
    sums = cumulative[block]
    places = (sums <= uniform[start:start + 4096, :, None] * sums[..., -1:]).sum(2).clip(max=slots.max_ids - 1)
    drawn[start:start + 4096] = np.take_along_axis(slots.ids[block], places[..., None], axis=2)[..., 0]
  return drawn


class OuterLoop:
  """The state of a refinement and one update of it.

  Args:
    memory: the learned tensors.
    proxies: per name, one proxy on each device.
    settings: settings of the refinement.
  """

  NORM_DECAY = 0.95

  def __init__(self, memory: LearnedMemory, proxies: Mapping[str, list[Proxy]], settings: DistillSettings) -> None:
    self.memory = memory
    self.settings = settings
    self._proxies = proxies
    # Keras' own Adam is a dozen passes over the id weights.
    self._slot_optimizer = GroupedAdam(1.0, learning_rate=settings.outer_learning_rate)
    self._recipe_optimizer = GroupedAdam(1.0, learning_rate=settings.by_effort.rate_learning_rate)
    self._slot_optimizer.build(memory.slot_variables)
    self._recipe_optimizer.build(memory.recipe_variables)
    self._norm = tf.Variable(-1.0)
    self._sums = [tf.Variable(tf.zeros_like(variable)) for variable in memory.variables]
    self._num_summed = 0
    self._inputs = tf.function(lambda: dict(vars(memory.inputs())), autograph=False)
    self._move = tf.function(self._pull_and_apply, autograph=False)
    self._gradients = {name: self._gradient_of(replicas) for name, replicas in proxies.items()}

  def num_traces(self, name: str) -> int:
    """How often the gradient through a training of a proxy was traced."""
    return max(proxy.traced.num_traces("gradient") for proxy in self._proxies[name])

  def _gradient_of(self, replicas: list[Proxy]) -> Callable[..., tuple[tf.Tensor, list[tf.Tensor]]]:
    """The outer loss and its gradient by what proxies are trained on, both the mean over the devices."""

    def gradient(initials: list[list[tf.Tensor]], shifts: tf.Tensor, inputs: dict[str, tf.Tensor], ids: tf.Tensor,
                 targets: tf.Tensor, importances: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
      losses, gradients = [], []
      for index, (proxy, initial) in enumerate(zip(replicas, initials)):
        with tf.device(proxy.device):
          loss, found = proxy.traced.gradient(initial, shifts[index], inputs, ids[index], targets[index],
                                              importances[index])
        losses.append(loss)
        gradients.append(found)
      if len(replicas) == 1:
        return losses[0], gradients[0]
      return tf.add_n(losses) / len(replicas), [tf.add_n(list(parts)) / len(replicas) for parts in zip(*gradients)]

    # In one graph devices work side by side; for one alone, the graph of the proxy serves the next stage too.
    return gradient if len(replicas) == 1 else tf.function(gradient, reduce_retracing=True, autograph=False)

  def _pull_and_apply(self, gradients: list[tf.Tensor]) -> tf.Tensor:
    """Pulls a gradient by what proxies are trained on back to the learned tensors, and moves them; returns its norm."""
    with tf.GradientTape() as tape:
      inputs = self.memory.inputs()
    return self._apply(tape.gradient(inputs.differentiable(), self.memory.variables, output_gradients=gradients))

  def _apply(self, gradients: list[tf.Tensor]) -> tf.Tensor:
    """Clips and applies an outer gradient; returns its norm, and changes nothing if that is not finite."""
    # What is not learned must not count in the norm that all others are clipped by; Adam does not move it without one.
    gradients = [gradient if name in self.settings.learned else tf.zeros_like(gradient)
                 for gradient, name in zip(gradients, LEARNABLE)] + gradients[len(LEARNABLE):]
    norm = tf.linalg.global_norm(gradients)
    before = tf.where(self._norm < 0, norm, self._norm)
    scale = tf.minimum(1.0, self.settings.clip_ratio * before / tf.maximum(norm, 1e-30))
    scaled = [gradient * scale for gradient in gradients]

    def move() -> tf.Tensor:
      self._norm.assign(self.NORM_DECAY * before + (1 - self.NORM_DECAY) * tf.minimum(norm, 3 * before))
      self._slot_optimizer.apply_gradients(zip(scaled, self.memory.slot_variables))
      self.memory.label_logits.assign(tf.clip_by_value(self.memory.label_logits, -MAX_LABEL_LOGIT, MAX_LABEL_LOGIT))
      if self.settings.learn_recipe:
        self._recipe_optimizer.apply_gradients(zip(scaled[3:], self.memory.recipe_variables))
      return norm

    return tf.cond(tf.math.is_finite(norm), move, lambda: norm)

  def update(self, name: str, step: int, initials: list, shifts: np.ndarray, ids: np.ndarray, targets: np.ndarray,
             importances: np.ndarray) -> tuple[float, float]:
    """One outer step with the proxy `name`; returns the outer loss and the gradient's norm."""
    fall = 0.05 + 0.475 * (1 + math.cos(math.pi * step / max(self.settings.by_effort.outer_steps, 1)))
    self._slot_optimizer.learning_rate.assign(self.settings.outer_learning_rate * fall)
    self._recipe_optimizer.learning_rate.assign(self.settings.by_effort.rate_learning_rate * fall)
    loss, gradients = self._gradients[name](initials, tf.constant(shifts), self._inputs(), tf.constant(ids),
                                            tf.constant(targets), tf.constant(importances))
    return float(loss), float(self._move(gradients))

  def state(self) -> dict[str, np.ndarray]:
    """All that the next update depends on, by name."""
    return {**{name: variable.numpy() for name, variable in self._state_variables().items()},
            "num_summed": np.array(self._num_summed)}

  def restore(self, state: Mapping[str, np.ndarray]) -> None:
    """Puts back what `state` returned."""
    for name, variable in self._state_variables().items():
      variable.assign(state[name])
    self._num_summed = int(state["num_summed"])

  def _state_variables(self) -> dict[str, tf.Variable]:
    parts = {"learned": self.memory.variables, "sum": self._sums, "norm": [self._norm],
             "slot_optimizer": self._slot_optimizer.variables, "recipe_optimizer": self._recipe_optimizer.variables}
    return {f"{part}-{index}": variable for part, variables in parts.items()
            for index, variable in enumerate(variables)}

  def accumulate(self) -> None:
    """Takes the present tensors into the average."""
    for total, variable in zip(self._sums, self.memory.variables):
      total.assign_add(variable)
    self._num_summed += 1

  def finish(self) -> None:
    """Replaces the learned tensors by their average, if any were taken into it."""
    if self._num_summed:
      for total, variable in zip(self._sums, self.memory.variables):
        variable.assign(total / self._num_summed)


class _OuterBatches:
  """Draws outer batches: new examples and replayed rows, weighed by what stands behind them."""

  def __init__(self, new: EncodedRows, old: EncodedRows | None, old_share: float, batch_size: int,
               random: np.random.Generator) -> None:
    self._parts = [part for part in (new, old) if part is not None and len(part)]
    shares = [1 - old_share, old_share] if len(self._parts) == 2 else [1.0]
    # At least a quarter of a batch for either part keeps the noise of the weighted mean down.
    first = batch_size if len(shares) == 1 else round(batch_size * min(max(shares[0], 0.25), 0.75))
    self._sizes = [first, batch_size - first][:len(shares)]
    self._importances = np.concatenate([np.full(size, share / max(size, 1), np.float32)
                                        for size, share in zip(self._sizes, shares)])
    self._random = random

  def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`(ids, targets, importances)` of one batch."""
    rows = [self._random.integers(len(part), size=size) for part, size in zip(self._parts, self._sizes)]
    return (np.concatenate([part.ids[row] for part, row in zip(self._parts, rows)]),
            np.concatenate([part.labels[row] for part, row in zip(self._parts, rows)]), self._importances)


def stretched(multipliers: np.ndarray, num_steps: int) -> np.ndarray:
  """`[num_steps]` multipliers with the course of the given ones, for a training of another length."""
  if len(multipliers) == 0:
    return np.ones(num_steps, np.float32)
  return np.interp(np.linspace(0, 1, num_steps), np.linspace(0, 1, len(multipliers)), multipliers).astype(np.float32)


def initial_recipe(settings: DistillSettings, num_slots: int, previous: Recipe | None) -> Recipe:
  """The recipe that refinement starts from: the previous memory's, fitted to the number of slots, or the settings'."""
  num_steps = settings.inner.num_steps(num_slots)
  rates = dict(previous.learning_rates) if previous else settings.initial_rates()
  multipliers = stretched(np.asarray(previous.step_multipliers if previous else ()), num_steps)
  inner = settings.inner
  return Recipe(batch_size=inner.batch_size_for(num_slots), epochs=inner.epochs, beta_1=inner.beta_1,
                beta_2=inner.beta_2, epsilon=inner.epsilon, learning_rates=rates,
                step_multipliers=tuple(multipliers.tolist()))


def devices_of(strategy: tf.distribute.Strategy | None) -> tuple[str, ...]:
  """The devices that a strategy computes on; without one, the first GPU, or else the CPU."""
  if strategy is not None and tf.distribute.get_strategy() is not strategy:
    return tuple(strategy.extended.worker_devices)
  return ("/GPU:0",) if tf.config.list_logical_devices("GPU") else ("/CPU:0",)


def refine(start: Slots, movable: np.ndarray, new: EncodedRows, old: EncodedRows | None, old_share: float,
           spec: FeatureSpec, recipe: Recipe, settings: DistillSettings, *, seed: int,
           strategy: tf.distribute.Strategy | None = None, progress: Progress = silent,
           checkpoints: Checkpoints | None = None) -> Refined:
  """The slots and recipe after the outer steps of `settings.by_effort`.

  Args:
    start: the slots to begin with; their number is a multiple of the inner batch size.
    movable: `[len(start)]` bool, the slots that may change.
    new: rows of the new span, labelled with the teacher's probabilities.
    old: replayed rows, labelled alike, or None in the first stage.
    old_share: weight of the replayed rows in the outer loss, in [0, 1).
    spec: the feature spec.
    recipe: recipe that refinement starts from, see `initial_recipe`.
    settings: settings of the refinement.
    seed: seed of the proxies' initial weights, and of what each outer step draws: one of these weights and a batch.
    strategy: strategy whose devices each train a proxy of their own, on outer batches of their own; None takes one
      device.
    progress: callback that is told of each outer step.
    checkpoints: where the state is kept and read; the same inputs go on from there. None keeps none.

  Raises:
    NumericsError: if the outer loss, a learned tensor, or too many gradients are not finite.
  """
  compact = CompactIds.of(spec, start)
  memory = LearnedMemory(compact.slots(start), recipe.learning_rates, np.asarray(recipe.step_multipliers), movable)
  devices = devices_of(strategy)
  proxies = make_proxies(settings.proxies, compact.spec, settings.inner, start, seed=seed, devices=devices,
                         num_initialisations=settings.num_initialisations)
  loop = OuterLoop(memory, proxies, settings)
  random = np.random.default_rng(seed)
  batches = _OuterBatches(_renamed(new, compact), None if old is None else _renamed(old, compact), old_share,
                          settings.outer_batch_size, random)
  losses, skipped, first = _resumed(loop, random, checkpoints, lambda: _inputs_digest(
      start, movable, new, old, old_share, spec, recipe, settings, seed, devices))
  for step in range(first, settings.by_effort.outer_steps):
    name = settings.proxies[step % len(settings.proxies)]
    initials = [proxy.initial_weights[random.integers(len(proxy.initial_weights))] for proxy in proxies[name]]
    shifts = random.integers(1 << 30, size=len(devices), dtype=np.int32)
    drawn = [np.stack(part) for part in zip(*(batches.draw() for _ in devices))]
    loss, norm = loop.update(name, step, initials, shifts, *drawn)
    skipped += not math.isfinite(norm)
    _check_step(step, name, loss, skipped, settings)
    if step >= settings.by_effort.outer_steps * (1 - settings.averaged_fraction):
      loop.accumulate()
    losses.append(loss)
    if checkpoints is not None:
      checkpoints.keep(step + 1, lambda: {
          **loop.state(), "losses": np.asarray(losses, np.float64), "skipped": np.array(skipped),  # noqa: B023
          "step": np.array(len(losses)), "generator": generator_state(random)})
    progress("refinement (outer steps)", step + 1, settings.by_effort.outer_steps)
  loop.finish()
  give_back_proxies(proxies)
  return Refined(*_result(start, memory, recipe, settings), np.asarray(losses, np.float32),
                 tuple(settings.proxies[step % len(settings.proxies)] for step in range(len(losses))), skipped)


def _inputs_digest(start: Slots, movable: np.ndarray, new: EncodedRows, old: EncodedRows | None, old_share: float,
                   spec: FeatureSpec, recipe: Recipe, settings: DistillSettings, seed: int,
                   devices: tuple[str, ...]) -> str:
  """The digest of all that a refinement follows from, the versions of what computes it included."""
  from diet_tf import __version__
  neutral = dataclasses.replace(settings, checkpoint_seconds=DEFAULT_CHECKPOINT_SECONDS)
  texts = [__version__, tf.__version__, to_json(neutral), spec.digest(), json.dumps(recipe.to_dict(), sort_keys=True),
           f"{seed} {old_share!r} {devices}"]
  rows = [new] if old is None else [new, old]
  return digest_of(texts, [*(getattr(start, name) for name in Slots.DTYPES), movable,
                           *(array for one in rows for array in (one.ids, one.labels))])


def _resumed(loop: OuterLoop, random: np.random.Generator, checkpoints: Checkpoints | None,
             inputs: Callable[[], str]) -> tuple[list[float], int, int]:
  """Losses so far, steps without an update, and the step to go on with; the loop and the generator are put there."""
  state = None if checkpoints is None else checkpoints.begin(inputs())
  if state is None:
    return [], 0, 0
  loop.restore(state)
  restore_generator(random, state["generator"])
  return state["losses"].tolist(), int(state["skipped"]), int(state["step"])


def _renamed(rows: EncodedRows, compact: CompactIds) -> EncodedRows:
  return EncodedRows(compact.rename(rows.ids), rows.labels.astype(np.float32))


def _check_step(step: int, name: str, loss: float, skipped: int, settings: DistillSettings) -> None:
  if not math.isfinite(loss):
    raise NumericsError(f"outer step {step}", rule="the outer loss is finite.",
                        received=f"{loss} with proxy {name!r}.",
                        remedy="lower distill.learning_rate_* or distill.outer_learning_rate.")
  if skipped > max(1, MAX_SKIPPED_FRACTION * settings.by_effort.outer_steps):
    raise NumericsError(f"outer step {step}", rule=f"at most {MAX_SKIPPED_FRACTION:.0%} of the outer gradients are "
                        "not finite.", received=f"{skipped} so far, the last with proxy {name!r}.",
                        remedy="lower distill.learning_rate_*, or raise distill.inner.epsilon.")


def _result(start: Slots, memory: LearnedMemory, recipe: Recipe, settings: DistillSettings) -> tuple[Slots, Recipe]:
  for variable in memory.variables:
    value = variable.numpy()
    if not np.isfinite(value).all():
      broken = np.unique(np.argwhere(~np.isfinite(value))[:, 0])[:5]
      of_slots = any(variable is one for one in memory.slot_variables)
      raise NumericsError(f"learned {variable.name.split(':')[0]}", rule="every learned tensor is finite.",
                          received=f"slots {start.slot_ids[broken].tolist()} are not." if of_slots else
                          f"entries {broken.tolist()} are not.",
                          remedy=f"lower distill.{'outer' if of_slots else 'rate'}_learning_rate.")
  inputs = memory.inputs()
  slots = start.replace(weights=inputs.weights.numpy(), labels=inputs.labels.numpy(),
                        sample_weights=inputs.sample_weights.numpy())
  rates = dict(zip(PARAMETER_GROUPS, inputs.learning_rates.numpy().tolist()))
  return slots, dataclasses.replace(recipe, learning_rates=rates,
                                    step_multipliers=tuple(inputs.step_multipliers.numpy().tolist()))
