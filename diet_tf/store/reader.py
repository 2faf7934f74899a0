"""Reading a store: its commits, where their content lies, and whether that is as it was committed.

Nothing here changes a store, and nothing imports TensorFlow for a local one.
"""

from __future__ import annotations

from diet_tf.errors import StoreError
from diet_tf.io import files
from diet_tf.io.documents import read_document
from diet_tf.store import commit as commits_lib
from diet_tf.store.commit import Commit, FileInfo, ForgottenCommit, Pin
from diet_tf.store.paths import PIN_SUFFIX, CommitName, StorePaths

# The part of a commit that holds the memory.
MEMORY_PART = "memory"


class StoreReader:
  """The commits below one root, to be read.

  Args:
    uri: root of the store, a local folder or a URI that `tf.io.gfile` reads. It need not exist.

  Attributes:
    uri: the root, without a slash at its end.
    paths: the places below the root.
  """

  def __init__(self, uri: str) -> None:
    self.uri = str(uri).rstrip("/") or "/"
    self.paths = StorePaths(self.uri)

  def spans(self) -> list[int]:
    """The committed spans in increasing order."""
    return [name.span for name in self.names() if name.is_current]

  def known_spans(self) -> list[int]:
    """The spans that are or were committed, in increasing order: those of removed commits too."""
    return sorted({*self.spans(), *(commit.span for commit in self.forgotten())})

  def names(self) -> list[CommitName]:
    """The names of all commits in increasing order, replaced ones included."""
    names = (CommitName.parse(name) for name in files.names_in(self.paths.commits))
    return sorted(name for name in names if name is not None)

  def forgotten(self) -> list[ForgottenCommit]:
    """What is known of commits that a garbage collection removed, in the order of their spans.

    Raises:
      FormatError: the record of them is damaged.
    """
    path = self.paths.forgotten
    return commits_lib.forgotten_from_dict(read_document(path), path) if files.exists(path) else []

  def pins(self) -> list[Pin]:
    """The commits that nothing removes, in the order of their spans.

    Raises:
      FormatError: a pin is damaged, so that nobody knows what is to be kept.
    """
    pins = []
    for name in files.names_in(self.paths.pins):
      if not name.endswith(PIN_SUFFIX):
        continue
      path = files.join(self.paths.pins, name)
      pin = Pin.from_dict(read_document(path), path)
      if self.paths.pin(pin.data) != path:
        raise commits_lib.damaged(path, f"the pin of {pin.data}.")
      pins.append(pin)
    return sorted(pins, key=lambda pin: (pin.span, pin.data))

  def newest(self, below: int | None = None) -> Commit | None:
    """The current commit of the greatest span; None if nothing is committed.

    Args:
      below: only spans below this one count; None counts all.

    Raises:
      FormatError: that commit is damaged; an older one is never taken in its stead.
      StoreError: that commit was removed; nor is an older one taken then.
    """
    spans = [span for span in self.spans() if below is None or span < below]
    newest = spans[-1] if spans else None
    if below is not None:
      self._require_remembered(below, newest)
    return None if newest is None else self.read(newest)

  def read(self, span: int) -> Commit:
    """The current commit of a span.

    Raises:
      StoreError: the span is not committed.
      FormatError: its commit is damaged or newer than this version reads.
    """
    commit = self.read_if_there(span)
    if commit is None:
      removed = any(one.span == span for one in self.forgotten())
      raise StoreError(f"span {span} in {self.uri}", rule="the span must be committed.",
                       received=f"commits of the spans {self.spans()}{'; its own was removed' if removed else ''}.",
                       remedy="name one of these spans, or run it.")
    return commit

  def read_if_there(self, span: int) -> Commit | None:
    """The current commit of a span; None if the span is not committed.

    Raises:
      FormatError: its commit is damaged or newer than this version reads.
    """
    name = CommitName(span, is_current=True)
    return self.read_named(name) if files.exists(self.paths.commit(name)) else None

  def read_named(self, name: CommitName) -> Commit:
    """The commit of that name.

    Raises:
      FormatError: it is damaged, or of another span than its name says.
    """
    path = self.paths.commit(name)
    commit = Commit.from_dict(read_document(path), subject=path)
    if commit.span != name.span:
      raise commits_lib.damaged(path, f"a commit of span {commit.span}.")
    return commit

  def find(self, span: int, data: str | None = None) -> Commit:
    """A commit of a span, also one that was revised or replaced.

    Args:
      span: number of the span.
      data: digest of the commit's content, or how it begins; None takes the span's current one.

    Raises:
      StoreError: there is none, or several.
    """
    if data is None:
      return self.read(span)
    commits = [self.read_named(name) for name in self.names() if name.span == span]
    found = {commit.data: commit for commit in commits if commit.data.startswith(data)}
    if len(found) != 1:
      raise StoreError(f"span {span} in {self.uri}", rule="one commit of the span has content whose digest begins with "
                       f"{data!r}.", received=f"{', '.join(commit.data[:12] for commit in commits) or 'no commit'}.",
                       remedy="see diet store log.")
    return next(iter(found.values()))

  def commits(self) -> list[Commit]:
    """The current commits in the order of their spans."""
    return [self.read(span) for span in self.spans()]

  def path(self, commit: Commit, name: str = "") -> str:
    """Where a part of a commit lies.

    Args:
      commit: a commit of this store.
      name: name of a part, or path of a file below one; empty for the folder of all parts.

    Raises:
      StoreError: the commit has no such part.
    """
    folder = self.paths.data_folder(commit.data)
    if not name:
      return folder
    if not any(path == name or path.startswith(f"{name}/") for path in commit.files):
      parts = sorted({path.split("/", 1)[0] for path in commit.files})
      raise StoreError(f"{name!r} of span {commit.span} in {self.uri}", rule=f"the commit has the parts {parts}.",
                       received=repr(name), remedy="name one of these.")
    return files.join(folder, name)

  def require_commits(self) -> None:
    """Raises StoreError if nothing is committed: there may be no store at all."""
    if not self.names():
      raise StoreError(self.uri, rule="a store has at least one commit.",
                       received="a folder without one." if files.exists(self.uri) else "no such folder.",
                       remedy="check the path, or commit a span first.")

  def data_problems(self, commit: Commit) -> list[str]:
    """What is wrong with the files of a commit, one sentence per file; empty if all are as they were committed."""
    folder, problems = self.path(commit), []
    for path, info in commit.files.items():
      full = files.join(folder, path)
      if not files.exists(full):
        problems.append(f"{full} is missing.")
      elif files.leads_outside(folder, path):
        problems.append(f"{full} is a link that leads out of its folder.")
      elif files.is_folder(full) or FileInfo(*files.digest(full)) != info:
        problems.append(f"{full} has not the digest {info.sha256[:12]} and the {info.num_bytes} bytes it was "
                        "committed with.")
    return problems

  def _require_remembered(self, below: int, newest: int | None) -> None:
    """Raises StoreError if a removed commit lies between the newest one below a span and the span."""
    spans = self.spans()
    lost = [one.span for one in self.forgotten()
            if one.span < below and one.span not in spans and (newest is None or one.span > newest)]
    if lost:
      raise StoreError(f"span {below} in {self.uri}", rule="a span grows from the newest commit below it.",
                       received=f"that commit, of span {max(lost)}, was removed by a garbage collection.",
                       remedy=f"run spans above {spans[0] if spans else max(lost)}, the oldest that is kept, or begin "
                       "a new store.")
