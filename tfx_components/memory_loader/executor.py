"""The executor of MemoryLoader."""

from __future__ import annotations

from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor

from diet_tf import files
from diet_tf.arrays import write_json
from diet_tf.errors import FormatError
from diet_tf.store import Commit, Store
from tfx_components import inputs
from tfx_components.log_gen.executor import AUTO_SPAN
from tfx_components.progress import report


class Executor(base_executor.BaseExecutor):
  """Runs MemoryLoader."""

  def Do(self, input_dict: dict[str, list[types.Artifact]], output_dict: dict[str, list[types.Artifact]],
         exec_properties: dict[str, Any]) -> None:
    """Copies the newest commit below a span.

    Args:
      input_dict: nothing.
      output_dict: `parent`: one StoreCommit artifact.
      exec_properties: `store_uri`; `span` as a number, its text, or `auto`.

    Raises:
      FormatError: the commit is damaged.
    """
    self._log_startup(input_dict, output_dict, exec_properties)
    text = str(exec_properties["span"])
    parent = inputs.single(output_dict, "parent")
    commit = load_newest(exec_properties["store_uri"], None if text == AUTO_SPAN else inputs.parse_span(text),
                         parent.uri)
    parent.set_int_custom_property("is_empty", int(commit is None))
    if commit is None:
      logging.info("The store %s has no commit before span %s.", exec_properties["store_uri"], text)
      return
    parent.set_int_custom_property("span", commit.span)
    parent.set_string_custom_property("digest", commit.data)


def load_newest(store_uri: str, below: int | None, target: str) -> Commit | None:
  """Copies the parts of the newest commit below a span, checked against their digests, and `commit.json` last.

  Args:
    store_uri: root of the store.
    below: the span; None for the newest commit of all.
    target: folder; where there is no such commit, it gets the file `EMPTY` alone.

  Raises:
    FormatError: the commit, or a file of it, is damaged.
  """
  store = Store(store_uri)
  commit = store.newest(below=below)
  with files.writing(target):
    files.make_folders(target)
    if commit is None:
      files.write_atomically(files.join(target, inputs.EMPTY_FILE), b"nothing was committed before this span\n")
      return None
    for number, (path, info) in enumerate(commit.files.items()):
      source = files.join(store.path(commit), path)
      if files.leads_outside(store.path(commit), path):
        raise FormatError(source, rule="a commit's files lie in its folder.", received="a link that leads out of it.",
                          remedy="restore the file from a copy, or run its span again with --replace.")
      sha256, num_bytes = files.copy(source, files.join(target, path))
      if (sha256, num_bytes) != (info.sha256, info.num_bytes):
        raise FormatError(source, rule=f"it is as it was committed: digest {info.sha256[:12]}, {info.num_bytes} bytes.",
                          received=f"digest {sha256[:12]}, {num_bytes} bytes.",
                          remedy="restore the file from a copy, or run its span again with --replace.")
      report(f"copying the memory of span {commit.span} (files)", number + 1, len(commit.files))
  write_json(files.join(target, inputs.COMMIT_FILE), commit.to_dict())
  return commit
