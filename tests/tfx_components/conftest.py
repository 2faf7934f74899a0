"""Two tiny stages, run component by component on real artifacts."""

import dataclasses
import os
import pathlib

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.types import artifact_utils, standard_artifacts

import tfx_components
from diet_tf.config.validation import ValidationSettings
from diet_tf.distillation.addressing import AddressingSettings
from diet_tf.distillation.budget import BudgetSettings
from diet_tf.distillation.gate import GateSettings
from diet_tf.distillation.influence import InfluenceSettings
from diet_tf.distillation.refinement import DistillSettings
from diet_tf.distillation.settings import StageSettings
from diet_tf.distillation.squash import SquashSettings
from diet_tf.distillation.teacher import TeacherSettings
from diet_tf.log import encoding
from diet_tf.log.examples import write_example_shard
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.settings import to_json
from diet_tf.training.inner_settings import InnerSettings
from tfx_components.parameters import as_text
from tfx_components.span_validator import validate

SPEC = FeatureSpec((Field("user", "user", hash_ids=40), Field("item", "item", hash_ids=30),
                    Field("hour", "hour", hash_ids=8)), Label("click"))
SETTINGS = StageSettings(
    teacher=TeacherSettings(members=("dnn(embedding_dim=4,hidden_units=8-4)",), batch_size=64),
    influence=InfluenceSettings(batch_size=128, holdback_fraction=0.2),
    budget=BudgetSettings(fraction=0.05), addressing=AddressingSettings(update_fraction=0.5, replace_fraction=0.05),
    squash=SquashSettings(ids_per_slot=3, num_components=4, num_iterations=3),
    distill=DistillSettings(inner=InnerSettings(batch_size=8, epochs=1), outer_steps=4, outer_batch_size=64,
                            proxies=("lr",), num_initialisations=1, replay_rows=64),
    gate=GateSettings(members=("lr",), num_seeds=2, max_examples=80))
NUM_EXAMPLES = 600


def contents(folder):
  """The bytes of every file below a folder."""
  return {path.relative_to(folder).as_posix(): path.read_bytes()
          for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file()}


def make_examples(span, num_examples=NUM_EXAMPLES):
  """Arrays of a span: each user and item has a taste that decides the click; later spans have other items."""
  random = np.random.default_rng(span)
  users, hours = random.integers(1, 40, num_examples), random.integers(1, 8, num_examples)
  items = random.integers(1, 20, num_examples) + 5 * (span - 1)
  labels = (random.random(num_examples) < 1 / (1 + np.exp(-np.sin(users * 1.7) * 2 - np.cos(items) * 2)))
  ids = np.stack([users, items, hours], axis=1).astype(np.int32)
  example_ids = random.integers(0, 1 << 62, num_examples)
  return ids, labels.astype(np.float32), example_ids, np.arange(num_examples)


def statistics_of(ids, labels, drop=(), names=SPEC.names):
  """Statistics with frequencies of ids, as StatisticsGen gives them where its schema marks fields as categorical."""
  schema = schema_pb2.Schema()
  for name in names:
    schema.feature.add(name=name, type=schema_pb2.INT).int_domain.is_categorical = True
  frame = pd.DataFrame({**dict(zip(names, ids.T, strict=True)), "label": labels}).drop(columns=list(drop))
  options = tfdv.StatsOptions(schema=schema, infer_type_from_schema=True)
  return tfdv.generate_statistics_from_dataframe(frame, stats_options=options, n_jobs=1)


