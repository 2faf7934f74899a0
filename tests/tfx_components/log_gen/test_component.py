import json
import pathlib
import subprocess
import sys

import pytest
from tfx import types
from tfx.components import StatisticsGen
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.types import standard_artifacts

from diet_tf.errors import ConfigError, DataError
from diet_tf.log import encoding
from tfx_components import LogGen, StoreCommit
from tfx_components.log_gen import executor


@pytest.fixture
def examples(tmp_path):
  artifact = standard_artifacts.Examples()
  artifact.uri = str(tmp_path / "examples")
  return artifact


def run(log, spec, examples, span, parent=None):
  context = executor.Executor.Context(tmp_dir=str(log.folder / "temp"), unique_id="1")
  properties = {"log": log.settings().to_json(), "features": json.dumps(spec.to_dict()), "span": span}
  inputs = {"parent": [parent]} if parent else {}
  executor.Executor(context).Do(inputs, {"examples": [examples]}, properties)


@pytest.mark.parametrize("span", [1, "1"])
def test_do_writes_examples_and_their_properties(log, rows, spec, examples, span):
  log.write("log-1.csv", [*rows, *(dict(row, t=row["t"] + 1) for row in rows * 20)])
  run(log, spec, examples, span)
  assert examples.splits == ["train"] and examples.span == 1
  assert examples.get_int_custom_property("span") == 1
  assert examples.get_int_custom_property("num_examples") == 147
  assert examples.get_int_custom_property("num_quarantined") == 0
  assert examples.get_string_custom_property("feature_spec_digest") == spec.digest()
  assert examples.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"
  shards = list(pathlib.Path(examples.uri, "Split-train").iterdir())
  assert [path.name for path in shards] == ["data_tfrecord-00000-of-00001.gz"]


def test_do_starts_from_the_vocabularies_of_the_parent(log, rows, spec, examples, tmp_path):
  log.write("log-1.csv", rows)
  parent = StoreCommit()
  parent.uri = str(tmp_path / "memory")
  pathlib.Path(parent.uri).mkdir()
  encoding.write_vocabularies(str(tmp_path / "memory" / "vocabularies.json"), {"item": ["z", "a"]})
  run(log, spec, examples, 1, parent)
  grown = encoding.read_vocabularies(str(pathlib.Path(examples.uri, "vocabularies.json")))
  assert grown == {"item": ["z", "a", "b", "a b"]}


def test_a_parent_without_vocabularies_is_a_first_span(log, rows, spec, examples, tmp_path):
  log.write("log-1.csv", rows)
  parent = StoreCommit()
  parent.uri = str(tmp_path / "empty")
  run(log, spec, examples, 1, parent)
  assert pathlib.Path(examples.uri, "vocabularies.json").exists()


def test_auto_is_the_span_after_the_parents(log, rows, tmp_path):
  for span in (3, 5):
    log.write(f"log-{span}.csv", rows)
  parent = StoreCommit()
  parent.uri = str(tmp_path)
  assert executor.resolve_span(log.settings(), "auto", None) == 3
  assert executor.resolve_span(log.settings(), "auto", parent) == 3
  (tmp_path / "commit.json").write_text('{"span": 4}')
  assert executor.resolve_span(log.settings(), "auto", parent) == 5
  parent.set_int_custom_property("span", 3)
  assert executor.resolve_span(log.settings(), "auto", parent) == 5
  parent.set_int_custom_property("span", 5)
  with pytest.raises(DataError, match="later than 5"):
    executor.resolve_span(log.settings(), "auto", parent)
  with pytest.raises(ConfigError, match="'today'"):
    executor.resolve_span(log.settings(), "today", None)
  with pytest.raises(ConfigError, match="0 to 9,223,372,036,854,775,807"):
    executor.resolve_span(log.settings(), str(1 << 63), None)


def test_component_spec(log, spec):
  parent = types.Channel(type=StoreCommit)
  component = LogGen(log=log.settings(), features=spec, span=7, parent=parent)
  assert component.exec_properties["span"] == "7"
  assert component.exec_properties["log"] == log.settings().to_json()
  assert component.outputs["examples"].type is standard_artifacts.Examples
  assert list(component.inputs) == ["parent"]
  assert list(LogGen(log="{}", features="{}", span="auto").inputs) == []


def test_a_pipeline_with_statistics(log, rows, spec, tmp_path):
  log.write("log-4.csv", rows)
  log_gen = LogGen(log=log.settings(), features=spec, span=4)
  statistics_gen = StatisticsGen(examples=log_gen.outputs["examples"])
  connection = metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.db"))
  LocalDagRunner().run(pipeline.Pipeline(
      pipeline_name="test", pipeline_root=str(tmp_path / "root"), components=[log_gen, statistics_gen],
      metadata_connection_config=connection))
  found = sorted(path.relative_to(tmp_path / "root").parts[0] for path in tmp_path.glob("root/**/*") if path.is_file())
  assert set(found) == {"LogGen", "StatisticsGen"}
  statistics = list(tmp_path.glob("root/StatisticsGen/statistics/*/Split-train/*"))
  assert statistics and statistics[0].stat().st_size > 0
  assert not list(tmp_path.glob("root/LogGen/**/*.arrow"))


def test_the_package_imports_neither_tfx_nor_beam():
  code = ("import sys, tfx_components, tfx_components.log_gen\n"
          "print([name for name in ('tfx', 'apache_beam') if name in sys.modules])")
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "[]"
