from __future__ import annotations

import csv
import hashlib
import tracemalloc

import numpy as np
import pytest

from diet_tf import errors, metrics
from diet_tf.log import simulate

SMALL = simulate.SimulatedLogSettings(num_users=60, num_items=40, num_authors=8, num_categories=5, rows_per_span=700,
                                      block_rows=256)


def _log(**changes) -> simulate.SimulatedLog:
  values = {field: getattr(SMALL, field) for field in SMALL.__dataclass_fields__}
  return simulate.SimulatedLog(simulate.SimulatedLogSettings(**{**values, **changes}))


def test_a_span_is_the_same_whenever_it_is_asked_for():
  columns, probabilities = _log().span(3)
  other = _log()
  other.span(7)
  again, same = other.span(3)
  np.testing.assert_array_equal(probabilities, same)
  for name in columns:
    np.testing.assert_array_equal(columns[name], again[name])


def test_a_log_of_before_keeps_its_bytes():
  columns, _ = _log().span(3)
  told = b"".join(columns[name].astype("<i8").tobytes() for name in ("user_id", "item_id", "hour", "click"))
  assert hashlib.sha256(told).hexdigest() == "a9b335e5d90e9c4ce378bef989028f39960bd80122ea6ba74413c897b9da7d05"


def test_blocks_make_up_the_span_and_the_last_is_short():
  blocks = list(_log().blocks(1))
  assert [len(block.probabilities) for block in blocks] == [256, 256, 188]
  columns, _ = _log().span(1)
  np.testing.assert_array_equal(columns["user_id"][256:512], blocks[1].columns["user_id"])