class Workshop:
  """Makes artifacts below a folder and runs executors on them."""

  spec, settings, num_examples = SPEC, SETTINGS, NUM_EXAMPLES
  make_examples, statistics_of, contents = map(staticmethod, (make_examples, statistics_of, contents))

  def __init__(self, folder, store=None):
    self.folder = str(folder)
    self.store = store or f"{folder}/store"
    self.count = 0

  def artifact(self, kind, span=None):
    self.count += 1
    artifact = kind()
    artifact.uri = os.path.join(self.folder, f"{self.count:03d}-{kind.__name__}")
    if span is not None:
      artifact.span = span
    return artifact

  def run(self, name, given, made, beam_pipeline_args=(), **properties):
    """Runs a component's executor as the component would set it up; returns its output artifacts."""
    component = getattr(tfx_components, name)
    executor = component.EXECUTOR_SPEC.executor_class
    beam = {"beam_pipeline_args": list(beam_pipeline_args)} if beam_pipeline_args else {}
    context = executor.Context(tmp_dir=f"{self.folder}/temp", unique_id=str(self.count), pipeline_run_id="run-1",
                               **beam)
    outputs = {key: self.artifact(kind) for key, kind in made.items()}
    executor(context).Do({key: [value] for key, value in given.items() if value is not None},
                         {key: [value] for key, value in outputs.items()}, properties)
    return outputs

  def examples(self, span, num_shards=3, arrays=None):
    arrays = arrays or make_examples(span)
    artifact = self.artifact(standard_artifacts.Examples, span)
    artifact.split_names = artifact_utils.encode_split_names(["train"])
    artifact.set_int_custom_property("span", span)
    folder = os.path.join(artifact.uri, "Split-train")
    os.makedirs(folder)
    for number, rows in enumerate(np.array_split(np.arange(len(arrays[0])), num_shards)):
      write_example_shard(f"{folder}/data_tfrecord-{number:05d}-of-{num_shards:05d}.gz",
                                  *(array[rows] for array in arrays), self.spec)
    encoding.write_vocabularies(os.path.join(artifact.uri, "vocabularies.json"), {})
    return artifact

  def statistics(self, span, statistics=None):
    artifact = self.artifact(standard_artifacts.ExampleStatistics, span)
    artifact.split_names = artifact_utils.encode_split_names(["train"])
    ids, labels, _, _ = make_examples(span)
    validate.write_statistics(os.path.join(artifact.uri, "Split-train"),
                              statistics if statistics is not None else statistics_of(ids, labels))
    return artifact

  def schema(self, statistics):
    artifact = self.artifact(standard_artifacts.Schema)
    read = validate.read_statistics(os.path.join(statistics.uri, "Split-train"))
    validate.write_schema(artifact.uri, tfdv.infer_schema(read, infer_feature_shape=False))
    return artifact

  def load(self, span, **kwargs):
    return self.run("MemoryLoader", {}, {"parent": tfx_components.StoreCommit}, store_uri=self.store, span=str(span),
                    features=as_text(self.spec), settings=self.settings.to_json(), seed=3, **kwargs)["parent"]

  def validate(self, span, statistics, parent, settings=None):
    return self.run("SpanValidator", {"statistics": statistics, "inferred_schema": self.schema(statistics),
                                      "parent": parent},
                    {"anomalies": standard_artifacts.ExampleAnomalies, "schema": standard_artifacts.Schema},
                    features=as_text(self.spec), span=str(span),
                    validation=to_json(settings or ValidationSettings()))

  def score(self, span, examples, parent, settings=None, **kwargs):
    settings = settings or self.settings
    return self.run("InfluenceScorer", {"examples": examples, "parent": parent},
                    {"teacher": tfx_components.TeacherState, "scores": tfx_components.InfluenceScores},
                    features=as_text(self.spec), teacher_settings=to_json(settings.teacher),
                    influence=to_json(settings.influence), seed=3, span=str(span), strategy="cpu", **kwargs)

  def stage(self, name, span, given, made, settings=None, **kwargs):
    settings = settings or self.settings
    return self.run(name, given, made, features=as_text(self.spec), settings=settings.to_json(), seed=3,
                    span=str(span), **kwargs)

  def commit(self, span, made, **kwargs):
    names = ("memory", "start", "parent", "teacher", "verdict", "examples", "schema", "statistics")
    properties = {"store_uri": self.store, "run_id": "", "replace": 0, **kwargs}
    return self.stage("MemoryCommitter", span, {name: getattr(made, name) for name in names},
                      {"commit": tfx_components.StoreCommit}, **properties)["commit"]

  def address(self, span, made):
    names = ("examples", "scores", "teacher", "parent")
    return self.stage("MemoryAddresser", span, {name: getattr(made, name) for name in names},
                      {"start": tfx_components.Addressing})["start"]

  def refine(self, span, made, settings=None, strategy="cpu", **properties):
    names = ("examples", "scores", "teacher", "parent", "start")
    return self.stage("DistillTrainer", span, {name: getattr(made, name) for name in names},
                      {"memory": tfx_components.DistilledMemory}, settings, strategy=strategy,
                      **properties)["memory"]

  def judge(self, span, made, settings=None):
    names = ("examples", "memory", "start", "parent", "scores")
    return self.stage("FidelityEvaluator", span, {name: getattr(made, name) for name in names},
                      {"verdict": tfx_components.FidelityReport, "report": tfx_components.HtmlPage},
                      settings)["verdict"]

  def run_stage(self, span, commit=True, arrays=None, **kwargs):
    """Runs all components of a span; further arguments are MemoryLoader's."""
    statistics = None if arrays is None else statistics_of(*arrays[:2], names=self.spec.names)
    made = Made(parent=self.load(span, **kwargs), examples=self.examples(span, arrays=arrays),
                statistics=self.statistics(span, statistics))
    checked = self.validate(span, made.statistics, made.parent)
    made = dataclasses.replace(made, **checked)
    made = dataclasses.replace(made, **self.score(span, made.examples, made.parent))
    for key, step in (("start", self.address), ("memory", self.refine), ("verdict", self.judge)):
      made = dataclasses.replace(made, **{key: step(span, made)})
    return dataclasses.replace(made, commit=self.commit(span, made)) if commit else made


@dataclasses.dataclass(frozen=True)
class Made:
  """The artifacts of one span."""

  parent: object
  examples: object
  statistics: object
  anomalies: object = None
  schema: object = None
  teacher: object = None
  scores: object = None
  start: object = None
  memory: object = None
  verdict: object = None
  commit: object = None


@pytest.fixture
def workshop(tmp_path):
  return Workshop(tmp_path)


@pytest.fixture(scope="session")
def shared_workshop(tmp_path_factory):
  """Where spans 1 and 2 are run once; tests do not change its store."""
  return Workshop(tmp_path_factory.mktemp("stages"))


@pytest.fixture(scope="session")
def first(shared_workshop):
  """The artifacts of span 1."""
  return shared_workshop.run_stage(1)


@pytest.fixture(scope="session")
def second(shared_workshop, first):
  """The artifacts of span 2."""
  del first
  return shared_workshop.run_stage(2)
