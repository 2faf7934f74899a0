import re

import pytest
from tfx.dsl.compiler.compiler import Compiler
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from diet_tf.config.validation import ValidationSettings
from diet_tf.distillation.settings import StageSettings
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.settings import LogSettings
from pipelines.pipeline import create_pipeline

NODES = {
    "MemoryLoader": set(),
    "LogGen": {"MemoryLoader"},
    "StatisticsGen": {"LogGen"},
    "SchemaGen": {"StatisticsGen"},
    "SpanValidator": {"LogGen", "StatisticsGen", "SchemaGen", "MemoryLoader"},
    "InfluenceScorer": {"LogGen", "MemoryLoader", "SpanValidator"},
    "MemoryAddresser": {"LogGen", "InfluenceScorer", "MemoryLoader"},
    "DistillTrainer": {"LogGen", "InfluenceScorer", "MemoryLoader", "MemoryAddresser"},
    "FidelityEvaluator": {"LogGen", "DistillTrainer", "MemoryAddresser", "MemoryLoader", "InfluenceScorer"},
    "MemoryCommitter": {"DistillTrainer", "MemoryAddresser", "MemoryLoader", "InfluenceScorer", "FidelityEvaluator",
                        "LogGen", "SpanValidator", "StatisticsGen"},
}


def build(tmp_path, **changes):
  spec = FeatureSpec((Field("user", "user", hash_ids=64), Field("kind", "kind", vocabulary_ids=8)), Label("click"))
  arguments = dict(
      name="tiny", root=str(tmp_path / "root"), store_uri=str(tmp_path / "store"), span="7",
      log=LogSettings("log-{SPAN}.csv"), features=spec, settings=StageSettings(), validation=ValidationSettings(),
      metadata_connection_config=sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite")))
  return create_pipeline(**{**arguments, **changes})


def test_nodes_and_what_each_waits_for(tmp_path):
  pipeline = build(tmp_path)
  assert {node.id: {upstream.id for upstream in node.upstream_nodes} for node in pipeline.components} == NODES


def test_node_ids_are_names_that_argo_takes(tmp_path):
  assert all(re.fullmatch(r"[a-zA-Z0-9][-a-zA-Z0-9]*", node.id) for node in build(tmp_path).components)


def test_nothing_is_cached(tmp_path):
  pipeline = build(tmp_path)
  assert not pipeline.enable_cache
  compiled = Compiler().compile(pipeline)
  assert not any(node.pipeline_node.execution_options.caching_options.enable_cache for node in compiled.nodes)


def test_only_the_nodes_with_beam_get_its_arguments(tmp_path):
  pipeline = build(tmp_path, beam_pipeline_args=["--direct_num_workers=2"])
  compiled = Compiler().compile(pipeline)
  assert [node.pipeline_node.node_info.id for node in compiled.nodes][0] == "MemoryLoader"
  assert pipeline.beam_pipeline_args == ["--direct_num_workers=2"]


@pytest.mark.parametrize("name, kind", [("span", str), ("store_uri", str), ("seed", int), ("replace", int),
                                        ("strategy", str), ("log", str), ("run_id", str),
                                        ("accept_changes", int)])
def test_a_run_can_set_values_that_are_runtime_parameters(tmp_path, name, kind):
  pipeline = build(tmp_path, **{name: RuntimeParameter(name=name, ptype=kind)})
  assert name in str(Compiler().compile(pipeline))