def test_rows_are_in_time_order_inside_their_day():
  columns, _ = _log().span(2)
  day = 24 * 3_600_000
  offset = columns["time_ms"] - simulate.FIRST_DAY_MS - 2 * day
  assert (np.diff(offset) >= 0).all()
  assert offset.min() >= 0 and offset.max() < day
  np.testing.assert_array_equal(columns["hour"], offset // 3_600_000)


def test_the_seed_changes_the_log():
  assert not np.array_equal(_log().span(0)[1], _log(seed=1).span(0)[1])


def test_clicks_follow_the_probabilities():
  columns, probabilities = _log().span(0, num_rows=40_000)
  for low, high in [(0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 1.0)]:
    chosen = (probabilities >= low) & (probabilities < high)
    error = 4 * 0.5 / np.sqrt(chosen.sum())
    assert columns["click"][chosen].mean() == pytest.approx(probabilities[chosen].mean(), abs=error)


def test_bayes_auc_is_what_the_true_probabilities_reach():
  log = _log()
  columns, probabilities = log.span(0, num_rows=40_000)
  assert log.bayes_auc(0, num_rows=40_000) == pytest.approx(metrics.auc(columns["click"], probabilities), abs=0.01)


def test_without_strength_nothing_can_be_predicted():
  log = _log(strength=0.0, intercept=0.0)
  assert np.all(log.span(0)[1] == 0.5)
  assert log.bayes_auc(0) == pytest.approx(0.5)


def test_without_drift_a_user_keeps_to_their_ways():
  """Two spans' mean probability by user agrees without drift, and less so a quarter turn apart."""
  def correlation(drift: float) -> float:
    log = _log(drift=drift, churn=0.0)
    means = []
    for span in (0, 5):
      columns, probabilities = log.span(span, num_rows=30_000)
      sums = np.bincount(columns["user_id"], probabilities, 60)
      means.append(sums / np.maximum(np.bincount(columns["user_id"], minlength=60), 1))
    return float(np.corrcoef(*means)[0, 1])

  assert correlation(0.0) > 0.97
  assert correlation(np.pi / 10) < 0.7


def test_new_users_and_items_appear_and_old_ones_fade():
  log = _log(churn=0.1)
  first, _ = log.span(0, num_rows=5000)
  later, _ = log.span(5, num_rows=5000)
  assert first["user_id"].max() < 60 and later["user_id"].min() >= 30 and later["user_id"].max() >= 60
  assert later["item_id"].max() >= 40 > first["item_id"].max()


def test_popularity_moves_at_a_speed_of_its_own_for_each():
  """No speed reaches more than a fifth of the ranks a span; after many spans who was popular says little."""
  def counts(span: int, popularity_drift: float) -> np.ndarray:
    columns, _ = _log(churn=0.0, popularity_drift=popularity_drift).span(span, num_rows=20_000)
    return np.bincount(columns["item_id"], minlength=40)

  np.testing.assert_array_equal(counts(0, 0.2), counts(0, 0.0))
  assert np.corrcoef(counts(0, 0.0), counts(9, 0.0))[0, 1] > 0.98
  assert np.corrcoef(counts(0, 0.2), counts(9, 0.2))[0, 1] < 0.5


def test_ranks_turn_at_the_ends():
  """By hand: 0.9 at the speed of 0.2 a span goes to 1.1, which is 0.9 again, then to 1.3, which is 0.7."""
  log = _log(popularity_drift=0.2)
  log._window = lambda *_: (None, np.array([[1.0]]))
  assert [log._ranks(np.array([0.9]), 7, 0, span)[0] for span in (0, 1, 2)] == pytest.approx([0.9, 0.9, 0.7])


def test_attributes_are_of_users_and_items_in_turn_and_stay():
  log = _log(num_attributes=4, churn=0.1)
  known: dict[tuple[str, int], int] = {}
  for span in range(3):
    columns, _ = log.span(span)
    for number, entity, num_values in ((0, "user_id", 4), (1, "item_id", 4), (2, "user_id", 8), (3, "item_id", 8)):
      values = columns[f"attribute_{number}"]
      assert 0 <= values.min() and values.max() < num_values
      for whose, value in zip(columns[entity], values, strict=True):
        assert known.setdefault((f"attribute_{number}", int(whose)), int(value)) == value


def test_attributes_leave_the_rest_of_the_log_as_it_is():
  plain, probabilities = _log().span(2)
  columns, same = _log(num_attributes=3).span(2)
  np.testing.assert_array_equal(probabilities, same)
  for name, values in plain.items():
    np.testing.assert_array_equal(columns[name], values, err_msg=name)


def test_an_attribute_tells_of_clicks():
  columns, probabilities = _log(num_attributes=1, strength=2.0).span(0, num_rows=20_000)
  means = [probabilities[columns["attribute_0"] == value].mean() for value in (1, 2)]
  assert means[1] > means[0] + 0.1


def test_an_item_keeps_its_properties_while_it_ages():
  log = _log(churn=0.1)
  known: dict[int, tuple[int, str, int]] = {}
  for span in range(4):
    columns, _ = log.span(span)
    assert (columns["item_age"] >= 0).all()
    born = span - columns["item_age"]
    for item, *properties in zip(columns["item_id"], columns["author_id"], columns["category"], born, strict=False):
      assert known.setdefault(int(item), tuple(properties)) == tuple(properties)


def test_csv_holds_the_columns_and_missing_prices_are_empty(tmp_path):
  log = _log(missing_price=0.3)
  reports: list[tuple[int, int | None]] = []
  path = str(tmp_path / "span.csv")
  assert log.write_csv(path, 1, progress=lambda _, done, total: reports.append((done, total))) == 700
  assert reports == [(256, 700), (512, 700), (700, 700)]
  with open(path, newline="") as file:
    rows = list(csv.DictReader(file))
  columns, _ = log.span(1)
  assert list(rows[0]) == list(columns)
  assert [int(row["user_id"]) for row in rows] == columns["user_id"].tolist()
  for row, price in zip(rows, columns["price"], strict=False):
    assert row["price"] == ("" if np.isnan(price) else repr(float(price)))


@pytest.mark.parametrize("num_attributes", [0, 13])
def test_the_feature_spec_reads_every_column(num_attributes):
  log = _log(num_attributes=num_attributes)
  spec = simulate.simulated_feature_spec(log.settings)
  assert len(spec.fields) == 11 + num_attributes
  columns, _ = log.span(0)
  assert {field.column for field in spec.fields} | {"click", "time_ms"} == set(columns)
  assert dict(zip(spec.names, spec.num_ids, strict=False))["user_id"] == 512
  for field in spec.fields:
    if field.vocabulary_ids and not field.vocabulary:
      assert len(np.unique(columns[field.column])) + 2 <= field.vocabulary_ids
    if field.vocabulary:
      assert set(columns[field.column]) <= set(field.vocabulary)


def test_memory_is_that_of_a_block_and_not_of_the_span():
  log = _log(block_rows=2048)

  def peak(num_rows: int) -> int:
    tracemalloc.start()
    for _ in log.blocks(0, num_rows):
      pass
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most

  peak(2048)  # Fills the span's parameters.
  assert peak(40_960) < 1.2 * peak(4096)


@pytest.mark.parametrize("changes", [{"num_users": 1}, {"rows_per_span": 0}, {"churn": 1.5}, {"drift": -0.1},
                                     {"popularity_drift": 1.5}, {"num_attributes": -1},
                                     {"seed": -1}, {"num_items": 2.5}, {"missing_price": float("nan")}])
def test_settings_that_make_no_log_are_refused(changes):
  with pytest.raises(errors.ConfigError, match=next(iter(changes))):
    _log(**changes)


def test_a_negative_span_is_refused():
  with pytest.raises(errors.ConfigError, match="numbered from 0"):
    _log().span(-1)
