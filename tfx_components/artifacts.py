"""Artifacts of the DIET-TF components.

They carry custom properties only: artifact types with declared properties do not compile for Kubeflow Pipelines.
"""

from __future__ import annotations

from tfx.types.artifact import Artifact


class DistilledMemory(Artifact):
  """A distilled memory, with what is carried to the next span beside it."""

  TYPE_NAME = "tfx_components.DistilledMemory"
