"""The folder that the paths of a config are relative to: a config names a log, not where it lies on a machine."""

from __future__ import annotations

import dataclasses
import os

from diet_tf.config.config import Config
from diet_tf.io import files
from diet_tf.io.path_patterns import escaped
from diet_tf.log.settings import LogSettings


def with_data_dir(config: Config, data_dir: str) -> Config:
  """The config with the paths of the log and its side tables taken below a folder.

  Args:
    config: the config as its file has it; absolute paths and URIs in it stay as they are.
    data_dir: the folder or URI that relative paths start from.
  """

  def located(path: str) -> str:
    # The folder is a place, of which nothing is a pattern.
    return path if files.is_remote(path) or os.path.isabs(path) else files.join(escaped(data_dir), path)

  joins = tuple(dataclasses.replace(join, pattern=located(join.pattern)) for join in config.log.joins)
  log: LogSettings = dataclasses.replace(config.log, pattern=located(config.log.pattern), joins=joins)
  return dataclasses.replace(config, log=log)
