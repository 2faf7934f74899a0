"""Errors that a user can act on: each names the thing, the rule, what was received and the remedy."""

from __future__ import annotations

import re
from typing import Any

from diet_tf.printable import printable

# The length at which each part of a message is cut: a value of a log may have a megabyte.
_MAX_CHARACTERS = 20_000


class DietError(Exception):
  """Base of every error that DIET-TF raises on purpose.

  Its parts can be shown anywhere: control characters are written out, and what is very long is cut.

  Args:
    subject: the thing that is wrong, by the name that the user knows it by: a file, a config key, a field.
    rule: a sentence that says what must hold for the subject.
    received: a sentence or a value that says what was found instead.
    remedy: a sentence that tells the user what to do about it.
  """

  exit_code = 1

  def __init__(self, subject: str, *, rule: str, received: str, remedy: str) -> None:
    self.subject, self.rule, self.received, self.remedy = (
        printable(str(part), _MAX_CHARACTERS) for part in (subject, rule, received, remedy))
    super().__init__(f"{self.subject}: {self.rule} Received: {self.received} Remedy: {self.remedy}")

  # Pickle, by which Beam carries errors, would otherwise call the class with the message alone.
  def __reduce__(self) -> tuple[Any, ...]:
    return (_rebuild, (type(self), self.subject, self.rule, self.received, self.remedy))


def _rebuild(kind: type[DietError], subject: str, rule: str, received: str, remedy: str) -> DietError:
  return kind(subject, rule=rule, received=received, remedy=remedy)


class ConfigError(DietError):
  """A setting, a config file or a command-line argument is not usable."""

  exit_code = 2


class DataError(DietError):
  """A log span, a side table or an example breaks the declared schema."""

  exit_code = 3


class FormatError(DietError):
  """A file that DIET-TF wrote is damaged, of a newer format, or of another feature spec."""

  exit_code = 4


class StoreError(DietError):
  """The memory store refuses an operation, or cannot be read or written."""

  exit_code = 5


class NumericsError(DietError):
  """A learned tensor or a loss is not finite."""

  exit_code = 6


class ServiceError(DietError):
  """A service that the command talks to does not answer, refuses, or reports a failure."""

  exit_code = 7


def add_note(error: BaseException, note: str) -> None:
  """Adds a line that is shown below an error, where Python 3.11 keeps it too (3.10 has no `BaseException.add_note`)."""
  vars(error)["__notes__"] = [*notes_of(error), note]


def notes_of(error: BaseException) -> list[str]:
  """The lines that `add_note` added to an error, the first one first."""
  return list(vars(error).get("__notes__", ()))


def diet_error_in(error: BaseException) -> DietError | None:
  """The DietError that an error is, or that it was raised from or after; None if there is none."""
  seen: set[int] = set()
  current: BaseException | None = error
  while current is not None and id(current) not in seen:
    if isinstance(current, DietError):
      return current
    seen.add(id(current))
    current = current.__cause__ or current.__context__
  return None


def said_by_model(error: BaseException) -> str:
  """The class of an error that a Keras model raised, and the last line of its message.

  Keras and AutoGraph put files before the message, and the arguments of the call after it.
  """
  # A KeyError shows its argument as Python would write it.
  text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
  lines = re.sub(r"\{\{.*?\}\}\s*", "", text.split("Call arguments received")[0]).strip().splitlines() or [""]
  return f"{type(error).__name__}: {lines[-1].strip()}".removesuffix(": ")
