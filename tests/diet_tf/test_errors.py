"""Errors are found behind others, and survive pickling."""

import pickle

from diet_tf.errors import ConfigError, ServiceError, diet_error_in, said_by_model


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


def test_what_a_model_says_is_the_line_between_files_and_arguments():
  keras = ValueError("Exception encountered when calling layer 'm' (type M).\n\n"
                     "{{function_node __wrapped__Add}} shapes [2] and [3] [Op:Add]\n\n"
                     "Call arguments received by layer 'm':\n  x=1")
  assert said_by_model(keras) == "ValueError: shapes [2] and [3] [Op:Add]"
  assert said_by_model(KeyError("item")) == "KeyError: item"
  assert said_by_model(RuntimeError()) == "RuntimeError"
