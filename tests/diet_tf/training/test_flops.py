"""Operations of a forward pass: those that the panel's trainings count, whatever the size of the tables."""

import tensorflow as tf

from diet_tf.memory.recipe import Recipe
from diet_tf.training.flops import ForwardFlops, forward_flops, graph_flops
from diet_tf.training.learner import Learner
from tests.diet_tf.small_log import SPEC, TINY


def test_a_product_of_matrices_takes_two_operations_a_pair():
  assert graph_flops(tf.matmul, tf.TensorSpec([3, 5]), tf.TensorSpec([5, 7])) == 2 * 3 * 5 * 7


def test_a_forward_pass_is_a_third_of_a_training_as_the_panel_counts_it():
  member = f"dnn({TINY})"
  learner, forward = Learner(member, SPEC, Recipe()), forward_flops(member, SPEC.names)
  assert 3 * forward.row == learner.flops_per_example(0)
  # The learner pads all fields to the widest.
  for width in (1, 2, 5):
    assert 3 * forward.slot((width,) * 3, width) == learner.flops_per_example(width)
  assert forward.num_coordinates == 3 * 2


def test_padding_that_is_cut_away_costs_nothing():
  forward = ForwardFlops(row=10.0, bag=12.0, place=6.0, is_packed=True)
  # Six places of twelve are left: 2 a field on average, one more than a bag's.
  assert forward.slot((4, 1, 1), 4) == 12.0 + 6.0
  # Eleven of twelve: the padding stays.
  assert forward.slot((4, 4, 3), 4) == 12.0 + 3 * 6.0
  padded = ForwardFlops(row=10.0, bag=12.0, place=6.0, is_packed=False)
  assert padded.slot((4, 1, 1), 4) == 12.0 + 3 * 6.0


def test_models_of_single_ids_cost_a_row():
  forward = forward_flops("tests.diet_tf.training.test_flops:SingleIds", SPEC.names)
  assert forward.slot((4, 1, 1), 4) == forward.row > 0


class SingleIds(tf.keras.Model):
  """A user's model that takes one id a field."""

  diet_inputs = "sampled"

  def __init__(self, spec, seed=0):
    super().__init__()
    self.tables = [tf.keras.layers.Embedding(count, 1) for count in spec.num_ids]

  def call(self, features, training=False):
    return tf.add_n([table(ids) for table, ids in zip(self.tables, features.values())])
