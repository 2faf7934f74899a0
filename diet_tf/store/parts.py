"""The parts of a commit: files and folders of other places that are measured, copied into a store, and checked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from diet_tf.errors import FormatError, StoreError
from diet_tf.io import files
from diet_tf.io.documents import read_document
from diet_tf.io.files import is_remote
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.manifest import MANIFEST_NAME, Manifest
from diet_tf.store.commit import FileInfo
from diet_tf.store.reader import MEMORY_PART

_PART_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True)
class SourceFile:
  """A file that is to be committed.

  Attributes:
    path: local path or URI that it is copied from.
    info: digest and size that it had when it was measured.
  """

  path: str
  info: FileInfo


def measure_parts(parts: Mapping[str, str]) -> dict[str, SourceFile]:
  """The files of parts, by the path that each gets in the data folder.

  Args:
    parts: local path or URI of each part's file or folder, by the part's name.

  Raises:
    StoreError: a name is no plain file name, or a part is missing, empty, or has a link that leads out of it.
  """
  sources: dict[str, SourceFile] = {}
  for name, place in parts.items():
    path = str(place)
    if not _PART_NAME.fullmatch(name):
      raise StoreError(f"part {name!r}", rule="a part's name is a plain file name.", received=repr(name),
                       remedy="rename it.")
    inner = [f"/{below}" for below in files.files_below(path)] if files.is_folder(path) else [""]
    if not inner or not files.exists(path):
      raise StoreError(path, rule=f"the part {name!r} is a file, or a folder with files.",
                       received="an empty folder." if files.exists(path) else "nothing there.",
                       remedy="check that the step before has written it.")
    for below in inner:
      if below and files.leads_outside(path, below[1:]):
        raise StoreError(path + below, rule="a part's files lie in its folder.",
                         received="a link that leads out of it.", remedy="put a copy in its place.")
      sources[name + below] = SourceFile(path.rstrip("/") + below, FileInfo(*files.digest(path.rstrip("/") + below)))
  return sources


def copy_parts(sources: Mapping[str, SourceFile], folder: str) -> None:
  """Copies files into a folder; those that are there already with the same content stay as they are.

  Args:
    sources: what `measure_parts` returned.
    folder: local path or URI of the folder.

  Raises:
    StoreError: a file has changed since it was measured.
  """
  for path, source in sources.items():
    target = files.join(folder, path)
    if files.exists(target):
      # In an object store, of a commit or writer with the same content: never rewritten under its readers.
      if FileInfo(*files.digest(target)) == source.info:
        continue
      files.remove_if_there(target)
    copied = FileInfo(*files.copy(source.path, target))
    if copied != source.info:
      raise StoreError(source.path, rule="a file must not change while it is committed.",
                       received=f"digest {copied.sha256[:12]} after {source.info.sha256[:12]}.",
                       remedy="let its writer finish, and commit again.")
  if not is_remote(folder):
    for path in sorted({files.parent(files.join(folder, path)) for path in sources}, reverse=True):
      files.flush_folder(path)


def feature_spec_digest(sources: Mapping[str, SourceFile], settings: Mapping[str, Any]) -> str | None:
  """The digest of the feature spec that parts are made with; None if neither they nor the settings name one.

  Args:
    sources: what `measure_parts` returned. Where they hold a memory, its manifest decides.
    settings: settings of the run, whose `feature_spec` or `feature_spec_digest` decides otherwise.

  Raises:
    FormatError: the manifest of the memory is damaged, or its shards are not those that it lists.
  """
  source = sources.get(f"{MEMORY_PART}/{MANIFEST_NAME}")
  if source is not None:
    manifest = Manifest.from_dict(read_document(source.path), subject=source.path)
    for shard in manifest.shards:
      found = sources.get(f"{MEMORY_PART}/{shard.name}")
      if found is None or found.info != FileInfo(shard.sha256, shard.num_bytes):
        raise FormatError(found.path if found else source.path, rule=f"{shard.name} has the manifest's digest.",
                          received="another digest." if found else "no such file.", remedy="save the memory again.")
    return manifest.feature_spec_digest
  if "feature_spec" in settings:
    return FeatureSpec.from_dict(settings["feature_spec"]).digest()
  return settings.get("feature_spec_digest")
