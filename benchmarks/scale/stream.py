"""The spans of a log, one after the other, through the components of the pipeline: what each costs in its process.

What a component is given and makes is what the pipeline hands it, as files. They are kept until their span is done, so
that a stream that was cut goes on with the component that it was cut in; after that the store alone is left.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.scale.measuring import NOTHING, Cost, kept
from diet_tf.config.config import Config
from diet_tf.io import files

# What the components are called in tables, by the nodes of the pipeline.
COMPONENTS = {
    "LogGen": "LogGen", "StatisticsGen": "statistics, validation", "SchemaGen": "statistics, validation",
    "SpanValidator": "statistics, validation", "InfluenceScorer": "teacher, scores",
    "MemoryAddresser": "addressing, squash", "DistillTrainer": "refinement", "FidelityEvaluator": "gate",
    "MemoryLoader": "load, commit", "MemoryCommitter": "load, commit"}
REFINEMENT = "refinement"
# Files beside those of the nodes: the work before them, and what the span left.
_PREPARED, _LEFT = "prepare", "memory"


@dataclasses.dataclass(frozen=True)
class SpanFigures:
  """What a span cost, and what it left.

  Attributes:
    span: number of the span.
    num_rows: examples of the span.
    num_slots: slots of the memory after it.
    num_ids: distinct ids in these slots, over all fields.
    memory_bytes: bytes of the committed memory.
    teacher_bytes: bytes of the committed teacher.
    costs: cost of each component, by its name in `COMPONENTS`.
  """

  span: int
  num_rows: int
  num_slots: int
  num_ids: int
  memory_bytes: int
  teacher_bytes: int
  costs: Mapping[str, Cost]

  @property
  def total(self) -> Cost:
    """The cost of all components."""
    return sum(self.costs.values(), NOTHING)

  @property
  def without_refinement(self) -> Cost:
    """The cost of all components but refinement."""
    return sum((cost for name, cost in self.costs.items() if name != REFINEMENT), NOTHING)

  @property
  def largest(self) -> str:
    """The component with the highest peak."""
    return max(self.costs, key=lambda name: self.costs[name].peak_bytes)

  def to_dict(self) -> dict[str, Any]:
    """The figures as JSON values."""
    return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Stream:
  """A log that is distilled span by span.

  Attributes:
    config: the config, whose paths can be opened from here.
    folder: folder of the store, the figures, and what the components hand on.
    prepare: function that is called with a span's number before its components, as to write its rows; not counted.
    clean: function that is called with it after them.
    beam_pipeline_args: options of Beam.
  """

  config: Config
  folder: str
  prepare: Callable[[int], None] | None = None
  clean: Callable[[int], None] | None = None
  beam_pipeline_args: Sequence[str] = ()

  @property
  def store_uri(self) -> str:
    """The root of the store."""
    return files.join(self.folder, "store")

  def run(self, span: int) -> SpanFigures:
    """Distils a span on top of those before, or goes on with it; the figures of a span that is done are read.

    Args:
      span: number of the span; those before it are done.

    Raises:
      WorkError: a component failed.
    """
    figures, artifacts = (files.join(self.folder, name, str(span)) for name in ("figures", "artifacts"))
    last = files.join(figures, f"{_LEFT}.json")
    if not files.exists(last):
      self._run_nodes(span, figures, artifacts)
    _, left = kept(last, lambda: self._left(span))
    files.remove_if_there(artifacts)
    costs = dict.fromkeys(COMPONENTS.values(), NOTHING)
    measured = {name.removesuffix(".json") for name in files.names_in(figures) if name.endswith(".json")}
    for node in measured - {_PREPARED, _LEFT}:
      cost, _ = kept(files.join(figures, f"{node}.json"), _nothing)
      costs[COMPONENTS[node]] += cost
    return SpanFigures(span=span, costs=costs, **left)

  def _run_nodes(self, span: int, figures: str, artifacts: str) -> None:
    from diet_tf.store.paths import UNFINISHED_FOLDER

    pipeline = self._pipeline(span)
    if self.prepare is not None:
      prepare = self.prepare
      kept(files.join(figures, f"{_PREPARED}.json"), lambda: prepare(span))
    made: dict[tuple[str, str], Any] = {}
    # A refinement that was cut would go on from there, and cost less than a whole one.
    files.remove_if_there(files.join(self.store_uri, UNFINISHED_FOLDER))
    for node in pipeline.components:
      run = _NodeRun(node, files.join(artifacts, node.id), self.beam_pipeline_args)
      _, outputs = kept(files.join(figures, f"{node.id}.json"), functools.partial(run.do, made))
      made |= {(node.id, key): entry for key, entry in outputs.items()}
    if self.clean is not None:
      self.clean(span)

  def _pipeline(self, span: int) -> Any:
    from pipelines.pipeline import create_pipeline

    config = self.config
    return create_pipeline(
        name=config.name, root=self.folder, store_uri=self.store_uri, span=str(span), log=config.log,
        features=config.features, settings=config.stage_settings(), validation=config.validation, seed=config.seed,
        strategy=config.strategy, run_id=f"{config.name}-{span}", beam_pipeline_args=self.beam_pipeline_args)

  def _left(self, span: int) -> dict[str, int]:
    import numpy as np

    from diet_tf.store.memories import load_memory
    from diet_tf.store.store import MEMORY_PART, Store
    from tfx_components import inputs

    store = Store(self.store_uri)
    commit, before = store.read_if_there(span), store.newest(below=span)
    assert commit is not None
    memory = load_memory(store.path(commit, MEMORY_PART))
    seen = 0 if before is None else load_memory(store.path(before, MEMORY_PART)).manifest.num_examples_seen
    slots = memory.slots
    num_ids = sum(len(np.unique(slots.ids[:, field][slots.weights[:, field] > 0]))
                  for field in range(slots.ids.shape[1]))
    return {"num_rows": memory.manifest.num_examples_seen - seen, "num_slots": len(slots), "num_ids": num_ids,
            "memory_bytes": files.num_bytes_below(store.path(commit, MEMORY_PART)),
            "teacher_bytes": files.num_bytes_below(store.path(commit, inputs.TEACHER_PART))}


def _nothing() -> None:
  raise AssertionError("a span that is done has a file for each component")


@dataclasses.dataclass(frozen=True)
class _NodeRun:
  """One node of the pipeline of a span.

  Attributes:
    node: the TFX node.
    folder: folder of its outputs.
    beam_pipeline_args: options of Beam, for a node that computes on it.
  """

  node: Any
  folder: str
  beam_pipeline_args: Sequence[str]

  def do(self, made: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    """Runs the node's executor as an orchestrator does; returns its output artifacts by key, as JSON values.

    Args:
      made: what the nodes before have returned, by the node's id and the key.
    """
    from tfx.dsl.components.base import base_beam_executor
    from tfx.types import artifact

    files.remove_if_there(self.folder)  # A run that was cut left it unfinished.
    given = {key: [artifact.Artifact.from_json_dict(made[channel.producer_component_id, channel.output_key])]
             for key, channel in self.node.inputs.items()}
    outputs = {key: self._output(key, channel) for key, channel in self.node.outputs.items()}
    properties = {key: value for key, value in self.node.exec_properties.items() if value is not None}
    executor = self.node.executor_spec.executor_class
    beam = ({"beam_pipeline_args": list(self.beam_pipeline_args)}
            if issubclass(executor, base_beam_executor.BaseBeamExecutor) else {})
    files.make_folders(self.folder)
    context = executor.Context(tmp_dir=files.join(self.folder, "temporary"), unique_id=self.node.id,
                               pipeline_run_id="scale", **beam)
    executor(context).Do(given, {key: [value] for key, value in outputs.items()}, properties)
    return {key: value.to_json_dict() for key, value in outputs.items()}

  def _output(self, key: str, channel: Any) -> Any:
    from tfx.types.value_artifact import ValueArtifact

    output = channel.type()
    output.uri, output.name = files.join(self.folder, key), key
    # The URI of a value is a file.
    files.make_folders(self.folder if isinstance(output, ValueArtifact) else output.uri)
    return output
