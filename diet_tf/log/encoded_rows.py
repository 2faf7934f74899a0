"""Encoded rows of the log as arrays: one table for all that holds some, streams of it, and bounded samples of these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from diet_tf.errors import DataError


class EncodedRows:
  """Rows of a log as ids, with whatever else is known of them; asking for a column that is not known is an error.

  Args:
    ids: `[num_rows, num_places]` int32, encoded rows: the id of each field where all have one value a row, and
      otherwise what `diet_tf.log.row_layout` says.
    labels: `[num_rows]` float32, the clicks as 0 or 1, or probabilities in their place.
    example_ids: `[num_rows]` int64, what each row is known by; what is drawn at random is drawn by it.
    spans: `[num_rows]` int64, the number of each row's span.
    teacher_logits: `[num_rows]` float32, the logits of the teacher after its pass over the rows; for rows that are held
      back, of the teacher before it saw them.
    influences: `[num_rows]` float32, see `diet_tf.distillation.influence`.

  Raises:
    DataError: the columns are not of one table.
  """

  def __init__(self, ids: np.ndarray, labels: np.ndarray | None = None, example_ids: np.ndarray | None = None,
               spans: np.ndarray | None = None, teacher_logits: np.ndarray | None = None,
               influences: np.ndarray | None = None) -> None:
    given = {"ids": ids, "labels": labels, "example_ids": example_ids, "spans": spans,
             "teacher_logits": teacher_logits, "influences": influences}
    self._columns = {name: column for name, column in given.items() if column is not None}
    if np.ndim(ids) != 2:
      raise DataError("rows.ids", rule="they are [num_rows, num_places].", received=f"shape {np.shape(ids)}.",
                      remedy="give one row of ids for each row of the log.")
    for name, column in self._columns.items():
      if name != "ids" and np.shape(column) != (len(ids),):
        raise DataError(f"rows.{name}", rule=f"it has one entry per row, {len(ids)} in all.",
                        received=f"shape {np.shape(column)}.", remedy="give columns of one table.")

  def __len__(self) -> int:
    return len(self.ids)

  def _column(self, name: str) -> np.ndarray:
    if name not in self._columns:
      raise DataError(f"rows.{name}", rule="it is known of the rows that it is asked of.",
                      received=f"rows with {', '.join(self._columns)}.", remedy=f"give the rows their {name}.")
    return self._columns[name]

  @property
  def ids(self) -> np.ndarray:
    """`[num_rows, num_places]` int32."""
    return self._columns["ids"]

  @property
  def labels(self) -> np.ndarray:
    """`[num_rows]` float32, in [0, 1]."""
    return self._column("labels")

  @property
  def example_ids(self) -> np.ndarray:
    """`[num_rows]` int64."""
    return self._column("example_ids")

  @property
  def spans(self) -> np.ndarray:
    """`[num_rows]` int64."""
    return self._column("spans")

  @property
  def teacher_logits(self) -> np.ndarray:
    """`[num_rows]` float32."""
    return self._column("teacher_logits")

  @property
  def influences(self) -> np.ndarray:
    """`[num_rows]` float32."""
    return self._column("influences")

  def knows(self, name: str) -> bool:
    """Whether a column is known."""
    return name in self._columns

  def with_columns(self, **columns: np.ndarray) -> EncodedRows:
    """The same rows with further columns, or others in the place of theirs."""
    return EncodedRows(**{**self._columns, **columns})

  def take(self, rows: np.ndarray | slice) -> EncodedRows:
    """The rows at `rows` (`[n]` integers or bool, or a slice), in that order."""
    return EncodedRows(**{name: column[rows] for name, column in self._columns.items()})

  def of_spans(self, spans: Sequence[int]) -> EncodedRows:
    """The rows of these spans, in their order."""
    return self.take(np.isin(self.spans, spans))

  def batches(self, batch_size: int) -> Iterable[EncodedRows]:
    """The rows in their order, at most `batch_size` at a time."""
    return (self.take(slice(start, start + batch_size)) for start in range(0, len(self), batch_size))

  @classmethod
  def concatenate(cls, parts: Sequence[EncodedRows]) -> EncodedRows:
    """All rows of `parts`, at least one, in order.

    Raises:
      DataError: there are no parts, or what is known of some is not known of others.
    """
    known = {tuple(part._columns) for part in parts}
    if len(known) != 1:
      raise DataError("rows", rule="the parts of one table have the same columns.",
                      received=f"{' and '.join(sorted(', '.join(names) for names in known)) or 'no parts'}.",
                      remedy="give each part the same columns.")
    return cls(**{name: np.concatenate([part._columns[name] for part in parts]) for name in parts[0]._columns})


# Passes over rows that need not fit into memory: called once for each, and each gives the same rows in the same order.
RowStream = Callable[[], Iterable[EncodedRows]]
# The place of rows in a draw, `[num_rows]` uint64, from their example ids: the rows of the least come first.
DrawOrder = Callable[[np.ndarray], np.ndarray]


class BoundedSample:
  """The rows of a stream that come first in a draw: a uniform sample, however the stream is cut.

  At most about twice `num_rows` rows are held, and a batch.

  Args:
    num_rows: the most rows that are kept.
    order: the draw, for example `functools.partial(diet_tf.log.hashing.mix, seed=0)`.
  """

  def __init__(self, num_rows: int, order: DrawOrder) -> None:
    self._num_rows, self._order = num_rows, order
    self._parts: list[tuple[np.ndarray, EncodedRows]] = []
    self._size = 0
    self._last: np.uint64 | None = None

  def add(self, rows: EncodedRows) -> None:
    """Draws from a batch of rows, which have example ids."""
    places = self._order(rows.example_ids)
    if self._last is not None:
      within = places <= self._last
      places, rows = places[within], rows.take(within)
    self._parts.append((places, rows))
    self._size += len(rows)
    # Cutting at several times the size keeps the memory bounded and the work for each batch constant on average.
    if self._size > 2 * self._num_rows:
      self._cut()

  @property
  def has_drawn(self) -> bool:
    """Whether anything was added, if only a batch without rows."""
    return bool(self._parts)

  def rows(self) -> EncodedRows:
    """The sample, in the order of the stream.

    Raises:
      DataError: nothing was added.
    """
    return self._cut()[1]

  def shuffled(self) -> EncodedRows:
    """The sample, in the order of the draw.

    Raises:
      DataError: nothing was added.
    """
    places, rows = self._cut()
    return rows.take(np.argsort(places, kind="stable"))

  def _cut(self) -> tuple[np.ndarray, EncodedRows]:
    if not self._parts:
      raise DataError("sample", rule="it is drawn from at least one batch of rows.", received="none.",
                      remedy="check the source of the rows.")
    places = np.concatenate([part for part, _ in self._parts])
    rows = EncodedRows.concatenate([part for _, part in self._parts])
    if len(rows) > self._num_rows:
      # Stable, so that of rows with one example id those that came first are kept.
      first = np.argsort(places, kind="stable")[:self._num_rows]
      self._last = places[first[-1]] if len(first) else np.uint64(0)
      first = np.sort(first)
      places, rows = places[first], rows.take(first)
    self._parts, self._size = [(places, rows)], len(rows)
    return places, rows


def sample_of(stream: Iterable[EncodedRows], num_rows: int, order: DrawOrder) -> EncodedRows | None:
  """At most `num_rows` rows of a pass, those first in a draw, in the order of the pass; None where it has no batch."""
  sample = BoundedSample(num_rows, order)
  for rows in stream:
    sample.add(rows)
  return sample.rows() if sample.has_drawn else None
