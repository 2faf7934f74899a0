"""The teacher under a changed config: its files as the new feature spec and the new settings would have them.

Rows of tables move with their ids: those of a hashed id go to all ids that it becomes (see `diet_tf.migration.memory`),
with their moments. Dense variables whose shape grows with the fields get zeros at their ends, which is where the new
fields come in, and the row of a new field's missing id is zero: for what was seen before, the logits stay. Other rows
of new fields begin as those of a new teacher do.

Not every architecture can grow so: where something stands behind the fields in one variable, zeros at the end come in
the wrong place, and where fields compete for attention, a field of zeros takes part. This is tried with random weights
on a small spec first, since the logits of a teacher that has hardly learned would not show it, and then with the
teacher's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from diet_tf.distillation.teacher import TEACHER, Teacher, TeacherSettings, keyed_state, keyed_variables
from diet_tf.errors import ConfigError
from diet_tf.io import files
from diet_tf.io.arrays import read_arrays, write_arrays
from diet_tf.log.features import FeatureSpec, Field
from diet_tf.log.row_layout import RowLayout
from diet_tf.memory.slots import Slots
from diet_tf.migration.memory import Migration, plan_migration
from diet_tf.models import RankingModel, build_model, parameter_group

# The families that new fields can be added to.
GROWING_FAMILIES = ("lr", "fm", "dnn", "wide_deep", "deepfm", "nfm", "dlrm")
# Logits of rows that were seen before may change by so much: rows that were never trained begin anew.
MAX_LOGIT_CHANGE = 0.05
# The same for random weights on a small spec, where only the order of sums differs; relative to the largest logit.
_MAX_RELATIVE_CHANGE = 1e-3
_MAX_COMPARED_SLOTS = 512
# The second moment of rows that are zero on purpose: "touched", so that they are saved, and too small to matter.
_LEAST_MOMENT = float(np.finfo(np.float32).tiny)


def migrate_teacher(source: str, target: str, migration: Migration, settings: TeacherSettings, slots: Slots) -> None:
  """Writes the teacher saved in `source` as one of the migration's new spec and of the settings.

  Args:
    source: folder of the committed teacher.
    target: folder that is written to, another one; what it holds of the teacher is replaced.
    migration: the change of the feature spec; it may be empty.
    settings: the teacher's settings in use; their members are those that the saved teacher has.
    slots: slots of the committed memory, on whose ids the logits must stay.

  Raises:
    FormatError: the files are damaged.
    ConfigError: a member cannot grow so, or its logits change.
  """
  header = TEACHER.read(f"{source}/teacher.json")
  before = header["settings"]
  if migration.added:
    for name in settings.members:
      _require_growable(name, migration)
  # Read in full first, so that a file that is damaged is named.
  old = Teacher.load(source, migration.old, before)
  arrays = read_arrays(f"{source}/teacher.npz")
  if not migration.is_empty:
    arrays = _migrated_arrays(arrays, old, migration)
  files.make_folders(target)
  write_arrays(f"{target}/teacher.npz", arrays)
  TEACHER.write(f"{target}/teacher.json", TEACHER.document({
      **header, "settings": dataclasses.asdict(settings), "feature_spec_digest": migration.new.digest()}))
  _require_same_logits(old, Teacher.load(target, migration.new, settings), migration, slots)


def _migrated_arrays(arrays: Mapping[str, np.ndarray], old: Teacher, migration: Migration) -> dict[str, np.ndarray]:
  migrated = {}
  for index, (name, member) in enumerate(zip(old.settings.members, old.members)):
    grown = build_model(name, migration.new, seed=old.seed + index)
    own = _own_migration(name, member, grown)
    migrated[f"{index}/iterations"] = arrays[f"{index}/iterations"]
    migrated.update(_migrated_state(name, arrays, index, grown))
    for (key, variable), (_, larger) in _pairs(name, member, grown):
      kinds = {f"{index}/{key}/{kind}": 0.0 if kind != "v" else _LEAST_MOMENT for kind in "wmv"}
      if index == 0:
        kinds.update({f"checkpoint/{number}/{key}": 0.0 for number in range(len(old.checkpoints))})
      if parameter_group(variable) == "dense":
        migrated.update({kind: _padded(name, arrays[kind], larger.shape) for kind in kinds})
        continue
      moved = _moved_rows(own, arrays[f"{index}/{key}/rows"])
      migrated[f"{index}/{key}/rows"] = moved.rows
      migrated.update({kind: moved.values(arrays[kind], added) for kind, added in kinds.items()})
  return migrated


def _migrated_state(name: str, arrays: Mapping[str, np.ndarray], index: int,
                    grown: RankingModel) -> dict[str, np.ndarray]:
  """Moving statistics, counters and generators, with the initial values of a new model at the ends that are new."""
  initial = {key: variable.numpy() for key, variable in keyed_state(grown)}
  owners = (f"{index}/", *(["checkpoint/"] if index == 0 else []))
  migrated = {}
  for key, value in arrays.items():
    own_key = key.rsplit("/", 1)[-1]
    if not key.startswith(owners) or not own_key.startswith(("state.", "draws.")):
      continue
    migrated[key] = value
    if value.ndim:
      migrated[key] = initial.get(own_key, value).copy()
      _padded(name, value, migrated[key].shape)  # Refuses a shape that did not grow at its ends.
      migrated[key][tuple(slice(size) for size in value.shape)] = value
  return migrated


@dataclasses.dataclass(frozen=True)
class _MovedRows:
  """Rows of a table after a migration.

  Attributes:
    rows: `[n]` int64 rows of the new table, in increasing order.
    sources: `[n - num_added]` int64, the old row's place among the saved rows, for each row but the last `num_added`.
    num_added: rows of new fields' missing ids, which come last.
  """

  rows: np.ndarray
  sources: np.ndarray
  num_added: int

  def values(self, saved: np.ndarray, added: float) -> np.ndarray:
    """What the rows hold, from that of the saved rows; `added` in the new fields'."""
    new = np.full((self.num_added, *saved.shape[1:]), added, saved.dtype)
    return np.concatenate([saved[self.sources], new])


