"""`@component` on a component of the test's own."""

import inspect

import pytest
from tfx import types
from tfx import v1 as tfx
from tfx.dsl.components.base import base_beam_component, base_beam_executor, base_component, base_executor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec, ExecutorClassSpec
from tfx.types import BaseChannel
from tfx.types.standard_artifacts import Examples, Model, Schema

from diet_tf.distillation.budget import BudgetSettings
from tfx_components.decorators import component


class _Executor(base_executor.BaseExecutor):
  def Do(self, input_dict, output_dict, exec_properties):
    raise NotImplementedError


class _BeamExecutor(base_beam_executor.BaseBeamExecutor):
  def Do(self, input_dict, output_dict, exec_properties):
    raise NotImplementedError


@component(_Executor, outputs={"model": Model, "schema": Schema}, keys={"schema": "inferred_schema"})
class Trainer(base_component.BaseComponent):
  """Trains."""

  def __init__(self, examples: BaseChannel[Examples], budget: BudgetSettings | str, span: int | str, seed: int,
               name: str, schema: BaseChannel[Schema] | None = None, rate: float = 0.5) -> None: ...


def make(**arguments):
  given = {"examples": types.Channel(type=Examples), "budget": BudgetSettings(), "span": 7, "seed": 3, "name": "a"}
  return Trainer(**{**given, **arguments})


def test_the_spec_is_what_the_constructor_declares():
  spec = Trainer.SPEC_CLASS
  assert spec.__name__ == "TrainerSpec" and spec.__module__ == Trainer.__module__
  assert {key: (one.type, one.optional) for key, one in spec.INPUTS.items()} == {
      "examples": (Examples, False), "inferred_schema": (Schema, True)}
  assert {key: (one.type, one.optional) for key, one in spec.PARAMETERS.items()} == {
      "budget": (str, False), "span": (str, False), "seed": (int, False), "name": (str, False), "rate": (float, True)}
  assert {key: one.type for key, one in spec.OUTPUTS.items()} == {"model": Model, "schema": Schema}
  assert isinstance(Trainer.EXECUTOR_SPEC, ExecutorClassSpec) and Trainer.EXECUTOR_SPEC.executor_class is _Executor


def test_values_reach_the_spec_as_texts_and_numbers():
  schema = types.Channel(type=Schema)
  made = make(schema=schema)
  assert made.inputs["inferred_schema"] is schema and set(made.inputs) == {"examples", "inferred_schema"}
  assert made.outputs["model"].producer_component_id == "Trainer" and made.outputs["schema"].type is Schema
  assert made.exec_properties == {
      "budget": '{"fraction": 0.02, "max_slots": null}', "span": "7", "seed": 3, "name": "a", "rate": 0.5}
  assert set(make().inputs) == {"examples"}
  assert make(span="auto", budget="{}").exec_properties["span"] == "auto"


def test_a_runtime_parameter_stands_in_the_place_of_each():
  parameter = tfx.dsl.experimental.RuntimeParameter
  kinds = {"budget": str, "span": str, "seed": int, "name": str, "rate": float}
  made = make(**{name: parameter(name, kind) for name, kind in kinds.items()})
  assert {name: value.name for name, value in made.exec_properties.items()} == {name: name for name in kinds}


def test_the_signature_is_the_declared_one():
  assert str(inspect.signature(Trainer)) == (
      "(examples: tfx.types.channel.BaseChannel[tfx.types.standard_artifacts.Examples], "
      "budget: diet_tf.distillation.budget.BudgetSettings | str, span: int | str, seed: int, name: str, "
      "schema: Optional[tfx.types.channel.BaseChannel[tfx.types.standard_artifacts.Schema]] = None, "
      "rate: float = 0.5) -> None")


@pytest.mark.parametrize("arguments, message", [
    ({"epochs": 3}, "unexpected keyword argument 'epochs'"),
    ({"examples": types.Channel(type=Model)}, "examples should be a Channel of type"),
    ({"seed": "3"}, "parameter 'seed'"),
    ({"name": 3}, "parameter 'name'"),
])
def test_wrong_arguments_are_refused(arguments, message):
  with pytest.raises(TypeError, match=message):
    make(**arguments)


def test_a_missing_argument_is_named():
  with pytest.raises(TypeError, match="'budget'"):
    Trainer(examples=types.Channel(type=Examples))


def test_a_type_that_cannot_travel_is_refused_where_it_is_declared():
  with pytest.raises(TypeError, match="Sampler, argument 'budget'.*BudgetSettings"):
    @component(_Executor, outputs={})
    class Sampler(base_component.BaseComponent):
      """Samples."""

      def __init__(self, budget: BudgetSettings) -> None: ...


def test_on_beam():
  @component(_BeamExecutor, outputs={"model": Model})
  class Counter(base_beam_component.BaseBeamComponent):
    """Counts."""

    def __init__(self, seed: int = 0) -> None: ...

  made = Counter().with_beam_pipeline_args(["--direct_num_workers=2"])
  assert isinstance(Counter.EXECUTOR_SPEC, BeamExecutorSpec)
  assert made.executor_spec.beam_pipeline_args == ["--direct_num_workers=2"]
  assert made.exec_properties == {"seed": 0}


def test_a_subclass_may_narrow_the_arguments():
  class Seeded(Trainer):
    """Always of one seed."""

    def __init__(self, examples: BaseChannel[Examples]) -> None:
      super().__init__(examples, "{}", 1, 42, "seeded")

  made = Seeded(types.Channel(type=Examples))
  assert (made.id, made.exec_properties["seed"]) == ("Seeded", 42)
