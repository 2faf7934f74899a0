"""JSON Lines files: by Arrow's parser where its types keep every value, otherwise line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.json as pa_json

from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import quarantine
from tfx_components.log_gen.columns import Column
from tfx_components.log_gen.pieces import Block, Parsed, Piece, columns_of_rows, read_lines

# Above this a float64 does not hold every integer: the fast JSON parser may have rounded.
_EXACT_FLOAT = 2.0**53


def read_jsonl(piece: Piece, only: frozenset[str] | None) -> Iterator[Block]:
  """The blocks of a piece; `only` names the columns to read, None reads all."""
  def parse(data: bytes, num_lines: int) -> Parsed:
    parsed = _parse_json_fast(data, num_lines, only)
    return (parsed, np.arange(num_lines), []) if parsed is not None else _parse_json_lines(data, only)

  yield from read_lines(piece, parse)


def _parse_json_fast(data: bytes, num_lines: int, only: frozenset[str] | None) -> dict[str, Column] | None:
  """The columns of JSON lines by Arrow's parser, or None where its types would change a value."""
  read_options = pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1)
  try:
    table = pa_json.read_json(pa.BufferReader(data), read_options)
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if times:
      # Texts that look like times stay texts.
      schema = pa.schema([(name, pa.string()) for name in times])
      table = pa_json.read_json(pa.BufferReader(data), read_options, pa_json.ParseOptions(explicit_schema=schema))
  except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
    return None
  if table.num_rows != num_lines or not all(_kept_exactly(column) for column in table.columns):
    return None
  return {name: columns_lib.from_arrow(table[name]) for name in table.column_names if only is None or name in only}


def _kept_exactly(column: pa.ChunkedArray) -> bool:
  if pa.types.is_nested(column.type):
    # Arrow unifies the structs of a block, so that one row's text would depend on its neighbours.
    return False
  if not pa.types.is_floating(column.type):
    return True
  values = column.to_numpy()
  return not bool(np.any(np.abs(values[np.isfinite(values)]) >= _EXACT_FLOAT))


def _parse_json_lines(data: bytes, only: frozenset[str] | None) -> Parsed:
  """The slow way, line by line: for blocks with broken lines, nested values or columns of several types."""
  rows, kept, rejected = [], [], []
  for index, line in enumerate(data.split(b"\n")[:-1]):
    try:
      value = json.loads(line.decode(), object_pairs_hook=_unique_keys)
      if not isinstance(value, dict):
        raise ValueError(f"not an object but {type(value).__name__}")
      rows.append(value)
      kept.append(index)
    except UnicodeDecodeError:
      rejected.append((index, quarantine.UNDECODABLE, line.decode("utf-8", "replace")))
    except (ValueError, RecursionError):
      rejected.append((index, f"{quarantine.UNPARSABLE} as a JSON object", line.decode()))
  return columns_of_rows(rows, only), np.array(kept, np.int64), rejected


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
  value = dict(pairs)
  if len(value) != len(pairs):
    raise ValueError("a key is given twice")
  return value