def _moved_rows(migration: Migration, rows: np.ndarray) -> _MovedRows:
  old_sizes, new_sizes = (np.asarray(spec.num_ids, np.int64) for spec in (migration.old, migration.new))
  old_starts, new_starts = np.cumsum(old_sizes) - old_sizes, np.cumsum(new_sizes) - new_sizes
  field = np.searchsorted(old_starts, rows, side="right") - 1
  ids = rows - old_starts[field]
  num_copies = np.where(ids > 0, np.asarray(migration.growth)[field], 1)
  source = np.repeat(np.arange(len(rows)), num_copies)
  copy = np.arange(len(source)) - np.repeat(np.cumsum(num_copies) - num_copies, num_copies)
  moved = new_starts[field[source]] + ids[source] + copy * (old_sizes[field[source]] - 1)
  order = np.argsort(moved, kind="stable")
  missing = new_starts[len(old_sizes):]
  return _MovedRows(np.concatenate([moved[order], missing]), source[order], len(missing))


def _pairs(name: str, member: RankingModel, grown: RankingModel) -> list:
  """Each variable with its key, beside the one that takes its place."""
  before, after = keyed_variables(member), keyed_variables(grown)
  if [key for key, _ in before] != [key for key, _ in after]:
    raise _cannot_grow(name, f"variables {[key for key, _ in before]}, then {[key for key, _ in after]}.")
  return list(zip(before, after))


def _padded(name: str, value: np.ndarray, shape: tf.TensorShape) -> np.ndarray:
  if value.ndim != len(shape) or any(now < before for before, now in zip(value.shape, shape)):
    raise _cannot_grow(name, f"a variable of shape {value.shape}, then {tuple(shape)}.")
  return np.pad(value, [(0, now - before) for before, now in zip(value.shape, shape)])


def _own_migration(name: str, member: RankingModel, grown: RankingModel) -> Migration:
  """The migration of the fields that a member reads."""
  if not all(isinstance(model, RankingModel) for model in (member, grown)):
    raise _cannot_grow(name, "a model whose tables are not known.")
  return plan_migration(member.embedding.spec, grown.embedding.spec)


def _require_growable(name: str, migration: Migration) -> None:
  """Raises ConfigError if a member with random weights has other logits once fields were added."""
  small = Migration(_small(migration.old), _small(migration.new))
  member, grown = (build_model(name, spec) for spec in (small.old, small.new))
  own = _own_migration(name, member, grown)
  random = np.random.default_rng(0)
  for (_, variable), (_, larger) in _pairs(name, member, grown):
    value = random.normal(scale=0.5, size=variable.shape).astype(variable.dtype.as_numpy_dtype)
    variable.assign(value)
    if parameter_group(variable) == "dense":
      larger.assign(_padded(name, value, larger.shape))
    else:
      moved, table = _moved_rows(own, np.arange(len(value))), larger.numpy()
      table[moved.rows] = moved.values(value, 0.0)
      larger.assign(table)
  ids = random.integers(3, size=(64, len(small.old.fields))).astype(np.int32)
  before, after = (model({"ids": rows}).numpy() for model, rows in (
      (member, ids), (grown, small.ids(ids, np.zeros(len(ids), np.int64)))))
  change = float(np.abs(before - after).max())
  if not change <= _MAX_RELATIVE_CHANGE * float(np.abs(before).max()):
    raise _cannot_grow(name, f"logits that change by {change:.3g} when nothing but a field is added.")


def _small(spec: FeatureSpec) -> FeatureSpec:
  return dataclasses.replace(spec, fields=tuple(Field(field.name, field.column, hash_ids=3) for field in spec.fields))


def _require_same_logits(old: Teacher, new: Teacher, migration: Migration, slots: Slots) -> None:
  """Raises ConfigError, naming the member, if the logits of slots' heaviest ids are others in the new spec."""
  chosen = np.unique(np.linspace(0, len(slots) - 1, min(len(slots), _MAX_COMPARED_SLOTS)).astype(np.int64))
  heaviest = slots.weights[chosen].argmax(axis=2)[..., np.newaxis]  # [n, F, 1]
  ids = np.take_along_axis(slots.ids[chosen], heaviest, axis=2)[..., 0]
  ids = RowLayout.of(old.spec).of_single_ids(ids)
  rows = migration.ids(ids, chosen)
  for name, before, after in zip(old.settings.members, old.members, new.members):
    change = float(np.abs(before({"ids": ids}).numpy() - after({"ids": rows}).numpy()).max(initial=0.0))
    if not change <= MAX_LOGIT_CHANGE:
      raise _cannot_grow(name, f"logits that change by {change:.3g} on {len(chosen)} slots of the memory.")


def _cannot_grow(name: str, received: str) -> ConfigError:
  return ConfigError(f"teacher member {name!r}", rule="it can be carried into the new feature spec: for what was seen "
                     f"before, its logits change by at most {MAX_LOGIT_CHANGE:g}.", received=received,
                     remedy="keep the fields, or begin a new store; members that can take new fields are "
                     f"{', '.join(GROWING_FAMILIES)}.")
