"""Models that leave fields out."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.models import PANEL, build_model
from diet_tf.models.input_fields import InputFields


def narrowed_spec(spec, name):
  return dataclasses.replace(spec, fields=tuple(field for field in spec.fields if field.name != name))


@pytest.mark.parametrize("member", PANEL)
def test_a_member_without_a_field_is_the_member_of_the_narrower_spec(member, spec, bags):
  ids, weights = bags[0], bags[1].astype(np.float32)
  dropped = spec.names[1]
  model = build_model(f"{member}(without={dropped})", spec, seed=3)
  narrow = build_model(member, narrowed_spec(spec, dropped), seed=3)
  assert [variable.shape for variable in model.variables] == [variable.shape for variable in narrow.variables]
  random = np.random.default_rng(4)
  values = [random.normal(scale=0.5, size=weight.shape) for weight in model.get_weights()]
  model.set_weights(values)
  narrow.set_weights(values)
  expected = narrow({"ids": ids[:, [0, 2]], "weights": weights[:, [0, 2]]})
  np.testing.assert_array_equal(model({"ids": ids, "weights": weights}), expected)
  np.testing.assert_array_equal(
      model({name: ids[:, index, :1] for index, name in enumerate(spec.names)}), narrow({"ids": ids[:, [0, 2], 0]}))


def test_columns_of_fields_that_are_left_out_weigh_nothing(spec, bags):
  ids, weights = bags[0], bags[1].astype(np.float32)
  model = build_model(f"fm(without={spec.names[0]})", spec, seed=3)
  random = np.random.default_rng(4)
  model.set_weights([random.normal(scale=0.5, size=weight.shape) for weight in model.get_weights()])
  num_fields, width = ids.shape[1:]
  columns = {"ids": ids.reshape(len(ids), -1), "weights": weights.reshape(len(ids), -1),
             "fields": tf.constant(np.repeat(np.arange(num_fields), width))}
  np.testing.assert_allclose(model(columns), model({"ids": ids, "weights": weights}), rtol=1e-5)


def test_names_are_joined_by_plus_and_survive_the_configuration(spec):
  model = build_model(f"lr(without={spec.names[0]}+{spec.names[2]})", spec)
  assert model.settings.without == (spec.names[0], spec.names[2])
  again = type(model).from_config(model.get_config())
  assert again.input_fields.spec.names == (spec.names[1],)


def test_all_fields_pass_unchanged(spec):
  features = {"ids": tf.zeros([2, 3], tf.int32)}
  assert InputFields(spec, ())(features) is features


@pytest.mark.parametrize("without", [("shoe_size",), None])
def test_an_unknown_field_and_no_field_are_refused(spec, without):
  with pytest.raises(ConfigError, match=f"the fields are {', '.join(spec.names)}"):
    InputFields(spec, spec.names if without is None else without)
