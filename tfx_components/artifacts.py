"""Artifacts of the DIET-TF components.

They carry custom properties only: artifact types with declared properties do not compile for Kubeflow Pipelines. What
a component needs to know is also in the artifact's files, since not every orchestrator hands custom properties on.
"""

from __future__ import annotations

from tfx.types.artifact import Artifact
from tfx.types.value_artifact import ValueArtifact


class StoreCommit(Artifact):
  """A commit of a memory store: of a copy of its parts, or of the place where they lie.

  `commit.json` is the commit as the store holds it. An artifact for "no commit yet" holds a file `EMPTY` alone, and
  has the custom property `is_empty`.
  """

  TYPE_NAME = "tfx_components.StoreCommit"


class TeacherState(Artifact):
  """The teacher after a span: `teacher.npz` and `teacher.json`."""

  TYPE_NAME = "tfx_components.TeacherState"


class InfluenceScores(Artifact):
  """A span's score files, one per shard of examples, and `slot_influences.npz` of the memory before the span."""

  TYPE_NAME = "tfx_components.InfluenceScores"


class Addressing(Artifact):
  """The start of a stage: `memory/`, the action on each of its slots in `actions.npz`, and `start.json`."""

  TYPE_NAME = "tfx_components.Addressing"


class DistilledMemory(Artifact):
  """A refined memory: `memory/`, and how the refinement went in `refinement.json`."""

  TYPE_NAME = "tfx_components.DistilledMemory"


class FidelityReport(Artifact):
  """The gate's verdict on a stage: `verdict.json`, `stage.json` and `report.html`."""

  TYPE_NAME = "tfx_components.FidelityReport"


class HtmlPage(ValueArtifact):
  """A page as a file of its own, so that the console of Kubeflow Pipelines shows it; its `value` is the text."""

  TYPE_NAME = "tfx_components.HtmlPage"

  def encode(self, value: str) -> bytes:
    """The page as bytes."""
    return value.encode()

  def decode(self, serialized_value: bytes) -> str:
    """The page that `encode` gave."""
    return serialized_value.decode()
