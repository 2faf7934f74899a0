import dataclasses
import json

import numpy as np
import pytest

from diet_tf.distillation.carried_rows import CarriedRows, carried_on, num_carried
from diet_tf.errors import FormatError
from diet_tf.io.arrays import read_arrays, write_arrays
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.hashing import mix
from diet_tf.memory.last_refinement import LastRefinement
from diet_tf.memory.memory import Memory
from diet_tf.memory.recipe import Recipe
from tests.diet_tf import small_sets
from tests.diet_tf.small_log import SPEC, draw


def rows_of(span, count=100):
  ids, labels, example_ids, *_ = draw(count, seed=span)
  return EncodedRows(ids, labels, example_ids)


def memory_of(span, last_span=None):
  """A memory after that span, of 100 examples a span, and refined at its own or another one."""
  from tests.fuzz import valid_files

  note = None if last_span is None else LastRefinement(last_span, 3, 100 * last_span, 3)
  return Memory.create(valid_files._slots(), valid_files.SPEC, Recipe(), span=span, num_examples_seen=100 * span,
                       budget={}, last_refinement=note)


def same(one, other):
  return (one.num_rows, one.after_span, one.num_examples_before, one.rows.ids.tolist(), one.rows.example_ids.tolist()
          ) == (other.num_rows, other.after_span, other.num_examples_before, other.rows.ids.tolist(),
                other.rows.example_ids.tolist())


def test_it_is_a_uniform_sample_of_all_spans_however_they_are_cut():
  first, second = rows_of(1), rows_of(2)
  carried = carried_on(None, None, [first], 40)
  carried = carried_on(memory_of(1, 0), carried, second.batches(7), 40)
  both = EncodedRows.concatenate([first, second])
  order = np.argsort(mix(both.example_ids, 29), kind="stable")[:40]
  assert carried.rows.example_ids.tolist() == both.example_ids[order].tolist()
  assert carried.rows.ids.tolist() == both.ids[order].tolist()
  assert (carried.num_rows, carried.after_span, carried.num_examples_before) == (200, None, 0)
  turned = carried_on(memory_of(1, 0), carried_on(None, None, [first], 40), [second.take(slice(None, None, -1))], 40)
  assert same(turned, carried)


def test_it_begins_anew_after_a_refinement_and_where_none_was_kept():
  carried = carried_on(None, None, [rows_of(1)], 40)
  for previous, before in ((memory_of(1), carried), (memory_of(1, 0), None)):
    again = carried_on(previous, before, [rows_of(2)], 40)
    assert (again.num_rows, again.after_span, again.num_examples_before) == (100, 1, 100)
    assert set(again.rows.example_ids) <= set(rows_of(2).example_ids)


def test_a_larger_sample_later_takes_no_row_that_an_earlier_span_had_no_place_for():
  carried = carried_on(None, None, [rows_of(1)], 10)
  later = carried_on(memory_of(1, 0), carried, [rows_of(2)], 1000)
  last = mix(carried.rows.example_ids, 29).max()
  assert later.num_rows == 200 and 10 < len(later) < 40
  assert (mix(later.rows.example_ids, 29) <= last).all()


def test_files_give_back_what_was_written_and_the_same_bytes(tmp_path):
  carried = carried_on(None, None, [rows_of(1)], 40)
  for name in "ab":
    carried.write(str(tmp_path / name), SPEC)
  assert same(CarriedRows.read(str(tmp_path / "a"), SPEC), carried)
  assert num_carried(str(tmp_path / "a")) == len(carried) == 40
  assert (tmp_path / "a" / "rows.npz").read_bytes() == (tmp_path / "b" / "rows.npz").read_bytes()
  assert CarriedRows.read(str(tmp_path / "a"), SPEC).rows.ids.dtype == np.int32


@pytest.mark.parametrize("damage", ["more rows", "an id beyond its field", "a field less", "another spec", "negative"])
def test_damaged_files_are_refused(tmp_path, damage):
  carried_on(None, None, [rows_of(1)], 40).write(str(tmp_path), SPEC)
  summary = json.loads((tmp_path / "carried.json").read_text())
  arrays = read_arrays(str(tmp_path / "rows.npz"))
  spec = SPEC
  if damage == "more rows":
    summary["num_kept"] = 41
  elif damage == "negative":
    summary["num_examples_before"] = -1
  elif damage == "an id beyond its field":
    arrays["ids/user"] = np.full(40, SPEC.num_ids[0], np.int64)
  elif damage == "a field less":
    del arrays["ids/user"]
  else:
    spec = dataclasses.replace(SPEC, fields=SPEC.fields[:2])
  (tmp_path / "carried.json").write_text(json.dumps(summary))
  write_arrays(str(tmp_path / "rows.npz"), arrays)
  with pytest.raises(FormatError):
    CarriedRows.read(str(tmp_path), spec)


def test_sets_of_values_are_kept_with_their_weights(tmp_path):
  rows, _, example_ids = small_sets.draw(30)
  carried = carried_on(None, None, [EncodedRows(rows, example_ids=example_ids)], 20)
  folder = str(tmp_path)
  carried.write(folder, small_sets.SPEC)
  assert same(CarriedRows.read(folder, small_sets.SPEC), carried)
  arrays = read_arrays(f"{folder}/rows.npz")
  assert arrays["ids/genres"].dtype == np.uint8 and arrays["ids/genres"].max() == 9  # Padding is the number of ids.
  assert arrays["weights/tags"].shape == (20, 2)
  write_arrays(f"{folder}/rows.npz", {**arrays, "weights/tags": arrays["weights/tags"] + 1})
  with pytest.raises(FormatError, match="'tags'.*sum to 1"):
    CarriedRows.read(folder, small_sets.SPEC)
