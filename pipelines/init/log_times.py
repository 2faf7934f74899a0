"""The times of a log's rows, by which its spans are chosen: of all rows of a log that is not too large."""

from __future__ import annotations

import numpy as np

from diet_tf.io import files
from diet_tf.log.times import read_times
from pipelines.init.log_files import LogFiles
from pipelines.init.log_sample import LogSample
from pipelines.init.time_guess import TimeGuess
from tfx_components.log_gen import plan, sources

# The column of times is read whole up to this size of a log.
_MOST_BYTES_READ = 1 << 30
_TIMES_OF_RUN = 200


def times_of_log(log_files: LogFiles, sample: LogSample, time: TimeGuess | None) -> np.ndarray | None:
  """The times of rows in seconds since 1970, `[n]` float64 without NaN; None without a column of times.

  Of a log of up to 1 GiB they are those of all rows, and its column of times is read once. Of a larger one they are
  drawn evenly between the runs of the sample, as if the rows between two runs had the times between theirs.
  """
  if time is None:
    return None
  if sample.whole:
    times = time.seconds
  elif sum(map(files.num_bytes, log_files.paths)) <= _MOST_BYTES_READ:
    times = _read_times(log_files, time)
  else:
    times = _estimated_times(sample, time)
  return times[np.isfinite(times)]


def _read_times(log_files: LogFiles, time: TimeGuess) -> np.ndarray:
  found = [np.zeros(0)]
  for piece in plan.log_pieces(log_files.settings(), log_files.paths, None):
    for block in sources.read_blocks(piece, [time.column]):
      if time.column in block.columns:
        column = block.columns[time.column]
        times = read_times(column.texts, unit=time.unit, stamps=column.stamps)
        found.append(np.where(times.faulty, np.nan, times.microseconds / 1e6)[column.codes])
  return np.concatenate(found)


def _estimated_times(sample: LogSample, time: TimeGuess) -> np.ndarray:
  """Times between the first of a run and the first of the next of its file; those of the last run as they are."""
  found = []
  for number in range(len(sample.runs)):
    inside = time.seconds[sample.run_numbers == number]
    inside = inside[np.isfinite(inside)]
    if not len(inside):
      continue
    after = time.seconds[sample.run_numbers == number + 1]
    is_last = number + 1 == len(sample.runs) or sample.runs[number + 1].file != sample.runs[number].file
    end = inside.max() if is_last or not np.isfinite(after).any() else np.nanmin(after)
    found.append(np.linspace(inside.min(), max(end, inside.max()), _TIMES_OF_RUN))
  return np.concatenate(found)
