"""What a piece of work costs: it runs in a process of its own, and its result is kept, so that it is done once.

The process is a fork of this one, which has imported what the work needs and has run nothing: imports are paid once,
and are no part of a duration, though their memory is part of a peak, as it is of any process that does such work.
"""

from __future__ import annotations

import ctypes
import dataclasses
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from diet_tf.errors import DietError
from diet_tf.io import files
from diet_tf.io.json_files import read_json, write_json

MIB = 1 << 20
_SET_PARENT_DEATH_SIGNAL = 1
# Of the log of a failed piece of work, at most so many characters are shown.
_LOG_END = 6000


class WorkError(DietError):
  """A piece of work failed in its process."""


@dataclasses.dataclass(frozen=True)
class Cost:
  """What a piece of work cost.

  Attributes:
    wall_seconds: its duration.
    cpu_seconds: processor time of its process and of those that it started.
    peak_bytes: largest resident memory of its process, or of one that it started, as Linux counts it.
  """

  wall_seconds: float
  cpu_seconds: float
  peak_bytes: int

  def __add__(self, other: Cost) -> Cost:
    """Both pieces one after the other."""
    return Cost(self.wall_seconds + other.wall_seconds, self.cpu_seconds + other.cpu_seconds,
                max(self.peak_bytes, other.peak_bytes))


NOTHING = Cost(0.0, 0.0, 0)


def kept(path: str, work: Callable[[], Any]) -> tuple[Cost, Any]:
  """The cost and the result of a piece of work, from its file where it was done before.

  Args:
    path: path of the file, which is written whole or not at all; what the work prints lies beside it.
    work: function that does it, and returns a JSON value.

  Raises:
    WorkError: the work raised an error, or its process was killed.
  """
  if not files.exists(path):
    files.make_folders(files.parent(path))
    cost, result = measured(work, path.removesuffix(".json") + ".log")
    write_json(path, {"cost": dataclasses.asdict(cost), "result": result})
  value = read_json(path)
  return Cost(**value["cost"]), value["result"]


def measured(work: Callable[[], Any], log_path: str) -> tuple[Cost, Any]:
  """The cost and the result of a piece of work, done in a process of its own.

  Args:
    work: function that does it, and returns what can be pickled.
    log_path: path of a local file, which gets what the work prints.

  Raises:
    WorkError: the work raised an error, or its process was killed.
  """
  context = multiprocessing.get_context("fork")
  ours, theirs = context.Pipe(duplex=False)
  process = context.Process(target=_run, args=(work, theirs, log_path))
  process.start()
  theirs.close()
  try:
    answer = ours.recv()
  except EOFError:
    answer = None
  except BaseException:
    process.kill()
    raise
  finally:
    process.join()
    ours.close()
  if answer is None:
    raise WorkError(log_path, rule="a piece of work ends by itself.",
                    received=f"exit code {process.exitcode}; below zero it is the signal that killed it.\n"
                    f"{_end_of(log_path)}", remedy="look for what killed it, as a lack of memory; run it again.")
  return answer


def _run(work: Callable[[], Any], answers: Any, log_path: str) -> None:
  _end_with_parent()
  with open(log_path, "w", encoding="utf-8") as log:
    for stream in (sys.stdout, sys.stderr):
      stream.flush()
      os.dup2(log.fileno(), stream.fileno())
    try:
      answers.send(_measured_here(work))
    except BaseException:
      traceback.print_exc()
      log.flush()
      answers.close()
      # Not what the parent's end of life would do.
      os._exit(1)


def _end_with_parent() -> None:
  """Lets Linux kill this process when its parent ends, killed or not: the next run would find it at work."""
  ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _measured_here(work: Callable[[], Any]) -> tuple[Cost, Any]:
  with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
    file.write("5")  # The peak is counted from here.
  wall, cpu = time.perf_counter(), _cpu_seconds()
  result = work()
  cost = Cost(time.perf_counter() - wall, _cpu_seconds() - cpu, _peak_bytes())
  return cost, result


def _cpu_seconds() -> float:
  usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
  return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_bytes() -> int:
  with open("/proc/self/status", encoding="utf-8") as file:
    own = next(line for line in file if line.startswith("VmHWM"))
  return 1024 * max(int(own.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def _end_of(log_path: str) -> str:
  with open(log_path, encoding="utf-8", errors="replace") as file:
    return file.read()[-_LOG_END:]
