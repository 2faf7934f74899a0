"""Small logs of clicks in the forms that logs have: names, times, labels and formats as people write them."""

from __future__ import annotations

import datetime
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

# Noon UTC of 14 January 2024, and of 1 December 1997.
START, START_1997 = 1_705_233_600, 880_977_600
NUM_ROWS = 1_500
DAYS = 5

STYLES = ("userId", "UserId", "user_id", "user-id", "user.id", "USER_ID", "USERID", "userid")


def styled(words: str, style: str) -> str:
  """Words, such as "user id", in the case style of one of `STYLES`."""
  parts = words.split()
  if style == "userId":
    return parts[0] + "".join(map(str.title, parts[1:]))
  if style == "UserId":
    return "".join(map(str.title, parts))
  joined = {"user_id": "_", "user-id": "-", "user.id": ".", "USER_ID": "_"}.get(style, "").join(parts)
  return joined.upper() if style.isupper() else joined


def clicks(num_rows: int = NUM_ROWS, *, days: float = DAYS, start: int = START, seed: int = 0) -> dict[str, np.ndarray]:
  """Users, items, clicks and times in seconds since 1970, in the order of time; some users click more than others."""
  random = np.random.default_rng(seed)
  user = random.integers(0, 150, num_rows)
  click = random.random(num_rows) < 0.1 + 0.3 * (user % 3 == 0)
  seconds = start + np.sort(random.integers(0, int(days * 86_400), num_rows))
  return {"user": user, "item": random.integers(0, 120, num_rows), "click": click.astype(int), "seconds": seconds}


def at(seconds: np.ndarray, form: str) -> list[str]:
  """Times as texts by `strftime`."""
  return [datetime.datetime.fromtimestamp(int(value), datetime.timezone.utc).strftime(form) for value in seconds]


def write_csv(path: pathlib.Path, columns: Mapping[str, Sequence[object]], *, delimiter: str = ",",
              encoding: str = "utf-8", header: bool = True) -> None:
  """Writes columns as a CSV file, in which a text that has the delimiter stands in quotes."""
  path.parent.mkdir(parents=True, exist_ok=True)

  def cell(value: object) -> str:
    return f'"{value}"' if delimiter in str(value) else str(value)

  lines = [delimiter.join(columns)] if header else []
  lines += [delimiter.join(map(cell, row)) for row in zip(*columns.values())]
  path.write_bytes(("\n".join(lines) + "\n").encode(encoding))


def write_jsonl(path: pathlib.Path, columns: Mapping[str, Sequence[object]]) -> None:
  """Writes columns as JSON Lines."""
  path.parent.mkdir(parents=True, exist_ok=True)
  rows = (dict(zip(columns, row)) for row in zip(*(np.asarray(values, object).tolist() for values in columns.values())))
  path.write_text("".join(json.dumps(row, default=int) + "\n" for row in rows))


def write_parquet(path: pathlib.Path, columns: Mapping[str, object]) -> None:
  """Writes columns as a Parquet file."""
  import pyarrow as pa
  import pyarrow.parquet as pq

  path.parent.mkdir(parents=True, exist_ok=True)
  pq.write_table(pa.table(dict(columns)), path)
