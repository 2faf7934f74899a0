"""A hook of MkDocs: files outside docs/ that its pages link to become pages too, so that one text serves both places.

On a repository host `../README.md` leads from docs/ to the README. On the site the README is the home page, and a file
or folder that is no document (a config, the licence) is a page that shows it.
"""

from __future__ import annotations

import json
import pathlib
import posixpath
import re
from collections.abc import Callable

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Documents outside docs/, by their path, and where the site has them.
DOCUMENTS = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md",
             "kubeflow/README.md": "kubeflow/README.md"}
# Below it lie the pages of other files.
SOURCES = "source"

_FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<before>!?\[[^\]]*\]\()(?P<target>[^)\s#]+)(?P<after>(?:#[^)\s]*)?\))")
_LANGUAGES = {".py": "python", ".sh": "sh", ".yaml": "yaml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
  """Adds the documents that lie elsewhere, and a page for each other file that a document links to."""
  for path, page in DOCUMENTS.items():
    files.append(File.generated(config, page, content=(ROOT / path).read_text(encoding="utf-8")))
  pages = list(files.documentation_pages())
  while pages:
    page = pages.pop()
    for path in sorted(_linked(page.content_string, _source_of(page.src_uri))):
      if _is_source(path) and files.get_file_from_path(_page_of(path)) is None:
        # It may link to others: a notebook has text as well.
        pages.append(File.generated(config, _page_of(path), content=_shown(path),
                                    inclusion=InclusionLevel.NOT_IN_NAV))
        files.append(pages[-1])
  return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
  """The text with links to files of the repository made links to their pages."""
  source = _source_of(page.file.src_uri)
  here = posixpath.dirname(page.file.src_uri)

  def rewritten(match: re.Match[str]) -> str:
    path = _target(match["target"], source)
    if path is None or not (ROOT / path).exists():
      return match.group()  # MkDocs says what is wrong with it.
    return match["before"] + posixpath.relpath(_page_of(path), here or ".") + match["after"]

  return _outside_code(markdown, lambda text: _LINK.sub(rewritten, text))


def _source_of(page: str) -> str:
  """The path in the repository of a page's text."""
  if page.startswith(f"{SOURCES}/"):
    return page.removeprefix(f"{SOURCES}/").removesuffix(".md")
  return {there: path for path, there in DOCUMENTS.items()}.get(page, f"docs/{page}")


def _page_of(path: str) -> str:
  """Where the site has a file or folder of the repository."""
  if path.startswith("docs/"):
    return path.removeprefix("docs/")
  return DOCUMENTS.get(path, f"{SOURCES}/{path}.md")


def _is_source(path: str) -> bool:
  return (ROOT / path).exists() and _page_of(path).startswith(f"{SOURCES}/")


def _target(link: str, source: str) -> str | None:
  """The path in the repository that a link leads to from a document; None if it leads elsewhere."""
  path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
  return None if "://" in link or path.startswith(("..", "/")) else path


def _linked(markdown: str, source: str) -> set[str]:
  links = {_target(match["target"], source) for match in _LINK.finditer(_FENCE.sub("", markdown))}
  return {path for path in links if path is not None}


def _outside_code(markdown: str, change: Callable[[str], str]) -> str:
  """The text with everything but its code blocks changed."""
  parts, end = [], 0
  for match in _FENCE.finditer(markdown):
    parts += [change(markdown[end:match.start()]), match.group()]
    end = match.end()
  return "".join([*parts, change(markdown[end:])])


def _shown(path: str) -> str:
  """A page that shows a file, or lists a folder."""
  place = ROOT / path
  if place.is_dir():
    names = sorted(child.name for child in place.iterdir() if child.is_file() and not child.name.startswith("."))
    return f"# {path}\n\n" + "\n".join(f"- `{name}`" for name in names)
  text = place.read_text(encoding="utf-8").rstrip()
  if place.suffix == ".ipynb":
    return "\n\n".join(map(_cell, json.loads(text)["cells"]))  # It has a heading of its own.
  return f"# {path}\n\n{_fenced(text, _LANGUAGES.get(place.suffix, 'text'))}"


def _cell(cell: dict) -> str:
  """A cell of a notebook as Markdown; what it printed is left out."""
  text = "".join(cell["source"])
  return text if cell["cell_type"] == "markdown" else _fenced(text, "python")


def _fenced(text: str, language: str) -> str:
  return f"````{language}\n{text}\n````"
