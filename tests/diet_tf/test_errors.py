"""Errors are found behind others, and survive pickling."""

import pickle

from diet_tf.errors import ConfigError, ServiceError, diet_error_in


def test_the_diet_error_behind_another_error():
  inner = ConfigError("a", rule="b", received="c", remedy="d")
  try:
    try:
      raise inner
    except ConfigError as error:
      raise RuntimeError("wrapped") from error
  except RuntimeError as error:
    assert diet_error_in(error) is inner
  assert diet_error_in(ValueError("x")) is None


def test_an_error_of_ours_survives_pickling_with_all_its_parts():
  error = pickle.loads(pickle.dumps(ServiceError("a", rule="b", received="c", remedy="d")))
  assert (error.subject, error.rule, error.received, error.remedy, error.exit_code) == ("a", "b", "c", "d", 7)
