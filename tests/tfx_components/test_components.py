"""What holds for every component and artifact of the package."""

import importlib
import inspect
import re

import pytest
from tfx import types
from tfx import v1 as tfx
from tfx.types import standard_artifacts

import tfx_components
from diet_tf.config.validation import ValidationSettings
from diet_tf.distillation.settings import StageSettings
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.settings import LogSettings

COMPONENTS = ("LogGen", "MemoryLoader", "SpanValidator", "InfluenceScorer", "MemoryAddresser", "DistillTrainer",
              "FidelityEvaluator", "MemoryCommitter")
ARTIFACTS = ("Addressing", "DistilledMemory", "FidelityReport", "HtmlPage", "InfluenceScores", "StoreCommit",
             "TeacherState")
SPEC = FeatureSpec((Field("user", "user", hash_ids=10),), Label("click"))


def build(span="7", seed=0, strategy="auto", replace=0, store_uri="store", accept_changes=0):
  """All components, connected as for one span."""
  settings = StageSettings()
  common = {"features": SPEC, "settings": settings, "seed": seed, "span": span}
  made = {}

  def add(name, **arguments):
    made[name] = getattr(tfx_components, name)(**arguments)
    return made[name].outputs

  parent = add("MemoryLoader", store_uri=store_uri, accept_changes=accept_changes, **common)["parent"]
  examples = add("LogGen", log=LogSettings("log-{SPAN}.csv"), features=SPEC, span=span, parent=parent)["examples"]
  statistics = types.Channel(type=standard_artifacts.ExampleStatistics)
  schema = add("SpanValidator", statistics=statistics, schema=types.Channel(type=standard_artifacts.Schema),
               parent=parent, features=SPEC, validation=ValidationSettings(), span=span)["schema"]
  scored = add("InfluenceScorer", examples=examples, parent=parent, schema=schema, features=SPEC,
               teacher_settings=settings.teacher, influence=settings.influence, seed=seed, span=span, strategy=strategy)
  both = {"examples": examples, "parent": parent}
  start = add("MemoryAddresser", **both, **scored, **common)["start"]
  memory = add("DistillTrainer", **both, **scored, start=start, strategy=strategy, **common)["memory"]
  verdict = add("FidelityEvaluator", **both, memory=memory, start=start, scores=scored["scores"], **common)["verdict"]
  add("MemoryCommitter", **both, memory=memory, start=start, teacher=scored["teacher"], verdict=verdict, schema=schema,
      statistics=statistics, store_uri=store_uri, replace=replace, **common)
  return made


def test_the_components_connect():
  made = build()
  assert set(made) == set(COMPONENTS)
  for name, component in made.items():
    assert component.exec_properties["span"] == "7", name


def test_parameters_are_texts_and_numbers():
  for component in build().values():
    assert all(isinstance(value, str | int | float) for value in component.exec_properties.values())


def test_parameters_may_be_runtime_parameters():
  parameter = tfx.dsl.experimental.RuntimeParameter
  made = build(span=parameter("span", str), seed=parameter("seed", int), strategy=parameter("strategy", str),
               replace=parameter("replace", int), store_uri=parameter("store", str),
               accept_changes=parameter("accept_changes", int))
  assert made["MemoryCommitter"].exec_properties["replace"].name == "replace"
  assert made["MemoryLoader"].exec_properties["accept_changes"].name == "accept_changes"


def test_a_number_is_a_span_too():
  assert tfx_components.MemoryLoader(store_uri="store", span=20220427).exec_properties["span"] == "20220427"


@pytest.mark.parametrize("name", COMPONENTS)
def test_executors_can_be_named_elsewhere(name):
  executor = getattr(tfx_components, name).EXECUTOR_SPEC.executor_class
  assert importlib.import_module(executor.__module__).Executor is executor
  assert executor.__module__.startswith("tfx_components.")


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_argument_is_documented_in_its_place(name):
  component = getattr(tfx_components, name)
  arguments = inspect.getdoc(component).partition("Args:\n")[2]
  assert re.findall(r"^  (\w+): ", arguments, re.MULTILINE) == list(inspect.signature(component).parameters)


@pytest.mark.parametrize("name", ARTIFACTS)
def test_artifacts_are_found_by_their_type_name(name):
  artifact = getattr(tfx_components, name)
  assert artifact.TYPE_NAME == f"tfx_components.{name}"
  assert re.match(r"^[a-z][a-z0-9-_]{2,20}[.][A-Z]", artifact.TYPE_NAME)
  module, _, attribute = artifact.TYPE_NAME.rpartition(".")
  assert getattr(importlib.import_module(module), attribute) is artifact
  assert not artifact.PROPERTIES


def test_all_names_are_exported():
  assert set(tfx_components.__all__) == {*COMPONENTS, *ARTIFACTS}
  assert set(tfx_components.__all__) <= set(dir(tfx_components))
  with pytest.raises(AttributeError, match="MemoryMaker"):
    tfx_components.MemoryMaker  # noqa: B018 - asking is the test
