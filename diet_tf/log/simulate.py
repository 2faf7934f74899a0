"""A simulated click log that drifts from span to span and whose click probabilities are known.

A row is drawn by choosing a user and an item by popularity, and a moment of the day. Its click probability is the
sigmoid of a sum of known terms: the user's, the item's and the author's own pull, the inner product of the user's and
the item's taste, the hour on a tab, the device, and the price as the user's segment feels it. Every latent parameter
turns by a fixed angle from span to span, `x(t) = cos(drift t) a + sin(drift t) b`, so that its scale stays and its
direction does not; users and items form a window that slides, so that new ones appear and old ones fade, and each may
rise and fall in popularity at a speed of its own. Because the probabilities are known, so is the best AUC that any
model could reach on a span.

A log may have further columns, attributes of its users and items: a rough picture of one of the numbers behind their
pull and taste, as it was before anything turned. What they tell of clicks changes with the spans, as all else does.

Everything follows from `SeedSequence([seed, stream, ...])`, block by block: any block of any span can be drawn alone,
and a span of 10 million rows needs the memory of one block.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import math
from collections.abc import Callable, Iterator

import numpy as np

from diet_tf import metrics
from diet_tf.errors import ConfigError
from diet_tf.io import files
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.progress import Progress, silent

DEVICES = ("phone", "tablet", "web")
TABS = ("home", "follow", "search", "nearby")
FIRST_DAY_MS = 1_704_067_200_000  # 2024-01-01, midnight UTC; span t is the day t days later.
_HOUR_MS = 3_600_000
_DEVICE_SHARES = np.array([0.7, 0.1, 0.2])
_TAB_SHARES = np.array([0.5, 0.25, 0.15, 0.1])
_PRICE_BOUNDARIES = (2.0, 4.0, 6.0, 9.0, 13.0, 20.0, 30.0, 50.0)
_ITEM_AGE_BOUNDARIES = (1.0, 2.0, 4.0, 8.0, 16.0)
# Users and items are drawn in chunks of fixed size, so that one is the same whatever window it is seen in.
_CHUNK = 1024
# The streams of `SeedSequence([seed, stream, ...])`.
_ROWS, _USERS, _ITEMS, _AUTHORS, _CATEGORIES, _SEGMENTS, _CONTEXT, _USER_RANKS, _ITEM_RANKS = range(9)
# An attribute has 4 values, the next one of the same user or item 8, and so on up to 128.
_FEWEST_VALUES, _MOST_VALUES = 4, 128
# How far each term moves the logit (standard deviations, roughly).
_USER, _ITEM, _AUTHOR, _TASTE, _HOUR_TAB, _DEVICE, _PRICE = 0.75, 0.55, 0.4, 0.75, 0.35, 0.2, 0.3


@dataclasses.dataclass(frozen=True)
class SimulatedLogSettings:
  """The settings of a simulated log.

  Attributes:
    seed: seed of everything that is drawn.
    num_users: number of users in the window of a span.
    num_items: number of items in the window of a span.
    num_authors: number of authors of items.
    num_categories: number of categories of items.
    num_segments: number of user segments; a segment shares half of its users' taste and their feeling for prices.
    rows_per_span: number of impressions of a span.
    drift: the angle, in radians, by which every latent parameter turns from a span to the next.
    churn: the share of users and items that a span replaces by new ones.
    popularity_drift: the most by which the rank of a user or item in popularity moves from a span to the next, as a
      share of all ranks; each moves at a speed of its own, and turns at the first and the last rank.
    popularity_exponent: exponent of Zipf's law, by which users and items are drawn.
    num_attributes: number of further columns `attribute_0`, `attribute_1` and so on, in turn of the user and the item.
    taste_dimensions: number of dimensions of the users' and items' latent vectors.
    strength: a factor of all terms but the intercept: higher is easier to predict.
    intercept: the logit of a click where all other terms are 0.
    missing_price: the share of rows without a price.
    block_rows: number of rows that are drawn at a time.
  """

  seed: int = 0
  num_users: int = 1500
  num_items: int = 600
  num_authors: int = 120
  num_categories: int = 24
  num_segments: int = 8
  rows_per_span: int = 20_000
  drift: float = 0.1
  churn: float = 0.04
  popularity_drift: float = 0.0
  popularity_exponent: float = 0.9
  num_attributes: int = 0
  taste_dimensions: int = 4
  strength: float = 1.0
  intercept: float = -0.7
  missing_price: float = 0.02
  block_rows: int = 8192

  def __post_init__(self) -> None:
    at_least = {"seed": 0, "num_users": 2, "num_items": 2, "num_authors": 1, "num_categories": 1, "num_segments": 1,
                "rows_per_span": 1, "num_attributes": 0, "taste_dimensions": 1, "block_rows": 1}
    for name, least in at_least.items():
      value = getattr(self, name)
      if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"simulated log: {name}", rule=f"a whole number of at least {least}.", received=repr(value),
                          remedy=f"set {name} to {least} or more.")
    ranges = {"drift": (0.0, math.pi), "churn": (0.0, 1.0), "popularity_drift": (0.0, 1.0),
              "popularity_exponent": (0.0, 4.0), "strength": (0.0, 100.0), "intercept": (-20.0, 20.0),
              "missing_price": (0.0, 1.0)}
    for name, (low, high) in ranges.items():
      if not low <= getattr(self, name) <= high:
        raise ConfigError(f"simulated log: {name}", rule=f"it lies in [{low:g}, {high:g}].",
                          received=repr(getattr(self, name)), remedy=f"set {name} inside that range.")


@dataclasses.dataclass(frozen=True)
class SimulatedBlock:
  """Consecutive rows of a span: columns by name (`[n]` each) and the rows' click probabilities (`[n]` float64)."""

  columns: dict[str, np.ndarray]
  probabilities: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Users:
  first: int
  cumulative: np.ndarray  # [num_users]
  bias: np.ndarray  # [num_users]
  taste: np.ndarray  # [num_users, dimensions]
  segment: np.ndarray  # [num_users]
  region: np.ndarray  # [num_users]
  attributes: dict[str, np.ndarray]  # [num_users] each


