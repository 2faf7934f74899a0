"""TFX's StatisticsGen in any folder: Beam reads and writes its files by patterns, of which a folder's name is none."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from typing import Any

from tfx import types
from tfx.components import StatisticsGen as TfxStatisticsGen
from tfx.components.statistics_gen.executor import Executor as TfxExecutor
from tfx.dsl.components.base import executor_spec

from diet_tf.errors import ConfigError
from diet_tf.io import files

_PATTERN = re.compile(r"[*?\[]")


class Executor(TfxExecutor):
  """Runs StatisticsGen."""

  def Do(self, input_dict: dict[str, list[types.Artifact]], output_dict: dict[str, list[types.Artifact]],
         exec_properties: dict[str, Any]) -> None:
    """As TFX's; its artifacts may lie in folders whose names have brackets, asterisks and question marks."""
    artifacts = [artifact for entry in (input_dict, output_dict) for listed in entry.values() for artifact in listed]
    with _without_patterns(artifacts):
      super().Do(input_dict, output_dict, exec_properties)


@contextlib.contextmanager
def _without_patterns(artifacts: list[types.Artifact]) -> Iterator[None]:
  """For the block, names artifacts whose path Beam would take for a pattern by a link to where they are."""
  places = {number: artifact.uri for number, artifact in enumerate(artifacts) if _PATTERN.search(artifact.uri)}
  for uri in filter(files.is_remote, places.values()):
    raise ConfigError(uri, rule="the folder of a pipeline has no *, ? and [ in its URI, which Beam reads as a pattern.",
                      received=repr(uri), remedy="name another folder.")
  with tempfile.TemporaryDirectory(prefix="diet-") as folder:
    try:
      for number, uri in places.items():
        artifacts[number].uri = os.path.join(folder, str(number))
        os.symlink(os.path.abspath(uri), artifacts[number].uri)
      yield
    finally:
      for number, uri in places.items():
        artifacts[number].uri = uri


class StatisticsGen(TfxStatisticsGen):
  """TFX's component, for artifacts in any folder."""

  EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
