"""What an outer step costs by the number of slots: on slots as squash makes them, without the log that they stand for.

A slot is a hundred rows of the simulated log, drawn together at random, of which it keeps as many ids per field as a
squashed slot does. Its ids are therefore as many as those of a memory of that size, or more: rows of a cluster have
more ids in common.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.scale.measuring import Cost, kept
from diet_tf.config.config import Config
from diet_tf.io import files
from diet_tf.log.encoding import encode
from diet_tf.log.features import FeatureSpec
from diet_tf.log.simulate import SimulatedLog, SimulatedLogSettings
from diet_tf.memory.slots import Slots

ROWS_PER_SLOT = 100
# Rows that the outer batches are drawn from.
_POOL_ROWS = 1 << 15


@dataclasses.dataclass(frozen=True)
class RefinementFigures:
  """What refinement costs on so many slots.

  Attributes:
    num_slots: number of the slots.
    num_ids: distinct ids in them, over all fields.
    num_steps: steps of an inner training.
    seconds_per_step: wall time of an outer step, the mean over those after the graphs are traced.
    cost: cost of the whole measurement: its start, tracing and all outer steps. The peak is what counts in it.
  """

  num_slots: int
  num_ids: int
  num_steps: int
  seconds_per_step: float
  cost: Cost


def refinement_figures(log: SimulatedLogSettings, config: Config, folder: str, num_slots: int,
                       steps_per_proxy: int) -> RefinementFigures:
  """What refinement costs on so many slots, measured once.

  Args:
    log: settings of the simulated log.
    config: the config, whose proxies and settings of refinement are taken.
    folder: folder that the figures are kept in.
    num_slots: number of the slots, a multiple of the inner batch size.
    steps_per_proxy: outer steps with each proxy, of which the first traces its graphs.
  """
  path = files.join(folder, f"slots-{num_slots}-steps-{steps_per_proxy}.json")
  cost, value = kept(path, lambda: _refine(log, config, num_slots, steps_per_proxy))
  return RefinementFigures(**value, cost=cost)


def _refine(log: SimulatedLogSettings, config: Config, num_slots: int, steps_per_proxy: int) -> dict[str, Any]:
  from diet_tf.distillation.addressing import Action
  from diet_tf.distillation.carried_rows import CarriedRows
  from diet_tf.distillation.refinement import initial_recipe
  from diet_tf.distillation.settings import Stage
  from diet_tf.distillation.stage import refine_start
  from diet_tf.distillation.start import Start
  from diet_tf.distillation.teacher import Teacher
  from diet_tf.log.encoded_rows import EncodedRows

  settings = config.stage_settings()
  num_proxies = len(settings.distill.proxies)
  distill = dataclasses.replace(settings.distill, outer_steps=steps_per_proxy * num_proxies)
  stage = Stage(config.features, dataclasses.replace(settings, distill=distill), config.seed, 0)
  rows = Rows(log, config.features)
  slots = mixed_slots(rows, num_slots, settings.squash.ids_per_slot)
  ids, _ = rows.take(_POOL_ROWS)
  pool = CarriedRows(EncodedRows(ids, example_ids=np.arange(len(ids))), len(ids), None, 0)
  recipe = initial_recipe(distill, num_slots, None)
  start = Start(slots, np.full(num_slots, Action.ADD, np.int8), recipe, {"add": num_slots}, ROWS_PER_SLOT * num_slots)
  times: list[float] = []
  refine_start(stage, start, None, pool, Teacher(config.features, settings.teacher),
               progress=lambda *_: times.append(time.perf_counter()))
  return {"num_slots": num_slots, "num_steps": recipe.epochs * num_slots // recipe.batch_size,
          "num_ids": sum(len(np.unique(slots.ids[:, field][slots.weights[:, field] > 0]))
                         for field in range(slots.num_fields)),
          "seconds_per_step": (times[-1] - times[num_proxies - 1]) / max(len(times) - num_proxies, 1)}


class Rows:
  """The rows of a simulated span, encoded, as many as are asked for.

  Args:
    log: settings of the simulated log.
    spec: feature spec; a growing vocabulary takes the values of the first rows.
  """

  def __init__(self, log: SimulatedLogSettings, spec: FeatureSpec) -> None:
    self.spec = spec
    self._blocks = self._encoded(SimulatedLog(log))
    self._ids, self._labels = next(self._blocks)

  def _encoded(self, log: SimulatedLog) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    known: dict[str, list[str]] = {}
    for block in log.blocks(0, 1 << 40):
      for field in self.spec.fields:
        if field.vocabulary_ids and not field.vocabulary and field.name not in known:
          known[field.name] = sorted({str(value) for value in block.columns[field.column]})[:field.vocabulary_ids - 2]
      ids = [encode(field, block.columns[field.column], known.get(field.name, ())) for field in self.spec.fields]
      yield np.stack(ids, axis=1), block.columns[self.spec.label.column].astype(np.float32)

  def take(self, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The next rows: `[num_rows, num_fields]` int32 ids and `[num_rows]` float32 labels."""
    while len(self._ids) < num_rows:
      ids, labels = next(self._blocks)
      self._ids, self._labels = np.concatenate([self._ids, ids]), np.concatenate([self._labels, labels])
    taken = self._ids[:num_rows], self._labels[:num_rows]
    self._ids, self._labels = self._ids[num_rows:], self._labels[num_rows:]
    return taken


def mixed_slots(rows: Rows, num_slots: int, default_ids_per_slot: int) -> Slots:
  """Slots that each stand for the next `ROWS_PER_SLOT` rows: their most frequent ids, by frequency, and mean label."""
  counts = rows.spec.ids_per_slot(default_ids_per_slot)
  ids = np.zeros((num_slots, len(counts), max(counts)), np.int32)
  weights = np.zeros(ids.shape, np.float32)
  labels = np.zeros(num_slots, np.float32)
  for slot in range(num_slots):
    of_rows, clicks = rows.take(ROWS_PER_SLOT)
    labels[slot] = clicks.mean()
    for field, most in enumerate(counts):
      found, times = np.unique(of_rows[:, field], return_counts=True)
      kept_ids = np.argsort(-times, kind="stable")[:most]
      ids[slot, field, :len(kept_ids)] = found[kept_ids]
      weights[slot, field, :len(kept_ids)] = times[kept_ids] / times[kept_ids].sum()
  number = np.arange(num_slots)
  return Slots(ids=ids, weights=weights, labels=labels, sample_weights=np.ones(num_slots), slot_ids=number,
               born_spans=0 * number, updated_spans=0 * number, influences=0.0 * number)