@dataclasses.dataclass(frozen=True)
class _Items:
  first: int
  cumulative: np.ndarray  # [num_items]
  bias: np.ndarray  # [num_items], the author's pull included
  taste: np.ndarray  # [num_items, dimensions]
  author: np.ndarray  # [num_items]
  category: np.ndarray  # [num_items]
  price: np.ndarray  # [num_items]
  born: np.ndarray  # [num_items]
  attributes: dict[str, np.ndarray]  # [num_items] each


@dataclasses.dataclass(frozen=True)
class _Context:
  hour_tab: np.ndarray  # [24, len(TABS)]
  device: np.ndarray  # [len(DEVICES)]
  price: np.ndarray  # [num_segments]


class SimulatedLog:
  """A drifting click log with known click probabilities; spans are numbered from 0 without end."""

  def __init__(self, settings: SimulatedLogSettings) -> None:
    self.settings = settings
    # A span's latent parameters are small (the window, not the rows); two spans are kept for train-and-test loops.
    self._span_parameters = functools.lru_cache(maxsize=2)(self._draw_parameters)

  def blocks(self, span: int, num_rows: int | None = None) -> Iterator[SimulatedBlock]:
    """Yields the rows of a span in time order, `block_rows` at a time.

    Args:
      span: 0 or more.
      num_rows: instead of the settings' `rows_per_span`; the rows of spans of different length differ.
    """
    if span < 0:
      raise ConfigError("simulated span", rule="spans are numbered from 0.", received=str(span),
                        remedy="ask for span 0 or later.")
    num_rows = self.settings.rows_per_span if num_rows is None else num_rows
    size = self.settings.block_rows
    for number, start in enumerate(range(0, num_rows, size)):
      yield self._block(span, number, start, min(size, num_rows - start), num_rows)

  def span(self, span: int, num_rows: int | None = None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The columns of a whole span by name (`[num_rows]` each), and its click probabilities (`[num_rows]` float64)."""
    blocks = list(self.blocks(span, num_rows))
    columns = {name: np.concatenate([block.columns[name] for block in blocks]) for name in blocks[0].columns}
    return columns, np.concatenate([block.probabilities for block in blocks])

  def bayes_auc(self, span: int, num_rows: int | None = None) -> float:
    """The expected AUC of the true probabilities on a span's rows: no model can have a higher one."""
    return metrics.expected_auc(np.concatenate([block.probabilities for block in self.blocks(span, num_rows)]))

  def write_csv(self, path: str, span: int, num_rows: int | None = None, progress: Progress = silent) -> int:
    """Writes a span as CSV with a header, missing values empty; returns the number of rows."""
    import tensorflow as tf  # Imported here: drawing rows needs numpy alone.

    total = self.settings.rows_per_span if num_rows is None else num_rows
    written = 0
    with tf.io.gfile.GFile(files.prepared(path), "w") as file:
      for block in self.blocks(span, num_rows):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not written:
          writer.writerow(block.columns)
        writer.writerows(zip(*(_csv_values(column) for column in block.columns.values()), strict=False))
        file.write(text.getvalue())
        written += len(block.probabilities)
        progress(f"write span {span}", written, total)
    return written

  def _block(self, span: int, number: int, start: int, size: int, num_rows: int) -> SimulatedBlock:
    users, items, context = self._span_parameters(span)
    rng = self._rng(_ROWS, span, number)
    hours = np.interp((start + np.arange(size) + rng.random(size)) / num_rows, _day_curve(), np.arange(25.0))
    hour = np.minimum(hours.astype(np.int64), 23)
    user = _draw(users.cumulative, rng, size)
    item = _draw(items.cumulative, rng, size)
    tab = _draw(np.cumsum(_TAB_SHARES), rng, size)
    device = _draw(np.cumsum(_DEVICE_SHARES), rng, size)
    # Each sale has a discount of its own, so that prices are numbers and not names of items.
    price = np.round(items.price[item] * rng.uniform(0.8, 1.0, size), 2)
    price[rng.random(size) < self.settings.missing_price] = np.nan
    logits = self._logits(users, items, context, user, item, hour, tab, device, price)
    probabilities = 1.0 / (1.0 + np.exp(-logits))
    columns = {
        "time_ms": (FIRST_DAY_MS + (span * 24 + hours) * _HOUR_MS).astype(np.int64),
        "user_id": users.first + user,
        "item_id": items.first + item,
        "author_id": items.author[item],
        "category": np.char.add("c", items.category[item].astype(str)),
        "price": price,
        "item_age": span - items.born[item],
        "hour": hour,
        "tab": np.array(TABS)[tab],
        "device": np.array(DEVICES)[device],
        "user_segment": np.char.add("s", users.segment[user].astype(str)),
        "user_region": np.char.add("r", users.region[user].astype(str)),
        **{name: values[user] for name, values in users.attributes.items()},
        **{name: values[item] for name, values in items.attributes.items()},
        "click": (rng.random(size) < probabilities).astype(np.int64),
    }
    return SimulatedBlock(columns, probabilities)

  def _logits(self, users: _Users, items: _Items, context: _Context, user: np.ndarray, item: np.ndarray,
              hour: np.ndarray, tab: np.ndarray, device: np.ndarray, price: np.ndarray) -> np.ndarray:
    """The true logits of rows given by window positions, `[n]` float64."""
    taste = np.einsum("nd,nd->n", users.taste[user], items.taste[item]) / np.sqrt(self.settings.taste_dimensions)
    dearness = np.nan_to_num(np.log(price / 9.0))  # A missing price moves nothing.
    terms = (_USER * users.bias[user] + _ITEM * items.bias[item] + _TASTE * taste
             + _HOUR_TAB * context.hour_tab[hour, tab] + _DEVICE * context.device[device]
             + _PRICE * context.price[users.segment[user]] * dearness)
    return self.settings.intercept + self.settings.strength * terms

  def _draw_parameters(self, span: int) -> tuple[_Users, _Items, _Context]:
    settings = self.settings
    turn = functools.partial(_turned, angle=settings.drift * span)
    size = settings.taste_dimensions
    segments = turn(self._normals(_SEGMENTS, settings.num_segments, 2 * (size + 1)))
    categories = turn(self._normals(_CATEGORIES, settings.num_categories, 2 * size))
    authors = turn(self._normals(_AUTHORS, settings.num_authors, 2))
    context = turn(self._normals(_CONTEXT, 24 * len(TABS) + len(DEVICES), 2))[:, 0]

    first_user = round(span * settings.churn * settings.num_users)
    latent, uniform = self._window(_USERS, first_user, settings.num_users, 2 * (size + 1), 3)
    own, segment = turn(latent), (uniform[:, 1] * settings.num_segments).astype(np.int64)
    ranks = self._ranks(uniform[:, 0], _USER_RANKS, first_user, span)
    users = _Users(first_user, self._popularity(ranks), own[:, 0],
                   (own[:, 1:] + segments[segment, 1:]) / np.sqrt(2.0), segment, (uniform[:, 2] * 12).astype(np.int64),
                   self._attributes(latent[:, :size + 1], 0))

    first_item = round(span * settings.churn * settings.num_items)
    latent, uniform = self._window(_ITEMS, first_item, settings.num_items, 2 * (size + 1), 4)
    own, author = turn(latent), (uniform[:, 1] * settings.num_authors).astype(np.int64)
    category = (uniform[:, 2] ** 2 * settings.num_categories).astype(np.int64)  # Low numbers are common.
    ranks = self._ranks(uniform[:, 0], _ITEM_RANKS, first_item, span)
    items = _Items(first_item, self._popularity(ranks), own[:, 0] + _AUTHOR / _ITEM * authors[author, 0],
                   (own[:, 1:] + categories[category]) / np.sqrt(2.0), author, category,
                   9.0 * np.exp(1.6 * (uniform[:, 3] - 0.5) * 2.0), self._birth_spans(first_item),
                   self._attributes(latent[:, :size + 1], 1))
    hour_tab = context[:24 * len(TABS)].reshape(24, len(TABS))
    return users, items, _Context(hour_tab, context[24 * len(TABS):], segments[:, 0])

  def _birth_spans(self, first: int) -> np.ndarray:
    """The span in which each item of the window first appeared, `[num_items]` int64; spans before 0 are negative."""
    settings = self.settings
    if settings.churn == 0.0:
      return np.zeros(settings.num_items, np.int64)
    newer = first + np.arange(settings.num_items) - settings.num_items + 1
    # Those of the first window are given the ages that a window which had always slid would have.
    return np.ceil((newer - 0.5) / (settings.churn * settings.num_items)).astype(np.int64)

  def _attributes(self, latent: np.ndarray, first: int) -> dict[str, np.ndarray]:
    """Every second attribute from the one numbered `first` on, `[n]` int64 each: latent numbers in steps of a size."""
    return {f"attribute_{number}":
            (np.clip((latent[:, place % latent.shape[1]] + 3.0) / 6.0, 0.0, 1.0 - 1e-9)
             * _num_values(number)).astype(np.int64)
            for place, number in enumerate(range(first, self.settings.num_attributes, 2))}

  def _ranks(self, uniform: np.ndarray, stream: int, first: int, span: int) -> np.ndarray:
    """The ranks of a window in popularity, `[n]` in [0, 1], at a span: each goes to and fro between the ends."""
    if not self.settings.popularity_drift:
      return uniform
    _, speeds = self._window(stream, first, len(uniform), 0, 1)
    moved = uniform + self.settings.popularity_drift * span * (2.0 * speeds[:, 0] - 1.0)
    return 1.0 - np.abs(1.0 - np.mod(moved, 2.0))

  def _popularity(self, uniform: np.ndarray) -> np.ndarray:
    """The cumulative popularity of a window: Zipf's law over its ranks, the oldest quarter fading, `[n]`."""
    weights = (1.0 + uniform * len(uniform)) ** -self.settings.popularity_exponent
    if self.settings.churn:
      weights *= np.minimum(1.0, 4.0 * (np.arange(len(uniform)) + 1.0) / len(uniform))
    return np.cumsum(weights / weights.sum())

  def _window(self, stream: int, first: int, size: int, normals: int, uniforms: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal and uniform numbers of the entities `first ... first + size - 1`, whatever the window."""
    start = first // _CHUNK
    chunks = [self._rng(stream, number) for number in range(start, (first + size - 1) // _CHUNK + 1)]
    drawn = [(rng.standard_normal((_CHUNK, normals)), rng.random((_CHUNK, uniforms))) for rng in chunks]
    rows = slice(first - start * _CHUNK, first - start * _CHUNK + size)
    return np.concatenate([a for a, _ in drawn])[rows], np.concatenate([b for _, b in drawn])[rows]

  def _normals(self, stream: int, rows: int, columns: int) -> np.ndarray:
    return self._rng(stream).standard_normal((rows, columns))

  def _rng(self, *stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([self.settings.seed, *stream]))


def simulated_feature_spec(settings: SimulatedLogSettings) -> FeatureSpec:
  """The feature spec that fits a simulated log: 11 fields and one for each attribute, id spaces with few collisions."""
  fields = (
      Field("user_id", "user_id", hash_ids=_hash_ids(settings.num_users)),
      Field("item_id", "item_id", hash_ids=_hash_ids(settings.num_items)),
      Field("author_id", "author_id", hash_ids=_hash_ids(settings.num_authors)),
      Field("category", "category", vocabulary_ids=settings.num_categories + 8),
      Field("price", "price", boundaries=_PRICE_BOUNDARIES),
      Field("item_age", "item_age", boundaries=_ITEM_AGE_BOUNDARIES),
      Field("hour", "hour", boundaries=tuple(float(hour) for hour in range(1, 24))),
      Field("tab", "tab", vocabulary_ids=len(TABS) + 2, vocabulary=TABS),
      Field("device", "device", vocabulary_ids=len(DEVICES) + 2, vocabulary=DEVICES),
      Field("user_segment", "user_segment", vocabulary_ids=settings.num_segments + 4),
      Field("user_region", "user_region", vocabulary_ids=16),
      *(Field(f"attribute_{number}", f"attribute_{number}", vocabulary_ids=_num_values(number) + 4)
        for number in range(settings.num_attributes)),
  )
  return FeatureSpec(fields=fields, label=Label("click"), time_column="time_ms")


def _num_values(attribute: int) -> int:
  """How many values an attribute has, by its number."""
  return min(_FEWEST_VALUES << attribute // 2, _MOST_VALUES)


def _hash_ids(num_values: int) -> int:
  """The power of two that is at least eight times `num_values`: one value in eight shares its id, at the most."""
  return 1 << math.ceil(math.log2(8 * num_values))


def _turned(pairs: np.ndarray, angle: float) -> np.ndarray:
  """`cos(angle) a + sin(angle) b` of `[n, 2 c]` pairs `(a, b)` laid side by side, as `[n, c]`."""
  half = pairs.shape[1] // 2
  return math.cos(angle) * pairs[:, :half] + math.sin(angle) * pairs[:, half:]


def _draw(cumulative: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
  """`[size]` int64 indices drawn from a cumulative distribution; its last entry may be off 1 by rounding."""
  return np.minimum(np.searchsorted(cumulative, rng.random(size), side="right"), len(cumulative) - 1)


@functools.lru_cache(maxsize=1)
def _day_curve() -> np.ndarray:
  """The share of a day's rows before each hour, `[25]`: few at night, most in the evening."""
  traffic = 1.0 - 0.6 * np.cos(2.0 * np.pi * (np.arange(24) - 5.0) / 24.0)
  return np.concatenate([[0.0], np.cumsum(traffic / traffic.sum())])


def _csv_values(column: np.ndarray) -> list[object]:
  if column.dtype.kind != "f":
    return column.tolist()
  to_text: Callable[[float], object] = lambda value: "" if math.isnan(value) else value  # noqa: E731
  return [to_text(value) for value in column.tolist()]
