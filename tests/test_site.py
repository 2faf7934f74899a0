"""The site: it builds without a warning, is whole, asks the network for nothing, and documents what is exported."""

from __future__ import annotations

import ast
import html.parser
import pathlib
import re
import urllib.parse

import pytest
import yaml

import diet_tf
import tfx_components
from diet_tf import errors
from tests.documents import DOCUMENTS, ROOT, blocks, build_site

REFERENCE = ROOT / "docs" / "reference"
# Attributes by which a page makes the browser fetch something.
FETCHED = {"script": ("src",), "link": ("href",), "img": ("src", "srcset"), "iframe": ("src",), "source": ("src",)}

# Artifacts, which TFX makes, and a named tuple, whose fields are listed.
WITHOUT_CONSTRUCTOR = {"diet_tf.models.Member", *(
    f"tfx_components.{name}" for name, module in tfx_components._EXPORTS.items() if module.endswith(".artifacts"))}


class Page(html.parser.HTMLParser):
  """What a page fetches, links to, and can be linked to by."""

  def __init__(self, path: pathlib.Path) -> None:
    super().__init__()
    self.path = path
    self.fetched: list[str] = []
    self.links: list[str] = []
    self.anchors: set[str] = set()
    self.feed(path.read_text(encoding="utf-8"))

  def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
    values = {name: value or "" for name, value in attributes}
    self.anchors |= {values[name] for name in ("id", "name") if name in values}
    self.fetched += [values[name] for name in FETCHED.get(tag, ()) if name in values]
    if tag == "a" and "href" in values:
      self.links.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> pathlib.Path:
  pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'diet-tf[docs]'.")
  folder = tmp_path_factory.mktemp("site")
  build_site(folder)
  return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[pathlib.Path, Page]:
  return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def nav() -> list[str]:
  """The pages of the navigation, in order."""
  text = (ROOT / "mkdocs.yml").read_text()

  def leaves(entry: object) -> list[str]:
    if isinstance(entry, str):
      return [entry]
    return [leaf for below in (entry.values() if isinstance(entry, dict) else entry) for leaf in leaves(below)]

  # The part before has tags of Python objects.
  return leaves(yaml.safe_load(text[text.index("\nnav:"):])["nav"])


def test_every_document_is_in_the_navigation(site):
  documents = [str(path.relative_to(ROOT / "docs")) for path in DOCUMENTS if ROOT / "docs" in path.parents]
  listed = [page for page in nav() if not page.startswith("source/")]
  assert sorted(listed) == sorted([*documents, "index.md", "changelog.md", "contributing.md",
                                    "kubeflow/README.md"])
  for page in nav():
    assert (site / page.replace("README.md", "index.md")).with_suffix(".html").exists()


def test_links_lead_to_pages_and_their_headings(site, pages):
  for page in pages.values():
    for link in [*page.links, *page.fetched]:
      target = urllib.parse.urlsplit(link)
      # A page that was not found is served from any place, and so has links from the root alone.
      if target.scheme or page.path.name == "404.html":
        continue
      place = (page.path.parent / urllib.parse.unquote(target.path)).resolve() if target.path else page.path
      place = place / "index.html" if place.is_dir() else place
      assert place.is_file() and site in place.parents, f"{page.path.name} leads to {link}"
      if target.fragment and place.suffix == ".html" and not target.fragment.startswith("__"):
        assert urllib.parse.unquote(target.fragment) in pages[place].anchors, f"{page.path.name} leads to {link}"


def test_documents_outside_the_folder_are_pages(pages, site):
  assert "index.html#limits" in pages[site / "faq.html"].links
  assert "../index.html#in-a-tfx-pipeline-of-your-own" in pages[site / "reference" / "tfx_components.html"].links
  assert "kubeflow/index.html" in pages[site / "kubeflow.html"].links
  assert "source/examples/csv.yaml.html" in pages[site / "configuration.html"].links
  assert "test_spans" in (site / "source" / "examples" / "csv.yaml.html").read_text()
  assert "csv.yaml" in (site / "source" / "examples.html").read_text()


def test_nothing_is_fetched_from_elsewhere(site, pages):
  for page in pages.values():
    assert not [url for url in page.fetched if re.match(r"(https?:)?//", url)], page.path.name
  for sheet in site.rglob("*.css"):
    assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


@pytest.mark.parametrize("page, diagram", [("concepts", "stage.svg"), ("architecture", "rooms.svg")])
def test_diagrams_have_a_text(site, page, diagram):
  text = (site / f"{page}.html").read_text()
  image = re.search(rf"<img[^>]*{diagram}[^>]*>", text)
  assert image and len(re.search(r'alt="([^"]*)"', image.group())[1]) > 80
  assert "<title" in (site / "assets" / diagram).read_text()


def exported() -> list[tuple[str, str]]:
  """Page and full name of everything that the packages export, and of every kind of error."""
  tree = ast.parse((ROOT / "diet_tf" / "models" / "__init__.py").read_text())
  models = next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign))
  kinds = [errors.DietError, *(kind for kind in errors.DietError.__subclasses__()
                               if kind.__module__ == errors.__name__)]
  # What both packages export is on the page of the one that defines it.
  return [*(("diet_tf", f"diet_tf.{name}") for name in diet_tf.__all__ if name not in models),
          *(("models", f"diet_tf.models.{name}") for name in models),
          *(("tfx_components", f"tfx_components.{name}") for name in tfx_components.__all__),
          *(("diet_tf", f"diet_tf.errors.{kind.__name__}") for kind in kinds)]


@pytest.mark.parametrize("page, name", exported())
def test_what_is_exported_is_documented_with_its_signature(site, page, name):
  text = (site / "reference" / f"{page}.html").read_text()
  found = [section for section in text.split("<h3 id=")[1:] if re.search(rf">\s*{re.escape(name)}\s", section)]
  assert len(found) == 1, f"{name} stands once in docs/reference/{page}.md"
  short = name.rpartition(".")[2]
  own = found[0].partition("<h4")[0]  # Without its methods.
  signature = re.search(r'class="doc-signature[^>]*>(.*?)</div>', own, re.DOTALL)
  assert name in WITHOUT_CONSTRUCTOR or re.sub(r"<[^>]+>", "", signature[1]).startswith(short)
  assert re.search(r'<div class="doc doc-contents first">\s*<p>\w', found[0]), f"{name} says nothing"


def test_names_that_the_documents_import_are_documented(site):
  documented = "".join(path.read_text() for path in REFERENCE.glob("*.md"))
  named = set()
  for path in DOCUMENTS:
    for block in blocks(path, "python"):
      for node in ast.walk(ast.parse(block.code)):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in ("diet_tf", "pipelines"):
          named |= {f"{node.module}.{alias.name}" for alias in node.names}
  assert named and not [name for name in named if f"::: {name}\n" not in documented]


def test_the_search_knows_the_pages(site):
  index = (site / "search" / "search_index.js").read_text()
  assert index.startswith("var __index") and "tune-the-budget.html" in index
