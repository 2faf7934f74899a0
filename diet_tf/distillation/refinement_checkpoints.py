"""Checkpoints of a refinement: what was cut goes on where it was, and ends with the bytes that it would have had."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from diet_tf.errors import DietError
from diet_tf.io import files
from diet_tf.io.arrays import read_arrays, write_arrays

FORMAT_NAME = "diet_tf.refinement_checkpoint"
FORMAT_VERSION = 1
# However long a step takes, this many of them are made between two checkpoints.
MIN_STEPS = 5
_OWN = ("format_name", "format_version", "inputs")


def digest_of(texts: Iterable[str], arrays: Iterable[np.ndarray]) -> str:
  """The SHA-256 of all that a refinement follows from."""
  digest = hashlib.sha256()
  for text in texts:
    digest.update(f"{len(text)}:{text}".encode())
  for array in arrays:
    digest.update(f"{array.dtype}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
  return digest.hexdigest()


class Checkpoints:
  """The one file in which a refinement keeps its state every few minutes.

  A state is read again only where the refinement follows from the same inputs; any other, and one that cannot be read,
  is left aside, and that is said. What cannot be written is said once and stops nothing.

  Args:
    path: path or URI of the file.
    seconds: least time between two checkpoints.
    min_steps: least number of outer steps between them; None takes `MIN_STEPS`.
    say: function that is called with a sentence for the log.
    clock: function that returns seconds, which never run backwards.
  """

  def __init__(self, path: str, seconds: float, *, min_steps: int | None = None,
               say: Callable[[str], None] = lambda sentence: None,
               clock: Callable[[], float] = time.monotonic) -> None:
    self._path = path
    self._seconds = seconds
    self._min_steps = MIN_STEPS if min_steps is None else min_steps
    self._say = say
    self._clock = clock
    self._inputs = ""
    self._last = clock()
    self._last_step = 0
    self._writes = True

  def begin(self, inputs: str) -> Mapping[str, np.ndarray] | None:
    """The state that a refinement of these inputs left; None where there is none.

    Args:
      inputs: digest of all that it follows from, see `digest_of`.
    """
    self._inputs, self._last = inputs, self._clock()
    try:
      if not files.exists(self._path):
        return None
      arrays = read_arrays(self._path)
    except DietError as error:
      self._say(f"A checkpoint of the refinement cannot be read, which begins anew: {error.received}")
      return None
    expected = (FORMAT_NAME, str(FORMAT_VERSION), inputs)
    if tuple(str(arrays.get(key)) for key in _OWN) != expected:
      self._say(f"The checkpoint {self._path} is of other inputs, settings or another version: the refinement begins "
                "anew.")
      return None
    state = {key: array for key, array in arrays.items() if key not in _OWN}
    self._last_step = int(state["step"])
    self._say(f"The refinement goes on after outer step {self._last_step}, from {self._path}.")
    return state

  def keep(self, step: int, state: Callable[[], Mapping[str, np.ndarray]]) -> None:
    """Writes the state after `step` outer steps, if the last one is long enough ago.

    Args:
      step: number of outer steps that are done.
      state: function that returns the state, among which is `step`.
    """
    if step - self._last_step < self._min_steps or self._clock() - self._last < self._seconds or not self._writes:
      return
    own = (FORMAT_NAME, FORMAT_VERSION, self._inputs)
    try:
      with files.writing(self._path):
        files.make_folders(files.parent(self._path))
      write_arrays(self._path, {**state(), **{key: np.array(value) for key, value in zip(_OWN, own)}})
    except DietError as error:
      self._writes = False
      self._say(f"No checkpoints of the refinement are kept: {error.received}")
    self._last, self._last_step = self._clock(), step

  def remove(self) -> None:
    """Removes the file, once what was made of the refinement is written."""
    try:
      with files.writing(self._path):
        files.remove_if_there(self._path)
    except DietError as error:
      self._say(f"A checkpoint stays behind in {self._path}: {error.received}")


def generator_state(random: np.random.Generator) -> np.ndarray:
  """The state of a generator as an array of one text."""
  return np.array(json.dumps(random.bit_generator.state, sort_keys=True))


def restore_generator(random: np.random.Generator, state: np.ndarray) -> None:
  """Puts back what `generator_state` returned."""
  value: Any = json.loads(str(state))
  random.bit_generator.state = value
