"""What executors read from their input artifacts and parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfx import types
from tfx.types import artifact_utils

from diet_tf.errors import ConfigError, DataError, FormatError
from diet_tf.io import files
from diet_tf.io.documents import read_document
from diet_tf.log import examples as log_examples
from diet_tf.log.features import FeatureSpec
from diet_tf.log.settings import AUTO_SPAN, require_span
from diet_tf.memory.memory import Memory
from diet_tf.store.commit import Commit
from diet_tf.store.memories import load_memory
from diet_tf.store.store import MEMORY_PART
from tfx_components.log_gen.file_names import SPLIT_FOLDER, SUMMARY_NAME, VOCABULARIES_NAME
from tfx_components.log_gen.summary import LogSummary

# Parts of a commit, beside the memory.
TEACHER_PART = "teacher"
VOCABULARIES_PART = VOCABULARIES_NAME
SCHEMA_PART = "schema"
STATISTICS_PART = "statistics"
# Files of a StoreCommit artifact that are no part of the commit.
COMMIT_NAME = "commit.json"
EMPTY_NAME = "EMPTY"

ArtifactDict = Mapping[str, Sequence[types.Artifact]]


def single(artifacts: ArtifactDict, key: str) -> types.Artifact:
  """The one artifact of an input or output."""
  return artifact_utils.get_single_instance(list(artifacts[key]))


def single_or_none(artifacts: ArtifactDict, key: str) -> types.Artifact | None:
  """The one artifact of an optional input; None where it is not connected."""
  return single(artifacts, key) if artifacts.get(key) else None


def split_folder(artifact: types.Artifact) -> str:
  """The folder of the one split of examples, statistics or anomalies."""
  return files.join(artifact.uri, SPLIT_FOLDER)


def example_shards(examples: types.Artifact) -> list[str]:
  """The TFRecord files of a span's examples, in their order."""
  return log_examples.example_shards(split_folder(examples))


def span_of(exec_properties: Mapping[str, Any], artifact: types.Artifact) -> int:
  """The number of the span that is run.

  Args:
    exec_properties: parameters of the component; `span` is a number, its text, or `auto`.
    artifact: the span's examples, or what was made of them; it says the number where `span` is `auto`.

  Raises:
    ConfigError: the parameter is neither a number nor `auto`.
    DataError: the parameter is the number of another span than the artifact's, or neither says which it is.
  """
  known = _span_of_artifact(artifact)
  text = str(exec_properties["span"])
  if text == AUTO_SPAN:
    if known is None:
      raise DataError(artifact.uri, rule="examples say which span they are of.", received="no property span and no "
                      f"{SUMMARY_NAME}.", remedy=f"pass the span's number in place of {AUTO_SPAN!r}.")
    return known
  span = parse_span(text)
  if known is not None and known != span:
    raise DataError(artifact.uri, rule=f"it is of span {span}, which is run.", received=f"span {known}.",
                    remedy="connect the artifacts of one run, or correct the span.")
  return span


def parse_span(text: str) -> int:
  """The span's number that a text gives.

  Raises:
    ConfigError: the text is no whole number.
  """
  if not text.strip().isdecimal():
    raise ConfigError("span", rule=f"it is a whole number or {AUTO_SPAN!r}.", received=repr(text),
                      remedy="pass the number that stands for {SPAN} in the log's paths.")
  require_span(int(text))
  return int(text)


def _span_of_artifact(artifact: types.Artifact) -> int | None:
  # Not every orchestrator hands properties on; the summary that LogGen leaves beside the examples is always there.
  if artifact.has_custom_property("span"):
    return int(artifact.get_int_custom_property("span"))
  summary = LogSummary.read(artifact.uri)
  if summary is not None:
    return summary.span
  span = getattr(artifact, "span", 0)
  # TFX sets 0 where nobody set a span.
  return int(span) if span else None


@dataclasses.dataclass(frozen=True)
class Parent:
  """What a `StoreCommit` artifact holds.

  Attributes:
    uri: folder of the artifact.
    commit: the commit before the span; None where nothing was committed.
  """

  uri: str
  commit: Commit | None

  @classmethod
  def of(cls, artifact: types.Artifact) -> Parent:
    """The content of an artifact.

    Raises:
      FormatError: it is neither a commit nor marked as empty.
    """
    path = files.join(artifact.uri, COMMIT_NAME)
    if files.exists(path):
      return cls(artifact.uri, Commit.from_dict(read_document(path), subject=path))
    if files.exists(files.join(artifact.uri, EMPTY_NAME)):
      return cls(artifact.uri, None)
    raise FormatError(artifact.uri, rule=f"it holds {COMMIT_NAME}, or {EMPTY_NAME} where nothing was committed before.",
                      received=f"{files.names_in(artifact.uri)}.", remedy="connect the output of MemoryLoader.")

  @property
  def is_empty(self) -> bool:
    """Whether nothing was committed before the span."""
    return self.commit is None

  def part(self, name: str) -> str | None:
    """The folder or file of a part of the commit; None where there is no commit, or it has no such part."""
    path = files.join(self.uri, name)
    return path if self.commit is not None and files.exists(path) else None

  def memory(self, spec: FeatureSpec) -> Memory | None:
    """The memory before the span; None where nothing was committed.

    Raises:
      FormatError: it is damaged, or of another feature spec.
    """
    return load_memory(files.join(self.uri, MEMORY_PART), spec=spec) if self.commit is not None else None
