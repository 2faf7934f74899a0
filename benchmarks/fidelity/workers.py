"""Pieces of work in processes of their own, each on one core: the operations are too small for more."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from typing import Protocol

from benchmarks.fidelity.benchmark import Benchmark
from diet_tf.progress import Progress, silent

# In a process that was made for a piece of work: when it was asked for, in seconds since 1970.
_ASKED_FOR = "DIET_BENCHMARK_ASKED_FOR"


class Piece(Protocol):
  """A piece of work that leaves its result in the benchmark's folder."""

  def done(self, benchmark: Benchmark) -> bool:
    """Whether its result is there."""
    ...

  def run(self, benchmark: Benchmark) -> None:
    """Does it."""
    ...


def use_one_core() -> None:
  """Makes TensorFlow compute on one core, and give the same bits in every run."""
  import tensorflow as tf

  tf.config.threading.set_intra_op_parallelism_threads(1)
  tf.config.threading.set_inter_op_parallelism_threads(1)
  tf.config.experimental.enable_op_determinism()


def _end_with_parent() -> None:
  """Ends this process once its parent is gone: a piece that is begun anew must not meet one that still runs."""
  parent = multiprocessing.parent_process()
  assert parent is not None
  parent.join()
  os._exit(1)


def start_seconds() -> float:
  """Wall time since this process was asked for; 0 where a piece of work runs in the process that asks for it."""
  asked_for = os.environ.get(_ASKED_FOR)
  return 0.0 if asked_for is None else time.time() - float(asked_for)


def _start(asked_for: float) -> None:
  os.environ[_ASKED_FOR] = str(asked_for)
  threading.Thread(target=_end_with_parent, daemon=True).start()
  os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
  from diet_tf.cli.terminal import quiet_third_parties

  quiet_third_parties()
  # What native code says before and between TensorFlow's own levels; errors reach the parent as exceptions.
  null = os.open(os.devnull, os.O_WRONLY)
  os.dup2(null, sys.stderr.fileno())
  use_one_core()


def _run_here(piece: Piece, benchmark: Benchmark) -> None:
  piece.run(benchmark)


def _run_apart(piece: Piece, benchmark: Benchmark) -> None:
  """Runs a piece in a new process, since TensorFlow never frees a process's graphs; raises what it raised."""
  context = multiprocessing.get_context("spawn")
  with ProcessPoolExecutor(1, mp_context=context, initializer=_start, initargs=(time.time(),)) as process:
    process.submit(_run_here, piece, benchmark).result()


def run_all(pieces: Sequence[Piece], benchmark: Benchmark, num_jobs: int, description: str,
            progress: Progress = silent) -> None:
  """Runs what is not done yet, in order; an error in one piece ends all.

  Args:
    pieces: pieces of work, in the order in which they are begun.
    benchmark: benchmark that they belong to.
    num_jobs: number of pieces at a time, each in a process of its own; 0 runs one after the other in this process.
    description: word for the pieces, for `progress`.
    progress: callback that is told of each finished piece.
  """
  missing = [piece for piece in pieces if not piece.done(benchmark)]
  done = len(pieces) - len(missing)
  progress(description, done, len(pieces))
  if not num_jobs:
    for piece in missing:
      piece.run(benchmark)
      done += 1
      progress(description, done, len(pieces))
    return
  with ThreadPoolExecutor(num_jobs) as threads:
    running = [threads.submit(_run_apart, piece, benchmark) for piece in missing]
    try:
      for finished in as_completed(running):
        finished.result()
        done += 1
        progress(description, done, len(pieces))
    except BaseException:
      for future in running:
        future.cancel()
      raise
